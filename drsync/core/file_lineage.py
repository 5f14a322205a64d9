"""Generations of a tree: which of them a copy shares with the owner's tree, and what it must be sent.

A lineage says how a tree came about: each epoch continued it after a certain generation. Numbers go on
across epochs, so a number alone says nothing: trees share a generation only if it is on both lineages.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

from drsync.model.epoch import NEVER, Epoch
from drsync.model.fileset import Generation, GenerationStart

Lineage: TypeAlias = Sequence[GenerationStart]

GENERATIONS_MAX = (1 << 64) - 1  # the newest epoch of a lineage has no end yet
STARTS_MAX = 1000  # because a lineage travels with each index; a copy older than the oldest start is sent all


class Base(NamedTuple):
    """What a copy is sent: what changed above `number`, or with `is_full` everything."""

    number: int
    is_full: bool


def follow(lineage: Lineage, epoch: Epoch, after: int) -> tuple[GenerationStart, ...]:
    """The lineage when `epoch` continues the tree after generation number `after`."""
    if lineage and lineage[-1].epoch == epoch:
        return tuple(lineage)
    return (*lineage, GenerationStart(epoch, after))[-STARTS_MAX:]


def ends(lineage: Lineage, held: Generation) -> dict[Epoch, tuple[int, int]]:
    """Epoch → (after, last): its generations on the lineage of a tree that is at `held`.

    An epoch ends at the lowest start of all later ones.
    """
    last = held.number
    found: dict[Epoch, tuple[int, int]] = {}
    for start in reversed(lineage):
        found[start.epoch] = (start.after, last)
        last = min(last, start.after)
    return found


def holds(lineage: Lineage, tip: Generation, asked: Generation) -> bool:
    """Whether a tree at `tip` went through the generation `asked`."""
    after, last = ends(lineage, tip).get(asked.epoch, (0, 0))
    return after < asked.number <= last


def base(
    lineage: Lineage, tip: Generation, held: Generation, *, is_full: bool = False, horizon: int = 0
) -> Base:
    """What a copy at `held` is sent by a tree at `tip`.

    `is_full`: the copy asks for everything. `horizon`: tombstones up to this generation are forgotten, so
    that what is gone since an older one cannot be told any more.
    """
    if is_full or held.number < horizon or not holds(lineage, tip, held):
        return Base(0, is_full=True)
    return Base(held.number, is_full=False)


def common(lineage: Lineage, held: Generation, own: Lineage = ()) -> int:
    """Number of the newest generation that a tree at `held` shares with the lineage of another; 0: none.

    `own`: the lineage of `held`; without it only the epoch of `held` itself can be shared.
    """
    there = ends(lineage, Generation(NEVER, GENERATIONS_MAX))
    here = ends(own or (GenerationStart(held.epoch, 0),), held)
    return max(
        (
            min(here[epoch][1], there[epoch][1])
            for epoch in here.keys() & there.keys()
            if max(here[epoch][0], there[epoch][0]) < min(here[epoch][1], there[epoch][1])
        ),
        default=0,
    )


def lag_s(cuts: Iterable[tuple[Generation, float]], held: Generation, now: float) -> float:
    """Age of the oldest cut that a copy at `held` does not have; 0 when it has all.

    `cuts`: generations of this term and when they were cut, oldest first, on the clock of `now`.
    """
    for generation, at in cuts:
        if held.epoch != generation.epoch or held.number < generation.number:
            return max(0.0, now - at)
    return 0.0
