"""A switch: the copy is wholly what it was, or wholly the log of the source, whatever dies meanwhile."""

import errno
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from drsync.engine import switch as switching
from drsync.engine.copy import GroupCopy
from drsync.engine.durable import Durable
from drsync.engine.switch import Switch
from drsync.model.copy import CopyState
from drsync.model.errors import FailedCopyError, NoSpaceError
from drsync.ports.stage import FailedStageError, Stage
from drsync.sim.disk import Disk, Moment
from drsync.sim.disk_files import DiskFiles
from drsync.sim.killed import Killed
from tests.engine.switch_rig import (
    FORK,
    GROUP,
    HISTORY,
    NEW,
    OLD,
    P0,
    P1,
    VOLUME,
    Log,
    charter,
    fill,
    logs,
    opened,
    put_aside,
    put_everything_aside,
    read,
    store_on,
    word,
)
from tests.sim.copies import HOME, formatted

OURS, THEIRS = logs(random.Random(5))
LOSSES = ((0.0, 0.0), (1.0, 1.0), (0.0, 1.0))
MOMENTS: tuple[Moment, ...] = ("before", "after")


async def never(error: NoSpaceError) -> None:
    """Nobody waits for space."""
    raise AssertionError(error)


async def prepared(applied: int, *, is_everything: bool = False) -> tuple[Disk, GroupCopy, Stage]:
    """A copy whose images hold our log up to `applied`, and a stage with all that it lacks in it."""
    disk = formatted()
    copy = opened(disk)
    fill(copy, OURS)
    copy.commit = applied
    await copy.volumes.record_through(applied)
    job = copy.volumes.begin_drain(applied)
    assert job is not None
    job.run()
    copy.volumes.end_drain(job)
    said = charter(THEIRS)
    await copy.store(lambda d: replace(d, follow=OLD, promised=NEW, history=HISTORY, charter=said))
    put = put_everything_aside if is_everything else put_aside
    return disk, copy, put(copy, OURS, THEIRS, random.Random(applied))


async def switch(copy: GroupCopy, stage: Stage, pause: Callable[[NoSpaceError], Awaitable[None]]) -> Switch:
    """From the end of the session on."""
    is_renamed, applied = switching.check_stage(stage, THEIRS.at(P1)), copy.volumes.applied
    switching.take_space(copy.files, GROUP, copy.journal, applied, stage, is_renamed=is_renamed)
    switching.check_log(copy.journal, copy.volumes.applied, OURS.tip)
    said = word(stage, THEIRS, is_renamed=is_renamed)
    stage.close()
    await copy.switch(said, pause)
    return said


def check(copy: GroupCopy, disk: Disk) -> bool:
    """Whether the switch is done; in any case the copy is whole."""
    is_done = copy.durable.switched is not None
    log, tip = (THEIRS, THEIRS.at(P1)) if is_done else (OURS, OURS.tip)
    assert copy.durable.switch is None
    assert copy.journal.tip == tip
    assert read(copy) == log.content[tip.seq]
    names = disk.directory(HOME).entries
    forks = disk.directory(HOME / "journal" / "forks").entries
    assert set(forks) == {FORK}
    if is_done:
        durable = copy.durable
        assert (copy.volumes.applied, copy.volumes.reached) == (P0, P1)
        assert copy.journal.first_seq == P0 + 1
        assert (durable.follow, durable.history[-1].epoch, durable.commit) == (NEW, NEW, P1)
        assert not {"stage", "journal.old"} & set(names)
    return is_done


def go_on(copy: GroupCopy, log: Log) -> None:
    """What follows can be taken."""
    more = log.branch()
    more.write(NEW, 0, b"more" * 1024)
    batch = more.batches[-1]
    copy.journal.append(batch.parts, batch.first_seq, batch.end)
    copy.journal.sync()
    assert read(copy) == more.content[more.tip.seq]


@pytest.mark.parametrize("applied", [2, 4, 7])
async def test_a_copy_that_forked_becomes_the_source_s_log(applied: int) -> None:
    """Also where its images hold records that the group gave up."""
    disk, copy, stage = await prepared(applied)
    said = await switch(copy, stage, never)
    assert check(copy, disk)
    assert copy.state is CopyState.REPLICA
    assert copy.durable.switched is not None
    assert (copy.durable.switched.session, copy.durable.switched.p1) == (said.session, P1)
    copy.close()
    again = opened(disk)
    assert check(again, disk)
    go_on(again, THEIRS)


