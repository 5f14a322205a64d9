"""Which peers of a term catch up by blocks, and when: the way from a comparison to a session, and its words.

What follows from a comparison is `core.resync.plan`. Here are the conditions beside it: the peer is in no
in-sync set, it understands, there is a slot, and what was refused is not asked for again at once.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

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
from drsync.engine.views import Views
from drsync.model.copy import Statement
from drsync.model.errors import DrsyncError, RefusedError
from drsync.wire.negotiate import FEATURE_PAGES, FEATURE_RESYNC, FEATURE_ZSTD

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
    """What a term is given for its sessions: marks and views of its copy, the slots of its agent."""

    marks: Marks
    slots: ResyncSlots
    views: Views


class Lagging(Protocol):
    """How far behind centers are, and who gets delta sets (`drsync.engine.enforcement.Enforcer`)."""

    def pressure(self, center: str) -> float:
        """Lag as a share of what it may be; 0 while nothing is to be done about it."""
        ...

    def is_in_sets(self, center: str) -> bool:
        """Whether it gets sets where they pay."""
        ...

    def gets_set(self, center: str) -> bool:
        """Whether one pays now, by what was counted last."""
        ...

    def counted(self, center: str, size: int | None) -> None:
        """Bytes of what a set would hold now; None: nobody knows."""
        ...


ANSWER_S: Final = 3.0
"""Because who is well opens a line for a set in less; writes that wait by policy would wait with it."""


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
        lagging: Lagging,
        say: Callable[[str, str], None],
    ) -> None:
        """Ask for the rest of what it needs.

        Args:
            around: what sessions work with.
            slots: shared by all groups of this agent.
            take_out: takes a center out of the in-sync set; returns when that is confirmed.
            lagging: who is how far behind, and who gets delta sets.
            say: what is done for a center, for people.
        """
        self._around = around
        self._slots = slots
        self._take_out = take_out
        self._lagging = lagging
        self._pressure = lagging.pressure
        self._troubled: tuple[str, ...] = ()
        self._given: dict[str, float] = {}
        """Since when centers are sent a set instead of the stream, or are about to be."""
        self._say = say
        self._sources: dict[str, ResyncSource] = {}
        self._pauses: dict[str, _Pause] = {}
        self.done: dict[str, int] = {}

    def of(self, center: str) -> ResyncSource:
        """The sessions with a center."""
        return self._sources.setdefault(center, ResyncSource(center, self._around))

    def keep_free(self, centers: tuple[str, ...]) -> None:
        """Sessions with others wait while these are in trouble."""
        if centers != self._troubled or (centers and self._slots.waiting):
            self._troubled = centers
            self._slots.told(self._around.copy.spec.id, centers, self._around.clock.now())

    # --- delta sets

    def wants_set(self, center: str) -> bool:
        """Whether the center is to be sent what changed once instead of the stream."""
        return self._lagging.gets_set(center) and self._patience(center) is None

    def gives_set(self, center: str) -> bool:
        """Whether it is being sent a set, or about to be."""
        return center in self._given

    def takes_set(self, center: str) -> bool:
        """Whether the center takes a set: a line for it is open, or was asked for a moment ago.

        A center that does not answer is lost, and nobody's writes wait for it (P36).
        """
        since = self._given.get(center)
        return since is not None and (
            self.of(center).line is not None or self._around.clock.now() - since < ANSWER_S
        )

    def give_set(self, center: str) -> None:
        """Its stream has ended for that."""
        self._given.setdefault(center, self._around.clock.now())

    def no_set(self, center: str) -> None:
        """It is streamed to, or not reached."""
        self._given.pop(center, None)

    async def _is_set_due(self, center: str, met: Met) -> bool:
        """Counted anew, because much may have been written, or confirmed, since it was counted last."""
        if not isinstance(met.found, compare.Stream) or not self._lagging.is_in_sets(center):
            return False
        around = self._around
        self._lagging.counted(center, await around.marks.set_bytes(center, around.engine.log.commit))
        return self.wants_set(center)

    # --- sessions

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
        self.keep_free(())
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
        statement, around = met.statement, self._around
        held = min(met.fork, statement.durable)
        await around.marks.met(center, statement.incarnation, held)
        source = self.of(center)
        if source.source.state is SourceState.KEPT and await self._session(center, met, is_kept=True):
            return True
        if self._plan(center, met) is How.STREAM:
            if not await self._is_set_due(center, met):
                return False
            self.give_set(center)
            return await self._session(center, met, is_kept=False)
        pause = self._patience(center)
        if pause is None:
            return await self._session(center, met, is_kept=False)
        trimmed = around.copy.journal.first_seq - 1
        if resync.may_stream_marked(met.found, around.marks.of(center), trimmed):
            return False
        raise pause.error

    def _plan(self, center: str, met: Met) -> How:
        trimmed = self._around.copy.journal.first_seq - 1
        return resync.plan(met.found, self._around.marks.of(center), trimmed)

    def _patience(self, center: str) -> _Pause | None:
        """What was refused, while that is not asked for again."""
        pause = self._pauses.get(center)
        return pause if pause is not None and self._around.clock.now() < pause.until else None

    async def _session(self, center: str, met: Met, *, is_kept: bool) -> bool:
        around, source = self._around, self.of(center)
        await self._take_out(center)
        self._say(center, "waits for a slot to be brought level by blocks")
        async with self._slots.slot(self._applicant(center), around.clock, around.dice):
            wanted = self._wanted(center, met)
            what = "is sent a delta set" if self.gives_set(center) else "is brought level by blocks"
            self._say(center, f"{what}: {wanted.mode.value}")
            try:
                if is_kept:
                    is_level = await source.resume(wanted)
                else:
                    await source.begin(wanted, is_set=self.gives_set(center))
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
        can_page = FEATURE_PAGES in met.features
        return Wanted(met.statement, met.fork, met.chain, self._mode(center, met), can_unpack, can_page)

    def _mode(self, center: str, met: Met) -> Mode:
        if compare.is_blank(met.statement):
            return Mode.EVERYTHING
        return Mode.DIGEST if self._plan(center, met) is How.DIGEST else Mode.DIRTY

    def _applicant(self, center: str) -> Applicant:
        runs = self._around.marks.of(center).runs
        size = self.of(center).whole_size if runs is None else extents.size(runs)
        spec = self._around.copy.spec
        return Applicant(f"{spec.id}/{center}", self._pressure(center), size, spec.policy.priority)

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
