"""Data packets of one channel, built and read in one go; everything else is left to asyncssh.

asyncssh spends most of a small packet's time in Python: a key schedule for each packet, log lines that nobody
reads, a timer that is set anew for each read, slices of slices. Here a packet that carries data of our one
channel is sealed and opened with the same keys, counters and windows, which stay where asyncssh keeps them:
both ways may take turns. Whatever is not plain data (window adjustments, keys, requests, the
end), does not fit the window, or comes at a time when asyncssh would not send at once, goes the stock way.
Relies on the version of `quirks.ASYNCSSH_VERSION`. With any other there is `Plain`: where another one counted
nonces in another manner, one might be taken twice.

Safe, because a nonce is taken by exactly one packet: both ways take it from the cipher object and let that
count on, and a packet that turns out to be for asyncssh is opened again before the counter moves.
"""

# ruff: noqa: SLF001  # because this is what we need of asyncssh beyond its public interface, like `quirks`

import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from struct import Struct
from typing import Final, Protocol, cast

import asyncssh
from asyncssh.connection import SSHConnection
from asyncssh.constants import MSG_CHANNEL_DATA
from asyncssh.crypto.cipher import GCMCipher
from asyncssh.encryption import GCMEncryption
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

Channel = asyncssh.SSHServerChannel[bytes] | asyncssh.SSHClientChannel[bytes]

_HEAD: Final = Struct(">BBII")
"""Padding length, type, recipient channel, length of the data (RFC 4253 section 6, RFC 4254 section 5.2)."""
_LENGTH: Final = Struct(">I")
_TAG_BYTES: Final = 16
_FEWEST: Final = 4 + 16 + _TAG_BYTES
_COUNT_MASK: Final = 0xFFFFFFFF
_PADDING_BYTES: Final = 8 << 10  # because one system call then pads some 600 packets
_PADDING_MAX: Final = 32
HEARD_S: Final = 1.0
"""The keepalive timer is set anew at most so often: it asks after 5 s of silence, give or take."""


class _Cipher(Protocol):
    """What is used of a GCMCipher."""

    _key: bytes
    _iv: bytes

    def _update_iv(self) -> None: ...


class _Loop(Protocol):
    def time(self) -> float: ...


class _Connection(Protocol):
    """What is used of an SSHConnection."""

    _auth_final: bool
    _deferred_packets: list[object]
    _inpbuf: bytes
    _kex_complete: bool
    _loop: _Loop
    _max_recv_pktlen: int
    _recv_encryption: object
    _recv_handler: object
    _recv_seq: int
    _rekey_bytes: int
    _rekey_bytes_sent: int
    _rekey_seconds: float
    _rekey_time: float
    _send_blocksize: int
    _send_enchdrlen: int
    _send_encryption: object
    _send_seq: int
    _transport: object

    def _recv_pkthdr(self) -> bool: ...

    def _reset_keepalive_timer(self) -> None: ...

    def _send(self, data: bytes) -> None: ...

    def internal_error(self) -> None: ...


class _Channel(Protocol):
    """What is used of an SSHChannel."""

    _init_recv_window: int
    _recv_buf: list[object]
    _recv_chan: int | None
    _recv_paused: object
    _recv_state: str
    _recv_window: int
    _send_buf: list[object]
    _send_chan: int
    _send_pktsize: int
    _send_state: str
    _send_window: int

    def _accept_data(self, data: bytes) -> None: ...

    def write(self, data: bytes) -> None: ...


class Plain:
    """The stock way: what arrives goes to the session as ever.

    Args:
        channel: of the link.
    """

    is_reading = False
    is_partial = False

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def write(self, data: bytes) -> None:
        """Send data on the channel; ignored when that is closing."""
        with suppress(BrokenPipeError):
            self._channel.write(data)


