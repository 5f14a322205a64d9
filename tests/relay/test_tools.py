"""The tools people use see the same through a relay as at the owner."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from drsync.adapters.memory.volume import MemoryDevice
from drsync.relay.telling import Event
from tests.relay.owners import SIZE, Owner, attached

pytestmark = pytest.mark.integration

PATIENCE_S = 45.0
HALF = SIZE // 2


async def run(*argv: str) -> str:
    """Run a tool to its end; returns what it printed."""
    assert shutil.which(argv[0]) is not None, f"{argv[0]} is not installed: make setup installs it"
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*argv, stdout=pipe, stderr=asyncio.subprocess.STDOUT)
    async with asyncio.timeout(PATIENCE_S):
        output, _ = await process.communicate()
    assert process.returncode == 0, f"{argv[0]} ended with {process.returncode}: {output.decode()}"
    return output.decode()


@pytest.fixture
async def owner(tmp_path: Path) -> AsyncIterator[Owner]:
    """Half full, and serving."""
    device = MemoryDevice(SIZE, keeps_record=False)
    device.data[:HALF] = os.urandom(HALF)
    owner = Owner(tmp_path, "production", device)
    await owner.open(1)
    yield owner
    await owner.end()


async def test_nbdinfo_sees_what_the_owner_has(tmp_path: Path, owner: Owner) -> None:
    async with attached(tmp_path, owner) as relay:
        direct, relayed = [
            json.loads(await run("nbdinfo", "--json", uri))["exports"][0]
            for uri in (owner.place.uri, relay.uri)
        ]
        for told in (direct, relayed):
            told.pop("uri")
            told.pop("description")
        assert relayed == direct
        assert relayed["contexts"] == ["base:allocation"]
        maps = [
            json.loads(await run("nbdinfo", "--map", "--json", uri)) for uri in (owner.place.uri, relay.uri)
        ]
        assert maps[0] == maps[1]
        assert len(maps[1]) == 2
        listed = json.loads(await run("nbdinfo", "--list", "--json", relay.uri))["exports"]
        assert [export["export-name"] for export in listed] == ["data"]


async def test_nbdcopy_copies_out_and_in(tmp_path: Path, owner: Owner) -> None:
    assert isinstance(owner.device, MemoryDevice)
    out, other = tmp_path / "out", tmp_path / "other"
    other.write_bytes(os.urandom(SIZE))
    async with attached(tmp_path, owner) as relay:
        await run("nbdcopy", relay.uri, str(out))
        assert out.read_bytes() == bytes(owner.device.data)
        await run("nbdcopy", "--flush", str(other), relay.uri)
        assert other.read_bytes() == bytes(owner.device.data)


async def test_qemu_writes_and_reads_while_the_owner_changes(tmp_path: Path, owner: Owner) -> None:
    heir = Owner(tmp_path, "same_city", owner.device)
    async with attached(tmp_path, owner, heir) as relay:
        words = [f"-c write -P {n + 1} {n * 4096} 4096" for n in range(64)] + ["-c flush"]
        words += [f"-c read -P {n + 1} {n * 4096} 4096" for n in range(64)]
        tool = asyncio.create_task(run("qemu-io", "-f", "raw", *words, relay.uri))
        for term in range(2, 8):
            leaving, coming = (owner, heir) if term % 2 == 0 else (heir, owner)
            await leaving.end()
            await relay.until(Event.WAITING, term - 1)
            await coming.open(term)
            await relay.until(Event.ATTACHED, term)
        printed = await tool
        assert printed.count("wrote 4096/4096") == 64
        assert printed.count("read 4096/4096") == 64
        assert "Pattern verification failed" not in printed
    await heir.end()
