"""An application that knows one address: the owner changes, and it sees a pause."""

import asyncio
import json
import shutil
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from typing_extensions import override

from drsync.adapters.api_client.doc import Doc
from drsync.adapters.nbd.client import NbdClient
from drsync.lab.layout import COORDINATOR, DISK, GROUP, LEDGER, PRODUCTION, REMOTE, SAME_CITY
from drsync.lab.status import group_of
from drsync.lab.writer import LedgerWriter
from drsync.model.errors import TransientError
from tests.integration import disks
from tests.integration.relays import RelayProcess, relay
from tests.integration.site import MIB, is_level, is_served, site
from tests.integration.test_owner_dies import Application, digest_of

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

WRITES = 50
STORY_S = 100.0
FIO_S = 8.0
FILES = 40
FILES_KEPT = 100
FIO_BYTES = 16 * MIB


@asynccontextmanager
async def writing(through: RelayProcess) -> AsyncIterator[LedgerWriter]:
    """An application that writes all the time to one address, and would say if anything went wrong."""

    async def address() -> str:
        return through.uri

    writer = LedgerWriter(address)
    task = asyncio.create_task(writer.run())
    try:
        yield writer
    finally:
        task.cancel()
        await asyncio.wait([task])


async def until_written(writer: LedgerWriter, more: int = WRITES) -> None:
    wanted = writer.acknowledged + more
    async with asyncio.timeout(30):
        while writer.acknowledged < wanted:
            assert not writer.trouble
            await asyncio.sleep(0.01)


async def test_a_switchover_is_a_pause(home: Path) -> None:
    async with site(home, seconds=STORY_S) as place:
        await place.protect()
        async with relay(place, LEDGER) as through, writing(through) as writer:
            await until_written(writer)
            for to in (SAME_CITY, PRODUCTION, REMOTE):
                (await place.cli("switchover", GROUP, "--to", to)).well()
                await until_written(writer)
            assert writer.trouble == ""
            await place.require_ledger(writer)
            assert (await through.until("attached", 4)).text("center") == REMOTE


@pytest.mark.parametrize("has_coordinator", [True, False], ids=["told", "finding out"])
async def test_the_owner_dies_and_the_application_waits(home: Path, *, has_coordinator: bool) -> None:
    """Killed under load; no I/O error is seen, and every acknowledged write is there at the same-city center.

    Without the coordinator after the failover was ordered: the relay finds the new owner by its address.
    """
    async with site(home, seconds=STORY_S) as place:
        await place.protect()
        given = f"{SAME_CITY}=nbd+unix:///{LEDGER}?socket={place.layout.run(SAME_CITY)}/nbd/{GROUP}.sock"
        options = () if has_coordinator else ("--center", given, "--coordinator", f"unix:{home}/none")
        if not has_coordinator:
            options = (*options, "--center", f"{PRODUCTION}={await place.uri()}")
        async with relay(place, LEDGER, *options) as through, writing(through) as writer:
            await until_written(writer)
            await place.kill(PRODUCTION)
            (await place.cli("failover", GROUP, "--to", SAME_CITY)).well()
            await until_written(writer)
            assert writer.trouble == ""
            await place.require_ledger(writer)
            again = await through.until("attached", 2)
            assert again.text("center") == SAME_CITY
            place.start(PRODUCTION)
            await place.until("production back as a replica", lambda s: is_level(s, SAME_CITY))
            await until_written(writer)
            assert writer.trouble == ""
        await place.require_ledger(writer)


async def test_an_owner_that_stands_still_is_left_when_another_epoch_begins(home: Path) -> None:
    """Stopped, not dead: its connection stays open and says nothing. It is cut before the next is used."""
    async with site(home, seconds=STORY_S) as place:
        await place.protect()
        async with relay(place, LEDGER) as through, writing(through) as writer:
            await until_written(writer)
            place.cluster.signal(PRODUCTION, signal.SIGSTOP)
            (await place.cli("failover", GROUP, "--to", SAME_CITY)).well()
            await until_written(writer)
            place.cluster.signal(PRODUCTION, signal.SIGCONT)
            await place.until("production back as a replica", lambda s: is_level(s, SAME_CITY))
            await until_written(writer)
            assert writer.trouble == ""
            assert "has begun" in (await through.until("waiting")).text("reason")
        await place.require_ledger(writer)


async def test_after_an_accepted_loss_nobody_goes_on_unawares(home: Path) -> None:
    """The remote center is opened with --accept-loss; what is attached gets errors until it has left."""
    async with site(home, seconds=STORY_S) as place:
        await place.protect()
        async with relay(place, LEDGER) as through:
            client = await NbdClient.connect(through.uri)
            await client.write(0, b"\1" * 4096)
            await place.kill(PRODUCTION, SAME_CITY)
            words = ("failover", GROUP, "--to", REMOTE, "--accept-loss", "--reason", "the city is gone")
            (await place.cli(*words)).well()
            with pytest.raises(TransientError, match="EIO"):
                await client.read(0, 4096)
            assert "may be lost" in (await through.until("broken")).text("reason")
            await client.close()
            await through.until("mended")
            await through.until("attached", 2)
            fresh = await NbdClient.connect(through.uri)
            await fresh.write(0, b"\2" * 4096)
            await fresh.close()


