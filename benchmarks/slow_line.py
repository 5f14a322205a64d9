"""A line of 10 MB/s between owner and replica: how soon content is at the other end, compressed and as it is.

    python benchmarks/slow_line.py [--runs 1] [--mib 64] [--mb-s 10] [--json FILE]

Production owns an asynchronous group that remote follows over SSH through a forwarder that lets so many bytes
pass per second. `--mib` of content are written as fast as they are answered; the clock stops when remote has
confirmed all of it as durable, as far as heartbeats tell, which come each second. `x line` compares with the
line. Text is words in no order, random does not shrink, half takes turns between both, 64 KiB each.
"""

import argparse
import asyncio
import os
import random
import time
from dataclasses import asdict, dataclass

from _cluster import Centers, Group, centers, has_everything
from _machine import MIB, cpu_s, medians, parser, write_json
from _throttle import Throttle

from drsync.adapters.nbd.client import NbdClient
from drsync.lab.cluster import Cluster
from drsync.lab.layout import PRODUCTION, REMOTE
from drsync.lab.ports import HOST

PIECE = 256 << 10
KINDS = ("text", "half", "random")


@dataclass(frozen=True)
class Figure:
    """Medians over the runs. MB is 10^6 bytes of payload."""

    content: str
    compress: bool
    mb_s: float
    x_line: float
    ratio: float
    owner_cpu_s_per_gb: float
    remote_cpu_s_per_gb: float
    mb_s_runs: list[float]


def content(kind: str, size: int) -> bytes:
    """So many bytes of that kind."""
    if kind == "random":
        return os.urandom(size)
    dice = random.Random(7)
    words = [bytes(dice.choices(b"abcdefghijklmnopqrstuvwxyz", k=dice.randint(3, 9))) for _ in range(5000)]
    text = b" ".join(dice.choices(words, k=size // 4))[:size]
    if kind == "text":
        return text
    step = 64 << 10
    return b"".join(
        text[at : at + step] if at // step % 2 else os.urandom(step) for at in range(0, size, step)
    )


async def follow(running: Centers, group: str, since: float) -> tuple[bool, float]:
    """Whether remote has everything, by words spoken after `since`; how its batches were packed."""
    known = (await running.status()).doc("groups").doc(group).doc("centers")
    now = time.monotonic()
    is_new = all(now - known.doc(name).number("heard_s", 9.0) > since for name in (PRODUCTION, REMOTE))
    ratio = known.doc(REMOTE).doc("compression").number("ratio", 1.0)
    return is_new and has_everything(known.doc(REMOTE)), ratio


async def one(
    running: Centers, kind: str, options: argparse.Namespace, *, compress: bool
) -> dict[str, float]:
    """Write everything, and wait for it at the other end."""
    name = f"{kind}-{'zstd' if compress else 'raw'}-{time.monotonic_ns()}"
    group = Group(
        name, (PRODUCTION, REMOTE), "async", 1, options.mib, more={"compress": compress, "max_pace": "0s"}
    )
    (uri,) = await running.serve(group)
    data = content(kind, options.mib * MIB)
    client = await NbdClient.connect(uri, connect_seconds=10.0, request_seconds=60.0)
    pids = [running.pids[PRODUCTION], running.pids[REMOTE]]
    before = [cpu_s(pid) for pid in pids]
    began = time.monotonic()
    for at in range(0, len(data), PIECE):
        await client.write(at, data[at : at + PIECE])
    await client.flush()
    client.abort()
    written = time.monotonic()
    is_there, ratio = False, 1.0
    while not is_there:
        is_there, ratio = await follow(running, name, written)
        await asyncio.sleep(0.05)
    took = time.monotonic() - began
    used = [(cpu_s(pid) - cpu) / len(data) * 1e9 for pid, cpu in zip(pids, before, strict=True)]
    rate = len(data) / took / 1e6
    return {
        "mb_s": rate,
        "x_line": rate / options.mb_s,
        "ratio": ratio,
        "owner_cpu_s_per_gb": used[0],
        "remote_cpu_s_per_gb": used[1],
    }


def rewire(cluster: Cluster, port: int) -> None:
    """Production reaches remote at another port."""
    path, old = cluster.layout.config(PRODUCTION), f'"{HOST}:{cluster.record.ports[REMOTE]}"'
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, f'"{HOST}:{port}"'))


async def run(options: argparse.Namespace) -> list[Figure]:
    throttles: list[Throttle] = []

    async def between(cluster: Cluster) -> None:
        throttle = Throttle(cluster.record.ports[REMOTE], options.mb_s * 1e6)
        throttles.append(throttle)
        await throttle.start()
        rewire(cluster, throttle.port)

    found: dict[tuple[str, bool], list[dict[str, float]]] = {}
    async with centers(options.dir, (PRODUCTION, REMOTE), between) as running:
        for _ in range(options.runs):
            for kind in KINDS:
                for compress in (False, True):
                    found.setdefault((kind, compress), []).append(
                        await one(running, kind, options, compress=compress)
                    )
    for throttle in throttles:
        await throttle.stop()
    return [
        Figure(kind, compress, **medians(runs), mb_s_runs=[run["mb_s"] for run in runs])
        for (kind, compress), runs in found.items()
    ]


def table(figures: list[Figure]) -> str:
    lines = [
        f"{'content':<9}{'':<6}{'MB/s':>7}{'x line':>8}{'ratio':>7}{'owner s/GB':>12}{'remote s/GB':>13}"
    ]
    lines += [
        f"{f.content:<9}{'zstd' if f.compress else 'as is':<6}{f.mb_s:>7.1f}{f.x_line:>8.2f}{f.ratio:>7.2f}"
        f"{f.owner_cpu_s_per_gb:>12.1f}{f.remote_cpu_s_per_gb:>13.1f}"
        for f in figures
    ]
    return "\n".join(lines)


def main() -> None:
    own = parser(__doc__, seconds=0.0, runs=1)
    own.add_argument("--mib", type=int, default=64, help="content of each run; --seconds means nothing here")
    own.add_argument("--mb-s", type=float, default=10.0, help="what the line carries, 10^6 bytes per second")
    options = own.parse_args()
    figures = asyncio.run(run(options))
    print(f"{options.mib} MiB through a line of {options.mb_s:g} MB/s")
    print(table(figures))
    write_json(options, [asdict(f) for f in figures])


if __name__ == "__main__":
    main()
