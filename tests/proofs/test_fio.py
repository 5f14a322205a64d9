"""fio writes blocks with checksums until its disk is gone; what it saw acknowledged is at the new owner."""

import asyncio
import os
import shlex
import shutil
import signal
import subprocess
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from struct import Struct

import pytest
from xxhash import xxh32_intdigest

from drsync.adapters.api_client.doc import Doc
from drsync.adapters.nbd.client import NbdClient
from drsync.lab.layout import DISK, GROUP, PRODUCTION, SAME_CITY
from drsync.lab.status import group_of
from tests import network
from tests.integration.site import MIB, is_served, site

STORY_S = 80.0
DISK_BYTES = 64 * MIB
DEPTH = 16
RATE = "96M"  # bits a second: the volume is not full before its owner is gone
WRITTEN = 2000  # records, most of them of a block each
BLOCK_BYTES = 4096
HEADER = Struct("<HHIQQ")  # magic, kind, length, seed, offset; times and numbers follow
MAGIC = 0xACCA
CHECKSUM, CHECKSUM_AT, CHECKSUM_SEED = Struct("<I"), 40, 1
FREEZE_S = 6.0  # because a proof should not wait the usual minute for an owner to give its clients up
GONE_S = 30.0


def why_not() -> str:
    """Why fio cannot write to an NBD export here; empty when it can."""
    missing = [tool for tool in ("fio", "nbdkit") if shutil.which(tool) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    asked = subprocess.run(["fio", "--enghelp=nbd"], capture_output=True, check=False, timeout=20)
    return "" if asked.returncode == 0 else "this fio has no nbd engine"


pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(100),
    pytest.mark.skipif(why_not() != "", reason=why_not()),
]


def fio(folder: Path, uri: str) -> list[str]:
    """One job over the whole volume, each block once."""
    words = ["fio", "--name=job", "--ioengine=nbd", f"--uri={uri}", "--rw=randwrite", "--bs=4k"]
    words += ["--verify=xxhash", "--do_verify=0", "--randseed=7", f"--aux-path={folder}"]
    return [*words, f"--iodepth={DEPTH}", "--write_lat_log=seen", "--log_offset=1"]


@asynccontextmanager
async def running(argv: list[str]) -> AsyncIterator[Process]:
    """A process that does not outlive the block."""
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, start_new_session=True
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)  # and what it had begun
            await process.wait()


NO_HOSTS = network.why_not()


@pytest.mark.parametrize(
    "how",
    ["killed", pytest.param("unplugged", marks=pytest.mark.skipif(NO_HOSTS != "", reason=NO_HOSTS or "-"))],
)
async def test_what_fio_saw_acknowledged_verifies_at_the_new_owner(home: Path, how: str) -> None:
    """SIGKILL of the owner, or its host's cable is pulled: half-open connections, and nobody is told."""
    async with site(home, hosts=how == "unplugged", seconds=STORY_S) as place:
        await place.protect(DISK_BYTES, freeze_timeout=f"{FREEZE_S:g}s")
        # Through nbdkit, which answers with errors for a disk that is gone: fio 3.33 by itself may wait for a
        # dead connection for ever (a rate makes that likely, so the limit is nbdkit's, too).
        passing = ["nbdkit", "--unix=-", "--filter=rate", "nbd", await place.uri(DISK), f"rate={RATE}"]
        job = shlex.join(fio(home, "$uri")).replace("'--uri=$uri'", '--uri="$uri"')
        async with running(["env", "-C", str(home), *passing, "--run", job]) as writing:
            await place.until("fio writes", lambda s: position(s) > WRITTEN)
            assert writing.returncode is None, "it ended before its disk was gone"
            if how == "killed":
                await place.kill(PRODUCTION)
            else:
                assert place.hosts is not None
                place.hosts.network.plug(PRODUCTION, is_in=False)
            (await place.cli("failover", GROUP, "--to", SAME_CITY)).well()
            await place.until("served by the same-city center", lambda s: is_served(s, SAME_CITY))
            async with asyncio.timeout(GONE_S):
                await writing.communicate()
            assert writing.returncode != 0, "fio noticed that its disk is gone"
        seen = acknowledged(home)
        assert len(seen) > WRITTEN // 2, f"only {len(seen)} blocks were written"

        # Not by fio itself: what it saves of a run that fails assumes that no request was under way longer
        # than its sixteen successors; where one was, it reads a block that nobody said was written.
        client = await NbdClient.connect(await place.uri(DISK))
        wrong = {at: why for at in sorted(seen) if (why := amiss(await client.read(at, BLOCK_BYTES), at))}
        await client.close()
        assert not wrong, f"of {len(seen)} acknowledged blocks: {wrong}"


def amiss(block: bytes, at: int) -> str:
    """What is wrong with a block that fio wrote; empty when it is well. See fio's verify.h."""
    magic, _, length, _, offset = HEADER.unpack_from(block)
    (checksum,) = CHECKSUM.unpack_from(block, CHECKSUM_AT)
    if (magic, length, offset) != (MAGIC, BLOCK_BYTES, at):
        return f"begins with {block[:24].hex()}"
    found = xxh32_intdigest(block[CHECKSUM_AT + CHECKSUM.size :], CHECKSUM_SEED)
    return "" if found == checksum else f"has checksum {found:08x} and should have {checksum:08x}"


def position(status: Doc) -> int:
    """The last record that the owner had at its last heartbeat."""
    return group_of(status).doc("centers").doc(PRODUCTION).whole("position")


def acknowledged(folder: Path) -> set[int]:
    """Offsets of the writes that came to an end, by fio's own log."""
    (log,) = folder.glob("seen_clat*.log")
    return {int(line.split(",")[4]) for line in log.read_text().splitlines()}
