"""What is held of an owner, for people and tools: facts and sentences, no decisions."""

from collections.abc import Mapping

from drsync.core.detection import FOR_A_PERSON, Action, State, Verdict
from drsync.model.charter import Charter

MISSING = frozenset((State.SUSPECTED, State.CONFIRMED))
"""States of an owner that does not serve, or that nobody knows to serve."""


def remedy_for(charter: Charter, verdict: Verdict) -> str:
    """Whether drsync will do something about the owner by itself, when, and if not, why not."""
    if verdict.state is State.GRAY:
        return "Slow is not lost, so nobody takes over: look at its host, its disk and its line."
    who = f"{verdict.target} takes over by itself" if verdict.target else "Nobody takes over by itself"
    if verdict.action is Action.PERSON or verdict.bar in FOR_A_PERSON:
        return f"Nobody takes over by itself: {verdict.hindrance}."
    if verdict.state is State.SUSPECTED:
        return f"{who} once another member has lost it as well: {verdict.reason}."
    if verdict.state is State.CONFIRMED:
        return f"{who}" + (f" when this has passed: {verdict.hindrance}." if verdict.hindrance else ".")
    return f"{who} if it stays away for {charter.group.policy.detect_s:g} s and others miss it, too."


def shown(verdict: Verdict | None, now: float) -> Mapping[str, object]:
    """A verdict as JSON, for the status; times as seconds ago or from now."""
    if verdict is None:
        return {}
    left = None if verdict.until is None else round(max(0.0, verdict.until - now), 3)
    return {
        "state": verdict.state.value,
        "action": verdict.action.value,
        "reason": verdict.reason,
        "by": list(verdict.by),
        "heard_s": round(max(0.0, now - verdict.since), 3),
        "hindrance": verdict.hindrance,
        "until_s": left,
        "target": verdict.target,
    }
