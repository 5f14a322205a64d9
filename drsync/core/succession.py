"""Who takes over from a lost owner without a person: a clean in-sync member of its own site, or nobody.

An asynchronous member is never named here, whatever it holds: going to another city is for a person.
"""

from dataclasses import replace

from drsync.core import eligibility, file_loss, safety
from drsync.core.observation import Observation
from drsync.model.charter import IntentKind
from drsync.model.copy import CopyState, Statement
from drsync.model.position import Loss

READY = frozenset((CopyState.REPLICA, CopyState.SEALED))
"""States of copies that may take over."""


def successor(seen: Observation) -> tuple[str, str]:
    """Who takes over without loss and without a person, or why nobody does.

    Only a clean in-sync member of the owner's own site that was heard just now. The procedure judges again by
    what the members state then; it never accepts a loss.
    """
    charter = seen.charter
    mates = [name for name in charter.group.mates(charter.owner) if name in charter.in_sync]
    first = charter.group.preferred_owner
    reasons = [f"no center of {charter.owner}'s site is in sync with it"] if not mates else []
    for name in sorted(mates, key=lambda name: (name != first, name)):
        reason = _why_not(replace(seen, target=name, kind=IntentKind.FAILOVER, accept_loss=False))
        if not reason:
            return name, ""
        reasons.append(reason)
    return "", "; ".join(reasons)


def _why_not(seen: Observation) -> str:
    word = seen.candidate
    if word is None:
        return safety.not_reached(seen.target, "who would take over").sentence.rstrip(".")
    doubt = _doubt(word)
    if doubt:
        return f"{seen.target} {doubt}"
    verdict = eligibility.judge(seen)
    if verdict.reasons:
        return verdict.reasons[0].sentence.rstrip(".")
    if verdict.loss is not Loss.NONE:
        return f"{seen.target} may lack what was never flushed"
    return next((reason.sentence.rstrip(".") for reason in file_loss.objections(seen)), "")


def _doubt(word: Statement) -> str:
    """Why a copy may not take over by itself whatever the others say."""
    doubts = {
        "its host restarted uncleanly": word.unclean,
        "has gone back in time": word.amnesic,
        f"has no space: {word.no_space}": bool(word.no_space),
        f"is {word.state.value}": word.state not in READY,
    }
    return next((text for text, holds in doubts.items() if holds), "")
