"""Many groups want to be brought level at once: a few are, the others wait for their turn."""

import asyncio

import pytest

from drsync.adapters.system.clock import SystemClock, SystemRandom
from drsync.core import resync_order
from drsync.core.resync_order import Applicant
from drsync.engine import resync_slots
from drsync.engine.resync_slots import ResyncSlots


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resync_slots, "JITTER_S", 0.0)


async def settled(is_so: object) -> None:
    assert callable(is_so)
    async with asyncio.timeout(5):
        while not is_so():
            await asyncio.sleep(0)


async def test_two_run_and_the_one_that_is_behind_its_target_is_next() -> None:
    slots, order, go = ResyncSlots(2), list[str](), asyncio.Event()

    async def session(key: str, pressure: float) -> None:
        async with slots.slot(Applicant(key, pressure, 1), SystemClock(), SystemRandom()):
            order.append(key)
            await go.wait()

    async with asyncio.TaskGroup() as tasks:
        for key in ("a", "b"):
            tasks.create_task(session(key, 0.0))
            await settled(lambda key=key: key in order)
        for key, pressure in (("c", 0.0), ("d", 2.0)):
            tasks.create_task(session(key, pressure))
        await settled(lambda: slots.waiting == ["c", "d"])
        assert sorted(slots.running) == ["a", "b"]
        go.set()
    assert order == ["a", "b", "d", "c"]
    assert not slots.running
    assert not slots.waiting


async def test_who_gives_up_while_waiting_holds_no_slot() -> None:
    slots = ResyncSlots(1)
    entered = asyncio.Event()

    async def session(key: str) -> None:
        async with slots.slot(Applicant(key, 0.0, 1), SystemClock(), SystemRandom()):
            entered.set()
            await asyncio.Event().wait()

    first = asyncio.create_task(session("a"))
    await entered.wait()
    second = asyncio.create_task(session("b"))
    await settled(lambda: slots.waiting == ["b"])
    for task in (second, first):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not slots.running
    assert not slots.waiting


async def test_others_wait_while_somebody_is_in_trouble_and_its_own_way_is_never_closed() -> None:
    slots, order, now = ResyncSlots(3), list[str](), SystemClock().now()
    slots.told("g", ("late",), now)

    async def session(key: str) -> None:
        async with slots.slot(Applicant(key, 0.0, 1), SystemClock(), SystemRandom()):
            order.append(key)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(session("h/other"))
        await settled(lambda: slots.waiting == ["h/other"])
        tasks.create_task(session("g/late"))
        await settled(lambda: order == ["g/late"])
        assert slots.waiting == ["h/other"]
        slots.told("g", ("late",), now + resync_order.QUIET_MAX_S + 1)
        await settled(lambda: order == ["g/late", "h/other"])
        tasks.create_task(session("h/third"))
        await settled(lambda: slots.waiting == ["h/third"])
        slots.told("g", (), now)
        await settled(lambda: order[-1] == "h/third")
