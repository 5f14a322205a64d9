"""Copying an image into a served volume, and a served volume back into a file, over NBD.

Both are pipelined: a few requests of 1 MiB are open at any time.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import blake3

from drsync.adapters.nbd.client import NbdClient
from drsync.lab.images import Image, data_ranges
from drsync.model.errors import DrsyncError, PermanentError

PIECE_BYTES = 1 << 20  # because a batch of the journal closes at this size
OPEN_REQUESTS = 8  # because 8 MiB keep a loopback link and a disk busy
HASHED_BYTES_MAX = 8 << 30  # because hashing more than this, holes included, takes longer than the import
ZERO_BYTES = 16 << 20  # because a server takes at most 32 MiB at a time
ZEROS = bytes(PIECE_BYTES)

Progress = Callable[[int], None]
"""Told how many bytes were dealt with since the last call."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A range of an image.

    Attributes:
        offset, length: bytes.
        data: its content; empty for zeros.
        is_hole: the file has nothing there.
    """

    offset: int
    length: int
    data: bytes = b""
    is_hole: bool = False


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of an import.

    Attributes:
        written: bytes that were sent; holes and zeros are not.
        content: ``blake3:<hex>`` of the whole volume; empty when it was too large to hash.
        has_changed: the image was written to meanwhile.
    """

    written: int
    content: str
    has_changed: bool


def pieces(handle: int, size: int) -> Iterator[Piece]:
    """All of an image in order: what is not zero as data, everything between as zeros."""
    at = 0
    for begin, length in data_ranges(handle, size):
        if begin > at:
            yield Piece(at, begin - at, is_hole=True)
        at = begin
        while at < begin + length:
            data = os.pread(handle, min(PIECE_BYTES, begin + length - at), at)
            if not data:
                raise PermanentError(f"the image became shorter than {size} bytes while it was read")
            yield Piece(at, len(data)) if data == ZEROS[: len(data)] else Piece(at, len(data), data)
            at += len(data)
    if at < size:
        yield Piece(at, size - at, is_hole=True)


async def import_image(
    image: Image, uri: str, progress: Progress, *, may_hold_data: bool = False
) -> Imported:
    """Make a served volume equal to an image, durably.

    Args:
        image: what to import.
        uri: of the volume.
        progress: told about data, not about holes.
        may_hold_data: the volume may hold something already: write zeros as well.

    Raises:
        DrsyncError: of the NBD client, or the image cannot be read.
    """
    with image.path.open("rb") as file:
        before = os.fstat(file.fileno())
        source = _Source(file.fileno(), image)
        async with connected(uri) as client:
            if client.size != image.volume_size:
                raise PermanentError(f"the volume has {client.size} bytes, the image {image.volume_size}")
            with _one_error():
                async with asyncio.TaskGroup() as tasks:
                    for _ in range(OPEN_REQUESTS):
                        tasks.create_task(_carry(source, client, progress, may_hold_data=may_hold_data))
            await client.flush()
        after = os.fstat(file.fileno())
    has_changed = (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size)
    return Imported(source.data_bytes, source.content(), has_changed)


async def export_volume(uri: str, target: Path, progress: Progress) -> str:
    """Copy a served volume into a sparse file; returns ``blake3:<hex>`` of its content.

    Raises:
        DrsyncError: of the NBD client, or the file cannot be written.
    """
    hasher = blake3.blake3()

    def keep(offset: int, data: bytes) -> None:
        hasher.update(data)
        if data != ZEROS[: len(data)]:
            os.pwrite(file.fileno(), data, offset)

    try:
        with target.open("wb") as file:
            async with connected(uri) as client:
                file.truncate(client.size)
                async for offset, data in _read_ahead(client):
                    await asyncio.to_thread(keep, offset, data)
                    progress(len(data))
    except OSError as error:
        raise PermanentError(f"cannot write {target}: {error.strerror}") from error
    return f"blake3:{hasher.hexdigest()}"


async def read_all(uri: str) -> bytes:
    """A small volume as a whole."""
    async with connected(uri) as client:
        return b"".join([data async for _, data in _read_ahead(client)])


@asynccontextmanager
async def connected(uri: str) -> AsyncIterator[NbdClient]:
    """An open export, closed at the end."""
    client = await NbdClient.connect(uri)
    try:
        yield client
    finally:
        await client.close()


class _Source:
    """Hands the pieces of an image out, one at a time, and hashes them in that order."""

    def __init__(self, handle: int, image: Image) -> None:
        self.data_bytes = 0
        self._image = image
        self._pieces = pieces(handle, image.size)
        self._hasher = blake3.blake3() if image.volume_size <= HASHED_BYTES_MAX else None
        self._taking = asyncio.Lock()

    async def take(self) -> Piece | None:
        """The next piece; None at the end."""
        async with self._taking:
            return await asyncio.to_thread(self._take)

    def _take(self) -> Piece | None:
        try:
            piece = next(self._pieces, None)
        except OSError as error:
            raise PermanentError(f"{self._image.path} cannot be read: {error.strerror}") from error
        if piece is None:
            return None
        self.data_bytes += len(piece.data)
        if self._hasher is not None:
            if piece.data:
                self._hasher.update(piece.data)
            else:
                _hash_zeros(self._hasher, piece.length)
        return piece

    def content(self) -> str:
        """``blake3:<hex>`` of a volume that holds the image."""
        if self._hasher is None:
            return ""
        _hash_zeros(self._hasher, self._image.volume_size - self._image.size)
        return f"blake3:{self._hasher.hexdigest()}"


def _hash_zeros(hasher: blake3.blake3, length: int) -> None:
    for at in range(0, length, PIECE_BYTES):
        hasher.update(memoryview(ZEROS)[: min(PIECE_BYTES, length - at)])


async def _carry(source: _Source, client: NbdClient, progress: Progress, *, may_hold_data: bool) -> None:
    """Write pieces until there are no more."""
    while (piece := await source.take()) is not None:
        if piece.data:
            await client.write(piece.offset, piece.data)
        elif may_hold_data:
            for at in range(piece.offset, piece.offset + piece.length, ZERO_BYTES):
                await client.zero(at, min(ZERO_BYTES, piece.offset + piece.length - at))
        if not piece.is_hole:
            progress(piece.length)


async def _read_ahead(client: NbdClient) -> AsyncIterator[tuple[int, bytes]]:
    """The whole export in order, several requests at a time."""
    stride = PIECE_BYTES * OPEN_REQUESTS
    for begin in range(0, client.size, stride):
        offsets = range(begin, min(begin + stride, client.size), PIECE_BYTES)
        with _one_error():
            async with asyncio.TaskGroup() as tasks:
                reads = [
                    tasks.create_task(client.read(at, min(PIECE_BYTES, client.size - at))) for at in offsets
                ]
        for offset, read in zip(offsets, reads, strict=True):
            yield offset, read.result()


@contextmanager
def _one_error() -> Iterator[None]:
    """Of several requests that failed at once, the first one's error says it all."""
    try:
        yield
    except* DrsyncError as group:
        raise next(leaf for leaf in _leaves(group)) from None


def _leaves(group: BaseExceptionGroup[DrsyncError]) -> Iterator[DrsyncError]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
