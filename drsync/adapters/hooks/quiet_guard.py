"""A program of its own: it makes an application quiet, and lets it go on whatever happens to who asked.

Run as ``python -I -S quiet_guard.py`` in a session of its own, outside of the agent; nothing of drsync is
imported, so that it starts fast and holds little. One line of JSON on its standard input says everything
(`Plan`); after that ``thaw`` means that what was to be done in the quiet is done. Anything else, the end of
the input, a signal, or time that is over ends it. Whatever the way: file systems are thawed first, then the
steps after are run, then every program of the steps before that still runs is killed. What happens is said in
lines of JSON on its standard output.

``FIFREEZE`` may hang in the kernel for as long as the device below does not answer, and cannot be taken back
until it returns. So each runs in a thread, and the thread itself thaws if the time was over when it returned.
"""

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import selectors
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FIFREEZE: Final = 0xC0045877  # linux/fs.h: _IOWR('X', 119, int)
FITHAW: Final = 0xC0045878  # linux/fs.h: _IOWR('X', 120, int)
PIPE_BYTES: Final = 65536
OUTPUT_BYTES_MAX: Final = 4096  # because the last words of a program tell why it failed
HEARD_BYTES: Final = 4096
ENDINGS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGABRT)
"""What a service manager or a person sends to what should end; SIGKILL alone ends it without a word."""

THREAD: Final = b"\0"
"""What wakes the guard when a thread got on; signals wake it with their numbers."""


@dataclass(frozen=True)
class Step:
    """A program of one step; `what` names it for people."""

    what: str
    argv: Sequence[str]


@dataclass(frozen=True)
class Plan:
    """What is to be done. Seconds.

    Attributes:
        before, after: programs, in their order; `before_s` and `after_s` are for all of each together.
        freeze: (mount point, device number of the file system that was found there), in their order.
        freeze_s: no file system stays frozen for longer, counted from when the first was begun.
        hold_s: without file systems: so long is `thaw` waited for.
        env, home: of the programs.
        record: a file that is removed when nothing is frozen any more; empty: none.
    """

    before: Sequence[Step]
    freeze: Sequence[tuple[str, int]]
    after: Sequence[Step]
    before_s: float
    freeze_s: float
    hold_s: float
    after_s: float
    env: Mapping[str, str]
    home: str
    record: str

    @staticmethod
    def read(line: str) -> "Plan":
        """From its line; raises whatever json and dictionaries raise."""
        body = json.loads(line)
        return Plan(
            before=[Step(str(what), [str(word) for word in argv]) for what, argv in body["before"]],
            freeze=[(str(mount), int(device)) for mount, device in body["freeze"]],
            after=[Step(str(what), [str(word) for word in argv]) for what, argv in body["after"]],
            before_s=float(body["before_s"]),
            freeze_s=float(body["freeze_s"]),
            hold_s=float(body["hold_s"]),
            after_s=float(body["after_s"]),
            env={str(name): str(value) for name, value in body["env"].items()},
            home=str(body["home"]),
            record=str(body["record"]),
        )


def say(**words: object) -> None:
    """One line to whoever asked; nobody may be there any more."""
    with contextlib.suppress(OSError, ValueError):
        os.write(1, json.dumps(words).encode() + b"\n")


