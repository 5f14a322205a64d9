"""Torn tail or corruption: the persisted durable position decides (F.A 13)."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drsync.adapters.segments.files import CorruptJournalError
from drsync.adapters.segments.inspection import check
from drsync.adapters.segments.layout import HEADER_BYTES
from drsync.delta.batch import EncodedBatch

if TYPE_CHECKING:
    from tests.adapters.segments.conftest import Add, Forgetful, Open

BIG = bytes(20_000)


@pytest.fixture
def small(reopen: "Open", add: "Add") -> list[EncodedBatch]:
    """A journal of three small batches, closed."""
    journal = reopen()
    batches = [add(journal, b"first"), add(journal, b"second", b"and more"), add(journal, b"third")]
    journal.close()
    return batches


def ends(batches: list[EncodedBatch]) -> list[int]:
    at = HEADER_BYTES
    found = []
    for batch in batches:
        at += batch.length
        found.append(at)
    return found


def only_segment(directory: Path) -> Path:
    (path,) = directory.glob("*.seg")
    return path


def test_a_tail_torn_at_any_byte_is_cut_at_the_last_whole_batch(
    reopen: "Open", small: list[EncodedBatch], directory: Path
) -> None:
    path = only_segment(directory)
    whole = path.read_bytes()
    stops = ends(small)
    for stop in range(HEADER_BYTES, stops[-1]):
        path.write_bytes(whole[:stop] + bytes(len(whole) - stop))
        # A batch whose last bytes are padding anyway is whole without them.
        lost = [end for end in stops if whole[stop:end].strip(b"\0")]
        count = len(stops) - len(lost)
        journal = reopen(0)
        assert journal.tip.seq == (small[count - 1].last_seq if count else 0), stop
        if count:
            assert journal.tip == small[count - 1].end


def test_a_file_that_ends_early_is_cut_as_well(
    reopen: "Open", add: "Add", small: list[EncodedBatch], directory: Path
) -> None:
    path = only_segment(directory)
    whole = path.read_bytes()
    for stop in range(HEADER_BYTES, ends(small)[-1], 7):
        path.write_bytes(whole[:stop])
        journal = reopen(0)
        batch = add(journal, b"goes on")
        assert reopen(0).tip == batch.end


def test_without_a_header_nothing_was_ever_durable(
    reopen: "Open", small: list[EncodedBatch], directory: Path
) -> None:
    path = only_segment(directory)
    whole = path.read_bytes()
    for stop in range(0, HEADER_BYTES, 256):
        path.write_bytes(whole[:stop] + bytes(len(whole) - stop))
        assert reopen(0).tip.seq == 0
    assert small


@pytest.mark.parametrize("hint", [0, 1, 3])
def test_a_flipped_bit_is_a_torn_tail_above_the_durable_position_and_corruption_below(
    reopen: "Open", small: list[EncodedBatch], directory: Path, hint: int
) -> None:
    path = only_segment(directory)
    whole = path.read_bytes()
    start, stop = HEADER_BYTES, ends(small)[-1]
    for at in range(start, stop, 3):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << (at % 8)
        path.write_bytes(damaged)
        index = next(i for i, end in enumerate(ends(small)) if at < end)
        good = small[index - 1].last_seq if index else 0
        if good >= hint:
            journal = reopen(hint)
            assert journal.tip.seq == good
            assert journal.cut_when_opened is not None
            assert journal.cut_when_opened.seq == good + 1
            continue
        with pytest.raises(CorruptJournalError) as caught:
            reopen(hint)
        error = caught.value
        assert (error.segment, error.seq) == (path.name, good + 1)
        assert error.offset == ([HEADER_BYTES, *ends(small)])[index]
        assert path.read_bytes() == damaged, "nothing was cut"
        assert check(directory).bad is not None


def test_durable_records_that_are_gone_are_corruption(
    reopen: "Open", small: list[EncodedBatch], directory: Path
) -> None:
    path = only_segment(directory)
    with pytest.raises(CorruptJournalError, match="zeros instead of a batch"):
        reopen(small[-1].last_seq + 1)
    path.unlink()
    with pytest.raises(CorruptJournalError, match="there is no segment"):
        reopen(1)
    assert not list(directory.glob("*.seg"))


def test_a_segment_that_is_missing_in_the_middle(reopen: "Open", add: "Add", directory: Path) -> None:
    journal = reopen()
    for _ in range(9):
        add(journal, BIG)
    journal.sync()
    journal.close()
    (directory / f"{4:016x}.seg").unlink()
    with pytest.raises(CorruptJournalError, match="continues seq 6, the segment before ends with 3"):
        reopen(9)
    assert len(list(directory.glob("*.seg"))) == 2, "nothing was cut"
    assert reopen(3).tip.seq == 3
    assert len(list(directory.glob("*.seg"))) == 1


def test_what_follows_a_torn_batch_is_cut_whatever_it_is(reopen: "Open", add: "Add", directory: Path) -> None:
    """A segment lost its end in a power cut, the next one reached the disk: it goes all the same."""
    journal = reopen()
    batches = [add(journal, BIG) for _ in range(7)]
    journal.close()
    path = directory / f"{4:016x}.seg"
    data = bytearray(path.read_bytes())
    data[HEADER_BYTES + batches[0].length + 9] ^= 1
    path.write_bytes(data)

    journal = reopen(2)

    assert journal.tip == batches[3].end
    assert [p.name for p in sorted(directory.glob("*.seg"))] == [f"{1:016x}.seg", f"{4:016x}.seg"]
    assert journal.cut_when_opened is not None
    assert journal.cut_when_opened.seq == 5
    again = add(journal, BIG)
    assert reopen(2).tip == again.end


STEPS = st.lists(st.sampled_from(["small", "big", "sync"]), min_size=1, max_size=14)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(steps=STEPS, data=st.data())
def test_a_power_cut_takes_volatile_batches_only(
    steps: list[str],
    data: st.DataObject,
    reopen: "Open",
    add: "Add",
    forgetful: "type[Forgetful]",
    directory: Path,
) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    disk = forgetful()
    journal = reopen(0, disk)
    batches = []
    for number, step in enumerate(steps):
        if step == "sync":
            journal.sync()
        else:
            batches.append(add(journal, bytes([number]) * (20_000 if step == "big" else 10)))
    durable = journal.durable_seq
    journal.close()
    disk.cut_power(directory, lambda: data.draw(st.booleans()))

    journal = reopen(durable)

    assert journal.tip.seq >= durable
    assert [b"".join(b.parts) for b in batches[: journal.tip.seq]] == [
        journal.read(p.locator, p.length) for p in journal.places(0)
    ]
