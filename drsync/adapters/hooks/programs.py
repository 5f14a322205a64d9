"""Programs run to their end: argv lists, a small environment, a deadline for the whole process group.

There is no shell. What a program prints is kept up to a limit and read to its end, so that it never blocks on
us. Which programs may run at all is decided by `Allowed`, from the agent's own configuration.
"""

import asyncio
import os
import shutil
import signal
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import override

from drsync.adapters.hooks.kernel import VARIABLE
from drsync.model.errors import RefusedError, TransientError, UsageError

OUTPUT_BYTES_MAX = 16 << 10  # because a page or two of what it said is evidence, and more is a log file
READ_BYTES = 64 << 10
REAP_S = 5.0  # because a process that was killed is gone at once, unless it hangs in a disk
SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NOT_STARTED = 127  # what shells use for a program that is not there


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended. `code` is None when it was killed at its deadline; negative: by a signal."""

    code: int | None
    output: str
    seconds: float

    @override
    def __str__(self) -> str:
        """As people read it."""
        if self.code is None:
            return f"was killed at its deadline after {self.seconds:.1f} s"
        return f"was killed by signal {-self.code}" if self.code < 0 else f"ended with exit code {self.code}"


class Allowed:
    """The programs that runbooks may run on this machine: files, or everything in a directory."""

    def __init__(self, entries: Sequence[Path]) -> None:
        self._entries = tuple(entries)

    def find(self, word: str) -> Path:
        """The program that the first word of an argv list means.

        Raises:
            RefusedError: it is not allowed here, or somebody else could change it.
        """
        candidate = self._candidate(word)
        if candidate is None:
            raise RefusedError(
                f"the program {word!r} is not allowed here",
                code="hook_not_allowed",
                remedy="Name it, or its directory, in [hooks] allow of this agent's configuration.",
            )
        _require_safe(candidate)
        return candidate

    def _candidate(self, word: str) -> Path | None:
        path = Path(word)
        if not path.is_absolute():
            if "/" in word or word in {"", ".", ".."}:
                return None
            return next((found for entry in self._entries if (found := _named(entry, word))), None)
        real = _resolved(path)
        for entry in self._entries:
            base = _resolved(entry)
            if real == base or (base.is_dir() and real.parent == base):
                return real if real.is_file() else None
        return None


def _named(entry: Path, word: str) -> Path | None:
    """The program called `word` that an entry allows; symbolic links may not lead out of its directory."""
    base = _resolved(entry)
    if base.is_dir():
        real = _resolved(base / word)
        return real if real.parent == base and real.is_file() else None
    return base if entry.name == word and base.is_file() else None


def _resolved(path: Path) -> Path:
    """Without symbolic links; a circle of them leads nowhere, as the path itself does."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path


def _require_safe(path: Path) -> None:
    """Nobody but us and root can put something else in its place: up to the root, as names can move."""
    for one in (path, *path.parents):
        status = one.stat()
        is_sticky = bool(status.st_mode & stat.S_ISVTX) and one != path  # of a directory only
        is_shared = bool(status.st_mode & (stat.S_IWOTH | stat.S_IWGRP)) and not is_sticky
        if is_shared or status.st_uid not in {0, os.geteuid()}:
            raise RefusedError(
                f"{one} can be changed by others",
                code="hook_not_safe",
                remedy=f"chown root {one} && chmod go-w {one}",
            )
    if not os.access(path, os.X_OK):
        raise RefusedError(f"{path} is not executable", code="hook_not_safe", remedy=f"chmod +x {path}")


def environment(mark: str, home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a program sees of ours: a search path, a place of its own, its mark, and what the step sets."""
    place = str(home)
    return {
        "PATH": SEARCH,
        "LC_ALL": "C.UTF-8",
        "HOME": place,
        "TMPDIR": place,
        **(extra or {}),
        VARIABLE: mark,
    }


async def run(argv: Sequence[str], env: Mapping[str, str], home: Path, seconds: float) -> Ended:
    """Run a program to its end, or to its deadline; nothing of its process group is left afterwards.

    Raises:
        UsageError: it could not be started.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    process = await start(argv, env, home)
    output = Tail()
    try:
        async with asyncio.timeout_at(began + seconds):
            await output.read(process)
            await process.wait()
    except TimeoutError:
        return Ended(None, output.text, loop.time() - began)
    finally:
        await end_group(process)
    return Ended(process.returncode, output.text, loop.time() - began)


async def run_tool(*argv: str, seconds: float = 30.0) -> str:
    """Run a tool of the system for ourselves; what it printed.

    Raises:
        TransientError: it is not there, or did not end well.
    """
    env = {"PATH": SEARCH, "LC_ALL": "C.UTF-8"}
    try:
        ended = await run([tool(argv[0]), *argv[1:]], env, Path("/"), seconds)
    except UsageError as error:
        raise TransientError(f"{argv[0]}: {error}") from error
    if ended.code != 0:
        raise TransientError(f"{' '.join(argv)} {ended}: {ended.output.strip()}")
    return ended.output


def tool(name: str) -> str:
    """The path of a tool of the system. Raises UsageError."""
    found = shutil.which(name, path=SEARCH)
    if found is None:
        raise UsageError(f"{name} is not installed", code="not_started", remedy=f"Install {name}.")
    return found


async def start(
    argv: Sequence[str], env: Mapping[str, str], home: Path, log: int | None = None
) -> asyncio.subprocess.Process:
    """Start a program in a session and process group of its own; it prints to `log` or to us. UsageError."""
    pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    try:
        return await asyncio.create_subprocess_exec(
            *argv,
            stdin=null,
            stdout=pipe if log is None else log,
            stderr=asyncio.subprocess.STDOUT,
            env=dict(env),
            cwd=home,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(f"{argv[0]} cannot be started: {reason}", code="not_started") from error


async def end_group(process: asyncio.subprocess.Process, grace_s: float = 0.0) -> None:
    """End a process and its group: SIGTERM and a moment if there is one, then SIGKILL. Never fails."""
    loop = asyncio.get_running_loop()
    if grace_s > 0 and process.returncode is None:
        send_group(process.pid, signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout_at(loop.time() + grace_s):
                await process.wait()
    send_group(process.pid, signal.SIGKILL)
    with suppress(TimeoutError):
        async with asyncio.timeout_at(loop.time() + REAP_S):
            await process.wait()


def send_group(pid: int, number: signal.Signals) -> None:
    """A signal to the group that a process leads; it may be gone."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


class Tail:
    """What a program printed: the beginning and the end, with a word about what is between."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = bytearray()
        self._left_out = 0

    async def read(self, process: asyncio.subprocess.Process) -> None:
        """Read until nobody can print any more."""
        assert process.stdout is not None
        while data := await process.stdout.read(READ_BYTES):
            self.add(data)

    def add(self, data: bytes) -> None:
        """More was printed."""
        half = OUTPUT_BYTES_MAX // 2
        room = half - len(self._head)
        self._head += data[:room] if room > 0 else b""
        self._tail += data[max(room, 0) :]
        over = len(self._tail) - half
        if over > 0:
            del self._tail[:over]
            self._left_out += over

    @property
    def text(self) -> str:
        """So far, as text."""
        between = f"\n… {self._left_out} bytes left out …\n".encode() if self._left_out else b""
        return (self._head + between + self._tail).decode(errors="replace")
