"""What a lab remembers of itself between commands: ``lab.json``."""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from drsync.model.errors import PermanentError

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Process:
    """A process that the lab started. A process id alone may belong to another one by now.

    Attributes:
        pid: process id.
        started: its start time in clock ticks since boot (proc(5), field 22 of stat).
        boot: the boot that both numbers belong to.
    """

    pid: int
    started: int
    boot: str


@dataclass(frozen=True, slots=True)
class ImportedVolume:
    """A served volume and what it was filled from.

    Attributes:
        name: of the volume.
        size: bytes of the volume, a multiple of 4096.
        source: the image; empty for a volume that starts with zeros.
        data_bytes: bytes of the image that are not holes.
        is_done: everything was written and flushed.
        is_begun: some of it may have been written.
        content: ``blake3:<hex>`` of the whole volume after the import; empty when not taken.
        fsck: exit code of e2fsck on the image itself; None when there is no ext file system.
    """

    name: str
    size: int
    source: str = ""
    data_bytes: int = 0
    is_done: bool = False
    is_begun: bool = False
    content: str = ""
    fsck: int | None = None


@dataclass(frozen=True, slots=True)
class ProtectedTree:
    """A file set and what it was filled from.

    Attributes:
        name: of the file set.
        source: the directory that was copied.
        is_limited: only so much of it as `drsync.lab.trees` says.
        is_done: the copy is complete.
        names, bytes: of the copy.
    """

    name: str
    source: str
    is_limited: bool = False
    is_done: bool = False
    names: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class LabRecord:
    """The lab as of the last command.

    Attributes:
        cluster: id of the cluster.
        ports: loopback ports by what listens there.
        volumes: in the order of the group.
        processes: those that were started and not stopped.
        run_root: where the sockets are.
        trees: in the order of the group.
        format: of this file.
    """

    cluster: str
    ports: dict[str, int]
    volumes: tuple[ImportedVolume, ...] = ()
    processes: dict[str, Process] = field(default_factory=dict)
    run_root: str = ""
    trees: tuple[ProtectedTree, ...] = ()
    format: int = FORMAT

    def with_process(self, name: str, process: Process | None) -> "LabRecord":
        """With one more process, or without one."""
        processes = {key: value for key, value in self.processes.items() if key != name}
        if process is not None:
            processes[name] = process
        return replace(self, processes=processes)

    def with_volume(self, volume: ImportedVolume) -> "LabRecord":
        """With a volume's newer word."""
        return replace(self, volumes=tuple(volume if v.name == volume.name else v for v in self.volumes))

    def with_tree(self, tree: ProtectedTree) -> "LabRecord":
        """With a tree's newer word."""
        return replace(self, trees=tuple(tree if t.name == tree.name else t for t in self.trees))


_RECORDS = TypeAdapter(LabRecord)


def load(path: Path) -> LabRecord | None:
    """The record, or None when there is none.

    Raises:
        PermanentError: it cannot be read, or is of another version.
    """
    try:
        record = _RECORDS.validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PermanentError(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        raise PermanentError(
            f"{path} is damaged: {error.errors(include_url=False)[0]['msg']}",
            remedy="If no process of this lab runs, remove the directory and make a new lab.",
        ) from error
    if record.format != FORMAT:
        raise PermanentError(
            f"{path} has format {record.format}, this drsync writes {FORMAT}",
            remedy="Stop that lab with the drsync that made it, then make a new one.",
        )
    return record


def save(path: Path, record: LabRecord) -> None:
    """Replace the record; a reader sees the old one or the new one."""
    fresh = path.with_suffix(".new")
    with fresh.open("wb") as file:
        file.write(_RECORDS.dump_json(record, indent=1) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
