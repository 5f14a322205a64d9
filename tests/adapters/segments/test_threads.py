"""Readers in threads never see another segment's bytes, however many segments are opened and closed."""

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from typing_extensions import override

from drsync.adapters.segments import shelf
from drsync.adapters.segments.files import OsFiles
from drsync.adapters.segments.journal import SegmentJournal
from drsync.adapters.segments.layout import Identity
from drsync.delta.batch import BatchBuilder
from drsync.model.epoch import Epoch

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
