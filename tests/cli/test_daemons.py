import signal
import subprocess
import sys

import pytest

SCRIPT = """
import asyncio
from drsync.cli.daemons import serve

async def run(stop: asyncio.Event) -> None:
    print(asyncio.get_running_loop().__class__.__module__, flush=True)
    await stop.wait()
    print("closed cleanly", flush=True)

serve(run)
"""


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_daemon_closes_cleanly_when_told_to_stop(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == "uvloop\n"
        daemon.send_signal(number)
        assert daemon.stdout.read() == "closed cleanly\n"
    assert daemon.returncode == 0
