"""Sets of granules of volumes, as runs: what differs, what is sent, what was put aside.

Only sets live here; what they mean is `core.dirty` and `core.resync`. A value is a sorted tuple of runs that
neither overlap nor touch, so that equal sets are equal values and every operation is one merge.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import Final, NamedTuple

GRANULE: Final = 64 << 10  # bytes, because smaller ones cost memory and larger ones cost lines (F.9)


class Run(NamedTuple):
    """Granules `first` up to and without `end` of a volume (by its index)."""

    volume: int
    first: int
    end: int


Extents = tuple[Run, ...]
"""A set of granules in its one form: sorted, no two runs overlap or touch."""

NOTHING: Final[Extents] = ()


def extent(volume: int, offset: int, length: int) -> Extents:
    """The granules that bytes [offset, offset + length) of a volume touch; nothing for no bytes."""
    if length <= 0:
        return NOTHING
    return (Run(volume, offset // GRANULE, -(-(offset + length) // GRANULE)),)


def normal(runs: Iterable[Run]) -> Extents:
    """The set that any runs make, in any order, overlapping or empty."""
    merged: list[Run] = []
    for run in sorted(runs):
        if run.first >= run.end:
            continue
        last = merged[-1] if merged else None
        if last is not None and last.volume == run.volume and run.first <= last.end:
            merged[-1] = Run(run.volume, last.first, max(last.end, run.end))
        else:
            merged.append(run)
    return tuple(merged)


def union(*sets: Extents) -> Extents:
    """What is in any of them."""
    filled = [runs for runs in sets if runs]
    return filled[0] if len(filled) == 1 else normal(run for runs in filled for run in runs)


def subtract(runs: Extents, gone: Extents) -> Extents:
    """What is in `runs` and not in `gone`."""
    left: list[Run] = []
    at = 0
    for run in runs:
        first = run.first
        while at < len(gone) and (gone[at].volume, gone[at].end) <= (run.volume, run.first):
            at += 1
        step = at
        while step < len(gone) and (gone[step].volume, gone[step].first) < (run.volume, run.end):
            left.append(Run(run.volume, first, gone[step].first))
            first = gone[step].end
            step += 1
        left.append(Run(run.volume, first, run.end))
    return tuple(run for run in left if run.first < run.end)


def covers(runs: Extents, inner: Extents) -> bool:
    """Whether all of `inner` is in `runs`."""
    return not subtract(inner, runs)


def size(runs: Extents) -> int:
    """Granules in the set."""
    return sum(run.end - run.first for run in runs)


def take(runs: Extents, count: int) -> tuple[Extents, Extents]:
    """The first `count` granules, and the rest."""
    taken: list[Run] = []
    for index, run in enumerate(runs):
        length = run.end - run.first
        if length > count:
            middle = run.first + count
            taken.append(Run(run.volume, run.first, middle))
            rest = (Run(run.volume, middle, run.end), *runs[index + 1 :])
            return tuple(part for part in taken if part.first < part.end), rest
        taken.append(run)
        count -= length
    return tuple(taken), NOTHING


def coarsened(runs: Extents, runs_max: int) -> Extents | None:
    """A set of at most `runs_max` runs that holds at least `runs`: the smallest gaps are filled.

    None when even one run per volume is too many.
    """
    surplus = len(runs) - runs_max
    if surplus <= 0:
        return runs
    gaps = sorted(
        (after.first - before.end, index)
        for index, (before, after) in enumerate(pairwise(runs))
        if before.volume == after.volume
    )
    if len(gaps) < surplus:
        return None
    filled = [Run(runs[index].volume, runs[index].end, runs[index + 1].first) for _, index in gaps[:surplus]]
    return normal((*runs, *filled))


def fewer(runs: Extents, runs_max: int) -> Extents:
    """A set of at most `runs_max` runs that holds at most `runs`: the largest of them."""
    if len(runs) <= runs_max:
        return runs
    largest = sorted(runs, key=lambda run: (run.first - run.end, run))[:runs_max]
    return tuple(sorted(largest))
