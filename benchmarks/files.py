"""A tree of small files between two real centers, beside rsync over OpenSSH and lsyncd.

    python benchmarks/files.py [--files 10000] [--runs 3] [--samples 20] [--json FILE]

seed        an empty replica gets everything, which appears in the owner's tree in one moment
no change   the same again. drsync runs on, so what it costs is told per second: a complete look at the tree
            each second or so; its time is that of one look
1 %         one file in a hundred is rewritten
latency     a new file of 4 KiB, from its creation at the owner until it is whole at the replica

All use the page cache, loopback and one SSH connection that stands already. drsync stages
each generation and syncs it before it counts; rsync is asked for neither (`-a --delete`).
Near is the end that has the tree, far the one that gets it; bytes on the wire are those of TCP in both
directions, heartbeats included.
"""

import argparse
import asyncio
import random
import re
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from _cluster import Centers, centers
from _machine import cpu_s, parser, require_tools, settle, write_json
from _sshd import Way, children, connection, ended, find_sshd

from drsync.adapters.api_client.doc import Doc
from drsync.lab.cluster import Cluster
from drsync.lab.layout import PRODUCTION, SAME_CITY

SEED = 20260101
DIRECTORIES = 100
SIZES = (1 << 10, 16 << 10)
SHARE = 100  # one file in so many is rewritten
READY_S = 300.0
POLL_S = 0.002
ALLOW = re.compile(r"^\[files\]\nallow = .*$", re.MULTILINE)
GROUP, SET = "bench", "tree"
LSYNCD_SETTLE_S = 2.0  # because it says nowhere that its first run has ended


@dataclass(frozen=True)
class Figure:
    """One cell; seconds are medians of the runs."""

    work: str
    candidate: str
    seconds: float
    near_cpu_s: float
    far_cpu_s: float
    wire_kib: float


# --- the tree


