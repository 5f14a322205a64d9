"""Where an agent keeps a group's copy: ``<state dir>/groups/<group id>/``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from drsync.adapters.images.file_image import FileImage
from drsync.adapters.images.files import Files as ImageFiles
from drsync.adapters.images.unnamed import UnnamedImage
from drsync.adapters.segments.files import Files as SegmentFiles
from drsync.adapters.segments.files import OsFiles, ensure_directory
from drsync.adapters.segments.forks import SegmentForks
from drsync.adapters.segments.journal import SEGMENT_BYTES, SegmentJournal
from drsync.adapters.segments.layout import Identity
from drsync.adapters.segments.superblock import SuperblockFiles
from drsync.model.errors import FailedCopyError
from drsync.model.group import GroupSpec, VolumeSpec
from drsync.ports.forks import Forks
from drsync.ports.journal import Image, Journal, Superblock


class CopyFiles(SegmentFiles, ImageFiles, Protocol):
    """Every system call that a copy makes, for a disk that is not the real one."""


@dataclass(frozen=True, slots=True)
class FileCopyStore:
    """A copy on files.

    Attributes:
        directory: of the copy; created when missing.
        cluster: cluster id, written into every segment.
        center: this center, likewise.
        files: system calls; None for the real ones.
        segment_bytes: size of a journal segment, 64 KiB to 256 MiB.
    """

    directory: Path
    cluster: str
    center: str
    files: CopyFiles | None = None
    segment_bytes: int = SEGMENT_BYTES

    def superblock(self) -> Superblock:
        """See CopyStore."""
        ensure_directory(self.files or OsFiles(), self.directory)
        return SuperblockFiles(self.directory, self.files)

    def journal(self, spec: GroupSpec, incarnation: str, durable_hint: int) -> Journal:
        """See CopyStore."""
        identity = Identity(self.cluster, spec.id, self.center, incarnation)
        return SegmentJournal(
            self.directory / "journal",
            identity,
            durable_hint,
            segment_bytes=self.segment_bytes,
            files=self.files,
        )

    def image(self, volume: VolumeSpec) -> Image:
        """See CopyStore."""
        folder = self.directory / "volumes"
        ensure_directory(self.files or OsFiles(), folder)
        return FileImage(folder / f"{volume.id}.img", volume.size, self.files)

    def scratch(self, volume: VolumeSpec) -> Image:
        """See CopyStore. Nothing is synced: it need not survive anything."""
        files: SegmentFiles = self.files or OsFiles()
        folder = self.directory / "scratch"
        try:
            if not files.exists(folder):
                files.make_directory(folder)
            for name in sorted(files.names(folder)):  # whoever made it died before it had no name any more
                files.unlink(folder / name)
        except OSError as error:
            raise FailedCopyError(f"no private writes in {folder}: {error.strerror}") from error
        return UnnamedImage(folder / volume.id, volume.size, files.unlink, self.files)

    def forks(self, spec: GroupSpec) -> Forks:
        """See CopyStore."""
        identity = Identity(self.cluster, spec.id, self.center, "")
        remove = Path.rmdir if self.files is None else None
        return SegmentForks(self.directory / "journal", identity, self.files, remove)


def copies_in(state_dir: Path, files: CopyFiles | None = None) -> list[str]:
    """Ids of the groups that have a copy below a state directory. Raises OSError."""
    reading: SegmentFiles = files or OsFiles()
    folder = state_dir / "groups"
    if not reading.exists(folder):
        return []
    return sorted(name for name in reading.names(folder) if _is_directory(reading, folder / name))


def _is_directory(files: SegmentFiles, path: Path) -> bool:
    try:
        files.names(path)
    except NotADirectoryError:
        return False
    return True
