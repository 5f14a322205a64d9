"""How large the volumes of a group are at each record of its log, and what an owner still owes (decision 26).

The charter decides that a volume grows; a RESIZE record says from where on. So the size at a record is a
function of the log up to it, and every copy that holds the same log says the same.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from drsync.model.group import GroupSpec, VolumeSpec

RESIZES_MAX: Final = 256
"""Because the superblock keeps all of a group: 10 KiB of its 120."""

VOLUME_BYTES_MAX: Final = 1 << 62
"""Because sizes travel as signed 64-bit numbers, and the last block must end below that."""

ALIGNMENT: Final = 4096
"""Because volumes are kept by blocks of 4 KiB."""


class Resize(NamedTuple):
    """A RESIZE record: the volume of that index has `size` bytes from record `seq` on."""

    volume: int
    seq: int
    size: int


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of all volumes along one log.

    Attributes:
        first: by volume index, at the beginning of the log; too large where the charter lost what it was (an
            older coordinator does not keep it), until the first RESIZE tells.
        resizes: ascending by record.
    """

    first: Mapping[int, int]
    resizes: tuple[Resize, ...] = ()

    def at(self, volume: int, seq: int) -> int:
        """Bytes of a volume at record `seq`. KeyError: there is no such volume."""
        for resize in reversed(self.resizes):
            if resize.volume == volume and resize.seq <= seq:
                return resize.size
        return self.first[volume]

    def all_at(self, seq: int) -> dict[int, int]:
        """Bytes of every volume at record `seq`."""
        found = dict(self.first)
        found.update((resize.volume, resize.size) for resize in self.resizes if resize.seq <= seq)
        return found

    @property
    def newest(self) -> dict[int, int]:
        """Bytes of every volume at the end of the log."""
        found = dict(self.first)
        found.update((resize.volume, resize.size) for resize in self.resizes)
        return found

    def through(self, seq: int) -> tuple[Resize, ...]:
        """What happened up to record `seq`."""
        return tuple(resize for resize in self.resizes if resize.seq <= seq)

    def cut(self, after_seq: int) -> "Sizes":
        """Without what came after record `after_seq`."""
        return self if not self.resizes else replace(self, resizes=self.through(after_seq))

    def grown(self, resize: Resize) -> "Sizes":
        """With one record more; known ones change nothing."""
        if resize in self.resizes:
            return self
        first = min(self.first[resize.volume], resize.size)  # because nothing ever shrinks
        resizes = tuple(sorted((*self.resizes, resize), key=lambda one: one.seq))
        return Sizes({**self.first, resize.volume: first}, resizes)

    def objection(self, volume: int, size: int) -> str:
        """Why a RESIZE after the end of this log is not one; empty when it is.

        The first one of a volume is believed whatever its size: only the charter says what was before it.
        """
        if volume not in self.first:
            return f"there is no volume {volume}"
        if size % ALIGNMENT or not 0 < size <= VOLUME_BYTES_MAX:
            return f"{size} bytes are no size of a volume"
        now = max((one.size for one in self.resizes if one.volume == volume), default=0)
        return "" if size > now else f"volume {volume} has {now} bytes, and {size} are not more"

    def owed(self, volumes: Iterable[VolumeSpec]) -> list[Resize]:
        """What the charter, with these volumes, decided and the log does not say yet; without records."""
        now = self.newest
        return [
            Resize(volume.index, 0, volume.size)
            for volume in volumes
            if volume.size > now.get(volume.index, volume.size)
        ]


def first_sizes(group: GroupSpec) -> dict[int, int]:
    """Sizes at the beginning of a group's log, by its charter."""
    return {volume.index: volume.first_size or volume.size for volume in group.volumes}


def sized(group: GroupSpec, sizes: Mapping[int, int]) -> GroupSpec:
    """The group with these sizes, by volume index; a volume that is not named keeps its own."""
    return replace(group, volumes=tuple(_with(v, sizes.get(v.index, v.size)) for v in group.volumes))


def _with(volume: VolumeSpec, size: int) -> VolumeSpec:
    """Its first size stays known, also where an old charter has none."""
    if size == volume.size:
        return volume
    return replace(volume, size=size, first_size=volume.first_size or volume.size)


def at_least(group: GroupSpec, sizes: Mapping[int, int]) -> GroupSpec:
    """The group with sizes that are nowhere below these."""
    return sized(group, {v.index: max(v.size, sizes.get(v.index, 0)) for v in group.volumes})
