"""The transmission phase of one connection: requests out of a buffer, replies into an outlet.

The hot path: no task, future or object per request. It knows neither socket nor event loop, so a test can
feed it bytes. Requests are executed in order of arrival; a run of writes becomes one batch.
"""

import errno
from collections.abc import Callable
from typing import Protocol

from drsync.adapters.nbd import protocol as nbd
from drsync.adapters.nbd.protocol import (
    CMD_READ,
    CMD_WRITE,
    FLAG_FUA,
    PAYLOAD_BYTES_MAX,
    REQUEST,
    REQUEST_MAGIC,
)
from drsync.adapters.nbd.replies import ReplyPool
from drsync.ports.volume import COLD, BlockDevice, FetchingDevice

IN_FLIGHT_BYTES_MAX = 64 << 20  # because 64 connections of it still fit into the memory of a small host
_HELD_BYTES_MAX = IN_FLIGHT_BYTES_MAX - PAYLOAD_BYTES_MAX
"""Above this no further request is begun, so that the largest one still stays within the limit."""

REQUEST_COST = 4096  # because a request without payload also costs memory; bounds them to 8192 in flight
JOINED_REPLY_BYTES_MAX = 64 << 10  # because copying less than this is cheaper than another system call
REPLY_CHUNK_BYTES = 1 << 20  # because replies of one buffer full of reads must not pile up before any is sent

_HEADER_BYTES = REQUEST.size
_REPLY_BYTES = nbd.REPLY.size
_REPLY_OK = nbd.REPLY.pack(nbd.REPLY_MAGIC, 0, bytes(8))[:8]
_COMMAND_MASK = 0xFFFF

_WRITES = frozenset({CMD_WRITE, CMD_WRITE | FLAG_FUA})
_READS = frozenset({CMD_READ, CMD_READ | FLAG_FUA})
_TRIMS = frozenset({nbd.CMD_TRIM, nbd.CMD_TRIM | FLAG_FUA})
_ZEROES = frozenset(
    nbd.CMD_WRITE_ZEROES | fua | hole | fast
    for fua in (0, FLAG_FUA)
    for hole in (0, nbd.FLAG_NO_HOLE)
    for fast in (0, nbd.FLAG_FAST_ZERO)
)
_FLUSHES = frozenset({nbd.CMD_FLUSH, nbd.CMD_FLUSH | FLAG_FUA})


ReadInto = Callable[[int, memoryview], int]
"""`BlockDevice.read_into`, or `FetchingDevice.read_cached`."""


class Outlet(Protocol):
    """What a transmission needs of its connection."""

    def send(self, data: bytes | memoryview) -> None:
        """Send; may call `Transmission.choke` before it returns. Holds on to a view until it is sent."""
        ...

    def wake(self) -> None:
        """Call `Transmission.deliver`, then `Transmission.consume`, soon and once."""
        ...

    def finish(self) -> None:
        """Everything is answered after DISC: close when it has been sent."""
        ...

    def drop(self, reason: str) -> None:
        """The client broke the protocol: close now."""
        ...


