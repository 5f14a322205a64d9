"""Blocking work beside the loop: short work is never abandoned half-way, long work never crowds it out."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

LONG_THREADS = 2  # because reading whole volumes is bounded by the disk; the others wait for their turn
_long = ThreadPoolExecutor(LONG_THREADS, thread_name_prefix="long")


async def in_thread(work: Callable[[], T]) -> T:
    """Run `work` in a thread. When cancelled, wait until it is done before giving up: two never overlap."""
    running = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


async def in_long_thread(work: Callable[[], T]) -> T:
    """Run work of minutes or hours beside the threads that syncs of journals need; it may wait for others.

    When cancelled it goes on: `work` itself must notice that nobody waits.
    """
    return await asyncio.get_running_loop().run_in_executor(_long, work)
