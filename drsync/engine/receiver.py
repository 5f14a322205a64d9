"""The replica's end of a stream: verify, append, acknowledge. And the donor's: give away a tail.

Every batch is checked before it is appended: it continues the chain, its hashes are right, its records
lie inside the volumes. The epoch of every frame is compared with the promise (INV-03): a promise made a
microsecond ago stops the old owner's next batch.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from drsync.core import group_log
from drsync.core.sizes import Sizes
from drsync.delta.batch import KIND_RESIZE, KIND_WRITE, KIND_ZERO, Header, peek, records, split, verify
from drsync.engine.bulk import BulkChannel
from drsync.engine.copy import GroupCopy
from drsync.engine.sound import sound_batches
from drsync.model.copy import CopyState
from drsync.model.epoch import Epoch
from drsync.model.errors import DamagedError, DrsyncError, MalformedError, NoSpaceError
from drsync.model.position import Position
from drsync.wire import data, stream
from drsync.wire.frames import Frame, FrameType


class ReplicaEvents(Protocol):
    """What a receiver tells the member it belongs to."""

    def copy_troubled(self, error: DrsyncError) -> None:
        """The copy cannot be written."""
        ...

    def durable_wanted(self, seq: int) -> None:
        """The owner asks for records up to `seq` to be made durable.

        They are when this returns, or an acknowledgment follows when they are.
        """
        ...

    def retain_heard(self, seq: int) -> None:
        """Every member has the log up to here."""
        ...

    def cursors_heard(self, told: Mapping[str, stream.ToldCursor]) -> None:
        """What the owner knows of all members."""
        ...


class Receiver:
    """Receives one group's log from its owner in one epoch."""

    def __init__(
        self, copy: GroupCopy, epoch: Epoch, channel: BulkChannel, number: int, events: ReplicaEvents
    ) -> None:
        self.copy = copy
        self.epoch = epoch
        self.is_lost = False
        self.received_bytes = 0
        self._channel = channel
        self._stream = number
        self._events = events
        self._received = copy.journal.tip.seq
        self._is_ack_due = False
        self._sync_seq = 0

    # --- StreamHandler

    def frame_received(self, frame: Frame) -> None:
        """See StreamHandler."""
        match frame.type:
            case FrameType.BATCHES:
                self._batches(frame.body)
            case FrameType.COMMIT:
                self._commit(data.read_commit(frame.body))
            case FrameType.SYNC:
                wanted = data.read_sync(frame.body)
                if wanted.epoch == self.epoch:
                    self._sync_seq = max(self._sync_seq, wanted.seq)
            case FrameType.RETAIN | FrameType.CURSORS:
                self._kept_for_others(frame)
            case FrameType.DETACH:
                self._channel.close_stream(self._stream)
            case FrameType.ATTACH:
                self._is_ack_due = True
            case _:
                raise MalformedError(f"frame {frame.type} does not belong on a replication stream")

    def _kept_for_others(self, frame: Frame) -> None:
        """How far others hold the log: of another epoch it would be another log, with the same numbers."""
        if frame.type is FrameType.CURSORS:
            cursors = stream.read_cursors(frame.body)
            if cursors.epoch == self.epoch and self.is_current:
                self._events.cursors_heard(cursors.told)
        else:
            retain = stream.read_retain(frame.body)
            if retain.epoch == self.epoch and self.is_current:
                self._events.retain_heard(retain.seq)

    def frames_ended(self) -> None:
        """See StreamHandler: sync, and acknowledge, once for everything that arrived together."""
        if self._sync_seq:
            wanted, self._sync_seq = self._sync_seq, 0
            if wanted > self.copy.journal.durable_seq:
                self._events.durable_wanted(wanted)
            self._is_ack_due = self._is_ack_due or wanted <= self.copy.journal.durable_seq
        if self._is_ack_due:
            self.acknowledge()

    def still_arriving(self) -> None:
        """See StreamHandler: a word for the owner, who would give up a line that takes long for one frame."""
        self.acknowledge()

    def pause(self) -> None:
        """See StreamHandler; acknowledgments are small and go on."""

    def resume(self) -> None:
        """See StreamHandler."""

    def lost(self, reason: str) -> None:
        """See StreamHandler."""
        del reason
        self.is_lost = True

    # --- records

    @property
    def is_current(self) -> bool:
        """Whether this epoch's records may be taken: nothing higher promised, and its history adopted."""
        durable = self.copy.durable
        is_followed = durable.promised == self.epoch == durable.follow
        return is_followed and self.copy.state is CopyState.REPLICA and not self.is_lost

    def _batches(self, body: bytes) -> None:
        head, view = data.read_batches(body)
        if head.epoch != self.epoch or not self.is_current:
            self.refuse()
            return
        self.received_bytes += len(view)
        copy = self.copy
        try:
            copy.space.require_quota()
            for at, header in split(view):
                position = self._checked(view, at, header)
                self._received = header.last_seq
                batch = view[at : at + header.length]
                copy.journal.append([batch], header.first_seq, position)
                if header.count == 1:
                    copy.note_marks(batch)
        except MalformedError:
            raise
        except DrsyncError as error:
            self._note_trouble(error)
            return
        self._is_ack_due = True
        self._sync_seq = max(self._sync_seq, head.sync_seq)
        self._commit(data.Commit(head.epoch, head.commit))

    def _note_trouble(self, error: DrsyncError) -> None:
        """What was appended before is acknowledged; the rest is refused."""
        if isinstance(error, NoSpaceError):
            self.copy.space.journal = str(error)
            self.acknowledge()
        self._events.copy_troubled(error)
        self.refuse()

    def _checked(self, view: memoryview, at: int, header: Header) -> Position:
        position = verify(view, at, header, self.copy.journal.tip)
        if header.epoch > self.epoch:
            raise MalformedError(f"batch at record {header.first_seq} bears epoch {header.epoch}")
        check_bounds(view, at, header, self.copy.sizes)
        return position

    def _commit(self, hint: data.Commit) -> None:
        if hint.epoch != self.epoch or not self.is_current:
            return
        self.copy.commit = max(self.copy.commit, min(hint.commit, self.copy.journal.tip.seq))

    def acknowledge(self) -> None:
        """Tell the owner how far this copy is."""
        self._is_ack_due = False
        if self.is_lost or not self.is_current:
            return
        journal = self.copy.journal
        appended = group_log.acknowledged(journal.tip.seq, self._received)
        ack = data.Ack(
            self.epoch, appended, journal.durable_seq, self.copy.volumes.applied, journal.tip.chain
        )
        self._channel.send(FrameType.ACK, self._stream, [data.encode_ack(ack)])

    def refuse(self) -> None:
        """Take nothing more: a higher promise rejects the owner, anything else only ends the stream."""
        if self.is_lost:
            return
        promised = self.copy.durable.promised
        if promised > self.epoch:
            refusal = stream.Reject(self.epoch, promised)
            self._channel.send(FrameType.REJECT, self._stream, [stream.encode_reject(refusal)])
        else:
            self._channel.send(FrameType.DETACH, self._stream, [])
            self._channel.close_stream(self._stream)
            self.is_lost = True


