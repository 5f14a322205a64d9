"""One client's requests on their way to the owner, and the replies on their way back.

The hot path of a relay: bytes are checked, noted and handed on, with no task, future or object per request.
Requests are noted whole until they are answered (`drsync.core.held`), and replies are handed on whole: a lost
owner leaves nothing half said, and everything unanswered can be sent to the next one.
"""

import errno
from collections.abc import Callable
from typing import Protocol

from drsync.adapters.nbd import chunks
from drsync.adapters.nbd import protocol as nbd
from drsync.adapters.nbd.protocol import PAYLOAD_BYTES_MAX, REQUEST
from drsync.adapters.nbd.transmission import Outlet
from drsync.adapters.nbd.uplink import Replies
from drsync.core.held import Held
from drsync.model.errors import MalformedError, TransientError

HELD_BYTES_MAX = (
    32 << 20
)  # because with the largest request on top it is what a server holds for a connection
CHUNK_BYTES_MAX = PAYLOAD_BYTES_MAX + 64  # because the largest one is that much data and where it lies

_HEADER_BYTES = REQUEST.size
_REPLY_BYTES = nbd.REPLY.size
_CHUNK_BYTES = nbd.CHUNK.size
_COMMAND_MASK = 0xFFFF
_ANSWERED_IN_CHUNKS = frozenset({nbd.CMD_READ, nbd.CMD_BLOCK_STATUS})

_TROUBLE = frozenset({errno.EIO, errno.ESHUTDOWN})
"""The owner's troubles, not the request's: an owner that stops or whose disk fails is followed by another,
which can do better. The client gets EIO only when patience ends."""


class Upstream(Protocol):
    """What a passage needs of its connection to the owner; `uplink.Uplink`."""

    def begin(self, replies: Replies) -> None:
        """From now on `replies` takes what comes."""
        ...

    def widen(self) -> None:
        """Make room for more than a handshake."""
        ...

    def send(self, requests: list[bytes]) -> None:
        """Send requests."""
        ...

    def pause(self) -> None:
        """Take no replies for now."""
        ...

    def resume(self) -> None:
        """Take them again."""
        ...

    def cut(self) -> None:
        """End it now."""
        ...


