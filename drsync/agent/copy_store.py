"""Where an agent keeps a group's copy: ``<state dir>/groups/<group id>/``."""

from dataclasses import dataclass
from pathlib import Path

from drsync.adapters.images.file_image import FileImage
from drsync.adapters.segments.journal import SegmentJournal
from drsync.adapters.segments.layout import Identity
from drsync.adapters.segments.superblock import SuperblockFiles
from drsync.model.group import GroupSpec, VolumeSpec
from drsync.ports.journal import Image, Journal, Superblock


@dataclass(frozen=True, slots=True)
class FileCopyStore:
    """A copy on real files.

    Attributes:
        directory: of the copy; created when missing.
        cluster: cluster id, written into every segment.
        center: this center, likewise.
    """

    directory: Path
    cluster: str
    center: str

    def superblock(self) -> Superblock:
        """See CopyStore."""
        self.directory.mkdir(parents=True, exist_ok=True)
        return SuperblockFiles(self.directory)

    def journal(self, spec: GroupSpec, incarnation: str, durable_hint: int) -> Journal:
        """See CopyStore."""
        identity = Identity(self.cluster, spec.id, self.center, incarnation)
        return SegmentJournal(self.directory / "journal", identity, durable_hint)

    def image(self, volume: VolumeSpec) -> Image:
        """See CopyStore."""
        folder = self.directory / "volumes"
        folder.mkdir(parents=True, exist_ok=True)
        return FileImage(folder / f"{volume.id}.img", volume.size)


def copies_in(state_dir: Path) -> list[str]:
    """Ids of the groups that have a copy below a state directory."""
    folder = state_dir / "groups"
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []
