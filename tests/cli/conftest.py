"""A coordinator that says what a test wants, on a unix socket; the command runs in a thread like a person."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pytest
from aiohttp import web

from drsync.cli import main, output

Json = dict[str, object]


@dataclass
class FakeCoordinator:
    """Answers by method and path; keeps what it was asked."""

    answers: dict[tuple[str, str], tuple[int, object]] = field(default_factory=dict)
    asked: list[tuple[str, str, object]] = field(default_factory=list)
    operations: dict[str, list[Json]] = field(default_factory=dict)

    def answer(self, method: str, path: str, body: object, status: int = 200) -> None:
        self.answers[method, path] = (status, body)

    def refuse(self, method: str, path: str, exit_code: int, message: str, remedy: str = "") -> None:
        error = {"code": "some_code", "message": message, "remedy": remedy, "exit": exit_code}
        self.answer(method, path, {"error": error}, status=409)

    def operation(self, path: str, *states: Json) -> None:
        """A POST to `path` starts an operation that goes through `states`, one for each question."""
        self.answer("POST", path, {"operation": "ab" * 16}, status=202)
        self.operations["ab" * 16] = list(states)

    async def handle(self, request: web.Request) -> web.Response:
        body: object = await request.json() if request.can_read_body else dict(request.query)
        self.asked.append((request.method, request.path, body))
        if request.path.startswith("/v1/operations/"):
            states = self.operations[request.path.rpartition("/")[2]]
            return web.json_response(states.pop(0) if len(states) > 1 else states[0])
        status, answer = self.answers.get((request.method, request.path), (404, {}))
        if isinstance(answer, bytes):
            return web.Response(body=answer, content_type="text/html")
        return web.json_response(answer, status=status)


@pytest.fixture
async def coordinator(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeCoordinator]:
    fake = FakeCoordinator()
    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", fake.handle)
    runner = web.AppRunner(application)
    await runner.setup()
    with tempfile.TemporaryDirectory() as folder:  # because tmp_path may be too long for a unix socket
        socket = Path(folder) / "c.sock"
        await web.UnixSite(runner, str(socket)).start()
        monkeypatch.setenv("DRSYNC_COORDINATOR", f"unix:{socket}")
        monkeypatch.delenv("DRSYNC_TOKEN_FILE", raising=False)
        yield fake
        await runner.cleanup()


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


class Drsync(Protocol):
    """Runs a command as a shell would."""

    async def __call__(self, *words: str) -> Ended: ...


@pytest.fixture
def drsync(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Drsync:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TZ", "UTC")

    def run(words: tuple[str, ...]) -> Ended:
        output.console.cache_clear()
        with pytest.raises(SystemExit) as left:
            main.main(words)
        output.console.cache_clear()
        out, err = capfd.readouterr()
        assert isinstance(left.value.code, int)
        return Ended(left.value.code, out, err)

    async def in_a_thread(*words: str) -> Ended:
        return await asyncio.to_thread(run, words)

    return in_a_thread
