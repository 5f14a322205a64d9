"""Volumes after a stretch of the journal that nobody has read into memory: images seen through its layers.

The journal tells for each layer which pieces of a volume it holds (`drsync.ports.journal.Layer`). What is
newest is found out for a region of the volume at a time, when that is first touched, and kept while there is
room. Every record is compared with its hash before any of its bytes is given to anybody (see `_Records`).
"""

import threading
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

from drsync.engine.layer_filters import LayerFilters
from drsync.engine.overlay import BLOCK, BLOCK_BITS, BLOCK_MASK
from drsync.engine.payloads import verify_payload
from drsync.model.errors import FailedCopyError
from drsync.ports.journal import EXPECTED_MAX, Image, Journal, Layer, Locator

REGION_BITS: Final = 26
"""64 MiB, because asking 300 layers takes 2 ms, and painting so many blocks about as long again."""
REGION: Final = 1 << REGION_BITS
SLOTS: Final = REGION >> BLOCK_BITS

CACHE_BYTES: Final = 96 << 20
"""For all views of a copy together, because a volume of 48 GiB that was written everywhere fits."""
SPARSE_MAX: Final = SLOTS // 16  # because so many entries of a dict take as much as all slots
SPARSE_ENTRY_BYTES: Final = 128
MIXED_ENTRY_BYTES: Final = 256
VERIFIED_MAX: Final = 65_536  # records, because they cost 8 MB, and larger than 16 KiB they are 1 GiB
SMALL_BYTES: Final = 16 << 10  # read without their region, because few pieces lie in them
LOOKUPS_MAX: Final = 64
"""Small reads of a region before it is resolved, because that costs as much as a hundred of them, and whoever
reads around one place reads there again."""
LOOKED_UP_MAX: Final = 65_536  # regions whose small reads are counted, because that is 4 TiB of volumes
SEARCHED_BYTES: Final = 4 * REGION  # because other requests wait while regions are resolved

Slot: TypeAlias = int
"""What a block holds: `BELOW`, `ZEROS`, or ``(layer + 1) << 32 | piece``."""
BELOW: Final[Slot] = 0
ZEROS: Final[Slot] = 1
_PIECE_BITS: Final = 32
_PIECE_MASK: Final = (1 << _PIECE_BITS) - 1
_ZERO_BYTES: Final = bytes(64 << 10)


class _Sparse(dict[int, Slot]):
    """Slots of a region in which few blocks are held."""

    def __missing__(self, _block: int) -> Slot:
        return BELOW


class Region:
    """What is newest in a region of a volume.

    Attributes:
        slots: of each block; for a block in `mixed`: of what lies below the parts.
        mixed: parts of blocks (first byte, end, slot) that writes of less than a block left, oldest first.
        cost: bytes of memory.
    """

    __slots__ = ("cost", "mixed", "slots")

    def __init__(self) -> None:
        self.slots: array[int] | _Sparse = array("Q", bytes(8 * SLOTS))
        self.mixed: dict[int, list[tuple[int, int, Slot]]] = {}
        self.cost = 0

    def paint(self, start: int, end: int, slot: Slot) -> None:
        """Bytes [start, end) of the region hold this from now on."""
        first, last = (start + BLOCK_MASK) >> BLOCK_BITS, end >> BLOCK_BITS
        slots = self.slots
        assert isinstance(slots, array), "it was settled"
        if first < last:
            slots[first:last] = array("Q", [slot]) * (last - first)
            if self.mixed:
                for block in range(first, last):
                    self.mixed.pop(block, None)
        if first > last:  # within one block
            self._mix(last, start & BLOCK_MASK, end & BLOCK_MASK, slot)
            return
        if start & BLOCK_MASK:
            self._mix(first - 1, start & BLOCK_MASK, BLOCK, slot)
        if end & BLOCK_MASK:
            self._mix(last, 0, end & BLOCK_MASK, slot)

    def _mix(self, block: int, start: int, end: int, slot: Slot) -> None:
        self.mixed.setdefault(block, []).append((start, end, slot))

    def settle(self) -> None:
        """Nothing is painted any more: take less memory if few blocks are held."""
        slots = self.slots
        held = SLOTS - slots.count(BELOW) if isinstance(slots, array) else len(slots)
        if held <= SPARSE_MAX:
            self.slots = _Sparse((block, slot) for block, slot in enumerate(slots) if slot)
            self.cost = (held + 1) * SPARSE_ENTRY_BYTES
        else:
            self.cost = 8 * SLOTS
        self.cost += sum(map(len, self.mixed.values())) * MIXED_ENTRY_BYTES


