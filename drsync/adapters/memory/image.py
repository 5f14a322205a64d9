"""A volume image in memory: reference and fake. Can be told to fail and to lose what was not synced."""

from collections.abc import Sequence

from drsync.model.errors import FailedCopyError
from drsync.ports.journal import Arrived, Buffer

BLOCK = 4096
_ZEROS = bytes(BLOCK)


class MemoryImage:
    """`drsync.ports.journal.Image` in memory, sparse.

    Args:
        size: bytes.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._blocks: dict[int, bytes] = {}
        self._before: dict[int, bytes] = {}  # what blocks held at the last sync, where they changed since
        self._failed = ""
        self._fail_in: int | None = None

    def fail(self, calls_before: int = 0) -> None:
        """Let a coming `write`, `zero` or `sync` fail, after so many that still work."""
        self._fail_in = calls_before

    def crash(self) -> None:
        """The host died: everything since the last sync is lost. Then `reopen`."""
        self._blocks.update(self._before)
        self._before.clear()
        self._failed = "the host crashed"

    def reopen(self) -> None:
        """A new process opened it."""
        self._failed = ""
        self._fail_in = None

    @property
    def size(self) -> int:
        """See the port."""
        return self._size

    def resize(self, size: int) -> None:
        """See the port."""
        self._size = size

    def read_into(self, offset: int, target: memoryview) -> None:
        """See the port."""
        assert 0 <= offset <= offset + len(target) <= self._size
        done = 0
        while done < len(target):
            block, at = divmod(offset + done, BLOCK)
            count = min(BLOCK - at, len(target) - done)
            target[done : done + count] = self._blocks.get(block, _ZEROS)[at : at + count]
            done += count

    def read_cached(self, offset: int, target: memoryview) -> bool:
        """See the port."""
        self.read_into(offset, target)
        return True

    def will_need(self, offset: int, length: int) -> None:
        """See the port: it is there."""

    def fetch(self, places: Sequence[tuple[int, int]], arrived: Arrived) -> bool:
        """See the port: it is there already."""
        del places, arrived
        return False

    def extent(self, offset: int) -> tuple[int, bool]:
        """See the port."""
        assert 0 <= offset < self._size
        block = offset // BLOCK
        is_hole = block not in self._blocks
        while block * BLOCK < self._size and (block not in self._blocks) == is_hole:
            block += 1
        return min(block * BLOCK, self._size), is_hole

    def write(self, offset: int, parts: Sequence[Buffer]) -> None:
        """See the port."""
        self._check()
        data = b"".join(parts)
        assert 0 <= offset <= offset + len(data) <= self._size
        done = 0
        while done < len(data):
            block, at = divmod(offset + done, BLOCK)
            count = min(BLOCK - at, len(data) - done)
            old = self._blocks.get(block, _ZEROS)
            self._before.setdefault(block, old)
            self._blocks[block] = old[:at] + data[done : done + count] + old[at + count :]
            done += count

    def zero(self, offset: int, length: int) -> None:
        """See the port."""
        self._check()
        assert 0 <= offset <= offset + length <= self._size
        first, last = offset // BLOCK, (offset + length - 1) // BLOCK
        for block in [b for b in self._blocks if first <= b <= last]:
            start = max(offset - block * BLOCK, 0)
            stop = min(offset + length - block * BLOCK, BLOCK)
            old = self._blocks[block]
            self._before.setdefault(block, old)
            self._blocks[block] = old[:start] + bytes(stop - start) + old[stop:]

    def sync(self) -> None:
        """See the port."""
        self._check()
        self._before.clear()

    def close(self) -> None:
        """See the port."""
        self._failed = self._failed or "it was closed"

    def _check(self) -> None:
        if self._fail_in is not None and not self._failed:
            self._fail_in -= 1
            if self._fail_in < 0:
                self._failed = "told to fail"
        if self._failed:
            raise FailedCopyError(f"image in memory cannot be used: {self._failed}")
