"""Where an agent keeps a group's copy: ``<state dir>/groups/<group id>/``."""

import ctypes
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from typing_extensions import override

from drsync.adapters.images.file_image import FileImage
from drsync.adapters.images.files import Files as ImageFiles
from drsync.adapters.images.files import OsFiles as OsImageFiles
from drsync.adapters.images.ring import ring
from drsync.adapters.images.unnamed import UnnamedImage
from drsync.adapters.segments.dirty_sets import DirtySetFiles
from drsync.adapters.segments.files import Ended, Wait, ensure_directory, is_full
from drsync.adapters.segments.files import Files as SegmentFiles
from drsync.adapters.segments.files import OsFiles as OsSegmentFiles
from drsync.adapters.segments.forks import SegmentForks
from drsync.adapters.segments.journal import SEGMENT_BYTES, SegmentJournal
from drsync.adapters.segments.layout import Identity
from drsync.adapters.segments.repair import repair
from drsync.adapters.segments.superblock import SuperblockFiles
from drsync.adapters.stage import adoption, file_stage
from drsync.adapters.stage.file_stage import FileStage
from drsync.adapters.stage.files import Files as StageFiles
from drsync.adapters.stage.files import is_directory, sync_directory
from drsync.core.extents import GRANULE, Extents
from drsync.model.errors import FailedCopyError, NoSpaceError
from drsync.model.group import GroupSpec, VolumeSpec
from drsync.model.position import Position
from drsync.ports.copy_store import Adoption
from drsync.ports.dirty_store import DirtyStore
from drsync.ports.forks import Forks
from drsync.ports.journal import Buffer, Image, Journal, Superblock
from drsync.ports.stage import FailedStageError, Stage, StageInfo

SYNC_FILE_RANGE_WRITE = 2  # linux/fs.h
_sync_file_range = ctypes.CDLL(None).sync_file_range
_sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]


class CopyFiles(SegmentFiles, ImageFiles, StageFiles, Protocol):
    """Every system call that a copy makes, for a disk that is not the real one."""


class OsFiles(OsSegmentFiles, OsImageFiles):
    """The real ones, with those that only a stage asks for, and what journals and images have in common."""

    @override
    def begin_fdatasync(self, fd: int, ended: Ended, /) -> Wait | None:
        """See `drsync.adapters.segments.files.Files`. In the loop's ring, where it has one."""
        found, began = ring(), time.perf_counter()

        def told(code: int) -> None:
            self.fdatasync_took(time.perf_counter() - began)
            ended(OSError(code, os.strerror(code)) if code else None)

        return found.sync(fd, told) if found is not None else None

    def remove_directory(self, path: Path) -> None:
        """See `drsync.adapters.stage.files.Files`."""
        path.rmdir()

    def write_back(self, fd: int, offset: int, length: int) -> None:
        """See `drsync.adapters.stage.files.Files`. Waits for nothing; errors are those of the next fsync."""
        _sync_file_range(fd, offset, length, SYNC_FILE_RANGE_WRITE)

    def free(self, directory: Path) -> int:
        """See `drsync.adapters.stage.files.Files`. What only the administrator may use is not counted."""
        found = os.statvfs(directory)
        return found.f_bavail * found.f_frsize


OS_FILES: CopyFiles = OsFiles()


