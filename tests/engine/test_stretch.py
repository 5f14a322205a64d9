"""Any point of a journal, opened without reading it, holds what a replay of the records up to it holds."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drsync.adapters.memory.image import MemoryImage
from drsync.adapters.memory.journal import MemoryJournal
from drsync.adapters.segments import layers
from drsync.adapters.segments.journal import SEGMENT_BYTES_MIN, SegmentJournal
from drsync.adapters.segments.layout import Identity
from drsync.delta.batch import BatchBuilder
from drsync.delta.block_filter import BlockFilter
from drsync.delta.pieces import Piece
from drsync.engine import stretch as module
from drsync.engine import volumes as volumes_module
from drsync.engine.allocation import extents
from drsync.engine.overlay import BLOCK
from drsync.engine.stretch import RegionCache
from drsync.engine.volumes import HEADS_MAX, GroupVolumes
from drsync.model.epoch import Epoch
from drsync.model.errors import DamagedError, FailedCopyError
from drsync.ports.journal import Image, Journal
from drsync.sim.disk import Disk
from drsync.sim.disk_files import DiskFiles

IDENTITY = Identity("cluster", "group", "production", "0" * 32)
REGION_BITS = 18
REGION = 1 << REGION_BITS  # because the oracle is faster that way
SIZE = 2 * REGION + 13 * BLOCK
SPOTS = (0, 5 * BLOCK, REGION - 2 * BLOCK, 2 * REGION)
"""Where most things happen, so that they meet: also at the border of regions and at the end of the volume."""
HOT = 12 * BLOCK


class Rig:
    """A journal, an image of its first records, and a plain array of bytes that took the same writes."""

    def __init__(self, journal: Journal, seed: int) -> None:
        self.journal = journal
        self.dice = random.Random(seed)
        self.seqs = [0]
        self.changes: list[tuple[int, int, bytes]] = []  # seq, offset, data
        self.images: dict[int, Image] = {0: MemoryImage(SIZE), 7: MemoryImage(BLOCK)}

    def write(self, batches: int) -> None:
        for _ in range(batches):
            dice, builder, tip = self.dice, BatchBuilder(), self.journal.tip
            builder.reset(Epoch(1), tip.seq + 1, tip.chain)
            for seq in range(tip.seq + 1, tip.seq + dice.randint(2, 4)):
                offset, length, is_zero = self._place()
                if is_zero:
                    builder.add_zero(0, offset, length, 0)
                    self.changes.append((seq, offset, bytes(length)))
                else:
                    data = dice.randbytes(length)
                    builder.add_write(0, offset, memoryview(data), 0)
                    self.changes.append((seq, offset, data))
            batch = builder.finish(0)
            self.journal.append(batch.parts, batch.first_seq, batch.end)
            self.seqs.append(batch.last_seq)

    def state(self, through_seq: int) -> bytearray:
        state = bytearray(SIZE)
        for seq, offset, data in self.changes:
            if seq <= through_seq:
                state[offset : offset + len(data)] = data
        return state

    def _place(self) -> tuple[int, int, bool]:
        dice = self.dice
        unit = dice.choice([1, 512, BLOCK, BLOCK])
        spot = dice.choice(SPOTS)
        offset = spot + dice.randrange(HOT // unit) * unit
        length = dice.randint(1, 4) * dice.choice([unit, unit, BLOCK])
        if dice.random() < 0.05:
            length = REGION
        offset = min(offset, SIZE - 1)
        length = min(length, SIZE - offset)
        return offset, length, dice.random() < 0.25 or length > 64 * BLOCK

    def volumes(self, applied: int = 0) -> GroupVolumes:
        return GroupVolumes(self.images, self.journal, applied)

    def parts(self) -> Iterator[tuple[int, int]]:
        for spot in SPOTS:
            start = max(spot - 700, 0)
            yield start, min(HOT + 2000, SIZE - start)
        for _ in range(10):
            start = min(self.dice.choice(SPOTS) + self.dice.randrange(HOT), SIZE - 1)
            yield start, min(self.dice.choice([1, 100, BLOCK, 3 * BLOCK]), SIZE - start)

    def compare(self, volumes: GroupVolumes, seq: int) -> None:
        view, expected = volumes.views[0], self.state(seq)
        for start, length in self.parts():
            found = bytearray(length)
            view.read_into(start, memoryview(found))
            assert found == expected[start : start + length]
        at = 0
        while at < SIZE:
            for length, is_hole in extents(view, at, SIZE - at, 100):
                assert not is_hole or expected.count(0, at, at + length) == length
                at += length


def segments() -> SegmentJournal:
    return SegmentJournal(
        Path("/journal"), IDENTITY, 0, segment_bytes=SEGMENT_BYTES_MIN, files=DiskFiles(Disk())
    )


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "RECORDS_MIN", 1)
    monkeypatch.setattr(layers, "VERIFIED_BYTES", 0)
    monkeypatch.setattr(module, "REGION_BITS", REGION_BITS)
    monkeypatch.setattr(module, "REGION", REGION)
    monkeypatch.setattr(module, "SLOTS", REGION // BLOCK)
    monkeypatch.setattr(module, "SPARSE_MAX", REGION // BLOCK // 4)
    monkeypatch.setattr(module, "LOOKUPS_MAX", 2)  # so that regions are met as well


@pytest.fixture(params=["memory", "segments"])
def rig(request: pytest.FixtureRequest) -> Rig:
    return Rig(MemoryJournal() if request.param == "memory" else segments(), 1)


def test_a_small_read_asks_only_as_far_as_it_must(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Newest layers first; what lies in one place is resolved once it is read often."""
    rig.write(60)
    rig.journal.sync()
    asked: list[int] = []
    made = rig.journal.layers(0, rig.journal.tip.seq)
    resolved: list[int] = []

    class Asked:
        def __init__(self, number: int) -> None:
            self.number, self.layer, self.base = number, made[number], made[number].base

        def select(self, volume: int, start: int, end: int) -> tuple[int, Sequence[Piece]]:
            asked.append(self.number)
            return self.layer.select(volume, start, end)

        def piece(self, number: int) -> Piece:
            return self.layer.piece(number)

        def filter(self) -> BlockFilter | None:
            return self.layer.filter()

    stretch = module.Stretch(rig.journal, [Asked(i) for i in range(len(made))], module.RegionCache())
    original = stretch._resolve

    def resolve(volume: int, number: int) -> module.Region:
        resolved.append(number)
        return original(volume, number)

    monkeypatch.setattr(stretch, "_resolve", resolve)
    newest, (offset, *_) = len(made) - 1, made[-1].piece(0)
    volume = next(v for v in sorted(rig.images) if made[-1].select(v, offset, offset + 1)[1])
    ((low, high, _slot),) = stretch.lookup(volume, offset, offset + 1)
    assert (low, high) == (offset, offset + 1)
    assert asked == [newest]
    view = module.StretchView(rig.images[volume], stretch, volume)
    for count in (0, 0, 1, 1):
        view.read_into(offset, memoryview(bytearray(1)))
        assert len(resolved) == count


