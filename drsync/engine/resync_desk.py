"""Which peers of a term catch up by blocks, and when: the way from a comparison to a session, and its words.

What follows from a comparison is `core.resync.plan`. Here are the conditions beside it: the peer is in no
in-sync set, it understands, there is a slot, and what was refused is not asked for again at once.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from drsync.core import compare, extents, resync
from drsync.core.compare import ConnectPlan
from drsync.core.resync import How
from drsync.core.resync_order import Applicant
from drsync.core.resync_tables import SourceState
from drsync.engine.resync_ask import Mode
from drsync.engine.resync_marks import Marks
from drsync.engine.resync_progress import Progress
from drsync.engine.resync_slots import ResyncSlots
from drsync.engine.resync_source import ResyncSource, Surroundings, Wanted
from drsync.model.copy import Statement
from drsync.model.errors import DrsyncError, RefusedError
from drsync.wire.negotiate import FEATURE_RESYNC, FEATURE_ZSTD

PAUSE_LOW_S: Final = 2.0  # because space may come back at once
PAUSE_HIGH_S: Final = 300.0  # because what was refused ten times wants a person
PAUSING: Final = frozenset(("outrun", "stalled"))
"""Transient ends that come again if nothing changes."""


@dataclass(frozen=True, slots=True)
class Met:
    """A peer that was asked where it stands, and what comparing told.

    Attributes:
        statement: its word.
        features: that it named.
        found: the plan.
        fork: last record of its log that is ours too.
        chain: ours there; None when the journal does not tell.
        view: what it was compared with.
    """

    statement: Statement
    features: frozenset[str]
    found: ConnectPlan
    fork: int
    chain: bytes | None
    view: compare.OwnerView


@dataclass(frozen=True, slots=True)
class ResyncMeans:
    """What a term is given for its sessions: the marks of its copy, the slots of its agent."""

    marks: Marks
    slots: ResyncSlots


@dataclass(slots=True)
class _Pause:
    """After what was refused: not before `until`, and why."""

    until: float
    seconds: float
    error: DrsyncError


class ResyncDesk:
    """The sessions of one term."""

    def __init__(
        self,
        around: Surroundings,
        slots: ResyncSlots,
        take_out: Callable[[str], Awaitable[None]],
        pressure: Callable[[str], float],
        say: Callable[[str, str], None],
    ) -> None:
        """Ask for the rest of what it needs.

        Args:
            around: what sessions work with.
            slots: shared by all groups of this agent.
            take_out: takes a center out of the in-sync set; returns when that is confirmed.
            pressure: a center's lag as a share of what it may be.
            say: what is done for a center, for people.
        """
        self._around = around
        self._slots = slots
        self._take_out = take_out
        self._pressure = pressure
        self._say = say
        self._sources: dict[str, ResyncSource] = {}
        self._pauses: dict[str, _Pause] = {}
        self.done: dict[str, int] = {}

    def of(self, center: str) -> ResyncSource:
        """The sessions with a center."""
        return self._sources.setdefault(center, ResyncSource(center, self._around))

    def progress(self, center: str) -> Progress | None:
        """How far its session is; None without one."""
        source = self._sources.get(center)
        return source.progress if source is not None else None

    def level(self, center: str) -> int:
        """The record at which its last session ended, or where it was met since."""
        return self._around.marks.cursor(center)

    def wire_bytes(self, center: str) -> int:
        """Bytes of bodies that all its sessions sent, as they went out."""
        source, progress = self._sources.get(center), self.progress(center)
        if progress is not None:
            return progress.wire_bytes
        return source.wire_bytes if source is not None else 0

    async def outgrow(self, center: str, through: int) -> bool:
        """See `ResyncSource.outgrow`."""
        return await self.of(center).outgrow(through)

    def close(self) -> None:
        """The term is over."""
        for center in sorted(self._sources):
            self._sources[center].close()

    async def catch_up(self, center: str, met: Met) -> bool:
        """Make the session that the peer needs: whether there was one, so that it is to be asked anew.

        False: it can be streamed to, or must not be joined at all; `attach.follow_plan` says which.

        Raises:
            DrsyncError: no session now; says why.
        """
        if self._plan(center, met) is How.NOT:
            return False
        if FEATURE_RESYNC not in met.features:
            return False
        statement = met.statement
        held = min(met.fork, statement.durable)
        await self._around.marks.met(center, statement.incarnation, held)
        source = self.of(center)
        if source.source.state is SourceState.KEPT and await self._session(center, met, is_kept=True):
            return True
        if self._plan(center, met) is How.STREAM:
            return False
        self._require_patience(center)
        return await self._session(center, met, is_kept=False)

    def _plan(self, center: str, met: Met) -> How:
        trimmed = self._around.copy.journal.first_seq - 1
        return resync.plan(met.found, self._around.marks.of(center), trimmed)

    def _require_patience(self, center: str) -> None:
        pause = self._pauses.get(center)
        if pause is not None and self._around.clock.now() < pause.until:
            raise pause.error

    async def _session(self, center: str, met: Met, *, is_kept: bool) -> bool:
        around, source = self._around, self.of(center)
        await self._take_out(center)
        self._say(center, "waits for a slot to be brought level by blocks")
        async with self._slots.slot(self._applicant(center), around.clock, around.dice):
            wanted = self._wanted(center, met)
            self._say(center, f"is brought level by blocks: {wanted.mode.value}")
            try:
                if is_kept:
                    is_level = await source.resume(wanted)
                else:
                    await source.begin(wanted)
                    is_level = True
            except DrsyncError as error:
                self._note(center, error)
                raise
        if is_level:
            self._pauses.pop(center, None)
            self.done[center] = self.done.get(center, 0) + 1
        return is_level

    def _wanted(self, center: str, met: Met) -> Wanted:
        if isinstance(met.found, compare.Corrupt):
            reason = f"{center} differs from the owner at record {met.found.seq}: all of it is compared"
            self._around.tell("resync_corrupt", reason)
        can_unpack = FEATURE_ZSTD in met.features and self._around.copy.spec.policy.compress
        return Wanted(met.statement, met.fork, met.chain, self._mode(center, met), can_unpack)

    def _mode(self, center: str, met: Met) -> Mode:
        if compare.is_blank(met.statement):
            return Mode.EVERYTHING
        return Mode.DIRTY if self._plan(center, met) is How.DIRTY else Mode.DIGEST

    def _applicant(self, center: str) -> Applicant:
        runs = self._around.marks.of(center).runs
        size = self.of(center).whole_size if runs is None else extents.size(runs)
        return Applicant(f"{self._around.copy.spec.id}/{center}", self._pressure(center), size)

    def _note(self, center: str, error: DrsyncError) -> None:
        """What a person, or time, has to change is waited for longer each time."""
        if not isinstance(error, RefusedError) and error.code not in PAUSING:
            return
        before = self._pauses.get(center)
        seconds = PAUSE_LOW_S if before is None else min(before.seconds * 2, PAUSE_HIGH_S)
        self._pauses[center] = _Pause(self._around.clock.now() + seconds, seconds, error)
        if before is None or str(before.error) != str(error):
            remedy = f"; {error.remedy}" if error.remedy else ""
            self._around.tell("resync_refused", f"{error}{remedy}")
