"""A block device in memory: for tests of front ends, and for measuring them without a disk behind.

It records what it was asked, can hold its answers back until told, and can be told to fail.
"""

from dataclasses import dataclass
from enum import StrEnum

from drsync.ports.volume import COMPLETE_OK, BlockDevice, Completion, Extent

PAGE = 4096


class Asked(StrEnum):
    """What a recorded request was."""

    WRITE = "write"
    ZERO = "zero"
    TRIM = "trim"
    FLUSH = "flush"


@dataclass(frozen=True, slots=True)
class Request:
    """One recorded request; `data` is kept only while the device holds its answers."""

    asked: Asked
    offset: int
    length: int
    cookie: bytes
    is_fua: bool
    data: bytes = b""


class MemoryDevice:
    """A `BlockDevice`. What was asked is done when it is answered, as on a real one.

    Attributes:
        data: the content.
        recorded: every request in order, if `keeps_record`.
        batches: number of requests in each `submit`, if `keeps_record`.
        failing: errno for everything answered from now on; 0 = none. A failed request changes nothing.
        failing_reads: errno for reads from now on.
        is_holding: answers wait for `release`.
    """

    def __init__(self, size: int, *, is_read_only: bool = False, keeps_record: bool = True) -> None:
        self.data = bytearray(size)
        self.recorded: list[Request] = []
        self.batches: list[int] = []
        self.failing = COMPLETE_OK
        self.failing_reads = COMPLETE_OK
        self.is_holding = False
        self._view = memoryview(self.data)
        self._is_read_only = is_read_only
        self._keeps_record = keeps_record
        self._queued: list[Request] = []
        self._cookies: list[bytes] = []
        self._parked: list[Completion] = []
        self._held: list[tuple[list[Request], Completion]] = []

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.data)

    @property
    def is_read_only(self) -> bool:
        """As constructed."""
        return self._is_read_only

    @property
    def held(self) -> int:
        """Requests whose answers are held back."""
        return sum(len(requests) for requests, _ in self._held)

    def write(self, offset: int, data: memoryview, cookie: bytes, *, fua: bool) -> None:
        """Queue a write; without record, hold or failure it is done at once."""
        if self._is_plain:
            self._view[offset : offset + len(data)] = data
            self._cookies.append(cookie)
        else:
            self._queue(Request(Asked.WRITE, offset, len(data), cookie, fua, bytes(data)))

    def zero(self, offset: int, length: int, cookie: bytes, *, fua: bool, is_trim: bool) -> None:
        """Queue zeros."""
        self._queue(Request(Asked.TRIM if is_trim else Asked.ZERO, offset, length, cookie, fua))

    def flush(self, cookie: bytes) -> None:
        """Queue a flush."""
        self._queue(Request(Asked.FLUSH, 0, 0, cookie, is_fua=False))

    def submit(self, completion: Completion) -> None:
        """Do or hold what was queued."""
        requests, self._queued = self._queued, []
        cookies, self._cookies = self._cookies, []
        if self._keeps_record:
            self.batches.append(len(requests) + len(cookies))
        if requests and self.is_holding:
            self._held.append((requests, completion))
        elif requests:
            self._do(requests)
            cookies += [request.cookie for request in requests]
        if cookies:
            completion.complete(cookies, self.failing)

    def read_into(self, offset: int, target: memoryview) -> int:
        """Fill `target`, or fail."""
        assert not self._queued, "read between write and submit"
        if self.failing_reads == COMPLETE_OK:
            target[:] = self._view[offset : offset + len(target)]
        return self.failing_reads

    def park(self, completion: Completion) -> None:
        """Remember whose reads wait; `let_read` wakes them."""
        self._parked.append(completion)

    def extents(self, offset: int, length: int, most: int) -> list[Extent]:
        """Pages of zeros are holes."""
        assert not self._queued, "asked between write and submit"
        found: list[Extent] = []
        at, end = offset, offset + length
        while at < end:
            stop = min(end, at - at % PAGE + PAGE)
            is_hole = not any(self._view[at - at % PAGE : at - at % PAGE + PAGE])
            if found and found[-1][1] == is_hole:
                found[-1] = (found[-1][0] + stop - at, is_hole)
            elif len(found) == most:
                break
            else:
                found.append((stop - at, is_hole))
            at = stop
        return found

    def let_read(self) -> None:
        """Reads work again."""
        self.failing_reads = COMPLETE_OK
        parked, self._parked = self._parked, []
        for completion in parked:
            completion.resume()

    def release(self, error: int = COMPLETE_OK) -> int:
        """Answer everything held, oldest batch first; returns how many requests that were."""
        held, self._held = self._held, []
        for requests, completion in held:
            if error == COMPLETE_OK:
                self._do(requests)
            completion.complete([request.cookie for request in requests], error)
        return sum(len(requests) for requests, _ in held)

    @property
    def _is_plain(self) -> bool:
        return not (self._keeps_record or self.is_holding or self.failing)

    def _queue(self, request: Request) -> None:
        self._queued.append(request)

    def _do(self, requests: list[Request]) -> None:
        for request in requests:
            if self._keeps_record:
                self.recorded.append(request)
            if self.failing == COMPLETE_OK and request.asked is not Asked.FLUSH:
                content = request.data or bytes(request.length)
                self._view[request.offset : request.offset + request.length] = content


class MemoryExports:
    """`Exports` from a dictionary that a test changes at will."""

    def __init__(self, devices: dict[str, BlockDevice] | None = None) -> None:
        self.devices: dict[str, BlockDevice] = dict(devices or {})

    def names(self) -> list[str]:
        """All of them."""
        return list(self.devices)

    def describe(self, name: str) -> str:
        """See Exports."""
        return f"{name} in memory" if name in self.devices else ""

    def find(self, name: str) -> BlockDevice | None:
        """The device of that name."""
        return self.devices.get(name)
