"""How soon any point of a long journal is open, what that takes in memory, and how fast it is read.

    python benchmarks/open_point.py [--records 400000] [--record-bytes 4096] [--batch-records 1]
                                    [--volume-gib 40] [--runs 5] [--no-indexes] [--json FILE]

A journal is written as a replica writes it: batches through the journal of the product, full segments indexed
behind it. Its image is empty, so that every record lies above it. Each figure starts a new process with an
empty page cache: it opens the journal, then a point, and reads.

open        from the request until the first block of a volume has been read, in seconds: at the newest
            record, in the middle, and at a hundredth of the journal
journal     opening the journal itself, which an agent did when it started
MiB         largest resident memory of that process until the point was open, and until all was read
random      4 KiB reads all over the volume, one after the other, a second; in the first seconds, and when all
            parts of the volume were touched once
sequential  1 MiB reads from the start of the volume; 10^6 bytes a second

With --no-indexes they are left out, as after an upgrade: the opening then makes them.
The whole run of the requirement: --records 5000000 (needs 25 GB of disk and some minutes).
"""

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop
from _machine import MIB, drop_caches, parser, write_json

from drsync.adapters.images.file_image import FileImage
from drsync.adapters.segments.journal import SegmentJournal
from drsync.adapters.segments.layout import Identity
from drsync.delta.batch import BatchBuilder
from drsync.engine.volumes import GroupVolumes
from drsync.model.epoch import Epoch

IDENTITY = Identity("benchmark", "open_point", "remote", "0" * 32)
EPOCH = Epoch((1 << 32) + 1)
POOL_BYTES = 64 * MIB
SYNC_BYTES = 256 * MIB
BLOCK = 4096
SEQUENTIAL = MIB
PLACES = {"newest": 1.0, "middle": 0.5, "hundredth": 0.01}


@dataclass(frozen=True)
class Figure:
    """Medians over the runs, for one point."""

    point: str
    open_s: float
    open_s_most: float
    journal_s: float
    open_mib: float
    read_mib: float
    first_random_s: float
    random_s: float
    sequential_mb_s: float


def write_journal(directory: Path, options: argparse.Namespace) -> dict[str, float]:
    """Write all records; what that took."""
    journal = SegmentJournal(directory / "journal", IDENTITY, 0)
    dice = random.Random(1)
    pool = memoryview(dice.randbytes(POOL_BYTES))
    builder = BatchBuilder()
    size, slots = options.record_bytes, options.volume_gib * (1 << 30) // options.record_bytes
    started, unsynced, indexing = time.perf_counter(), 0, 0.0
    tip = journal.tip
    written = 0
    while written < options.records:
        builder.reset(EPOCH, tip.seq + 1, tip.chain)
        for _ in range(min(options.batch_records, options.records - written)):
            at = dice.randrange(POOL_BYTES - size)
            builder.add_write(0, dice.randrange(slots) * size, pool[at : at + size], 0)
            written += 1
        batch = builder.finish(0)
        journal.append(batch.parts, batch.first_seq, batch.end)
        tip = batch.end
        unsynced += batch.length
        if unsynced >= SYNC_BYTES:
            journal.sync()
            unsynced = 0
            if not options.no_indexes:
                indexing += index(journal)
    journal.sync()
    if not options.no_indexes:
        indexing += index(journal)
    journal_bytes = journal.held_bytes
    journal.close()
    names = list((directory / "journal").iterdir())
    return {
        "write_s": time.perf_counter() - started - indexing,
        "index_s": indexing,
        "segments": sum(path.suffix == ".seg" for path in names),
        "journal_mb": journal_bytes / 1e6,
        "index_mb": sum(path.stat().st_size for path in names if path.suffix == ".idx") / 1e6,
    }


def index(journal: SegmentJournal) -> float:
    started = time.perf_counter()
    while journal.index(0):
        pass
    return time.perf_counter() - started


