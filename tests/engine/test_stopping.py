"""Told to stop at the very moment a link is lost, a loop that redials must end all the same."""

import asyncio

import pytest

from drsync.engine.stopping import end_if_cancelled
from drsync.model.errors import TransientError


async def redial(lost: asyncio.Event, dialed: list[int]) -> None:
    """The shape of every loop that keeps a link."""

    async def link() -> None:
        await lost.wait()
        raise TransientError("connection lost")

    while True:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(link())
                dialed.append(1)
        except* TransientError:
            pass
        end_if_cancelled()
        await asyncio.sleep(0)


async def test_a_loop_ends_when_its_link_is_lost_while_it_is_told_to_stop() -> None:
    lost = asyncio.Event()
    dialed: list[int] = []
    loop = asyncio.create_task(redial(lost, dialed))
    while not dialed:
        await asyncio.sleep(0)
    lost.set()
    loop.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loop
    assert dialed == [1]


async def test_a_loop_goes_on_when_only_its_link_is_lost() -> None:
    lost = asyncio.Event()
    lost.set()
    dialed: list[int] = []
    loop = asyncio.create_task(redial(lost, dialed))
    while len(dialed) < 3:
        await asyncio.sleep(0)
    loop.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loop
