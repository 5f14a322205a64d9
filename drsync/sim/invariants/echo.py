"""INV-17: a request that was carried out is repeated later, as by a coordinator that does not know it was.

Nothing may be promised, followed, opened or cut by that: it is answered as before, or refused.
"""

from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drsync.core.plan import Command, OpenGroup, Prepare, Seal
from drsync.engine.member import Member
from drsync.model.copy import Statement
from drsync.model.epoch import Epoch
from drsync.model.errors import DrsyncError
from drsync.model.position import History

if TYPE_CHECKING:
    import random

    from drsync.sim.world import World

KEPT = 30  # because what is older was overtaken by so much that it is refused for many reasons


@dataclass(frozen=True, slots=True)
class Standing:
    """What a repeated request may not change."""

    promised: Epoch
    follow: Epoch
    history: History
    opened: Epoch


class Echo:
    """Repeats what coordinators had done."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._dice: random.Random = world.new_dice("echo")
        self._done: deque[tuple[Member, Seal | Prepare | OpenGroup]] = deque(maxlen=KEPT)
        self.repeated = 0

    def performed(self, command: Command) -> None:
        """A command was carried out."""
        if isinstance(command, Seal | Prepare | OpenGroup):
            members = self._world.agents[command.center].members()
            if members:
                self._done.append((members[0], command))

    def repeat(self) -> None:
        """Have one of them carried out again, if the process that did it is still there."""
        if not self._done:
            return
        member, command = self._dice.choice(self._done)
        agent = self._world.agents[command.center]
        if agent.process is None or not agent.is_alive or member not in agent.members():
            return
        agent.process.spawn(self._again(command.center, member, command))

    async def _again(self, center: str, member: Member, command: Seal | Prepare | OpenGroup) -> None:
        if member.is_busy:
            return  # what another request changes meanwhile is not to be told apart
        before, tip = _standing(member), member.copy.journal.tip
        with suppress(DrsyncError):  # refused: just as well
            await _ask(member, command)
        self.repeated += 1
        after, now = _standing(member), member.copy.journal.tip
        if (after.promised, after.follow, after.history) != (before.promised, before.follow, before.history):
            self._wrong(center, command, f"{before} became {after}")
        if after.opened not in {before.opened, Epoch(0)}:
            self._wrong(center, command, f"epoch {after.opened:x} was opened again")
        if now.seq < tip.seq:
            self._wrong(center, command, f"the log went back from {tip.seq} to {now.seq}")

    def _wrong(self, center: str, command: Command, what: str) -> None:
        self._world.ledger.note("INV-17", f"{command} was repeated at {center}: {what}")


async def _ask(member: Member, command: Seal | Prepare | OpenGroup) -> Statement:
    match command:
        case Seal(epoch=epoch):
            return await member.seal(epoch)
        case Prepare(epoch=epoch, history=history):
            return await member.prepare(epoch, history, ())
        case OpenGroup(charter=charter):
            return await member.open(charter)


def _standing(member: Member) -> Standing:
    durable, term = member.copy.durable, member.term
    opened = term.charter.epoch if term is not None and not term.engine.is_closed else Epoch(0)
    return Standing(durable.promised, durable.follow, durable.history, opened)
