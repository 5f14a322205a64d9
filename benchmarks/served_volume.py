"""A served volume of real centers, beside nbdkit's file plugin: random writes and reads of 4 KiB, and others.

    python benchmarks/served_volume.py [--seconds 2] [--runs 3] [--depths 1,16,64] [--works …] [--json FILE]

alone           a group whose only member is production: journalled, not replicated
pair            production and same_city in sync over SSH: a write is answered when both have it
pair+remote     the same, and remote follows asynchronously
nbdkit          nbdkit's file plugin on a plain file: no journal, no replication
mirror          qemu-storage-daemon, whose mirror job answers a write when a second daemon has it: no journal

`--works` may name `write 1m` and `read 1m` as well, which are sequential and four deep, and `write 64k`,
sixteen deep, which is measured after 8 s of the same.

All are filled with the same amount of random data first. For each cell the candidates take turns, in another
order in each run; before each turn everybody has finished what he had to do and the page cache is dropped,
when that is allowed. Warm reads come after the whole volume was read once. A ratio compares with nbdkit of
the same run.
"""

import argparse
import asyncio
import statistics
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from _cluster import Centers, Group, centers
from _fio import fio, running, unix_uri
from _machine import MIB, cpu_s, drop_caches, medians, parser, require_tools, settle, write_json
from _qemu import mirror, why_not

from drsync.lab.layout import CENTER_NAMES, PRODUCTION, REMOTE, SAME_CITY

PEER, MIRROR = "nbdkit", "mirror"
VARIANTS = {
    "alone": ((PRODUCTION,), "async"),
    "pair": ((PRODUCTION, SAME_CITY), "sync"),
    "pair+remote": ((PRODUCTION, SAME_CITY, REMOTE), "sync"),
}
WARM = "warm randread"
BLOCK = 4096


class Stream(NamedTuple):
    """A sequential work: bytes a request, requests in flight, seconds of the same before it is measured."""

    block: int
    depth: int
    ahead_s: float = 0.0


AHEAD_S = 8.0
"""Because journals write over their files when the first window of recovery points has passed, and take new
pages until then. Every candidate of a cell gets the same."""
SEQUENTIAL = {
    "write 1m": Stream(MIB, 4),
    "read 1m": Stream(MIB, 4),
    "write 64k": Stream(64 << 10, 16, AHEAD_S),
}
RANDOM = ("randwrite", "randread", WARM)
WORKS = (*RANDOM, *SEQUENTIAL)


@dataclass(frozen=True)
class Figure:
    """One cell: medians over the runs; `cpu_us` is processor time by process, per request."""

    work: str
    depth: int
    candidate: str
    iops: float
    p50_us: float
    p99_us: float
    ratio: float
    mib_s: float
    iops_runs: list[float]
    cpu_us: dict[str, float]


@dataclass(frozen=True)
class Candidate:
    """Somebody who serves a volume, and the processes that work for it."""

    uri: str
    pids: dict[str, int]


Run = dict[str, float]
Found = dict[tuple[str, int, str], list[Run]]


def measure(
    candidates: dict[str, Candidate], options: argparse.Namespace, be_ready: Callable[[], None]
) -> Found:
    """All cells, the candidates taking turns."""
    found: Found = {}
    names = list(candidates)
    for run in range(options.runs):
        order = names[run % len(names) :] + names[: run % len(names)]
        for work in options.works.split(","):
            depths = [SEQUENTIAL[work].depth] if work in SEQUENTIAL else map(int, options.depths.split(","))
            for depth in depths:
                for name in order:
                    be_ready()
                    found.setdefault((work, depth, name), []).append(
                        one(candidates[name], work, depth, options.seconds)
                    )
    return found


