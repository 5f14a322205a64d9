"""The server's side of the NBD handshake: bytes in, bytes out, no I/O and no clock.

Whoever owns the socket sends `GREETING_BYTES`, then feeds what arrives and sends what comes back until an
export is chosen or the client has left.
"""

from collections.abc import Callable
from typing import NamedTuple

from drsync.adapters.nbd import protocol as nbd
from drsync.adapters.nbd.options import Choice, Questions
from drsync.model.errors import MalformedError
from drsync.ports.volume import Catalog, Face

GREETING_BYTES = nbd.GREETING.pack(
    nbd.INIT_MAGIC, nbd.OPTION_MAGIC, nbd.HANDSHAKE_FIXED_NEWSTYLE | nbd.HANDSHAKE_NO_ZEROES
)

OPTION_BYTES_MAX = 16 << 10  # because the longest sensible option is a 4096-byte name and a few info types
QUESTIONS_MAX = 64  # because a client asks for the one or two contexts that it understands
SKIP_BYTES_MAX = 1 << 20  # because a client that sends more than this in one option is not a client
OPTIONS_MAX = 128  # because clients send about five, and every one costs us an answer


class Chosen(NamedTuple):
    """The end of a good handshake."""

    name: str
    device: Face
    size: int
    is_read_only: bool
    is_structured: bool = False
    """Reads are answered in chunks."""

    tells_allocation: bool = False
    """The client selected `base:allocation` and may ask for BLOCK_STATUS."""

    claim: bytes = b""
    """The session that this connection continues; empty for a connection of its own."""


