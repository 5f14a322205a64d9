"""A switch to a log with other sizes: whatever dies, the volume has one size, and zeros beyond it."""

import random
from dataclasses import dataclass, field, replace

import pytest

from drsync.core import extents
from drsync.core.extents import GRANULE, Extents, Run
from drsync.core.sizes import Resize, Sizes, at_least, first_sizes, sized
from drsync.delta.batch import BatchBuilder, EncodedBatch, Kind
from drsync.engine import switch as switching
from drsync.engine.copy import GroupCopy
from drsync.engine.durable import FORMAT_RESIZED, Durable
from drsync.engine.switch import Switch
from drsync.model.epoch import Epoch
from drsync.ports.stage import Stage, StageInfo
from drsync.sim.disk import Disk
from drsync.sim.killed import Killed
from tests.engine.switch_rig import (
    BLOCK,
    GROUP,
    HISTORY,
    NEW,
    OLD,
    P0,
    P1,
    SESSION,
    VOLUME,
    Log,
    charter,
    opened,
)
from tests.engine.test_switch import never
from tests.sim.copies import formatted

F = 4
FIRST = VOLUME.size
LARGE, LARGER = FIRST + 2 * GRANULE + BLOCK, FIRST + 4 * GRANULE
LOSSES = ((1.0, 1.0), (0.0, 1.0))


@dataclass
class Growing(Log):
    """A log whose volume grows."""

    sizes: Sizes = field(default_factory=lambda: Sizes(first_sizes(GROUP)))

    def grow(self, epoch: Epoch, size: int) -> None:
        builder = BatchBuilder()
        builder.reset(epoch, self.tip.seq + 1, self.tip.chain)
        builder.add_control(Kind.RESIZE, b"", 0, size)
        before = self.content[self.tip.seq]
        batch = builder.finish(1)
        self.batches.append(EncodedBatch([bytes(part) for part in batch.parts], *batch[1:]))
        self.tip = batch.end
        self.content[self.tip.seq] = before + bytes(size - len(before))
        self.touched[self.tip.seq] = extents.NOTHING
        self.sizes = self.sizes.grown(Resize(0, self.tip.seq, size))


