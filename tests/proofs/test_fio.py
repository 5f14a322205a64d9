"""fio writes blocks with checksums until its disk is gone; what it saw acknowledged is at the new owner."""

import asyncio
import json
import os
import shlex
import shutil
import signal
import subprocess
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from drsync.adapters.api_client.doc import Doc
from drsync.lab.layout import DISK, GROUP, PRODUCTION, SAME_CITY
from drsync.lab.status import group_of
from tests import network
from tests.integration.site import MIB, is_served, site

STORY_S = 80.0
DISK_BYTES = 64 * MIB
DEPTH = 16
RATE = "96M"  # bits a second: the volume is not full before its owner is gone
WRITTEN = 2000  # records, most of them of a block each
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


def fio(folder: Path, uri: str, *more: str) -> list[str]:
    """One job over the whole volume, each block once; all that both runs must have in common."""
    words = ["fio", "--name=job", "--ioengine=nbd", f"--uri={uri}", "--rw=randwrite", "--bs=4k"]
    words += ["--verify=crc32c", "--randseed=7", f"--aux-path={folder}", "--output-format=json"]
    return [*words, *more]


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
        log = ["--write_lat_log=seen", "--log_offset=1"]
        save = ["--do_verify=0", "--verify_state_save=1", f"--iodepth={DEPTH}"]
        # Through nbdkit, which answers with errors for a disk that is gone: fio 3.33 by itself may wait for a
        # dead connection for ever (a rate makes that likely, so the limit is nbdkit's, too).
        passing = ["nbdkit", "--unix=-", "--filter=rate", "nbd", await place.uri(DISK), f"rate={RATE}"]
        job = shlex.join(fio(home, "$uri", *save, *log)).replace("'--uri=$uri'", '--uri="$uri"')
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

        # One request at a time: else fio 3.33 also reads blocks that were under way when it ended.
        load = ["--verify_only", "--verify_state_load=1", "--verify_fatal=1", "--iodepth=1"]
        load += [f"--output={home / 'read.json'}"]  # because its standard output also has warnings
        async with running(fio(home, await place.uri(DISK), *load)) as reading:
            out, err = await reading.communicate()
        assert reading.returncode == 0, f"{out.decode()}\n{err.decode()}"
        (job,) = json.loads((home / "read.json").read_text())["jobs"]
        assert job["read"]["total_ios"] == len(seen), "each of them was read, and nothing else"


def position(status: Doc) -> int:
    """The last record that the owner had at its last heartbeat."""
    return group_of(status).doc("centers").doc(PRODUCTION).whole("position")


def acknowledged(folder: Path) -> set[int]:
    """Offsets of the writes that came to an end, by fio's own log."""
    (log,) = folder.glob("seen_clat*.log")
    return {int(line.split(",")[4]) for line in log.read_text().splitlines()}