class Passage:
    """The `Conversation` of one client, and who takes the replies of its uplink.

    Args:
        outlet: the client.
        is_structured: the client, and so the uplink, negotiated structured replies.
        on_left: called once, when the client is gone.
        on_disconnected: called with the reason when the uplink is gone and requests wait for another.
    """

    def __init__(
        self,
        outlet: Outlet,
        *,
        is_structured: bool,
        on_left: Callable[[], None],
        on_disconnected: Callable[[str], None],
    ) -> None:
        self.need = _HEADER_BYTES
        """Bytes of the next request, as far as known."""
        self.reply_need = _REPLY_BYTES
        """Bytes of the next reply, as far as known."""
        self.held = Held()
        self._outlet = outlet
        self._is_structured = is_structured
        self._on_left = on_left
        self._on_disconnected = on_disconnected
        self._uplink: Upstream | None = None
        self._parts: dict[bytes, list[bytes]] = {}
        self._refusing = 0
        self._is_open = True
        self._is_leaving = False
        self._is_choked = False
        self._was_stopped = False
        self._is_waking = False

    # --- the owner's side

    @property
    def is_open(self) -> bool:
        """The client is there."""
        return self._is_open

    @property
    def has_uplink(self) -> bool:
        """Requests go to an owner."""
        return self._uplink is not None

    @property
    def is_refusing(self) -> bool:
        """Requests are answered with an error at once."""
        return self._refusing != 0

    def bind(self, uplink: Upstream) -> int:
        """Requests go here from now on, first of all those that are unanswered; how many these are."""
        assert self._uplink is None
        self._refusing = 0
        self._uplink = uplink
        waiting = self.held.unanswered()
        uplink.widen()
        if self._is_choked:
            uplink.pause()
        if waiting:
            uplink.send(waiting)
        uplink.begin(self)
        return len(waiting)

    def unbind(self) -> None:
        """Cut the uplink: nothing it may have answered is handed on any more. Requests are kept."""
        uplink, self._uplink = self._uplink, None
        self._parts.clear()
        if uplink is not None:
            uplink.cut()

    def refuse(self, error: int) -> int:
        """Answer what is unanswered with `error`, and what comes too, until the next `bind`; how many were.

        The uplink is cut first: what was refused is never answered, and never sent again.
        """
        self.unbind()
        self._refusing = error
        count = len(self.held)
        self._refuse_held()
        self._wake_if_stopped()
        return count

    def disconnected(self, reason: str) -> None:
        """See `Replies`."""
        self._uplink = None
        self._parts.clear()
        self._on_disconnected(reason)

    def replies(self, data: memoryview, at: int, end: int) -> int:
        """See `Replies`. Hands whole replies on; TransientError: the owner is in trouble."""
        start = at
        self.reply_need = _REPLY_BYTES
        try:
            while end - at >= _REPLY_BYTES:
                magic, error, cookie = nbd.REPLY.unpack_from(data, at)
                if magic == nbd.REPLY_MAGIC:
                    following = self._simple(error, cookie, at)
                    if following > end:
                        self.reply_need = following - at
                        break
                    self._settle(cookie)
                elif magic == nbd.CHUNK_MAGIC and self._is_structured:
                    if end - at < _CHUNK_BYTES:
                        self.reply_need = _CHUNK_BYTES
                        break
                    _, flags, kind, cookie, length = nbd.CHUNK.unpack_from(data, at)
                    following = at + _CHUNK_BYTES + length
                    self._check_chunk(cookie, length)
                    if following > end:
                        self.reply_need = following - at
                        break
                    if kind & nbd.CHUNK_IS_ERROR:
                        _require_calm(int.from_bytes(data[at + _CHUNK_BYTES : at + _CHUNK_BYTES + 4]))
                    if not flags & nbd.CHUNK_DONE or cookie in self._parts:
                        self._hand_on(data, start, at)
                        self._gather(cookie, bytes(data[at:following]), is_last=bool(flags & nbd.CHUNK_DONE))
                        start = following
                    else:
                        self._settle(cookie)
                else:
                    raise MalformedError("the owner sent something that is no reply")
                at = following
        finally:
            self._hand_on(data, start, at)
        self._wake_if_stopped()
        return at

    def _simple(self, error: int, cookie: bytes, at: int) -> int:
        """Where a simple reply ends."""
        _require_calm(error)
        if error or self._is_structured:
            return at + _REPLY_BYTES
        return at + _REPLY_BYTES + self.held.read_length(cookie)

    def _check_chunk(self, cookie: bytes, length: int) -> None:
        if length > CHUNK_BYTES_MAX or cookie not in self.held:
            raise MalformedError("the owner sent a chunk of a reply that nobody waits for")

    def _gather(self, cookie: bytes, chunk: bytes, *, is_last: bool) -> None:
        """Keep the chunks of a reply until it is whole: half a reply cannot be continued by another owner."""
        parts = self._parts.setdefault(cookie, [])
        parts.append(chunk)
        if is_last:
            del self._parts[cookie]
            self._settle(cookie)
            self._outlet.send(b"".join(parts))

    def _settle(self, cookie: bytes) -> None:
        if not self.held.answer(cookie):
            raise MalformedError("the owner answered a request that nobody sent")

    def _hand_on(self, data: memoryview, start: int, end: int) -> None:
        if start < end and self._is_open:
            self._outlet.send(bytes(data[start:end]))

    def _wake_if_stopped(self) -> None:
        """The client's connection goes on where it stopped."""
        is_done = self._is_leaving and not len(self.held)
        if self._is_open and not self._is_waking and (is_done or (self._was_stopped and not self.is_blocked)):
            self._is_waking = True
            self._outlet.wake()

    # --- the client's side (`drsync.adapters.nbd.connection.Conversation`)

    @property
    def is_blocked(self) -> bool:
        """See Conversation."""
        return self._is_choked or self.held.cost > HELD_BYTES_MAX

    @property
    def is_at_disk(self) -> bool:
        """Here nothing is known of disks."""
        return False

    @property
    def is_over(self) -> bool:
        """See Conversation."""
        return self._is_leaving or not self._is_open

    def consume(self, data: memoryview, at: int, end: int) -> int:
        """See Conversation."""
        held, fresh, fault = self.held, [], ""
        unpack = REQUEST.unpack_from
        self.need = _HEADER_BYTES
        while end - at >= _HEADER_BYTES and not self._is_leaving:
            if self._is_choked or held.cost > HELD_BYTES_MAX:
                break
            magic, word, cookie, _offset, length = unpack(data, at)
            if magic != nbd.REQUEST_MAGIC or cookie in held:
                fault = "request magic is wrong, or the cookie is in use"
                break
            command = word & _COMMAND_MASK
            following = at + _HEADER_BYTES
            if command == nbd.CMD_WRITE:
                following += length
                if length > PAYLOAD_BYTES_MAX:
                    fault = f"a write of {length} bytes"
                    break
                if following > end:
                    self.need = _HEADER_BYTES + length
                    break
            elif command == nbd.CMD_DISC:
                self._is_leaving = True
                at = following
                break
            request = bytes(data[at:following])
            is_read = command == nbd.CMD_READ and length <= PAYLOAD_BYTES_MAX
            held.take(cookie, request, length if is_read else 0)
            fresh.append(request)
            at = following
        self._pass_on(fresh)
        self._was_stopped = self.is_blocked  # also by the last of them: then nobody reads on until we say so
        if fault:
            self._is_leaving = True
            self._outlet.drop(fault)
        else:
            self._finish_if_done()
        return at

    def _pass_on(self, fresh: list[bytes]) -> None:
        if not fresh or not self._is_open:
            return
        if self._refusing:
            self._refuse_held()
        elif self._uplink is not None:
            self._uplink.send(fresh)

    def deliver(self) -> None:
        """See Conversation."""
        self._is_waking = False
        self._finish_if_done()

    def choke(self) -> None:
        """See Conversation: the owner's replies wait where they are."""
        self._is_choked = True
        if self._uplink is not None:
            self._uplink.pause()

    def unchoke(self) -> None:
        """See Conversation."""
        self._is_choked = False
        if self._uplink is not None:
            self._uplink.resume()

    def shut(self, error: int) -> None:
        """See Conversation."""
        self.refuse(error)
        self.abandon()

    def abandon(self) -> None:
        """See Conversation."""
        if not self._is_open:
            return
        self._is_open = False
        self._is_leaving = True
        self.unbind()
        self.held.drop()
        self._on_left()

    def _finish_if_done(self) -> None:
        if self._is_leaving and self._is_open and not len(self.held):
            self.abandon()
            self._outlet.finish()

    def _refuse_held(self) -> None:
        answers = [self._refusal(cookie, request) for cookie, request in self.held.drop()]
        if answers and self._is_open:
            self._outlet.send(b"".join(answers))

    def _refusal(self, cookie: bytes, request: bytes) -> bytes:
        _, word, _, _, _ = REQUEST.unpack_from(request)
        if self._is_structured and word & _COMMAND_MASK in _ANSWERED_IN_CHUNKS:
            return chunks.refusal(cookie, self._refusing)
        return nbd.REPLY.pack(nbd.REPLY_MAGIC, nbd.wire_error(self._refusing), cookie)


def _require_calm(error: int) -> None:
    if error in _TROUBLE:
        raise TransientError(f"the owner answered {errno.errorcode[error]}", code="nbd_trouble")
