"""Steps under way at an agent: one at a time under each name, never longer than somebody waits for them.

Who takes something away ends first what is still being made under that name. Otherwise a step that its
coordinator has given up would make something after the proof that nothing is left.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from drsync.model.errors import TransientError

LATE_S = 4.0  # because the coordinator waits 5 s longer than the time it gives a step


class Steps:
    """By the tags of their items."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._scopes: dict[str, set[asyncio.Timeout]] = {}

    @asynccontextmanager
    async def under_way(self, tag: str, seconds: float) -> AsyncIterator[None]:
        """Perform a step within. Raises TransientError: it took too long, or `end` was called."""
        scopes, scope = self._scopes.setdefault(tag, set()), asyncio.timeout(seconds + LATE_S)
        try:
            async with scope:
                scopes.add(scope)
                async with self._locks.setdefault(tag, asyncio.Lock()):
                    yield
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise TransientError(
                "given up: its time was over, or it was taken away", code="given_up"
            ) from error
        finally:
            scopes.discard(scope)

    async def end(self, prefix: str) -> None:
        """Give up the steps whose tag begins with `prefix`; on return none of them does anything any more."""
        now = asyncio.get_running_loop().time()
        for tag in [tag for tag in self._scopes if tag.startswith(prefix)]:
            for scope in self._scopes.get(tag, ()):
                scope.reschedule(now)
            async with self._locks.setdefault(tag, asyncio.Lock()):
                pass  # whoever had it is through
            if not self._scopes.get(tag):
                self._scopes.pop(tag, None)
                self._locks.pop(tag, None)
