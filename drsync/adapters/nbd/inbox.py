"""The receive buffer of one connection: the socket writes into it, requests are executed inside it."""

START_BYTES = 1 << 20  # because a queue of 64 writes of 16 KiB fits, and one system call then brings them all
KEPT_BYTES_MAX = 4 << 20  # because 64 idle connections that once sent something large must not hold 2 GiB


class Inbox:
    """``view[start:end]`` is what arrived and was not consumed.

    A buffer that is too small is replaced, never resized, so that nobody's view of the old one breaks.
    """

    __slots__ = ("end", "start", "view")

    def __init__(self, size: int = START_BYTES) -> None:
        self.view = memoryview(bytearray(size))
        self.start = 0
        self.end = 0

    def room(self) -> memoryview:
        """Where the next bytes go; never empty."""
        if self.end == len(self.view):
            self.settle(self.end - self.start + 1)
        return self.view[self.end :]

    def put(self, data: bytes) -> None:
        """Append bytes that did not come from the socket."""
        self.settle(self.end - self.start + len(data))
        self.view[self.end : self.end + len(data)] = data
        self.end += len(data)

    def clear(self) -> None:
        """Forget what arrived."""
        self.start = self.end = 0

    def settle(self, need: int) -> None:
        """Make sure that `need` bytes from `start` fit; give back what a large request took."""
        held = self.end - self.start
        capacity = len(self.view)
        if need > capacity or (held == 0 and capacity > KEPT_BYTES_MAX and need <= START_BYTES):
            self._replace(START_BYTES if need <= START_BYTES else max(need, min(2 * need, KEPT_BYTES_MAX)))
        elif held == 0:
            self.clear()
        elif self.start + need > capacity:
            self.view[:held] = self.view[self.start : self.end]
            self.start, self.end = 0, held

    def _replace(self, size: int) -> None:
        held = self.end - self.start
        view = memoryview(bytearray(size))
        view[:held] = self.view[self.start : self.end]
        self.view, self.start, self.end = view, 0, held
