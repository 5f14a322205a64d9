"""What procedures ask of their surroundings, and how members are asked."""

import asyncio
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from drsync.core.lease import LeaseBook
from drsync.core.observation import LastKnown
from drsync.core.plan import Command
from drsync.engine.decisions import NO_DECISIONS, Decisions
from drsync.model.copy import Statement
from drsync.model.epoch import Epoch
from drsync.model.errors import DrsyncError, MalformedError
from drsync.ports.charter_store import CharterStore
from drsync.ports.clock import Clock, Random
from drsync.wire import control

Json = dict[str, object]

STATEMENT_TIMEOUT_S = (
    1.5  # because a member that lives answers in milliseconds, and the dead are not waited for
)


class Members(Protocol):
    """The centers' agents."""

    def is_connected(self, center: str) -> bool:
        """Whether asking makes sense now."""
        ...

    async def call(self, center: str, method: str, body: Json, timeout_s: float) -> Json:
        """Ask.

        Raises:
            TransientError: not connected, lost meanwhile, or no answer in time.
            DrsyncError: what the member answered instead.
        """
        ...


class Desk(Protocol):
    """Where the coordinator keeps what is not in the charter: leases, trust in the store, memory."""

    def lease(self, group_id: str) -> LeaseBook:
        """The lease book of a group."""
        ...

    def released(self, group_id: str, center: str, epoch: Epoch) -> None:
        """The lease holder has stopped answering, to give way to `epoch`."""
        ...

    def store_ready(self, group_id: str) -> str:
        """Empty, or why the charter store may not act yet."""
        ...

    def last_known(self, group_id: str) -> LastKnown | None:
        """The owner's last report."""
        ...

    def heard(self, group_id: str, statement: Statement) -> Statement:
        """Remember a statement; returned with what memory knows better (gone back in time)."""
        ...


Performed = Callable[[str, Command], None]
"""Is told the group id and each command that was carried out, before anything else is done."""


def tell_nobody(_group_id: str, _command: Command) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True)
class ProcedureWorld:
    """Everything a procedure touches, and who is told what it decides."""

    store: CharterStore
    members: Members
    desk: Desk
    clock: Clock
    random: Random
    decisions: Decisions = NO_DECISIONS
    performed: Performed = tell_nobody


def statement_in(body: Json) -> Statement:
    """The statement in an answer: the answer itself, or its field ``statement``. Raises MalformedError."""
    return control.from_json(Statement, body.get("statement", body))


async def ask_all(
    members: Members, group_id: str, centers: Iterable[str], timeout_s: float = STATEMENT_TIMEOUT_S
) -> dict[str, Statement]:
    """Ask members for their statements, all at once. Who does not answer in time is missing."""
    answers: dict[str, Statement] = {}

    async def ask(center: str) -> None:
        try:
            body = await members.call(center, "group.statement", {"group": group_id}, timeout_s)
            word = statement_in(body)
        except DrsyncError:
            return
        if word.center == center:
            answers[center] = word

    async with asyncio.TaskGroup() as tasks:
        for center in centers:
            if members.is_connected(center):
                tasks.create_task(ask(center))
    return answers


def text_of(body: Json, key: str) -> str:
    """A string in an answer. Raises MalformedError."""
    value = body.get(key)
    if not isinstance(value, str):
        raise MalformedError(f"{key}: a string was expected, not {type(value).__name__}")
    return value


def number_of(body: Json, key: str) -> int:
    """An integer in an answer. Raises MalformedError."""
    value = body.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise MalformedError(f"{key}: an integer was expected, not {type(value).__name__}")
    return value


def seconds_of(body: Json, key: str) -> float:
    """A number of seconds in an answer. Raises MalformedError."""
    value = body.get(key)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < math.inf:
        raise MalformedError(f"{key}: a number of seconds was expected")
    return float(value)


def texts_of(body: Json, key: str) -> dict[str, str]:
    """A mapping of strings in an answer. Raises MalformedError."""
    value = body.get(key)
    if not isinstance(value, dict):
        raise MalformedError(f"{key}: an object was expected, not {type(value).__name__}")
    return {str(name): str(text) for name, text in value.items()}
