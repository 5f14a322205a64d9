"""What is held of an owner and of what its loss would leave, for people and tools: facts, no decisions."""

from collections.abc import Mapping

from drsync.coordinator.forms import OwnerReport
from drsync.core import failback, reprotect, star
from drsync.core.detection import FOR_A_PERSON, Action, State, Verdict
from drsync.core.observation import Observation
from drsync.core.star import Means
from drsync.model.charter import Charter
from drsync.model.copy import Statement

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


def means_of(charter: Charter, report: OwnerReport | None) -> dict[tuple[str, str], Means]:
    """What members have beside their journals to bring others level: marks of the owner, and digests."""
    names = [member.name for member in charter.group.members]
    means = {(one, other): Means(has_digest=True) for one in names for other in names if one != other}
    for name, peer in (report.peers if report is not None else {}).items():
        marks = peer.marks
        if marks is not None and marks.known and marks.through:
            means[charter.owner, name] = Means(marks.since, marks.bytes, has_digest=True)
    return means


def about_pairs(
    charter: Charter, words: Mapping[str, Statement], report: OwnerReport | None
) -> list[dict[str, object]]:
    """Star readiness: how any two members could be made level if the others were lost."""
    return [
        {
            "centers": [one, other],
            "resyncable": pair.best.how.value,
            "from": pair.best.source,
            "lacks_records": pair.best.lacks,
            "alarm": pair.is_alarming,
            "dirty_bytes": pair.best.dirty_bytes,
            "reason": pair.best.reason,
        }
        for (one, other), pair in star.readiness(charter, words, means_of(charter, report)).items()
    ]


def pairs_at_risk(charter: Charter, seen: Observation, report: OwnerReport | None) -> list[str]:
    """Pairs of members that are both heard and could not be made level without the third: why not."""
    found = star.readiness(charter, seen.statements, means_of(charter, report))
    return [
        f"{one} and {other} could not be made level without the others: {pair.best.reason}"
        for (one, other), pair in found.items()
        if pair.is_alarming and one in seen.statements and other in seen.statements
    ]


def about_rejoining(
    charter: Charter,
    words: Mapping[str, Statement],
    heard: Mapping[str, Statement],
    report: OwnerReport | None,
) -> list[dict[str, object]]:
    """Who needs what until the group is protected as its policy says, in order."""
    return [
        {
            "center": task.center,
            "step": task.step.value,
            "words": reprotect.WORDS[task.step],
            "lacks_records": task.lacks,
            "by_a_person": task.is_for_a_person,
        }
        for task in reprotect.plan(charter, words, frozenset(heard), _means_of_owner(charter, report))
    ]


def _means_of_owner(charter: Charter, report: OwnerReport | None) -> dict[str, Means]:
    found = means_of(charter, report)
    return {target: means for (source, target), means in found.items() if source == charter.owner}


def about_failback(seen: Observation) -> dict[str, object]:
    """Whether the group may go back to its preferred owner; empty where it is at home."""
    if not failback.is_away(seen):
        return {}
    reasons = failback.objections(seen)
    return {
        "to": seen.charter.group.preferred_owner,
        "possible": not reasons,
        "why_not": " ".join(reason.sentence for reason in reasons),
        "remedy": " ".join(reason.remedy for reason in reasons),
    }
