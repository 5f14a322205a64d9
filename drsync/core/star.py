"""Star readiness: could any two of the three centers be made level now, if the third were lost (F.11)?

Pure, from what each member states of its journal and from the dirty sets kept for others. For a pair (source,
target): could `target` be brought level from `source`, and how.

==============================================================  ===========
what is there                                                   resyncable
==============================================================  ===========
the source has no copy of use, or its log ends before theirs    impossible
the target's image holds records that the group gave up,
and no digest can be compared                                   impossible
the same, and digests can be compared                           digest
the source's journal begins at or before the target's end       stream
it begins later, and a dirty set covers the gap                 dirty
it begins later, nothing covers the gap, digests can be used    digest
the same, and they cannot                                       impossible
==============================================================  ===========

Alarm: whatever is worse than `dirty`, in the better direction of the pair, since after a loss it is the copy
that is ahead that brings the other one level.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

from drsync.core import lineage
from drsync.core.eligibility import USELESS
from drsync.model.charter import Charter
from drsync.model.copy import CopyState, Statement


class Resyncable(StrEnum):
    """How a copy could be brought level from another one; the best first."""

    STREAM = "stream"  # from the journal: what it lacks, and nothing else
    DIRTY = "dirty"  # the blocks noted as changed
    DIGEST = "digest"  # everything is compared, what differs is sent
    IMPOSSIBLE = "impossible"


ORDER = tuple(Resyncable)
GOOD = frozenset((Resyncable.STREAM, Resyncable.DIRTY))


@dataclass(frozen=True, slots=True)
class Means:
    """What a source has beside its journal to bring a target level.

    Attributes:
        dirty_from: a dirty set for the target covers everything after this record; None: there is none.
        dirty_bytes: its size.
        has_digest: images can be compared blockwise.
    """

    dirty_from: int | None = None
    dirty_bytes: int = 0
    has_digest: bool = False


@dataclass(frozen=True, slots=True)
class Ray:
    """One direction of a pair.

    Attributes:
        source, target: centers.
        how: what could be done.
        lacks: records the target lacks of the source's.
        dirty_bytes: to be sent in a dirty resync.
        reason: why it is no stream; empty when it is.
    """

    source: str
    target: str
    how: Resyncable
    lacks: int = 0
    dirty_bytes: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two centers, and the better way to make them level."""

    best: Ray
    is_alarming: bool


def ray(charter: Charter, source: Statement | None, target: Statement | None, means: Means) -> Ray:
    """Whether and how `target` could be brought level from `source`. None: nothing was ever stated."""
    if source is None or target is None:
        return Ray("", "", Resyncable.IMPOSSIBLE, reason="nothing is known of one of them")
    names = (source.center, target.center)
    if source.state in USELESS:
        return Ray(*names, Resyncable.IMPOSSIBLE, reason=f"the copy at {names[0]} is {source.state.value}")
    begins, ends = source.first_seq, lineage.fork_point(charter.history, source)
    if target.state in {CopyState.FAILED, CopyState.FORKED}:
        return Ray(*names, Resyncable.IMPOSSIBLE, reason=f"the copy at {names[1]} is {target.state.value}")
    held = lineage.fork_point(charter.history, target) if target.state is not CopyState.BLANK else 0
    if held > ends:
        return Ray(*names, Resyncable.IMPOSSIBLE, reason=f"{names[1]} is ahead of it")
    lacks = ends - held
    if target.applied > held:
        what = f"the image at {names[1]} holds records that the group gave up"
        return Ray(*names, _by_digest(means), lacks, reason=what)
    if begins <= held + 1:
        return Ray(*names, Resyncable.STREAM, lacks)
    gap = f"the journal at {names[0]} begins at {begins}, {names[1]} ends at {held}"
    if means.dirty_from is not None and means.dirty_from <= held:
        return Ray(*names, Resyncable.DIRTY, lacks, means.dirty_bytes, gap)
    return Ray(*names, _by_digest(means), lacks, reason=gap)


def _by_digest(means: Means) -> Resyncable:
    return Resyncable.DIGEST if means.has_digest else Resyncable.IMPOSSIBLE


def pair(
    charter: Charter,
    one: Statement | None,
    other: Statement | None,
    means: tuple[Means, Means] = (Means(), Means()),
) -> Pair:
    """The better direction of two; `means` of `one` and of `other` as sources."""
    ways = (ray(charter, one, other, means[0]), ray(charter, other, one, means[1]))
    best = min(ways, key=lambda way: ORDER.index(way.how))
    return Pair(best, best.how not in GOOD)


def readiness(
    charter: Charter,
    words: Mapping[str, Statement],
    means: Mapping[tuple[str, str], Means] | None = None,
) -> dict[tuple[str, str], Pair]:
    """Every pair of members, by their last words; `means` by source and target.

    Old words count: a journal that was trimmed since holds less than its center stated, so what is shown is
    as old as the older word.
    """
    known = means or {}
    names = [member.name for member in charter.group.members]
    return {
        (one, other): pair(
            charter,
            words.get(one),
            words.get(other),
            (known.get((one, other), Means()), known.get((other, one), Means())),
        )
        for one, other in combinations(names, 2)
    }
