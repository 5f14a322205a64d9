"""Running fio's nbd engine, and a server for it to talk to."""

import json
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from _machine import MIB, wait_until

READY_S = 10.0
GREETING_BYTES = 18  # because a server complains when nobody reads its first words
READ_WORKS = ("read", "randread")


def unix_uri(path: Path, export: str = "") -> str:
    """The address of an export on a unix socket, as fio writes it."""
    return f"nbd+unix:///{export}?socket={path}"


def fio(uris: Sequence[str], work: str, depth: int, block: int, seconds: float) -> dict[str, float]:
    """Work on all exports at once for `seconds`, or through each once when that is 0.

    IOPS and MiB/s are of all together, the percentiles of the slowest.
    """
    common = ["fio", "--ioengine=nbd", f"--rw={work}", f"--bs={block}", f"--iodepth={depth}"]
    common += ["--randrepeat=0", "--norandommap", "--output-format=json"]
    common += [f"--runtime={seconds}", "--time_based"] if seconds else []
    jobs = [part for n, uri in enumerate(uris) for part in (f"--name=volume{n}", f"--uri={uri}")]
    done = subprocess.run([*common, *jobs], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"fio failed: {done.stderr.strip() or done.stdout.strip()[-2000:]}")
    sides = [
        job["read" if work in READ_WORKS else "write"]
        for job in json.loads(done.stdout[done.stdout.index("{") :])["jobs"]
    ]
    return {
        "iops": sum(side["iops"] for side in sides),
        "mib_s": sum(side["bw_bytes"] for side in sides) / MIB,
        "p50_us": max(side["clat_ns"]["percentile"]["50.000000"] for side in sides) / 1000,
        "p99_us": max(side["clat_ns"]["percentile"]["99.000000"] for side in sides) / 1000,
        "count": sum(side["total_ios"] for side in sides),
    }


def answers(path: Path) -> bool:
    """Whether somebody listens on this unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0 and bool(probe.recv(GREETING_BYTES))


@contextmanager
def running(argv: list[str], path: Path) -> Iterator[int]:
    """A server that listens on the unix socket `path`; its process id."""
    path.unlink(missing_ok=True)
    process = subprocess.Popen(argv)
    try:

        def is_up() -> bool:
            if process.poll() is not None:
                raise SystemExit(f"did not start: {' '.join(argv)}")
            return answers(path)

        wait_until(argv[0], is_up, READY_S)
        yield process.pid
    finally:
        process.terminate()
        process.wait()