def log_of(epoch: Epoch, count: int, size: int, common: Growing | None = None) -> Growing:
    """Records of an epoch; the second one is a RESIZE if `size` is larger, and they write up to the end."""
    log, dice = Growing(), random.Random(size + count)
    if common is not None:
        for batch in common.batches:
            log.batches.append(batch)
        log.tip, log.content, log.touched = common.tip, dict(common.content), dict(common.touched)
    for number in range(count):
        now = len(log.content[log.tip.seq])
        if number == 1 and size > now:
            log.grow(epoch, size)
            continue
        at = now - BLOCK if number % 2 else dice.randrange(now // BLOCK) * BLOCK
        log.write(epoch, at, bytes([number + 16 * epoch + 1]) * BLOCK)
    return log


@dataclass(frozen=True)
class Scene:
    """Our log and the source's, which fork after record 4."""

    ours: Growing
    theirs: Growing


def scene(ours: int, theirs: int) -> Scene:
    common = log_of(OLD, F, FIRST)
    return Scene(log_of(OLD, 4, ours, common), log_of(NEW, 9, theirs, common))


SCENES = {
    "theirs grew": scene(FIRST, LARGE),
    "both grew": scene(LARGE, LARGER),
    "ours grew further": scene(LARGER, LARGE),
    "only ours grew": scene(LARGE, FIRST),
}


async def prepared(told: Scene, applied: int) -> tuple[Disk, GroupCopy, Stage]:
    """A copy whose images hold our log up to `applied`, and a stage with everything in it."""
    disk = formatted()
    copy = opened(disk)
    for batch in told.ours.batches:
        copy.journal.append(batch.parts, batch.first_seq, batch.end)
        copy.note_marks(b"".join(bytes(part) for part in batch.parts))
    copy.journal.sync()
    copy.commit = applied
    await copy.volumes.record_through(applied)
    job = copy.volumes.begin_drain(applied)
    assert job is not None
    await copy.store(lambda d: d)
    job.run()
    copy.volumes.end_drain(job)
    said = charter(told.theirs)
    await copy.store(lambda d: replace(d, follow=OLD, promised=NEW, history=HISTORY, charter=said))
    return disk, copy, put_aside(copy, told)


def put_aside(copy: GroupCopy, told: Scene) -> Stage:
    ours, theirs = told.ours, told.theirs
    info = StageInfo(SESSION, 3, NEW, 0, theirs.at(P0), ours.tip, F)
    size = theirs.sizes.newest[0]
    stage = copy.files.new_stage(sized(GROUP, {0: size}), info)
    beyond: Extents = (Run(0, -(-size // GRANULE), 1 << 20),)
    changed = extents.union(ours.changed(F, ours.tip.seq), theirs.changed(F, P0))
    for run in extents.subtract(changed, beyond):
        for granule in range(run.first, run.end):
            stage.put(0, granule * GRANULE, theirs.content[P1][granule * GRANULE : (granule + 1) * GRANULE])
    redo = stage.redo()
    for batch in theirs.batches[P0:P1]:
        redo.append(batch.parts, batch.first_seq, batch.end)
    return stage


async def switch(copy: GroupCopy, stage: Stage, told: Scene) -> None:
    switching.check_stage(stage, told.theirs.at(P1))
    spec = at_least(copy.spec, told.theirs.sizes.newest)
    switching.take_space(copy.files, spec, copy.journal, copy.volumes.applied, stage)
    resizes = told.theirs.sizes.through(P1)
    ends = told.theirs.at(P0), told.theirs.at(P1)
    word = Switch(SESSION, 3, NEW, *ends, extents.size(stage.staged), F, resizes=resizes)
    stage.close()
    await copy.switch(word, never)


def read(copy: GroupCopy, size: int) -> bytes:
    copy.volumes.forget_above_images()
    while copy.volumes.record_slice(copy.journal.tip.seq):
        pass
    target = bytearray(size)
    copy.volumes.views[0].read_into(0, memoryview(target))
    return bytes(target)


def check(copy: GroupCopy, told: Scene) -> bool:
    """Whether the switch is done; in any case size and content are those of one log."""
    is_done = copy.durable.switched is not None
    log = told.theirs if is_done else told.ours
    content = log.content[log.tip.seq]
    assert copy.journal.tip == log.tip
    assert copy.sizes == log.sizes
    assert copy.spec.volumes[0].size == len(content)
    assert read(copy, len(content)) == content
    further = 2 * LARGER
    copy.note_resize(Resize(0, copy.journal.tip.seq + 1, further))
    assert read(copy, further) == content + bytes(further - len(content)), "what is new is zeros"
    return is_done


@pytest.mark.parametrize("name", SCENES)
async def test_the_sizes_are_those_of_the_log_that_it_became(name: str) -> None:
    told = SCENES[name]
    disk, copy, stage = await prepared(told, F)
    await switch(copy, stage, told)
    assert check(copy, told)
    copy.close()
    assert check(opened(disk), told)


@pytest.mark.parametrize("name", ["both grew", "ours grew further"])
async def test_after_a_death_in_any_call_the_size_is_that_of_one_log(name: str) -> None:
    told, number, outcomes, is_over = SCENES[name], 0, list[bool](), False
    while not is_over:
        number += 2  # every second call: each of the switch has a neighbour that does as much
        disk, copy, stage = await prepared(told, F)
        disk.die_at(number, "after")
        try:
            await switch(copy, stage, told)
            is_over = True
        except Killed:
            pass
        disk.doom = None
        dice = random.Random(number)
        disk.loss = LOSSES[number % 2]
        disk.power_cut(dice)
        disk.die_at(dice.randrange(1, 60), "after")
        try:
            opened(disk)
        except Killed:
            disk.power_cut(dice)
        disk.doom = None
        for user in list(disk.users):
            user.die()
        outcomes.append(check(opened(disk), told))
    assert outcomes == sorted(outcomes), "what is recorded is done by every start"
    assert True in outcomes
    assert False in outcomes


async def test_a_version_that_knows_no_resize_does_not_open_a_log_with_one() -> None:
    told = SCENES["theirs grew"]
    _, copy, stage = await prepared(told, F)
    assert b'"format":1' in copy.durable.encode(), "as ever while nothing grew"
    assert b"resize" not in copy.durable.encode()
    await switch(copy, stage, told)
    raw = copy.durable.encode()
    assert f'"format":{FORMAT_RESIZED}'.encode() in raw
    assert Durable.decode(raw) == copy.durable
