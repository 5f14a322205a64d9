"""Sending a group's log to one peer: live as batches are appended, from the journal when it fell behind.

The journal is the buffer: nothing is queued here. A feed that is paused or has too much unacknowledged
stops, and goes on from the journal where it stopped. While batches are compressed (`engine.packing`) those
that would have to queue come from the journal, so that what is appended meanwhile becomes one body.
"""

from collections import deque
from collections.abc import Callable
from typing import Protocol

from drsync.delta.batch import EncodedBatch
from drsync.engine.sound import sound_batches
from drsync.model.errors import DrsyncError
from drsync.ports.journal import Buffer, Journal

PUMP_BYTES = 256 << 10  # because larger frames cost the receiver more copies than they save calls
UNACKNOWLEDGED_BYTES_MAX = 64 << 20  # because 10 Gbit/s x 50 ms round trip are 62 MB
FIRST_WINDOW_BYTES = 4 << 20  # because nothing is known of the line yet, and 1 Gbit/s x 30 ms fit
PUMP_ROUNDS_MAX = 8  # because the loop has other work after 8 MiB


class Send(Protocol):
    """Hands batches to the link."""

    def __call__(
        self, parts: list[Buffer], first_seq: int, last_seq: int, *, is_live: bool, sync_seq: int
    ) -> None:
        """Send batches from `first_seq` to `last_seq`.

        `is_live`: appended a moment ago, not read back. `sync_seq`: as in SYNC, 0 for none.
        """


class Feed:
    """One peer's stream in one epoch.

    Attributes:
        center: the peer.
        session: the peer's process.
        sent: last record handed to the link.
        appended, durable, applied: what the peer acknowledged.
        is_live: it has everything that was appended here.
        is_held: what was sent last is still being compressed: nothing may be sent before it.
        live_bytes: batches are sent as they are appended while less than this is unacknowledged.
        pump_bytes: read from the journal at a time.
        window: bytes that may be unacknowledged; grows with what is acknowledged, while `may_grow`.
        hears_sync: the peer looks at the sync seq that batches bring along.
    """

    def __init__(
        self,
        *,
        center: str,
        session: str,
        journal: Journal,
        after_seq: int,
        send: Send,
        ask_durable: Callable[[int], None],
        on_trouble: Callable[[DrsyncError], None],
    ) -> None:
        self.center = center
        self.session = session
        self.sent = after_seq
        self.appended = after_seq
        self.durable = 0
        self.applied = 0
        self.is_paused = False
        self.is_closed = False
        self.is_held = False
        self.live_bytes = UNACKNOWLEDGED_BYTES_MAX
        self.pump_bytes = PUMP_BYTES
        self.window = FIRST_WINDOW_BYTES
        self.may_grow = True
        self.hears_sync = False
        self.sent_bytes = 0
        self._journal = journal
        self._send = send
        self._ask_durable = ask_durable
        self._on_trouble = on_trouble
        self._flight: deque[tuple[int, int]] = deque()
        self._flight_bytes = 0
        self._wanted_durable = 0
        self._asked_durable = 0

    @property
    def is_live(self) -> bool:
        """Whether everything appended so far is on its way."""
        return self.sent == self._journal.tip.seq

    @property
    def tip_seq(self) -> int:
        """Last record that was appended here."""
        return self._journal.tip.seq

    @property
    def unacknowledged_bytes(self) -> int:
        """Bytes sent and not yet acknowledged as appended."""
        return self._flight_bytes

    def push(self, batch: EncodedBatch, *, is_flushed: bool = False) -> None:
        """See BatchSink: send now when the feed is live, else it will be read from the journal."""
        if self._flight_bytes >= self.live_bytes:
            self.pump()
            return
        if self.sent != batch.first_seq - 1 or not self._may_send():
            return
        self._note(batch.last_seq, batch.length)
        sync_seq = 0
        if is_flushed and self.hears_sync:
            sync_seq = self._wanted_durable = self._asked_durable = batch.last_seq
        self._send(batch.parts, batch.first_seq, batch.last_seq, is_live=True, sync_seq=sync_seq)
        self._ask_again()

    def want_durable(self, seq: int) -> None:
        """See BatchSink. Asked for again once it is sent: who has not got it cannot sync it."""
        if seq > self._wanted_durable and not self.is_closed:
            self._wanted_durable = seq
            self._ask_up_to(min(seq, self.sent))

    def _ask_again(self) -> None:
        if self._asked_durable < self._wanted_durable <= self.sent:
            self._ask_up_to(self._wanted_durable)

    def _ask_up_to(self, seq: int) -> None:
        if seq > self._asked_durable:
            self._asked_durable = seq
            self._ask_durable(seq)

    def acknowledged(self, appended: int, durable: int, applied: int) -> None:
        """The peer's word; positions never go back within a session."""
        self.appended = max(self.appended, appended)
        self.durable = max(self.durable, durable)
        self.applied = max(self.applied, applied)
        flight, before = self._flight, self._flight_bytes
        while flight and flight[0][0] <= appended:
            self._flight_bytes -= flight.popleft()[1]
        if self.may_grow and self.window < UNACKNOWLEDGED_BYTES_MAX:
            self.window += before - self._flight_bytes
        if self.sent < self._journal.tip.seq:
            self.pump()

    def pump(self) -> bool:
        """Send more of the journal; True when there is more to send and room for it.

        Damage stops it until it is mended: it is tried again whenever the owner looks after its peers.
        """
        for _ in range(PUMP_ROUNDS_MAX):
            if not self._may_send() or self.is_live:
                return False
            try:
                data, last = sound_batches(self._journal, self.sent, self.pump_bytes)
            except DrsyncError as error:
                self._on_trouble(error)
                return False
            if not data:
                return False
            first = self.sent + 1
            self._note(last, len(data))
            self._send([data], first, last, is_live=False, sync_seq=0)
            self._ask_again()
        return True

    def _may_send(self) -> bool:
        is_stopped = self.is_paused or self.is_closed or self.is_held
        return not is_stopped and self._flight_bytes < self.window

    def _note(self, last_seq: int, size: int) -> None:
        self.sent = last_seq
        self.sent_bytes += size
        self._flight.append((last_seq, size))
        self._flight_bytes += size

    def close(self) -> None:
        """Send nothing any more."""
        self.is_closed = True
