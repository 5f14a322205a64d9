"""How a command asks the coordinator; the asking itself is in `drsync.adapters.api_client`."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from drsync.adapters.api_client.client import ApiClient as Client
from drsync.adapters.api_client.client import Query, quote
from drsync.adapters.api_client.doc import Doc
from drsync.cli.options import Talk

__all__ = ["Client", "Query", "ask", "quote", "run"]

Result = TypeVar("Result")


def run(question: Coroutine[None, None, Result]) -> Result:
    """Run one command's questions to their end."""
    return asyncio.run(question)


def ask(talk: Talk, path: str, query: Query | None = None) -> Doc:
    """One question and its answer.

    Raises:
        DrsyncError: the coordinator is not reached, or says no.
    """

    async def get() -> Doc:
        async with Client(talk.coordinator, talk.token_file) as client:
            return await client.get(path, query)

    return run(get())
