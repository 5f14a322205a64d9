"""Four copies in two files: what may be lost, and that nothing durable is ever taken for fresh (P35)."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.adapters.segments.superblock import (
    NAMES,
    SLOT_BYTES,
    SuperblockFiles,
    decode_slot,
    encode_slot,
)
from drsync.model.errors import FailedCopyError, NoSpaceError

if TYPE_CHECKING:
    from tests.adapters.segments.conftest import Trouble


@given(st.integers(0, 2**64 - 1), st.binary(max_size=200))
def test_a_slot_gives_back_what_it_got(sequence: int, value: bytes) -> None:
    assert decode_slot(encode_slot(sequence, value) + bytes(9)) == (sequence, value)


def test_every_flipped_bit_of_a_slot_is_noticed() -> None:
    data = encode_slot(7, b"value")
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << (bit % 8)
        assert decode_slot(bytes(damaged)) is None
    for length in range(len(data)):
        assert decode_slot(data[:length]) is None


def overwrite(path: Path, slot: int) -> None:
    with path.open("r+b") as file:
        file.seek(slot * SLOT_BYTES)
        file.write(bytes(SLOT_BYTES))


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A directory with a superblock that was stored five times."""
    superblock = SuperblockFiles(tmp_path)
    for number in range(1, 6):
        superblock.store(b"value %d" % number)
    return tmp_path


def test_damage_to_either_file_loses_nothing(written: Path) -> None:
    for name in NAMES:
        whole = (written / name).read_bytes()
        for slot in (0, 1):
            overwrite(written / name, slot)
        assert SuperblockFiles(written).load() == b"value 5"
        (written / name).unlink()
        assert SuperblockFiles(written).load() == b"value 5"
        (written / name).write_bytes(whole)


def test_a_lost_file_is_made_again_by_the_next_store(written: Path) -> None:
    (written / NAMES[0]).unlink()
    SuperblockFiles(written).store(b"value 6")
    (written / NAMES[1]).unlink()
    assert SuperblockFiles(written).load() == b"value 6"


def test_the_highest_valid_copy_wins(written: Path) -> None:
    for name in NAMES:
        overwrite(written / name, 5 % 2)
    assert SuperblockFiles(written).load() == b"value 4"


def test_without_a_valid_copy_the_store_is_failed_and_never_fresh(written: Path) -> None:
    for name in NAMES:
        for slot in (0, 1):
            overwrite(written / name, slot)
    superblock = SuperblockFiles(written)
    for _ in range(2):
        with pytest.raises(FailedCopyError, match="none of its copies is valid"):
            superblock.load()
    with pytest.raises(FailedCopyError):
        superblock.store(b"fresh")
    (written / NAMES[1]).unlink()
    (written / NAMES[0]).write_bytes(b"")
    with pytest.raises(FailedCopyError):
        SuperblockFiles(written).load()


def test_a_value_that_was_being_written_when_the_process_died(
    tmp_path: Path, trouble: "type[Trouble]", process_died: type[BaseException]
) -> None:
    """At every call, also in the middle of a write: the value before or the one being written, never none."""
    for at in range(100):
        directory = tmp_path / str(at)
        directory.mkdir()
        files = trouble(at, "torn")
        superblock = SuperblockFiles(directory, files)
        stored: bytes | None = None
        following = b"value 0"
        try:
            for number in range(4):
                following = b"value %d" % number * 1000
                superblock.store(following)
                stored = following
        except process_died:
            assert SuperblockFiles(directory).load() in {stored, following}
            SuperblockFiles(directory).store(b"life goes on")
            assert SuperblockFiles(directory).load() == b"life goes on"
        else:
            return
    pytest.fail("never ran to the end")


def test_an_error_in_any_call_fails_the_superblock_for_good(tmp_path: Path, trouble: "type[Trouble]") -> None:
    calls = 0
    for at in range(100):
        directory = tmp_path / str(at)
        directory.mkdir()
        files = trouble(at)
        superblock = SuperblockFiles(directory, files)
        stored: bytes | None = None
        try:
            for number in range(4):
                superblock.store(b"value %d" % number)
                stored = b"value %d" % number
        except FailedCopyError:
            calls += 1
            files.at = -1
            with pytest.raises(FailedCopyError):
                superblock.load()
            with pytest.raises(FailedCopyError):
                superblock.store(b"again")
            found = SuperblockFiles(directory).load()
            assert found is None or stored is None or found >= stored
        else:
            break
    assert calls > 20


def test_a_store_without_space_changes_nothing_and_may_be_repeated(
    tmp_path: Path, trouble: "type[Trouble]"
) -> None:
    """Whatever is read afterwards was the last value that was stored, or the one that was being stored."""
    refused = 0
    for at in range(100):
        directory = tmp_path / str(at)
        directory.mkdir()
        files = trouble(at, mode="full")
        superblock = SuperblockFiles(directory, files)
        stored: bytes | None = None
        for number in range(4):
            value = b"value %d" % number
            try:
                superblock.store(value)
                stored = value
            except NoSpaceError:
                refused += 1
                assert SuperblockFiles(directory).load() in {stored, value}
                files.at = -1
                superblock.store(b"another")
                stored = b"another"
                assert SuperblockFiles(directory).load() == stored
            except FailedCopyError:
                assert files.calls[at] not in {"pwritev", "allocate"}
                break
        else:
            if files.at >= 0:
                break
    assert refused > 5
