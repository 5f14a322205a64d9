"""Reading everything that is stored in a view, slowly: what a self-drill does beside replication."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from drsync.delta.stored import GRAIN, StoredHash
from drsync.engine.allocation import PIECES_MAX, extents
from drsync.engine.threads import in_long_thread
from drsync.engine.views import GroupView
from drsync.model.errors import DamagedError, RefusedError
from drsync.model.group import VolumeSpec
from drsync.ports.clock import Clock

SLICE_BYTES: Final = 4 << 20  # because a slower rate than this a second would be no reading at all
SLICE_GRAINS: Final = 4096  # looked at in a slice, because holes cost nothing but time


BUSY_SHARE: Final = 0.2  # of the time, because threads of a process take turns with its loop
DEBT_S: Final = 0.1  # because a timer for each read would cost more than the read


class Pace:
    """At most `rate` bytes a second from `now` on; a debt beyond a moment is paid before more is taken."""

    def __init__(self, rate: int, now: float) -> None:
        self._rate = rate
        self._free_at = now

    def wait_s(self, now: float) -> float:
        """For how long nothing may be read."""
        debt_s = self._free_at - now
        return debt_s if debt_s > DEBT_S else 0.0

    def take(self, count: int, began: float, now: float) -> None:
        """So many bytes were read from `began` to `now`; a long index of the journal makes that work."""
        by_rate = max(self._free_at, began) + count / self._rate
        by_work = now + (now - began) * (1 / BUSY_SHARE - 1)
        self._free_at = max(by_rate, by_work)


@dataclass(slots=True)
class Stored:
    """What was read. `digest` is empty unless all volumes of the group were."""

    bytes: int = 0
    digest: str = ""


class BackgroundReading:
    """One pass over some volumes of a view. One use.

    Whoever gives the view up ends it: at the next grain it raises `RefusedError` (``view_given_up``).
    """

    def __init__(self, view: GroupView, clock: Clock, pace: Pace) -> None:
        self._view = view
        self._clock = clock
        self._pace = pace

    async def stored_bytes(self, volumes: Sequence[VolumeSpec], most: int) -> int:
        """Bytes that are stored in whole grains; counting ends above `most`. Reads none of them."""
        total = 0
        grains = (grain for volume in volumes for grain in self._grains(volume))
        while total <= most and (count := await self._slice(grains, None)):
            total += count
        return total

    async def read(self, volumes: Sequence[VolumeSpec]) -> Stored:
        """Read all that is stored in them.

        Raises:
            RefusedError: the view was given up.
            DamagedError: a record has changed since it was written; the copy was told and mends it.
            FailedCopyError: something cannot be read.
        """
        found, hasher = Stored(), StoredHash()
        try:
            for volume in sorted(volumes, key=lambda one: one.index):
                hasher.begin(volume.index, volume.size)
                grains = self._grains(volume)
                began = self._clock.now()
                while count := await self._slice(grains, hasher):
                    found.bytes += count
                    self._pace.take(count, began, self._clock.now())
                    await self._clock.sleep_until(self._clock.now() + self._pace.wait_s(self._clock.now()))
                    began = self._clock.now()
        except DamagedError as error:
            self._require_there()
            self._view.damaged(error)
            raise
        self._require_there()
        if len(volumes) == len(self._view.spec.volumes):
            found.digest = hasher.digest()
        return found

    async def _slice(self, grains: "Iterator[_Grain]", hasher: StoredHash | None) -> int:
        """Some more of them in a thread; bytes of those that are stored, 0 at the end."""

        def work() -> int:
            count = 0
            for _, grain in zip(range(SLICE_GRAINS), grains, strict=False):
                self._require_there()
                if hasher is not None:
                    self._hash(grain, hasher)
                count += grain.length
                if count >= SLICE_BYTES:
                    break
            return count

        self._require_there()
        return await in_long_thread(work)

    def _hash(self, grain: "_Grain", hasher: StoredHash) -> None:
        data = bytearray(grain.length)
        try:
            self._view.reader(grain.volume).read_into(grain.offset, memoryview(data))
        except DamagedError:
            raise
        except Exception:  # whatever it was, it came of reading what is not there any more
            self._require_there()
            raise
        hasher.add(grain.offset, data)

    def _grains(self, volume: VolumeSpec) -> "Iterator[_Grain]":
        """Those that hold anything stored, in order."""
        view, at, done = self._view.reader(volume), 0, 0
        while at < volume.size:
            self._require_there()
            for length, is_hole in extents(view, at, volume.size - at, PIECES_MAX):
                start = at - at % GRAIN
                at += length
                for offset in range(max(done, start), 0 if is_hole else at, GRAIN):
                    done = offset + GRAIN
                    yield _Grain(volume, offset, min(GRAIN, volume.size - offset))

    def _require_there(self) -> None:
        if self._view.is_over:
            raise RefusedError(f"view {self._view.id} was given up", code="view_given_up")


@dataclass(frozen=True, slots=True)
class _Grain:
    volume: VolumeSpec
    offset: int
    length: int
