"""When a group may go back to its preferred owner: a planned switchover, when nothing argues against it.

Pure. drsync never goes back by itself: the preferred owner was lost once, and only a person knows why. Here
is said whether a person may, and if not, why not and what helps.
"""

from dataclasses import replace

from drsync.core import switchover
from drsync.core.observation import Observation
from drsync.core.safety import Reason
from drsync.model.charter import IntentKind
from drsync.model.group import Mode


def is_away(seen: Observation) -> bool:
    """Whether somebody else than the preferred owner owns the group."""
    return bool(seen.charter.owner) and seen.charter.owner != seen.charter.group.preferred_owner


def objections(seen: Observation) -> tuple[Reason, ...]:
    """Why the group should not go back now; empty when it may, or need not.

    What a switchover would refuse, and one thing more: a preferred owner that is to be in sync and is not
    would make writes wait for the difference, and leave the group with one copy if it failed again.
    """
    if not is_away(seen):
        return ()
    charter, target = seen.charter, seen.charter.group.preferred_owner
    asked = replace(seen, kind=IntentKind.SWITCHOVER, target=target, accept_loss=False)
    refused = switchover.refusals(asked)
    if refused:
        return refused
    is_mate = target in charter.group.mates(charter.owner)
    if charter.group.policy.mode is not Mode.ASYNC and is_mate and target not in charter.in_sync:
        return (not_yet_in_sync(target),)
    return ()


def not_yet_in_sync(name: str) -> Reason:
    """The preferred owner is back and still catches up."""
    return Reason(
        "not_yet_in_sync",
        f"{name} is not in sync yet.",
        "It joins by itself when it has caught up; then ask.",
    )