@pytest.mark.parametrize(("applied", "is_everything"), [(2, False), (7, False), (7, True)])
@pytest.mark.parametrize("moment", MOMENTS)
async def test_after_a_death_in_any_call_the_copy_is_as_before_or_switched(
    moment: Moment, applied: int, *, is_everything: bool
) -> None:
    """And when the next start dies in any call as well, or the power goes, it is the same."""
    number, outcomes, is_over = 0, list[set[bool]](), False
    while not is_over:
        number += 1
        disk, copy, stage = await prepared(applied, is_everything=is_everything)
        disk.die_at(number, moment)
        try:
            await switch(copy, stage, never)
            is_over = True
        except Killed:
            pass
        disk.doom = None
        snapshot = disk.snapshot()
        dice = random.Random(number)
        outcomes.append(set())
        for loss in (None, *LOSSES):
            disk.restore(snapshot)
            if loss is not None:
                disk.loss = loss
                disk.power_cut(dice)
            disk.die_at(dice.randrange(1, 60), moment)
            try:
                opened(disk)
            except Killed:
                if loss is not None:
                    disk.power_cut(dice)
            disk.doom = None
            for user in list(disk.users):
                user.die()
            found = opened(disk)
            is_done = check(found, disk)
            outcomes[-1].add(is_done)
            go_on(found, THEIRS if is_done else OURS)
    recorded = outcomes.index({True})
    assert all(seen == {True} for seen in outcomes[recorded:]), "what is recorded is done by every start"
    assert outcomes.count({False}) > 5
    assert outcomes.count({True}) > 20
    assert outcomes.count({True, False}) < 5, "only while it is being recorded"


BLOCKS = HOME / "stage" / f"{VOLUME.id}.blocks"
IMAGE = HOME / "volumes" / f"{VOLUME.id}.img"


async def test_what_everything_was_sent_for_is_renamed_and_written_once() -> None:
    disk, copy, stage = await prepared(2, is_everything=True)
    stage.sync()
    staged = disk.find(BLOCKS)
    said = await switch(copy, stage, never)
    assert said.is_renamed
    assert disk.find(IMAGE) is staged
    assert check(copy, disk)
    copy.close()
    again = opened(disk)
    assert check(again, disk)
    go_on(again, THEIRS)


async def test_what_is_marked_alone_is_copied() -> None:
    _, copy, stage = await prepared(2)
    assert not (await switch(copy, stage, never)).is_renamed


async def test_where_a_file_system_knows_no_holes_everything_is_copied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(files: DiskFiles, fd: int, offset: int, length: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "no holes")

    monkeypatch.setattr(DiskFiles, "punch", refuse)
    disk, copy, stage = await prepared(2, is_everything=True)
    assert not (await switch(copy, stage, never)).is_renamed
    assert check(copy, disk)


async def test_an_image_is_not_believed_when_what_was_to_become_it_is_gone() -> None:
    """The names would look as though it had been renamed."""
    disk, copy, stage = await prepared(2, is_everything=True)
    assert switching.check_stage(stage, THEIRS.at(P1))
    value = replace(copy.durable, switch=word(stage, THEIRS, is_renamed=True))
    stage.close()
    copy.files.superblock().store(value.encode())
    for user in list(disk.users):
        user.die()
    files = DiskFiles(disk)
    files.rename(BLOCKS, HOME / "elsewhere")
    for _ in range(2):
        with pytest.raises(FailedCopyError, match="its image is something else"):
            opened(disk)
    files.rename(HOME / "elsewhere", BLOCKS)
    assert check(opened(disk), disk)


async def test_an_image_that_was_renamed_and_then_rotted_is_found_by_the_next_start() -> None:
    disk, copy, stage = await prepared(2, is_everything=True)
    assert switching.check_stage(stage, THEIRS.at(P1))
    value = replace(copy.durable, switch=word(stage, THEIRS, is_renamed=True))
    first = next(run for run in stage.entries() if not run.is_zeros)
    stage.close()
    copy.files.superblock().store(value.encode())
    for user in list(disk.users):
        user.die()
    DiskFiles(disk).rename(BLOCKS, IMAGE)
    disk.flip(IMAGE, first.first * 65536 + 5)
    with pytest.raises(FailedCopyError, match="its image is something else"):
        opened(disk)
    disk.flip(IMAGE, first.first * 65536 + 5)
    assert check(opened(disk), disk)


