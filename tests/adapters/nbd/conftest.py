"""A served device for every test, on asyncio's loop and on uvloop's."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest
import uvloop

from drsync.adapters.memory.volume import MemoryDevice, MemoryExports
from drsync.adapters.nbd.server import Limits, Server

MIB = 1 << 20
LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def pytest_asyncio_loop_factories() -> Mapping[str, LoopFactory]:
    """Because uvloop serves in production, and asyncio is what others may embed."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
def disk() -> MemoryDevice:
    """The export `disk`."""
    return MemoryDevice(8 * MIB)


@pytest.fixture
def frozen() -> MemoryDevice:
    """The export `frozen`: read-only."""
    return MemoryDevice(MIB, is_read_only=True)


@pytest.fixture
def exports(disk: MemoryDevice, frozen: MemoryDevice) -> MemoryExports:
    return MemoryExports({"disk": disk, "frozen": frozen})


@pytest.fixture
def limits() -> Limits:
    """Overridden by tests about limits."""
    return Limits()


@pytest.fixture
async def server(exports: MemoryExports, tmp_path: Path, limits: Limits) -> AsyncIterator[Server]:
    server = Server(exports, tmp_path / "nbd.sock", limits)
    await server.start()
    yield server
    await server.stop()