class Express:
    """One connection's data packets, from the moment its channel is open.

    Args:
        connection: of asyncssh, sound, with one channel.
        channel: that channel.
        deliver: takes data that arrived.
        ended: called when everything that one read brought was delivered.
    """

    def __init__(
        self,
        connection: SSHConnection,
        channel: Channel,
        deliver: Callable[[bytes | memoryview], None],
        ended: Callable[[], None],
    ) -> None:
        self.is_reading = False
        self._connection = cast("_Connection", connection)
        self._channel = cast("_Channel", channel)
        self._deliver = deliver
        self._ended = ended
        self._outgoing: object = None
        self._outgoing_cipher: _Cipher | None = None
        self._seal = AESGCM(bytes(16)).encrypt
        self._incoming: object = None
        self._incoming_cipher: _Cipher | None = None
        self._unseal = AESGCM(bytes(16)).decrypt
        self._at_header = self._connection._recv_pkthdr
        self._heard_until = 0.0
        self._padding = b""
        self._padding_at = 0
        # On the instance: other users of asyncssh in this process keep theirs.
        self._stock = partial(SSHConnection._recv_data, connection)
        vars(connection)["_recv_data"] = self._receive

    @property
    def is_partial(self) -> bool:
        """Whether a part of a packet has come, and not all of it."""
        return bool(self._connection._inpbuf)

    # --- sending

    def write(self, data: bytes) -> None:
        """Send data on the channel; ignored when that is closing."""
        connection, channel = self._connection, self._channel
        if channel._send_state != "open":
            return
        size = len(data)
        encryption = connection._send_encryption
        if encryption is not self._outgoing:
            self._adopt_outgoing(encryption)
        if (
            self._outgoing_cipher is None
            or channel._send_buf
            or size > channel._send_window
            or not connection._kex_complete
            or connection._deferred_packets
            or connection._rekey_bytes_sent >= connection._rekey_bytes
            or (connection._rekey_seconds and time.monotonic() >= connection._rekey_time)
            or connection._transport is None
        ):
            channel.write(data)
            return
        most = channel._send_pktsize
        sealed: list[bytes] = []
        if size <= most:
            self._add_packet(sealed, data, size)
        else:
            view = memoryview(data)
            for at in range(0, size, most):
                piece = view[at : at + most]
                self._add_packet(sealed, piece, len(piece))
        # At once, because each part that is written alone is a system call, and the first wakes the peer.
        connection._send(b"".join(sealed))

    def _add_packet(self, sealed: list[bytes], data: bytes | memoryview, size: int) -> None:
        connection, channel, cipher = self._connection, self._channel, self._outgoing_cipher
        assert cipher is not None
        block = connection._send_blocksize
        padding = -(connection._send_enchdrlen + 9 + size) % block
        if padding < 4:  # noqa: PLR2004  # RFC 4253 section 6
            padding += block
        length = 10 + size + padding
        at = self._padding_at
        if at + padding > len(self._padding):
            self._padding, at = os.urandom(_PADDING_BYTES), 0
        self._padding_at = at + padding
        packet = b"".join(
            (
                _HEAD.pack(padding, MSG_CHANNEL_DATA, channel._send_chan, size),
                data,
                self._padding[at : at + padding],
            )
        )
        head = _LENGTH.pack(length)
        sealed += head, self._seal(cipher._iv, packet, head)
        cipher._update_iv()
        channel._send_window -= size
        connection._send_seq = (connection._send_seq + 1) & _COUNT_MASK
        connection._rekey_bytes_sent += length

    def _adopt_outgoing(self, encryption: object) -> None:
        """New keys, at most once an hour: one schedule for all packets under them."""
        self._outgoing = encryption
        self._outgoing_cipher = _cipher_of(encryption)
        if self._outgoing_cipher is not None:
            self._seal = AESGCM(self._outgoing_cipher._key).encrypt

    # --- receiving

    def _receive(self) -> None:
        """In place of `SSHConnection._recv_data`: called whenever bytes arrived in ``_inpbuf``."""
        connection = self._connection
        self.is_reading = True
        try:
            if connection._recv_handler == self._at_header:
                self._take_packets()
            else:
                self._stock()
        except Exception:  # noqa: BLE001  # as asyncssh does: logged there, and the connection is closed
            connection.internal_error()
        finally:
            self.is_reading = False
        self._ended()

    def _take_packets(self) -> None:
        connection = self._connection
        self._note_heard()
        buffer: bytes = connection._inpbuf
        view = memoryview(buffer)
        at, end = 0, len(buffer)
        while end - at >= _FEWEST:
            stop = at + 4 + _LENGTH.unpack_from(buffer, at)[0] + _TAG_BYTES
            if not at + _FEWEST <= stop <= end:
                if stop <= end or stop - at > connection._max_recv_pktlen + 4 + _TAG_BYTES:
                    self._leave(buffer[at:])  # asyncssh knows what to say about such a length
                    return
                break
            if not self._take(view, at, stop):
                self._leave(buffer[at:stop])
                if connection._transport is None:
                    return  # it was closed: nothing more is of interest
                if connection._recv_handler != self._at_header:
                    connection._inpbuf += buffer[stop:]  # asyncssh goes on when it has done something else
                    return
            at = stop
        connection._inpbuf = buffer[at:] if at else buffer

    def _take(self, view: memoryview, at: int, stop: int) -> bool:
        """Deliver what is plain data; False, and nothing has happened, for anything else."""
        connection, channel = self._connection, self._channel
        encryption = connection._recv_encryption
        if encryption is not self._incoming:
            self._adopt_incoming(encryption)
        cipher = self._incoming_cipher
        if cipher is None or channel._recv_state != "open":
            return False
        try:
            packet = self._unseal(cipher._iv, view[at + 4 : stop], view[at : at + 4])
        except InvalidTag:
            return False
        padding, kind, number, size = _HEAD.unpack_from(packet)
        if (
            kind != MSG_CHANNEL_DATA
            or number != channel._recv_chan
            or 10 + size + padding != len(packet)
            or size > channel._recv_window
            or padding < 4  # noqa: PLR2004  # RFC 4253 section 6
        ):
            return False
        cipher._update_iv()
        connection._recv_seq = (connection._recv_seq + 1) & _COUNT_MASK
        connection._auth_final = True
        left = channel._recv_window - size
        if (
            channel._recv_paused
            or channel._recv_buf
            or channel._send_state != "open"
            or left < channel._init_recv_window / 2
        ):
            channel._accept_data(packet[10 : 10 + size])
        else:
            channel._recv_window = left
            self._deliver(memoryview(packet)[10 : 10 + size])
        return True

    def _leave(self, packets: bytes) -> None:
        self._connection._inpbuf = packets
        self._stock()

    def _adopt_incoming(self, encryption: object) -> None:
        self._incoming = encryption
        self._incoming_cipher = _cipher_of(encryption)
        if self._incoming_cipher is not None:
            self._unseal = AESGCM(self._incoming_cipher._key).decrypt

    def _note_heard(self) -> None:
        now = self._connection._loop.time()
        if now >= self._heard_until:
            self._heard_until = now + HEARD_S
            self._connection._reset_keepalive_timer()


def _cipher_of(encryption: object) -> _Cipher | None:
    """The cipher that holds key and counter, if it is AES-GCM."""
    cipher = vars(encryption).get("_cipher") if isinstance(encryption, GCMEncryption) else None
    return cast("_Cipher", cipher) if isinstance(cipher, GCMCipher) else None
