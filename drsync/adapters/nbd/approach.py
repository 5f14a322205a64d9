"""The client's side of the NBD handshake: bytes in, bytes out, no I/O and no clock.

Whoever owns the socket feeds what arrives and sends what comes back, until an export is open. Only servers
are taken that speak fixed newstyle and know GO; what else is wanted is asked for and must be granted.
"""

from dataclasses import dataclass

from drsync.adapters.nbd import protocol as nbd
from drsync.model.errors import MalformedError, TransientError

ANSWER_BYTES_MAX = 64 << 10  # because no answer to any of our options is longer


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a connection asks for.

    Attributes:
        name: of the export.
        is_structured: reads shall be answered in chunks.
        tells_allocation: BLOCK_STATUS in `base:allocation`; needs `is_structured`.
        claim: the session that the connection continues; empty for none.
    """

    name: str
    is_structured: bool = False
    tells_allocation: bool = False
    claim: bytes = b""


@dataclass(frozen=True, slots=True)
class Opened:
    """What the server said of the export.

    Attributes:
        size: bytes.
        flags: transmission flags.
        description: one line for people.
    """

    size: int
    flags: int
    description: str

    @property
    def is_read_only(self) -> bool:
        """Writes are refused."""
        return bool(self.flags & nbd.READ_ONLY)


class Approach:
    """One connection's handshake, from the server's greeting to the first request.

    Raises, from `receive`:
        MalformedError: not such a server, or it does not know what was asked for.
        TransientError: the export is not served here now (``nbd_unknown_export``), or not to us.
    """

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._held = bytearray()
        self._is_greeted = False
        self._steps = self._options()
        self._asked = 0
        self._export: tuple[int, int] | None = None
        self._description = ""
        self._has_context = False
        self.opened: Opened | None = None

    @property
    def rest(self) -> bytes:
        """Bytes that arrived after the handshake."""
        return bytes(self._held)

    def receive(self, data: bytes | memoryview) -> bytes:
        """Take some bytes; returns what to send."""
        self._held += data
        replies = b""
        if not self._is_greeted:
            if len(self._held) < nbd.GREETING.size:
                return b""
            replies = self._greet()
        while self.opened is None and (answer := self._answer()) is not None:
            replies += self._take(*answer)
        return replies

    def _options(self) -> list[tuple[int, bytes]]:
        """Options in the order they are asked; GO is the last."""
        wanted = self._wanted
        raw = wanted.name.encode()
        named = len(raw).to_bytes(4) + raw
        steps: list[tuple[int, bytes]] = []
        if wanted.is_structured:
            steps.append((nbd.OPT_STRUCTURED_REPLY, b""))
        if wanted.tells_allocation:
            query = len(nbd.ALLOCATION).to_bytes(4) + nbd.ALLOCATION
            steps.append((nbd.OPT_SET_META_CONTEXT, named + (1).to_bytes(4) + query))
        if wanted.claim:
            steps.append((nbd.OPT_CLAIM, wanted.claim))
        infos = (1).to_bytes(2) + nbd.INFO_DESCRIPTION.to_bytes(2)
        return [*steps, (nbd.OPT_GO, named + infos)]

    def _greet(self) -> bytes:
        init, magic, flags = nbd.GREETING.unpack_from(self._held)
        del self._held[: nbd.GREETING.size]
        is_ours = (init, magic) == (nbd.INIT_MAGIC, nbd.OPTION_MAGIC)
        if not is_ours or not flags & nbd.HANDSHAKE_FIXED_NEWSTYLE:
            raise MalformedError("this server does not speak fixed newstyle NBD")
        self._is_greeted = True
        known = nbd.HANDSHAKE_FIXED_NEWSTYLE | nbd.HANDSHAKE_NO_ZEROES
        return nbd.CLIENT_FLAGS.pack(flags & known) + self._ask()

    def _ask(self) -> bytes:
        option, data = self._steps[self._asked]
        return nbd.OPTION.pack(nbd.OPTION_MAGIC, option, len(data)) + data

    def _answer(self) -> tuple[int, bytes] | None:
        """The kind and content of the next answer, once it is here."""
        head = nbd.OPTION_REPLY.size
        if len(self._held) < head:
            return None
        magic, option, kind, length = nbd.OPTION_REPLY.unpack_from(self._held)
        if magic != nbd.OPTION_REPLY_MAGIC or option != self._steps[self._asked][0]:
            raise MalformedError("the server answered an option that was not asked")
        if length > ANSWER_BYTES_MAX:
            raise MalformedError(f"the server's answer to option {option} has {length} bytes")
        if len(self._held) < head + length:
            return None
        data = bytes(self._held[head : head + length])
        del self._held[: head + length]
        return kind, data

    def _take(self, kind: int, data: bytes) -> bytes:
        option = self._steps[self._asked][0]
        if kind & nbd.REP_IS_ERROR:
            self._refused(option, kind, data)
        if kind == nbd.REP_INFO:
            self._note(data)
        elif kind == nbd.REP_META_CONTEXT:
            self._has_context = data[:4] == nbd.ALLOCATION_ID.to_bytes(4)
        elif kind == nbd.REP_ACK and option != nbd.OPT_GO:
            if option == nbd.OPT_SET_META_CONTEXT and not self._has_context:
                raise MalformedError("the server does not tell base:allocation as drsync does")
            self._asked += 1
            return self._ask()
        elif kind == nbd.REP_ACK:
            if self._export is None:
                raise MalformedError("the server opened the export without stating its size")
            self.opened = Opened(*self._export, self._description)
        return b""

    def _note(self, info: bytes) -> None:
        kind = int.from_bytes(info[:2])
        if kind == nbd.INFO_EXPORT and len(info) == nbd.INFO_EXPORT_DATA.size:
            _, size, flags = nbd.INFO_EXPORT_DATA.unpack(info)
            self._export = size, flags
        elif kind == nbd.INFO_DESCRIPTION:
            self._description = info[2:].decode(errors="replace")

    def _refused(self, option: int, kind: int, data: bytes) -> None:
        said, name = ascii(data[:200].decode(errors="replace")), self._wanted.name
        if kind == nbd.REP_ERR_UNKNOWN:
            raise TransientError(f"export {name!r} is not served: {said}", code="nbd_unknown_export")
        if option == nbd.OPT_GO:
            raise TransientError(f"export {name!r} was not opened: {said}", code="nbd_not_opened")
        raise MalformedError(f"the server refused option {option:#x}, which every owner knows: {said}")