@pytest.mark.skipif(disks.why_not() != "", reason=f"no block device here: {disks.why_not()}")
async def test_a_file_system_stays_mounted_while_the_owner_dies(home: Path) -> None:
    """ext4 on nbdfuse on the relay: it is never told, and it is clean afterwards without any repair."""
    async with site(home, seconds=STORY_S) as place:
        await place.protect(disk_bytes=FIO_BYTES)
        async with relay(place, DISK) as through:
            with disks.block_device(home / "disk", through.uri) as device:
                await asyncio.to_thread(device.make_file_system)
                application = Rewriter(device.tree)
                working = asyncio.create_task(asyncio.to_thread(application.run, STORY_S))
                await until_made(application)
                await place.kill(PRODUCTION)
                (await place.cli("failover", GROUP, "--to", SAME_CITY)).well()
                await until_made(application)
                application.must_stop = True
                await working
                assert application.trouble == ""
                tree, safe = device.tree, application.safe
                wrong = [name for name, digest in safe.items() if digest_of(tree / name) != digest]
                assert wrong == []
                await asyncio.to_thread(disks.run, "umount", device.tree)
                await asyncio.to_thread(disks.run, "e2fsck", "-fn", device.device)
            assert (await through.until("attached", 2)).text("center") == SAME_CITY


class Rewriter(Application):
    """Makes the same files again and again, so that the disk never fills up, until it is told to stop."""

    made = 0
    must_stop = False

    @override
    def run(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        try:
            while not self.must_stop and time.monotonic() < deadline:
                self._make(self.made % FILES_KEPT)
                self.made += 1
        except OSError as error:
            self.trouble = str(error)


async def until_made(application: Rewriter) -> None:
    wanted = application.made + FILES
    async with asyncio.timeout(30):
        while application.made < wanted:
            assert not application.trouble
            await asyncio.sleep(0.01)


@pytest.mark.skipif(shutil.which("fio") is None, reason="fio is not installed")
async def test_fio_verifies_every_block_across_a_failover(home: Path) -> None:
    async with site(home, seconds=STORY_S) as place:
        await place.protect(disk_bytes=FIO_BYTES)
        async with relay(place, DISK) as through:
            process = await fio(through.uri)
            await place.until("a part of it written", lambda s: position(s) > FIO_BYTES // 4096 // 4)
            await place.kill(PRODUCTION)
            (await place.cli("failover", GROUP, "--to", SAME_CITY)).well()
            await place.until("served by the same-city center", lambda status: is_served(status, SAME_CITY))
            out, err = await process.communicate()
            assert process.returncode == 0, out.decode() + err.decode()
            (job,) = json.loads(out[out.index(b"{") :])["jobs"]
            assert job["error"] == 0
            assert job["write"]["total_ios"] >= FIO_BYTES // 4096
            assert job["read"]["total_ios"] >= FIO_BYTES // 4096, "every block was read again and compared"
            assert (await through.until("attached", 2)).text("center") == SAME_CITY


async def fio(uri: str) -> asyncio.subprocess.Process:
    """Random writes of the whole volume, each block once, then all of them read and compared."""
    words = ["fio", "--name=verify", "--ioengine=nbd", f"--uri={uri}", "--rw=randwrite", "--bs=4k"]
    words += ["--iodepth=16", f"--size={FIO_BYTES}", "--verify=crc32c", "--do_verify=1", "--verify_fatal=1"]
    words += [f"--rate_iops={int(FIO_BYTES / 4096 / FIO_S)}", "--fsync=64", "--output-format=json"]
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(*words, stdout=pipe, stderr=pipe)


def position(status: Doc) -> int:
    """Records in the log of production."""
    return group_of(status).doc("centers").doc(PRODUCTION).whole("position")


async def test_what_does_not_exist_is_said_so(home: Path) -> None:
    async with site(home, seconds=STORY_S) as place:
        ended = await place.cli("attach", "nothing/here", "--socket", str(home / "r.sock"), "--timeout", "5s")
        assert ended.code == 2
        assert "no group nothing" in ended.err
        await place.protect()
        ended = await place.cli("attach", f"{GROUP}/nothing", "--socket", str(home / "r.sock"))
        assert ended.code == 2
        assert f"no volume nothing\nremedy: It has {DISK}, {LEDGER}." in ended.err
        await place.stop(COORDINATOR)
        ended = await place.cli(
            "attach", f"{GROUP}/{LEDGER}", "--socket", str(home / "r.sock"), "--timeout", "1s"
        )
        assert ended.code == 4
        assert "no owner of" in ended.err