class Transmission:
    """Executes requests against one device; is the `Completion` that the device answers to."""

    def __init__(self, device: BlockDevice, size: int, outlet: Outlet, *, is_read_only: bool) -> None:
        self.need = _HEADER_BYTES
        """Bytes of the next request, as far as known."""
        self._device = device
        self._size = size
        self._is_read_only = is_read_only
        self._outlet = outlet
        self._pending: dict[bytes, int] = {}
        """Cost in bytes of each request the device has not answered, by cookie."""
        self._in_flight = 0
        self._pool = ReplyPool()
        self._out: list[bytes | memoryview] = []
        self._out_bytes = 0
        self._fault = ""
        self._has_queued = False
        self._parked: list[tuple[int, bytes, int, int]] = []
        self._fetching = device if isinstance(device, FetchingDevice) else None
        self._read_first = device.read_into if self._fetching is None else self._fetching.read_cached
        self._cold: list[tuple[int, bytes, int, int]] = []
        """Reads of this run through the buffer that would wait for a disk."""
        self._away: dict[bytes, None] = {}
        """Those that it was asked for, by cookie."""
        self._is_open = True
        self._is_leaving = False
        self._is_choked = False
        self._is_consuming = False
        self._is_alone = False
        """The client waits for each answer before it asks again, as far as can be seen."""
        self._was_single = True
        self._has_read_alone = False
        self._is_waking = False

    @property
    def is_blocked(self) -> bool:
        """No further request is begun for now: too much is unanswered or unsent."""
        return self._is_choked or self._in_flight > _HELD_BYTES_MAX

    @property
    def is_at_disk(self) -> bool:
        """Reads wait for a disk, or one was just made that may have waited."""
        return self._has_read_alone or bool(self._away)

    @property
    def is_over(self) -> bool:
        """What still arrives is of no interest."""
        return self._is_leaving or not self._is_open

    @property
    def is_gone(self) -> bool:
        """See `drsync.ports.volume.MayLeave`."""
        return not self._is_open

    @property
    def in_flight_bytes(self) -> int:
        """Cost of the requests that the device has not answered."""
        return self._in_flight

    def consume(self, data: memoryview, at: int, end: int) -> int:
        """Execute the complete requests in ``data[at:end]``; returns where the rest starts."""
        self._is_consuming = True
        self._has_read_alone = False
        is_single = end - at == _HEADER_BYTES
        self._is_alone = is_single and self._was_single and not self._away
        self._was_single = is_single
        while True:
            at, was_stopped = self._execute(data, at, end)
            self._submit()
            if self._cold:
                self._fetch()
            self._send_replies()
            if not was_stopped or self.is_blocked or self.is_over:
                break
        self._is_consuming = False
        if self._fault:
            self._outlet.drop(self._fault)
        else:
            self._finish_if_done()
        return at

    def complete(self, cookies: list[bytes], error: int) -> None:
        """Answer requests (`drsync.ports.volume.Completion`)."""
        if not self._is_open:
            return
        self._in_flight -= sum(map(self._pending.pop, cookies))
        prefix = _REPLY_OK if error == 0 else _prefix(error)
        self._put(prefix + prefix.join(cookies))
        if not self._is_consuming and not self._is_waking:
            self._is_waking = True
            self._outlet.wake()

    def resume(self) -> None:
        """Try parked reads again (`drsync.ports.volume.Completion`)."""
        parked, self._parked = self._parked, []
        for word, cookie, offset, length in parked:
            if not self._is_open:
                return
            self._in_flight -= self._pending.pop(cookie)
            self._read_now(word, cookie, offset, length, self._device.read_into)
        if not self._is_consuming and not self._is_waking:
            self._is_waking = True
            self._outlet.wake()

    def _fetch(self) -> None:
        """Have the disk asked for all of them at once; each is answered when its data has come."""
        cold, self._cold = self._cold, []
        assert self._fetching is not None, "no other device says COLD"
        self._away.update(dict.fromkeys(cookie for _, cookie, _, _ in cold))
        places = [(offset, length) for _, _, offset, length in cold]
        self._fetching.fetch(places, lambda numbers: self._fetched([cold[number] for number in numbers]))

    def _fetched(self, cold: list[tuple[int, bytes, int, int]]) -> None:
        self._read_again([read for read in cold if read[1] in self._away])
        if self._is_open and not self._is_waking:
            self._is_waking = True
            self._outlet.wake()

    def _read_again(self, cold: list[tuple[int, bytes, int, int]]) -> None:
        for word, cookie, offset, length in cold:
            if not self._is_open:
                return
            self._away.pop(cookie, None)
            self._in_flight -= self._pending.pop(cookie)
            self._read_now(word, cookie, offset, length, self._device.read_into)

    def deliver(self) -> None:
        """Send the replies that gathered since `Outlet.wake` was called."""
        self._is_waking = False
        self._send_replies()
        self._finish_if_done()

    def choke(self) -> None:
        """The client does not take its replies."""
        self._is_choked = True

    def unchoke(self) -> None:
        """It does again."""
        self._is_choked = False

    def shut(self, error: int) -> None:
        """Answer everything outstanding with `error` and execute nothing more."""
        self._refuse_parked(error)
        if self._pending:
            prefix = _prefix(error)
            self._put(prefix + prefix.join(self._pending))
        self._send_replies()
        self.abandon()

    def _refuse_parked(self, error: int) -> None:
        """Answer parked reads, where that takes another kind of reply than `shut` gives to all."""

    def abandon(self) -> None:
        """The connection is gone: later completions are for nobody."""
        self._is_open = False
        self._is_leaving = True
        self._pending.clear()
        self._parked.clear()
        self._cold.clear()
        self._away.clear()
        self._in_flight = 0
        self._out.clear()

    def _finish_if_done(self) -> None:
        if self._is_leaving and self._is_open and not self._pending:
            self.abandon()
            self._outlet.finish()

    def _execute(self, data: memoryview, at: int, end: int) -> tuple[int, bool]:
        """Run through the buffer; the flag says that back-pressure may have stopped it early."""
        unpack = REQUEST.unpack_from
        pending = self._pending
        self.need = _HEADER_BYTES
        while end - at >= _HEADER_BYTES:
            if self._is_leaving or self._is_choked or self._in_flight > _HELD_BYTES_MAX:
                return at, True
            magic, word, cookie, offset, length = unpack(data, at)
            if magic != REQUEST_MAGIC or cookie in pending:
                self._break("request magic is wrong, or the cookie is in use")
                break
            command = word & _COMMAND_MASK
            if command == CMD_WRITE:
                following = at + _HEADER_BYTES + length
                if length > PAYLOAD_BYTES_MAX:
                    self._break(f"a write of {length} bytes")
                    break
                if following > end:
                    self.need = _HEADER_BYTES + length
                    break
                self._write(word, cookie, offset, data[at + _HEADER_BYTES : following])
                at = following
            else:
                at += _HEADER_BYTES
                if command == CMD_READ:
                    self._read(word, cookie, offset, length)
                else:
                    self._other(word, cookie, offset, length)
        return at, False

    def _break(self, fault: str) -> None:
        """Framing is lost. What was queued before is still submitted; nothing after it is looked at."""
        self._fault = fault
        self._is_leaving = True

    def _write(self, word: int, cookie: bytes, offset: int, payload: memoryview) -> None:
        length = len(payload)
        if word not in _WRITES:
            self._answer(cookie, errno.EINVAL)
        elif self._is_read_only:
            self._answer(cookie, errno.EPERM)
        elif offset + length > self._size:
            self._answer(cookie, errno.ENOSPC)
        elif length == 0:
            self._answer(cookie, 0)
        else:
            self._expect(cookie, length)
            self._device.write(offset, payload, cookie, fua=word != CMD_WRITE)

    def _read(self, word: int, cookie: bytes, offset: int, length: int) -> None:
        if word not in _READS or length > PAYLOAD_BYTES_MAX or offset + length > self._size:
            self._answer(cookie, errno.EINVAL)
            return
        self._submit()
        if self._cold:
            self._set_aside(word, cookie, offset, length)
        elif self._is_open:
            self._read_now(word, cookie, offset, length, self._first(length))

    def _first(self, length: int) -> ReadInto:
        """How to read what was not tried yet: a short one, alone, is quicker when it waits for the disk."""
        is_brief = self._is_alone and length < JOINED_REPLY_BYTES_MAX
        self._has_read_alone = self._has_read_alone or is_brief
        return self._device.read_into if is_brief else self._read_first

    def _read_now(self, word: int, cookie: bytes, offset: int, length: int, read: ReadInto) -> None:
        if self._out_bytes + length > REPLY_CHUNK_BYTES:
            self._send_replies()
        is_large = length >= JOINED_REPLY_BYTES_MAX
        reply = (
            self._pool.lend(_REPLY_BYTES + length)
            if is_large
            else memoryview(bytearray(_REPLY_BYTES + length))
        )
        error = read(offset, reply[_REPLY_BYTES:])
        if error == errno.EAGAIN:
            self._park(word, cookie, offset, length)
            return
        if error == COLD:
            self._set_aside(word, cookie, offset, length)
            return
        if error:
            self._answer(cookie, error)
            return
        reply[:_REPLY_BYTES] = _REPLY_OK + cookie
        if is_large:
            self._send_replies()
            self._outlet.send(reply)
        else:
            self._put(reply)

    def _park(self, word: int, cookie: bytes, offset: int, length: int) -> None:
        """Nothing may be read at the moment: `resume` reads it."""
        self._pending[cookie] = length + REQUEST_COST
        self._in_flight += length + REQUEST_COST
        self._parked.append((word, cookie, offset, length))
        self._device.park(self)

    def _set_aside(self, word: int, cookie: bytes, offset: int, length: int) -> None:
        """The disk is to be asked, together with others of this run.

        Where one of a run must wait, those that follow it are not tried: each try would be a call into the
        disk's driver of its own, which costs more than all else that a read needs.
        """
        self._pending[cookie] = length + REQUEST_COST
        self._in_flight += length + REQUEST_COST
        self._cold.append((word, cookie, offset, length))

    def _other(self, word: int, cookie: bytes, offset: int, length: int) -> None:
        if word in _FLUSHES:
            self._expect(cookie, 0)
            self._device.flush(cookie)
        elif word in _TRIMS:
            self._zero(word, cookie, offset, length, past_end=errno.EINVAL)
        elif word in _ZEROES:
            self._zero(word, cookie, offset, length, past_end=errno.ENOSPC)
        elif word & _COMMAND_MASK == nbd.CMD_DISC:
            self._is_leaving = True
        else:
            self._answer(cookie, errno.EINVAL)

    def _zero(self, word: int, cookie: bytes, offset: int, length: int, past_end: int) -> None:
        if self._is_read_only:
            self._answer(cookie, errno.EPERM)
        elif offset + length > self._size:
            self._answer(cookie, past_end)
        elif length == 0:
            self._answer(cookie, 0)
        else:
            self._expect(cookie, 0)
            fua, is_trim = bool(word & FLAG_FUA), word in _TRIMS
            self._device.zero(offset, length, cookie, fua=fua, is_trim=is_trim)

    def _expect(self, cookie: bytes, length: int) -> None:
        cost = length + REQUEST_COST
        self._pending[cookie] = cost
        self._in_flight += cost
        self._has_queued = True

    def _submit(self) -> None:
        if self._has_queued:
            self._has_queued = False
            self._device.submit(self)

    def _answer(self, cookie: bytes, error: int) -> None:
        self._put(_prefix(error) + cookie)

    def _put(self, reply: bytes | memoryview) -> None:
        self._out.append(reply)
        self._out_bytes += len(reply)

    def _send_replies(self) -> None:
        out = self._out
        if out:
            self._out = []
            self._out_bytes = 0
            self._outlet.send(b"".join(out))


def _prefix(error: int) -> bytes:
    """The first 8 bytes of a reply; the cookie follows."""
    return nbd.REPLY_MAGIC.to_bytes(4) + nbd.wire_error(error).to_bytes(4)
