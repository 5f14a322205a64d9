"""A database on a served volume and the load on it, as the proofs put them together."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from drsync.lab.layout import DISK
from tests.integration import disks
from tests.integration.disks import BlockDevice, block_device
from tests.integration.site import Site
from tests.proofs.book import TABLE, Book, Writers
from tests.proofs.database import ADMIN, NAME, Database, database

CLIENTS = 3
BENCH_CLIENTS = 2
BENCH_S = 300  # longer than any proof: it ends with its server
BENCH_ENDS_S = 20.0
COMMITS_S = 60.0


@dataclass(slots=True)
class Load:
    """What works on a database at one time.

    Attributes:
        server: what it works on.
        book: clients that note each commit.
        bench: pgbench's standard transactions beside them.
    """

    server: Database
    book: Book
    bench: "subprocess.Popen[str]"

    async def until(self, commits: int) -> None:
        """So many commits have been acknowledged to the clients of the book."""
        async with asyncio.timeout(COMMITS_S):
            while len(self.book.entries) < commits:
                await asyncio.sleep(0.01)

    async def go_on(self, commits: int) -> None:
        """So many more."""
        await self.until(len(self.book.entries) + commits)

    def bench_ended(self) -> int:
        """Transactions that pgbench saw committed, once its server is gone."""
        out, _ = self.bench.communicate(timeout=BENCH_ENDS_S)
        (line,) = [line for line in out.splitlines() if "actually processed" in line]
        return int(line.split(":")[1].split("/")[0])


@asynccontextmanager
async def on_volume(
    place: Site, folder: Path, *, is_new: bool, ends_well: bool, uri: str = ""
) -> AsyncIterator[Database]:
    """PostgreSQL on ext4 on the disk of the group, at `uri` or where that is served now; gone in every case.

    Who says that it `ends_well` wants no bad page, no complaint, and a clean file system in the end.
    """
    with ExitStack() as made:
        try:
            export = block_device(folder, uri or await place.uri(DISK))
            device = await asyncio.to_thread(made.enter_context, export)
            if is_new:
                await asyncio.to_thread(device.make_file_system)
            else:  # the kernel replays the journal of the file system
                await asyncio.to_thread(disks.run, "mount", "-t", "ext4", device.device, device.tree)
            server = made.enter_context(database(folder / "pg", device.tree))
            await asyncio.to_thread(_begin, server, is_new=is_new)
            yield server
            if ends_well:
                await asyncio.to_thread(_end_well, server, device)
        finally:
            await asyncio.to_thread(made.close)


def _end_well(server: Database, device: BlockDevice) -> None:
    server.stop()
    server.require_checksums()
    assert not server.complaints(), server.complaints()
    disks.run("umount", device.tree)
    disks.run("e2fsck", "-fn", device.device)


def _begin(server: Database, *, is_new: bool) -> None:
    if not is_new:
        server.start()
        return
    server.make()
    server.start()
    server.sql(f"CREATE DATABASE {NAME}", ADMIN)
    server.sql(TABLE)
    subprocess.run(server.bench("-i", "-q"), check=True, capture_output=True, timeout=60)


@asynccontextmanager
async def load_on(server: Database, book: Book | None = None) -> AsyncIterator[Load]:
    """Clients with a book, and pgbench; ended with the block if not by the end of their server.

    A book that is given is continued, by clients of other numbers.
    """
    book = Book() if book is None else book
    first = 1 + max((entry.client for entry in book.entries), default=-1)
    bench = _bench(server)
    writers = Writers(server, CLIENTS, book, first)
    try:
        yield Load(server, writers.book, bench)
    finally:
        await asyncio.to_thread(writers.end)
        bench.kill()
        await asyncio.to_thread(bench.communicate)


def _bench(server: Database) -> "subprocess.Popen[str]":
    options = server.bench("-n", "-c", str(BENCH_CLIENTS), "-T", str(BENCH_S))
    return subprocess.Popen(options, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
