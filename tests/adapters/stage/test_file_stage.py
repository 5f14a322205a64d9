"""What is put aside is there after a crash, or is sent again; it is never something else."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from typing_extensions import override

from drsync.adapters.stage.file_stage import FileStage
from drsync.agent.copy_store import OsFiles
from drsync.core import extents
from drsync.core.extents import GRANULE, Run
from drsync.model.errors import NoSpaceError
from drsync.model.position import Position
from drsync.ports.stage import FailedStageError, Stage, StagedRun
from drsync.sim.disk import Disk, Faults, Moment
from drsync.sim.killed import Killed
from tests.adapters.stage.rig import (
    GRANULES,
    GROUP,
    P0,
    SESSION,
    SHORT,
    batch,
    granule,
    store_in,
    store_on,
)
from tests.sim.copies import HOME, formatted

PLACE = "stage/v1.blocks"


def filled(stage: Stage) -> None:
    """Two granules, the short end of the volume, and zeros over one that was data before."""
    stage.put(0, GRANULE, granule(1) + granule(2))
    stage.put(0, (GRANULES - 1) * GRANULE, granule(7, SHORT))
    stage.put(1, 0, granule(9))
    stage.zero(1, 0, 2)


def test_what_was_synced_is_found_by_the_next_process(tmp_path: Path) -> None:
    stage = store_in(tmp_path).new_stage(GROUP, SESSION)
    filled(stage)
    assert not stage.staged, "not durable yet"
    stage.sync()
    stage.put(0, 4 * GRANULE, granule(4))
    stage.close()

    found = store_in(tmp_path).stage(GROUP)
    assert found is not None
    assert found.session == SESSION
    assert found.staged == found.fresh == (Run(0, 1, 3), Run(0, 7, 8), Run(1, 0, 2))
    assert list(found.entries()) == [
        StagedRun(0, 1, 3, is_zeros=False),
        StagedRun(0, 7, 8, is_zeros=False),
        StagedRun(1, 0, 2, is_zeros=True),
    ]
    found.verify()
    read = bytearray(SHORT)
    found.read_into(0, 7 * GRANULE, memoryview(read))
    assert bytes(read) == granule(7, SHORT)
    found.close()


def test_a_round_keeps_what_is_staged_and_forgets_the_redo(tmp_path: Path) -> None:
    stage = store_in(tmp_path).new_stage(GROUP, SESSION)
    filled(stage)
    first = batch(P0)
    stage.redo().append(first.parts, first.first_seq, first.end)
    later = Position(P0.epoch, 99, b"q" * 16)
    stage.begin_round(replace(SESSION, rounds=1, generation=8, p0=later))
    assert not stage.fresh
    assert stage.redo().tip == later
    stage.put(0, GRANULE, granule(5))
    stage.sync()
    stage.close()

    found = store_in(tmp_path).stage(GROUP)
    assert found is not None
    assert (found.session.rounds, found.session.p0) == (1, later)
    assert found.fresh == (Run(0, 1, 2),)
    assert extents.size(found.staged) == 5
    found.verify()
    found.close()


def test_a_new_session_finds_nothing_of_the_one_before(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    stage = store.new_stage(GROUP, SESSION)
    filled(stage)
    stage.sync()
    stage.close()
    other = store.new_stage(GROUP, replace(SESSION, session="07" * 16))
    assert not other.staged
    other.drop()
    other.drop()
    assert store.stage(GROUP) is None
    assert not (tmp_path / "stage").exists()


def test_a_torn_log_of_entries_costs_what_was_torn(tmp_path: Path) -> None:
    stage = store_in(tmp_path).new_stage(GROUP, SESSION)
    filled(stage)
    stage.sync()
    whole = extents.size(stage.staged)
    stage.close()
    log = tmp_path / "stage" / "extents"
    raw = log.read_bytes()
    for length in range(len(raw)):
        log.write_bytes(raw[:length] + b"\xff" * (length % 7))
        found = store_in(tmp_path).stage(GROUP)
        assert found is not None
        found.verify()
        assert extents.size(found.staged) < whole
        found.put(0, GRANULE, granule(1))
        found.sync()
        found.close()
        again = store_in(tmp_path).stage(GROUP)
        assert again is not None
        assert extents.covers(again.staged, (Run(0, 1, 2),)), length
        again.verify()
        again.close()


@pytest.mark.parametrize("name", ["session", "extents"])
def test_a_stage_that_does_not_read_well_is_none(tmp_path: Path, name: str) -> None:
    stage = store_in(tmp_path).new_stage(GROUP, SESSION)
    filled(stage)
    stage.sync()
    stage.close()
    (tmp_path / "stage" / name).unlink()
    store = store_in(tmp_path)
    assert store.stage(GROUP) is None
    store.drop_stage()
    assert not (tmp_path / "stage").exists()


def test_rot_is_found_and_named() -> None:
    disk = formatted()
    stage = store_on(disk).new_stage(GROUP, SESSION)
    filled(stage)
    stage.sync()
    disk.flip(HOME / PLACE, 2 * GRANULE + 77)
    with pytest.raises(FailedStageError, match=f"volume 0, byte {2 * GRANULE} "):
        stage.verify()
    with pytest.raises(FailedStageError, match="cannot be used"):
        stage.sync()


def test_what_was_read_back_is_read_again_only_where_it_was_put_again_or_by_another_process() -> None:
    disk = formatted()
    store = store_on(disk)
    stage = store.new_stage(GROUP, SESSION)
    filled(stage)
    stage.sync()
    stage.verify()
    before = disk.calls["preadv"]
    stage.verify()
    assert disk.calls["preadv"] == before

    stage.put(0, 2 * GRANULE, granule(5))
    stage.sync()
    disk.flip(HOME / PLACE, 2 * GRANULE + 77)
    with pytest.raises(FailedStageError, match=f"volume 0, byte {2 * GRANULE} "):
        stage.verify()
    stage.close()

    found = store.stage(GROUP)
    assert found is not None
    with pytest.raises(FailedStageError, match=f"volume 0, byte {2 * GRANULE} "):
        found.verify()


def test_what_is_put_aside_anew_while_it_is_read_back_is_no_rot(tmp_path: Path) -> None:
    class Meanwhile(OsFiles):
        """Puts other bytes in their place right before they are read."""

        def __init__(self) -> None:
            self.stage: Stage | None = None

        @override
        def preadv(self, fd: int, targets: Sequence[bytearray | memoryview], offset: int, /) -> int:
            stage, self.stage = self.stage, None
            if stage is not None:
                stage.put(0, GRANULE, granule(5))
            return super().preadv(fd, targets, offset)

    files = Meanwhile()
    stage = store_in(tmp_path, files).new_stage(GROUP, SESSION)
    filled(stage)
    stage.sync()
    files.stage = stage
    stage.verify()
    stage.sync()
    stage.verify()
    stage.close()


def test_what_could_be_put_aside_anew_in_part_only_is_read_back_again() -> None:
    disk = formatted()
    stage = store_on(disk).new_stage(GROUP, SESSION)
    filled(stage)
    stage.sync()
    stage.verify()
    disk.capacity = 0
    with pytest.raises(NoSpaceError):
        stage.put(0, GRANULE, granule(5) + granule(6) + granule(7))
    disk.flip(HOME / PLACE, GRANULE + 77)  # what a write that did not end may leave
    with pytest.raises(FailedStageError, match=f"volume 0, byte {GRANULE} "):
        stage.verify()


def test_what_fails_half_way_while_it_is_read_back_is_read_back_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = formatted()
    stage = store_on(disk).new_stage(GROUP, SESSION)
    filled(stage)
    stage.sync()
    assert isinstance(stage, FileStage)
    fill = stage._fill

    def fill_and_put(volume: int, offset: int, target: memoryview) -> None:
        fill(volume, offset, target)
        if disk.capacity == 0 or volume:
            return
        disk.capacity = 0
        with pytest.raises(NoSpaceError):
            stage.put(0, GRANULE, granule(5) + granule(6) + granule(7))

    monkeypatch.setattr(stage, "_fill", fill_and_put)
    stage.verify()
    monkeypatch.undo()
    disk.flip(HOME / PLACE, GRANULE + 77)
    with pytest.raises(FailedStageError, match=f"volume 0, byte {GRANULE} "):
        stage.verify()


def test_a_full_disk_is_told_and_passes() -> None:
    disk = formatted()
    stage = store_on(disk).new_stage(GROUP, SESSION)
    room = sum(file.blocks for _, file in disk.files())
    disk.capacity = (room + 20) * 4096
    with pytest.raises(NoSpaceError, match="no space for stage"):
        filled(stage)
    disk.capacity = None
    filled(stage)
    stage.sync()
    stage.verify()
    assert extents.size(stage.staged) == 5


def test_a_failed_sync_is_the_end_of_a_stage() -> None:
    """And not of the copy: nothing of it was in there."""
    disk = formatted()
    stage = store_on(disk).new_stage(GROUP, SESSION)
    filled(stage)
    disk.faults = Faults(random.Random(1), where="v1.blocks", sync_error_at=1)
    with pytest.raises(FailedStageError):
        stage.sync()
    disk.faults = None
    with pytest.raises(FailedStageError):
        stage.sync()


def test_an_empty_redo_is_a_journal_all_the_same(tmp_path: Path) -> None:
    stage = store_in(tmp_path).new_stage(GROUP, SESSION)
    assert stage.redo().tip == P0
    stage.sync()
    stage.close()
    (tmp_path / "stage" / "journal").rename(tmp_path / "journal")
    journal = store_in(tmp_path).journal(GROUP, "", P0.seq)
    assert (journal.tip, journal.first_seq, journal.runs) == (P0, P0.seq + 1, ())
    following = batch(P0)
    journal.append(following.parts, following.first_seq, following.end)
    journal.sync()
    journal.close()
    again = store_in(tmp_path).journal(GROUP, "", following.end.seq)
    assert again.tip == following.end
    again.close()


MOMENTS: tuple[Moment, ...] = ("before", "within")
LOSSES = ((0.0, 0.0), (0.0, 1.0), (1.0, 1.0))


def _session(disk: Disk, synced: list[extents.Extents]) -> None:
    """A session in two rounds; `synced` tells what has been durable."""
    stage = store_on(disk).new_stage(GROUP, SESSION)
    stage.put(0, 0, granule(0) + granule(1))
    stage.sync()
    synced.append((Run(0, 0, 2),))
    redo = stage.redo()
    first = batch(P0)
    redo.append(first.parts, first.first_seq, first.end)
    stage.put(1, 0, granule(0))
    stage.begin_round(replace(SESSION, rounds=1, p0=Position(P0.epoch, 99, b"q" * 16)))
    synced.append((Run(0, 0, 2), Run(1, 0, 1)))
    stage.put(0, GRANULE, granule(3))
    stage.zero(1, 1, 2)
    stage.sync()
    synced.append((Run(0, 0, 2), Run(1, 0, 2)))
    stage.drop()
    synced.append(())


def _damage(stage: Stage) -> str:
    try:
        stage.verify()
    except FailedStageError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("moment", MOMENTS)
def test_after_a_crash_in_any_call_a_stage_holds_what_was_synced_or_says_so(moment: Moment) -> None:
    """A granule of a later round over an earlier one is the one that may be torn: that is found."""
    number, found_rot, found_stages = 0, 0, 0
    while True:
        number += 1
        disk, synced = formatted(), list[extents.Extents]()
        disk.die_at(number, moment)
        try:
            _session(disk, synced)
        except Killed:
            pass
        else:
            break
        snapshot = disk.snapshot()
        for dice, loss in enumerate((None, *LOSSES)):
            disk.restore(snapshot)
            if loss is not None:
                disk.loss = loss
                disk.power_cut(random.Random(number * 10 + dice))
            stage = store_on(disk).stage(GROUP)
            if stage is None:
                assert not synced or (len(synced) >= 3), f"call {number}: what was synced is gone"
                store_on(disk).drop_stage()
                continue
            found_stages += 1
            if len(synced) < 4:
                assert extents.covers(stage.staged, synced[-1] if synced else ())
            damage = _damage(stage)
            assert not damage or (f"byte {GRANULE} " in damage and stage.session.rounds == 1), damage
            found_rot += bool(damage)
            store_on(disk).drop_stage()
            assert store_on(disk).stage(GROUP) is None
    assert number > 40
    assert found_stages > 40
    assert found_rot
