"""What a simulated disk is made of: files as pages, directories as names, and what of each is durable.

A file costs what was written to it: pages that were never written are zeros and take no memory. Beside what
everybody reads (the page cache) each node keeps its changes since the last sync and what they replaced, so
that a power cut can take any of them back.
"""

import random
from collections.abc import Iterator
from typing import TypeVar, cast

PAGE = 4096  # because the kernel caches and writes back in such pieces
SECTOR = 512  # because a disk writes that much or nothing
TORN = 0.5  # of the writes that a power cut hits, the others are lost whole
_ZEROS = bytes(PAGE)
_MANY_ZEROS = memoryview(bytes(1 << 20))
_SPARSE = 64  # pages, from which on a read asks which pages there are before it looks for each

WRITE, TRUNCATE, RESERVE, PUNCH = range(4)
Change = tuple[int, int, int, bytes]
"""Kind, offset, length and data of a change of a file."""


class File:
    """A file: what is read now, and what a power cut leaves.

    Attributes:
        pages: content by number of the page; pages that are missing are zeros.
        size: bytes.
        reserved: bytes from the start for which there is space in any case.
        blocks: pages of disk it takes.
        unsynced: changes since the last sync, in order.
        holder: who has it locked.
        is_damaged: whether it holds something else than was written, through no fault of a process.
    """

    __slots__ = (
        "_before",
        "_ghosts",
        "_shape",
        "blocks",
        "holder",
        "is_damaged",
        "pages",
        "reserved",
        "size",
        "unsynced",
    )

    def __init__(self) -> None:
        self.pages: dict[int, bytes] = {}
        self.size = 0
        self.reserved = 0
        self.blocks = 0
        self.unsynced: list[Change] = []
        self.holder: object = None
        self.is_damaged = False
        self._before: dict[int, bytes | None] = {}  # durable content of the pages with unsynced changes
        self._ghosts: dict[int, bytes | None] = {}  # of pages that look clean after a sync that failed
        self._shape: tuple[int, int] | None = None  # durable size and reserved bytes, when they differ

    def read(self, offset: int, target: memoryview) -> int:
        """Fill `target`; returns the bytes read, less at the end of the file."""
        length = min(len(target), self.size - offset)
        if length <= 0:
            return 0
        index, within = divmod(offset, PAGE)
        pages = self.pages
        if within + length <= PAGE:
            page = pages.get(index, _ZEROS)
            target[:length] = page if length == PAGE else page[within : within + length]
            return length
        last = (offset + length - 1) // PAGE
        wanted: Iterator[int] | list[int] = iter(range(index, last + 1))
        if last - index > _SPARSE:
            for at in range(0, length, len(_MANY_ZEROS)):
                target[at : min(at + len(_MANY_ZEROS), length)] = _MANY_ZEROS[: length - at]
            if len(pages) < last - index:
                wanted = [number for number in pages if index <= number <= last]
            else:
                wanted = [number for number in range(index, last + 1) if number in pages]
        for number in wanted:
            page = pages.get(number, _ZEROS)
            at = number * PAGE - offset
            if at < 0:
                target[: at + PAGE] = page[-at:]
            else:
                target[at : min(at + PAGE, length)] = page[: length - at]
        return length

    def write(self, offset: int, data: bytes) -> None:
        """Write, growing the file when needed."""
        self.unsynced.append((WRITE, offset, len(data), data))
        self._put(offset, data)

    def truncate(self, length: int) -> None:
        """Set the length; what grows reads as zeros."""
        self._change(TRUNCATE, 0, length)

    def reserve(self, offset: int, length: int) -> None:
        """Reserve space, growing the file when needed. Everything before `offset` is taken to be reserved."""
        self._change(RESERVE, offset, length)

    def punch(self, offset: int, length: int) -> None:
        """Make a range read as zeros and give its space back."""
        self._change(PUNCH, offset, length)

    def sync(self) -> None:
        """Everything is durable."""
        if self.unsynced:
            self.unsynced = []
            self._before = {}
            self._shape = None

    def missing(self, offset: int, length: int) -> list[int]:
        """The pages of a range for which there is no space yet."""
        first, end = max(offset, self.reserved) // PAGE, (offset + length + PAGE - 1) // PAGE
        return [index for index in range(first, end) if index not in self.pages]

    # --- trouble

    def lose(self, dice: random.Random, chance: float) -> None:
        """A power cut: each unsynced change survives, or is lost or torn with this chance; the rest is there.

        Nothing orders changes between two syncs: a later one may survive without an earlier one.
        """
        changes = self.unsynced
        self.evict()
        for index, page in self._before.items():
            self._set(index, page)
        self.size, self.reserved = self._shape or (self.size, self.reserved)
        for change in changes:
            kind, offset, _, data = change
            if dice.random() >= chance:
                self._apply(change)
            elif kind == WRITE and dice.random() < TORN:
                for at, piece in _torn(dice, offset, data):
                    self._put(at, piece)
        self.unsynced, self._before, self._shape = [], {}, None
        self._count()

    def fail_sync(self, dice: random.Random, chance: float) -> None:
        """A sync that fails: some changes never reach the disk, yet look clean (P33).

        What is read stays as it was until the pages are dropped; a later sync has nothing to do for them.
        """
        disk = self.copy()
        disk.lose(dice, chance)
        touched = {**self._ghosts, **self._before}
        self.sync()
        self.is_damaged = True
        self._ghosts = {
            index: disk.pages.get(index)
            for index in touched
            if disk.pages.get(index) != self.pages.get(index)
        }

    def evict(self) -> None:
        """Clean pages are dropped from memory, and will be read from the disk."""
        for index, page in self._ghosts.items():
            self._set(index, page)
        self._ghosts = {}

    def flip(self, offset: int, bit: int = 0) -> None:
        """A bit rots on the disk."""
        self.is_damaged = True
        index, within = divmod(offset, PAGE)
        for pages in (self.pages, self._before):
            if pages is self.pages or index in pages:
                page = bytearray(pages.get(index) or _ZEROS)
                page[within] ^= 1 << bit
                pages[index] = bytes(page)

    def copy(self) -> "File":
        """As it is, with what is not durable. Cheap: pages are shared."""
        twin = File()
        twin.pages, twin.size, twin.reserved = dict(self.pages), self.size, self.reserved
        twin.blocks, twin.unsynced = self.blocks, list(self.unsynced)
        twin.is_damaged = self.is_damaged
        twin._before, twin._ghosts, twin._shape = dict(self._before), dict(self._ghosts), self._shape
        return twin

    # --- how

    def _change(self, kind: int, offset: int, length: int) -> None:
        change = (kind, offset, length, b"")
        self.unsynced.append(change)
        self._apply(change)

    def _apply(self, change: Change) -> None:
        kind, offset, length, data = change
        if kind == WRITE:
            self._put(offset, data)
            return
        end = offset + length
        if kind == PUNCH:
            self._clear(offset, min(end, self.size))
            return
        self._reshape()
        if kind == TRUNCATE:
            self._clear(length, self.size)
            self.size, self.reserved = length, min(self.reserved, length)
        else:
            self.size, self.reserved = max(self.size, end), max(self.reserved, end)
        self._count()

    def _put(self, offset: int, data: bytes) -> None:
        pages, before = self.pages, self._before
        length = len(data)
        index, within = divmod(offset, PAGE)
        at = 0
        while at < length:
            take = min(PAGE - within, length - at)
            old = pages.get(index)
            if index not in before:
                before[index] = self._ghosts.pop(index, old) if self._ghosts else old
            if take == PAGE:
                pages[index] = data if length == PAGE else data[at : at + PAGE]
            else:
                base = old or _ZEROS
                pages[index] = base[:within] + data[at : at + take] + base[within + take :]
            if old is None and index * PAGE >= self.reserved:
                self.blocks += 1
            at += take
            index += 1
            within = 0
        if length and offset + length > self.size:
            self._reshape()
            self.size = offset + length

    def _clear(self, start: int, end: int) -> None:
        """Make a range zeros, without the pages that lie in it."""
        if start >= end:
            return
        first, last = start // PAGE, (end - 1) // PAGE
        touched = range(first, last + 1)
        for index in [i for i in self.pages if i in touched] if len(touched) > _SPARSE else touched:
            old = self.pages.get(index)
            if old is None:
                continue
            low, high = max(start - index * PAGE, 0), min(end - index * PAGE, PAGE)
            if index not in self._before:
                self._before[index] = self._ghosts.pop(index, old)
            if high - low == PAGE:
                del self.pages[index]
                self.blocks -= index * PAGE >= self.reserved
            else:
                self.pages[index] = old[:low] + bytes(high - low) + old[high:]

    def _set(self, index: int, page: bytes | None) -> None:
        if page is None:
            self.pages.pop(index, None)
        else:
            self.pages[index] = page

    def _reshape(self) -> None:
        if self._shape is None:
            self._shape = self.size, self.reserved

    def _count(self) -> None:
        reserved = (self.reserved + PAGE - 1) // PAGE
        self.blocks = reserved + sum(index >= reserved for index in self.pages)


