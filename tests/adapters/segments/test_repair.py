"""Damage that a start finds is mended with batches of another center, where they are proved to be ours."""

import errno
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typing_extensions import override

from drsync.adapters.segments.files import CorruptJournalError
from drsync.adapters.segments.layout import HEADER_BYTES
from drsync.adapters.segments.repair import repair
from drsync.delta.batch import EncodedBatch
from drsync.model.errors import MalformedError, RefusedError
from drsync.model.position import ORIGIN
from tests.adapters.segments.conftest import IDENTITY, QuickFiles, encode

if TYPE_CHECKING:
    from tests.adapters.segments.conftest import Add, Open

BIG = bytes(20_000)
FILES = QuickFiles()


def stored(batches: list[EncodedBatch]) -> bytes:
    return b"".join(b"".join(batch.parts) for batch in batches)


def damage(path: Path, at: int, length: int = 1) -> bytes:
    """Bytes of a file are others now; what the file holds then."""
    data = bytearray(path.read_bytes())
    data[at : at + length] = bytes(byte ^ 0xA5 for byte in data[at : at + length])
    path.write_bytes(data)
    return bytes(data)


@pytest.fixture
def lived(reopen: "Open", add: "Add") -> list[EncodedBatch]:
    """A journal of six small batches, all durable, closed."""
    journal = reopen()
    batches = [add(journal, bytes([number]) * (100 + number), b"and more") for number in range(6)]
    journal.sync()
    journal.close()
    return batches


def starts(batches: list[EncodedBatch]) -> list[int]:
    return [HEADER_BYTES + sum(b.length for b in batches[:n]) for n in range(len(batches))]


def mended(directory: Path, batches: list[EncodedBatch], hint: int = 12) -> int:
    return repair(FILES, directory, IDENTITY, hint, stored(batches))


@pytest.mark.parametrize("index", range(5))
@pytest.mark.parametrize("field", [0, 9, 60, 70, 126, 130, 200])
def test_any_batch_but_the_last_is_proved_by_the_one_after_it(
    reopen: "Open", lived: list[EncodedBatch], directory: Path, index: int, field: int
) -> None:
    (path,) = directory.glob("*.seg")
    whole = path.read_bytes()
    damage(path, starts(lived)[index] + field)
    with pytest.raises(CorruptJournalError) as caught:
        reopen(12)
    assert (caught.value.good, caught.value.durable) == (2 * index, 12)
    assert mended(directory, lived[index:]) == 2 * index + 2, "no more than what is damaged is written"
    assert path.read_bytes()[: starts(lived)[5]] == whole[: starts(lived)[5]]
    assert reopen(12).tip == lived[-1].end


@pytest.mark.parametrize("field", [130, 200, 240])
def test_the_last_batch_is_proved_by_its_own_header(
    reopen: "Open", lived: list[EncodedBatch], directory: Path, field: int
) -> None:
    (path,) = directory.glob("*.seg")
    damage(path, starts(lived)[5] + field)
    assert mended(directory, lived[5:]) == 12
    assert reopen(12).tip == lived[-1].end


class FailsOnce(QuickFiles):
    """The first sync fails, and the kernel takes for clean what it could not write."""

    synced = 0

    @override
    def fdatasync(self, fd: int, /) -> None:
        self.synced += 1
        if self.synced == 1:
            raise OSError(errno.EIO, "Input/output error")


def test_a_sync_that_failed_is_no_mending_and_all_is_written_again(
    reopen: "Open", lived: list[EncodedBatch], directory: Path
) -> None:
    """What was written reads well, but only from memory: nobody may take it for durable (P33)."""
    (path,) = directory.glob("*.seg")
    damaged = damage(path, starts(lived)[2] + 200)
    files = FailsOnce()
    with pytest.raises(OSError, match="Input/output"):
        repair(files, directory, IDENTITY, 12, stored(lived[2:]))
    assert path.read_bytes() == damaged
    with pytest.raises(CorruptJournalError):
        reopen(12)
    assert repair(files, directory, IDENTITY, 12, stored(lived[2:])) == 6
    assert files.synced == 2
    assert reopen(12).tip == lived[-1].end


def test_without_proof_nothing_is_written(lived: list[EncodedBatch], directory: Path) -> None:
    """The header of the last batch is gone: what another center has there may not be what ours was."""
    (path,) = directory.glob("*.seg")
    damaged = damage(path, starts(lived)[5] + 9)
    with pytest.raises(RefusedError, match="nothing that is left proves what was after record 10"):
        mended(directory, lived[5:])
    assert path.read_bytes() == damaged


@given(
    index=st.integers(0, 5), field=st.integers(0, 250), epoch=st.integers(1, 2), length=st.integers(1, 300)
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_another_history_never_gets_in(
    lived: list[EncodedBatch], directory: Path, index: int, field: int, epoch: int, length: int
) -> None:
    """Records of the same numbers that continue our last good one, as the group went on with elsewhere."""
    (path,) = directory.glob("*.seg")
    whole = path.read_bytes()
    try:
        damaged = damage(path, starts(lived)[index] + field % lived[index].length, length)
        after = lived[index - 1].end if index else ORIGIN
        others: list[EncodedBatch] = []
        for number in range(index, 6):
            others.append(encode(after, bytes([number]) * (100 + number), b"and less", epoch=epoch))
            after = others[-1].end
        with pytest.raises((RefusedError, MalformedError)):
            mended(directory, others)
        assert path.read_bytes() == damaged, "the only copy of what was acknowledged stays as it is"
    finally:
        path.write_bytes(whole)


def test_several_damaged_places_are_mended_one_after_the_other(
    reopen: "Open", lived: list[EncodedBatch], directory: Path
) -> None:
    (path,) = directory.glob("*.seg")
    for index in (1, 2, 4):
        damage(path, starts(lived)[index] + 5)
    found = []
    for _ in range(2):
        with pytest.raises(CorruptJournalError) as caught:
            reopen(12)
        found.append(caught.value.good)
        mended(directory, lived[caught.value.good // 2 :])
    assert found == [2, 8], "neighbours at once"
    assert reopen(12).tip == lived[-1].end


def test_the_next_segment_proves_the_last_batch_of_one_without_footer(
    reopen: "Open", add: "Add", directory: Path
) -> None:
    journal = reopen()
    batches = [add(journal, BIG) for _ in range(7)]
    journal.close()  # nothing is sealed
    path = directory / f"{1:016x}.seg"
    damage(path, HEADER_BYTES + 2 * batches[0].length + 9)
    with pytest.raises(CorruptJournalError):
        reopen(7)
    assert repair(FILES, directory, IDENTITY, 7, stored(batches[2:])) == 3
    assert reopen(7).tip == batches[-1].end


def test_what_batches_cannot_mend_is_refused(
    reopen: "Open", add: "Add", lived: list[EncodedBatch], directory: Path
) -> None:
    (path,) = directory.glob("*.seg")
    damage(path, 40)
    with pytest.raises(RefusedError, match="has no header"):
        mended(directory, lived)
    damage(path, 40)
    damage(path, starts(lived)[1])
    with pytest.raises(MalformedError):
        mended(directory, lived[2:])
    assert mended(directory, lived[1:]) == 4
    journal = reopen(12)
    with pytest.raises(RefusedError, match="another process"):
        mended(directory, lived)
    journal.close()
    assert mended(directory, lived) == 12, "nothing is damaged"
