"""Bringing a peer onto the owner's log: ask, compare, let it follow, then feed it.

The comparison and its plan are `core.compare`; here is only the conversation. The peer carries out a cut
itself and checks the plan against what it has promised meanwhile (F.A 21).
"""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass

from drsync.core import compare
from drsync.core.compare import ConnectPlan
from drsync.delta.batch import Buffer
from drsync.engine.bulk import BulkChannel
from drsync.engine.copy import GroupCopy
from drsync.engine.feed import Feed
from drsync.engine.owner import OwnerEngine
from drsync.engine.packing import Sender
from drsync.engine.peers import Peers
from drsync.engine.resync_desk import Met
from drsync.model import epoch as epochs
from drsync.model.charter import Charter
from drsync.model.copy import Statement
from drsync.model.epoch import Epoch
from drsync.model.errors import DrsyncError, FailedCopyError, MalformedError, RefusedError
from drsync.model.position import EpochStart
from drsync.wire import control, data, stream
from drsync.wire.frames import Frame, FrameType
from drsync.wire.negotiate import FEATURE_CURSORS, FEATURE_RESIZE, FEATURE_RESYNC, FEATURE_SYNC, FEATURE_ZSTD

SILENCE_S = 15.0
"""Because a half-open connection must be noticed long before TCP notices it. Any acknowledgment counts: a
slow line takes longer than that for one frame, and would begin with it again and again (`bulk.SIGN_S`)."""
ATTACH_TIMEOUT_S = 10.0  # because the peer writes its promise and perhaps cuts its log before it answers


@dataclass(frozen=True, slots=True)
class FollowFrom:
    """What the peer is asked to do: hold exactly our log up to `after_seq`, keep its own tail as `fork`."""

    after_seq: int
    chain: bytes
    fork: str
    words: str


