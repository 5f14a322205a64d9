"""The speed table: each figure beside its peer of the same run, the ratio, the aim, and whether it is met.

    python benchmarks/table.py [--quick] [--rows served,sync,pgbench,link,seed,idle,points] [--json FILE]

Runs the other benchmarks, one after the other, and collects what belongs into the table; what they print goes
to stderr. `--quick` takes less than ten minutes and tells whether something is badly off: small volumes, one
run. Without it: 4 GiB images, five runs, a journal of five million records; an hour or two. Run it as root on
a machine that has nothing else to do. A peer that is not installed leaves its ratio open; the row says so.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from _machine import machine, parser, write_json

HERE = Path(__file__).resolve().parent
Cell = dict[str, float | str | list[float] | dict[str, float]]


@dataclass(frozen=True)
class Row:
    """One line. `aim` is of the ratio where there is something beside, else of the figure.

    Attributes:
        cpu: processor time of each process, where that says more than a rate on a busy machine.
        is_met: None when the peer is missing.
    """

    what: str
    figure: float
    unit: str
    beside: str
    beside_figure: float | None
    ratio: float | None
    aim: str
    is_met: bool | None
    cpu: str = ""


@dataclass(frozen=True)
class Part:
    """Some rows, and the runs of other scripts that they come from.

    Attributes:
        runs: script and its options; `quick` and `full` are added to those of the first one.
        rows: from what the scripts wrote.
    """

    runs: Sequence[Sequence[str]]
    quick: Sequence[str]
    full: Sequence[str]
    rows: Callable[[list[list[Cell]]], Iterator[Row]]


def number(cell: Cell, key: str) -> float:
    """A figure of a cell."""
    value = cell[key]
    assert isinstance(value, int | float)
    return float(value)


def series(cell: Cell, key: str) -> list[float]:
    """The single runs behind a figure."""
    value = cell[key]
    assert isinstance(value, list)
    return value


def find(cells: list[Cell], **wanted: object) -> Cell | None:
    """The cell with these values."""
    return next((c for c in cells if all(c.get(key) == value for key, value in wanted.items())), None)


def median_ratio(ours: list[float], theirs: list[float]) -> float:
    """Of the ratios within each run."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=False) if b)


def beside(what: str, unit: str, ours: Cell | None, theirs: Cell | None, peer: str, aim: float, key: str,
           runs: str) -> Iterator[Row]:  # fmt: skip
    """A row with a peer; none when we were not measured."""
    if ours is None:
        return
    cpu = ours.get("cpu_us")
    words = ", ".join(f"{name} {value:.0f}" for name, value in cpu.items()) if isinstance(cpu, dict) else ""
    if theirs is None:
        yield Row(
            what, number(ours, key), unit, f"{peer}: not measured", None, None, f"{aim:g} x", None, words
        )
        return
    ratio = median_ratio(series(ours, runs), series(theirs, runs))
    yield Row(
        what, number(ours, key), unit, peer, number(theirs, key), ratio, f"{aim:g} x", ratio >= aim, words
    )


def served(found: list[list[Cell]]) -> Iterator[Row]:
    """Without peers, beside nbdkit."""
    (cells,) = found
    for work, words, aims in (
        ("randwrite", "4 KiB random write, alone", {1: 0.7, 16: 0.45, 64: 0.45}),
        ("randread", "4 KiB random read, alone, cold", {1: 0.9, 16: 0.9, 64: 0.9}),
    ):
        for depth, aim in aims.items():
            ours, theirs = (find(cells, work=work, depth=depth, candidate=c) for c in ("alone", "nbdkit"))
            yield from beside(
                f"{words}, depth {depth}", "IOPS", ours, theirs, "nbdkit", aim, "iops", "iops_runs"
            )
    for work, words, aim in (
        ("write 1m", "1 MiB sequential write, alone", 0.5),
        ("read 1m", "1 MiB sequential read, alone", 0.7),
    ):
        ours, theirs = (find(cells, work=work, candidate=c) for c in ("alone", "nbdkit"))
        yield from beside(words, "MiB/s", ours, theirs, "nbdkit", aim, "mib_s", "iops_runs")


