"""One term of ownership: from an opening to the end of its epoch at this center.

Runs everything that belongs to an owner beside the hot path: feeding the peers, keeping the in-sync set,
the lease, syncing, checkpoints. Ends when it is deposed, released or in trouble, and is never resumed:
going on needs a new epoch.
"""

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from drsync.core import lease, ownership
from drsync.core.group_log import GroupLog
from drsync.delta.batch import Kind
from drsync.delta.marks import (
    Checkpoint,
    GenerationCut,
    TreeMark,
    beat_payload,
    cut_payload,
    epoch_payload,
)
from drsync.engine.attach import Attachment, follow, meet
from drsync.engine.company import CONFIRM_TIMEOUT_S, keep_company
from drsync.engine.copy import GroupCopy
from drsync.engine.enforcement import Enforcer
from drsync.engine.growth import grow
from drsync.engine.heartbeat import BEAT_S, STALL_S, Pulse
from drsync.engine.lag import Lag, LagLedger
from drsync.engine.owner import OwnerEngine
from drsync.engine.peers import Peers
from drsync.engine.rest import REST_S, TICK_S, Rest, Watched, is_news
from drsync.engine.resync_desk import ResyncDesk, ResyncMeans
from drsync.engine.resync_source import Surroundings
from drsync.engine.syncer import Syncer
from drsync.model.charter import Charter
from drsync.model.errors import (
    DamagedError,
    DrsyncError,
    FailedCopyError,
    NoSpaceError,
    RefusedError,
    TransientError,
)
from drsync.model.group import Mode
from drsync.model.objectives import Beat
from drsync.model.position import Position
from drsync.ports.charter_store import CasOutcome, CharterStore
from drsync.ports.clock import Clock, Random
from drsync.wire import stream

if TYPE_CHECKING:
    from collections.abc import Mapping

KEPT_WORD_S = 0.5  # because journal is given back twice a second
KEPT_REST_S = 5.0  # because marks are some 300 bytes, and may be given back later
BACKGROUND_SYNC_S = 0.25  # because the durable position bounds what an unclean host restart can lose
RETRY_LOW_S, RETRY_HIGH_S = 0.2, 3.0  # because a returning peer should be met soon, a dead one seldom


class TermEvents(Protocol):
    """What the term tells the member it belongs to."""

    def term_troubled(self, error: DrsyncError) -> None:
        """The copy or the term cannot go on."""
        ...

    def charter_changed(self, charter: Charter) -> None:
        """A newer charter was read or written."""
        ...

    def peer_told(self, event: str, reason: str) -> None:
        """Something about a peer that people should read."""
        ...


