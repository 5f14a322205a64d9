"""How fast a center is brought level by blocks, beside `rsync --inplace` over ssh with the same content.

    python benchmarks/resync.py [--mib 512 | --b1 --mib 8192] [--runs 1] [--json FILE]

seed      the target has nothing; the journal begins later, so that blocks are sent
1 %       the target was away while one page in a hundred was written, until the journal let go

Real centers over SSH on loopback. The clock runs from the first word about the session until the target
stands at its end, with everything read back, compared and switched; heartbeats tell both at once. rsync
reads both files to find what changed; its clock is that of its process, over a connection that stands; zstd
at level 1, a seed as a sparse file. Bytes are those of bodies as they went out, and what rsync says it
sent. Processor time is that of both ends, ssh included; everything is written out before a clock begins.
Pairs run in turn, and the ratio is the median of theirs.

Half of the content is text-like, half is random. With `--b1` it is a disk image as `_b1` tells; five eighths
of `--mib` are stored. What the disk does weighs more than all else: `--dir /dev/shm` measures the programs.
"""

import argparse
import asyncio
import os
import random
import re
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import _b1
from _cluster import Centers, Group, centers
from _machine import MIB, cpu_s, medians, parser, require_tools, write_json
from _sshd import Way, children, connection, find_sshd

from drsync.adapters.api_client.client import ApiClient
from drsync.adapters.api_client.doc import Doc
from drsync.lab.importing import connected
from drsync.lab.layout import PRODUCTION, REMOTE

PAGE = 4096
SHARE = 100  # one page in so many changes
QUOTA_MIB = 200  # because a journal has segments of 64 MiB
WAIT_S = 600.0  # because a slow disk makes 50 MB/s of either way, and 8 GiB have 5 stored
LOOK_S = 0.05  # because who looks takes processors from what is measured
WAYS = ("drsync", "rsync -z")


class Cost(NamedTuple):
    """What it took: seconds, 10^6 bytes on the line, processor seconds of the sender and of the other end."""

    seconds: float
    mb: float
    near_s: float
    far_s: float


@dataclass(frozen=True)
class Figure:
    """Medians over the runs, and some of these; see `Cost`."""

    way: str
    what: str
    seconds: float
    mb: float
    near_s: float
    far_s: float
    seconds_runs: list[float]
    mb_runs: list[float]


