"""The reasons drsync says no.

Only sentences live here: each function takes the facts and returns one printable `Reason`. Nothing here
decides; the procedures decide and quote. Every reason has a code for machines, numbers for people, what to
do about it, and the name of the override where there is one.
"""

from dataclasses import dataclass

from drsync.model.epoch import Epoch, show

ACCEPT_LOSS = "accept-loss"
"""The one override of this file: the operator read the loss statement and goes on."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why drsync says no.

    Attributes:
        code: short stable identifier.
        sentence: what is the case, with numbers.
        remedy: what the reader can do.
        override: name of the option that goes on nevertheless; empty when there is none.
    """

    code: str
    sentence: str
    remedy: str
    override: str = ""

    def text(self) -> str:
        """The sentence and what to do."""
        return f"{self.sentence} {self.remedy}"


def unknown_center(name: str, members: tuple[str, ...]) -> Reason:
    """The target is no member."""
    return Reason(
        "unknown_center", f"{name} is no member of this group.", f"Name one of: {', '.join(members)}."
    )


def not_reached(name: str, part: str) -> Reason:
    """A center that the procedure cannot do without is silent."""
    return Reason(
        "not_reached", f"{name} ({part}) cannot be reached.", f"Start {name} or name another center."
    )


def copy_failed(name: str, state: str) -> Reason:
    """The copy is of no use."""
    return Reason(
        "copy_failed", f"The copy at {name} is {state}.", f"Repair or resync {name}, or name another center."
    )


def no_space(name: str, why: str) -> Reason:
    """The disk is full: an owner must be able to write."""
    return Reason(
        "no_space", f"{name} could take no write: {why}.", f"Free space at {name}, or name another center."
    )


def went_back(name: str) -> Reason:
    """The copy is older than what the center stated before."""
    return Reason(
        "went_back",
        f"{name} has gone back in time: it stated a higher position before (a restored snapshot?).",
        "Let it catch up with the owner, or name another center.",
        ACCEPT_LOSS,
    )


def needs_resync(name: str, applied: int, belongs: int) -> Reason:
    """The image holds records that the group gave up."""
    return Reason(
        "needs_resync",
        f"The image at {name} holds records up to {applied}; only those up to {belongs} belong to the group.",
        f"Let {name} resync from the owner first, or name another center.",
    )


def moved_on(name: str, follow: Epoch, charter: Epoch) -> Reason:
    """The copy follows an epoch that the charter has not heard of."""
    return Reason(
        "moved_on",
        f"{name} follows epoch {show(follow)}, the charter knows only {show(charter)}: the store is old.",
        "Bring back the newest charter store, or start a new store generation.",
    )


def outranked(name: str, promised: Epoch, generation: int) -> Reason:
    """A new store generation was begun; this store may not open anything any more."""
    return Reason(
        "outranked",
        f"{name} promised epoch {show(promised)} to a newer store than this of generation {generation}.",
        "Finish the new store generation (failover without the store) from a center that can be reached.",
    )


def store_usable() -> Reason:
    """A new store generation is for a store that may not act."""
    return Reason(
        "store_usable",
        "This charter store is the one in force and may act.",
        "Ask without --without-store.",
    )


def nobody_remembers() -> Reason:
    """No member that knows the group is reached."""
    return Reason(
        "nobody_remembers",
        "No center that can be reached remembers a charter of this group.",
        "Start the agent of a center that holds a copy, or put back the newest copy of the store.",
    )


def still_bound(name: str, owner: str, seconds: float) -> Reason:
    """A member confirmed to the owner that it may go on without the store, and the owner is not reached."""
    return Reason(
        "bound",
        f"{name} has confirmed to {owner} that it may go on without the store, for another {seconds:.1f} s, "
        f"and {owner} cannot be reached: it may be serving.",
        f"Bring {owner} back into reach or stop it; the confirmation lapses when it asks no more.",
    )


def new_generation(generation: int, in_sync: tuple[str, ...]) -> Reason:
    """The first opening in a store generation: what the lost store knew last is not known."""
    listed = ", ".join(in_sync) or "empty"
    return Reason(
        "new_generation",
        f"This is the first opening in store generation {generation}: the in-sync set ({listed}) is what "
        "members remember, and the lost store may have known better: writes may be lost.",
        "Put back the newest copy of the store, or accept the loss: --accept-loss.",
        ACCEPT_LOSS,
    )


