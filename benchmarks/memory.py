"""Memory of the coordinator and of each agent: idle, under load, after it; and what they use when idle.

    python benchmarks/memory.py [--seconds 10] [--idle-seconds 20] [--volumes 1,10] [--size-mib 1024]

Three centers protect one group of so many volumes (same_city in sync, remote asynchronously); each number of
volumes gets new processes. The load is 4 KiB random writes, 16 at a time on each volume. Resident memory by
/proc/PID/status: "idle" when everybody follows and rests, "load" the median of what was seen meanwhile,
"after" when everybody rests again, "peak" the largest at any time; "private" is the part of "after" that is
not backed by files, so that other processes do not share it; "idle %" is the share of a core that is used
while nobody writes.
"""

import argparse
import asyncio
import statistics
import threading
import time
from dataclasses import asdict, dataclass

from _cluster import Group, centers
from _fio import fio
from _machine import cpu_s, drop_caches, memory, parser, require_tools, settle, write_json

from drsync.lab.layout import CENTER_NAMES

SAMPLE_S = 0.2
DEPTH = 16
BLOCK = 4096


@dataclass(frozen=True)
class Figure:
    """One process with one number of volumes; MiB resident."""

    volumes: int
    process: str
    idle: float
    load: float
    after: float
    peak: float
    private: float
    idle_percent: float
    iops: float


async def measure(volumes: int, options: argparse.Namespace) -> list[Figure]:
    async with centers(options.dir) as cluster:
        group = Group("memory", CENTER_NAMES, "sync", volumes, options.size_mib, more={"checkpoint": "5s"})
        uris = await cluster.serve(group)
        pids = cluster.pids
        settle(list(pids.values()))
        idle = {name: memory(pid) for name, pid in pids.items()}
        idle_percent = await asyncio.to_thread(rest, pids, options.idle_seconds)
        drop_caches()
        iops, loaded = await asyncio.to_thread(load, uris, pids, options.seconds)
        settle(list(pids.values()))
        after = {name: memory(pid) for name, pid in pids.items()}
    return [
        Figure(
            volumes,
            name,
            idle[name].rss,
            statistics.median(loaded[name]),
            after[name].rss,
            after[name].peak,
            after[name].private,
            idle_percent[name],
            iops,
        )
        for name in pids
    ]


def rest(pids: dict[str, int], seconds: float) -> dict[str, float]:
    """Percent of a core that each process uses while nobody writes."""
    before = {name: cpu_s(pid) for name, pid in pids.items()}
    time.sleep(seconds)
    return {name: (cpu_s(pid) - before[name]) / seconds * 100 for name, pid in pids.items()}


def load(uris: list[str], pids: dict[str, int], seconds: float) -> tuple[float, dict[str, list[float]]]:
    """Write to all volumes; IOPS of all together, and what each process was seen to hold."""
    seen: dict[str, list[float]] = {name: [memory(pid).rss] for name, pid in pids.items()}
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(SAMPLE_S):
            for name, pid in pids.items():
                seen[name].append(memory(pid).rss)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        figures = fio(uris, "randwrite", DEPTH, BLOCK, seconds)
    finally:
        ended.set()
        watching.join()
    return figures["iops"], seen


def table(figures: list[Figure]) -> str:
    head = f"{'volumes':>7}  {'process':<12}{'idle':>7}{'load':>7}{'after':>7}{'peak':>7}{'private':>9}   MiB"
    lines = [f"{head}{'idle %':>9}"]
    lines += [
        f"{f.volumes:>7}  {f.process:<12}{f.idle:>7.0f}{f.load:>7.0f}{f.after:>7.0f}"
        f"{f.peak:>7.0f}{f.private:>9.0f}{f.idle_percent:>15.2f}"
        for f in figures
    ]
    rates = {f.volumes: f.iops for f in figures}
    lines += [f"written with {volumes} volumes: {iops:.0f} IOPS" for volumes, iops in rates.items()]
    return "\n".join(lines)


def main() -> None:
    own = parser(__doc__, seconds=10.0, runs=1)
    own.add_argument("--volumes", default="1,10")
    own.add_argument("--idle-seconds", type=float, default=20.0)
    own.add_argument("--size-mib", type=int, default=1024)
    options = own.parse_args()
    require_tools("fio")
    figures = [
        figure
        for number in options.volumes.split(",")
        for figure in asyncio.run(measure(int(number), options))
    ]
    print(table(figures))
    write_json(options, [asdict(f) for f in figures])


if __name__ == "__main__":
    main()
