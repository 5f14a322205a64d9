"""Where a center keeps its copy of a group: superblock, journal, images."""

from typing import Protocol

from drsync.model.group import GroupSpec, VolumeSpec
from drsync.ports.forks import Forks
from drsync.ports.journal import Image, Journal, Superblock


class CopyStore(Protocol):
    """The files of one copy. Every open is exclusive to this process."""

    def superblock(self) -> Superblock:
        """The copy's superblock."""
        ...

    def journal(self, spec: GroupSpec, incarnation: str, durable_hint: int) -> Journal:
        """Open or create the journal; cuts a torn tail above `durable_hint`.

        Raises:
            FailedCopyError: damage at or below `durable_hint`; nothing was changed.
        """
        ...

    def image(self, volume: VolumeSpec) -> Image:
        """Open or create the image of a volume at its specified size."""
        ...

    def scratch(self, volume: VolumeSpec) -> Image:
        """An empty image that nobody finds again: it is gone when it is closed, or with this process.

        Raises:
            FailedCopyError, NoSpaceError: it cannot be made.
        """
        ...

    def forks(self, spec: GroupSpec) -> Forks:
        """What the group gave up and this copy keeps aside."""
        ...