def _torn(dice: random.Random, offset: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    """What the disk got of a write: its first sectors, or some of its pages."""
    if dice.random() < TORN:
        end = (offset + dice.randrange(len(data) + 1)) // SECTOR * SECTOR
        if end > offset:
            yield offset, data[: end - offset]
        return
    at = 0
    while at < len(data):
        take = min(PAGE - (offset + at) % PAGE, len(data) - at)
        if dice.random() < TORN:
            yield offset + at, data[at : at + take]
        at += take


class Move:
    """A rename between two directories, which a file system does as one: both names change, or none.

    Attributes:
        survives: whether a power cut leaves it; None until one of the directories was synced.
    """

    __slots__ = ("survives",)

    def __init__(self, survives: bool | None = None) -> None:  # noqa: FBT001  # the one thing it is
        self.survives = survives

    def copy(self) -> "Move":
        """As it is."""
        return Move(self.survives)


class Directory:
    """A directory: the names in it now, and those that a power cut leaves.

    Attributes:
        entries: files and directories by name.
        unsynced: changes since the last sync, in order: the name that goes, the name that comes, what it then
            names, and the move that it is half of.
        holder: who has it locked.
    """

    __slots__ = ("_durable", "entries", "holder", "unsynced")

    def __init__(self) -> None:
        self.entries: dict[str, File | Directory] = {}
        self.unsynced: list[tuple[str, str, File | Directory | None, Move | None]] = []
        self.holder: object = None
        self._durable: dict[str, File | Directory] | None = None

    def put(self, name: str, node: "File | Directory") -> None:
        """A name for something new."""
        self._change("", name, node)

    def drop(self, name: str) -> None:
        """A name goes."""
        self._change(name, "", None)

    def rename(self, old: str, new: str) -> None:
        """All of it is done, or, in a power cut, nothing."""
        self._change(old, new, self.entries[old])

    def move(self, old: str, target: "Directory", new: str) -> None:
        """Like `rename`, into another directory."""
        node, both = self.entries[old], Move()
        self._change(old, "", None, both)
        target._change("", new, node, both)  # noqa: SLF001  # one of us

    def sync(self) -> None:
        """The names are durable."""
        for *_, move in self.unsynced:
            if move is not None:
                move.survives = True
        if self.unsynced:
            self.unsynced, self._durable = [], None

    def lose(self, dice: random.Random, chance: float) -> None:
        """A power cut: each unsynced change is lost with this chance."""
        changes = self.unsynced
        if self._durable is not None:
            self.entries, self._durable = self._durable, None
        for gone, come, node, move in changes:
            is_kept = dice.random() >= chance
            if move is not None:
                move.survives = is_kept = is_kept if move.survives is None else move.survives
            if is_kept:
                self._apply(gone, come, node)
        self.unsynced = []

    def copy(self, known: "Known") -> "Directory":
        """With all that is in it. `known` are the copies made already, for what has several names."""
        twin = Directory()
        known[self] = twin
        twin.entries = {name: _copy(node, known) for name, node in self.entries.items()}
        twin.unsynced = [
            (gone, come, node and _copy(node, known), move and _copy(move, known))
            for gone, come, node, move in self.unsynced
        ]
        if self._durable is not None:
            twin._durable = {name: _copy(node, known) for name, node in self._durable.items()}
        return twin

    def _change(
        self, gone: str, come: str, node: "File | Directory | None", move: Move | None = None
    ) -> None:
        if self._durable is None:
            self._durable = dict(self.entries)
        self.unsynced.append((gone, come, node, move))
        self._apply(gone, come, node)

    def _apply(self, gone: str, come: str, node: "File | Directory | None") -> None:
        if gone:
            self.entries.pop(gone, None)
        if node is not None:
            self.entries[come] = node


Node = TypeVar("Node", bound=File | Directory | Move)
Known = dict[object, object]
"""What was copied already, by what it was, because things have several names."""


def _copy(node: Node, known: Known) -> Node:
    if node not in known:
        known[node] = node.copy(known) if isinstance(node, Directory) else node.copy()
    return cast("Node", known[node])
