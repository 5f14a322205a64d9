"""A relay runs on uvloop."""

import asyncio
from collections.abc import Callable, Mapping

import uvloop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Because that is what serves in production."""
    return {"uvloop": uvloop.new_event_loop}
