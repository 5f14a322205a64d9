"""What is beside the hot path must not disturb it: drills, pacing, compressed streams, long readings."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from drsync.agent.agent import LIMITS
from drsync.core.pacing import BURST_S
from drsync.engine import threads
from drsync.engine.overlay import VolumeView
from drsync.engine.owner import OwnerDevice
from drsync.engine.procedure_drill import HASH_TIMEOUT_S
from drsync.engine.views import GroupView
from drsync.model.copy import CopyState
from drsync.model.errors import FailedCopyError, RefusedError
from tests.engine.test_owner import Bench
from tests.engine.test_town import Writer
from tests.engine.town import Town, town

SOON_S = 5.0


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path / "journal")
    yield bench
    bench.journal.close()


class Gate:
    """Reading that stands still until it is let go on; tells who reads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_open = threading.Event()
        self.readers = 0
        read = VolumeView.read_into

        def read_into(view: VolumeView, offset: int, target: memoryview) -> None:
            if threading.current_thread() is not threading.main_thread():
                self.readers += 1
                self.is_open.wait(SOON_S)
            read(view, offset, target)

        monkeypatch.setattr(VolumeView, "read_into", read_into)


async def a_view(place: Town, name: str) -> GroupView:
    member = place.member("remote")
    view = member.views.hold(name, member.copy.journal.tip.seq)
    await view.build()
    return view


async def is_refused(view: GroupView) -> bool:
    try:
        await view.hash()
    except RefusedError:
        return True
    return False


def test_an_agent_reads_whole_volumes_for_as_long_as_the_drill_waits() -> None:
    assert LIMITS.longer["view.hash"] >= HASH_TIMEOUT_S


async def test_drills_that_read_whole_volumes_take_no_thread_from_syncs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with town(tmp_path) as place, asyncio.TaskGroup() as tasks:
        gate = Gate(monkeypatch)
        views = [await a_view(place, f"v{n}") for n in range(12)]
        reading = [tasks.create_task(view.hash()) for view in views]
        await place.until(lambda: gate.readers == threads.LONG_THREADS)
        async with asyncio.timeout(SOON_S / 2):
            await place.member("remote").copy.sync()
        gate.is_open.set()
        assert len({str(await one) for one in reading}) == 1


@pytest.mark.parametrize("how", ["released", "nobody waits"])
async def test_reading_ends_when_the_view_is_closed_or_nobody_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    async with town(tmp_path) as place, asyncio.TaskGroup() as tasks:
        writer = Writer(place, "production")
        writer.write_many(1, 4)
        await place.until(lambda: len(writer.acknowledged) == 4)
        gate = Gate(monkeypatch)
        view = await a_view(place, "v")
        reading = tasks.create_task(is_refused(view))
        await place.until(lambda: gate.readers == 1)
        if how == "released":
            place.member("remote").views.release("v")
            gate.is_open.set()
            assert await reading
        else:
            reading.cancel()
            await asyncio.wait([reading])
            gate.is_open.set()
        async with asyncio.timeout(SOON_S):
            await threads.in_long_thread(lambda: None)
            await threads.in_long_thread(lambda: None)
        assert gate.readers == 1, "the rest of the volume was not read"


@pytest.mark.parametrize("is_fua", [False, True])
def test_a_write_of_many_batches_is_paced_by_all_its_bytes(bench: Bench, is_fua: bool) -> None:
    """Else whoever writes 32 MiB at a time is held back for the last one alone, and no target is held."""
    bench.engine.pacer.max_s = 60.0
    bench.engine.pacer.rate = 1e6
    size = 8 << 20
    device = OwnerDevice(bench.engine, 0, size)
    device.write(0, memoryview(bytes(size)), b"w", fua=is_fua)
    device.submit(bench.client)
    bench.sync()
    assert bench.engine.held_until is not None
    assert bench.engine.held_until - bench.clock.now() >= size / 1e6 - BURST_S
    bench.clock.instant += 60.0
    bench.engine.settle()
    assert bench.answered == [b"w"], "and never longer than allowed"


def test_answers_that_are_held_back_go_out_when_the_lease_comes_back(bench: Bench) -> None:
    bench.engine.pacer.max_s, bench.engine.pacer.rate = 1.0, 1e3
    bench.write(b"w", 0, bytes(4096))
    bench.clock.instant = 300.0
    bench.engine.settle()
    assert bench.answered == [], "somebody else may own the group"
    bench.engine.lease_until = 400.0
    bench.engine.settle()
    assert bench.answered == [b"w"]
    assert bench.engine.is_drained


async def test_a_failed_copy_does_not_say_that_it_lacks_space(tmp_path: Path) -> None:
    """Both happened to it: who reads of the disk alone frees space and waits for ever."""
    async with town(tmp_path) as place:
        copy = place.member("remote").copy
        copy.space.images = "no space left on device"
        assert copy.statement().no_space == "no space left on device"
        copy.fail(FailedCopyError("sync: input/output error"), is_lasting=True)
        assert (copy.statement().state, copy.statement().no_space) == (CopyState.FAILED, "")