def content(options: argparse.Namespace, seed: int) -> Iterator[tuple[int, bytes]]:
    """What is written first: offsets and bytes."""
    if options.b1:
        yield from _b1.image(options.mib, seed)
        return
    dice = random.Random(seed)
    words = [dice.randbytes(8).hex().encode() for _ in range(2000)]
    text = b" ".join(dice.choices(words, k=MIB // 17 + 1))[:MIB].ljust(MIB)
    for number in range(options.mib):
        yield number * MIB, text if number % 2 else dice.randbytes(MIB)


def pages(options: argparse.Namespace, seed: int) -> list[tuple[int, bytes]]:
    """The pages that change, and what becomes of them."""
    if options.b1:
        return list(_b1.changes(options.mib, seed + 1000, seed))
    dice, count = random.Random(seed + 1000), options.mib * MIB // PAGE
    chosen = dice.sample(range(count), count // SHARE)
    return [(number * PAGE, dice.randbytes(PAGE)) for number in sorted(chosen)]


class Place:
    """A group of two centers, and its remote one."""

    def __init__(self, running: Centers, group: Group, uri: str) -> None:
        self.running, self.group, self.uri = running, group, uri
        self.sessions = 0
        self.wire = 0

    async def remote(self, client: ApiClient) -> Doc:
        status = await client.get("/v1/status")
        return status.doc("groups").doc(self.group.name).doc("centers").doc(REMOTE)

    async def away(self) -> None:
        await self.running.cluster.stop(REMOTE, is_kind=False)

    def wipe(self) -> None:
        for path in self.running.cluster.layout.root.rglob("groups"):
            if REMOTE in path.parts:
                shutil.rmtree(path)

    async def fill(self, data: Iterator[tuple[int, bytes]]) -> None:
        async with connected(self.uri) as client:
            for at, piece in data:
                await client.write(at, piece)
            await client.flush()

    async def change(self, changed: list[tuple[int, bytes]], until_bytes: int) -> None:
        async with connected(self.uri) as client:
            for _ in range(max(1, until_bytes // (len(changed) * PAGE))):
                for batch in range(0, len(changed), 64):
                    await asyncio.gather(*(client.write(*one) for one in changed[batch : batch + 64]))
            await client.flush()

    def processors(self) -> tuple[float, float]:
        """Seconds that both ends have used."""
        pids = self.running.pids
        return cpu_s(pids[PRODUCTION]), cpu_s(pids[REMOTE])

    async def level(self) -> Cost:
        """Start the remote center; what its session takes."""
        os.sync()
        self.running.cluster.start(REMOTE)
        began, deadline = 0.0, time.monotonic() + WAIT_S
        before = (0.0, 0.0)
        async with self.running.cluster.api() as client:
            while time.monotonic() < deadline:
                state = await self.remote(client)
                now = time.monotonic()
                if state.doc("resync") and not began:
                    began, before = now, self.processors()
                if state.doc("resynced").whole("sessions") > self.sessions:
                    late = self.processors()
                    wire = state.doc("resynced").whole("wire_bytes")
                    sent, self.wire, self.sessions = wire - self.wire, wire, self.sessions + 1
                    return Cost(now - (began or now), sent / 1e6, late[0] - before[0], late[1] - before[1])
                await asyncio.sleep(LOOK_S)
        raise SystemExit(f"{REMOTE} was not brought level in {WAIT_S:g} s")


async def ours(options: argparse.Namespace, number: int) -> dict[str, Cost]:
    """What each story takes."""
    quota = {"quota": f"{QUOTA_MIB} MiB", "compress": True}
    group = Group(f"bench{number}", (PRODUCTION, REMOTE), "async", 1, options.mib, more=quota)
    async with centers(options.dir, (PRODUCTION, REMOTE)) as running:
        (uri,) = await running.serve(group)
        place = Place(running, group, uri)
        await place.away()
        place.wipe()
        await place.fill(content(options, number))
        seed = await place.level()
        await running.wait_ready(group)
        await place.away()
        await place.change(pages(options, number), 2 * QUOTA_MIB * MIB)
        return {"seed": seed, "1 %": await place.level()}


class Other:
    """rsync over a connection that stands."""

    def __init__(self, way: Way, source: Path, target: Path) -> None:
        *over, host = way.options
        self._way = way
        self._words = ["-e", " ".join(["ssh", *over]), str(source), f"{host}:{target}"]

    def _processors(self) -> tuple[float, float]:
        own = resource.getrusage(resource.RUSAGE_CHILDREN)
        near = own.ru_utime + own.ru_stime + cpu_s(self._way.client)
        far = (self._way.server, *children(self._way.server))
        return near, sum(cpu_s(pid, with_children=True) for pid in far)

    def level(self, *options: str) -> Cost:
        """One run."""
        os.sync()
        command = ["rsync", "--inplace", "-z", "--zc=zstd", "--zl=1", "--stats", "--ignore-times", *options]
        before, began = self._processors(), time.monotonic()
        ended = subprocess.run(
            [*command, *self._words], check=True, capture_output=True, text=True, timeout=WAIT_S
        )
        took = time.monotonic() - began
        near_s, far_s = (late - early for late, early in zip(self._processors(), before, strict=True))
        sent = re.search(r"Total bytes sent: ([\d,]+)", ended.stdout)
        return Cost(took, int(sent[1].replace(",", "")) / 1e6 if sent else 0.0, near_s, far_s)


def rsync(options: argparse.Namespace, number: int) -> dict[str, Cost]:
    """The same with rsync."""
    sshd = find_sshd()
    if sshd is None:
        raise SystemExit("sshd is not installed")
    with tempfile.TemporaryDirectory(prefix="drsync-bench-", dir=options.dir) as folder:
        room = Path(folder)
        source = room / "source.img"
        with source.open("wb") as file:
            file.truncate(options.mib * MIB)
            _write(file.fileno(), content(options, number))
        with connection(room, sshd) as way:
            other = Other(way, source, room / "target.img")
            seed = other.level("-S")
            with source.open("r+b") as file:
                _write(file.fileno(), iter(pages(options, number)))
            return {"seed": seed, "1 %": other.level("--no-whole-file")}


def _write(handle: int, data: Iterator[tuple[int, bytes]]) -> None:
    for at, piece in data:
        os.pwrite(handle, piece, at)


async def run(options: argparse.Namespace) -> dict[tuple[str, str], list[Cost]]:
    """Costs of the runs by way and story."""
    found: dict[tuple[str, str], list[Cost]] = {}
    for number in range(options.runs):
        for way, result in zip(WAYS, (await ours(options, number), rsync(options, number)), strict=True):
            for what, cost in result.items():
                found.setdefault((way, what), []).append(cost)
    return found


def main() -> None:
    own = parser(__doc__, seconds=0.0, runs=1)
    own.add_argument("--mib", type=int, default=512, help="size of the volume; --seconds means nothing here")
    own.add_argument("--b1", action="store_true", help="a sparse disk image; --mib 8192 is the issue's")
    options = own.parse_args()
    require_tools("rsync", "ssh")
    found = asyncio.run(run(options))
    figures = [
        Figure(
            way,
            what,
            **medians([cost._asdict() for cost in costs]),
            seconds_runs=[cost.seconds for cost in costs],
            mb_runs=[cost.mb for cost in costs],
        )
        for (way, what), costs in found.items()
    ]
    print(f"{options.mib} MiB{', five eighths of it stored' if options.b1 else ''}")
    for figure in figures:
        print(
            f"{figure.what:<6}{figure.way:<10}{figure.seconds:>8.2f} s{figure.mb:>10.1f} MB"
            f"{figure.near_s:>8.2f} + {figure.far_s:.2f} s of processor"
        )
    for what in dict.fromkeys(what for _, what in found):
        pairs = list(zip(*(found[way, what] for way in WAYS), strict=True))
        speed = statistics.median(other.seconds / us.seconds for us, other in pairs)
        size = statistics.median(us.mb / other.mb for us, other in pairs)
        print(f"{what:<6}{speed:.2f} times as fast as rsync -z, {size:.2f} of its bytes")
    write_json(options, [asdict(figure) for figure in figures])


if __name__ == "__main__":
    main()
