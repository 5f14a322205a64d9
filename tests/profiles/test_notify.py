"""What systemd is told, by a socket that stands for it."""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from drsync.adapters.system.notify import Notifier, Watchdog, keep_telling

DEADLINE_S = 10.0


class Manager:
    """A socket that listens for notifications."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.setblocking(False)
        self.environment = {"NOTIFY_SOCKET": address}

    def heard(self) -> list[str]:
        """Every message since the last time."""
        found = []
        with suppress(BlockingIOError):
            while True:
                found.append(self._socket.recv(4096).decode())
        return found

    async def until(self, message: str) -> list[str]:
        """Messages up to and with this one."""
        found: list[str] = []
        async with asyncio.timeout(DEADLINE_S):
            while message not in found:
                found += self.heard()
                await asyncio.sleep(0.01)
        return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    address = str(tmp_path / "n") if request.param == "path" else f"@drsync-test-{os.getpid()}"
    one = Manager(address)
    yield one
    one.close()


def test_a_start_and_an_end_are_told(manager: Manager) -> None:
    notifier = Notifier(manager.environment)
    notifier.ready()
    notifier.status("two\nlines")
    notifier.status("two\nlines")
    notifier.stopping()
    assert manager.heard() == ["READY=1", "STATUS=two lines", "STOPPING=1\nSTATUS=stopping"]


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "relative", "/nowhere/at/all"])
def test_without_a_manager_nothing_happens(address: str) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": address})
    notifier.ready()
    notifier.status("fine")


def test_a_full_queue_holds_nobody_up(manager: Manager) -> None:
    notifier = Notifier(manager.environment)
    for number in range(2000):
        notifier.status(str(number))
    manager.heard()
    notifier.status("again")
    assert manager.heard() == ["STATUS=again"]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
        ({}, 0.0),
    ],
)
def test_the_patience_of_the_manager_is_read(more: dict[str, str], expected: float) -> None:
    assert Notifier({"NOTIFY_SOCKET": "/n", **more}).watchdog_s == expected


def test_the_watchdog_is_fed_only_when_every_loop_got_on(manager: Manager) -> None:
    rounds = {"one": 1, "two": 1}
    watchdog = Watchdog(Notifier(manager.environment), lambda: rounds)
    rounds["one"] += 1
    assert watchdog.look() == ("two",)
    rounds["one"] += 1
    assert watchdog.look() == ("two",)
    assert manager.heard() == []
    rounds["two"] += 1
    assert watchdog.look() == ()
    assert manager.heard() == ["WATCHDOG=1"]
    assert watchdog.look() == ("one", "two")


def test_loops_may_come_and_go(manager: Manager) -> None:
    rounds = {"link": 1}
    watchdog = Watchdog(Notifier(manager.environment), lambda: rounds)
    rounds.update(link=2, owner=1)
    assert watchdog.look() == ()
    rounds["link"] += 1
    assert watchdog.look() == ("owner",)
    del rounds["owner"]
    assert watchdog.look() == ()
    assert manager.heard() == ["WATCHDOG=1", "WATCHDOG=1"]


async def test_a_loop_that_stalls_is_named_before_the_manager_loses_patience(manager: Manager) -> None:
    notifier = Notifier({**manager.environment, "WATCHDOG_USEC": "200000"})
    stalled: list[str] = []
    rounds = {"link": 0, "owner of orders": 0}

    def turn() -> dict[str, int]:
        rounds["link"] += 1
        return dict(rounds)

    task = asyncio.ensure_future(keep_telling(notifier, turn, lambda: "well", stalled.append))
    try:
        assert "STATUS=well" in await manager.until("STATUS=well")
        async with asyncio.timeout(DEADLINE_S):
            while not stalled:
                await asyncio.sleep(0.01)
        assert "owner of orders" in stalled[0]
        assert "link" not in stalled[0]
        rounds["owner of orders"] += 1
        await manager.until("WATCHDOG=1")
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_nobody_is_told_when_nobody_listens() -> None:
    await keep_telling(Notifier({}), dict, lambda: "", lambda _reason: None)