class Freeze:
    """One file system. Whoever asks for its thaw first decides; nothing is left frozen behind it."""

    def __init__(self, mount: str, device: int, wake: Callable[[], None]) -> None:
        self.mount = mount
        self.error = ""
        self._is_ready = self._has_returned = False
        self.frozen_at: float | None = None
        self._device = device
        self._wake = wake
        self._fd = -1
        self._go = threading.Event()
        self._lock = threading.Lock()
        self._is_over = False
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def freeze(self) -> None:
        """Begin; `has_returned` tells the end."""
        self._go.set()

    def is_prepared(self) -> bool:
        """Whether it may begin, or never will."""
        return self._is_ready or self._has_returned

    def has_returned(self) -> bool:
        """Whether it is frozen, or never will be: `error` tells."""
        return self._has_returned

    def thaw(self) -> str:
        """Thaw it, now or the moment it is frozen; why it was not frozen until now, else empty."""
        with self._lock:
            self._is_over = True
            self._go.set()
            if self.frozen_at is None:
                return self.error or "it was not frozen yet"
            return self._release()

    def join(self) -> None:
        """Wait until the kernel has let go of it."""
        self._thread.join()

    def _work(self) -> None:
        try:
            self._prepare()
            self._is_ready = True
            self._wake()
            self._go.wait()
            if self._is_given_up():
                return
            fcntl.ioctl(self._fd, FIFREEZE, 0)
            with self._lock:
                self.frozen_at = time.monotonic()
                if self._is_over:
                    self._release()
        except OSError as found:
            is_busy = found.errno == errno.EBUSY
            self.error = "somebody else has frozen it" if is_busy else found.strerror or str(found)
        finally:
            self._has_returned = True
            self._wake()

    def _is_given_up(self) -> bool:
        with self._lock:
            return self._is_over

    def _prepare(self) -> None:
        """Write out what is dirty while everybody may still write, so that the freeze is the shorter."""
        self._fd = os.open(self.mount, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        if os.fstat(self._fd).st_dev != self._device:
            raise OSError(errno.ESTALE, "another file system is mounted there now")
        with contextlib.suppress(AttributeError):
            ctypes.CDLL(None).syncfs(self._fd)

    def _release(self) -> str:
        """With the lock held."""
        self.frozen_at = None
        try:
            fcntl.ioctl(self._fd, FITHAW, 0)
        except OSError as found:
            return (
                "somebody else had thawed it"
                if found.errno == errno.EINVAL
                else f"thawing it: {found.strerror}"
            )
        return ""


class Guard:
    """One quiet moment, from the plan to its end."""

    def __init__(self, plan: Plan, ears: socket.socket, wake: Callable[[], None]) -> None:
        self._plan = plan
        self._ears = ears
        self._wake = wake
        self._is_asked = False
        self._why = ""
        self._rest = b""
        self._started: list[subprocess.Popen[bytes]] = []
        self._freezes: list[Freeze] = []
        self._frozen_since = 0.0

    def run(self) -> None:
        """Everything. Never raises for what it finds."""
        plan, limit = self._plan, time.monotonic() + self._plan.before_s
        try:
            if all(self._run(step, limit, is_heard=True) for step in plan.before) and self._freeze(limit):
                say(quiet=True)
                since = self._frozen_since or time.monotonic()
                limit = since + (plan.freeze_s if self._freezes else plan.hold_s)
                if not self._wait(limit, lambda: self._is_asked):
                    self._why = self._why or "its time was over"
        finally:
            self._thaw()
            limit = time.monotonic() + plan.after_s
            for step in plan.after:  # all of them: who lets go of one thing may need the next
                self._run(step, limit, is_heard=False)
            for process in self._started:
                _kill(process.pid)
                process.wait()
            say(done=True, kept=self._is_asked and not self._why)
            for freeze in self._freezes:
                freeze.join()
            if plan.record:
                with contextlib.suppress(OSError):
                    Path(plan.record).unlink()

    # --- what is heard

    def _hear(self, file: int) -> None:
        """What came: a word of who asked, a signal, or a thread that got on."""
        if file == self._ears.fileno():
            for number in self._ears.recv(HEARD_BYTES):
                if number:
                    self._why = self._why or f"the guard was sent {signal.Signals(number).name}"
            return
        data = os.read(0, HEARD_BYTES)
        if not data:
            self._why = self._why or "who asked for it is gone"
        self._rest += data
        *lines, self._rest = self._rest.split(b"\n")
        for line in lines:
            word = line.decode(errors="replace").strip()
            if word == "thaw":
                self._is_asked = True
            else:
                self._why = self._why or word.removeprefix("end").strip() or "it was ended"

    def _wait(self, deadline: float, is_reached: Callable[[], bool]) -> bool:
        """Until `is_reached`; False: time is over, or it is to end."""
        with selectors.DefaultSelector() as selector:
            for file in (0, self._ears.fileno()):
                selector.register(file, selectors.EVENT_READ)
            while not is_reached():
                left = deadline - time.monotonic()
                if self._why or left <= 0:
                    return False
                for key, _ in selector.select(left):
                    self._hear(key.fd)
        return not self._why

    # --- programs

    def _run(self, step: Step, limit: float, *, is_heard: bool) -> bool:
        """One program to its end; what it leaves running goes on until the moment is over."""
        began = time.monotonic()
        ours, theirs = os.pipe2(os.O_CLOEXEC)
        try:
            process = subprocess.Popen(
                list(step.argv),
                stdin=subprocess.DEVNULL,
                stdout=theirs,
                stderr=theirs,
                env=dict(self._plan.env),
                cwd=self._plan.home,
                start_new_session=True,
            )
        except OSError as error:
            os.close(ours)
            say(step=step.what, code=127, output=f"it cannot be started: {error.strerror}", seconds=0.0)
            return False
        finally:
            os.close(theirs)
        os.set_blocking(ours, False)
        output = self._watch(process, ours, limit, is_heard=is_heard)
        os.close(ours)
        code = _ended(process.pid)
        if code is None:
            _kill(process.pid)
        if is_heard:
            self._started.append(process)
        else:
            process.wait()
        words = output.decode(errors="replace").strip()
        say(step=step.what, code=code, output=words, seconds=round(time.monotonic() - began, 3))
        return code == 0 and not (is_heard and self._why)

    def _watch(self, process: "subprocess.Popen[bytes]", ours: int, limit: float, *, is_heard: bool) -> bytes:
        """Until the program ends, time is over, or it is to end; the last of what it printed."""
        output, handle = b"", os.pidfd_open(process.pid)
        with selectors.DefaultSelector() as selector:
            for file in (handle, ours, *((0, self._ears.fileno()) if is_heard else ())):
                selector.register(file, selectors.EVENT_READ)
            while _ended(process.pid) is None and not (is_heard and self._why):
                left = limit - time.monotonic()
                if left <= 0:
                    break
                for key, _ in selector.select(left):
                    if key.fd in (0, self._ears.fileno()):
                        self._hear(key.fd)
                    elif key.fd == ours:
                        data = os.read(ours, PIPE_BYTES)
                        output = (output + data)[-OUTPUT_BYTES_MAX:]
                        if not data:
                            selector.unregister(ours)
        os.close(handle)
        with contextlib.suppress(BlockingIOError):
            while data := os.read(ours, PIPE_BYTES):
                output = (output + data)[-OUTPUT_BYTES_MAX:]
        return output

    # --- file systems

    def _freeze(self, limit: float) -> bool:
        """All of them, or none stays frozen."""
        self._freezes = [Freeze(mount, device, self._wake) for mount, device in self._plan.freeze]
        for freeze in self._freezes:
            if not self._wait(limit, freeze.is_prepared):
                return self._not_frozen(freeze, "writing out what was dirty took too long")
            if freeze.error:
                return self._not_frozen(freeze, freeze.error)
        self._frozen_since = time.monotonic()
        until = self._frozen_since + self._plan.freeze_s
        for freeze in self._freezes:
            say(freezing=freeze.mount)
            freeze.freeze()
            if not self._wait(until, freeze.has_returned):
                return self._not_frozen(freeze, "freezing it took too long")
            if freeze.error:
                return self._not_frozen(freeze, freeze.error)
        return True

    def _not_frozen(self, freeze: Freeze, error: str) -> bool:
        say(step=f"fsfreeze {freeze.mount}", code=1, output=self._why or error, seconds=0.0)
        return False

    def _thaw(self) -> None:
        """The last one first."""
        ends = [
            (freeze, freeze.frozen_at is not None, freeze.thaw(), time.monotonic())
            for freeze in reversed(self._freezes)
        ]
        for freeze, was_frozen, lost, at in ends:
            if was_frozen:
                why, ms = self._why or lost, round((at - self._frozen_since) * 1000)
                say(thawed=freeze.mount, held=self._is_asked and not why, ms=ms, why=why)


def _ended(pid: int) -> int | None:
    """The exit code of a child, negative for a signal. It stays a child: nobody else gets its number."""
    found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
    if found is None:
        return None
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def main() -> None:
    """Read the plan, say that we are there, and carry it out."""
    ears, mouth = socket.socketpair()
    for end in (ears, mouth):
        end.settimeout(0)
    signal.set_wakeup_fd(mouth.fileno(), warn_on_full_buffer=False)
    for number in ENDINGS:
        signal.signal(number, lambda _number, _frame: None)

    def wake() -> None:
        with contextlib.suppress(BlockingIOError):
            mouth.send(THREAD)

    line = b""
    while not line.endswith(b"\n"):
        data = os.read(0, 1)  # a byte at a time, because what follows is read elsewhere
        if not data:
            return
        line += data
    plan = Plan.read(line.decode())
    os.set_blocking(0, False)
    say(ready=True)
    Guard(plan, ears, wake).run()


if __name__ == "__main__":
    main()
