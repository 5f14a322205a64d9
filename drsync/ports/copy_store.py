"""Where a center keeps its copy of a group: superblock, journal, images."""

from enum import StrEnum
from typing import Protocol

from drsync.core.extents import Extents
from drsync.model.group import GroupSpec, VolumeSpec
from drsync.ports.dirty_store import DirtyStore
from drsync.ports.forks import Forks
from drsync.ports.journal import Buffer, Image, Journal, Superblock
from drsync.ports.stage import Stage, StageInfo


class Adoption(StrEnum):
    """How far a staged redo is on its way to be the journal, where a switch is recorded."""

    NOT_BEGUN = "not begun"  # the images may hold anything of what is staged
    BEGUN = "begun"  # they hold all of it
    DONE = "done"
    IMPOSSIBLE = "impossible"  # something is missing


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

    def mend_journal(self, spec: GroupSpec, incarnation: str, durable_hint: int, batches: Buffer) -> int:
        """Write batches of another center over the damage that kept `journal` from opening. Blocks.

        Only where what is left of our own log proves that they were in it; durable on return.

        Args:
            spec: of the group.
            incarnation: of the store.
            durable_hint: as for `journal`.
            batches: whole ones, back to back, from the last good record on.

        Returns:
            The last record that was written: up to there the journal is well.

        Raises:
            RefusedError: there is no proof, or this damage is not mended by batches; nothing was written.
            MalformedError: they do not continue what is good here; nothing was written.
            FailedCopyError: reading or writing failed.
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

    def stage(self, spec: GroupSpec) -> Stage | None:
        """What a former process put aside; None when there is nothing, or nothing that reads well. Blocks."""
        ...

    def new_stage(self, spec: GroupSpec, session: StageInfo) -> Stage:
        """An empty stage; an older one goes. Blocks.

        Raises:
            NoSpaceError: the disk is full.
            FailedStageError: another error.
        """
        ...

    def drop_stage(self) -> None:
        """Remove what was put aside, and what the journal was before a switch. Blocks.

        Never while a switch is recorded. Idempotent. Raises FailedStageError.
        """
        ...

    def make_way(self) -> None:
        """Remove what the journal was before a former switch, while no switch is recorded. Blocks.

        Raises:
            FailedCopyError: it cannot be removed, or forks are in it.
        """
        ...

    def reserve(self, spec: GroupSpec, runs: Extents) -> None:
        """Take the space for granules of the images, whose content stays as it is. Blocks.

        Raises:
            NoSpaceError: there is not enough.
            FailedCopyError: another error.
        """
        ...

    def adoption(self) -> Adoption:
        """How far `adopt_journal` is. Raises FailedCopyError."""
        ...

    def adopt_image(self, volume: VolumeSpec) -> bool:
        """Rename what is staged of a volume to its image, durably; nobody may have it open. Blocks.

        False: nothing is staged under its name, because it was renamed before or somebody removed it.
        Raises FailedCopyError.
        """
        ...

    def adopt_journal(self) -> None:
        """Make the staged redo the journal, with the forks of the former one. Durable. Blocks; idempotent.

        Neither journal may be open. Only while a switch is recorded, with images that hold what is staged.
        Raises FailedCopyError.
        """
        ...

    def free_bytes(self) -> int:
        """What may still be written where the copy is. Raises FailedCopyError."""
        ...

    def dirty_sets(self) -> DirtyStore:
        """What other members may lack; nothing is made before the first store."""
        ...