class RegionCache:
    """Regions of several stretches in bounded memory; may be used in several threads.

    Args:
        bytes_max: to keep.
    """

    def __init__(self, bytes_max: int = CACHE_BYTES) -> None:
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._regions: OrderedDict[tuple[int, int, int], Region] = OrderedDict()
        self._bytes = 0
        self._stretches = 0

    def name(self) -> int:
        """A name for a stretch that no other one has."""
        with self._lock:
            self._stretches += 1
            return self._stretches

    def find(self, key: tuple[int, int, int]) -> Region | None:
        """A region that is kept: of (stretch, volume, number)."""
        with self._lock:
            region = self._regions.get(key)
            if region is not None:
                self._regions.move_to_end(key)
            return region

    def keep(self, key: tuple[int, int, int], region: Region) -> None:
        """Keep a region; those that were not used for longest go."""
        with self._lock:
            before = self._regions.pop(key, None)
            self._bytes += region.cost - (before.cost if before is not None else 0)
            self._regions[key] = region
            while self._bytes > self._bytes_max and len(self._regions) > 1:
                self._bytes -= self._regions.popitem(last=False)[1].cost

    def drop(self, stretch: int) -> None:
        """Forget a stretch."""
        with self._lock:
            for key in [key for key in self._regions if key[0] == stretch]:
                self._bytes -= self._regions.pop(key).cost