def in_sync(found: list[list[Cell]]) -> Iterator[Row]:
    """With the same city in sync, beside qemu's mirror."""
    (cells,) = found
    for depth, aim in {1: 0.7, 16: 1.1, 64: 1.1}.items():
        ours, theirs = (find(cells, work="randwrite", depth=depth, candidate=c) for c in ("pair", "mirror"))
        what = f"4 KiB random write, in sync over SSH, depth {depth}"
        yield from beside(what, "IOPS", ours, theirs, "qemu mirror", aim, "iops", "iops_runs")
    ours = find(cells, work="write 64k", candidate="pair")
    if ours is not None:
        yield absolute(
            "64 KiB sequential write, in sync over SSH", number(ours, "mib_s") * 1.048576, "MB/s", 500
        )


def absolute(what: str, figure: float, unit: str, aim: float, *, is_most: bool = False) -> Row:
    """A row without a peer."""
    is_met = figure <= aim if is_most else figure >= aim
    return Row(what, figure, unit, "-", None, None, f"{'≤' if is_most else '≥'} {aim:g} {unit}", is_met)


def databases(found: list[list[Cell]]) -> Iterator[Row]:
    """pgbench, beside the same database on a plain file."""
    (cells,) = found
    for clients, aim in {1: 0.85, 8: 0.7}.items():
        ours, theirs = (find(cells, clients=clients, candidate=c) for c in ("pair", "loop file"))
        what = f"pgbench, in sync over SSH, {clients} client{'s' if clients > 1 else ''}"
        yield from beside(what, "tps", ours, theirs, "loop file", aim, "tps", "tps_runs")


def link(found: list[list[Cell]]) -> Iterator[Row]:
    """The bulk link, beside OpenSSH."""
    (cells,) = found
    ours, theirs = (find(cells, way=way) for way in ("verify", "ssh cat"))
    yield from beside(
        "bulk link, framed and verified", "MB/s", ours, theirs, "ssh cat", 1.0, "mb_s", "mb_s_runs"
    )


def seed(found: list[list[Cell]]) -> Iterator[Row]:
    """A blank center brought level by blocks, beside rsync."""
    (cells,) = found
    ours, theirs = (find(cells, way=way, what="seed") for way in ("drsync", "rsync -z"))
    if ours is None:
        return
    peer = "rsync --inplace -z" if theirs is not None else "rsync: not measured"
    for what, key, unit, aim in (
        ("seed of a disk image (ratio: times as fast)", "seconds", "s", 1.5),
        ("seed of a disk image: bytes (ratio: theirs to ours)", "mb", "MB", 1.0),
    ):
        figure = number(ours, key)
        other = number(theirs, key) if theirs is not None else None
        runs = f"{key}_runs"
        ratio = median_ratio(series(theirs, runs), series(ours, runs)) if theirs is not None else None
        is_met = ratio >= aim if ratio is not None else None
        yield Row(what, figure, unit, peer, other, ratio, f"{aim:g} x", is_met)


def at_rest(found: list[list[Cell]]) -> Iterator[Row]:
    """Agents with ten volumes."""
    (cells,) = found
    agents = [cell for cell in cells if cell["process"] != "coordinator"]
    most = max(number(cell, "load") for cell in agents)
    yield absolute("agent with 10 volumes: memory under load", most, "MiB", 400, is_most=True)
    busiest = max(number(cell, "idle_percent") for cell in agents)
    yield absolute("agent with 10 volumes: processor when idle", busiest, "% of a core", 0.5, is_most=True)


def points(found: list[list[Cell]]) -> Iterator[Row]:
    """Opening any point."""
    (cells,) = found
    opened = [cell for cell in cells if "open_s" in cell]
    slowest = max(number(cell, "open_s") for cell in opened)
    yield absolute("open any point of a long journal", slowest, "s", 2, is_most=True)
    largest = max(number(cell, "open_mib") for cell in opened)
    yield absolute("open any point: memory", largest, "MiB", 500, is_most=True)