def check_bounds(view: memoryview, at: int, header: Header, log: Sizes) -> None:
    """Every record of a batch lies inside a known volume, as large as it is where the log `log` ends.

    A RESIZE stands alone, carries nothing, and is larger than those before it.

    Raises:
        MalformedError: says which record.
    """
    sizes = log.newest
    for index, (offset, _hash, length, _at, volume, kind, _reserved, _flags) in enumerate(
        records(view, at, header)
    ):
        if kind in (KIND_WRITE, KIND_ZERO) and offset + length > sizes.get(volume, -1):
            raise MalformedError(
                f"record {header.first_seq + index}: {length} bytes at {offset} do not fit volume {volume}"
            )
        if kind == KIND_RESIZE:
            why = "it does not stand alone" if header.count > 1 or length else ""
            why = why or log.objection(volume, offset)
            if why:
                raise MalformedError(f"record {header.first_seq + index} is a RESIZE: {why}")


class Donor:
    """Gives a candidate the tail it lacks: one FETCH, batches up to a bound as the link takes them."""

    def __init__(self, copy: GroupCopy, channel: BulkChannel, number: int) -> None:
        self._copy = copy
        self._channel = channel
        self._stream = number
        self._wanted: stream.Fetch | None = None
        self._last = 0
        self._sent = 0
        self._is_paused = False

    def frame_received(self, frame: Frame) -> None:
        """See StreamHandler."""
        if frame.type is not FrameType.FETCH or self._wanted is not None:
            raise MalformedError(f"frame {frame.type} does not belong on a fetch stream")
        self._wanted = stream.read_fetch(frame.body)
        self._last = self._wanted.after_seq
        self._go_on()

    def _go_on(self) -> None:
        while self._wanted is not None and not self._is_paused:
            if not self._send_piece(self._wanted):
                self._end()

    def _send_piece(self, wanted: stream.Fetch) -> bool:
        """Send one frame of batches; False when there is nothing more to send for this FETCH."""
        if self._last >= wanted.through_seq or self._sent >= FETCH_BYTES_MAX:
            return False
        try:
            batches, reached = sound_batches(self._copy.journal, self._last, FETCH_PIECE)
        except DamagedError as error:
            self._copy.damaged(error)
            return False
        except DrsyncError:
            return False  # trimmed or cut meanwhile: the candidate sees that no more came, and asks others
        if not batches:
            return False
        head = data.BatchesHeader(self._copy.durable.follow, self._copy.commit, 0, self._last + 1)
        self._sent, self._last = self._sent + len(batches), reached
        self._channel.send(FrameType.BATCHES, self._stream, [data.batches_header(head), batches])
        return True

    def _end(self) -> None:
        self._wanted = None
        fetched = stream.encode_fetched(stream.Fetched(self._last))
        self._channel.send(FrameType.FETCHED, self._stream, [fetched])
        self._channel.close_stream(self._stream)  # the candidate opens another one for the next piece

    def frames_ended(self) -> None:
        """See StreamHandler."""

    def still_arriving(self) -> None:
        """See StreamHandler."""

    def pause(self) -> None:
        """See StreamHandler."""
        self._is_paused = True

    def resume(self) -> None:
        """See StreamHandler."""
        self._is_paused = False
        self._go_on()

    def lost(self, reason: str) -> None:
        """See StreamHandler."""
        del reason
        self._wanted = None


