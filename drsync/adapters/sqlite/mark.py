"""What the last process on this host noted about the store it used. A boot makes it unbelievable."""

from pathlib import Path
from typing import NamedTuple, Protocol


class Mark(NamedTuple):
    """Which process used the store last, and how many changes it had made when it noted this."""

    process: str
    changes: int


class MarkNote(Protocol):
    """Where that is noted, outside the store, so that an older copy of the store does not agree with it."""

    def read(self) -> Mark | None:
        """The note; None when there is none of this boot."""
        ...

    def write(self, mark: Mark) -> None:
        """Replace the note. Called only after the commit."""
        ...


class FileMarkNote:
    """A file in the run directory."""

    def __init__(self, run_dir: Path, boot_id: str) -> None:
        """`boot_id` of the host: a note from before the last boot is not believed."""
        self._path = run_dir / "store-mark"
        self._boot_id = boot_id

    def read(self) -> Mark | None:
        """See MarkNote."""
        try:
            boot_id, process, changes = self._path.read_text().strip().split(":")
            return Mark(process, int(changes)) if boot_id == self._boot_id else None
        except (OSError, ValueError):
            return None

    def write(self, mark: Mark) -> None:
        """See MarkNote."""
        temporary = self._path.with_suffix(".new")
        temporary.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(f"{self._boot_id}:{mark.process}:{mark.changes}\n")
        temporary.replace(self._path)
