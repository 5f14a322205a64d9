"""The agent's start token: a small number that a restored snapshot takes back; the store notices (F.A 25)."""

import os
from pathlib import Path

from drsync.adapters.segments.files import Files, OsFiles, read_up_to, sync_directory, write_all
from drsync.model.errors import FailedCopyError

DIGITS_MAX = 20  # because the largest number of 64 bits has as many


class StartToken:
    """Durable in ``<state dir>/start-token``. 0 before the first registration.

    Raises:
        FailedCopyError: the file cannot be read, is no number, or cannot be written.
    """

    def __init__(self, state_dir: Path, files: Files | None = None) -> None:
        """`files`: system calls, replaced where there is no file system."""
        self._path = state_dir / "start-token"
        self._files: Files = OsFiles() if files is None else files
        self.value = 0
        try:
            self.value = int(self._read())
        except (OSError, ValueError) as error:
            raise FailedCopyError(f"cannot read {self._path}: {error}", code="token_failed") from error

    def _read(self) -> str:
        try:
            fd = self._files.open(self._path, os.O_RDONLY)
        except FileNotFoundError:
            return "0"
        try:
            return read_up_to(self._files, fd, DIGITS_MAX + 1, 0).decode("ascii")
        finally:
            self._files.close(fd)

    def keep(self, value: int) -> None:
        """Durable on return. Blocks (fsync)."""
        fresh = self._path.with_suffix(".new")
        try:
            fd = self._files.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            try:
                write_all(self._files, fd, [str(value).encode("ascii")], 0)
                self._files.fsync(fd)
            finally:
                self._files.close(fd)
            self._files.rename(fresh, self._path)
            sync_directory(self._files, self._path.parent)
        except OSError as error:
            raise FailedCopyError(f"cannot write {self._path}: {error}", code="token_failed") from error
        self.value = value
