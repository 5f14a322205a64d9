"""The owner's end of a tree's stream: tell a peer what changed, and give it the blocks it asks for.

One stream per peer and file set. The peer states what it holds; the difference to the newest generation is
sent as entries, small content with them, the rest when it is asked for. What a peer holds is shown as lag by
the owner's clock.
"""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from drsync.core.file_lineage import Base
from drsync.delta import entries as codec
from drsync.engine.bulk import BulkChannel
from drsync.engine.file_packing import pack
from drsync.engine.threads import in_thread
from drsync.model.epoch import Epoch
from drsync.model.errors import MalformedError, TransientError
from drsync.model.fileset import BEFORE_ALL, Entry, FileKind, Generation, GenerationStart
from drsync.ports.clock import Clock
from drsync.wire import files as wire
from drsync.wire.files import BeginFlags, PieceStatus, StateFlags
from drsync.wire.frames import Frame, FrameType

FRAME_BYTES = 256 << 10  # because larger frames cost the receiver more copies than they save calls
PUSH_BYTES_MAX = 1 << 20  # because what is small is there before the peer could have asked for it
STATE_TIMEOUT_S = 10.0  # because a peer looks at its root first, or finishes what a crash interrupted
QUEUED_WANTS_MAX = 1 << 20  # because a peer asks for 16 MiB at a time: more is not one of ours
KEEP_S = 30.0  # because a view is opened within seconds of its checkpoint, or not at all


class TreeSource(Protocol):
    """The owner's tree, as a shipment needs it."""

    @property
    def current(self) -> Generation:
        """The newest generation that was cut."""
        ...

    @property
    def is_logged(self) -> bool:
        """Whether the log holds its record already; until then nobody is told of it."""
        ...

    @property
    def cut_seq(self) -> int:
        """Its record in the log."""
        ...

    @property
    def digest(self) -> str:
        """Of its entries."""
        ...

    @property
    def lineage(self) -> tuple[GenerationStart, ...]:
        """How it came about."""
        ...

    def base(self, held: Generation, *, is_full: bool) -> Base:
        """What a peer that holds `held` needs."""
        ...

    def changed_since(self, number: int) -> list[Entry]:
        """See FileIndex. Called from threads."""
        ...

    def everything(self) -> list[Entry]:
        """All live entries. Called from threads."""
        ...

    def block(self, entry: Entry, block: int) -> bytes | None:
        """Content as it was cut; None when it is no longer to be had. Called from threads."""
        ...

    def gone(self, path: bytes) -> None:
        """A block of it was asked for and was no longer there."""
        ...


@dataclass(slots=True)
class Sent:
    """What was sent to a peer, for status and benchmarks."""

    entries: int = 0
    content_bytes: int = 0
    wire_bytes: int = 0
    generations: int = 0


@dataclass(slots=True)
class _Cargo:
    """A generation on its way."""

    target: Generation
    entries: list[Entry] = field(default_factory=list)


