"""Readers in threads never see another segment's bytes, however many segments are opened and closed."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from typing_extensions import override

from drsync.adapters.segments import journal as journal_module
from drsync.adapters.segments import layers, shelf
from drsync.adapters.segments.files import OsFiles
from drsync.adapters.segments.journal import SegmentJournal
from drsync.adapters.segments.layout import Identity
from drsync.delta.batch import BatchBuilder
from drsync.model.epoch import Epoch
from drsync.model.errors import DrsyncError, MalformedError

SEGMENT = 64 << 10
GATE_S = 0.2
"""How long the reader dawdles between finding a descriptor and using it, unless it is let go before."""


class SlowReader(OsFiles):
    """A thread's first read stops between finding a descriptor and using it."""

    def __init__(self) -> None:
        self.is_in = threading.Event()
        self.gate = threading.Event()

    @override
    def preadv(self, fd: int, targets: Sequence[bytearray | memoryview], offset: int, /) -> int:
        if threading.current_thread() is not threading.main_thread():
            self.is_in.set()
            self.gate.wait(GATE_S)
        return super().preadv(fd, targets, offset)


def test_a_descriptor_is_not_closed_under_a_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "OPEN_SEGMENTS_MAX", 2)
    identity = Identity("c", "g", "x", "i")
    journal = SegmentJournal(tmp_path, identity, 0, segment_bytes=SEGMENT)
    builder = BatchBuilder()
    places: list[tuple[int, bytes]] = []
    for number in range(40):
        builder.reset(Epoch(1), journal.tip.seq + 1, journal.tip.chain)
        data = bytes([number + 1]) * 16_384
        builder.add_write(0, 0, memoryview(data), 0)
        batch = builder.finish(0)
        places.append((journal.append(batch.parts, batch.first_seq, batch.end) + batch.payload_start, data))
    journal.sync()
    journal.close()
    files = SlowReader()
    journal = SegmentJournal(tmp_path, identity, 0, segment_bytes=SEGMENT, files=files)
    first, expected = places[0]
    seen: list[bytes] = []
    reader = threading.Thread(target=lambda: seen.append(journal.read(first, len(expected))))
    reader.start()
    assert files.is_in.wait(5)
    for at, data in places[4:]:
        assert journal.read(at, 64) == data[:64]
    files.gate.set()
    reader.join()
    journal.close()
    assert seen == [expected]


def test_a_thread_that_still_has_a_trimmed_segment_does_not_read_what_its_file_became(tmp_path: Path) -> None:
    """It had found the segment; before it reads, that is trimmed, and its file begins another life."""
    journal = SegmentJournal(tmp_path, Identity("c", "g", "x", "i"), 0, segment_bytes=SEGMENT)
    builder = BatchBuilder()

    def add(number: int) -> int:
        builder.reset(Epoch(1), journal.tip.seq + 1, journal.tip.chain)
        builder.add_write(0, 0, memoryview(bytes([number]) * 16_384), 0)
        batch = builder.finish(0)
        return journal.append(batch.parts, batch.first_seq, batch.end) + batch.payload_start

    places = [add(number) for number in range(1, 10)]
    journal.sync()
    shelf_of = journal._shelf
    segment, at = shelf_of.find(places[0], 16)
    found: list[bytes | str] = []

    def look() -> None:
        target = bytearray(16)
        try:
            shelf_of.fill(segment, at, memoryview(target))
        except DrsyncError as error:
            found.append(str(error))
        else:
            found.append(bytes(target))

    def look_in_a_thread() -> None:
        reader = threading.Thread(target=look)
        reader.start()
        reader.join()

    look_in_a_thread()
    journal.trim(segment.last.seq)
    look_in_a_thread()  # its name is still there
    journal.sync()
    for number in range(100, 110):
        add(number)
    look_in_a_thread()
    journal.close()
    assert found[0] == bytes([1]) * 16
    assert found[1:] == ["segment 1: not held (trimmed or cut)"] * 2


@pytest.mark.parametrize("asks", [SegmentJournal.changed, SegmentJournal.layers])
def test_what_is_trimmed_while_a_thread_asks_is_never_left_out_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asks: Callable[[SegmentJournal, int, int], object]
) -> None:
    """A change that is not told is a block that a member never gets."""
    journal = SegmentJournal(tmp_path, Identity("c", "g", "x", "i"), 0, segment_bytes=SEGMENT)
    builder = BatchBuilder()
    for number in range(9):
        builder.reset(Epoch(1), journal.tip.seq + 1, journal.tip.chain)
        builder.add_write(0, number << 20, memoryview(bytes([number + 1]) * 16_384), 0)
        batch = builder.finish(0)
        journal.append(batch.parts, batch.first_seq, batch.end)
    journal.sync()
    real = layers.refuse_not_held

    def trimmed_right_after(of: shelf.Shelf, after_seq: int, through_seq: int) -> None:
        real(of, after_seq, through_seq)
        journal.trim(6)

    for module in (layers, journal_module):
        monkeypatch.setattr(module, "refuse_not_held", trimmed_right_after, raising=False)
    with pytest.raises(MalformedError, match="not held"):
        asks(journal, 0, 9)
    journal.close()
