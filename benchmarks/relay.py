"""A relay beside the owner it leads to, by fio's nbd engine: 4 KiB random, 1 MiB in order, written and read.

    python benchmarks/relay.py [--seconds 3] [--runs 3] [--depths 1,16,64] [--json FILE]

The owner is a plain file behind drsync's own NBD server, or memory with --memory; nothing is journalled, so
that the relay's share is as large as it can get. With --pair it is a real owner with its mate in sync. Direct
and relayed runs take turns on the same server.
"""

import argparse
import asyncio
import signal
import statistics
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop
from _cluster import Group, centers
from _fio import fio, running, unix_uri
from _machine import MIB, cpu_s, medians, parser, require_tools, write_json
from nbd_front import FileDevice, MemoryBytes

from drsync.adapters.nbd.server import Server
from drsync.lab.layout import CENTER_NAMES
from drsync.model import served
from drsync.model.epoch import Epoch
from drsync.model.served import Served
from drsync.ports.volume import BlockDevice

GROUP, VOLUME = "bench", "disk"


class Owner:
    """One export that says it is an owner's."""

    def __init__(self, device: BlockDevice) -> None:
        self._device = device

    def names(self) -> list[str]:
        return [VOLUME]

    def describe(self, name: str) -> str:
        return served.describe(name, GROUP, Served(Epoch(1)))

    def find(self, name: str) -> BlockDevice | None:
        return self._device if name == VOLUME else None


@dataclass(frozen=True)
class Figure:
    """One cell: medians over the runs; `ratio` is the median of relayed by direct within each run.

    `relay_cpu_us` is the relay's processor time for each request.
    """

    work: str
    depth: int
    direct_iops: float
    relay_iops: float
    ratio: float
    direct_p50_us: float
    relay_p50_us: float
    relay_p99_us: float
    relay_cpu_us: float


async def serve(path: Path, device: BlockDevice) -> None:
    server = Server(Owner(device), path)
    await server.start()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    await server.stop()


def bare(options: argparse.Namespace, room: Path) -> list[Figure]:
    """An owner that journals nothing."""
    data, owner = room / "data", room / "owner"
    with data.open("wb") as file:
        file.truncate(options.size_mib * MIB)
    kind = ["--memory"] if options.memory else ["--file", str(data)]
    server = [sys.executable, __file__, "--serve", str(owner), "--size-mib", str(options.size_mib), *kind]
    uri = unix_uri(owner, VOLUME)
    with running(server, owner):
        return compare(options, room, GROUP, VOLUME, uri, f"unix:{room}/none")


async def pair(options: argparse.Namespace, room: Path) -> list[Figure]:
    """A real owner with the same-city center in sync."""
    async with centers(options.dir, CENTER_NAMES[:2]) as running_centers:
        group = Group(GROUP, CENTER_NAMES[:2], "sync", 1, options.size_mib)
        (uri,) = await running_centers.serve(group)
        return compare(options, room, GROUP, group.volume_names[0], uri, running_centers.url)


def compare(
    options: argparse.Namespace, room: Path, group: str, volume: str, uri: str, coordinator: str
) -> list[Figure]:
    relay = room / "relay"
    attach = [sys.executable, "-m", "drsync.cli.main", "attach", f"{group}/{volume}", "--socket", str(relay)]
    attach += ["--center", f"production={uri}", "--coordinator", coordinator]
    works = [(work, int(d), 4096) for work in ("randwrite", "randread") for d in options.depths.split(",")]
    works += [("write", 4, MIB), ("read", 4, MIB)]
    found: dict[tuple[str, int, str], list[dict[str, float]]] = {}
    with running(attach, relay) as pid:
        fio([uri], "write", 4, MIB, 0)
        for _ in range(options.runs):
            for work, depth, block in works:
                for name, address in (("direct", uri), ("relay", unix_uri(relay, volume))):
                    label = work if block == 4096 else f"{work} 1 MiB"
                    before = cpu_s(pid)
                    done = fio([address], work, depth, block, options.seconds)
                    done["cpu_us"] = (cpu_s(pid) - before) / done["count"] * 1e6
                    found.setdefault((label, depth, name), []).append(done)
    cells = dict.fromkeys((work, depth) for work, depth, _ in found)
    return [_figure(*cell, found[*cell, "direct"], found[*cell, "relay"]) for cell in cells]


def _figure(work: str, depth: int, direct: list[dict[str, float]], relay: list[dict[str, float]]) -> Figure:
    ratios = [one["iops"] / other["iops"] for one, other in zip(relay, direct, strict=True)]
    alone, led = medians(direct), medians(relay)
    return Figure(
        work,
        depth,
        alone["iops"],
        led["iops"],
        statistics.median(ratios),
        alone["p50_us"],
        led["p50_us"],
        led["p99_us"],
        led["cpu_us"],
    )


def table(figures: list[Figure]) -> str:
    head = f"{'work':<14}{'depth':>5}{'direct IOPS':>13}{'relay IOPS':>12}{'ratio':>7}"
    head += f"{'p50 us':>16}{'p99 us':>8}{'cpu us':>8}"
    lines = [
        f"{f.work:<14}{f.depth:>5}{f.direct_iops:>13.0f}{f.relay_iops:>12.0f}{f.ratio:>7.2f}"
        f"{f.direct_p50_us:>9.0f} → {f.relay_p50_us:>4.0f}{f.relay_p99_us:>8.0f}{f.relay_cpu_us:>8.1f}"
        for f in figures
    ]
    return "\n".join([head, *lines])


def main() -> None:
    own = parser(__doc__, seconds=3.0, runs=3)
    own.add_argument("--depths", default="1,16,64")
    own.add_argument("--size-mib", type=int, default=1024)
    own.add_argument("--memory", action="store_true", help="the owner serves memory instead of a file")
    own.add_argument("--pair", action="store_true", help="a real owner, with the same-city center in sync")
    own.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    own.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = own.parse_args()
    if options.serve:
        device = MemoryBytes(options.size_mib * MIB) if options.memory else FileDevice(options.file)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(options.serve, device))
        return
    require_tools("fio")
    with tempfile.TemporaryDirectory(dir=options.dir) as room:
        home = Path(room)
        figures = asyncio.run(pair(options, home)) if options.pair else bare(options, home)
    print(table(figures))
    write_json(options, [asdict(f) for f in figures])


if __name__ == "__main__":
    main()