class _Records:
    """Payloads of a journal, verified at first touch and remembered as such for a while."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._verified: dict[Locator, None] = {}
        self._lock = threading.Lock()

    def fill(self, layer: Layer, number: int, at: int, target: memoryview) -> None:
        """Fill `target` with a piece from byte `at` of the volume on. Raises FailedCopyError."""
        offset, hashed, _length, piece_at, record_at, record_length = layer.piece(number)
        record = layer.base + record_at
        skip = piece_at - record_at + at - offset
        if len(target) == record_length:
            self._journal.read_into(record, target)
            verify_payload(record, target, hashed)
        elif record in self._verified:
            self._journal.read_into(record + skip, target)
        else:
            data = memoryview(bytearray(record_length))
            self._journal.read_into(record, data)
            verify_payload(record, data, hashed)
            target[:] = data[skip : skip + len(target)]
            with self._lock:
                self._verified[record] = None
                if len(self._verified) > VERIFIED_MAX:
                    del self._verified[next(iter(self._verified))]

    def expect(self, pieces: Iterable[tuple[Layer, int]]) -> None:
        """These (layer, number of the piece) will be read next. Raises FailedCopyError."""
        places: list[tuple[Locator, int]] = []
        for layer, number in pieces:
            _offset, _hash, _length, _at, record_at, record_length = layer.piece(number)
            places.append((layer.base + record_at, record_length))
        self._journal.expect(places)


class Stretch:
    """What a stretch of records left in the volumes of a group, above its images.

    Args:
        journal: holds the records, for as long as this is used.
        layers: `Journal.layers`.
        cache: shared with other stretches.
    """

    def __init__(self, journal: Journal, layers: Sequence[Layer], cache: RegionCache) -> None:
        self._records = _Records(journal)
        self._layers = layers
        self._cache = cache
        self._name = cache.name()
        self._lookups: dict[tuple[int, int], int] = {}  # small reads of regions that are not resolved
        self._filters: LayerFilters | None = None

    def region(self, volume: int, number: int) -> Region:
        """What is newest in a region. Raises FailedCopyError."""
        key = self._name, volume, number
        region = self._cache.find(key)
        if region is None:
            region = self._resolve(volume, number)
            self._cache.keep(key, region)
        return region

    def wants_lookup(self, volume: int, number: int) -> bool:
        """Whether a small read should be answered by `lookup`, rather than by resolving its region."""
        if self._cache.find((self._name, volume, number)) is not None:
            return False
        count = self._lookups.get((volume, number), 0) + 1
        if count > LOOKUPS_MAX or len(self._lookups) > LOOKED_UP_MAX:
            self._lookups.pop((volume, number), None)
            return False
        self._lookups[volume, number] = count
        return True

    def lookup(self, volume: int, start: int, end: int) -> list[tuple[int, int, Slot]]:
        """What bytes [start, end) of a volume hold: (start, end, slot), in no order.

        Newest layers first, and no further than needed. Raises FailedCopyError.
        """
        if self._filters is None:
            self._filters = LayerFilters(self._layers)
        found: list[tuple[int, int, Slot]] = []
        unknown = [(start, end)]
        for index in self._filters.candidates(volume, start, end):
            first, pieces = self._layers[index - 1].select(volume, start, end)
            slot = index << _PIECE_BITS | first
            for offset, _hash, length, at, _record_at, _record_length in pieces:
                left: list[tuple[int, int]] = []
                for low, high in unknown:
                    a, b = max(low, offset), min(high, offset + length)
                    if a >= b:
                        left.append((low, high))
                        continue
                    found.append((a, b, slot if at else ZEROS))
                    if low < a:
                        left.append((low, a))
                    if b < high:
                        left.append((b, high))
                unknown = left
                slot += 1
            if not unknown:
                return found
        return found + [(low, high, BELOW) for low, high in unknown]

    def _resolve(self, volume: int, number: int) -> Region:
        region = Region()
        slots, mixed = region.slots, region.mixed
        start = number << REGION_BITS
        end = start + REGION
        for index, layer in enumerate(self._layers, 1):
            first, pieces = layer.select(volume, start, end)
            slot = index << _PIECE_BITS | first
            for offset, _hash, length, at, _record_at, _record_length in pieces:
                held = slot if at else ZEROS
                if length == BLOCK and not offset & BLOCK_MASK:
                    block = (offset - start) >> BLOCK_BITS
                    slots[block] = held
                    if mixed:
                        mixed.pop(block, None)
                else:
                    region.paint(max(offset, start) - start, min(offset + length, end) - start, held)
                slot += 1
        region.settle()
        return region

    def fill(self, slot: Slot, at: int, target: memoryview) -> None:
        """Fill `target` with what a slot names, from byte `at` of the volume on. Raises FailedCopyError."""
        if slot == ZEROS:
            for start in range(0, len(target), len(_ZERO_BYTES)):
                part = target[start : start + len(_ZERO_BYTES)]
                part[:] = _ZERO_BYTES[: len(part)]
        else:
            layer = self._layers[(slot >> _PIECE_BITS) - 1]
            self._records.fill(layer, slot & _PIECE_MASK, at, target)

    def expect(self, slots: Iterable[Slot]) -> None:
        """These will be read next. Raises FailedCopyError."""
        self._records.expect((self._layers[(s >> _PIECE_BITS) - 1], s & _PIECE_MASK) for s in slots)

    def close(self) -> None:
        """Give memory back."""
        self._cache.drop(self._name)
        self._lookups.clear()
        self._filters = None


class StretchView:
    """An image seen through a stretch of the journal: `drsync.engine.overlay.Readable`."""

    def __init__(self, image: Image, stretch: Stretch, volume: int) -> None:
        self._image = image
        self._stretch = stretch
        self._volume = volume

    @property
    def size(self) -> int:
        """Bytes."""
        return self._image.size

    def read_into(self, offset: int, target: memoryview) -> None:
        """Fill `target` from `offset`. Raises FailedCopyError: the image or the journal cannot be read."""
        done = 0
        while done < len(target):
            at = offset + done
            count = min(len(target) - done, REGION - (at & (REGION - 1)))
            if count <= SMALL_BYTES and self._stretch.wants_lookup(self._volume, at >> REGION_BITS):
                for low, high, slot in self._stretch.lookup(self._volume, at, at + count):
                    self._fill(slot, low, offset, target, high)
                done += count
                continue
            region = self._stretch.region(self._volume, at >> REGION_BITS)
            self._read_region(region, at, target[done : done + count])
            done += count

    def _read_region(self, region: Region, start: int, target: memoryview) -> None:
        slots = region.slots
        base = start >> REGION_BITS << REGION_BITS
        end = start + len(target)
        block, stop = (start - base) >> BLOCK_BITS, (end - base + BLOCK_MASK) >> BLOCK_BITS
        first = expected = block
        while block < stop:
            slot = slots[block]
            if block == expected:
                expected = self._expect(slots, block, stop)
            after = block + 1
            while after < stop and slots[after] == slot:
                after += 1
            self._fill(
                slot, max(start, base + (block << BLOCK_BITS)), start, target, base + (after << BLOCK_BITS)
            )
            block = after
        if region.mixed:
            mixed = region.mixed
            blocks = sorted(mixed) if len(mixed) < stop - first else range(first, stop)
            for block in blocks:
                if first <= block < stop:
                    at = base + (block << BLOCK_BITS)
                    for low, high, slot in mixed.get(block, ()):
                        self._fill(slot, max(start, at + low), start, target, at + high)

    def _fill(self, slot: Slot, at: int, start: int, target: memoryview, end: int) -> None:
        """Fill the part of `target` (which begins at byte `start`) from byte `at` to byte `end`."""
        if end <= at:
            return
        part = target[at - start : end - start]
        if slot == BELOW:
            self._image.read_into(at, part)
        else:
            self._stretch.fill(slot, at, part)

    def _expect(self, slots: "array[int] | _Sparse", first: int, stop: int) -> int:
        """Have the disk fetch what a long read needs next; returns the block where it is to be asked next."""
        wanted: dict[Slot, None] = {}
        for block in range(first, stop):
            slot = slots[block]
            if slot > ZEROS:
                wanted[slot] = None
                if len(wanted) > EXPECTED_MAX:
                    del wanted[slot]
                    stop = block
                    break
        if len(wanted) > 1:
            self._stretch.expect(wanted)
        return stop

    def extent(self, offset: int) -> tuple[int, bool]:
        """See Image. Ends with its region at the latest."""
        base = offset >> REGION_BITS << REGION_BITS
        try:
            region = self._stretch.region(self._volume, offset >> REGION_BITS)
        except FailedCopyError:
            return min(base + REGION, self.size), False  # whoever reads it will be told
        slots, mixed = region.slots, region.mixed
        block = (offset - base) >> BLOCK_BITS
        kind = _kind(slots[block], is_mixed=block in mixed)
        after = block + 1
        while after < SLOTS and _kind(slots[after], is_mixed=after in mixed) == kind:
            after += 1
        end = min(base + (after << BLOCK_BITS), self.size)
        if kind == BELOW:
            last, is_hole = self._image.extent(offset)
            return min(last, end), is_hole
        return end, kind == ZEROS


def _kind(slot: Slot, *, is_mixed: bool) -> Slot:
    """`BELOW`, `ZEROS`, or anything else for data."""
    return 2 if is_mixed or slot > ZEROS else slot
