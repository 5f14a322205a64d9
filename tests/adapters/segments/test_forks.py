"""A fork is read as a journal of its own, told about, and removed on purpose only."""

from pathlib import Path

import pytest

from drsync.adapters.segments.forks import SegmentForks
from drsync.adapters.segments.journal import SEGMENT_BYTES_MIN, SegmentJournal
from drsync.delta.batch import BatchBuilder
from drsync.model.epoch import Epoch
from drsync.model.errors import RefusedError, UsageError
from drsync.ports.forks import Forks
from tests.adapters.segments.conftest import IDENTITY

NAME = "fork-1-3"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A journal of nine batches whose last six were put aside."""
    home = tmp_path / "journal"
    journal = SegmentJournal(home, IDENTITY, 0, segment_bytes=SEGMENT_BYTES_MIN)
    for number in range(1, 10):
        builder = BatchBuilder()
        builder.reset(Epoch(1), journal.tip.seq + 1, journal.tip.chain)
        builder.add_write(0, 0, memoryview(bytes([number]) * 20_000), 0)
        batch = builder.finish(number * 1_000_000)
        journal.append(batch.parts, batch.first_seq, batch.end)
    journal.export_tail(3, NAME)
    journal.cut(3)
    journal.close()
    return home


@pytest.fixture
def forks(home: Path) -> Forks:
    return SegmentForks(home, IDENTITY)


def files_of(home: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(home.rglob("*")) if path.is_file()}


def test_a_fork_tells_where_it_begins_and_what_it_holds(home: Path, forks: Forks) -> None:
    assert forks.names() == [NAME]
    told = forks.describe(NAME)
    assert (told.prior.seq, told.tip.seq, told.records, told.batches) == (3, 9, 6, 6)
    assert (told.first_us, told.last_us) == (4_000_000, 9_000_000)
    assert told.bytes > 6 * 20_000
    assert told.path == str(home / "forks" / NAME)
    assert told.damage == ""


def test_reading_a_fork_changes_no_byte_and_can_be_done_twice_at_once(home: Path, forks: Forks) -> None:
    own = SegmentJournal(home, IDENTITY, 0)
    end = own.tip
    own.close()
    before = files_of(home)
    one, other = forks.open(NAME), forks.open(NAME)
    assert one.read_batches(3, 1 << 20)[0] == other.read_batches(3, 1 << 20)[0]
    assert one.position_at(3) == end
    for change in (lambda: one.cut(4), lambda: one.trim(9), lambda: one.append([], 10, one.tip)):
        with pytest.raises(RefusedError):
            change()
    assert len(one.layers(3, 9)) > 0
    one.close()
    other.close()
    assert files_of(home) == before


def test_damage_is_told_and_what_is_before_it_stays_readable(home: Path, forks: Forks) -> None:
    last = max((home / "forks" / NAME).iterdir())
    content = bytearray(last.read_bytes())
    content[content.index(bytes([9]) * 20_000) + 5] ^= 1
    last.write_bytes(content)
    told = forks.describe(NAME)
    assert told.tip.seq == 8
    assert f"{last.name}, byte " in told.damage
    assert "before record 9" in told.damage


def test_a_discarded_fork_is_gone_and_others_stay(home: Path, forks: Forks) -> None:
    journal = SegmentJournal(home, IDENTITY, 0)
    journal.export_tail(2, "fork-1-2")
    journal.close()
    forks.discard(NAME)
    assert forks.names() == ["fork-1-2"]
    assert [path.name for path in (home / "forks").iterdir()] == ["fork-1-2"]
    with pytest.raises(UsageError, match="there are: fork-1-2"):
        forks.discard(NAME)
    with pytest.raises(UsageError):
        forks.describe("../../etc")


def test_what_is_left_of_a_discarded_fork_is_none(home: Path, forks: Forks) -> None:
    (home / "forks" / f".{NAME}.discarded").mkdir()
    (home / "forks" / f".{NAME}.discarded" / "0.seg").write_bytes(b"x")
    assert forks.names() == [NAME]
    forks.discard(NAME)
    assert list((home / "forks").iterdir()) == []
