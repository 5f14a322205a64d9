"""A full disk under a copy: what it keeps the copy from doing, and the search for space until there is some.

Unlike every other write error this one loses nothing: it is met before anything is acknowledged, and the
files are as trustworthy as before. So the copy pauses, says why, and goes on by itself (decision 0017).
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from drsync.model.copy import CopyState
from drsync.model.errors import DrsyncError, NoSpaceError
from drsync.ports.clock import Clock

RETRY_LOW_S, RETRY_HIGH_S = 0.5, 10.0  # because reserving a file is cheap, and a person watches the disk
IMAGES_RETRY_S = 5.0  # because each try may write a gigabyte again


@dataclass(slots=True)
class Space:
    """What a full disk keeps a copy from doing.

    Attributes:
        journal: why no record can be appended; empty while it can.
        images: why the images cannot be brought forward; reads find what is newer in the journal meanwhile.
        quota: why a replica may not append more although the disk would take it: checkpoints on hold use up
            the quota, and the policy is to wait (decision 25).
    """

    journal: str = ""
    images: str = ""
    quota: str = ""

    @property
    def reason(self) -> str:
        """In words; empty when there is space."""
        return self.journal or self.images

    def require(self) -> None:
        """Nothing to be appended is taken now. Raises NoSpaceError."""
        if self.journal:
            raise NoSpaceError(self.journal)

    def require_quota(self) -> None:
        """Raises NoSpaceError: checkpoints on hold leave no room."""
        if self.quota:
            raise NoSpaceError(self.quota)


class Pausable(Protocol):
    """A copy, as the search for space needs it."""

    @property
    def space(self) -> Space:
        """What it lacks."""
        ...

    @property
    def state(self) -> CopyState:
        """FAILED ends the search."""
        ...

    async def make_room(self) -> None:
        """Try. Raises NoSpaceError, FailedCopyError."""
        ...


class RoomSeeker:
    """Tries to reserve room again and again, with growing pauses, and tells when it worked."""

    def __init__(
        self,
        copy: Pausable,
        clock: Clock,
        on_back: Callable[[], None],
        on_trouble: Callable[[DrsyncError], None],
    ) -> None:
        self._copy = copy
        self._clock = clock
        self._on_back = on_back
        self._on_trouble = on_trouble
        self._wanted = asyncio.Event()
        self._wait_s = RETRY_LOW_S
        self._back_at = float("-inf")

    def seek(self) -> None:
        """Something found no space."""
        self._wanted.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            if self._clock.now() - self._back_at > RETRY_HIGH_S:
                self._wait_s = RETRY_LOW_S  # else it came back for a moment only: go on with longer pauses
            while self._copy.space.reason and self._copy.state is not CopyState.FAILED:
                await self._clock.sleep_until(self._clock.now() + self._wait_s)
                self._wait_s = min(2 * self._wait_s, RETRY_HIGH_S)
                await self._try()

    async def _try(self) -> None:
        try:
            await self._copy.make_room()
        except NoSpaceError:
            return
        except DrsyncError as error:
            self._on_trouble(error)
            return
        if not self._copy.space.reason:
            self._back_at = self._clock.now()
            self._on_back()
