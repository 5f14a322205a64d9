"""Which recovery point is meant: by name, by record, by time, or the newest.

A time between two checkpoints means the newest at or before it: what came later was not yet true.
"""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from drsync.model.errors import RefusedError

LATEST = "latest"


class Point(Protocol):
    """A checkpoint, as far as choosing needs it."""

    @property
    def seq(self) -> int:
        """The position after its record."""
        ...

    @property
    def time_us(self) -> int:
        """Wall clock label of the owner that wrote it."""
        ...

    @property
    def name(self) -> str:
        """Given by a person, or empty."""
        ...

    @property
    def is_app_consistent(self) -> bool:
        """Its hook succeeded in time."""
        ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person asked for.

    Attributes:
        text: as typed: a name, a record number, `LATEST` (or nothing), or a time.
        time_us: the label that it means if it is a time.
    """

    text: str
    time_us: int | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """The position to open.

    Attributes:
        seq: a batch end.
        at: the point there; None between two points.
        before: the newest point at or before it, which gives an age to what has none.
        next_us: label of the following point when a time fell between two; 0 otherwise.
    """

    seq: int
    at: Point | None
    before: Point | None
    next_us: int = 0


@dataclass(frozen=True, slots=True)
class Reach:
    """What a center can open: positions from `low` to `high`, and the points among them, oldest first."""

    center: str
    points: Sequence[Point]
    low: int
    high: int


def choose(wanted: Wanted, reach: Reach, batch_end: Callable[[int], int]) -> Chosen:
    """The point that is meant. `batch_end` gives the highest batch end at or below a record.

    Raises:
        RefusedError: this center cannot open what is asked for; it says what it can.
    """
    points, text = reach.points, wanted.text.strip()
    named = [point for point in points if text and point.name == text]
    if named:
        return _at(named[-1])
    if text in ("", LATEST):
        # An owner's images follow its log closely, so that it often holds no point; any batch end will do.
        return _at(points[-1]) if points else _newest(reach, batch_end)
    if text.isascii() and text.isdecimal():
        return _by_record(int(text), reach, batch_end)
    if wanted.time_us is not None:
        return _by_time(wanted.time_us, reach)
    names = sorted({point.name for point in points if point.name})
    near = difflib.get_close_matches(text, names, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise _refusal(reach, f"no recovery point is called {text[:64]}{hint}")


def _at(point: Point) -> Chosen:
    return Chosen(point.seq, point, point)


def _newest(reach: Reach, batch_end: Callable[[int], int]) -> Chosen:
    end = batch_end(reach.high)
    if not reach.low <= end or not end:
        raise _refusal(reach, "there is nothing yet")
    return Chosen(end, None, None)


def _by_record(seq: int, reach: Reach, batch_end: Callable[[int], int]) -> Chosen:
    if not reach.low <= seq <= reach.high:
        raise _refusal(reach, f"record {seq} is out of reach")
    end = batch_end(seq)
    if end < reach.low:
        raise _refusal(reach, f"record {seq} is inside the batch that begins after record {end}")
    before = max((p for p in reach.points if p.seq <= end), key=lambda p: p.seq, default=None)
    is_point = before is not None and before.seq == end
    return Chosen(end, before if is_point else None, before)


def _by_time(time_us: int, reach: Reach) -> Chosen:
    """By labels as they stand in the log: after a change of owner a later record may bear an earlier one."""
    before = [point for point in reach.points if point.time_us <= time_us]
    if not before:
        raise _refusal(reach, "that is before the oldest recovery point")
    found = before[-1]
    later = next((point for point in reach.points if point.seq > found.seq), None)
    is_between = found.time_us != time_us and later is not None
    return Chosen(found.seq, found, found, later.time_us if is_between and later is not None else 0)


def _refusal(reach: Reach, text: str) -> RefusedError:
    held = f"it can open records {reach.low} to {reach.high}, with {len(reach.points)} recovery points"
    return RefusedError(
        f"{reach.center}: {text}; {held}",
        code="no_such_point",
        remedy="drsync points lists what can be opened, and where.",
    )