class Shipment:
    """One peer's stream for one tree. Implements `StreamHandler`; `run` ends when the stream is lost."""

    def __init__(
        self, source: TreeSource, ids: tuple[bytes, bytes], epoch: Epoch, channel: BulkChannel, clock: Clock
    ) -> None:
        """`ids` are of the group and the file set, 16 bytes each."""
        self.held = BEFORE_ALL
        self.staged = BEFORE_ALL
        self.is_stated = False
        self.is_held_back = False
        self.is_lost = False
        self.sent = Sent()
        self._source = source
        self._ids = ids
        self._epoch = epoch
        self._channel = channel
        self._clock = clock
        self._stream = 0
        self._changed = asyncio.Event()
        self._may_send = asyncio.Event()
        self._may_send.set()
        self._wants: deque[wire.Want] = deque()
        self._cargo: _Cargo | None = None
        self._wants_full = False
        self._given_up: Generation | None = None
        self._keep: tuple[Generation, float] | None = None

    # --- StreamHandler

    def frame_received(self, frame: Frame) -> None:
        """See StreamHandler."""
        if frame.type is FrameType.TREE_STATE:
            self._stated(wire.read_state(frame.body))
        elif frame.type is FrameType.TREE_WANT:
            self._wanted(*wire.read_want(frame.body))
        elif frame.type is FrameType.DETACH:
            self._channel.close_stream(self._stream)
            self.lost("the peer takes no more")
        else:
            raise MalformedError(f"frame {frame.type} does not belong on a tree's stream")
        self._changed.set()

    def frames_ended(self) -> None:
        """See StreamHandler."""

    def still_arriving(self) -> None:
        """See StreamHandler."""

    def pause(self) -> None:
        """See StreamHandler."""
        self._may_send.clear()

    def resume(self) -> None:
        """See StreamHandler."""
        self._may_send.set()

    def lost(self, reason: str) -> None:
        """See StreamHandler."""
        del reason
        self.is_lost = True
        self._may_send.set()
        self._changed.set()

    def _stated(self, state: wire.TreeState) -> None:
        self.is_stated = True
        self.held, self.staged = state.held, state.staged
        self.is_held_back = bool(state.flags & StateFlags.HELD_BACK)
        self._wants_full = bool(state.flags & StateFlags.WANTS_FULL)
        if state.flags & StateFlags.GAVE_UP:
            self._given_up = self._cargo.target if self._cargo is not None else None
            self._cargo = None
            self._wants.clear()
        if state.flags & StateFlags.GO_ON:
            self._keep = None
        if self._cargo is not None and self.held == self._cargo.target:
            self._cargo = None
            self.sent.generations += 1

    def _wanted(self, number: int, wants: list[wire.Want]) -> None:
        cargo = self._cargo
        if cargo is None or number != cargo.target.number:
            return  # asked for before it heard that another generation comes
        for ordinal, block in wants:
            if ordinal >= len(cargo.entries) or block >= len(cargo.entries[ordinal].blocks):
                raise MalformedError(f"block {block} of entry {ordinal} was asked for; there is none")
        self._wants.extend(wants)
        if len(self._wants) > QUEUED_WANTS_MAX:
            raise MalformedError(f"{len(self._wants)} blocks were asked for at once")

    # --- the owner's side

    def news(self) -> None:
        """A generation was cut."""
        self._changed.set()

    @property
    def gave_up(self) -> Generation | None:
        """The generation that the peer cannot get any more: content of it changed before it was sent."""
        return self._given_up

    def keep(self, generation: Generation) -> None:
        """Send nothing newer than `generation` until the peer says so, or `KEEP_S` have passed."""
        self._keep = (generation, self._clock.now() + KEEP_S)

    async def run(self) -> None:
        """Ship until the stream is lost.

        Raises:
            TransientError: the peer has not answered.
        """
        self._stream = self._channel.open_stream(self)
        try:
            self._channel.send(
                FrameType.TREE_OPEN, self._stream, [wire.encode_open(wire.TreeOpen(*self._ids, self._epoch))]
            )
            await self._first_state()
            while not self.is_lost:
                await self._round()
        finally:
            if not self.is_lost:
                self._channel.send(FrameType.DETACH, self._stream, [])
                self._channel.close_stream(self._stream)
            self.is_lost = True

    async def _first_state(self) -> None:
        try:
            async with asyncio.timeout(STATE_TIMEOUT_S):
                while not self.is_stated and not self.is_lost:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise TransientError(f"{self._channel.peer} does not take the tree yet") from None

    async def _round(self) -> None:
        """Answer what was asked; else begin a newer generation; else wait."""
        self._changed.clear()
        if self._wants:
            await self._give()
        elif self._cargo is None and not self.is_held_back and self._may_begin():
            await self._begin()
        else:
            try:
                async with asyncio.timeout(1.0):  # because a kept generation ends by the clock
                    await self._changed.wait()
            except TimeoutError:
                return

    def _may_begin(self) -> bool:
        current = self._source.current
        if not self._source.is_logged or (current == self.held and not self._wants_full):
            return False
        if current == self._given_up:
            return False  # the same blocks would be gone: the next generation has what took their place
        if self._keep is None or self._clock.now() >= self._keep[1]:
            self._keep = None
            return True
        return self.held != self._keep[0]

    # --- sending

    async def _begin(self) -> None:
        source = self._source
        base = source.base(self.held, is_full=self._wants_full)
        target, cut_seq, digest, lineage = source.current, source.cut_seq, source.digest, source.lineage
        found = await in_thread(
            lambda: source.everything() if base.is_full else source.changed_since(base.number)
        )
        if source.current != target or not source.is_logged or self.is_lost:
            self._changed.set()
            return  # a newer one was cut while these were read: its entries may be among them
        self._cargo = _Cargo(target, found)
        self._wants.clear()
        self._wants_full = False
        flags = BeginFlags.FULL if base.is_full else BeginFlags.NONE
        begin = wire.TreeBegin(
            target, base.number, flags, len(found), bytes.fromhex(digest), lineage, cut_seq
        )
        self._send(FrameType.TREE_BEGIN, wire.encode_begin(begin))
        await self._send_entries(found)
        small = sum(entry.size for entry in found if entry.kind is FileKind.FILE)
        if not base.is_full and small <= PUSH_BYTES_MAX:
            self._wants.extend(
                wire.Want(ordinal, block)
                for ordinal, entry in enumerate(found)
                for block in range(len(entry.blocks))
            )

    async def _send_entries(self, entries: list[Entry]) -> None:
        parts: list[bytes] = []
        first, size = 0, 0
        for ordinal, entry in enumerate(entries):
            raw = codec.encode(entry)
            if parts and size + len(raw) > FRAME_BYTES:
                await self._send_packed(
                    FrameType.TREE_ENTRIES, b"".join((wire.entries_header(first), *parts))
                )
                first, parts, size = ordinal, [], 0
            parts.append(raw)
            size += len(raw)
        if parts:
            await self._send_packed(FrameType.TREE_ENTRIES, b"".join((wire.entries_header(first), *parts)))
        self.sent.entries += len(entries)

    async def _give(self) -> None:
        """Some blocks, as they were asked for."""
        cargo = self._cargo
        if cargo is None:
            self._wants.clear()
            return
        bodies, gone = await in_thread(lambda: self._collect(cargo))
        for path in gone:
            self._source.gone(path)
        for body in bodies:
            if self._cargo is not cargo:
                return
            await self._send_packed(FrameType.TREE_BLOCKS, body)

    def _collect(self, cargo: _Cargo) -> tuple[list[bytes], list[bytes]]:
        """Bodies of block frames, about `FRAME_BYTES` in all unless one block is larger; and what is gone."""
        pieces: list[wire.Piece] = []
        gone: list[bytes] = []
        size = 0
        while self._wants and size < FRAME_BYTES:
            want = self._wants.popleft()
            entry = cargo.entries[want.ordinal]
            data = self._source.block(entry, want.block)
            if data is None:
                gone.append(entry.path)
                pieces.append(wire.Piece(*want, 0, PieceStatus.GONE))
                continue
            view = memoryview(data)
            pieces += (
                wire.Piece(*want, at, PieceStatus.DATA, view[at : at + FRAME_BYTES])
                for at in range(0, len(data), FRAME_BYTES)
            )
            size += len(data)
        self.sent.content_bytes += size
        return list(_framed(cargo.target.number, pieces)), gone

    async def _send_packed(self, kind: FrameType, raw: bytes) -> None:
        body, flags = await in_thread(lambda: pack(raw))
        await self._may_send.wait()
        if not self.is_lost:
            self._send(kind, body, flags)

    def _send(self, kind: FrameType, body: bytes, flags: int = 0) -> None:
        self.sent.wire_bytes += len(body)
        self._channel.send(kind, self._stream, [body], flags)


def _framed(number: int, pieces: Sequence[wire.Piece]) -> Iterator[bytes]:
    """Bodies of TREE_BLOCKS of about `FRAME_BYTES` each."""
    part: list[wire.Piece] = []
    size = 0
    for piece in pieces:
        if part and size + len(piece.data) > FRAME_BYTES:
            yield b"".join(wire.blocks_parts(number, part))
            part, size = [], 0
        part.append(piece)
        size += len(piece.data)
    if part:
        yield b"".join(wire.blocks_parts(number, part))
