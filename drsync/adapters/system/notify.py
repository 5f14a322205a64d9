"""What systemd is told: ready, how it goes, stopping, and that the loops still get on (sd_notify(3)).

The protocol is one datagram of ``KEY=value`` lines to the socket in ``NOTIFY_SOCKET``. Without that variable
nothing is sent. Nothing here ever ends a daemon: what cannot be told now is told next time.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Mapping

Environment = Mapping[str, str]
Rounds = Callable[[], Mapping[str, int]]
"""How often each loop has come round, by its name; asked from the event loop. Loops may come and go."""

LOOKS_PER_WATCHDOG = 10  # because a loop that is slow by a tenth of the time must not look dead
LOOK_MAX_S = 1.0  # because the state is shown to people as well


class Notifier:
    """The way to the service manager of this process, if there is one."""

    def __init__(self, environment: Environment = os.environ) -> None:
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        self._status = ""
        self.watchdog_s = _watchdog_s(environment) if self._address else 0.0

    @property
    def is_heard(self) -> bool:
        """Whether somebody listens."""
        return bool(self._address)

    def ready(self) -> None:
        """Requests are answered from here on."""
        self._send("READY=1")

    def stopping(self) -> None:
        """The end has begun."""
        self._send("STOPPING=1\nSTATUS=stopping")

    def alive(self) -> None:
        """Every loop has got on."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for people, in `systemctl status`; sent when it changes."""
        line = " ".join(text.split())
        if line != self._status and self._send(f"STATUS={line}"):
            self._status = line

    def _send(self, message: str) -> bool:
        if not self._address:
            return False
        with (
            contextlib.suppress(OSError),  # a full queue or a manager that restarts: the next one comes
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as way,
        ):
            way.settimeout(0)  # never waits
            way.sendto(message.encode(), self._address)
            return True
        return False


class Watchdog:
    """Tells the manager that we are alive, but only for as long as every loop gets on.

    A timer would prove that the timer runs. Here each loop counts its rounds, and ``WATCHDOG=1`` is sent when
    every count has changed since the last time. A loop that hangs, or an event loop that is blocked, so lets
    ``WatchdogSec`` pass, and systemd restarts the process.
    """

    def __init__(self, notifier: Notifier, rounds: Rounds) -> None:
        self._notifier = notifier
        self._rounds = rounds
        self._seen = dict(rounds())

    def look(self) -> tuple[str, ...]:
        """Feed the watchdog if every loop has got on; else the names of those that have not."""
        now = dict(self._rounds())
        waiting = tuple(name for name, count in now.items() if count == self._seen.get(name))
        if not waiting:
            self._seen = now
            self._notifier.alive()
        return waiting


async def keep_telling(
    notifier: Notifier,
    rounds: Rounds,
    status: Callable[[], str],
    stalled: Callable[[str], None],
) -> None:
    """Tell status and progress until cancelled; returns at once when nobody listens.

    `stalled` is told, once each time, which loops have not got on for half of the watchdog's time: the log
    then says why the process was restarted.
    """
    if not notifier.is_heard:
        return
    watchdog = Watchdog(notifier, rounds)
    period = min(LOOK_MAX_S, notifier.watchdog_s / LOOKS_PER_WATCHDOG or LOOK_MAX_S)
    clock = asyncio.get_running_loop()
    fed, is_told = clock.time(), False
    while True:
        await asyncio.sleep(period)
        waiting = watchdog.look()
        late = clock.time() - fed
        if not waiting:
            fed, is_told = clock.time(), False
        elif notifier.watchdog_s and late > notifier.watchdog_s / 2 and not is_told:
            is_told = True
            stalled(f"no progress for {late:.0f} s: {', '.join(waiting)}")
        notifier.status(status())


def _address(text: str) -> str:
    """A path, or an abstract name whose ``@`` stands for a zero byte; other kinds are not spoken here."""
    if text.startswith("@"):
        return "\0" + text[1:]
    return text if text.startswith("/") else ""


def _watchdog_s(environment: Environment) -> float:
    """Seconds until the manager loses patience; 0 when there is no watchdog, or it is another process's."""
    mine = environment.get("WATCHDOG_PID", "")
    period = environment.get("WATCHDOG_USEC", "")
    if mine and mine != str(os.getpid()):
        return 0.0
    return int(period) / 1e6 if period.isascii() and period.isdigit() else 0.0
