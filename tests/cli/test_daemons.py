import signal
import subprocess
import sys

import pytest

SCRIPT = """
import asyncio
import resource
from drsync.cli.daemons import serve

async def run(stop: asyncio.Event) -> None:
    print(asyncio.get_running_loop().__class__.__module__, flush=True)
    print(resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 500, flush=True)
    await stop.wait()
    print("closed cleanly", flush=True)

_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (500, hard))
serve(run)
"""


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_daemon_closes_cleanly_when_told_to_stop(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == "uvloop\n"
        assert daemon.stdout.readline() == "True\n", "groups with long journals need more than a shell gives"
        daemon.send_signal(number)
        assert daemon.stdout.read() == "closed cleanly\n"
    assert daemon.returncode == 0