async def test_a_disk_that_is_full_after_the_record_is_waited_for() -> None:
    disk, copy, stage = await prepared(2)
    waits: list[str] = []
    switching.check_stage(stage, THEIRS.at(P1))
    said = word(stage, THEIRS)
    stage.close()
    disk.capacity = (sum(file.blocks for _, file in disk.files()) + 1) * 4096

    async def pause(error: NoSpaceError) -> None:
        waits.append(str(error))
        assert copy.is_switching
        disk.capacity = None

    await copy.switch(said, pause)
    assert waits
    assert copy.state is CopyState.REPLICA
    assert not copy.space.reason
    assert check(copy, disk)


async def test_space_is_taken_while_there_is_a_way_back() -> None:
    disk, copy, stage = await prepared(2)
    disk.capacity = (sum(file.blocks for _, file in disk.files()) + 1) * 4096
    with pytest.raises(NoSpaceError):
        await switch(copy, stage, never)
    disk.capacity = None
    stage.close()
    assert copy.durable.switch is None
    assert not check(copy, disk)


async def test_rot_in_the_stage_or_in_the_own_log_refuses_the_end() -> None:
    disk, copy, stage = await prepared(2)
    stage.sync()
    first = next(run for run in stage.entries() if not run.is_zeros)
    disk.flip(HOME / "stage" / f"{GROUP.volumes[0].id}.blocks", first.first * 65536 + 5)
    with pytest.raises(FailedStageError, match="is not what was put aside"):
        await switch(copy, stage, never)
    assert not check(copy, disk)

    disk, copy, stage = await prepared(2)
    place = list(copy.journal.places(0))[3]
    segment = next(path for path, _ in disk.files() if path.endswith(".seg") and "/journal/" in path)
    disk.flip(Path(segment), (place.locator & 0xFFFFFFFF) + place.length - 100)
    with pytest.raises(FailedCopyError, match="journal is damaged"):
        await switch(copy, stage, never)
    assert copy.durable.switch is None


async def test_a_copy_whose_stage_is_gone_in_a_switch_is_failed_and_left_alone() -> None:
    disk, copy, stage = await prepared(2)
    switching.check_stage(stage, THEIRS.at(P1))
    value = replace(copy.durable, switch=word(stage, THEIRS))
    stage.drop()
    copy.files.superblock().store(value.encode())
    before = sorted(path for path, _ in disk.files())
    for user in list(disk.users):
        user.die()
    for _ in range(2):
        with pytest.raises(FailedCopyError, match="records up to 13 were durable"):
            opened(disk)
    raw = store_on(disk).superblock().load()
    assert raw is not None
    assert Durable.decode(raw).switch is not None
    assert sorted(path for path, _ in disk.files()) == before


async def test_a_stage_that_belongs_to_another_log_is_dropped_by_the_next_start() -> None:
    disk, copy, stage = await prepared(2)
    stage.sync()
    copy.close()
    kept = opened(disk)
    assert kept.files.stage(GROUP) is not None
    go_on(kept, OURS)
    kept.close()
    opened(disk)
    assert store_on(disk).stage(GROUP) is None


def test_a_version_that_knows_no_switch_does_not_open_a_copy_in_one() -> None:
    durable = Durable("1" * 32, "boot", charter=charter(THEIRS))
    said = Switch("5" * 32, 1, NEW, THEIRS.at(P0), THEIRS.at(P1), 3, 4)
    assert b'"format":1' in durable.encode()
    during = replace(durable, switch=said)
    assert b'"format":2' in during.encode()
    assert Durable.decode(during.encode()) == during
    renaming = replace(during, switch=replace(said, is_everything=True, is_renamed=True))
    assert b'"format":4' in renaming.encode()
    assert Durable.decode(renaming.encode()) == renaming
    after = during.after_switch()
    assert Durable.decode(after.encode()) == after