FETCH_PIECE = 128 << 10  # because whole frames are kept when the time is up: 5 KB/s get on by one each time
FETCH_BYTES_MAX = 16 << 20  # because the candidate waits for it as a whole, and asks again


class Fetcher:
    """The candidate's end of a fetch: verifies and appends what the donor gives, up to a record."""

    def __init__(self, copy: GroupCopy, through_seq: int, on_end: Callable[[str], None]) -> None:
        self._copy = copy
        self._through = through_seq
        self._on_end = on_end
        self._sizes = {volume.index: volume.size for volume in copy.spec.volumes}

    def frame_received(self, frame: Frame) -> None:
        """See StreamHandler."""
        if frame.type is FrameType.FETCHED:
            self._on_end("")
            return
        if frame.type is not FrameType.BATCHES:
            raise MalformedError(f"frame {frame.type} does not belong on a fetch stream")
        _, view = data.read_batches(frame.body)
        for at, header in split(view):
            if header.last_seq > self._through:
                return
            position = verify(view, at, header, self._copy.journal.tip)
            check_bounds(view, at, header, self._copy.sizes)
            batch = view[at : at + header.length]
            try:
                self._copy.journal.append([batch], header.first_seq, position)
            except DrsyncError as error:
                self._note_trouble(error)
                return
            if peek(batch).count == 1:
                self._copy.note_marks(batch)

    def _note_trouble(self, error: DrsyncError) -> None:
        if isinstance(error, NoSpaceError):
            self._copy.space.journal = str(error)
        else:
            self._copy.fail(error)
        self._on_end(str(error))

    def frames_ended(self) -> None:
        """See StreamHandler."""

    def still_arriving(self) -> None:
        """See StreamHandler."""

    def pause(self) -> None:
        """See StreamHandler."""

    def resume(self) -> None:
        """See StreamHandler."""

    def lost(self, reason: str) -> None:
        """See StreamHandler."""
        self._on_end(reason)
