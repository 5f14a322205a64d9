"""A person at a terminal: a command that sees one, what it shows, and what is typed."""

import asyncio
import os
import pty
import sys
from types import TracebackType
from typing import Self

from tests.integration.site import Site

SAYS_S = 30.0
ENDS_S = 60.0
PIECE_BYTES = 4096
ENVIRONMENT = {"TERM": "dumb", "COLUMNS": "200", "LINES": "50"}


class Terminal:
    """``drsync ARGUMENTS`` on a terminal of its own."""

    def __init__(self, place: Site, *arguments: str) -> None:
        self._command = [sys.executable, "-P", "-m", "drsync.cli.main", *arguments]
        self._environment = os.environ | ENVIRONMENT
        self._environment["DRSYNC_COORDINATOR"] = f"unix:{place.layout.coordinator_socket}"
        self._environment.pop("DRSYNC_TOKEN_FILE", None)
        self._ours = -1
        self._process: asyncio.subprocess.Process | None = None
        self._seen = ""

    async def __aenter__(self) -> Self:
        self._ours, theirs = pty.openpty()
        os.set_blocking(self._ours, False)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=theirs, stdout=theirs, stderr=theirs, env=self._environment
            )
        finally:
            os.close(theirs)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        os.close(self._ours)

    async def until(self, words: str) -> str:
        """All it showed, once `words` are there; lines that were wrapped count as one."""
        async with asyncio.timeout(SAYS_S):
            while words not in self._shown():
                assert not self._has_ended(), f"it ended and never said {words!r}: {self._seen}"
                self._take()
                await asyncio.sleep(0.02)
        return self._shown()

    async def answer(self, line: str) -> int:
        """Type a line; how the command ended."""
        assert self._process is not None
        os.write(self._ours, f"{line}\n".encode())
        async with asyncio.timeout(ENDS_S):
            while self._process.returncode is None:
                self._take()  # else it may wait for room
                await asyncio.sleep(0.02)
        return self._process.returncode

    def _has_ended(self) -> bool:
        assert self._process is not None
        return self._process.returncode is not None

    def _shown(self) -> str:
        return " ".join(self._seen.split())

    def _take(self) -> None:
        try:
            self._seen += os.read(self._ours, PIECE_BYTES).decode(errors="replace")
        except BlockingIOError:
            pass
        except OSError:
            pass  # the other end is closed: it has ended
