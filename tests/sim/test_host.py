"""A simulated machine that is suspended: its processes are late, and none of them sleeps for ever."""

import random

import pytest

from drsync.sim.disk import Disk
from drsync.sim.host import Host, HostClock
from drsync.sim.timeline import Timeline


@pytest.mark.parametrize("counts", [True, False])
def test_a_process_goes_on_after_its_machine_was_suspended(*, counts: bool) -> None:
    timeline = Timeline()
    host = Host(timeline, "production", random.Random(1), Disk())
    process = host.process("agent")
    clock = HostClock(host, process)
    woken: list[float] = []

    async def sleeping() -> None:
        await clock.sleep_until(clock.now() + 2)
        woken.append(timeline.now)

    process.spawn(sleeping())
    timeline.run(1)
    host.suspend(10, counts=counts)
    timeline.run(30)
    assert woken == [pytest.approx(11 if counts else 12)]