class Attachment:
    """A peer that follows: its feed, and its acknowledgments on the way back."""

    def __init__(
        self,
        *,
        engine: OwnerEngine,
        copy: GroupCopy,
        statement: Statement,
        channel: BulkChannel,
        features: Collection[str],
        on_stale: Callable[[Epoch], None],
        on_trouble: Callable[[DrsyncError], None],
    ) -> None:
        """`features` are those the peer named."""
        self.is_lost = False
        self.lost_event = asyncio.Event()
        self.reason = ""
        self.needs_absolution = statement.unclean or statement.amnesic
        self._engine = engine
        self._copy = copy
        self._channel = channel
        self._on_stale = on_stale
        self._on_trouble = on_trouble
        self._session = statement.session
        self._center = statement.center
        self._told_commit = 0
        self._heard_at = engine.clock.now()
        self.incarnation = statement.incarnation
        self.keeps_by_itself = FEATURE_CURSORS in features
        self.knows_resizes = FEATURE_RESIZE in features
        self.takes_blocks = FEATURE_RESYNC in features
        self._retain = 0
        self._cursors = b""
        can_unpack = FEATURE_ZSTD in features and copy.spec.policy.compress
        self.sender = Sender(self._send_frame, engine.clock, can_unpack=can_unpack, pick=lambda: self.feed)
        self.feed = Feed(
            center=statement.center,
            session=statement.session,
            journal=copy.journal,
            after_seq=statement.tip.seq,
            send=self._send_batches,
            ask_durable=self._ask_durable,
            on_trouble=self._feed_troubled,
        )
        self.feed.durable = statement.durable
        self.feed.hears_sync = FEATURE_SYNC in features
        self._stream = channel.open_stream(self)

    def start(self, group_id: str, *, is_near: bool) -> None:
        """Open the stream and send what the peer lacks. Those that writes wait for are served first."""
        session = stream.session_bytes(self._session)
        attach = stream.Attach(self._engine.log.epoch, bytes.fromhex(group_id), session)
        self._channel.send(FrameType.ATTACH, self._stream, [stream.encode_attach(attach)])
        self._engine.log.greet(self._center, self._session)
        self._engine.feeds.insert(0 if is_near else len(self._engine.feeds), self.feed)
        self.feed.pump()

    @property
    def is_eligible(self) -> bool:
        """Whether it may join the in-sync set: on the live edge, with nothing to be forgiven."""
        return self.feed.is_live and not self.needs_absolution

    def tell_kept(self, retain: int, cursors: bytes) -> None:
        """Tell the peer for whom it need not keep journal, where that is news.

        Args:
            retain: every member has the log up to here.
            cursors: an encoded CURSORS.
        """
        if self.keeps_by_itself:
            if cursors != self._cursors:
                self._cursors = cursors
                self.sender.small(FrameType.CURSORS, cursors)
        elif retain > self._retain:
            self._retain = retain
            body = stream.encode_retain(stream.Retain(self._engine.log.epoch, retain))
            self.sender.small(FrameType.RETAIN, body)

    def tick(self, commit: int, now: float, pressure: float = 0.0) -> None:
        """Tell the peer how far commits are, if it has not heard by a batch; send on what it lacks.

        `pressure` is its lag as a share of what it may be.
        """
        if self.feed.unacknowledged_bytes == 0:
            self._heard_at = now
        elif now - self._heard_at > SILENCE_S:
            self._channel.close(f"nothing was acknowledged for {SILENCE_S:g} s")
            return
        if commit > self._told_commit:
            hint = data.Commit(self._engine.log.epoch, commit)
            self.sender.small(FrameType.COMMIT, data.encode_commit(hint))
            self._told_commit = commit
        is_waited_for = self._center in self._engine.log.ack_set
        self.sender.tick(self._engine.stats.log_bytes, is_waited_for=is_waited_for, pressure=pressure)
        self.feed.pump()

    def is_level(self, appended: int, commit: int) -> bool:
        """Whether it holds everything durably, has said so, and was told what is committed."""
        feed, sender = self.feed, self.sender
        is_sent = feed.is_live and not feed.unacknowledged_bytes and not sender.is_busy
        return is_sent and feed.durable >= appended and self._told_commit >= commit

    def rested(self) -> None:
        """Nothing was sent since the last tick, until now: rates and silence are reckoned from here."""
        if self.is_lost:
            return
        self._heard_at = self._engine.clock.now()
        is_waited_for = self._center in self._engine.log.ack_set
        self.sender.tick(self._engine.stats.log_bytes, is_waited_for=is_waited_for, pressure=0.0)

    def _send_batches(
        self, parts: list[Buffer], first_seq: int, last_seq: int, *, is_live: bool, sync_seq: int
    ) -> None:
        commit = self._engine.log.commit
        head = data.BatchesHeader(self._engine.log.epoch, commit, sync_seq, first_seq)
        self._told_commit = commit
        self.sender.batches([data.batches_header(head), *parts], last_seq, is_live=is_live)

    def _send_frame(self, kind: FrameType, parts: list[Buffer], flags: int) -> None:
        self._channel.send(kind, self._stream, parts, flags)

    def _feed_troubled(self, error: DrsyncError) -> None:
        """A broken journal ends the term; records that are trimmed already end this peer's stream alone."""
        if isinstance(error, FailedCopyError):
            self._on_trouble(error)
        else:
            self.close(str(error))

    def _ask_durable(self, seq: int) -> None:
        wanted = data.Sync(self._engine.log.epoch, seq)
        self.sender.small(FrameType.SYNC, data.encode_sync(wanted))

    # --- StreamHandler

    def frame_received(self, frame: Frame) -> None:
        """See StreamHandler."""
        match frame.type:
            case FrameType.ACK:
                ack = data.read_ack(frame.body)
                self._heard_at = self._engine.clock.now()
                self._engine.log.acknowledge(
                    self._center, self._session, ack.epoch, ack.appended, ack.durable
                )
                if ack.epoch == self._engine.log.epoch:
                    self.feed.acknowledged(ack.appended, ack.durable, ack.applied)
            case FrameType.REJECT:
                refusal = stream.read_reject(frame.body)
                self.close("rejected")
                if refusal.promised > self._engine.log.epoch:
                    self._on_stale(refusal.promised)
            case FrameType.DETACH:
                self._channel.close_stream(self._stream)
                self.lost("the peer takes no more")
            case _:
                raise MalformedError(f"frame {frame.type} does not belong on a replication stream")

    def frames_ended(self) -> None:
        """See StreamHandler: the hot path's turn."""
        self._engine.settle()

    def still_arriving(self) -> None:
        """See StreamHandler; acknowledgments are too small to take long."""

    def pause(self) -> None:
        """See StreamHandler."""
        self.feed.is_paused = True

    def resume(self) -> None:
        """See StreamHandler."""
        self.feed.is_paused = False
        self.feed.pump()

    def lost(self, reason: str) -> None:
        """See StreamHandler: what the peer acknowledged counts no more until it attached again."""
        self.reason = reason
        self.is_lost = True
        self.lost_event.set()
        self.feed.close()
        self.sender.close()
        self._engine.log.forget(self._center)
        if self.feed in self._engine.feeds:
            self._engine.feeds.remove(self.feed)

    def close(self, reason: str = "closed") -> None:
        """End the stream from our side."""
        if not self.is_lost:
            self._channel.send(FrameType.DETACH, self._stream, [])
            self._channel.close_stream(self._stream)
            self.lost(reason)


async def meet(center: str, charter: Charter, copy: GroupCopy, engine: OwnerEngine, peers: Peers) -> Met:
    """Ask a peer where it stands under this epoch, and compare.

    Raises:
        TransientError: not reached.
        RefusedError: it does not follow this owner; says why. `code` is ``stale_epoch`` when it has promised
            a higher epoch, ``needs_resize`` when its software is too old for this log.
    """
    body: dict[str, object] = {"group": charter.group.id, "charter": control.to_json(charter)}
    answer = await peers.call(center, "group.attach", body, ATTACH_TIMEOUT_S)
    statement = control.from_json(Statement, answer["statement"])
    if copy.sizes.resizes and FEATURE_RESIZE not in _features(answer):
        raise RefusedError(
            f"{center} runs software that does not know volumes that grow: it would keep the former size",
            code="needs_resize",
            remedy=f"upgrade {center}",
        )
    view, found = _compared(charter, copy, engine, statement, answer)
    if isinstance(found, compare.Corrupt):  # by its numbers the log may seem to be ours: nothing of it is
        return Met(statement, _features(answer), found, 0, None, view)
    fork = compare.fork_point(charter.history, statement)
    return Met(statement, _features(answer), found, fork, view.chain_at_fork, view)


