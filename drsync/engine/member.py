"""A center's part in one group: replica, sealed candidate or owner, and the requests that change it.

Requests come from the coordinator (seal, freeze, release, prepare, open) and from the owner's center
(attach, follow, confirm). They are serialised by one lock; each answers with the member's statement, and
nothing is stated before it is durable. Repeating a request is harmless.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace

from drsync.core import compare, generation, lease, ownership
from drsync.engine.bulk import BulkChannel
from drsync.engine.candidate import Candidate
from drsync.engine.copy import GroupCopy
from drsync.engine.fold import Folder
from drsync.engine.member_world import MemberEvents, World
from drsync.engine.mending import Mender
from drsync.engine.owner import OwnerDevice
from drsync.engine.receiver import Donor, Receiver
from drsync.engine.resync_ask import Answer
from drsync.engine.resync_desk import ResyncMeans
from drsync.engine.resync_host import ResyncHost
from drsync.engine.resync_intake import Intake
from drsync.engine.resync_target import Asked, ResyncTarget
from drsync.engine.retention import Keeper
from drsync.engine.space import RoomSeeker
from drsync.engine.syncer import Syncer
from drsync.engine.term import OwnerTerm
from drsync.engine.trees import NoTrees, Trees
from drsync.engine.views import Views
from drsync.model import epoch as epochs
from drsync.model.charter import Charter
from drsync.model.copy import CopyState, Statement
from drsync.model.epoch import NEVER, Epoch
from drsync.model.errors import DamagedError, DrsyncError, FailedCopyError, NoSpaceError, RefusedError
from drsync.model.position import History
from drsync.wire import control
from drsync.wire.negotiate import MEMBER_FEATURES
from drsync.wire.resync import Begin
from drsync.wire.stream import Attach, ToldCursor, session_bytes

__all__ = ["Member", "MemberEvents", "World"]

SOUGHT_LEASES = 2  # because a confirmation binds for one lease, and a procedure asks again all the time


class Member:
    """One group at this center."""

    def __init__(self, copy: GroupCopy, world: World, events: "MemberEvents[Member]") -> None:
        self.copy = copy
        self.views = Views(copy)
        self.term: OwnerTerm | None = None
        self.receiver: Receiver | None = None
        self.trees: Trees = NoTrees()
        self._world = world
        self._events = events
        self._lock = asyncio.Lock()
        self._gone = asyncio.Event()
        self._resync_host = ResyncHost(self, self._lock, self._say, self._view_given_up)
        self.resyncs = ResyncTarget(copy, world.clock, self._resync_host)
        self.keeper = Keeper(copy, self.views, self._say, self._view_given_up)
        self.resyncs.mark_others = self.keeper.mark_switch
        self.folder = Folder(copy, self.keeper, world.clock, self.copy_troubled)
        self._room = RoomSeeker(copy, world.clock, self._space_back, self.copy_troubled)
        self._candidate = Candidate(copy, world.peers, self._cut, self._log, self._room.seek)
        self.mender = Mender(copy, world.peers, world.clock, self.folder.lock, self._say, self._mended)
        copy.damaged = self.mender.noticed
        self.folder.mend = self.mender.mend_now
        self._opened = asyncio.Event()
        self._syncer = Syncer(copy, self._synced, self.copy_troubled)
        self.on_give_way: Callable[[str], None] = lambda _why: None  # ends hooks that run for a checkpoint
        self._is_checked = False
        self._sought = (NEVER, 0.0)

    # --- life

    async def run(self) -> None:
        """The loops of this copy; until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.folder.run())
            tasks.create_task(self._room.run())
            tasks.create_task(self.mender.run())
            tasks.create_task(self._syncer.run())
            tasks.create_task(self.resyncs.run())
            tasks.create_task(self._term_loop())

    async def _term_loop(self) -> None:
        while True:
            await self._opened.wait()
            self._opened.clear()
            term = self.term
            assert term is not None
            try:
                await term.run()
            finally:
                self._gone.set()  # whoever waits with the lock held goes on, even after a bug
            self._term_ended(term)

    def _term_ended(self, term: OwnerTerm) -> None:
        if self.term is term:
            self.term = None
            self.folder.term_ended()
            self._gone.set()
        self.on_give_way("the term of ownership ended")
        if self.copy.state in (CopyState.OWNER, CopyState.FROZEN):
            self.copy.state = CopyState.REPLICA
        self._events.log_member(self, "term_ended", term.waiting or "released")
        self._events.exports_changed(self)
        self._events.word_changed(self)

    @property
    def is_busy(self) -> bool:
        """Whether a request is under way, so that another one would wait."""
        return self._lock.locked()

    @property
    def is_owner(self) -> bool:
        """Whether a term of ownership runs here."""
        return self.term is not None

    @property
    def charter(self) -> Charter | None:
        """The newest charter this member has seen."""
        return self.copy.durable.charter

    def bound_s(self) -> float:
        """For how long a confirmation to an owner without the store still binds this member; 0: none does."""
        return max(0.0, self.copy.durable.bound_until - self._world.clock.now())

    def statement(self) -> Statement:
        """This member's word; not to be passed on while the copy is not settled (`require_settled`)."""
        return replace(self.copy.statement(), resync=self.resyncs.words)

    def device(self, volume: str) -> OwnerDevice | None:
        """The served volume of that name; None while nothing is served here."""
        term = self.term
        if term is None or term.engine.is_closed:
            return None
        spec = next((v for v in self.copy.spec.volumes if v.name == volume), None)
        return OwnerDevice(term.engine, spec.index, spec.size) if spec is not None else None

    # --- requests of the coordinator

    async def adopt(self, charter: Charter) -> None:
        """Remember a charter if it is newer; one that went back in time is refused (P73)."""
        async with self._lock:
            await self._learn(charter)

    async def _learn(self, charter: Charter) -> None:
        known = self.charter
        if known is not None and (charter.generation, charter.version) <= (known.generation, known.version):
            return
        await self.copy.store(lambda d: replace(d, charter=charter))
        if self.term is not None:
            self.term.learn(charter)

    def checked(self, token: int) -> None:
        """The store compared this member's token and accepts it."""
        self.copy.token = token
        self._is_checked = True

    async def distrust(self) -> None:
        """The store remembers more than this copy holds: it has gone back in time (F.A 25). Durable."""
        async with self._lock:
            if not self.copy.durable.amnesic:
                await self.copy.store(lambda d: replace(d, amnesic=True))
                self._events.log_member(self, "gone_back", "the store remembers a later state of this copy")

    async def seal(self, epoch: Epoch) -> Statement:
        """Promise, durably, to refuse every epoch below `epoch`.

        Raises:
            RefusedError: promised higher already, or bound by a confirmation.
        """
        self.views.give_way("it promises another epoch", self._view_given_up)
        self.copy.require_settled()
        async with self._lock:
            durable = self.copy.durable
            now = self._world.clock.now()
            if not ownership.may_seal(durable.promised, epoch, durable.bound_until, durable.bound_epoch, now):
                self._sought = (epoch, now + SOUGHT_LEASES * self.copy.spec.policy.lease_s)
                raise RefusedError(
                    f"{self.copy.me.center} cannot promise epoch {epochs.show(epoch)}: it promised "
                    f"{epochs.show(durable.promised)}" + self._bound_words(now),
                    code="cannot_seal",
                )
            self.copy.require_sound()
            generation.require_current(self.charter, epochs.generation(epoch), self.copy.me.center)
            term = self.term
            if term is not None and term.charter.epoch < epoch:
                term.waiting = f"sealed for epoch {epochs.show(epoch)}"
                await self._end_term(term)
            if self.copy.state is CopyState.REPLICA and durable.follow < epoch:
                self.copy.state = CopyState.SEALED
            if durable.promised < epoch:
                self.resyncs.halt(f"it promises epoch {epochs.show(epoch)}", drop=True)
            if durable.promised < epoch:
                await self.copy.store(lambda d: replace(d, promised=epoch))
            return self.statement()

    def _bound_words(self, now: float) -> str:
        left = self.copy.durable.bound_until - now
        return f" and is bound by a confirmation for {left:.1f} s" if left > 0 else ""

    async def _end_term(self, term: OwnerTerm) -> None:
        """End a term and wait until its loops are gone, so that nothing appends any more."""
        self._gone.clear()
        term.end()
        if self.term is term:
            await self._gone.wait()

    def freeze(self, epoch: Epoch) -> Statement:
        """The owner takes no new writes. A word of another epoch is late: nobody would ever end that freeze.

        Raises:
            RefusedError: this member is not the owner, or not in this epoch.
        """
        self.views.give_way("it is frozen", self._view_given_up)
        term = self._require_term()
        if term.charter.epoch != epoch:
            raise RefusedError(
                f"{self.copy.me.center} owns {self.copy.spec.name} in epoch "
                f"{epochs.show(term.charter.epoch)}, not in {epochs.show(epoch)}",
                code="other_epoch",
            )
        term.engine.freeze()
        term.waiting = "frozen for a switchover"
        self.copy.state = CopyState.FROZEN
        self._events.word_changed(self)
        return self.statement()

    async def release(self, epoch: Epoch) -> Statement:
        """A frozen owner gives its lease back: it answers nothing from now on."""
        async with self._lock:
            term = self.term
            if term is not None and term.charter.epoch == epoch:
                if not term.engine.is_frozen or not term.engine.is_drained:
                    raise RefusedError(
                        "only a frozen and drained owner releases its lease", code="not_drained"
                    )
                term.engine.release()
                await self._end_term(term)
            return self.statement()

    async def prepare(self, epoch: Epoch, history: History, donors: tuple[str, ...]) -> Statement:
        """A sealed candidate brings its log to the longest known state of `history`, durably.

        Raises:
            RefusedError: not sealed for this epoch, or the copy is unsound.
        """
        self.views.give_way("it is a candidate", self._view_given_up)
        self.copy.require_settled()
        async with self._lock:
            self.copy.require_sound()
            self.resyncs.halt("it is a candidate", drop=True)
            durable = self.copy.durable
            if self.term is not None or not ownership.may_prepare(durable.promised, epoch, durable.follow):
                raise RefusedError(
                    f"{self.copy.me.center} is not sealed for epoch {epochs.show(epoch)}", code="not_sealed"
                )
            self.copy.space.require()
            await self._candidate.complete(history, donors)
            await self.copy.sync()
            await self.copy.store(lambda d: d)
            return self.statement()

    async def _cut(self, after_seq: int, fork: str) -> None:
        """Cut the log; views of what goes are dropped first, since new records will lie in its place."""
        async with self.folder.lock:
            await self.keeper.clamp(after_seq)
            for view_id in self.views.above(after_seq):
                self.views.release(view_id)
                self._view_given_up(view_id, "its records were cut: they are not in the group's history")
            await self.copy.cut(after_seq, fork)

    async def open(self, charter: Charter) -> Statement:
        """Open the group as its owner in the charter's epoch. An epoch is opened at most once.

        Raises:
            RefusedError: the charter does not grant it to this process.
        """
        self.views.give_way("it opens", self._view_given_up)
        self.copy.require_settled()
        async with self._lock:
            self.resyncs.halt("it opens", drop=True)
            term = self.term
            if term is not None and term.charter.epoch == charter.epoch and not term.engine.is_closed:
                return self.statement()
            self.copy.require_sound()
            generation.require_current(self.charter, charter.generation, self.copy.me.center)
            if not ownership.may_open(charter, self.statement()):
                raise RefusedError(
                    f"{self.copy.me.center} may not open epoch {epochs.show(charter.epoch)}: "
                    f"the charter names {charter.owner}, promised {epochs.show(self.copy.durable.promised)}, "
                    f"follows {epochs.show(self.copy.durable.follow)}",
                    code="may_not_open",
                )
            if term is not None:
                await self._end_term(term)
            fork = charter.history[-1].fork_seq
            await self._cut(fork, "")
            if (
                self.copy.journal.tip.seq != fork
                or self.copy.journal.tip.chain != charter.history[-1].fork_chain
            ):
                raise FailedCopyError(
                    f"the log ends at {self.copy.journal.tip.seq}, the charter opens at {fork}"
                )
            await self.copy.store(
                lambda d: replace(
                    d,
                    charter=charter,
                    follow=charter.epoch,
                    history=charter.history,
                    unclean=False,
                    amnesic=False,
                )
            )
            # Whoever is waited for from the first write on may lack the end of the log (sync_strict): what is
            # not known to be committed stays so until it has it.
            is_alone = charter.in_sync <= {self.copy.me.center}
            await self.folder.index_through(fork, fork if is_alone else min(self.copy.commit, fork))
            self.copy.require_sound()  # again: the loops of this copy went on meanwhile
            self._start_term(charter)
            return self.statement()

    def _start_term(self, charter: Charter) -> None:
        self.receiver = None
        self.copy.state = CopyState.OWNER
        world = self._world
        self.term = OwnerTerm(
            copy=self.copy,
            charter=charter,
            store=world.store,
            peers=world.peers,
            clock=world.clock,
            dice=world.dice,
            events=self,
            means=ResyncMeans(self.keeper, world.slots, self.views),
        )
        self.folder.term = self.term
        self.term.start_epoch()
        self.keeper.count_room(self.term)
        self._opened.set()
        self._events.log_member(
            self, "opened", f"epoch {epochs.show(charter.epoch)} at record {self.copy.journal.tip.seq}"
        )
        self._events.exports_changed(self)
        self._events.word_changed(self)

    def lease_granted(self, sent_at: float, seconds: float) -> None:
        """The store renewed the lease asked for at `sent_at`."""
        if self.term is not None:
            self.term.renew(sent_at, seconds)

    # --- requests of the owner's center

    async def attach(self, peer: str, charter: Charter) -> dict[str, object]:
        """The owner `peer` asks us to follow: promise its epoch and tell where we stand.

        Raises:
            RefusedError: `peer` is not the owner it claims to be, or we promised more.
        """
        self.views.give_way("its owner asks where it stands", self._view_given_up)
        self.copy.require_settled()
        async with self._lock:
            self.copy.require_sound()
            if charter.owner != peer:
                raise RefusedError(
                    f"the charter names {charter.owner} as owner, not {peer}", code="not_owner"
                )
            if not ownership.accepts(self.copy.durable.promised, charter.epoch):
                raise RefusedError(
                    f"{self.copy.me.center} has promised epoch {epochs.show(self.copy.durable.promised)}",
                    code="stale_epoch",
                )
            generation.require_current(self.charter, charter.generation, self.copy.me.center)
            await self._learn(charter)
            term = self.term
            if term is not None and term.charter.epoch < charter.epoch:
                term.waiting = f"{peer} owns epoch {epochs.show(charter.epoch)}"
                await self._end_term(term)
            if self.term is not None:
                raise RefusedError(f"{self.copy.me.center} owns this epoch itself", code="forked")
            if self.copy.durable.promised < charter.epoch:
                await self.copy.store(lambda d: replace(d, promised=charter.epoch))
            self._retire_receiver()
            self.resyncs.halt(f"{peer} asks where it stands", drop=False)
            self.copy.space.require()
            await self.copy.sync()
            return {
                "statement": control.to_json(self.statement()),
                "history": [control.to_json(start) for start in self.copy.durable.history],
                "cluster": self._world.cluster,
                "features": list(MEMBER_FEATURES),
            }

    async def follow(self, epoch: Epoch, version: int, after_seq: int, chain: bytes, fork: str) -> Statement:
        """Hold exactly the owner's log up to `after_seq`: cut what is beyond, adopt the history.

        Raises:
            RefusedError: the plan is older than what was promised meanwhile, or does not fit our log.
        """
        self.views.give_way("it follows", self._view_given_up)
        self.copy.require_settled()
        async with self._lock:
            self.copy.require_sound()
            charter = self._require_plan(epoch, version)
            self.resyncs.halt("it follows by the stream", drop=True)
            here = self.copy.journal.position_at(after_seq)
            if here is None or here.chain != chain:
                raise RefusedError(f"this log has no such position {after_seq}", code="plan_misfit")
            if after_seq < self.copy.journal.tip.seq:
                await self._cut(after_seq, fork)
                self._events.log_member(
                    self, "log_cut", f"after record {after_seq}" + (f", kept as {fork}" if fork else "")
                )
            elif self.copy.durable.follow != epoch:
                async with self.folder.lock:
                    await self.keeper.clamp(after_seq)
            await self.copy.store(lambda d: replace(d, follow=epoch, history=charter.history))
            self.copy.require_sound()  # again: the loops of this copy went on meanwhile
            self.copy.state = CopyState.REPLICA
            return self.statement()

    def _require_plan(self, epoch: Epoch, version: int) -> Charter:
        """The charter by which a plan was made. Raises RefusedError when it aged."""
        durable, charter = self.copy.durable, self.charter
        if charter is None or charter.epoch != epoch:
            raise RefusedError("the charter changed meanwhile", code="plan_aged")
        if not compare.may_cut(version, epoch, charter.version, durable.promised, durable.follow):
            raise RefusedError("the plan was made under an older charter", code="plan_aged")
        return charter

    async def resync(self, asked: Asked) -> Answer:
        """The owner's center wants to bring us level by blocks: prepare, and tell what it has to know.

        Raises:
            RefusedError: the plan is older than what was promised meanwhile, or does not fit our log.
            TransientError: not now.
        """
        self.views.give_way("a resync begins", self._view_given_up)
        self.copy.require_settled()
        await self.resyncs.settle()
        async with self._lock:
            self.copy.require_settled()
            self.copy.require_sound()
            self._resync_host.require_no_role(self._require_plan(asked.epoch, asked.version))
            self._resync_host.require_no_holds()
            self._retire_receiver()
            self.copy.space.require()
            return await self.resyncs.ask(asked)

    async def confirm(self, peer: str, epoch: Epoch, seconds: float) -> bool:
        """The owner cannot reach the store: bind ourselves to its epoch for a while (F.A 3, 24)."""
        self.copy.require_settled()
        async with self._lock:
            charter = self.charter
            if charter is None or charter.owner != peer or charter.epoch != epoch or self.term is not None:
                return False
            if generation.is_begun(charter):
                return False  # a new store generation: its first opening decides who goes on
            if not lease.may_confirm(self.statement(), epoch, is_checked=self._is_checked):
                return False
            sought, sought_until = self._sought
            if sought > epoch and self._world.clock.now() < sought_until:
                return False  # somebody changes the owner: the confirmation given lapses and is not renewed
            until = lease.bound_until(self._world.clock.now(), min(seconds, charter.group.policy.lease_s))
            await self.copy.store(lambda d: replace(d, bound_epoch=epoch, bound_until=until))
            return True

    async def absolve(self, epoch: Epoch) -> None:
        """The owner of `epoch` says that this copy has caught up: it is clean again."""
        async with self._lock:
            if self.copy.durable.follow == epoch == self.copy.durable.promised:
                await self.copy.store(lambda d: replace(d, unclean=False, amnesic=False))

    def accept_stream(self, peer: str, attach: Attach, channel: BulkChannel, stream: int) -> Receiver | None:
        """The owner opened its stream; None when this is not the epoch we follow."""
        charter = self.charter
        if charter is None or charter.owner != peer or attach.epoch != self.copy.durable.follow:
            return None
        if attach.session and attach.session != session_bytes(self.copy.me.session):
            return None  # meant for the process before us: the owner will notice that it is gone
        self._retire_receiver()
        self.receiver = Receiver(self.copy, attach.epoch, channel, stream, self)
        return self.receiver

    def accept_resync(self, begin: Begin, channel: BulkChannel, stream: int) -> Intake | None:
        """The owner opened the stream of a resync session; None when it is not the owner we know."""
        charter = self.charter
        if charter is None or charter.owner != channel.peer or begin.epoch != charter.epoch:
            return None
        return self.resyncs.accept(begin, channel, stream)

    def _retire_receiver(self) -> None:
        """What still arrives on an earlier stream is not taken: the statement of an attach must stay true."""
        if self.receiver is not None:
            self.receiver.is_lost = True
            self.receiver = None

    def accept_fetch(self, channel: BulkChannel, stream: int) -> Donor:
        """A candidate wants our tail."""
        return Donor(self.copy, channel, stream)

    # --- ReplicaEvents, TermEvents

    def copy_troubled(self, error: DrsyncError) -> None:
        """See ReplicaEvents. An owner stops too: it must not go on serving what it cannot keep (P33)."""
        if isinstance(error, NoSpaceError):
            self._log_no_space(error)
            return
        self.copy.fail(error)
        if self.term is not None:
            self.term.waiting = str(error)
            self.term.end()
        self._say("copy_failed", str(error))

    def _mended(self, error: DamagedError | None) -> None:
        if error is not None:
            self.copy_troubled(error)
        elif self.term is not None:
            self.term.engine.is_mending = False

    def _log_no_space(self, error: NoSpaceError) -> None:
        """This copy pauses; nothing is lost, and the search for space begins."""
        self._room.seek()
        self._say("no_space", str(error))

    def _space_back(self) -> None:
        self._say("space_back", "what was refused is taken again")

    def durable_wanted(self, seq: int) -> None:
        """See ReplicaEvents."""
        self._syncer.want()

    def _synced(self, durable: int) -> None:
        if self.receiver is not None:
            self.receiver.acknowledge()

    def _view_given_up(self, view_id: str, why: str) -> None:
        self._events.log_member(self, "view_given_up", f"{view_id}: {why}")
        self._events.view_given_up(self, view_id, why)

    def retain_heard(self, seq: int) -> None:
        """See ReplicaEvents."""
        self.keeper.retain = max(self.keeper.retain, seq)

    def cursors_heard(self, told: Mapping[str, ToldCursor]) -> None:
        """See ReplicaEvents."""
        self.keeper.told(told)

    def _log(self, event: str, reason: str) -> None:
        self._events.log_member(self, event, reason)

    def _say(self, event: str, reason: str) -> None:
        self._log(event, reason)
        self._events.word_changed(self)

    def term_troubled(self, error: DrsyncError) -> None:
        """See TermEvents."""
        if self.term is not None:
            self.term.waiting = str(error)
        if isinstance(error, NoSpaceError):
            self._room.seek()
        self._events.log_member(self, "term_troubled", str(error))

    def peer_told(self, event: str, reason: str) -> None:
        """See TermEvents."""
        self._say(event, reason)

    def charter_changed(self, charter: Charter) -> None:
        """See TermEvents: remembered durably by the fold loop's next store."""
        self.folder.newest = charter
        self._events.word_changed(self)

    # --- loops

    def _require_term(self) -> OwnerTerm:
        term = self.term
        if term is None or term.engine.is_closed:
            raise RefusedError(
                f"{self.copy.me.center} does not own {self.copy.spec.name} now", code="not_owner"
            )
        return term