def content(dice: random.Random) -> bytes:
    """Half of it compresses."""
    size = dice.randint(*SIZES)
    return dice.randbytes(size // 2) + b"a line of a log, again and again\n" * (size // 66)


def make(root: Path, files: int) -> list[Path]:
    """Files of a few KiB in a hundred directories, always the same; their names below `root`."""
    dice = random.Random(SEED)
    for number in range(DIRECTORIES):
        (root / f"d{number:02d}").mkdir(parents=True)
    names = [Path(f"d{number % DIRECTORIES:02d}") / f"file-{number:06d}" for number in range(files)]
    for name in names:
        (root / name).write_bytes(content(dice))
    return names


def change(root: Path, names: list[Path], seed: int) -> list[Path]:
    """Rewrite one in a hundred; which."""
    dice = random.Random(seed)
    chosen = dice.sample(names, max(1, len(names) // SHARE))
    for name in chosen:
        (root / name).write_bytes(content(dice))
    return chosen


def are_equal(one: Path, other: Path, names: list[Path]) -> bool:
    """Whether these files are the same."""
    try:
        return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)
    except FileNotFoundError:
        return False


# --- what it costs


def wire_bytes(pid: int) -> int:
    """Bytes of all TCP connections of a process, both directions."""
    told = subprocess.run(["ss", "-tinHpO"], capture_output=True, text=True, check=True).stdout
    lines = [line for line in told.splitlines() if f"pid={pid}," in line]
    return sum(int(n) for line in lines for n in re.findall(r"bytes_(?:sent|received):(\d+)", line))


@dataclass(frozen=True)
class Meter:
    """What both ends have used so far."""

    near: Callable[[], float]
    far: Callable[[], float]
    wire: Callable[[], int]

    def measure(self, work: str, candidate: str, run: Callable[[], None]) -> Figure:
        """Time `run`, and what both ends used meanwhile."""
        near, far, wire = self.near(), self.far(), self.wire()
        began = time.monotonic()
        run()
        seconds = time.monotonic() - began
        used = (self.near() - near, self.far() - far, (self.wire() - wire) / 1024)
        return Figure(work, candidate, seconds, *used)


def latencies(near: Path, far: Path, samples: int) -> list[float]:
    """Seconds until a new file is whole at the other end."""
    dice = random.Random(SEED)
    found = []
    for number in range(samples):
        time.sleep(0.3 + dice.random())  # so that it comes at any moment of a cycle
        name = Path(f"d{dice.randrange(DIRECTORIES):02d}") / f"new-{time.time_ns()}-{number}"
        data = dice.randbytes(4096)
        began = time.monotonic()
        (near / name).write_bytes(data)
        deadline = began + READY_S
        while not (far / name).exists() or (far / name).read_bytes() != data:
            if time.monotonic() > deadline:
                raise SystemExit(f"{name} did not come")
            time.sleep(POLL_S)
        found.append(time.monotonic() - began)
    return found


# --- rsync and lsyncd


def sync(way: Way, near: Path, far: Path) -> None:
    shell = " ".join(["ssh", *way.options[:-1]])
    argv = ["rsync", "-a", "--delete", "-e", shell, f"{near}/", f"{way.options[-1]}:{far}/"]
    subprocess.run(argv, check=True, timeout=READY_S)


def children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def rsync_runs(room: Path, options: argparse.Namespace) -> Iterator[Figure]:
    sshd = find_sshd()
    if sshd is None:
        print("rsync is left out: there is no sshd")
        return
    near, far = room / "near", room / "far"
    names = make(near, options.files)
    (room / "ssh").mkdir()
    with connection(room / "ssh", sshd) as way:
        meter = Meter(
            near=lambda: children_cpu_s() + cpu_s(way.client),
            far=lambda: sum(cpu_s(pid, with_children=True) for pid in (way.server, *children(way.server))),
            wire=lambda: wire_bytes(way.client),
        )
        for run in range(options.runs):
            shutil.rmtree(far, ignore_errors=True)
            far.mkdir()
            yield meter.measure("seed", "rsync", lambda: sync(way, near, far))
            yield meter.measure("no change", "rsync", lambda: sync(way, near, far))
            change(near, names, run)
            yield meter.measure("1 %", "rsync", lambda: sync(way, near, far))
        if shutil.which("lsyncd"):
            yield lsyncd_latency(room, way, near, far, options.samples)
        else:
            print("lsyncd is left out: it is not installed (apt-get install lsyncd)")


def lsyncd_latency(room: Path, way: Way, near: Path, far: Path, samples: int) -> Figure:
    """With no delay of its own, over the connection that stands."""
    config = room / "lsyncd.conf"
    shell = " ".join(["ssh", *way.options[:-1]])
    config.write_text(
        f'settings {{ nodaemon = true, logfile = "{room}/log", statusFile = "{room}/status" }}\n'
        f'sync {{ default.rsync, source = "{near}", target = "{way.options[-1]}:{far}", delay = 0,\n'
        f'  rsync = {{ archive = true, rsh = "{shell}" }} }}\n'
    )
    with (room / "lsyncd.out").open("wb") as out:
        process = subprocess.Popen(["lsyncd", str(config)], stdout=out, stderr=out)
        with ended(process):
            time.sleep(LSYNCD_SETTLE_S)
            found = latencies(near, far, samples)
    return Figure("latency", "lsyncd", statistics.median(found), 0.0, 0.0, 0.0)


# --- drsync


def group(near: Path) -> dict[str, object]:
    return {
        "name": GROUP,
        "preferred_owner": PRODUCTION,
        "members": [PRODUCTION, SAME_CITY],
        "filesets": [{"name": SET, "roots": {PRODUCTION: str(near)}}],
        "policy": {"mode": "async", "lease": "10s"},
    }


def tree_at(status: Doc, center: str) -> Doc:
    return status.doc("groups").doc(GROUP).doc("centers").doc(center).doc("files").doc(SET)


@contextmanager
def polling(seconds: float) -> Iterator[Callable[[], None]]:
    """A pause between looks that ends the script when it takes too long."""
    deadline = time.monotonic() + seconds

    def pause() -> None:
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {seconds:g} s for the replica")
        time.sleep(POLL_S * 10)

    yield pause


async def until_replica_holds(running: Centers, files: int) -> Path:
    """Until the replica is at the owner's generation; where its tree is."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        status = await running.status()
        if GROUP in dict(status.table("groups")):
            own, copy = tree_at(status, PRODUCTION), tree_at(status, SAME_CITY)
            is_there = copy.whole("entries") > files
            if is_there and own.whole("generation") == copy.whole("generation"):
                return Path(copy.text("root"))
        await asyncio.sleep(POLL_S * 10)
    raise SystemExit("waited for the replica's first generation")


async def drsync_run(room: Path, options: argparse.Namespace, run: int) -> list[Figure]:
    near, stock = room / f"near-{run}", room / f"stock-{run}"
    near.mkdir()
    names = make(stock, options.files)

    async def allow(cluster: Cluster) -> None:
        config = cluster.layout.config(PRODUCTION)
        allowed, places = ALLOW.subn(f'[files]\nallow = ["{room}"]', config.read_text())
        assert places == 1, "the shipped configuration has another form"
        config.write_text(allowed)

    figures = []
    async with centers(room, (PRODUCTION, SAME_CITY), before=allow) as running:
        pids = running.pids
        meter = Meter(
            near=lambda: cpu_s(pids[PRODUCTION], with_children=True),
            far=lambda: cpu_s(pids[SAME_CITY], with_children=True),
            wire=lambda: wire_bytes(pids[PRODUCTION]),
        )
        await running.apply(group(near))
        await until_replica_holds(running, 0)
        settle(list(pids.values()))
        before = (meter.near(), meter.far(), meter.wire())
        began = time.monotonic()
        for directory in sorted(stock.iterdir()):
            directory.rename(near / directory.name)
        far = await until_replica_holds(running, options.files)
        seconds = time.monotonic() - began
        after = (meter.near(), meter.far(), meter.wire())
        used = [b - a for a, b in zip(before, after, strict=True)]
        figures.append(Figure("seed", "drsync", seconds, used[0], used[1], used[2] / 1024))
        if not are_equal(near, far, names):
            raise SystemExit("the replica differs")
        settle([pids[SAME_CITY]])

        idle = meter.measure("no change", "drsync", lambda: time.sleep(options.seconds))
        look_s = tree_at(await running.status(), PRODUCTION).number("scan_s")
        shares = [value / idle.seconds for value in (idle.near_cpu_s, idle.far_cpu_s, idle.wire_kib)]
        figures.append(Figure("no change", "drsync (per second)", look_s, *shares))

        def rewrite() -> None:
            chosen = change(near, names, run)
            with polling(READY_S) as pause:
                while not are_equal(near, far, chosen):
                    pause()

        figures.append(meter.measure("1 %", "drsync", rewrite))
        if run == 0:
            found = await asyncio.to_thread(latencies, near, far, options.samples)
            figures.append(Figure("latency", "drsync", statistics.median(found), 0.0, 0.0, 0.0))
    shutil.rmtree(near)
    return figures


# --- all together


def medians(figures: list[Figure]) -> list[Figure]:
    """One figure for each work and candidate."""
    cells: dict[tuple[str, str], list[Figure]] = {}
    for figure in figures:
        cells.setdefault((figure.work, figure.candidate), []).append(figure)
    return [
        Figure(
            work,
            candidate,
            *(
                statistics.median(float(getattr(one, field)) for one in some)
                for field in ("seconds", "near_cpu_s", "far_cpu_s", "wire_kib")
            ),
        )
        for (work, candidate), some in sorted(cells.items())
    ]


def main() -> None:
    options_parser = parser(__doc__, seconds=10, runs=3)
    options_parser.add_argument("--files", type=int, default=10_000)
    options_parser.add_argument("--samples", type=int, default=20, help="of the latency")
    options = options_parser.parse_args()
    require_tools("rsync", "ssh", "ssh-keygen", "ss")
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="drsync-files-", dir=options.dir) as folder:
        room = Path(folder)
        figures += rsync_runs(room, options)
        for run in range(options.runs):
            figures += asyncio.run(drsync_run(room, options, run))
    found = medians(figures)
    print(f"\n{'work':<12}{'candidate':<22}{'seconds':>9}{'near CPU s':>12}{'far CPU s':>11}{'wire KiB':>10}")
    for one in found:
        print(
            f"{one.work:<12}{one.candidate:<22}{one.seconds:>9.3f}{one.near_cpu_s:>12.2f}"
            f"{one.far_cpu_s:>11.2f}{one.wire_kib:>10.0f}"
        )
    write_json(options, [asdict(one) for one in found])


if __name__ == "__main__":
    main()
