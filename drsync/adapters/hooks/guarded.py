"""The agent's end of a quiet moment: starts the guard, hears it, and thaws in its place if it was killed."""

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from drsync.adapters.hooks import quiet_guard
from drsync.adapters.hooks.freezing import Record, thaw_each
from drsync.adapters.hooks.programs import REAP_S
from drsync.adapters.hooks.removal import end_processes
from drsync.model.errors import TransientError

START_S = 10.0  # because an interpreter on a machine that swaps takes its time
LINE_BYTES_MAX = 1 << 16  # because a word of the guard holds a few kilobytes of what a program printed

Word = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Work:
    """What a guard is to do; see `quiet_guard.Plan`. Steps are (what, argv)."""

    before: Sequence[tuple[str, Sequence[str]]]
    freeze: Sequence[tuple[str, int]]
    after: Sequence[tuple[str, Sequence[str]]]
    before_s: float
    freeze_s: float
    hold_s: float
    after_s: float
    env: Mapping[str, str]
    home: str
    record: str


class Guarded:
    """One guard. It ends by itself; whoever started it reads what it says, and closes it.

    Attributes:
        is_done: it said that everything goes on.
    """

    def __init__(self, process: asyncio.subprocess.Process, work: Work, record: Record) -> None:
        self._process = process
        self._work = work
        self._record = record
        self.is_done = False

    @staticmethod
    async def start(work: Work, record: Record) -> "Guarded":
        """Start it with its plan; nothing is done yet when this returns. Raises TransientError."""
        path = Path(work.record)
        pipe = asyncio.subprocess.PIPE
        try:
            await asyncio.to_thread(record.write, path)
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-S",
                quiet_guard.__file__,
                stdin=pipe,
                stdout=pipe,
                stderr=asyncio.subprocess.STDOUT,
                env=dict(work.env),
                cwd="/",
                start_new_session=True,
                limit=LINE_BYTES_MAX,
            )
        except OSError as error:
            await asyncio.to_thread(path.unlink, missing_ok=True)
            raise TransientError(f"the guard cannot be started: {error}", code="not_started") from error
        guarded = Guarded(process, work, record)
        guarded._tell(json.dumps(asdict(work)))
        return guarded

    @property
    def is_running(self) -> bool:
        """Whether its process is still there."""
        return self._process.returncode is None

    @property
    def longest_s(self) -> float:
        """It has come to its end after this, unless a freeze hangs in the kernel. Seconds."""
        work = self._work
        return START_S + work.before_s + work.freeze_s + work.hold_s + work.after_s + REAP_S

    async def read(self) -> Word | None:
        """What it says next; None at its end. Raises TransientError: it does not speak as it should."""
        assert self._process.stdout is not None
        try:
            line = await self._process.stdout.readline()
        except ValueError as error:  # a line that is too long
            raise TransientError(f"the guard: {error}") from error
        if not line:
            return None
        word = _read(line)
        if word is None:
            raise TransientError(f"the guard says: {line[:200].decode(errors='replace').strip()}")
        self.is_done = self.is_done or word.get("done") is True
        return word

    def thaw(self) -> None:
        """What was to be done in the quiet is done. At once: nothing is waited for."""
        self._tell("thaw")

    def end(self, why: str) -> None:
        """Give up, thaw and let go on. At once; harmless when it has ended."""
        self._tell(f"end {' '.join(why.split())}")

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        with suppress(OSError, RuntimeError):
            self._process.stdin.write(line.encode() + b"\n")

    async def close(self) -> None:
        """Whatever state it is in: everything goes on, and nothing is left frozen. Again is harmless."""
        assert self._process.stdin is not None
        self._process.stdin.close()  # it is alone from here on, if it still lives
        with suppress(TimeoutError):
            async with asyncio.timeout(self.longest_s):
                await self._process.wait()  # not before a freeze that hangs in the kernel has come back
        if self._process.returncode is not None and not self.is_done:
            await asyncio.to_thread(self._thaw_left)

    def _thaw_left(self) -> None:
        """It was killed."""
        end_processes(self._record.mark)
        _, errors = thaw_each(reversed(self._record.mounts))
        if not errors:  # else the next start of the agent tries again
            with suppress(OSError):
                Path(self._work.record).unlink(missing_ok=True)


def _read(line: bytes) -> Word | None:
    with suppress(ValueError):
        word = json.loads(line)
        return word if isinstance(word, dict) else None
    return None
