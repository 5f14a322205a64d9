"""What every benchmark asks of the machine: page cache, processor time, memory, and which machine it is."""

import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

MIB = 1 << 20
DROP_CACHES = Path("/proc/sys/vm/drop_caches")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
UTIME_FIELD = 11  # proc(5): fields 14 to 17 of stat (user, system, and both of collected children)
WAIT_STEP_S = 0.02
LIBRARIES = ("asyncssh", "uvloop", "cryptography", "xxhash")


def drop_caches() -> bool:
    """Write everything out and forget what files hold; False when that is not allowed."""
    os.sync()
    try:
        DROP_CACHES.write_text("3\n")
    except OSError:
        return False
    return True


def cpu_s(pid: int, *, with_children: bool = False) -> float:
    """Processor time that a process has used, in seconds; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    ticks = map(int, fields[UTIME_FIELD : UTIME_FIELD + (4 if with_children else 2)])
    return sum(ticks) / TICKS_PER_S


@dataclass(frozen=True)
class Memory:
    """Of one process, in MiB.

    Attributes:
        rss: resident now.
        private: resident now and not backed by files: what this process adds to the machine.
        peak: largest `rss` so far.
    """

    rss: float
    private: float
    peak: float


def memory(pid: int) -> Memory:
    """Memory of a process by /proc/PID/status."""
    lines = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    kib = {words[0]: int(words[1]) for words in lines if words[-1] == "kB"}
    return Memory(kib["VmRSS:"] / 1024, kib["RssAnon:"] / 1024, kib["VmHWM:"] / 1024)


def wait_until(what: str, is_reached: Callable[[], bool], seconds: float) -> None:
    """Look again and again. Raises SystemExit when it does not come about."""
    deadline = time.monotonic() + seconds
    while not is_reached():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {seconds:g} s and it did not come about: {what}")
        time.sleep(WAIT_STEP_S)


QUIET_LOOKS = 6
"""Half seconds, because what was written last waits 2 s (the window) before it goes into the images, and
between the steps there are pauses of half a second."""


def settle(pids: Sequence[int], seconds: float = 60.0) -> None:
    """Until these processes have nothing left to do: 5 % of a core at most, `QUIET_LOOKS` times in a row."""
    deadline, quiet = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        before = sum(map(cpu_s, pids))
        time.sleep(0.5)
        is_quiet = sum(map(cpu_s, pids)) - before <= 0.025 * max(1, len(pids))
        quiet = quiet + 1 if is_quiet else 0
        if quiet == QUIET_LOOKS:
            return
    print(f"note: still busy after {seconds:g} s; the next figure includes it", file=sys.stderr)


def require_tools(*names: str) -> None:
    """Raises SystemExit naming the tools that are not installed."""
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        raise SystemExit(f"needs {' and '.join(missing)}: apt-get install {' '.join(missing)}")


def mount_alone() -> None:
    """Go on where what is mounted is seen by nobody else, and goes when we end, however we end."""
    told = "DRSYNC_BENCH_ALONE"
    if os.environ.pop(told, None) is None and os.geteuid() == 0 and shutil.which("unshare"):
        os.environ[told] = "yes"
        os.execvp("unshare", ["unshare", "--mount", sys.executable, *sys.argv])


def machine() -> dict[str, str]:
    """Which machine this is."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    ram = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    known = {
        "cpu": f"{cpu}, {os.cpu_count()} cores",
        "memory": f"{ram:.0f} GiB",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": f"{os.getloadavg()[0]:.1f}",
    }
    known |= {name: version(name) for name in LIBRARIES}
    for tool, argv in (
        ("fio", ["fio", "--version"]),
        ("nbdkit", ["nbdkit", "--version"]),
        ("ssh", ["ssh", "-V"]),
    ):
        if shutil.which(tool):
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
            known[tool] = (done.stdout or done.stderr).strip().splitlines()[0]
    return known


def absolute(text: str) -> Path:
    """A path that means the same for every process."""
    return Path(text).absolute()


def parser(doc: str | None, *, seconds: float, runs: int) -> argparse.ArgumentParser:
    """The options that every benchmark has, so that `make bench ARGS=…` can hand them to all.

    From here on SIGTERM ends the script like Ctrl-C does: servers and centers are stopped, data is removed.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    options = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=seconds, help="of each measurement")
    options.add_argument("--runs", type=int, default=runs, help="shown are medians of so many")
    options.add_argument("--dir", type=absolute, help="where data lies; default: a temporary directory")
    options.add_argument(
        "--json",
        type=Path,
        help="write figures there too: a file, or a directory that gets one of the script's name",
    )
    return options


def write_json(options: argparse.Namespace, figures: Iterable[Mapping[str, object]]) -> None:
    """Figures, settings and machine for other programs, if asked for."""
    if options.json is None:
        return
    target: Path = options.json
    if target.is_dir():
        target = target / f"{Path(sys.argv[0]).stem}.json"
    settings = {key: value for key, value in vars(options).items() if isinstance(value, int | float | str)}
    document = {"machine": machine(), "settings": settings, "figures": list(figures)}
    target.write_text(json.dumps(document, indent=1) + "\n")


def medians(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each figure."""
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}