async def follow(center: str, charter: Charter, met: Met, peers: Peers) -> tuple[FollowFrom, Statement]:
    """Let a peer hold exactly our log: on return it is a prefix of ours and ends at its statement's tip.

    Raises:
        TransientError: not reached.
        RefusedError: the copies must not be joined, or not by a stream alone; says why.
    """
    plan = follow_plan(met.found, met.statement, met.view)
    body: dict[str, object] = {
        "group": charter.group.id,
        "epoch": charter.epoch,
        "version": charter.version,
        "after_seq": plan.after_seq,
        "chain": plan.chain.hex(),
        "fork": plan.fork,
    }
    answer = await peers.call(center, "group.follow", body, ATTACH_TIMEOUT_S)
    statement = control.from_json(Statement, answer["statement"])
    if statement.tip.seq != plan.after_seq or statement.tip.chain != plan.chain:
        raise RefusedError(f"{center} ends at record {statement.tip.seq} after following to {plan.after_seq}")
    return plan, statement


def _features(answer: dict[str, object]) -> frozenset[str]:
    named = answer.get("features")
    return frozenset(map(str, named)) if isinstance(named, list) else frozenset()


def _compared(
    charter: Charter, copy: GroupCopy, engine: OwnerEngine, statement: Statement, answer: dict[str, object]
) -> tuple[compare.OwnerView, ConnectPlan]:
    history = answer.get("history")
    assert isinstance(history, list)
    identity = compare.Identity(
        str(answer.get("cluster", "")),
        charter.group.id,
        tuple(control.from_json(EpochStart, start) for start in history),
    )
    fork = compare.fork_point(charter.history, statement)
    here = copy.journal.position_at(fork)
    view = compare.OwnerView(
        cluster=identity.cluster,
        group=charter.group.id,
        history=charter.history,
        epoch=charter.epoch,
        tip=copy.journal.tip,
        commit=engine.log.commit,
        first_seq=copy.journal.first_seq,
        version=charter.version,
        chain_at_fork=here.chain if here is not None else None,
    )
    return view, compare.compare(view, statement, identity)


def follow_plan(plan: ConnectPlan, statement: Statement, view: compare.OwnerView) -> FollowFrom:
    """What a plan means for the peer.

    Raises:
        RefusedError: the plan is not one that a journal can carry out.
    """
    center = statement.center
    chain = view.chain_at_fork or b""
    match plan:
        case compare.Quarantine(reason, then):
            inner = follow_plan(then, statement, view)
            return FollowFrom(inner.after_seq, inner.chain, inner.fork, f"{inner.words} ({reason})")
        case compare.Seed(is_streamable=True):
            return FollowFrom(0, bytes(16), "", "seed from the journal")
        case compare.Stream(from_seq):
            return FollowFrom(from_seq, chain, "", f"stream from record {from_seq}")
        case compare.Truncate(to, _, _, compare.Stream()):
            return FollowFrom(to, chain, "", f"cut its uncommitted tail after record {to}, then stream")
        case compare.ExportFork(after_seq, _, _, True, compare.Stream()):
            name = f"fork-{epochs.show(view.epoch)}-{after_seq}"
            return FollowFrom(
                after_seq, chain, name, f"keep its records after {after_seq} as {name}, then stream"
            )
        case _:
            raise _refusal(plan, center, view)


def _refusal(plan: ConnectPlan, center: str, view: compare.OwnerView) -> RefusedError:
    """Why a journal cannot carry out that plan."""
    match plan:
        case compare.StepDown(promised):
            return RefusedError(f"{center} has promised epoch {epochs.show(promised)}", code="stale_epoch")
        case compare.RefuseUnrelated(ours, theirs):
            return RefusedError(f"{center} belongs to {theirs}, not {ours}", code="unrelated")
        case compare.FreezeBoth(epoch, reason):
            return RefusedError(f"{center}: epoch {epochs.show(epoch)}: {reason}", code="forked")
        case compare.Corrupt(seq):
            return RefusedError(f"{center} differs from the owner at record {seq}", code="corrupt")
        case compare.ExportFork(after_seq, is_image_intact=False):
            return RefusedError(
                f"{center} holds records after {after_seq} in its image that the group gave up",
                code="needs_resync",
                remedy=f"upgrade {center}, which is then brought level by blocks",
            )
        case _:
            return RefusedError(
                f"{center} needs blocks that the journal, which starts at {view.first_seq}, no longer holds",
                code="needs_resync",
                remedy=f"upgrade {center}, which is then brought level by blocks, or raise the journal quota",
            )
