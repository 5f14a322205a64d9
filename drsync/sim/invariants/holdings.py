"""What each member holds, whether or not its process lives: its log as the world last saw it.

A process that is killed leaves its log to the page cache; a machine without power keeps what was durable.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from drsync.engine.copy import GroupCopy
from drsync.engine.switch import Switch
from drsync.model.copy import CopyState
from drsync.sim.character import NAMES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from drsync.model.errors import NoSpaceError
    from drsync.sim.world import World

SyncedT = TypeVar("SyncedT", int, int | None)


@dataclass(slots=True)
class Holding:
    """One member's log.

    Attributes:
        copy: of the process that has it open, or had it open last; None while there is nothing.
        boot: which boot of the machine that was.
        ever: the highest record it ever held of its present log: a power cut may have taken it since.
        is_cut_short: one has perhaps, and no owner can know yet what is left.
        cutting_to: where a cut that is under way will end; a process may die in it.
    """

    copy: GroupCopy | None = None
    boot: int = 0
    ever: int = 0
    is_cut_short: bool = False
    cutting_to: int | None = None


class Holdings:
    """Of all members. `before_cut` and `before_trim` are asked at the moment when a journal loses records."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._all = {name: Holding() for name in NAMES}
        self.before_cut: Callable[[str, GroupCopy, int], None] = _ignore
        self.before_trim: Callable[[str, GroupCopy, int], None] = _ignore

    def of(self, name: str) -> Holding:
        """What is known of a member."""
        return self._all[name]

    # --- what happens

    def forget(self, name: str) -> None:
        """Its disk was replaced or put back."""
        self._all[name] = Holding()

    def opened(self, name: str, copy: GroupCopy) -> None:
        """A process has found the copy: it must hold what the process before it left (INV-10)."""
        holding, host = self._all[name], self._world.hosts[name]
        if holding.copy is not None and name not in self._world.harmed:
            self._compare(name, holding.copy, copy, has_lost_power=holding.boot != host.boots)
        if holding.copy is not None and holding.cutting_to is None:
            holding.ever = max(holding.ever, holding.copy.journal.tip.seq)  # nobody may have asked since
        holding.is_cut_short = holding.is_cut_short or holding.boot != host.boots
        holding.copy, holding.boot, holding.cutting_to = copy, host.boots, None
        holding.ever = max(holding.ever, copy.journal.tip.seq)
        self._attend(name, copy)

    def _compare(self, name: str, old: GroupCopy, new: GroupCopy, *, has_lost_power: bool) -> None:
        if old.state is CopyState.FAILED or self._world.hosts[name].disk.troubles:
            return
        kept = old.journal.durable_seq if has_lost_power else old.journal.tip.seq
        cutting_to = self._all[name].cutting_to
        kept = kept if cutting_to is None else min(kept, cutting_to)
        if new.journal.tip.seq < kept:
            how = "lost power" if has_lost_power else "was killed"
            self._world.ledger.note(
                "INV-10", f"{name} {how} with records up to {kept}, and found only {new.journal.tip.seq}"
            )

    def _attend(self, name: str, copy: GroupCopy) -> None:
        """Look at each cut, trim and switch just before it is done."""
        switch = copy.switch

        async def watched_switch(word: Switch, on_pause: "Callable[[NoSpaceError], Awaitable[None]]") -> None:
            self.before_cut(name, copy, word.fork)
            holding = self._all[name]
            holding.ever = holding.cutting_to = 0  # until it is what it becomes
            await switch(word, on_pause)
            holding.cutting_to = None
            self._attend_journal(name, copy)

        vars(copy).update(switch=watched_switch)
        self._attend_journal(name, copy)

    def _attend_journal(self, name: str, copy: GroupCopy) -> None:
        journal = copy.journal
        cut, trim = journal.cut, journal.trim
        vars(journal).update(
            sync=self._watched_sync(name, journal.sync),
            sync_at_once=self._watched_sync(name, journal.sync_at_once),
        )

        def watched_cut(after_seq: int) -> None:
            self.before_cut(name, copy, after_seq)
            holding = self._all[name]
            holding.ever = min(holding.ever, after_seq)
            holding.cutting_to = after_seq
            cut(after_seq)
            holding.cutting_to = None

        def watched_trim(through_seq: int) -> int:
            self.before_trim(name, copy, through_seq)
            return trim(through_seq)

        vars(journal).update(cut=watched_cut, trim=watched_trim)

    def _watched_sync(self, name: str, sync: "Callable[[], SyncedT]") -> "Callable[[], SyncedT]":
        """INV-05: what a sync that failed was to make durable is never taken to be so."""
        disk = self._world.hosts[name].disk

        def watched() -> "SyncedT":
            before = disk.failed_syncs
            found = sync()
            if disk.failed_syncs > before:
                self._world.ledger.note(
                    "INV-05", f"{name} takes for durable what a failed sync lost: {found}"
                )
            return found

        return watched

    # --- questions

    def has_lost_power(self, name: str) -> bool:
        """Whether its machine has, since the last process that had the copy."""
        host = self._world.hosts[name]
        return not host.is_up or host.boots != self._all[name].boot

    def tip(self, name: str) -> int:
        """The last record that it holds for certain now."""
        copy = self._all[name].copy
        if copy is None:
            return 0
        return copy.journal.durable_seq if self.has_lost_power(name) else copy.journal.tip.seq

    def durable(self, name: str) -> int:
        """The last record that it holds whatever happens to its machine."""
        copy = self._all[name].copy
        return copy.journal.durable_seq if copy is not None else 0

    def ever(self, name: str) -> int:
        """The highest record of its present log that it held since an owner last asked where it stands.

        After a power cut, that is: until then the owner counts what was acknowledged before in good faith.
        """
        holding = self._all[name]
        if holding.copy is not None:
            members = self._world.agents[name].members() if holding.is_cut_short else []
            if any(member.copy is holding.copy and member.receiver is not None for member in members):
                holding.ever, holding.is_cut_short = 0, False
            holding.ever = max(holding.ever, holding.copy.journal.tip.seq)
        return holding.ever

    def is_sound(self, name: str) -> bool:
        """Whether it is bound to hold what it acknowledged: undamaged, and its machine kept its power."""
        copy = self._all[name].copy
        if copy is None or name in self._world.harmed or copy.state is CopyState.FAILED:
            return False
        return not (copy.durable.unclean or copy.durable.amnesic or self.has_lost_power(name))


def _ignore(name: str, copy: GroupCopy, seq: int) -> None:
    """Nobody looks."""
    del name, copy, seq
