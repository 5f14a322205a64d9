"""A Toxiproxy server and its client: the one kept here, or a real one at TOXIPROXY_URL.

The client is the package toxiproxy-python as it is; it blocks, so it works in a thread.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol
from urllib.parse import urlsplit

import toxiproxy  # type: ignore[import-untyped]  # the package ships no types

URL_VARIABLE = "TOXIPROXY_URL"
END_S = 10.0


class ClientProxy(Protocol):
    """`toxiproxy.Proxy`, as far as it is used."""

    name: str
    listen: str
    enabled: bool

    def add_toxic(self, **toxic: object) -> None: ...

    def destroy_toxic(self, toxic_name: str) -> bool: ...

    def toxics(self) -> dict[str, object]: ...

    def enable(self) -> None: ...

    def disable(self) -> None: ...

    def destroy(self) -> bool: ...


class Client(Protocol):
    """`toxiproxy.Toxiproxy`, as far as it is used."""

    def create(
        self, upstream: str, name: str, listen: str | None = None, enabled: bool | None = None
    ) -> ClientProxy: ...

    def get_proxy(self, proxy_name: str) -> ClientProxy | None: ...

    def proxies(self) -> dict[str, ClientProxy]: ...

    def populate(self, proxies: list[dict[str, object]]) -> list[ClientProxy]: ...

    def reset(self) -> bool: ...

    def version(self) -> bytes | None: ...

    def update_api_consumer(self, host: str, port: int) -> None: ...


def client_of(url: str) -> Client:
    """A client for the server at `url`. The package keeps one server for the whole process."""
    made: Client = toxiproxy.Toxiproxy()
    parts = urlsplit(url)
    made.update_api_consumer(parts.hostname or "127.0.0.1", parts.port or 8474)
    return made


@contextmanager
def server(seed: int = 0) -> Iterator[str]:
    """The URL of a server: the one in the environment, else one that is started and ended here."""
    given = os.environ.get(URL_VARIABLE, "")
    if given:
        yield given
        return
    command = [sys.executable, "-m", "tests.chaos.toxiproxy", "--port", "0", "--seed", str(seed)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield str(json.loads(process.stdout.readline())["url"])
    finally:
        process.terminate()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


async def in_thread(call: "object", *arguments: object, **named: object) -> object:
    """Run a blocking call of the client beside the loop."""
    assert callable(call)
    return await asyncio.to_thread(call, *arguments, **named)
