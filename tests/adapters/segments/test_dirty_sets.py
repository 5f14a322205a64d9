"""Two files in turn: a death in any call leaves the set before or the one in flight; rot is noticed."""

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.adapters.segments.dirty_sets import RESERVED_BYTES, DirtySetFiles, decode_slot, encode_slot
from drsync.model.errors import NoSpaceError
from drsync.ports.dirty_store import StoredSet
from drsync.sim.disk import Disk
from drsync.sim.disk_files import DiskFiles
from drsync.sim.disk_nodes import PAGE
from drsync.sim.killed import Killed
from tests.sim.copies import STATE_DIR, formatted

FIRST, SECOND, THIRD = (StoredSet(number, b"set %d" % number * 100) for number in (1, 2, 3))


@given(st.integers(0, 2**64 - 1), st.binary(max_size=200))
def test_a_slot_gives_back_what_it_got(number: int, raw: bytes) -> None:
    stored = StoredSet(number, raw)
    assert decode_slot(encode_slot(stored) + bytes(9)) == stored


def test_every_flipped_bit_is_noticed() -> None:
    data = encode_slot(StoredSet(7, b"value"))
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << (bit % 8)
        assert decode_slot(bytes(damaged)) is None


def test_the_newest_set_is_read_and_members_do_not_share(tmp_path: Path) -> None:
    sets = DirtySetFiles(tmp_path)
    assert sets.dirty("remote") is None
    for stored in (FIRST, SECOND, THIRD):
        sets.store_dirty("remote", stored)
        assert DirtySetFiles(tmp_path).dirty("remote") == stored
    assert sets.dirty("same-city") is None


def test_a_damaged_set_gives_way_to_the_one_before_whose_number_tells_of_it(tmp_path: Path) -> None:
    sets = DirtySetFiles(tmp_path)
    sets.store_dirty("remote", FIRST)
    sets.store_dirty("remote", SECOND)
    (tmp_path / "dirty" / "remote-0").write_bytes(b"rot")
    assert sets.dirty("remote") == FIRST
    (tmp_path / "dirty" / "remote-1").unlink()
    assert sets.dirty("remote") is None


def changes() -> int:
    """How many calls change or sync something while three sets are stored."""
    disk = formatted()
    disk.die_at(1_000_000)
    store_three(disk)
    assert disk.doom is not None
    return 1_000_000 - disk.doom[0]


def store_three(disk: Disk) -> list[StoredSet]:
    """The sets that were stored before the process died, and the one in flight."""
    sets, stated = DirtySetFiles(STATE_DIR, DiskFiles(disk)), [StoredSet(0, b"")]
    try:
        for stored in (FIRST, SECOND, THIRD):
            stated.append(stored)
            sets.store_dirty("remote", stored)
    except Killed:
        return stated[-2:]
    return stated[-1:]


@pytest.mark.parametrize("moment", ["before", "within"])
@pytest.mark.parametrize("is_power_cut", [False, True])
def test_a_death_in_any_call_leaves_the_set_before_or_the_one_in_flight(
    moment: str, *, is_power_cut: bool
) -> None:
    count = changes()
    assert count > 10
    for at in range(1, count + 1):
        disk = formatted()
        disk.die_at(at, "before" if moment == "before" else "within")
        allowed = store_three(disk)
        if is_power_cut:
            disk.loss = (1.0, 1.0)
            disk.power_cut(random.Random(at))
        sets = DirtySetFiles(STATE_DIR, DiskFiles(disk))
        found = sets.dirty("remote")
        assert (found or StoredSet(0, b"")) in allowed, f"call {at}"
        # Whoever comes after it numbers on, and what it stored survives a power cut whatever was left.
        following = StoredSet((found.number if found else 0) + 1, b"next")
        sets.store_dirty("remote", following)
        disk.loss = (1.0, 1.0)
        disk.power_cut(random.Random(at))
        assert DirtySetFiles(STATE_DIR, DiskFiles(disk)).dirty("remote") == following


def test_a_full_disk_keeps_the_set_before_and_takes_small_ones() -> None:
    disk = formatted()
    sets = DirtySetFiles(STATE_DIR, DiskFiles(disk))
    sets.store_dirty("remote", FIRST)
    disk.capacity = sum(file.blocks for _, file in disk.files()) * PAGE
    with pytest.raises(NoSpaceError):
        sets.store_dirty("remote", StoredSet(2, bytes(2 * RESERVED_BYTES)))
    assert sets.dirty("remote") == FIRST
    sets.store_dirty("remote", SECOND)
    assert sets.dirty("remote") == SECOND
