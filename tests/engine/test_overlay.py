"""The view through layers always equals a plain array of bytes that took the same writes."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from drsync.engine.overlay import BLOCK, ZERO_RANGE_BLOCKS, BlockIndex, VolumeView
from drsync.ports.journal import Buffer

SIZE = 600 * BLOCK
"""More than ZERO_RANGE_BLOCKS, so that large discards take their own path."""
assert SIZE // BLOCK > ZERO_RANGE_BLOCKS


class HeapJournal:
    """Payloads at locators, and nothing else of a journal."""

    def __init__(self) -> None:
        self.heap = bytearray(b"\0")

    def put(self, data: bytes) -> int:
        at = len(self.heap)
        self.heap += data
        return at

    def read(self, locator: int, length: int) -> bytes:
        return bytes(self.heap[locator : locator + length])

    def read_into(self, locator: int, target: memoryview, kept: dict[int, memoryview] | None = None) -> None:
        del kept
        target[:] = self.heap[locator : locator + len(target)]


class HeapImage:
    """A volume image in memory."""

    def __init__(self, size: int) -> None:
        self.data = bytearray(size)

    @property
    def size(self) -> int:
        return len(self.data)

    def read_into(self, offset: int, target: memoryview) -> None:
        target[:] = self.data[offset : offset + len(target)]

    def write(self, offset: int, parts: Sequence[Buffer]) -> None:
        for part in parts:
            self.data[offset : offset + len(part)] = part
            offset += len(part)

    def zero(self, offset: int, length: int) -> None:
        self.data[offset : offset + length] = bytes(length)


offsets = st.one_of(
    st.integers(0, SIZE - 1), st.integers(0, SIZE // BLOCK - 1).map(lambda block: block * BLOCK)
)
lengths = st.one_of(st.integers(1, 3 * BLOCK), st.integers(1, 40).map(lambda blocks: blocks * BLOCK))
zero_lengths = st.one_of(lengths, st.just(SIZE), st.just(300 * BLOCK))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), offsets, lengths),
        st.tuples(st.just("zero"), offsets, zero_lengths),
        st.tuples(st.just("rotate"), st.just(0), st.just(0)),
        st.tuples(st.just("drain"), st.just(0), st.just(0)),
    ),
    max_size=25,
)


def view_of(image: HeapImage, journal: HeapJournal) -> VolumeView:
    return VolumeView(image, journal)  # type: ignore[arg-type] # of an image it uses no more


@given(steps)
def test_reads_through_layers_equal_a_plain_array(plan: list[tuple[str, int, int]]) -> None:
    image, journal, oracle = HeapImage(SIZE), HeapJournal(), bytearray(SIZE)
    view = view_of(image, journal)
    for number, (kind, offset, wanted) in enumerate(plan):
        length = min(wanted, SIZE - offset)
        if kind == "write":
            data = bytes((number * 7 + i) & 0xFF or 1 for i in range(length))
            view.record_write(offset, length, journal.put(data))
            oracle[offset : offset + length] = data
        elif kind == "zero":
            view.record_zero(offset, length)
            oracle[offset : offset + length] = bytes(length)
        elif kind == "rotate" and len(view.layers) == 1:
            view.layers.append(BlockIndex())
        elif kind == "drain" and len(view.layers) == 2:
            view.write_out(view.layers[0])
            del view.layers[0]
        assert _content(view) == oracle
        for start in (max(0, offset - 5), offset):
            size = min(length + 9, SIZE - start)
            piece = bytearray(size)
            view.read_into(start, memoryview(piece))
            assert piece == oracle[start : start + size]


def _content(view: VolumeView) -> bytearray:
    whole = bytearray(SIZE)
    view.read_into(0, memoryview(whole))
    return whole


def test_a_layer_written_twice_gives_the_same_image() -> None:
    """Applying is redo-idempotent: a crash in the middle is repaired by doing it again."""
    image, journal = HeapImage(SIZE), HeapJournal()
    view = view_of(image, journal)
    view.record_write(100, 5000, journal.put(b"a" * 5000))
    view.record_zero(8192, 300 * BLOCK)
    view.record_write(9000, 10, journal.put(b"b" * 10))
    layer = view.layers[0]
    view.write_out(layer)
    once = bytes(image.data)
    view.write_out(layer)
    assert bytes(image.data) == once == bytes(_content(view))


def test_a_discard_of_the_whole_volume_costs_one_entry() -> None:
    image, journal = HeapImage(SIZE), HeapJournal()
    view = view_of(image, journal)
    view.record_write(0, BLOCK, journal.put(b"x" * BLOCK))
    view.record_zero(0, SIZE)
    assert len(view.newest) == 1
    assert _content(view) == bytes(SIZE)