def not_in_sync(name: str, in_sync: tuple[str, ...], behind: str) -> Reason:
    """The copy may lack acknowledged writes, and nobody in sync can be asked."""
    listed = ", ".join(in_sync) or "empty"
    return Reason(
        "not_in_sync",
        f"{name} is not in the in-sync set ({listed}), no clean member of it can be reached to complete it, "
        f"and {behind}: writes may be lost.",
        f"Bring back one of {', '.join(in_sync)}, or accept the loss: --accept-loss.",
        ACCEPT_LOSS,
    )


def unclean_and_silent(name: str, silent: tuple[str, ...]) -> Reason:
    """The candidate lost its volatile tail and somebody who may hold it is silent."""
    return Reason(
        "unclean",
        f"The host of {name} restarted uncleanly, so it may have lost appended writes, "
        f"and {', '.join(silent)} cannot be asked.",
        f"Bring back {', '.join(silent)}, or accept the loss: --accept-loss.",
        ACCEPT_LOSS,
    )


def left_behind(name: str, donor: str, missing: int) -> Reason:
    """A reachable member holds more, but its journal no longer starts where the candidate ends."""
    return Reason(
        "left_behind",
        f"{donor} holds {missing} records that {name} lacks, but its journal starts too late for {name}.",
        f"Name {donor} instead, or let {name} resync first.",
        ACCEPT_LOSS,
    )


def files_behind(name: str, fileset: str, seconds: float, target_s: float) -> Reason:
    """The tree at the target lacks more than the group's objective allows."""
    return Reason(
        "files_behind",
        f"The files of {fileset} at {name} are {seconds:.1f} s behind; the target is {target_s:g} s: "
        "changes of that time may be lost.",
        "Wait until they have caught up, if the owner can come back, or accept the loss: --accept-loss.",
        ACCEPT_LOSS,
    )


def files_held(name: str, fileset: str, hold: str) -> Reason:
    """A tree takes no change at one of the two centers of a planned change."""
    return Reason(
        "files_held",
        f"The files of {fileset} at {name} stand still: {hold.rstrip('.')}.",
        "Mend that first: drsync why says what helps.",
    )


def files_late(name: str, fileset: str, seconds: float, limit_s: float) -> Reason:
    """Files on their way would make a planned change wait."""
    return Reason(
        "files_late",
        f"The files of {fileset} at {name} are {seconds:.1f} s behind; "
        f"a switchover starts below {limit_s:g} s.",
        "Wait until they have caught up.",
    )


def files_unknown(name: str, fileset: str) -> Reason:
    """Nobody can say how old the tree at the target is."""
    return Reason(
        "files_unknown",
        f"How far the files of {fileset} at {name} are behind is not known: their owner was not heard of.",
        f"Bring back their owner or wait for {name}'s word, or accept the loss: --accept-loss.",
        ACCEPT_LOSS,
    )


def intent_in_progress(kind: str, target: str, actor: str) -> Reason:
    """Another procedure holds the charter."""
    return Reason(
        "in_progress",
        f"A {kind} to {target}, asked for by {actor}, is in progress.",
        "Wait for it; it goes on or is aborted by itself.",
    )


def owner_not_serving(owner: str, state: str) -> Reason:
    """A switchover needs an owner that serves."""
    return Reason(
        "owner_not_serving",
        f"The owner {owner or '(none)'} is {state}: a switchover needs one that serves.",
        "Use failover, or let the owner open first.",
    )


def too_far_behind(name: str, lag_records: int, limit_records: int) -> Reason:
    """The pause would become an outage."""
    return Reason(
        "too_far_behind",
        f"{name} is {lag_records} records behind the owner; a switchover starts below {limit_records}.",
        "Wait until it has caught up.",
    )


def not_following(name: str, owner: str) -> Reason:
    """The target of a switchover is not connected to the owner."""
    return Reason(
        "not_following", f"{name} does not follow {owner}.", f"Wait until {name} is connected to {owner}."
    )


def aborted(target: str, owner: str, epoch: Epoch) -> Reason:
    """The procedure ended without its aim."""
    return Reason(
        "aborted",
        f"The way to {target} was given up; {owner or 'nobody'} is the owner in epoch {show(epoch)}.",
        "Ask again.",
    )
