"""Asks the coordinator: HTTP on its unix socket, or on a loopback address with a token."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
from yarl import URL

from drsync.adapters.api_client.doc import Doc, Json
from drsync.adapters.api_client.failures import FAILED, NOT_REACHED, USAGE, error_for
from drsync.model.errors import DrsyncError, PermanentError, TransientError, UsageError

REQUEST_TIMEOUT_S = 30.0  # because a coordinator that answers later than that needs a look of its own
ANSWER_BYTES_MAX = 64 << 20  # because a status of a thousand groups is a tenth of it
TOKEN_BYTES_MAX = 4096
ERRORS_FROM = 400  # RFC 9110: 4xx and 5xx are errors

Query = Mapping[str, str | int]


class ApiClient:
    """A connection to one coordinator. Every method raises `TransientError` when it is not reached."""

    def __init__(self, coordinator: str, token_file: Path | None) -> None:
        """`coordinator` is ``unix:PATH`` or ``http://HOST:PORT``."""
        self._name = coordinator
        self._token = _read_token(token_file)
        self._path = ""
        if coordinator.startswith("unix:"):
            self._path = coordinator.removeprefix("unix:").removeprefix("//")
            self._base = URL("http://coordinator")
        elif coordinator.startswith(("http://", "https://")):
            self._base = URL(coordinator)
        else:
            raise UsageError(
                f"{coordinator!r} is no address of a coordinator",
                remedy="Write unix:/path/to/coordinator.sock or http://127.0.0.1:PORT.",
            )
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.UnixConnector(self._path) if self._path else aiohttp.TCPConnector()
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        self._session = aiohttp.ClientSession(connector=connector, headers=headers, trust_env=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def get(self, path: str, query: Query | None = None, wait_s: float = 0.0) -> Doc:
        """The answer to GET; `wait_s` is how long the coordinator may hold it back."""
        words = _words(query)
        if wait_s:
            words["wait_s"] = f"{wait_s:g}"
        return Doc(_parse(await self._ask("GET", path, words, None, REQUEST_TIMEOUT_S + wait_s), path))

    async def post(self, path: str, body: Json, wait_s: float = 0.0) -> Doc:
        """The answer to POST; `wait_s` is how long what is asked for may take."""
        return Doc(_parse(await self._ask("POST", path, {}, body, REQUEST_TIMEOUT_S + wait_s), path))

    async def fetch(self, path: str, query: Query | None = None) -> bytes:
        """The answer to GET as it is: a page."""
        return await self._ask("GET", path, _words(query), None, REQUEST_TIMEOUT_S)

    async def _ask(
        self, method: str, path: str, query: dict[str, str], body: Json | None, timeout_s: float
    ) -> bytes:
        assert self._session is not None
        try:
            async with self._session.request(
                method,
                self._base.joinpath(path.lstrip("/"), encoded=True),  # by `quote`
                params=query,
                json=body,
                timeout=aiohttp.ClientTimeout(total=timeout_s),
            ) as answer:
                content = await answer.content.read(ANSWER_BYTES_MAX + 1)
                while not answer.content.at_eof() and len(content) <= ANSWER_BYTES_MAX:
                    content += await answer.content.read(ANSWER_BYTES_MAX + 1 - len(content))
                if answer.status >= ERRORS_FROM:
                    raise _failure(answer.status, content, self._token)
                return content
        except TimeoutError as error:
            raise TransientError(
                f"the coordinator at {self._name} did not answer within {timeout_s:g} s",
                remedy="Look at its log; replication goes on without it.",
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise self._not_reached(error) from error

    def _not_reached(self, error: Exception) -> TransientError:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        return TransientError(
            f"no coordinator at {self._name}: {reason}",
            remedy="Start it (drsync coordinator run --config F), or name another one with --coordinator "
            "or DRSYNC_COORDINATOR; drsync lab status shows the lab's.",
        )


def _words(query: Query | None) -> dict[str, str]:
    """A query as it is sent; what is empty is left out."""
    return {key: str(value) for key, value in (query or {}).items() if value != ""}


def quote(name: str) -> str:
    """A name as one step of a path; everything but plain characters is escaped."""
    if name in {"", ".", ".."}:
        raise UsageError(f"{name!r} is no name")
    return "".join(sign if sign.isalnum() or sign in "-_" else _percent(sign) for sign in name)


def _percent(sign: str) -> str:
    return "".join(f"%{byte:02X}" for byte in sign.encode())


def _parse(content: bytes, path: str) -> object:
    try:
        value: object = json.loads(content)
    except ValueError as error:
        raise PermanentError(f"the coordinator answered {path} with something that is not JSON") from error
    return value


def _failure(status: int, content: bytes, token: str) -> DrsyncError:
    try:
        error = Doc(json.loads(content)).doc("error")
    except ValueError:
        error = Doc()
    if error:
        exit_code = error.whole("exit", FAILED)
        message = error.text("message", f"the coordinator answered with status {status}")
        return error_for(exit_code, message, error.text("code", "failed"), error.text("remedy"))
    if status in {401, 403}:
        remedy = "Name the file with the token in DRSYNC_TOKEN_FILE or --token-file."
        said = "refused our token" if token else "asks for a token"
        return PermanentError(f"the coordinator {said}", code="unauthorized", remedy=remedy)
    known = {404: USAGE, 502: NOT_REACHED, 503: NOT_REACHED, 504: NOT_REACHED}
    return error_for(
        known.get(status, FAILED), f"the coordinator answered with status {status}", f"http_{status}", ""
    )


def _read_token(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        with path.open("rb") as file:
            return file.read(TOKEN_BYTES_MAX).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"cannot read the token in {path}: {error}", remedy="Look at DRSYNC_TOKEN_FILE."
        ) from error
