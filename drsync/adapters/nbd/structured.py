"""Transmission with structured replies: reads are answered in chunks, and clients may ask what is stored.

All else is answered by simple replies, which the protocol leaves to us and which cost less.
"""

import errno

from typing_extensions import override

from drsync.adapters.nbd import chunks
from drsync.adapters.nbd import protocol as nbd
from drsync.adapters.nbd.chunks import DATA_HEAD_BYTES
from drsync.adapters.nbd.transmission import (
    JOINED_REPLY_BYTES_MAX,
    REPLY_CHUNK_BYTES,
    Outlet,
    ReadInto,
    Transmission,
)
from drsync.ports.volume import COLD, BlockDevice

HOLES_FROM_BYTES = 64 << 10  # because in shorter reads a hole saves less than looking for it costs
READ_EXTENTS_MAX = 16  # because what lies in small pieces is sent faster than described
STATUS_EXTENTS_MAX = (
    1024  # because a client asks again from where an answer ends, and 8 KiB are a fair answer
)
STATUS_COST = 4 << 20  # because one look may take milliseconds: after eight of them others have their turn

_COMMAND_MASK = 0xFFFF
_READS = frozenset(nbd.CMD_READ | fua | df for fua in (0, nbd.FLAG_FUA) for df in (0, nbd.FLAG_DF))
_STATUSES = frozenset(
    nbd.CMD_BLOCK_STATUS | fua | one for fua in (0, nbd.FLAG_FUA) for one in (0, nbd.FLAG_REQ_ONE)
)


class StructuredTransmission(Transmission):
    """A `Transmission` whose client negotiated structured replies.

    Args:
        tells_allocation: the client selected `base:allocation` for this export.
    """

    def __init__(
        self, device: BlockDevice, size: int, outlet: Outlet, *, is_read_only: bool, tells_allocation: bool
    ) -> None:
        super().__init__(device, size, outlet, is_read_only=is_read_only)
        self._tells_allocation = tells_allocation
        self._looked = 0
        """Part of what is in flight: looking for holes costs time, but no answer that would hold us back."""

    @override
    def deliver(self) -> None:
        self._in_flight -= self._looked
        self._looked = 0
        super().deliver()

    @override
    def abandon(self) -> None:
        super().abandon()
        self._looked = 0

    @override
    def _refuse_parked(self, error: int) -> None:
        for _word, cookie, _offset, _length in self._parked:
            del self._pending[cookie]
            self._put(chunks.refusal(cookie, error))
        for cookie in self._away:
            del self._pending[cookie]
            self._put(chunks.refusal(cookie, error))
        self._parked.clear()
        self._away.clear()

    @override
    def _read(self, word: int, cookie: bytes, offset: int, length: int) -> None:
        if word not in _READS or length > nbd.PAYLOAD_BYTES_MAX or offset + length > self._size:
            self._put(chunks.refusal(cookie, errno.EINVAL))
            return
        self._submit()
        if not self._is_open:
            return
        if self._cold and length:
            self._set_aside(word, cookie, offset, length)
        elif length >= HOLES_FROM_BYTES:
            self._read_now(word, cookie, offset, length, self._first(length))
        elif length:
            self._read_data(word, cookie, offset, length, length, self._first(length))
        else:
            self._put(chunks.nothing(cookie))

    @override
    def _read_now(self, word: int, cookie: bytes, offset: int, length: int, read: ReadInto) -> None:
        if length < HOLES_FROM_BYTES or word & nbd.FLAG_DF:
            self._read_data(word, cookie, offset, length, length, read)
            return
        end, at = offset + length, offset
        for size, is_hole in self._device.extents(offset, length, READ_EXTENTS_MAX):
            if is_hole:
                self._look(size)
                self._put(chunks.hole(cookie, at, size, is_last=at + size == end))
            elif not self._read_data(word, cookie, at, size, end - at, read):
                return
            at += size
        if at < end:
            self._read_data(word, cookie, at, end - at, end - at, read)

    def _read_data(
        self, word: int, cookie: bytes, offset: int, length: int, rest: int, read: ReadInto
    ) -> bool:
        """Send a chunk of data; False when the reply ended here, or goes on with `rest` at another time."""
        if self._out_bytes + length > REPLY_CHUNK_BYTES:
            self._send_replies()
        is_large = length >= JOINED_REPLY_BYTES_MAX
        whole = DATA_HEAD_BYTES + length
        chunk = self._pool.lend(whole) if is_large else memoryview(bytearray(whole))
        error = read(offset, chunk[DATA_HEAD_BYTES:])
        if error == errno.EAGAIN:
            self._park(word, cookie, offset, rest)
            return False
        if error == COLD:
            self._set_aside(word, cookie, offset, rest)
            return False
        if error:
            self._put(chunks.failure(cookie, error, offset))
            return False
        chunk[:DATA_HEAD_BYTES] = chunks.data_head(cookie, offset, length, is_last=length == rest)
        if is_large:
            self._send_replies()
            self._outlet.send(chunk)
        else:
            self._put(chunk)
        return True

    @override
    def _other(self, word: int, cookie: bytes, offset: int, length: int) -> None:
        if word & _COMMAND_MASK != nbd.CMD_BLOCK_STATUS:
            super()._other(word, cookie, offset, length)
        elif self._tells_allocation and word in _STATUSES and 0 < length <= self._size - offset:
            self._status(word, cookie, offset, length)
        else:
            self._put(chunks.refusal(cookie, errno.EINVAL))

    def _status(self, word: int, cookie: bytes, offset: int, length: int) -> None:
        self._submit()
        if not self._is_open:
            return
        if self._out_bytes > REPLY_CHUNK_BYTES:
            self._send_replies()
        most = 1 if word & nbd.FLAG_REQ_ONE else STATUS_EXTENTS_MAX
        self._look(STATUS_COST)
        self._put(chunks.status(cookie, self._device.extents(offset, length, most)))

    def _look(self, cost: int) -> None:
        """Count what others have to wait for, until the loop has turned."""
        self._looked += cost
        self._in_flight += cost
        if not self._is_waking:
            self._is_waking = True
            self._outlet.wake()
