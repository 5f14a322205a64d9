"""The NBD front end alone, beside nbdkit's file plugin: 4 KiB random reads and writes with fio's nbd engine.

    python benchmarks/nbd_front.py [--seconds 3] [--runs 1] [--depths 1,16,64] [--json FILE]

The candidates take turns on the same plain file; the page cache is dropped before each run when that is
allowed. What is measured is a round trip of the front end, not of a volume: nothing is journalled.
"""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop
from _fio import fio, running, unix_uri
from _machine import MIB, drop_caches, medians, parser, require_tools, write_json

from drsync.adapters.memory.volume import MemoryExports
from drsync.adapters.nbd.server import Server
from drsync.ports.volume import BlockDevice, Completion, Extent


class FileDevice:
    """A plain file, written at once: what nbdkit's file plugin does."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR)
        self._size = os.fstat(self._file).st_size
        self._cookies: list[bytes] = []
        self._must_sync = False

    @property
    def size(self) -> int:
        return self._size

    @property
    def is_read_only(self) -> bool:
        return False

    def write(self, offset: int, data: memoryview, cookie: bytes, *, fua: bool) -> None:
        os.pwrite(self._file, data, offset)
        self._must_sync |= fua
        self._cookies.append(cookie)

    def zero(self, offset: int, length: int, cookie: bytes, *, fua: bool, is_trim: bool) -> None:
        del is_trim
        os.pwrite(self._file, bytes(length), offset)
        self._must_sync |= fua
        self._cookies.append(cookie)

    def flush(self, cookie: bytes) -> None:
        self._must_sync = True
        self._cookies.append(cookie)

    def submit(self, completion: Completion) -> None:
        if self._must_sync:
            self._must_sync = False
            os.fdatasync(self._file)
        cookies, self._cookies = self._cookies, []
        completion.complete(cookies, 0)

    def read_into(self, offset: int, target: memoryview) -> int:
        os.preadv(self._file, [target], offset)
        return 0

    def extents(self, offset: int, length: int, most: int) -> list[Extent]:
        del offset, most
        return [(length, False)]


class MemoryBytes(FileDevice):
    """The same without a file, to see what the file costs."""

    def __init__(self, size: int) -> None:
        self._data = memoryview(bytearray(size))
        self._size = size
        self._cookies = []

    def write(self, offset: int, data: memoryview, cookie: bytes, *, fua: bool) -> None:
        del fua
        self._data[offset : offset + len(data)] = data
        self._cookies.append(cookie)

    def submit(self, completion: Completion) -> None:
        cookies, self._cookies = self._cookies, []
        completion.complete(cookies, 0)

    def read_into(self, offset: int, target: memoryview) -> int:
        target[:] = self._data[offset : offset + len(target)]
        return 0


@dataclass(frozen=True)
class Figure:
    """One cell: medians over the runs."""

    server: str
    work: str
    depth: int
    iops: float
    mib_s: float
    p50_us: float
    p99_us: float


async def serve(path: Path, device: BlockDevice) -> None:
    """Serve one device under the empty name until SIGTERM."""
    server = Server(MemoryExports({"": device}), path)
    await server.start()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    await server.stop()


def candidates(names: list[str], data: Path, path: Path) -> dict[str, list[str]]:
    me = [sys.executable, __file__, "--serve", str(path)]
    known = {
        "drsync-file": [*me, "--file", str(data)],
        "drsync-memory": [*me, "--memory-mib", str(data.stat().st_size // MIB)],
        "nbdkit-file": ["nbdkit", "-f", "-U", str(path), "file", str(data)],
    }
    return {name: known[name] for name in names}


def measure(options: argparse.Namespace, room: Path) -> list[Figure]:
    data, path = room / "data", room / "s"
    with data.open("wb") as file:
        for _ in range(options.size_mib):
            file.write(os.urandom(4096) * (MIB // 4096))
    works = [(work, int(d), 4096) for work in ("randwrite", "randread") for d in options.depths.split(",")]
    works += [("write", 4, MIB), ("read", 4, MIB)]
    found: dict[tuple[str, str, int], list[dict[str, float]]] = {}
    for _ in range(options.runs):
        for work, depth, block in works:
            for name, argv in candidates(options.servers.split(","), data, path).items():
                drop_caches()
                with running(argv, path):
                    label = work if block == 4096 else f"{work} 1 MiB"
                    found.setdefault((name, label, depth), []).append(
                        fio([unix_uri(path)], work, depth, block, options.seconds)
                    )
    return [
        Figure(name, work, depth, **{key: value for key, value in medians(runs).items() if key != "count"})
        for (name, work, depth), runs in found.items()
    ]


def table(figures: list[Figure]) -> str:
    head = f"{'work':<14}{'depth':>5}  {'server':<15}{'IOPS':>9}{'MiB/s':>8}{'p50 us':>8}{'p99 us':>8}"
    lines = [
        f"{f.work:<14}{f.depth:>5}  {f.server:<15}"
        f"{f.iops:>9.0f}{f.mib_s:>8.0f}{f.p50_us:>8.0f}{f.p99_us:>8.0f}"
        for f in sorted(figures, key=lambda f: (f.work, f.depth, f.server))
    ]
    return "\n".join([head, *lines])


def main() -> None:
    own = parser(__doc__, seconds=3.0, runs=1)
    own.add_argument("--depths", default="1,16,64")
    own.add_argument("--size-mib", type=int, default=1024)
    own.add_argument("--servers", default="drsync-file,drsync-memory,nbdkit-file")
    own.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    own.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    own.add_argument("--memory-mib", type=int, help=argparse.SUPPRESS)
    options = own.parse_args()
    if options.serve:
        device = FileDevice(options.file) if options.file else MemoryBytes(options.memory_mib * MIB)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(options.serve, device))
        return
    require_tools("fio", "nbdkit")
    with tempfile.TemporaryDirectory(dir=options.dir) as room:
        figures = measure(options, Path(room))
    print(table(figures))
    write_json(options, [asdict(f) for f in figures])


if __name__ == "__main__":
    main()
