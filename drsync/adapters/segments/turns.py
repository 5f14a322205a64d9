"""Whose turn it is: syncs, mends, cuts and the closing of one journal never overlap."""

import threading
from types import TracebackType

from drsync.adapters.segments.files import Wait


class Turns:
    """A lock that what the kernel does beside the event loop may hold, too.

    The loop hears when that has ended. So whoever wants a turn in the loop's own thread waits by asking the
    kernel: by waiting for the lock alone it would wait for itself.
    """

    __slots__ = ("_lock", "_thread", "_wait")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wait: Wait | None = None
        self._thread = 0

    def __enter__(self) -> None:
        while not self._lock.acquire(blocking=False):
            wait = self._wait
            if wait is None or self._thread != threading.get_ident():
                self._lock.acquire()
                return
            wait()  # who is told of the end may have begun the next

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def begin(self) -> bool:
        """Take the turn, unless it is somebody's; to be followed by `end`."""
        return self._lock.acquire(blocking=False)

    def lend(self, wait: Wait | None) -> bool:
        """The turn lasts until what was begun has ended, which calls `end`; None: it is over, and False."""
        if wait is None:
            self.end()
            return False
        self._wait, self._thread = wait, threading.get_ident()
        return True

    def end(self) -> None:
        """It is the turn of others."""
        self._wait = None
        self._lock.release()
