"""A coordinator with three centers."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.coordinator.centers import World


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with asyncio.TaskGroup() as tasks:
        world = World(tmp_path, tasks)
        await world.start()
        yield world
        await world.die()
