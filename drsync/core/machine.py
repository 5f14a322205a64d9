"""State machines as tables: every event in every state has its cell, and nothing else happens.

Only the shape lives here. A cell is a move with its effects in order, or it says why nothing happens: the
event is late (it came over a line, or twice), or it must not happen at all.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Generic, TypeVar

StateT = TypeVar("StateT", bound=StrEnum)
EventT = TypeVar("EventT", bound=StrEnum)
EffectT = TypeVar("EffectT", bound=StrEnum)


class Nothing(Enum):
    """Why an event moves nothing."""

    LATE = auto()  # it may come over a line at any time; it is dropped
    WRONG = auto()  # it cannot come from correct code; it is an error and changes nothing


@dataclass(frozen=True, slots=True)
class Move(Generic[StateT, EffectT]):
    """Go to `to`, and do `effects` in this order: the order is the argument for crash safety."""

    to: StateT
    effects: tuple[EffectT, ...] = ()


class WrongEventError(Exception):
    """An event that cannot come in this state. Nothing has changed."""

    def __init__(self, machine: str, state: StrEnum, event: StrEnum) -> None:
        super().__init__(f"{machine}: {event} while {state}")


class Machine(Generic[StateT, EventT, EffectT]):
    """A total table.

    Attributes:
        name: for people.
        cells: for each state and event.
    """

    def __init__(
        self,
        name: str,
        states: Iterable[StateT],
        events: Iterable[EventT],
        late: Collection[EventT],
        moves: Mapping[StateT, Mapping[EventT, Move[StateT, EffectT]]],
    ) -> None:
        """`moves` are the cells that move; in the others, an event of `late` is late and the rest wrong."""
        self.name = name
        events = tuple(events)
        self.cells: dict[StateT, dict[EventT, Move[StateT, EffectT] | Nothing]] = {
            state: {
                event: moves[state].get(event, Nothing.LATE if event in late else Nothing.WRONG)
                for event in events
            }
            for state in states
        }

    def step(self, state: StateT, event: EventT) -> Move[StateT, EffectT] | None:
        """The move; None for an event that is late. Raises WrongEventError."""
        cell = self.cells[state][event]
        if cell is Nothing.WRONG:
            raise WrongEventError(self.name, state, event)
        return None if isinstance(cell, Nothing) else cell