ALONE = ["--candidates", "alone,nbdkit", "--works", "randwrite,randread,write 1m,read 1m"]
PAIR = ["--candidates", "pair,mirror", "--works", "randwrite,write 64k"]
SMALL = ["--size-mib", "512", "--runs", "1", "--seconds", "2"]
LARGE = ["--size-mib", "4096", "--seconds", "5"]
PARTS = {
    "served": Part([["served_volume.py", *ALONE]], SMALL, LARGE, served),
    "sync": Part([["served_volume.py", *PAIR]], SMALL, LARGE, in_sync),
    "pgbench": Part(
        [["pgbench_volume.py", "--candidates", "loop file,pair"]],
        ["--runs", "1", "--seconds", "5"],
        ["--seconds", "10", "--scale", "20"],
        databases,
    ),
    "link": Part([["link_rate.py"]], ["--runs", "1", "--mib", "256"], ["--mib", "1024"], link),
    "seed": Part(
        [["resync.py", "--b1"]],
        ["--runs", "1", "--mib", "512"],
        ["--mib", "8192"],
        seed,
    ),
    "idle": Part(
        [["memory.py", "--volumes", "10"]],
        ["--size-mib", "128", "--seconds", "5", "--idle-seconds", "15"],
        ["--size-mib", "1024", "--idle-seconds", "60"],
        at_rest,
    ),
    "points": Part(
        [["open_point.py"]],
        ["--records", "100000", "--runs", "1", "--seconds", "1"],
        ["--records", "5000000"],
        points,
    ),
}


def measure(part: Part, more: Sequence[str], room: Path) -> list[Row]:
    """Run the scripts of a part; no rows when one of them fails, which it has told."""
    found: list[list[Cell]] = []
    for index, (script, *options) in enumerate(part.runs):
        target = room / f"{index}.json"
        argv = [sys.executable, str(HERE / script), *options, *more, "--json", str(target)]
        done = subprocess.run(argv, stdout=sys.stderr, check=False)
        if done.returncode:
            print(f"{script} ended with {done.returncode}: its rows are missing", file=sys.stderr)
            return []
        found.append(json.loads(target.read_text())["figures"])
        target.unlink()
    return list(part.rows(found))


def table(rows: list[Row]) -> str:
    """For people; Markdown, so that it can go into docs/benchmarks.md as it is."""
    lines = ["| figure | | beside | | ratio | aim | met |", "| --- | ---: | --- | ---: | ---: | --- | --- |"]
    for row in rows:
        other = "" if row.beside_figure is None else f"{row.beside_figure:,.0f}"
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        met = {True: "yes", False: "**no**", None: "?"}[row.is_met]
        figure = f"{row.figure:,.0f}" if row.figure >= 10 else f"{row.figure:.2f}"
        lines.append(
            f"| {row.what} | {figure} {row.unit} | {row.beside} | {other} | {ratio} | {row.aim} | {met} |"
        )
    return "\n".join(lines)


def main() -> None:
    """All parts that were asked for; the table is printed as far as it goes."""
    own = parser(__doc__, seconds=0.0, runs=5)
    own.add_argument("--quick", action="store_true", help="less than ten minutes")
    own.add_argument("--rows", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    options = own.parse_args()
    wanted = options.rows.split(",")
    unknown = [name for name in wanted if name not in PARTS]
    if unknown:
        own.error(f"no such rows: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="drsync-table-") as folder:
        for name in wanted:
            part = PARTS[name]
            more = [*part.quick] if options.quick else ["--runs", str(options.runs), *part.full]
            more += ["--seconds", str(options.seconds)] if options.seconds else []
            more += ["--dir", str(options.dir)] if options.dir else []
            print(f"== {name}", file=sys.stderr, flush=True)
            rows += measure(part, more, Path(folder))
    print(", ".join(f"{key} {value}" for key, value in machine().items()))
    print()
    print(table(rows))
    write_json(options, [asdict(row) for row in rows])


if __name__ == "__main__":
    main()
