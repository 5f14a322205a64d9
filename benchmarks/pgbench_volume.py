"""PostgreSQL on ext4 on a protected volume, beside the same database on a plain file, with pgbench.

    python benchmarks/pgbench_volume.py [--seconds 5] [--runs 3] [--clients 1,8] [--json FILE]

loop file   ext4 on a loop device on a plain file: what the machine can do, one copy
nbdkit      ext4 on a loop device on nbdfuse on nbdkit's file plugin: the way to a served volume, one copy
pair        the same way to a volume of drsync; production and same_city in sync over SSH

pgbench's standard transactions (three updates, a select, an insert, a commit that waits for its flush) on
databases of one size, all servers running, the candidates taking turns in another order in each run. Before
each turn everybody has finished what he had to do and the database has made a checkpoint. A ratio compares
with the loop file of the same run. Needs root, PostgreSQL, nbdfuse and loop devices.
"""

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from _cluster import Centers, Group, centers
from _fio import running, unix_uri
from _machine import MIB, cpu_s, medians, mount_alone, parser, require_tools, settle, write_json

from drsync.lab.layout import PRODUCTION, SAME_CITY

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the proofs run the same servers

from tests.integration import disks
from tests.integration.disks import BlockDevice
from tests.proofs.database import ADMIN, NAME, Database, database, why_not

LOOP, NBDKIT, PAIR = "loop file", "nbdkit", "pair"
MEMBERS = (PRODUCTION, SAME_CITY)
BUFFERS = "64MB"

Run = dict[str, float]
Found = dict[tuple[int, str], list[Run]]


@dataclass(frozen=True)
class Figure:
    """One cell: medians over the runs; `cpu_us` is processor time by process, per transaction."""

    clients: int
    candidate: str
    tps: float
    latency_ms: float
    ratio: float
    tps_runs: list[float]
    cpu_us: dict[str, float]


@dataclass(frozen=True)
class Candidate:
    """A database, and the processes that work for its disk."""

    server: Database
    pids: dict[str, int]


def bench(server: Database, clients: int, seconds: float) -> Run:
    """One pgbench run."""
    options = ["-n", "-c", str(clients), "-j", str(min(clients, 2)), "-T", str(max(1, round(seconds)))]
    done = subprocess.run(server.bench(*options), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"pgbench failed: {done.stderr.strip() or done.stdout.strip()}\n{server.words()}")
    words = {
        line.split("=")[0].strip(): line.split("=")[1].split()[0]
        for line in done.stdout.splitlines()
        if "=" in line
    }
    return {"tps": float(words["tps"]), "latency_ms": float(words["latency average"])}


def one(candidate: Candidate, clients: int, seconds: float) -> Run:
    """A turn of a candidate."""
    before = {name: cpu_s(pid) for name, pid in candidate.pids.items()}
    figures = bench(candidate.server, clients, seconds)
    count = max(1.0, figures["tps"] * max(1, round(seconds)))
    for name, pid in candidate.pids.items():
        figures[f"cpu {name}"] = (cpu_s(pid) - before[name]) * 1e6 / count
    return figures


def measure(
    candidates: dict[str, Candidate], options: argparse.Namespace, be_ready: Callable[[], None]
) -> Found:
    """All cells, the candidates taking turns."""
    found: Found = {}
    names = list(candidates)
    for run in range(options.runs):
        order = names[run % len(names) :] + names[: run % len(names)]
        for clients in map(int, options.clients.split(",")):
            for name in order:
                candidates[name].server.sql("CHECKPOINT")
                be_ready()
                found.setdefault((clients, name), []).append(one(candidates[name], clients, options.seconds))
    return found


def summarize(found: Found) -> list[Figure]:
    figures = []
    for (clients, name), runs in sorted(found.items()):
        cell = medians(runs)
        peers = found.get((clients, LOOP), [])
        ratios = [run["tps"] / peer["tps"] for run, peer in zip(runs, peers, strict=bool(peers))]
        cpu = {key.removeprefix("cpu "): value for key, value in cell.items() if key.startswith("cpu ")}
        ratio = statistics.median(ratios) if ratios else 0.0
        figures.append(
            Figure(clients, name, cell["tps"], cell["latency_ms"], ratio, [run["tps"] for run in runs], cpu)
        )
    return figures