class Negotiation:
    """One connection's handshake. After `MalformedError` the connection is to be dropped."""

    def __init__(self, exports: Catalog, may_open: Callable[[str], bool]) -> None:
        self._exports = exports
        self._may_open = may_open
        self._held = bytearray()
        self._skipping = 0
        self._options = 0
        self._client_flags: int | None = None
        self._is_structured = False
        self._asked_allocation: str | None = None
        """The export for which `base:allocation` is selected: it is void for any other."""
        self._claim = b""
        self.chosen: Chosen | None = None
        self.has_left = False

    @property
    def rest(self) -> bytes:
        """Bytes that arrived after the chosen export's last option: the first requests."""
        return bytes(self._held)

    def receive(self, data: bytes | memoryview) -> bytes:
        """Take some bytes; returns what to send.

        Raises:
            MalformedError: not an NBD client, or one that cannot be followed any further.
        """
        self._held += data
        replies = bytearray()
        while self.chosen is None and not self.has_left and self._step(replies):
            pass
        return bytes(replies)

    def _step(self, replies: bytearray) -> bool:
        """Consume one element; False when more bytes are needed."""
        if self._skipping:
            skipped = min(self._skipping, len(self._held))
            del self._held[:skipped]
            self._skipping -= skipped
            return skipped > 0
        if self._client_flags is None:
            return self._take_client_flags()
        return self._take_option(replies)

    def _take_client_flags(self) -> bool:
        if len(self._held) < nbd.CLIENT_FLAGS.size:
            return False
        (flags,) = nbd.CLIENT_FLAGS.unpack_from(self._held)
        if flags & ~(nbd.HANDSHAKE_FIXED_NEWSTYLE | nbd.HANDSHAKE_NO_ZEROES):
            raise MalformedError(f"unknown client flags {flags:#x}")
        self._client_flags = flags
        del self._held[: nbd.CLIENT_FLAGS.size]
        return True

    def _take_option(self, replies: bytearray) -> bool:
        head = nbd.OPTION.size
        if len(self._held) < head:
            return False
        magic, option, length = nbd.OPTION.unpack_from(self._held)
        if magic != nbd.OPTION_MAGIC:
            raise MalformedError(f"option magic is {magic:#018x}")
        if length > SKIP_BYTES_MAX:
            raise MalformedError(f"option {option} states {length} bytes of data")
        if length > OPTION_BYTES_MAX:
            self._count_option()
            del self._held[:head]
            self._skipping = length
            replies += _error(option, nbd.REP_ERR_TOO_BIG, "this option is too long")
            return True
        if len(self._held) < head + length:
            return False
        self._count_option()
        data = bytes(self._held[head : head + length])
        del self._held[: head + length]
        replies += self._answer(option, data)
        return True

    def _count_option(self) -> None:
        self._options += 1
        if self._options > OPTIONS_MAX:
            raise MalformedError(f"more than {OPTIONS_MAX} options")

    def _answer(self, option: int, data: bytes) -> bytes:
        match option:
            case nbd.OPT_EXPORT_NAME:
                return self._export_name(data)
            case nbd.OPT_GO | nbd.OPT_INFO:
                return self._choose(option, data)
            case nbd.OPT_LIST:
                return self._list(data)
            case nbd.OPT_STRUCTURED_REPLY:
                return self._structure(data)
            case nbd.OPT_LIST_META_CONTEXT | nbd.OPT_SET_META_CONTEXT:
                return self._contexts(option, data)
            case nbd.OPT_CLAIM:
                return self._take_claim(data)
            case nbd.OPT_ABORT:
                self.has_left = True
                return _reply(option, nbd.REP_ACK)
            case _:
                return _error(option, nbd.REP_ERR_UNSUP, "this option is not supported")

    def _list(self, data: bytes) -> bytes:
        if data:
            return _error(nbd.OPT_LIST, nbd.REP_ERR_INVALID, "LIST takes no data")
        entries = [
            _reply(nbd.OPT_LIST, nbd.REP_SERVER, len(raw).to_bytes(4) + raw + self._describe(name))
            for name in self._exports.names()
            for raw in [name.encode()]
        ]
        return b"".join(entries) + _reply(nbd.OPT_LIST, nbd.REP_ACK)

    def _describe(self, name: str) -> bytes:
        return self._exports.describe(name).encode()[: nbd.NAME_BYTES_MAX]

    def _structure(self, data: bytes) -> bytes:
        if data:
            return _error(nbd.OPT_STRUCTURED_REPLY, nbd.REP_ERR_INVALID, "STRUCTURED_REPLY takes no data")
        self._is_structured = True
        return _reply(nbd.OPT_STRUCTURED_REPLY, nbd.REP_ACK)

    def _take_claim(self, data: bytes) -> bytes:
        if len(data) != nbd.CLAIM_BYTES:
            return _error(nbd.OPT_CLAIM, nbd.REP_ERR_INVALID, f"CLAIM takes {nbd.CLAIM_BYTES} bytes")
        self._claim = data
        return _reply(nbd.OPT_CLAIM, nbd.REP_ACK)

    def _contexts(self, option: int, data: bytes) -> bytes:
        """LIST and SET of metadata contexts: there is `base:allocation`. A SET that fails selects none."""
        is_set = option == nbd.OPT_SET_META_CONTEXT
        if is_set:
            self._asked_allocation = None
        if not self._is_structured:
            return _error(option, nbd.REP_ERR_INVALID, "ask for structured replies first")
        asked = Questions.parse(data, QUESTIONS_MAX)
        if asked is None:
            return _error(option, nbd.REP_ERR_INVALID, "lengths inside the option do not agree")
        if asked.is_too_big:
            return _error(option, nbd.REP_ERR_TOO_BIG, f"at most {QUESTIONS_MAX} queries of 4096 bytes")
        name = _decode(asked.name)
        if name is None:
            return _error(option, nbd.REP_ERR_INVALID, "the export name is not UTF-8")
        if self._exports.find(name) is None:
            return _error(option, nbd.REP_ERR_UNKNOWN, f"no export {_shown(asked.name)} is served here now")
        replies = b""
        if asked.selects_allocation if is_set else asked.lists_allocation:
            context = nbd.ALLOCATION_ID if is_set else 0
            replies = _reply(option, nbd.REP_META_CONTEXT, context.to_bytes(4) + nbd.ALLOCATION)
            if is_set:
                self._asked_allocation = name
        return replies + _reply(option, nbd.REP_ACK)

    def _export_name(self, data: bytes) -> bytes:
        """The old way to choose: it has no error reply, so a wrong name ends the connection."""
        if len(data) > nbd.NAME_BYTES_MAX:
            raise MalformedError("export name longer than 4096 bytes")
        name = _decode(data)
        found = None if name is None else self._find(name)
        if found is None or not self._may_open(found.name):
            raise MalformedError(f"no such export, or too many connections: {_shown(data)}")
        self.chosen = found
        answer = nbd.EXPORT.pack(found.size, self._flags(found))
        if self._client_flags is not None and self._client_flags & nbd.HANDSHAKE_NO_ZEROES:
            return answer
        return answer + bytes(nbd.EXPORT_NAME_PADDING)

    def _choose(self, option: int, data: bytes) -> bytes:
        """INFO and GO: the same answer, but GO then begins transmission."""
        parsed = Choice.parse(data)
        if parsed is None:
            return _error(option, nbd.REP_ERR_INVALID, "lengths inside the option do not agree")
        raw_name, wanted = parsed
        if len(raw_name) > nbd.NAME_BYTES_MAX:
            return _error(option, nbd.REP_ERR_TOO_BIG, "export names have at most 4096 bytes")
        name = _decode(raw_name)
        if name is None:
            return _error(option, nbd.REP_ERR_INVALID, "the export name is not UTF-8")
        found = self._find(name)
        if found is None:
            return _error(option, nbd.REP_ERR_UNKNOWN, f"no export {_shown(raw_name)} is served here now")
        if option == nbd.OPT_GO:
            if not self._may_open(name):
                return _error(option, nbd.REP_ERR_POLICY, "this export has too many connections")
            self.chosen = found
        infos = [
            nbd.INFO_EXPORT_DATA.pack(nbd.INFO_EXPORT, found.size, self._flags(found)),
            nbd.INFO_BLOCK_SIZE_DATA.pack(nbd.INFO_BLOCK_SIZE, 1, nbd.BLOCK_PREFERRED, nbd.PAYLOAD_BYTES_MAX),
        ]
        if nbd.INFO_NAME in wanted:
            infos.append(nbd.INFO_NAME.to_bytes(2) + raw_name)
        if nbd.INFO_DESCRIPTION in wanted:
            infos.append(nbd.INFO_DESCRIPTION.to_bytes(2) + self._describe(name))
        replies = [_reply(option, nbd.REP_INFO, info) for info in infos]
        return b"".join(replies) + _reply(option, nbd.REP_ACK)

    def _find(self, name: str) -> Chosen | None:
        device = self._exports.find(name)
        if device is None:
            return None
        tells = self._asked_allocation == name
        return Chosen(name, device, device.size, device.is_read_only, self._is_structured, tells, self._claim)

    def _flags(self, found: Chosen) -> int:
        return nbd.transmission_flags(is_read_only=found.is_read_only, is_structured=self._is_structured)


def _reply(option: int, kind: int, data: bytes = b"") -> bytes:
    return nbd.OPTION_REPLY.pack(nbd.OPTION_REPLY_MAGIC, option, kind, len(data)) + data


def _error(option: int, kind: int, message: str) -> bytes:
    return _reply(option, kind, message.encode())


def _decode(name: bytes) -> str | None:
    try:
        return name.decode()
    except UnicodeDecodeError:
        return None


def _shown(name: bytes) -> str:
    """A name for a message: short, and harmless on a terminal."""
    return ascii(name[:64].decode(errors="replace"))