async def measure(directory: Path, place: float, options: argparse.Namespace) -> dict[str, float]:
    """In a process of its own: open a point and read it."""
    started = time.perf_counter()
    journal = SegmentJournal(directory / "journal", IDENTITY, 0)
    journal_s = time.perf_counter() - started
    image = FileImage(directory / "volume.img", options.volume_gib << 30)
    volumes = GroupVolumes({0: image}, journal, 0)
    seq = journal.batch_end_at_or_below(int(journal.tip.seq * place)).seq
    started = time.perf_counter()
    await volumes.reach(seq)
    view = volumes.views[0]
    view.read_into(image.size // 2, memoryview(bytearray(BLOCK)))
    open_s = time.perf_counter() - started
    open_mib = memory_peak()
    dice = random.Random(2)

    def rate(seconds: float) -> float:
        target, done = memoryview(bytearray(BLOCK)), 0
        begin = time.perf_counter()
        while time.perf_counter() - begin < seconds:
            for _ in range(64):
                view.read_into(dice.randrange(image.size // BLOCK) * BLOCK, target)
            done += 64
        return done / (time.perf_counter() - begin)

    first_random = rate(options.seconds)
    whole = memoryview(bytearray(SEQUENTIAL))
    at, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < options.seconds and at < image.size:
        view.read_into(at, whole)
        at += SEQUENTIAL
    sequential = at / (time.perf_counter() - begin) / 1e6
    for start in range(0, image.size, 1 << 24):  # so that every region was touched once
        view.read_into(start, memoryview(bytearray(BLOCK)))
    afterwards = rate(options.seconds)
    found = {
        "open_s": open_s,
        "journal_s": journal_s,
        "open_mib": open_mib,
        "read_mib": memory_peak(),
        "first_random_s": first_random,
        "random_s": afterwards,
        "sequential_mb_s": sequential,
    }
    journal.close()
    image.close()
    return found


def memory_peak() -> float:
    """MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def one_run(options: argparse.Namespace, directory: Path, place: float) -> dict[str, float]:
    if options.no_indexes:
        for path in (directory / "journal").glob("*.idx"):
            path.unlink()
    drop_caches()
    argv = [
        sys.executable, __file__, "--measure", str(place), "--dir", str(directory),
        "--seconds", str(options.seconds), "--volume-gib", str(options.volume_gib),
    ]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    options_of = parser(__doc__, seconds=3.0, runs=5)
    options_of.add_argument("--records", type=int, default=400_000)
    options_of.add_argument("--record-bytes", type=int, default=4096)
    options_of.add_argument("--batch-records", type=int, default=1, help="1: every write waited for the last")
    options_of.add_argument("--volume-gib", type=int, default=40)
    options_of.add_argument("--no-indexes", action="store_true", help="make them when a point is opened")
    options_of.add_argument("--measure", type=float, help=argparse.SUPPRESS)
    options = options_of.parse_args()
    if options.measure is not None:
        print(json.dumps(uvloop.run(measure(options.dir, options.measure, options))))
        return
    with tempfile.TemporaryDirectory(prefix="drsync-open-point-", dir=options.dir) as name:
        directory = Path(name)
        journal = write_journal(directory, options)
        print(
            f"{options.records} records of {options.record_bytes} bytes in {journal['segments']:g} segments: "
            f"{journal['journal_mb']:.0f} MB written in {journal['write_s']:.0f} s; "
            f"indexes: {journal['index_mb']:.1f} MB in {journal['index_s']:.1f} s",
            flush=True,
        )
        print(f"{'point':10} {'open s':>7} {'most':>6} {'journal s':>9} {'MiB open':>9} {'MiB read':>9}"
              f" {'random/s, first':>16} {'then':>8} {'MB/s seq':>9}")  # fmt: skip
        figures: list[Figure] = []
        for point, place in PLACES.items():
            runs = [one_run(options, directory, place) for _ in range(options.runs)]
            middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
            figure = Figure(point, open_s_most=max(run["open_s"] for run in runs), **middle)
            figures.append(figure)
            print(
                f"{point:10} {figure.open_s:7.3f} {figure.open_s_most:6.3f} {figure.journal_s:9.3f} "
                f"{figure.open_mib:9.0f} {figure.read_mib:9.0f} {figure.first_random_s:16.0f} "
                f"{figure.random_s:8.0f} {figure.sequential_mb_s:9.0f}",
                flush=True,
            )
        write_json(options, [journal, *map(asdict, figures)])


if __name__ == "__main__":
    main()