def table(figures: list[Figure]) -> str:
    head = f"{'clients':<8}{'candidate':<11}{'tps':>8}{'least':>8}{'most':>8}{'x loop':>8}{'ms':>8}"
    lines = [f"{head}  cpu us per transaction"]
    for f in figures:
        cpu = ", ".join(f"{name} {value:.0f}" for name, value in f.cpu_us.items() if value >= 0.5)
        lines.append(
            f"{f.clients:<8}{f.candidate:<11}{f.tps:>8.0f}{min(f.tps_runs):>8.0f}{max(f.tps_runs):>8.0f}"
            f"{f.ratio:>8.2f}{f.latency_ms:>8.2f}  {cpu}"
        )
    return "\n".join(lines)


def on_file(stack: ExitStack, room: Path, size: int) -> Path:
    """A mounted file system on a plain file."""
    image = room / "plain.img"
    with image.open("wb") as file:
        file.truncate(size)
    disks.run("mkfs.ext4", "-q", "-F", image)
    return stack.enter_context(disks.mounted(image, room / "plain"))


def on_export(stack: ExitStack, folder: Path, uri: str) -> BlockDevice:
    """A mounted file system on an NBD export."""
    device = stack.enter_context(disks.block_device(folder, uri))
    device.make_file_system()
    return device


def serve(stack: ExitStack, folder: Path, tree: Path, scale: int) -> Database:
    """A filled database."""
    server = stack.enter_context(database(folder, tree))
    server.make()
    server.start()
    for setting in (f"shared_buffers = '{BUFFERS}'", "max_wal_size = '256MB'"):
        server.sql(f"ALTER SYSTEM SET {setting}", ADMIN)
    server.stop()
    server.start()
    server.sql(f"CREATE DATABASE {NAME}", ADMIN)
    subprocess.run(server.bench("-i", "-q", "-s", str(scale)), check=True, capture_output=True)
    return server


async def serve_all(
    options: argparse.Namespace, cluster: Centers, stack: ExitStack, room: Path
) -> dict[str, Candidate]:
    """Every candidate that was asked for, with its database."""
    candidates: dict[str, Candidate] = {}
    for name in options.candidates.split(","):
        folder, pids = room / name.replace(" ", "-"), dict[str, int]()
        if name == LOOP:
            tree = await asyncio.to_thread(on_file, stack, room, options.size_mib * MIB)
        else:
            if name == NBDKIT:
                data, socket = room / "data", room / "s"
                with data.open("wb") as file:
                    file.truncate(options.size_mib * MIB)
                argv = ["nbdkit", "-f", "-U", str(socket), "file", str(data)]
                pids, uri = {NBDKIT: stack.enter_context(running(argv, socket))}, unix_uri(socket)
            else:
                group = Group(PAIR, MEMBERS, "sync", 1, options.size_mib, options.durability)
                (uri,) = await cluster.serve(group)
                pids = {member: cluster.pids[member] for member in MEMBERS}
            device = await asyncio.to_thread(on_export, stack, folder, uri)
            assert device.process is not None
            tree, pids = device.tree, pids | {"nbdfuse": device.process.pid}
        server = await asyncio.to_thread(serve, stack, room / f"pg-{len(candidates)}", tree, options.scale)
        candidates[name] = Candidate(server, pids)
    return candidates


async def run(options: argparse.Namespace) -> list[Figure]:
    """All of it; nothing is left behind."""
    async with centers(options.dir, MEMBERS) as cluster:
        with ExitStack() as stack:
            candidates = await serve_all(options, cluster, stack, own_room(stack, options.dir))
            pids = list(cluster.pids.values())
            return summarize(await asyncio.to_thread(measure, candidates, options, lambda: settle(pids)))


def own_room(stack: ExitStack, parent: Path | None) -> Path:
    """A directory that a server may pass through, which is not root and has its socket below it."""
    room = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="drsync-bench-", dir=parent)))
    room.chmod(0o711)
    return room


def main() -> None:
    own = parser(__doc__, seconds=5.0, runs=3)
    own.add_argument("--clients", default="1,8")
    own.add_argument("--scale", type=int, default=5, help="of pgbench: 15 MiB each")
    own.add_argument("--size-mib", type=int, default=768)
    own.add_argument("--candidates", default=f"{LOOP},{NBDKIT},{PAIR}")
    own.add_argument("--durability", choices=["append", "fsync"], default="append")
    options = own.parse_args()
    require_tools("nbdkit")
    if why_not():
        raise SystemExit(f"no database on a volume here: {why_not()}")
    mount_alone()
    figures = asyncio.run(run(options))
    print(table(figures))
    write_json(options, [asdict(f) for f in figures])


if __name__ == "__main__":
    main()
