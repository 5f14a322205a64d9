"""The agent's start token: a small number that a restored snapshot takes back; the store notices (F.A 25)."""

import os
from pathlib import Path

from drsync.model.errors import FailedCopyError


class StartToken:
    """Durable in ``<state dir>/start-token``. 0 before the first registration.

    Raises:
        FailedCopyError: the file cannot be read, is no number, or cannot be written.
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "start-token"
        self.value = 0
        try:
            if self._path.exists():
                self.value = int(self._path.read_text(encoding="ascii"))
        except (OSError, ValueError) as error:
            raise FailedCopyError(f"cannot read {self._path}: {error}", code="token_failed") from error

    def keep(self, value: int) -> None:
        """Durable on return. Blocks (fsync)."""
        fresh = self._path.with_suffix(".new")
        try:
            with fresh.open("w", encoding="ascii") as file:
                file.write(str(value))
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
            directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            raise FailedCopyError(f"cannot write {self._path}: {error}", code="token_failed") from error
        self.value = value
