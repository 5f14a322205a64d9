"""How fast a center is brought level by blocks, beside `rsync --inplace` over ssh with the same content.

    python benchmarks/resync.py [--mib 512] [--runs 1] [--json FILE]

seed      the target has nothing; the journal begins later, so that blocks are sent
1 %       the target was away while one page in a hundred was written, until the journal let go

Real centers over SSH on loopback. The clock runs from the first word about the session until the target
stands at its end, with everything read back, compared and switched; heartbeats tell both at once. rsync reads
both files to find what changed; its clock is that of its process, over a connection that stands. Half of the
content is text-like, half is random. Bytes are those of bodies as they went out, and what rsync says it sent.
"""

import argparse
import asyncio
import random
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from _cluster import Centers, Group, centers
from _machine import MIB, medians, parser, require_tools, write_json
from _sshd import connection, find_sshd

from drsync.adapters.api_client.doc import Doc
from drsync.lab.importing import connected
from drsync.lab.layout import PRODUCTION, REMOTE

PAGE = 4096
SHARE = 100  # one page in so many changes
QUOTA_MIB = 200  # because a journal has segments of 64 MiB
WAIT_S = 120.0


@dataclass(frozen=True)
class Figure:
    """Medians over the runs. Seconds, and bytes on the line."""

    way: str
    what: str
    seconds: float
    mb: float


def content(mib: int, seed: int) -> bytes:
    """Half of it shrinks as text does."""
    dice = random.Random(seed)
    words = [dice.randbytes(8).hex().encode() for _ in range(2000)]
    text = b" ".join(dice.choices(words, k=MIB // 17 + 1))[:MIB].ljust(MIB)
    return b"".join(text if number % 2 else dice.randbytes(MIB) for number in range(mib))


def pages(mib: int, seed: int) -> list[tuple[int, bytes]]:
    """The pages that change, and what becomes of them."""
    dice = random.Random(seed)
    chosen = dice.sample(range(mib * MIB // PAGE), mib * MIB // PAGE // SHARE)
    return [(number * PAGE, dice.randbytes(PAGE)) for number in sorted(chosen)]


class Place:
    """A group of two centers, and its remote one."""

    def __init__(self, running: Centers, group: Group, uri: str) -> None:
        self.running, self.group, self.uri = running, group, uri
        self.sessions = 0
        self.wire = 0

    async def remote(self) -> Doc:
        return (await self.running.status()).doc("groups").doc(self.group.name).doc("centers").doc(REMOTE)

    async def away(self) -> None:
        await self.running.cluster.stop(REMOTE, is_kind=False)

    def wipe(self) -> None:
        for path in self.running.cluster.layout.root.rglob("groups"):
            if REMOTE in path.parts:
                shutil.rmtree(path)

    async def fill(self, at: int, data: bytes) -> None:
        async with connected(self.uri) as client:
            for start in range(0, len(data), MIB):
                await client.write(at + start, data[start : start + MIB])
            await client.flush()

    async def change(self, changed: list[tuple[int, bytes]], until_bytes: int) -> None:
        async with connected(self.uri) as client:
            for _ in range(max(1, until_bytes // (len(changed) * PAGE))):
                for batch in range(0, len(changed), 64):
                    await asyncio.gather(*(client.write(*one) for one in changed[batch : batch + 64]))
            await client.flush()

    async def level(self) -> tuple[float, float]:
        """Start the remote center: seconds of its session, and 10^6 bytes of it."""
        self.running.cluster.start(REMOTE)
        began, deadline = 0.0, time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            state = await self.remote()
            now = time.monotonic()
            began = began or (now if state.doc("resync") else 0.0)
            if state.doc("resynced").whole("sessions") > self.sessions:
                wire = state.doc("resynced").whole("wire_bytes")
                sent, self.wire, self.sessions = wire - self.wire, wire, self.sessions + 1
                return now - (began or now), sent / 1e6
            await asyncio.sleep(0.02)
        raise SystemExit(f"{REMOTE} was not brought level in {WAIT_S:g} s")


async def ours(options: argparse.Namespace, number: int) -> dict[str, tuple[float, float]]:
    """Seconds and 10^6 bytes of each story."""
    quota = {"quota": f"{QUOTA_MIB} MiB", "compress": True}
    group = Group(f"bench{number}", (PRODUCTION, REMOTE), "async", 1, options.mib, more=quota)
    async with centers(options.dir, (PRODUCTION, REMOTE)) as running:
        (uri,) = await running.serve(group)
        place = Place(running, group, uri)
        await place.away()
        place.wipe()
        await place.fill(0, content(options.mib, number))
        seed = await place.level()
        await running.wait_ready(group)
        await place.away()
        await place.change(pages(options.mib, number + 1000), 2 * QUOTA_MIB * MIB)
        return {"seed": seed, "1 %": await place.level()}


def rsync(options: argparse.Namespace, number: int) -> dict[str, tuple[float, float]]:
    """The same with rsync."""
    sshd = find_sshd()
    if sshd is None:
        raise SystemExit("sshd is not installed")
    with tempfile.TemporaryDirectory(prefix="drsync-bench-", dir=options.dir) as folder:
        room = Path(folder)
        source, target = room / "source.img", room / "target.img"
        source.write_bytes(content(options.mib, number))
        with connection(room, sshd) as way:
            *over, host = way.options

            def once() -> tuple[float, float]:
                command = ["rsync", "--inplace", "--no-whole-file", "-z", "--stats", "--ignore-times"]
                began = time.monotonic()
                ended = subprocess.run(
                    [*command, "-e", " ".join(["ssh", *over]), str(source), f"{host}:{target}"],
                    check=True, capture_output=True, text=True, timeout=600,
                )  # fmt: skip
                took = time.monotonic() - began
                sent = re.search(r"Total bytes sent: ([\d,]+)", ended.stdout)
                return took, int(sent[1].replace(",", "")) / 1e6 if sent else 0.0

            seed = once()
            with source.open("r+b") as file:
                for offset, data in pages(options.mib, number + 1000):
                    file.seek(offset)
                    file.write(data)
            return {"seed": seed, "1 %": once()}


async def run(options: argparse.Namespace) -> list[Figure]:
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    for number in range(options.runs):
        for way, result in (("drsync", await ours(options, number)), ("rsync -z", rsync(options, number))):
            for what, (seconds, mb) in result.items():
                found.setdefault((way, what), []).append({"seconds": seconds, "mb": mb})
    return [Figure(way, what, **medians(runs)) for (way, what), runs in found.items()]


def main() -> None:
    own = parser(__doc__, seconds=0.0, runs=1)
    own.add_argument("--mib", type=int, default=512, help="size of the volume; --seconds means nothing here")
    options = own.parse_args()
    require_tools("rsync", "ssh")
    figures = asyncio.run(run(options))
    print(f"{options.mib} MiB")
    for figure in figures:
        print(f"{figure.what:<6}{figure.way:<10}{figure.seconds:>8.2f} s{figure.mb:>10.1f} MB")
    write_json(options, [asdict(figure) for figure in figures])


if __name__ == "__main__":
    main()
