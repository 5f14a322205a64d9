"""A lab whose processes only wait, and a served volume."""

import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from drsync.adapters.memory.volume import MemoryDevice, MemoryExports
from drsync.adapters.nbd.address import make_uri
from drsync.adapters.nbd.server import Server
from drsync.lab import processes, record
from drsync.lab.cluster import Cluster
from drsync.lab.configs import PORTS
from drsync.lab.layout import LEDGER, LEDGER_BYTES, PROCESSES, Layout
from drsync.lab.record import ImportedVolume, LabRecord, Process

MIB = 1 << 20
WAITS = [sys.executable, "-S", "-c", "import signal; signal.pause()"]


@pytest.fixture
def root() -> Iterator[Path]:
    """A short directory, because sockets lie below it."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "lab"


@pytest.fixture
def layout(root: Path) -> Layout:
    root.mkdir(mode=0o700)
    return Layout(root)


@pytest.fixture
def known(layout: Layout) -> LabRecord:
    volumes = (
        ImportedVolume("disk", MIB, "/images/disk.img", MIB, is_begun=True, is_done=True),
        ImportedVolume(LEDGER, LEDGER_BYTES, is_done=True),
    )
    ports = {name: 20000 + n for n, name in enumerate(PORTS)}
    made = LabRecord("lab-1", ports, volumes)
    record.save(layout.record, made)
    return made


def start_waiting(cluster: Cluster, name: str) -> Process:
    """A process that waits to be told, in the place of the real one."""
    process = processes.start(WAITS, cluster.layout.log(name), os.environ)
    cluster.remember(lambda before: before.with_process(name, process))
    return process


@pytest.fixture
async def cluster(layout: Layout, known: LabRecord) -> AsyncIterator[Cluster]:
    assert known.volumes
    made = Cluster(layout)
    yield made
    for name in PROCESSES:
        await made.stop(name, is_kind=False)


@pytest.fixture
def running(cluster: Cluster) -> Cluster:
    for name in PROCESSES:
        start_waiting(cluster, name)
    return cluster


@pytest.fixture
def device() -> MemoryDevice:
    return MemoryDevice(8 * MIB + 4096)


@pytest.fixture
async def uri(device: MemoryDevice, root: Path) -> AsyncIterator[str]:
    socket = root.parent / "nbd.sock"
    server = Server(MemoryExports({"disk": device}), socket)
    await server.start()
    yield make_uri("disk", socket)
    await server.stop()