@dataclass(frozen=True, slots=True)
class FileCopyStore:
    """A copy on files.

    Attributes:
        directory: of the copy; created when missing.
        cluster: cluster id, written into every segment.
        center: this center, likewise.
        files: system calls.
        segment_bytes: size of a journal segment, 64 KiB to 256 MiB.
    """

    directory: Path
    cluster: str
    center: str
    files: CopyFiles = OS_FILES
    segment_bytes: int = SEGMENT_BYTES

    def superblock(self) -> Superblock:
        """See CopyStore."""
        ensure_directory(self.files, self.directory)
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

    def mend_journal(self, spec: GroupSpec, incarnation: str, durable_hint: int, batches: Buffer) -> int:
        """See CopyStore."""
        directory = self.directory / "journal"
        identity = Identity(self.cluster, spec.id, self.center, incarnation)
        try:
            return repair(self.files, directory, identity, durable_hint, batches)
        except OSError as error:
            raise FailedCopyError(f"{directory} cannot be mended: {error}") from error

    def dirty_sets(self) -> DirtyStore:
        """See CopyStore."""
        return DirtySetFiles(self.directory, self.files)

    def image(self, volume: VolumeSpec) -> Image:
        """See CopyStore."""
        folder = self.directory / "volumes"
        ensure_directory(self.files, folder)
        return FileImage(folder / f"{volume.id}.img", volume.size, self.files)

    def stage(self, spec: GroupSpec) -> Stage | None:
        """See CopyStore."""
        return FileStage.open(self._stage, spec.volumes, self._open_redo(spec), self.files)

    def new_stage(self, spec: GroupSpec, session: StageInfo) -> Stage:
        """See CopyStore."""
        return FileStage.create(self._stage, session, spec.volumes, self._open_redo(spec), self.files)

    def drop_stage(self) -> None:
        """See CopyStore."""
        try:
            adoption.remove_old(self.files, self.directory)
            file_stage.drop(self.files, self._stage)
        except OSError as error:
            raise FailedStageError(f"stage {self._stage} cannot be removed: {error}") from error

    def make_way(self) -> None:
        """See CopyStore."""
        try:
            is_gone = adoption.remove_old(self.files, self.directory)
        except OSError as error:
            raise FailedCopyError(f"{self.directory / adoption.OLD} cannot be removed: {error}") from error
        if not is_gone:
            raise FailedCopyError(
                f"{self.directory / adoption.OLD} is in the way: forks may be in it",
                remedy="look what is in it, and move it elsewhere",
            )

    def reserve(self, spec: GroupSpec, runs: Extents) -> None:
        """See CopyStore."""
        files = self.files
        volumes = {volume.index: volume for volume in spec.volumes}
        for index in sorted({run.volume for run in runs}):
            path = self.directory / "volumes" / f"{volumes[index].id}.img"
            try:
                fd = files.open(path, os.O_RDWR)
                try:
                    for run in runs:
                        if run.volume == index:
                            end = min(run.end * GRANULE, volumes[index].size)
                            files.allocate(fd, run.first * GRANULE, end - run.first * GRANULE)
                    files.fsync(fd)
                finally:
                    files.close(fd)
            except OSError as error:
                if is_full(error):
                    raise NoSpaceError(f"no space for image {path}: {error.strerror}") from error
                raise FailedCopyError(f"image {path} cannot be used: {error}") from error

    def adoption(self) -> Adoption:
        """See CopyStore."""
        try:
            return adoption.progress(self.files, self.directory)
        except OSError as error:
            raise FailedCopyError(f"{self.directory} cannot be read: {error}") from error

    def adopt_image(self, volume: VolumeSpec) -> bool:
        """See CopyStore."""
        source = self._stage / file_stage.blocks_name(volume)
        folder = self.directory / "volumes"
        try:
            is_there = self.files.exists(source)
            if is_there:
                self.files.rename(source, folder / f"{volume.id}.img")
            sync_directory(self.files, folder)  # also when it was renamed: whoever did may have died before
            sync_directory(self.files, self._stage)
        except OSError as error:
            raise FailedCopyError(f"{source} cannot become an image: {error}") from error
        return is_there

    def adopt_journal(self) -> None:
        """See CopyStore."""
        try:
            adoption.adopt(self.files, self.directory)
        except OSError as error:
            raise FailedCopyError(f"{self._stage} cannot become the journal: {error}") from error

    def free_bytes(self) -> int:
        """See CopyStore."""
        try:
            return self.files.free(self.directory)
        except OSError as error:
            raise FailedCopyError(f"{self.directory} cannot be read: {error}") from error

    @property
    def _stage(self) -> Path:
        return self.directory / adoption.STAGE

    def _open_redo(self, spec: GroupSpec) -> file_stage.OpenRedo:
        identity = Identity(self.cluster, spec.id, self.center, "")

        def open_redo(directory: Path, start: Position) -> Journal:
            journal = SegmentJournal(
                directory,
                identity,
                start.seq,
                segment_bytes=self.segment_bytes,
                start=start,
                files=self.files,
            )
            try:
                journal.establish()
            except BaseException:
                journal.close()
                raise
            return journal

        return open_redo

    def scratch(self, volume: VolumeSpec) -> Image:
        """See CopyStore. Nothing is synced: it need not survive anything."""
        files = self.files
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
        return SegmentForks(self.directory / "journal", identity, self.files, self.files.remove_directory)


def copies_in(state_dir: Path, files: CopyFiles = OS_FILES) -> list[str]:
    """Ids of the groups that have a copy below a state directory. Raises OSError."""
    folder = state_dir / "groups"
    if not files.exists(folder):
        return []
    return sorted(name for name in files.names(folder) if is_directory(files, folder / name))
