"""A proof that is cut short leaves no server behind."""

import subprocess
import sys
import time
from pathlib import Path

from tests.proofs import database

WAITS = [sys.executable, "-c", "import sys; sys.stdin.read()"]


def test_only_servers_of_this_folder_are_ended(tmp_path: Path) -> None:
    own, foreign = tmp_path / "own", tmp_path / "foreign"
    with (
        subprocess.Popen([*WAITS, str(own)], stdin=subprocess.PIPE) as ours,
        subprocess.Popen([*WAITS, str(foreign)], stdin=subprocess.PIPE) as other,
    ):
        try:
            for number, process in enumerate((ours, other)):
                (own / str(number)).mkdir(parents=True)
                (own / str(number) / database.PID).write_text(str(process.pid))
            deadline = time.monotonic() + 20
            while str(own) not in Path(f"/proc/{ours.pid}/cmdline").read_text():
                assert time.monotonic() < deadline
            database.kill_all(own)
            assert ours.wait(20) != 0
            assert other.poll() is None
        finally:
            ours.kill()
            other.kill()
