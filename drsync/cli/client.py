"""How a command asks the coordinator; the asking itself is in `drsync.adapters.api_client`."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from drsync.adapters.api_client.client import ApiClient as Client
from drsync.adapters.api_client.client import Query, quote

__all__ = ["Client", "Query", "quote", "run"]

Result = TypeVar("Result")


def run(question: Coroutine[None, None, Result]) -> Result:
    """Run one command's questions to their end."""
    return asyncio.run(question)
