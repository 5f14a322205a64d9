"""A small NBD client: for the lab's writer, for drills that look at what is served, and for tests.

One connection, requests pipelined by cookie, each with a deadline. It does not reconnect: a lost connection
is a `TransientError` for every open request, and it is not known which of them were executed.
"""

import asyncio
import errno
from dataclasses import dataclass
from typing import cast

from typing_extensions import override

from drsync.adapters.nbd import protocol as nbd
from drsync.adapters.nbd.address import Address, parse_uri
from drsync.model.errors import DrsyncError, MalformedError, PermanentError, RefusedError, TransientError

CONNECT_SECONDS = 10.0  # because a server drops a handshake that takes longer
REQUEST_SECONDS = 30.0  # because a failover may hold writes this long before it answers or closes
OPTION_REPLY_BYTES_MAX = 64 << 10  # because no answer to GO is longer

Buffer = bytes | bytearray | memoryview


@dataclass(slots=True)
class _Asked:
    """An open request. Its entry outlives its deadline, because the reply may still come and has a length."""

    future: asyncio.Future[bytes]
    read_length: int


class _Wire(asyncio.Protocol):
    """Collects bytes for the handshake, then hands replies to their requests."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.open: dict[bytes, _Asked] = {}
        self.transport: asyncio.Transport | None = None
        self.reason = "the server closed the connection"
        self.gone = asyncio.Event()
        self._loop = loop
        self._held = bytearray()
        self._wanted: asyncio.Future[None] | None = None
        self._wanted_bytes = 0
        self._is_transmitting = False

    @property
    def is_lost(self) -> bool:
        """Nothing more can be asked."""
        return self.gone.is_set()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's do not inherit from it

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()
        for asked in self.open.values():
            if not asked.future.done():
                asked.future.set_exception(self.lost(exc))
        self.open.clear()
        if self._wanted is not None and not self._wanted.done():
            self._wanted.set_exception(self.lost(exc))

    @override
    def data_received(self, data: bytes) -> None:
        self._held += data
        if self._is_transmitting:
            self._take_replies()
        elif self._wanted is not None and len(self._held) >= self._wanted_bytes and not self._wanted.done():
            self._wanted.set_result(None)

    def lost(self, cause: Exception | None = None) -> TransientError:
        """The error that open requests get."""
        return TransientError(f"NBD connection lost: {cause or self.reason}", code="nbd_lost")

    async def exactly(self, count: int) -> bytes:
        """The next bytes of the handshake."""
        if len(self._held) < count:
            if self.is_lost:
                raise self.lost()
            self._wanted_bytes = count
            self._wanted = self._loop.create_future()
            await self._wanted
        data = bytes(self._held[:count])
        del self._held[:count]
        return data

    def send(self, *parts: Buffer) -> None:
        """Send, or say that there is nobody."""
        if self.is_lost or self.transport is None or self.transport.is_closing():
            raise self.lost()
        self.transport.writelines(parts)

    def begin(self) -> None:
        """The handshake is over."""
        self._is_transmitting = True
        self._take_replies()

    def _take_replies(self) -> None:
        at, held = 0, self._held
        while len(held) - at >= nbd.REPLY.size:
            magic, error, cookie = nbd.REPLY.unpack_from(held, at)
            asked = self.open.get(cookie)
            if magic != nbd.REPLY_MAGIC or asked is None:
                self.reason = "the server sent something that is no reply"
                self._held.clear()
                if self.transport is not None:
                    self.transport.abort()
                return
            end = at + nbd.REPLY.size + (0 if error else asked.read_length)
            if end > len(held):
                break
            if not asked.future.done():
                self._settle(asked, error, bytes(held[at + nbd.REPLY.size : end]))
            del self.open[cookie]
            at = end
        del held[:at]

    @staticmethod
    def _settle(asked: _Asked, error: int, data: bytes) -> None:
        if error:
            asked.future.set_exception(_explain(error))
        else:
            asked.future.set_result(data)


class NbdClient:
    """An open export. Any number of requests at once, up to what the caller starts.

    All requests raise:
        TransientError: connection lost, deadline passed, or the server answered EIO, ENOMEM or ESHUTDOWN
            (a write may or may not have been executed).
        RefusedError: EPERM, the export is read-only.
        PermanentError: any other error, e.g. ``nbd_enospc`` past the end.
    """

    def __init__(self, wire: _Wire, size: int, flags: int, request_seconds: float) -> None:
        self.size = size
        self.flags = flags
        self._wire = wire
        self._seconds = request_seconds
        self._count = 0

    @classmethod
    async def connect(
        cls, uri: str, *, connect_seconds: float = CONNECT_SECONDS, request_seconds: float = REQUEST_SECONDS
    ) -> "NbdClient":
        """Open the export a URI names.

        Raises:
            UsageError: the URI cannot be used.
            TransientError: not reached, closed, or no answer in time; also an export that is not served
                (code ``nbd_unknown_export``: it may be at another center, or not open yet).
            MalformedError: it does not speak fixed newstyle NBD.
        """
        address = parse_uri(uri)
        loop = asyncio.get_running_loop()
        wire = _Wire(loop)
        try:
            async with asyncio.timeout_at(loop.time() + connect_seconds):
                await _open(loop, address, wire)
                size, flags = await _handshake(wire, address.name)
        except TimeoutError as error:
            _abort(wire)
            raise TransientError(
                f"no answer from {uri} in {connect_seconds:g} s", code="nbd_timeout"
            ) from error
        except OSError as error:
            _abort(wire)
            raise TransientError(f"cannot reach {uri}: {error}", code="nbd_lost") from error
        except BaseException:
            _abort(wire)
            raise
        wire.begin()
        return cls(wire, size, flags, request_seconds)

    @property
    def is_read_only(self) -> bool:
        """As stated at connect."""
        return bool(self.flags & nbd.READ_ONLY)

    @property
    def is_lost(self) -> bool:
        """The connection is gone."""
        return self._wire.is_lost

    async def read(self, offset: int, length: int) -> bytes:
        """`length` bytes, at most 32 MiB."""
        return await self._ask(nbd.CMD_READ, offset, length, read_length=length)

    async def write(self, offset: int, data: Buffer, *, fua: bool = False) -> None:
        """Write, at most 32 MiB; with `fua` it is durable when this returns."""
        await self._ask(nbd.CMD_WRITE | (nbd.FLAG_FUA if fua else 0), offset, len(data), data=data)

    async def flush(self) -> None:
        """Make every write that was answered before durable."""
        await self._ask(nbd.CMD_FLUSH, 0, 0)

    async def trim(self, offset: int, length: int, *, fua: bool = False) -> None:
        """Discard a range; drsync makes it zeros."""
        await self._ask(nbd.CMD_TRIM | (nbd.FLAG_FUA if fua else 0), offset, length)

    async def zero(self, offset: int, length: int, *, fua: bool = False) -> None:
        """Make a range zeros."""
        await self._ask(nbd.CMD_WRITE_ZEROES | (nbd.FLAG_FUA if fua else 0), offset, length)

    async def close(self) -> None:
        """Say goodbye, until the connection is gone. Wait for open requests first, or they are lost."""
        wire = self._wire
        if wire.transport is None or wire.is_lost:
            return
        wire.reason = "closed by this client"
        if not wire.transport.is_closing():
            wire.transport.write(nbd.REQUEST.pack(nbd.REQUEST_MAGIC, nbd.CMD_DISC, bytes(8), 0, 0))
        wire.transport.close()
        await wire.gone.wait()

    def abort(self) -> None:
        """Drop the connection without a word, as a crash would."""
        _abort(self._wire)

    async def _ask(
        self, word: int, offset: int, length: int, *, data: Buffer = b"", read_length: int = 0
    ) -> bytes:
        loop = asyncio.get_running_loop()
        self._count += 1
        cookie = self._count.to_bytes(8)
        asked = _Asked(loop.create_future(), read_length)
        self._wire.send(nbd.REQUEST.pack(nbd.REQUEST_MAGIC, word, cookie, offset, length), data)
        self._wire.open[cookie] = asked
        try:
            async with asyncio.timeout_at(loop.time() + self._seconds):
                return await asked.future
        except TimeoutError as error:
            raise TransientError(f"no answer in {self._seconds:g} s", code="nbd_timeout") from error


async def _open(loop: asyncio.AbstractEventLoop, address: Address, wire: _Wire) -> None:
    if address.socket is not None:
        await loop.create_unix_connection(lambda: wire, str(address.socket))
    else:
        await loop.create_connection(lambda: wire, address.host, address.port)


async def _handshake(wire: _Wire, name: str) -> tuple[int, int]:
    """Choose the export by GO; returns its size and transmission flags."""
    init, option_magic, server_flags = nbd.GREETING.unpack(await wire.exactly(nbd.GREETING.size))
    if (init, option_magic) != (
        nbd.INIT_MAGIC,
        nbd.OPTION_MAGIC,
    ) or not server_flags & nbd.HANDSHAKE_FIXED_NEWSTYLE:
        raise MalformedError("this server does not speak fixed newstyle NBD")
    raw = name.encode()
    data = len(raw).to_bytes(4) + raw + bytes(2)
    wire.send(
        nbd.CLIENT_FLAGS.pack(server_flags & (nbd.HANDSHAKE_FIXED_NEWSTYLE | nbd.HANDSHAKE_NO_ZEROES)),
        nbd.OPTION.pack(nbd.OPTION_MAGIC, nbd.OPT_GO, len(data)),
        data,
    )
    found: tuple[int, int] | None = None
    while True:
        kind, info = await _option_reply(wire)
        if kind & nbd.REP_IS_ERROR:
            shown = ascii(info.decode(errors="replace"))
            if kind == nbd.REP_ERR_UNKNOWN:
                raise TransientError(f"export {name!r} is not served: {shown}", code="nbd_unknown_export")
            raise TransientError(f"export {name!r} was not opened: {shown}", code="nbd_not_opened")
        if kind == nbd.REP_INFO and len(info) == nbd.INFO_EXPORT_DATA.size and info[:2] == bytes(2):
            found = nbd.INFO_EXPORT_DATA.unpack(info)[1:]
        elif kind == nbd.REP_ACK:
            if found is None:
                raise MalformedError("the server opened the export without stating its size")
            return found


async def _option_reply(wire: _Wire) -> tuple[int, bytes]:
    magic, _option, kind, length = nbd.OPTION_REPLY.unpack(await wire.exactly(nbd.OPTION_REPLY.size))
    if magic != nbd.OPTION_REPLY_MAGIC or length > OPTION_REPLY_BYTES_MAX:
        raise MalformedError("the server's answer to GO is malformed")
    return kind, await wire.exactly(length)


def _abort(wire: _Wire) -> None:
    if wire.transport is not None:
        wire.transport.abort()


def _explain(error: int) -> DrsyncError:
    """The error class of a reply, see `NbdClient`."""
    symbol = errno.errorcode.get(error, str(error))
    message, code = f"the NBD server answered {symbol}", f"nbd_{symbol.lower()}"
    if error in {errno.EIO, errno.ENOMEM, errno.ESHUTDOWN}:
        return TransientError(message, code=code)
    if error == errno.EPERM:
        return RefusedError(message, code=code)
    return PermanentError(message, code=code)
