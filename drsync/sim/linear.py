"""Whether what several processes were told of a compare-and-set register fits one order of its changes.

The search of Wing and Gong with a memory, for small histories. A change with an unknown outcome may have
happened at any time after it was asked for, or never. The register's versions only rise, so each change
that succeeds leads to a state that was never there before.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import inf

from typing_extensions import override

STEPS_MAX = 200_000  # because a history that needs more is too large to be decided here


class Result(StrEnum):
    """What whoever asked was told."""

    READ = "read"  # `value` was in force
    DONE = "done"  # `value` is in force from now on
    LOST = "lost"  # the version was not `expected`, or it was refused
    UNKNOWN = "unknown"  # no answer


@dataclass(slots=True, eq=False)
class Call:
    """One call of one process. What was not answered ends at infinity.

    Attributes:
        caller: for messages.
        asked, answered: instants.
        result: what came of it.
        expected: version that a change expected; unused for a read.
        version, value: what was read, or what was to be set; version 0 is the empty register.
        seen: for a lost change: the version that was shown with the refusal, if one was.
    """

    caller: str
    asked: float
    result: Result = Result.UNKNOWN
    answered: float = inf
    expected: int = -1
    version: int = 0
    value: Hashable = None
    seen: tuple[int, Hashable] | None = None

    @property
    def is_change(self) -> bool:
        """Whether it may have changed the register."""
        return self.result in {Result.DONE, Result.UNKNOWN} and self.expected >= 0

    @override
    def __str__(self) -> str:
        end = f"{self.answered:.3f}" if self.answered < inf else "never"
        what = f"set version {self.expected + 1}" if self.expected >= 0 else f"read version {self.version}"
        return f"{self.caller} {what}: {self.result} ({self.asked:.3f} to {end})"


State = tuple[int, Hashable]
EMPTY: State = (0, None)


class TooLargeError(Exception):
    """The history has too many orders to be tried."""


def contradiction(calls: Sequence[Call], start: State = EMPTY) -> Call | None:
    """A call that fits no order of all of them, the first that could not be placed; None if all fit.

    Raises:
        TooLargeError: more than `STEPS_MAX` steps were needed.
    """
    certain = sorted(
        (c for c in calls if c.result is not Result.UNKNOWN), key=lambda c: (c.answered, c.asked)
    )
    unknown = [c for c in calls if c.result is Result.UNKNOWN and c.expected >= 0]
    return _Search(certain, unknown).run(start)


class _Search:
    """Depth first; a node is which of the certain calls are placed, and what the register holds."""

    def __init__(self, certain: list[Call], unknown: list[Call]) -> None:
        self._certain = certain
        self._unknown: dict[int, list[Call]] = {}
        for call in unknown:
            self._unknown.setdefault(call.expected, []).append(call)

    def run(self, start: State) -> Call | None:
        calls = self._certain
        count = len(calls)
        stack: list[tuple[int, int, State]] = [(0, 0, start)]
        tried = {(0, 0, start)}
        furthest = 0
        while stack:
            if len(tried) > STEPS_MAX:
                raise TooLargeError(f"{len(tried)} steps")
            first, placed, state = stack.pop()
            # `placed` are bits of the calls from `first` on; everything before is placed.
            while placed & 1:
                first, placed = first + 1, placed >> 1
            furthest = max(furthest, first)
            if first == count:
                return None
            for node in self._next(first, placed, state):
                if node not in tried:
                    tried.add(node)
                    stack.append(node)
        return calls[furthest]

    def _next(self, first: int, placed: int, state: State) -> list[tuple[int, int, State]]:
        """Everything that may happen next: nothing comes after a call that was answered before it began."""
        calls = self._certain
        deadline = calls[first].answered
        may_be = self._unknown.get(state[0], ())
        found = [(first, placed, (call.version, call.value)) for call in may_be if call.asked <= deadline]
        for at in range(len(calls) - 1, first - 1, -1):
            if placed >> (at - first) & 1:
                continue
            call = calls[at]
            if call.asked > deadline:
                continue
            after = _applied(call, state)
            if after is not None:
                found.append((first, placed | 1 << (at - first), after))
        return found


def _applied(call: Call, state: State) -> State | None:
    """The register after the call at this point; None if the call cannot have happened here."""
    match call.result:
        case Result.READ:
            return state if state == (call.version, call.value) else None
        case Result.DONE:
            return (call.version, call.value) if state[0] == call.expected else None
        case _:
            # A refusal may have other reasons than the version, so that it fits any state it shows.
            return state if call.seen is None or call.seen == state else None