class OwnerTerm:
    """The owner's loops in one epoch."""

    def __init__(
        self,
        *,
        copy: GroupCopy,
        charter: Charter,
        store: CharterStore,
        peers: Peers,
        clock: Clock,
        dice: Random,
        events: TermEvents,
        means: ResyncMeans,
    ) -> None:
        self.copy = copy
        self.charter = charter
        tip = copy.journal.tip.seq
        log = GroupLog(
            copy.me.center,
            charter.epoch,
            tip,
            copy.journal.durable_seq,
            copy.commit,
            charter.group.policy.durability,
        )
        self.engine = OwnerEngine(
            log=log, journal=copy.journal, volumes=copy.volumes, clock=clock, on_trouble=self._trouble
        )
        self.engine.wake_sync = self._wake_sync
        self.engine.foresee_sync = self._foresee_sync
        self.engine.on_damage = copy.damaged
        self.enforcer = Enforcer(charter.group, copy.me.center, self.engine, self.lag)
        self.insync = ownership.begin(charter)
        self.attachments: dict[str, Attachment] = {}
        self._watched = Watched(self.engine, self.enforcer, self.attachments, copy.me.center, self.lag)
        self.plans: dict[str, str] = {}
        self.trees: dict[int, TreeMark] = {}
        self.waiting = ""
        self.rounds = 0  # of the tick loop, which waits for nothing but the clock
        self._rest = Rest(clock, self._stirred)
        self._store = store
        self._peers = peers
        self._clock = clock
        self._dice = dice
        self._events = events
        self._policy = charter.group.policy
        self._syncer = Syncer(copy, self._synced, self._trouble)
        self._ticked = asyncio.Event()
        self._pace_wanted = asyncio.Event()
        self.engine.wake_pace = self._pace_wanted.set
        self.engine.stir = self._rest.stir
        self._ended = asyncio.Event()
        to_round_s = clock.until_round(BEAT_S)
        self._next_checkpoint = clock.now() - BEAT_S + to_round_s  # at once, and then in step with heartbeats
        self.pulse = Pulse(clock.now(), clock.wall_us(), copy.beats.newest.time_us, to_round_s)
        self._keeper = means.marks
        self._next_word = clock.now()
        self._told: Mapping[str, stream.ToldCursor] = {}
        self._told_at = clock.now()
        self._met_durable: dict[str, int] = {}
        self._lapsed: set[str] = set()
        self._ledger = LagLedger(charter.history[-1].fork_seq, clock.now())
        around = Surroundings(
            copy=copy,
            engine=self.engine,
            peers=peers,
            clock=clock,
            dice=dice,
            marks=means.marks,
            charter=lambda: self.charter,
            note_point=self._note_point,
            views=means.views,
            tell=events.peer_told,
            on_trouble=self._trouble,
        )
        self.resyncs = ResyncDesk(around, means.slots, self._take_out, self.enforcer, self.plans.__setitem__)
        log.set_ack_set(self.insync.ack_set)

    # --- life

    async def run(self) -> None:
        """Until the term ends. Never raises for trouble of this group: that is told to the member."""
        try:
            async with asyncio.TaskGroup() as tasks:
                loops = [
                    tasks.create_task(self._syncer.run()),
                    tasks.create_task(self._tick_loop()),
                    tasks.create_task(self._insync_loop()),
                    tasks.create_task(
                        keep_company(
                            self.copy.me.center, self.engine, self._peers, lambda: self.insync, self.renew
                        )
                    ),
                    tasks.create_task(self._pace_loop()),
                ]
                loops += [
                    tasks.create_task(self._peer_loop(member.name))
                    for member in self.charter.group.members
                    if member.name != self.copy.me.center
                ]
                await self._ended.wait()
                for loop in loops:
                    loop.cancel()
        finally:
            self.end()
            self.resyncs.close()
            for attachment in self.attachments.values():
                attachment.close()

    def end(self) -> None:
        """Acknowledge nothing from now on."""
        self.engine.close()
        self.copy.commit = max(self.copy.commit, self.engine.log.commit)
        self._ended.set()

    def start_epoch(self) -> None:
        """Write the record that explains the epoch to whoever reads the journal without a charter."""
        start = self.charter.history[-1]
        self.engine.mark(Kind.EPOCH_START, epoch_payload(start.epoch, start.uuid, start.fork_seq))
        self._grow()

    def _grow(self) -> None:
        """Nothing is served before that, see `engine.growth`."""
        for told in grow(self.copy, self.charter.group.volumes, self.engine, self.attachments):
            self._events.peer_told("resized", told)

    def _trouble(self, error: DrsyncError) -> None:
        if isinstance(error, DamagedError):
            self.copy.damaged(error)  # who met it waits until it is mended, or the copy has failed
            return
        if isinstance(error, FailedCopyError):
            self.copy.fail(error)
        elif isinstance(error, NoSpaceError):
            self.copy.space.journal = str(error)
        self._events.term_troubled(error)
        self.end()

    # --- the lease

    def renew(self, sent_at: float, seconds: float) -> None:
        """The store granted a lease asked for at `sent_at`."""
        if not self.engine.is_leased:  # and no tick has seen it: while suspended, a rest goes on afterwards
            self.pulse.watch(self._clock.now(), is_serving=False)
        self.engine.lease_until = max(self.engine.lease_until, lease.owner_view(sent_at, seconds))
        self.engine.settle()

    def learn(self, charter: Charter) -> None:
        """A charter was read. Another epoch or owner ends the term."""
        self._rest.stir()
        self.insync = ownership.learned(self.insync, charter)
        if self.insync.is_deposed:
            self.waiting = "deposed"
            self.end()
            return
        self.charter = self.insync.charter
        self.engine.log.set_ack_set(self.insync.ack_set)
        self.engine.settle()

    # --- durability

    def _wake_sync(self) -> None:
        """Make everything durable, now or soon; whoever calls settles afterwards."""
        durable = self._syncer.want()
        if durable is not None:
            self.engine.log.sync(min(durable, self.engine.log.appended))

    def _foresee_sync(self) -> None:
        """A flush will come: begin what takes long; what is brief delays an answer unless others append."""
        if len(self.engine.log.ack_set) > 1 or not self.copy.journal.is_sync_brief:
            self._wake_sync()

    def _synced(self, durable: int) -> None:
        log = self.engine.log
        log.sync(min(durable, log.appended))
        self.engine.settle()
        if self.engine.wants_durable > log.durable:
            self._wake_sync()
            self.engine.settle()

    # --- ticks

    async def _tick_loop(self) -> None:
        background = self._clock.now()
        while True:
            await self._rest.until(self._next_tick(self._clock.now()))
            self.rounds += 1
            self._ticked.set()
            now = self._clock.now()
            self.engine.settle()
            if self.engine.is_leased and not self.engine.is_frozen:
                self._grow()
            self._checkpoint_if_due(now)
            self._beat_if_due(now, is_hasty=now >= background)
            self.copy.commit = max(self.copy.commit, self.engine.log.commit)
            if now >= background:  # after the marks, so that they are durable at once while nothing else is
                background = now + BACKGROUND_SYNC_S
                if self.engine.log.durable < self.engine.log.appended:
                    self._wake_sync()
                for feed in self.engine.feeds:
                    if feed.durable < self.engine.log.appended:  # also when our own log was synced by others
                        feed.want_durable(self.engine.log.appended)
            self._ledger.note(self.engine.log.appended, self.engine.stats.write_bytes, now)
            self._tick_peers(now)
            if self._is_frozen_too_long():
                self._trouble(TransientError("frozen for longer than freeze_timeout", code="freeze_timeout"))
                return

    def _next_tick(self, now: float) -> float:
        if not self._is_set_settled or not self._watched.is_calm(self.charter.group, now):
            return now + TICK_S
        return min(now + REST_S, self.pulse.due, self._next_checkpoint, self._watched.lease_due)

    def _stirred(self, now: float) -> None:
        """The rest is over before something is appended or changes: until now all was as at the last tick."""
        self._ledger.rested(now)
        self.pulse.watch(now, is_serving=self.engine.is_leased)  # at rest the gate is open
        for attachment in self.attachments.values():
            attachment.rested()

    @property
    def _is_set_settled(self) -> bool:
        """Nothing is to be changed about the in-sync set, and nothing was asked for."""
        state = self.insync
        return state.pending is None and not self._lapsed & state.charter.in_sync

    async def _pace_loop(self) -> None:
        """Give the answers that were held back for the sake of a peer."""
        while True:
            await self._pace_wanted.wait()
            self._pace_wanted.clear()
            while (due := self.engine.held_until) is not None and self.engine.is_leased:
                await self._clock.sleep_until(due)
                self.engine.settle()

    def _tick_peers(self, now: float) -> None:
        self.enforcer.tick(self.attachments, self.resyncs.takes_set)
        self.resyncs.keep_free(self.enforcer.measures.troubled)
        if (news := self.engine.gate.news()) is not None:
            self._events.peer_told(*news)
        for center, attachment in list(self.attachments.items()):
            if attachment.is_lost:
                continue
            if attachment.takes_blocks and self.resyncs.wants_set(center):
                self.resyncs.give_set(center)
                attachment.close("its line is slower than the writes, and it is sent a delta set")
                continue
            self._met_durable[center] = max(self._met_durable.get(center, 0), attachment.feed.durable)
            self._keeper.confirmed(center, attachment.incarnation, attachment.feed.durable)
            attachment.tick(self.engine.log.commit, now, self.enforcer.pressure(center))
        if now >= self._next_word:
            self._next_word = now + KEPT_WORD_S
            self._tell_kept(now)
        self._ledger.forget(self.retain_seq)

    def _tell_kept(self, now: float) -> None:
        """Tell the peers for whom journal is kept; that only marks were added can wait."""
        told = self._keeper.to_tell(self.engine.log.durable)
        if now >= self._told_at + KEPT_REST_S or is_news(self._told, told):
            self._told, self._told_at = told, now
        body = stream.encode_cursors(stream.Cursors(self.engine.log.epoch, self._told))
        for attachment in self.attachments.values():
            if not attachment.is_lost:
                attachment.tell_kept(self.retain_seq, body)

    def converted(self, center: str, through: int) -> None:
        """What a peer lacks up to `through` is marked: its stream ends if it has not come so far.

        The next comparison tells that it is brought level by blocks. Who has the records, and has not made
        them durable yet, goes on as it is.
        """
        attachment, lacks = self.attachments.get(center), self.engine.log.peer(center).appended < through
        if attachment is not None and not attachment.is_lost and lacks:
            attachment.close("it held back more journal than the quota, and is brought level by blocks")

    def _is_frozen_too_long(self) -> bool:
        """Writes that wait by policy do not count: the next epoch would only take them without the peer."""
        timeout = self._policy.freeze_timeout_s
        return timeout > 0 and self.engine.oldest_pending_age > timeout

    def _checkpoint_if_due(self, now: float) -> None:
        engine = self.engine
        if now < self._next_checkpoint or engine.is_frozen or engine.is_full or not engine.is_leased:
            return
        is_late = now - self._next_checkpoint >= REST_S  # else in step with the heartbeats, for one tick
        self._next_checkpoint = (now if is_late else self._next_checkpoint) + self._policy.checkpoint_s
        with suppress(FailedCopyError):  # the term has ended by it, and says why
            self.checkpoint("", is_app_consistent=False)

    def _beat_if_due(self, now: float, *, is_hasty: bool = False) -> None:
        """Mark the log, so that every copy can show how old it is."""
        engine = self.engine
        is_serving = engine.is_leased and not engine.is_frozen and not engine.is_full
        is_stalled = engine.oldest_pending_age > STALL_S
        self.pulse.watch(now, is_serving=is_serving and engine.oldest_wait <= STALL_S)
        number = self.pulse.next_number(now) if is_serving and not is_stalled else 0
        if not number:
            return
        label = self.pulse.label(now)
        position = engine.mark(Kind.HEARTBEAT, beat_payload(label, number), is_hasty=is_hasty)
        if not engine.is_closed:
            self.copy.beats.note(Beat(position.seq, label, position.epoch))
            self._ledger.mark(position.seq)

    def _require_taking(self, what: str) -> None:
        """Raises RefusedError: no record may be written now, not even one of our own."""
        engine = self.engine
        if engine.is_frozen or not engine.is_leased or engine.is_full:
            why = self.waiting or engine.gate.words or "no lease"
            raise RefusedError(f"{self.copy.me.center} does not {what} now: {why}")

    def checkpoint(self, name: str, *, is_app_consistent: bool, confirms: int = 0) -> Position:
        """Append a CHECKPOINT record; returns its position. `confirms`: an earlier one that is proved.

        Raises:
            RefusedError: frozen, without a lease, or the journal is full by policy.
            FailedCopyError: it could not be written; the term has ended.
        """
        self._require_taking("take writes")
        trees = tuple(self.trees[index] for index in sorted(self.trees))
        mark = Checkpoint(0, 0, name, is_app_consistent, trees, self.engine.sampler.mark(), confirms)
        position = self.engine.mark(Kind.CHECKPOINT, mark.payload)
        if self.engine.is_closed:
            raise FailedCopyError(f"the checkpoint was not written: {self.copy.failure or self.waiting}")
        self._ledger.mark(position.seq)
        for attachment in self.attachments.values():
            attachment.sender.mark()
        self.copy.add_checkpoint(replace(mark, seq=position.seq, time_us=self.engine.last_time_us))
        if confirms:  # it stands in the place of the next one that is due
            self._next_checkpoint = self._clock.now() + self._policy.checkpoint_s
        return position

    def cut_generation(self, cut: GenerationCut) -> int:
        """Append a GEN_CUT record: from here on the log says that the tree was in this generation.

        Returns its record number; `cut.seq` and `cut.time_us` are not looked at.

        Raises:
            RefusedError: frozen, without a lease, or the journal is full by policy.
            FailedCopyError: it could not be written; the term has ended.
        """
        self._require_taking("cut trees")
        position = self.engine.mark(Kind.GEN_CUT, cut_payload(cut))
        if self.engine.is_closed:
            raise FailedCopyError(f"the cut was not written: {self.copy.failure or self.waiting}")
        self.trees[cut.fileset] = TreeMark(cut.fileset, cut.generation, cut.digest)
        return position.seq

    @property
    def retain_seq(self) -> int:
        """Every member has the log up to here durably; nobody will ask for it again."""
        return self._keeper.confirmed_by_all(self.engine.log.durable)

    def confirmed(self, center: str) -> int:
        """The last record that a member confirmed as durable in this term; 0: none yet."""
        return self._met_durable.get(center, 0)

    def lag(self, center: str) -> Lag:
        """What a member lacks, by what it last confirmed as durable in this term."""
        log = self.engine.log
        return self._ledger.lag(
            self._met_durable.get(center, 0), log.appended, self.engine.stats.write_bytes, self._clock.now()
        )

    # --- the in-sync set

    async def _insync_loop(self) -> None:
        """Shrink before acknowledging without a member, grow after it caught up; the charter first."""
        while True:
            await self._ticked.wait()  # because a timer of its own would wake an idle process twice as often
            self._ticked.clear()
            wanted = self._wanted_change()
            if wanted is not None:
                await self._change_charter(wanted)

    def _wanted_change(self) -> Charter | None:
        state, log = self.insync, self.engine.log
        if state.pending is not None:
            return state.pending
        for member in sorted(self._lapsed & state.charter.in_sync):
            self._lapsed.discard(member)
            self.insync, wanted = ownership.shrink(state, member)
            if wanted is not None:
                self.waiting = f"{member} came back without records that it had acknowledged"
                return wanted
        for member in sorted(state.charter.in_sync - {self.copy.me.center}):
            is_behind = log.peer(member).appended < log.appended
            if is_behind and self.engine.oldest_pending_age > self._policy.sync_timeout_s:
                self.insync, wanted = ownership.shrink(state, member)
                self.waiting = f"{member} has not acknowledged for {self._policy.sync_timeout_s:g} s"
                return wanted
        for center, attachment in self.attachments.items():
            if center not in state.charter.in_sync and not attachment.is_lost and attachment.is_eligible:
                appended = log.peer(center).appended
                self.insync, wanted = ownership.grow(state, center, appended, log.commit)
                if wanted is not None:
                    log.set_ack_set(self.insync.ack_set)
                    return wanted
        return None

    async def _change_charter(self, wanted: Charter) -> None:
        result = await self._store.compare_and_set(wanted.version - 1, wanted)
        kind = {
            CasOutcome.DONE: ownership.CasKind.DONE,
            CasOutcome.LOST: ownership.CasKind.LOST,
            CasOutcome.UNKNOWN: ownership.CasKind.UNKNOWN,
        }[result.outcome]
        self.insync = ownership.outcome(self.insync, ownership.CasView(kind, result.current))
        if self.insync.is_deposed:
            self.end()
            return
        if kind is ownership.CasKind.DONE:
            self.waiting = ""
        if self.insync.pending is not None:
            await self._clock.sleep_until(self._clock.now() + RETRY_LOW_S)
        self.charter = self.insync.charter
        self._events.charter_changed(self.charter)
        self.engine.log.set_ack_set(self.insync.ack_set)
        self.engine.settle()

    # --- peers

    async def _peer_loop(self, center: str) -> None:
        """Attach a peer, feed it until it is lost, and again."""
        delay = RETRY_LOW_S
        while True:
            try:
                await self._attach_once(center)
                delay = RETRY_LOW_S
            except RefusedError as error:
                self.resyncs.no_set(center)
                self.plans[center] = str(error)
                if error.code == "stale_epoch":
                    self._stale(center)
            except DrsyncError as error:
                self.resyncs.no_set(center)
                self.plans[center] = str(error)
            await self._clock.sleep_until(self._clock.now() + self._dice.uniform(delay / 2, delay))
            delay = min(delay * 2, RETRY_HIGH_S)

    async def _attach_once(self, center: str) -> None:
        met = await meet(center, self.charter, self.copy, self.engine, self._peers)
        if center in self.insync.charter.in_sync and met.statement.tip.seq < self.engine.log.commit:
            self._rest.stir()
            self._lapsed.add(center)  # a wiped or restored store: it must not count while it is refilled
        if await self.resyncs.catch_up(center, met):
            self._met_durable[center] = max(self.confirmed(center), self.resyncs.level(center))
            return
        self.resyncs.no_set(center)
        plan, statement = await follow(center, self.charter, met, self._peers)
        held = min(statement.tip.seq, statement.durable)
        await self._keeper.met(center, statement.incarnation, held)
        channel = await self._peers.bulk(center)
        attachment = Attachment(
            engine=self.engine,
            copy=self.copy,
            statement=statement,
            channel=channel,
            features=met.features,
            on_stale=lambda promised: self._stale(center),
            on_trouble=self._trouble,
        )
        self.plans[center] = plan.words
        self._rest.stir()
        self.attachments[center] = attachment
        attachment.start(
            self.charter.group.id, is_near=center in self.charter.group.mates(self.copy.me.center)
        )
        try:
            if attachment.needs_absolution:
                await self._absolve(center, attachment)
            await attachment.lost_event.wait()
        finally:
            attachment.close()
        self.plans[center] = attachment.reason

    async def _take_out(self, center: str) -> None:
        """Out of the in-sync set, confirmed: who is brought level by blocks answers for no write."""
        if center not in self.insync.ack_set:
            return
        if self._policy.mode is not Mode.SYNC:
            raise RefusedError(
                f"{center} lacks blocks, and a group in mode {self._policy.mode.value} goes on with it alone",
                code="in_sync",
                remedy="switch the group to mode sync until it is level, or move it to another center",
            )
        while center in self.insync.ack_set:
            self._rest.stir()
            self._lapsed.add(center)
            await self._clock.sleep_until(self._clock.now() + TICK_S)

    def _note_point(self) -> int:
        """Write a checkpoint, so that a session ends at a point; its record, 0 when there is none."""
        with suppress(RefusedError, FailedCopyError):
            self._beat_if_due(self._clock.now())
            return self.checkpoint("", is_app_consistent=False).seq
        return 0

    async def _absolve(self, center: str, attachment: Attachment) -> None:
        """A member that restarted uncleanly or went back in time is clean once it has caught up."""
        while attachment.feed.durable < self.engine.log.commit or not attachment.feed.is_live:
            if attachment.is_lost:
                return
            await self._clock.sleep_until(self._clock.now() + TICK_S)
        body: dict[str, object] = {"group": self.charter.group.id, "epoch": self.charter.epoch}
        await self._peers.call(center, "group.absolve", body, CONFIRM_TIMEOUT_S)
        attachment.needs_absolution = False

    def _stale(self, center: str) -> None:
        """A member has promised a higher epoch: nothing can be acknowledged with it any more."""
        self.waiting = f"{center} has promised a higher epoch"
        self._trouble(RefusedError(self.waiting, code="stale_epoch"))