def one(candidate: Candidate, work: str, depth: int, seconds: float) -> Run:
    if work == WARM:
        fio([candidate.uri], "read", 4, MIB // 4, 0)
    stream = SEQUENTIAL.get(work, Stream(BLOCK, depth))
    kind = work.split(maxsplit=1)[0] if work in SEQUENTIAL else work.removeprefix("warm ")
    if stream.ahead_s:
        fio([candidate.uri], kind, depth, stream.block, stream.ahead_s)
    before = {name: cpu_s(pid) for name, pid in candidate.pids.items()}
    figures = fio([candidate.uri], kind, depth, stream.block, seconds)
    for name, pid in candidate.pids.items():
        figures[f"cpu {name}"] = (cpu_s(pid) - before[name]) * 1e6 / max(figures["count"], 1)
    return figures


def summarize(found: Found) -> list[Figure]:
    figures = []
    for (work, depth, name), runs in found.items():
        cell = medians(runs)
        peers = found.get((work, depth, PEER), [])
        ratios = [run["iops"] / peer["iops"] for run, peer in zip(runs, peers, strict=bool(peers))]
        figures.append(
            Figure(
                work,
                depth,
                name,
                cell["iops"],
                cell["p50_us"],
                cell["p99_us"],
                statistics.median(ratios) if ratios else 0.0,
                cell["mib_s"],
                [run["iops"] for run in runs],
                {key.removeprefix("cpu "): value for key, value in cell.items() if key.startswith("cpu ")},
            )
        )
    return sorted(figures, key=lambda f: (WORKS.index(f.work), f.depth))


def table(figures: list[Figure]) -> str:
    head = f"{'work':<14}{'depth':>5}  {'candidate':<13}{'IOPS':>8}{'least':>8}{'most':>8}"
    lines = [head + f"{'x nbdkit':>9}{'p50 us':>8}{'p99 us':>8}  cpu us per request"]
    for f in figures:
        cpu = ", ".join(f"{name} {value:.0f}" for name, value in f.cpu_us.items() if value >= 0.5)
        lines.append(
            f"{f.work:<14}{f.depth:>5}  {f.candidate:<13}{f.iops:>8.0f}{min(f.iops_runs):>8.0f}"
            f"{max(f.iops_runs):>8.0f}{f.ratio:>9.2f}{f.p50_us:>8.0f}{f.p99_us:>8.0f}  {cpu}"
        )
    return "\n".join(lines)


async def serve_all(
    options: argparse.Namespace, cluster: Centers, stack: ExitStack, room: Path
) -> dict[str, Candidate]:
    """Start and fill every candidate that was asked for."""
    candidates: dict[str, Candidate] = {}
    for name in options.candidates.split(","):
        if name == PEER:
            data, socket = room / "data", room / "s"
            with data.open("wb") as file:
                file.truncate(options.size_mib * MIB)
            pid = stack.enter_context(running(["nbdkit", "-f", "-U", str(socket), "file", str(data)], socket))
            candidates[name] = Candidate(unix_uri(socket), {PEER: pid})
        elif name == MIRROR:
            if why_not():
                print(f"without {MIRROR}: {why_not()}")
                continue
            uri, pids = stack.enter_context(mirror(room, options.size_mib * MIB))
            candidates[name] = Candidate(uri, pids)
        else:
            members, mode = VARIANTS[name]
            group = Group(name.replace("+", "-"), members, mode, 1, options.size_mib, options.durability)
            (uri,) = await cluster.serve(group)
            candidates[name] = Candidate(uri, {member: cluster.pids[member] for member in members})
        if not options.blank:
            await asyncio.to_thread(fio, [candidates[name].uri], "write", 4, MIB // 4, 0)
    return candidates


async def run(options: argparse.Namespace) -> list[Figure]:
    with ExitStack() as stack:
        room = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="drsync-bench-", dir=options.dir)))
        async with centers(options.dir, CENTER_NAMES) as cluster:
            candidates = await serve_all(options, cluster, stack, room)
            pids = list(cluster.pids.values())

            def be_ready() -> None:
                settle(pids)
                options.caches_dropped = drop_caches()

            found = await asyncio.to_thread(measure, candidates, options, be_ready)
    return summarize(found)


def main() -> None:
    own = parser(__doc__, seconds=2.0, runs=3)
    own.add_argument("--depths", default="1,16,64")
    own.add_argument("--size-mib", type=int, default=1024)
    own.add_argument("--candidates", default=f"alone,pair,pair+remote,{PEER},{MIRROR}")
    own.add_argument("--works", default=",".join(RANDOM), help=f"of {', '.join(WORKS)}")
    own.add_argument("--durability", choices=["append", "fsync"], default="append")
    own.add_argument("--blank", action="store_true", help="do not fill the volumes first")
    options = own.parse_args()
    unknown = [work for work in options.works.split(",") if work not in WORKS]
    if unknown:
        own.error(f"no such work: {', '.join(unknown)}; there are {', '.join(WORKS)}")
    require_tools("fio", "nbdkit")
    figures = asyncio.run(run(options))
    print(table(figures))
    if not options.caches_dropped:
        print("The page cache could not be dropped: candidates are ranked wrongly. Run it as root.")
    write_json(options, [asdict(f) for f in figures])


if __name__ == "__main__":
    main()