@given(st.integers(0, 10_000), st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_a_point_holds_what_a_replay_holds(seed: int, data: st.DataObject) -> None:
    rig = Rig(segments(), seed)
    rig.write(data.draw(st.integers(1, 60)))
    rig.journal.sync()
    if data.draw(st.booleans()):
        while rig.journal.index(0):
            pass
    seqs = rig.seqs
    applied = data.draw(st.sampled_from(seqs))
    rig.images[0].write(0, [rig.state(applied)])
    seq = data.draw(st.sampled_from(seqs[seqs.index(applied) :]))
    volumes = rig.volumes(applied)
    await volumes.reach(seq)
    assert volumes.recorded == seq
    rig.compare(volumes, seq)
    rig.compare(volumes, seq)


async def test_records_on_top_of_what_was_reached_are_seen_and_all_goes_into_the_images(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volumes_module, "CATCH_UP_BLOCKS_MAX", 5)
    monkeypatch.setattr(volumes_module, "SCAN_BYTES", 20_000)
    rig.write(40)
    rig.journal.sync()
    volumes = rig.volumes()
    reached = rig.journal.tip.seq
    await volumes.reach(reached)
    rig.write(20)
    while volumes.record_slice(rig.journal.tip.seq):
        pass
    tip = rig.journal.tip.seq
    bound = rig.seqs[-5]
    applied = [0]
    while True:
        rig.compare(volumes, tip)
        await volumes.catch_up(bound)
        job = volumes.begin_drain(bound)
        if job is None:
            break
        assert job.last_seq <= bound
        assert volumes.reached >= job.last_seq
        job.run()
        volumes.end_drain(job)
        applied.append(volumes.applied)
        image = bytearray(SIZE)
        rig.images[0].read_into(0, memoryview(image))
        assert image == rig.state(volumes.applied)
    assert applied == sorted(set(applied))
    assert len(applied) > 4
    assert volumes.applied == reached < bound, "the layer above waits for its last record"
    await volumes.catch_up(tip)
    job = volumes.begin_drain(tip)
    assert job is not None
    job.run()
    volumes.end_drain(job)
    assert volumes.applied == tip
    rig.compare(volumes, tip)


async def test_what_a_stretch_still_reads_is_not_given_back(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An owner that has just been opened serves from the stretch while its images come forward."""
    monkeypatch.setattr(volumes_module, "CATCH_UP_BLOCKS_MAX", 5)
    monkeypatch.setattr(volumes_module, "SCAN_BYTES", 20_000)
    rig.write(60)
    rig.journal.sync()
    volumes = rig.volumes()
    tip = rig.journal.tip.seq
    await volumes.reach(tip)
    settled = []
    while volumes.applied < tip:
        await volumes.catch_up(tip)
        job = volumes.begin_drain(tip)
        assert job is not None
        job.run()
        volumes.end_drain(job)
        settled.append(volumes.settled)
        rig.journal.trim(volumes.settled)
        rig.compare(volumes, tip)
    assert settled[0] == 0
    assert settled[-1] == tip


async def test_an_owner_that_writes_faster_than_its_images_come_forward_keeps_its_memory_small(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volumes_module, "CATCH_UP_BLOCKS_MAX", 2)
    monkeypatch.setattr(volumes_module, "LAYER_BLOCKS_MAX", 30)
    monkeypatch.setattr(volumes_module, "SCAN_BYTES", 20_000)
    rig.write(20)
    rig.journal.sync()
    volumes = rig.volumes()
    await volumes.reach(rig.journal.tip.seq)
    held = []
    tip = volumes.recorded
    for _ in range(30):
        rig.write(4)
        tip = rig.journal.tip.seq
        while volumes.recorded < tip:
            volumes.record_slice(tip)
        held.append(volumes.held_blocks)
        await volumes.catch_up(tip)
        job = volumes.begin_drain(tip)
        if job is not None:
            job.run()
            volumes.end_drain(job)
        rig.compare(volumes, tip)
        rig.journal.trim(volumes.settled)
    assert max(held) > 30 > min(held[10:]), "it rose above the limit, and was given to the stretch"
    while volumes.applied < tip:
        await volumes.catch_up(tip)
        job = volumes.begin_drain(tip)
        assert job is not None
        job.run()
        volumes.end_drain(job)
    image = bytearray(SIZE)
    rig.images[0].read_into(0, memoryview(image))
    assert image == rig.state(tip)


async def test_a_stretch_that_could_not_be_lengthened_loses_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volumes_module, "LAYER_BLOCKS_MAX", 5)
    rig.write(10)
    rig.journal.sync()
    volumes = rig.volumes()
    await volumes.reach(rig.journal.tip.seq)
    rig.write(20)
    while volumes.record_slice(rig.journal.tip.seq):
        pass

    def refuse(_after: int, _through: int) -> NoReturn:
        raise FailedCopyError("it cannot be read just now")

    with monkeypatch.context() as patch:
        patch.setattr(rig.journal, "layers", refuse)
        with pytest.raises(FailedCopyError):
            await volumes.catch_up(rig.journal.tip.seq)
    rig.write(5)
    tip = rig.journal.tip.seq
    while volumes.record_slice(tip):
        pass
    monkeypatch.setattr(volumes_module, "LAYER_BLOCKS_MAX", 100_000)
    while volumes.applied < tip:
        await volumes.catch_up(tip)
        job = volumes.begin_drain(tip)
        assert job is not None
        job.run()
        volumes.end_drain(job)
        rig.compare(volumes, tip)
    image = bytearray(SIZE)
    rig.images[0].read_into(0, memoryview(image))
    assert image == rig.state(tip)


async def test_a_stretch_that_is_forgotten_is_not_seen_any_more(rig: Rig) -> None:
    rig.write(30)
    rig.journal.sync()
    volumes = rig.volumes()
    await volumes.reach(rig.journal.tip.seq)
    volumes.forget_above_images()
    assert volumes.recorded == 0
    rig.compare(volumes, 0)
    middle = rig.seqs[10]
    rig.journal.cut(middle)
    await volumes.reach(middle)
    rig.compare(volumes, middle)


async def test_what_is_kept_of_regions_is_bounded(rig: Rig) -> None:
    rig.write(40)
    cache = RegionCache(10_000)
    volumes = GroupVolumes(rig.images, rig.journal, 0, regions=cache)
    other = GroupVolumes(rig.images, rig.journal, 0, regions=cache)
    seqs = rig.seqs
    await volumes.reach(seqs[-1])
    await other.reach(seqs[20])
    for _ in range(2):
        rig.compare(volumes, seqs[-1])
        rig.compare(other, seqs[20])
    assert len(cache._regions) < 6
    volumes.forget_above_images()
    other.forget_above_images()
    assert (cache._bytes, len(cache._regions)) == (0, 0)


async def test_a_payload_that_the_disk_has_changed_is_never_given_to_anybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "VERIFIED_MAX", 2)
    journal = SegmentJournal(tmp_path, IDENTITY, 0, segment_bytes=SEGMENT_BYTES_MIN)
    rig = Rig(journal, 1)
    builder = BatchBuilder()
    whole = bytes(range(256)) * 64
    for number in range(8):
        builder.reset(Epoch(1), journal.tip.seq + 1, journal.tip.chain)
        builder.add_write(0, number * len(whole), memoryview(whole), 0)
        batch = builder.finish(0)
        journal.append(batch.parts, batch.first_seq, batch.end)
    journal.sync()
    while journal.index(0):
        pass
    path = tmp_path / f"{1:016x}.seg"
    content = bytearray(path.read_bytes())
    content[content.find(whole) + 10_000] ^= 4
    path.write_bytes(content)
    volumes = rig.volumes()
    await volumes.reach(journal.tip.seq)
    found = bytearray(100)
    for offset in (0, 5000):
        with pytest.raises(FailedCopyError, match="damaged"):
            volumes.views[0].read_into(offset, memoryview(found))
    with pytest.raises(FailedCopyError, match="damaged"):
        volumes.views[0].read_into(0, memoryview(bytearray(len(whole))))
    for number in range(1, 8):
        volumes.views[0].read_into(number * len(whole) + 1, memoryview(found))
        assert found == whole[1:101]
    await volumes.catch_up(journal.tip.seq)  # which reads no payloads of batches as large as these
    job = volumes.begin_drain(journal.tip.seq)
    assert job is not None
    with pytest.raises(DamagedError, match="damaged"):
        job.run()
    assert volumes.applied == 0
    rig.images[0].read_into(0, memoryview(found))
    assert not any(found), "nothing that is damaged reached the image"
    journal.close()


def test_batches_of_all_sizes_are_taken_as_they_follow(tmp_path: Path) -> None:
    """Large ones by their heads alone, which may be longer than what is read of them first."""
    dice = random.Random(4)
    journal = SegmentJournal(tmp_path, IDENTITY, 0, segment_bytes=4 << 20)
    image, expected, builder = MemoryImage(SIZE), bytearray(SIZE), BatchBuilder()
    for kind in [*("large", "many") * 4, *["large"] * HEADS_MAX, *("small", "large", "many", "small") * 4]:
        size, count = {"small": (1000, 3), "large": (20_000, 1), "many": (512, 200)}[kind]
        builder.reset(Epoch(1), journal.tip.seq + 1, journal.tip.chain)
        for _ in range(count):
            at, data = dice.randrange(SIZE - size), dice.randbytes(size)
            expected[at : at + size] = data
            builder.add_write(0, at, memoryview(data), 0)
        batch = builder.finish(0)
        journal.append(batch.parts, batch.first_seq, batch.end)
    volumes = GroupVolumes({0: image}, journal, 0)
    slices = 0
    while volumes.record_slice(journal.tip.seq):
        slices += 1
    assert volumes.recorded == journal.tip.seq
    assert slices == 2, "two of heads, and one of whole batches"
    found = bytearray(SIZE)
    volumes.views[0].read_into(0, memoryview(found))
    assert found == expected
    journal.close()


def test_a_head_that_the_disk_has_changed_is_not_taken(tmp_path: Path) -> None:
    journal = SegmentJournal(tmp_path, IDENTITY, 0, segment_bytes=SEGMENT_BYTES_MIN)
    builder = BatchBuilder()
    places = []
    for number in range(2):
        builder.reset(Epoch(1), journal.tip.seq + 1, journal.tip.chain)
        builder.add_write(0, number * 20_000, memoryview(bytes(20_000)), 0)
        batch = builder.finish(0)
        places.append(journal.append(batch.parts, batch.first_seq, batch.end))
    path = tmp_path / f"{1:016x}.seg"
    content = bytearray(path.read_bytes())
    content[(places[1] & 0xFFFFFFFF) + 130] ^= 4
    path.write_bytes(content)
    volumes = GroupVolumes({0: MemoryImage(SIZE)}, journal, 0)
    with pytest.raises(DamagedError) as raised:
        volumes.record_slice(journal.tip.seq)
    assert (raised.value.locator, volumes.recorded) == (places[1], 1)
    journal.close()


def test_of_a_large_batch_with_a_damaged_payload_nothing_is_taken(tmp_path: Path) -> None:
    """Also where a record that begins within a block makes the payload be read at once."""
    journal = SegmentJournal(tmp_path, IDENTITY, 0, segment_bytes=SEGMENT_BYTES_MIN)
    builder = BatchBuilder()
    builder.reset(Epoch(1), 1, journal.tip.chain)
    builder.add_write(0, 0, memoryview(b"a" * 5 * BLOCK), 0)
    builder.add_write(0, 8 * BLOCK + 1, memoryview(b"b" * 100), 0)
    batch = builder.finish(0)
    place = journal.append(batch.parts, batch.first_seq, batch.end)
    path = tmp_path / f"{1:016x}.seg"
    content = bytearray(path.read_bytes())
    content[(place & 0xFFFFFFFF) + batch.payload_start + 5 * BLOCK + 3] ^= 1
    path.write_bytes(content)
    image = MemoryImage(SIZE)
    volumes = GroupVolumes({0: image}, journal, 0)
    for _ in range(2):
        with pytest.raises(DamagedError, match="damaged"):
            volumes.record_slice(journal.tip.seq)
        assert (volumes.recorded, volumes.held_blocks, len(volumes.payloads)) == (0, 0, 0)
    assert volumes.begin_drain(journal.tip.seq) is None
    journal.mend(b"".join(batch.parts))
    assert not volumes.record_slice(journal.tip.seq)
    found = bytearray(100)
    volumes.views[0].read_into(8 * BLOCK + 1, memoryview(found))
    assert found == b"b" * 100
    journal.close()
