"""The indexes of full segments, in files beside them: a help that may be lost at any time.

Nothing is ever synced here, and no failure matters to the journal: what cannot be read or does not match its
checksum is made again from the segment. Several indexes share a file, so that a long journal needs few
descriptors; a file goes when all segments it speaks of are gone.
"""

import errno
import os
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct
from typing import Final

from xxhash import xxh3_64_intdigest

from drsync.adapters.segments.files import Files, read_into, read_up_to, write_all
from drsync.adapters.segments.index_layout import (
    HEADER_BYTES,
    IndexHeader,
    Of,
    PageDirectory,
    decode_directory,
    decode_header,
    encode,
)
from drsync.delta.block_filter import BlockFilter
from drsync.delta.pieces import PIECE, PIECE_BYTES, Piece, PieceTable
from drsync.model.errors import MalformedError

SUFFIX: Final = ".idx"
INDEXES_MAX: Final = (
    256  # in a file, because that is 16 GiB of journal, and at most 1 % of it is kept too long
)
_LENGTH: Final = Struct("<I")
_LENGTH_AT: Final = 16  # in a piece
OPEN_MAX: Final = 8  # files, because 128 GiB of journal fit, and ten groups share 1024 descriptors by default


@dataclass(slots=True, eq=False)
class _Pack:
    """A file of indexes."""

    path: Path
    numbers: set[int] = field(default_factory=set)
    end: int = 0


@dataclass(frozen=True, slots=True)
class _Place:
    pack: _Pack
    offset: int
    header: IndexHeader


