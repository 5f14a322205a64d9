"""The volumes of a self-drill's view, served to checkers: private to them, and read slowly."""

import errno
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from drsync.engine.background_reading import Pace
from drsync.engine.views import GroupView, ViewDevice
from drsync.ports.clock import Clock
from drsync.ports.volume import Completion, Extent

Spawn = Callable[[Coroutine[None, None, None]], None]


class PacedExports:
    """One export per volume, under its own name; all share one pace."""

    def __init__(self, view: GroupView, pace: Pace, clock: Clock, spawn: Spawn) -> None:
        """`spawn` starts a task that lives as long as the process."""
        self._view = view
        self._devices = {
            volume.name: PacedDevice(view.device(volume), pace, clock, spawn) for volume in view.spec.volumes
        }

    @property
    def errors(self) -> int:
        """Reads that could not be answered: then a checker's word means nothing."""
        return sum(device.errors for device in self._devices.values())

    def names(self) -> list[str]:
        """See Exports."""
        return sorted(self._devices)

    def describe(self, name: str) -> str:
        """See Exports."""
        if name not in self._devices:
            return ""
        return f"NOT production: volume {name} of group {self._view.spec.name} in a self-drill"

    def find(self, name: str) -> "PacedDevice | None":
        """See Exports."""
        return self._devices.get(name)


@dataclass(slots=True)
class PacedDevice:
    """A volume of a view; reads wait while too much was read.

    Attributes:
        errors: reads that could not be answered.
    """

    inner: ViewDevice
    pace: Pace
    clock: Clock
    spawn: Spawn
    errors: int = 0
    _parked: "WeakKeyDictionary[Completion, None]" = field(default_factory=WeakKeyDictionary)

    @property
    def size(self) -> int:
        """Bytes."""
        return self.inner.size

    @property
    def is_read_only(self) -> bool:
        """See BlockDevice."""
        return self.inner.is_read_only

    def write(self, offset: int, data: memoryview, cookie: bytes, *, fua: bool) -> None:
        """See BlockDevice."""
        self.inner.write(offset, data, cookie, fua=fua)

    def zero(self, offset: int, length: int, cookie: bytes, *, fua: bool, is_trim: bool) -> None:
        """See BlockDevice."""
        self.inner.zero(offset, length, cookie, fua=fua, is_trim=is_trim)

    def flush(self, cookie: bytes) -> None:
        """See BlockDevice."""
        self.inner.flush(cookie)

    def submit(self, completion: Completion) -> None:
        """See BlockDevice."""
        self.inner.submit(completion)

    def read_into(self, offset: int, target: memoryview) -> int:
        """See BlockDevice."""
        began = self.clock.now()
        if self.pace.wait_s(began):
            return errno.EAGAIN
        error = self.inner.read_into(offset, target)
        self.pace.take(len(target), began, self.clock.now())
        self.errors += bool(error)
        return error

    def park(self, completion: Completion) -> None:
        """See BlockDevice. One timer for all of them: those that have to wait again ask again."""
        if not self._parked:
            self.spawn(self._resume())
        self._parked[completion] = None

    async def _resume(self) -> None:
        await self.clock.sleep_until(self.clock.now() + self.pace.wait_s(self.clock.now()))
        parked, self._parked = list(self._parked), WeakKeyDictionary()
        for completion in parked:
            completion.resume()

    def extents(self, offset: int, length: int, most: int) -> list[Extent]:
        """See BlockDevice."""
        return self.inner.extents(offset, length, most)
