"""What a block front end (NBD) asks of a volume. Callback-driven: no task, no future per request."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from typing_extensions import override

from drsync.ports.journal import Arrived

Extent = tuple[int, bool]
"""A length in bytes, and whether it is a hole: nothing is stored there, and it reads as zeros."""

COLD = -1
"""What `FetchingDevice.read_cached` answers when the disk is to be asked first; no errno is negative."""

COMPLETE_OK = 0
"""Otherwise completions carry a positive errno (EIO, ENOSPC, EPERM, ESHUTDOWN …)."""


class Completion(Protocol):
    """Who is told that a batch of requests is done; a front-end connection implements it."""

    def complete(self, cookies: list[bytes], error: int) -> None:
        """Answer these requests (NBD cookies, 8 bytes each, in order of arrival) with one errno.

        Called from the event loop, possibly inside `submit`; may be called after the connection is gone.
        """
        ...

    def resume(self) -> None:
        """Parked reads may be tried again; called once per `BlockDevice.park`."""
        ...


@runtime_checkable
class MayLeave(Protocol):
    """A `Completion` that tells when nobody is there any more."""

    @property
    def is_gone(self) -> bool:
        """Whether nothing can be answered any more: what it asked for, and what nobody has begun, may go."""
        ...


class Face(Protocol):
    """What is told about an export before anything is asked of it."""

    @property
    def size(self) -> int:
        """Bytes, a multiple of 4096."""
        ...

    @property
    def is_read_only(self) -> bool:
        """Writes are answered EPERM."""
        ...


class BlockDevice(Protocol):
    """One export. All calls come from the event loop; `data` views are valid only during the call.

    Requests of a connection between two `submit` calls form one batch. Offsets and lengths have been
    checked against `size` by the front end.
    """

    @property
    def size(self) -> int:
        """Bytes, a multiple of 4096."""
        ...

    @property
    def is_read_only(self) -> bool:
        """Writes are answered EPERM by the front end."""
        ...

    def write(self, offset: int, data: memoryview, cookie: bytes, *, fua: bool) -> None:
        """Queue a write (at most 32 MiB)."""
        ...

    def zero(self, offset: int, length: int, cookie: bytes, *, fua: bool, is_trim: bool) -> None:
        """Queue a range to become zeros; TRIM is the same, so that replicas stay byte-identical (P29)."""
        ...

    def flush(self, cookie: bytes) -> None:
        """Queue a flush: done when every write *answered* before it is durable at all in-sync members."""
        ...

    def submit(self, completion: Completion) -> None:
        """End of the connection's batch: everything queued is appended now; answers come by `completion`.

        Must be called before the buffers handed to `write` are reused.
        """
        ...

    def read_into(self, offset: int, target: memoryview) -> int:
        """Fill `target` with committed data; returns an errno (0 = done).

        May not be called between `write` and `submit`. EAGAIN means that nothing may be read at the moment:
        keep the request, call `park`, and try again when told.
        """
        ...

    def park(self, completion: Completion) -> None:
        """Have `completion.resume` called when reads may be tried again; never, if the export goes away."""
        ...

    def extents(self, offset: int, length: int, most: int) -> list[Extent]:
        """What is stored of a range (not empty), from its start: one extent at least, `most` at most.

        May end before the range does, never beyond; neighbours are of different kinds. Told of committed
        data, as `read_into` reads it, and under the same rule about `write` and `submit`. Never fails: a
        device that does not know, or may not tell at the moment, says that all is data.
        """
        ...


@runtime_checkable
class FetchingDevice(Protocol):
    """A block device that tells which reads would wait for a disk, so that several can wait at once."""

    def read_cached(self, offset: int, target: memoryview) -> int:
        """Like `BlockDevice.read_into`, or `COLD`, and `target` holds anything."""
        ...

    def fetch(self, places: Sequence[tuple[int, int]], arrived: Arrived) -> None:
        """Have the disk read these (offset, length) into memory; returns before `arrived` is called.

        That comes from the loop, with the numbers of places that are there, or cannot be had; maybe several
        times, and names each place once. Then `read_into` waits for no disk, unless memory is short.
        """
        ...


class Catalog(Protocol):
    """What a server can serve. Names are NBD export names."""

    def names(self) -> list[str]:
        """Exports that may be listed now."""
        ...

    def describe(self, name: str) -> str:
        """One line about an export, for people; empty when it is unknown."""
        ...

    def find(self, name: str) -> Face | None:
        """The export, or None when it is unknown or not served here at the moment."""
        ...


class Exports(Catalog, Protocol):
    """A catalog of block devices."""

    @override
    def find(self, name: str) -> BlockDevice | None:
        """The device, or None when it is unknown or not served here at the moment."""
        ...