class Indexes:
    """All index files of a journal. `add`, `keep` and `close` are for one thread at a time.

    Args:
        files: system calls.
        directory: of the journal.
    """

    def __init__(self, files: Files, directory: Path) -> None:
        self._files = files
        self._directory = directory
        self._handles = threading.Lock()  # guards what follows: readers in several threads, and who adds
        self._open: dict[_Pack, int] = {}  # descriptors, oldest use first
        self._packs: list[_Pack] = []
        self._places: dict[int, _Place] = {}
        self._is_loaded = self._is_closed = False
        self._writing: _Pack | None = None

    def has(self, of: Of) -> bool:
        """Whether there is an index of this very content."""
        self._load()
        place = self._places.get(of.number)
        return place is not None and place.header.of == of

    def layer(self, of: Of, rebuild: Callable[[], PieceTable]) -> "SealedLayer | None":
        """What the segment left; None without an index that can be read.

        Args:
            of: the segment.
            rebuild: gives the same pieces from the segment itself; used when a page is damaged.
        """
        if not self.has(of):
            return None
        place = self._places[of.number]
        header = place.header
        try:
            data = self.read(place, HEADER_BYTES, header.pieces_at - HEADER_BYTES)
            return SealedLayer(self, place, decode_directory(header, data), rebuild)
        except (OSError, MalformedError):
            self.forget(place)
            return None

    def will_need(self) -> None:
        """All of them will be read soon. Raises OSError."""
        self._load()
        with self._handles:
            for pack in self._packs:
                self._files.will_need(self._descriptor(pack), 0, pack.end)

    def read(self, place: _Place, at: int, length: int) -> bytearray:
        """Bytes of an index; zeros where its file is shorter. Raises OSError."""
        data = bytearray(length)
        with self._handles:
            fd = self._open.get(place.pack)
            if fd is None:
                fd = self._descriptor(place.pack)
            read_into(self._files, fd, memoryview(data), place.offset + at)
        return data

    def __len__(self) -> int:
        """Indexes known."""
        return len(self._places)

    @property
    def held_bytes(self) -> int:
        """Bytes of disk, as far as is known."""
        return sum(pack.end for pack in self._packs)

    def forget(self, place: _Place) -> None:
        """An index is damaged: it is to be made again."""
        with self._handles:
            if self._places.get(place.header.of.number) is place:
                del self._places[place.header.of.number]

    def add(self, of: Of, table: PieceTable) -> None:
        """Keep the index of a segment. Raises OSError: then there is none."""
        self._load()
        data = encode(of, table)
        header = decode_header(data)
        assert header is not None
        try:
            pack = self._pack()
            with self._handles:
                fd = self._descriptor(pack)
                write_all(self._files, fd, [data], pack.end)
        except OSError:
            self._writing = None  # whatever its end is now, nobody writes behind it
            raise
        with self._handles:
            self._places[of.number] = _Place(pack, pack.end, header)
        pack.end += len(data)
        pack.numbers.add(of.number)

    def keep(self, numbers: set[int]) -> None:
        """Remove files that speak of none of these segments. Raises OSError."""
        if not self._is_loaded:
            return
        with self._handles:
            self._places = {n: place for n, place in self._places.items() if n in numbers}
            gone = [p for p in self._packs if p is not self._writing and p.numbers.isdisjoint(numbers)]
            self._packs = [pack for pack in self._packs if pack not in gone]
            for pack in gone:
                self._close(pack)
        for pack in gone:
            self._files.unlink(pack.path)

    def close(self) -> None:
        """Release the files."""
        with self._handles:
            self._is_closed = True
            for pack in list(self._open):
                self._close(pack)

    def _load(self) -> None:
        """Find what is there, once."""
        if self._is_loaded:
            return
        with self._handles:
            if not self._packs:
                names = self._files.names(self._directory)
                for name in sorted(name for name in names if name.endswith(SUFFIX)):
                    pack = _Pack(self._directory / name)
                    self._packs.append(pack)
                    with suppress(OSError):  # made again
                        self._find(pack)
            self._is_loaded = True

    def _find(self, pack: _Pack) -> None:
        """Note the indexes of a file up to the first that is none, or not whole."""
        fd = self._descriptor(pack)
        size = pack.end = self._files.size(fd)
        at = 0
        while at < size:
            header = decode_header(read_up_to(self._files, fd, HEADER_BYTES, at))
            if header is None or at + header.length > size:
                return
            pack.numbers.add(header.of.number)
            self._places[header.of.number] = _Place(pack, at, header)
            at += header.length

    def _pack(self) -> _Pack:
        """The file to write into; never one of a former process, which may end in the middle of something."""
        pack = self._writing
        if pack is not None and len(pack.numbers) < INDEXES_MAX:
            return pack
        newest = max((int(pack.path.stem, 16) for pack in self._packs), default=0)
        pack = _Pack(self._directory / f"{newest + 1:08x}{SUFFIX}")
        with self._handles:
            fd = self._files.open(pack.path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            self._note_open(pack, fd)
            self._packs.append(pack)
        self._writing = pack
        return pack

    def _descriptor(self, pack: _Pack) -> int:
        fd = self._open.pop(pack, None)
        if fd is None:
            if self._is_closed:
                raise OSError(errno.EBADF, "the journal was closed")
            fd = self._files.open(pack.path, os.O_RDWR)
        self._note_open(pack, fd)
        return fd

    def _note_open(self, pack: _Pack, fd: int) -> None:
        self._open[pack] = fd
        if len(self._open) > OPEN_MAX:
            self._close(next(iter(self._open)))

    def _close(self, pack: _Pack) -> None:
        fd = self._open.pop(pack, None)
        if fd is not None:
            self._files.close(fd)


class SealedLayer:
    """`drsync.ports.journal.Layer` that reads pages of an index when they are asked for.

    A page that is damaged, or cannot be read, costs the time to make all pieces again from the segment, once.
    """

    def __init__(
        self, indexes: Indexes, place: _Place, directory: PageDirectory, rebuild: Callable[[], PieceTable]
    ) -> None:
        self._indexes = indexes
        self._place = place
        self._directory = directory
        self._rebuild = rebuild
        self._rebuilt: PieceTable | None = None
        self._last: tuple[int, bytearray] = (-1, bytearray())
        self.base = place.header.of.number << 32
        self.volumes = tuple(directory.volumes)
        """Those that have pieces, ascending."""

    def filter(self) -> BlockFilter | None:
        """See the port. Read from the disk each time."""
        header = self._place.header
        if header.filter_size_bits:
            with suppress(OSError):
                bits = bytes(self._indexes.read(self._place, header.filter_at, header.filter_bytes))
                if xxh3_64_intdigest(bits) == header.filter_hash:
                    return BlockFilter(header.filter_size_bits, header.filter_levels, bits)
        return None

    def select(self, volume: int, start: int, end: int) -> tuple[int, Sequence[Piece]]:
        """See the port."""
        if self._rebuilt is None:
            try:
                return self._select(volume, start, end)
            except (OSError, MalformedError):
                self._make_again()
        assert self._rebuilt is not None
        return self._rebuilt.select(volume, start, end)

    def piece(self, number: int) -> Piece:
        """See the port."""
        if self._rebuilt is None:
            try:
                page = bisect_right(self._directory.starts, number) - 1
                skip = number - self._directory.starts[page]
                found: Piece = PIECE.unpack_from(self._page(page), skip * PIECE_BYTES)
            except (OSError, MalformedError):
                self._make_again()
            else:
                return found
        assert self._rebuilt is not None
        return self._rebuilt.piece(number)

    def _make_again(self) -> None:
        self._indexes.forget(self._place)
        self._rebuilt = self._rebuild()

    def _select(self, volume: int, start: int, end: int) -> tuple[int, Sequence[Piece]]:
        directory = self._directory
        low, high = directory.volumes.get(volume, (0, 0))
        page = max(bisect_right(directory.firsts, start, low, high) - 1, low)
        stop = bisect_left(directory.firsts, end, page, high)
        if page == stop:
            return 0, ()
        first, found = _within(self._page(page), start, end)
        if page + 1 < stop:
            found += [row for p in range(page + 1, stop) for row in _within(self._page(p), start, end)[1]]
        return directory.starts[page] + first, found

    def _page(self, page: int) -> bytearray:
        """The pieces of a page. Raises OSError, MalformedError."""
        last = self._last
        if last[0] == page:
            return last[1]
        first, end = self._directory.starts[page], self._directory.starts[page + 1]
        at = self._place.header.pieces_at + first * PIECE_BYTES
        data = self._indexes.read(self._place, at, (end - first) * PIECE_BYTES)
        if xxh3_64_intdigest(data) != self._directory.hashes[page]:
            raise MalformedError(f"index page {page} does not match its checksum")
        self._last = page, data
        return data


def _within(page: bytearray, start: int, end: int) -> tuple[int, list[Piece]]:
    """The pieces of a page that hold any of bytes [start, end), and how many come before them."""
    offsets = memoryview(page).cast("Q")[:: PIECE_BYTES // 8]
    first = bisect_right(offsets, start)
    if first:
        (length,) = _LENGTH.unpack_from(page, (first - 1) * PIECE_BYTES + _LENGTH_AT)
        first -= offsets[first - 1] + length > start
    last = bisect_left(offsets, end, first)
    return first, list(PIECE.iter_unpack(memoryview(page)[first * PIECE_BYTES : last * PIECE_BYTES]))
