"""All the copies of an agent, below its state directory."""

from dataclasses import dataclass
from pathlib import Path

from drsync.adapters.segments.journal import SEGMENT_BYTES
from drsync.agent.copy_store import OS_FILES, CopyFiles, FileCopyStore, copies_in
from drsync.ports.copy_store import CopyStore


@dataclass(frozen=True, slots=True)
class DiskCopies:
    """`agent.Copies` on files.

    Attributes:
        state_dir: of the agent.
        cluster, center: who it is.
        files: system calls.
        segment_bytes: size of a journal segment.
    """

    state_dir: Path
    cluster: str
    center: str
    files: CopyFiles = OS_FILES
    segment_bytes: int = SEGMENT_BYTES

    def ids(self) -> list[str]:
        """See Copies. Raises OSError."""
        return copies_in(self.state_dir, self.files)

    def store(self, group_id: str) -> CopyStore:
        """See Copies."""
        directory = self.state_dir / "groups" / group_id
        return FileCopyStore(directory, self.cluster, self.center, self.files, self.segment_bytes)
