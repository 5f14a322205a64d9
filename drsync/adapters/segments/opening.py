"""Reading a journal's directory: which segments hold a contiguous log, and where it stops.

Reading decides everything and changes nothing; `SegmentJournal` then carries the decision out. So damage to
durable records is reported with every byte still in place (F.A 13).
"""

import os
from dataclasses import dataclass, field
from errno import ENOENT
from pathlib import Path

from drsync.adapters.segments.directory import RunList
from drsync.adapters.segments.files import CorruptJournalError, Files, OsFiles
from drsync.adapters.segments.layout import HEADER_BYTES, Identity, SegmentHeader
from drsync.adapters.segments.scan import Stop, reader, scan_segment
from drsync.adapters.segments.segment import SUFFIX, Segment, file_name, read_header, read_trailer
from drsync.model.errors import FailedCopyError, MalformedError
from drsync.model.position import Position


@dataclass(frozen=True, slots=True)
class BadPlace:
    """The first place of a journal that is no good batch."""

    segment: str
    offset: int
    seq: int
    reason: str


@dataclass(slots=True)
class Opened:
    """What a journal directory holds.

    Attributes:
        segments: those with good batches, in order.
        tip: position after the last good batch.
        runs: of all segments.
        bad: what stopped the reading, if it was not simply the end.
        doomed: files after it, in order.
    """

    tip: Position
    segments: list[Segment] = field(default_factory=list)
    runs: RunList = field(default_factory=RunList)
    bad: BadPlace | None = None
    doomed: list[Path] = field(default_factory=list)


def segment_paths(directory: Path, files: Files | None = None) -> list[Path]:
    """Segment files, in the order of their records. Raises OSError."""
    names = (files or OsFiles()).names(directory)
    return [directory / name for name in sorted(names) if name.endswith(SUFFIX)]


def read_directory(files: Files, directory: Path, start: Position, identity: Identity | None) -> Opened:
    """Read all segments; no descriptor is left open.

    Args:
        files: system calls.
        directory: of the journal.
        start: position before the first record if there is no segment yet.
        identity: whose journal it must be (the incarnation is only a label); None accepts any.

    Raises:
        FailedCopyError: a segment belongs to another journal.
        PermanentError: written by newer software.
        OSError: reading failed.
    """
    opened = Opened(start)
    paths = segment_paths(directory, files)
    for index, path in enumerate(paths):
        is_last = index == len(paths) - 1
        fd = files.open(path, os.O_RDONLY)
        try:
            segment, stop = _read_segment(files, fd, path, opened, identity, is_last=is_last)
        except MalformedError as error:
            segment, stop = None, Stop(0, str(error))
        finally:
            files.close(fd)
        if segment is None:
            if identity is None and not files.exists(path):
                raise FileNotFoundError(ENOENT, "it was trimmed while it was read", str(path))
            opened.bad = opened.bad or BadPlace(path.name, stop.offset, opened.tip.seq + 1, stop.reason)
            opened.doomed = paths[index:]
            return opened
        opened.segments.append(segment)
        opened.tip = segment.last
        # Whatever stopped the scan of an earlier segment was no batch: this one continues it.
        opened.bad = (
            BadPlace(path.name, stop.offset, segment.last.seq + 1, stop.reason) if stop.reason else None
        )
    return opened


def _read_segment(
    files: Files, fd: int, path: Path, opened: Opened, identity: Identity | None, *, is_last: bool
) -> tuple[Segment | None, Stop]:
    header = read_header(files, fd)
    if identity is not None:
        _check_identity(path, header, identity)
    if path.name != file_name(header.prior.seq + 1):
        return None, Stop(0, f"header starts with seq {header.prior.seq + 1}, the file name differs")
    if opened.segments and header.prior != opened.tip:
        return None, Stop(
            0, f"continues seq {header.prior.seq}, the segment before ends with {opened.tip.seq}"
        )
    size = files.size(fd)
    segment = Segment(
        path, header.number, header.prior, header.capacity, HEADER_BYTES, header.prior, size, None
    )
    found = None if is_last else read_trailer(files, fd, segment.first_seq)
    if found is not None:
        trailer, runs = found
        segment.end = trailer.data_end
        segment.last = Position(runs[-1].epoch, trailer.last_seq, trailer.last_chain)
        segment.is_sealed = True
        opened.runs.extend(runs)
        return segment, Stop(trailer.data_end, "")
    scanned = scan_segment(reader(files, fd), header.prior)
    segment.directory = scanned.directory
    segment.marks = scanned.marks
    segment.end = scanned.stop.offset
    segment.last = scanned.end
    opened.runs.extend(scanned.runs)
    if not is_last or not _is_footer(files, fd, segment):
        return segment, scanned.stop
    return segment, Stop(scanned.stop.offset, "")


def _is_footer(files: Files, fd: int, segment: Segment) -> bool:
    """Whether a valid footer starts where the batches end: then they end there by intent."""
    found = read_trailer(files, fd, segment.first_seq)
    return found is not None and found[0].data_end == segment.end


def _check_identity(path: Path, header: SegmentHeader, identity: Identity) -> None:
    if header.identity[:3] != identity[:3]:
        raise FailedCopyError(
            f"segment {path.name} belongs to {'/'.join(header.identity[:3])}, not {'/'.join(identity[:3])}",
            code="foreign_segment",
            remedy="move the file out of this journal's directory",
        )


def refuse_loss(opened: Opened, durable_hint: int) -> None:
    """Raise unless everything up to `durable_hint` was read.

    Raises:
        CorruptJournalError: records that were durable are damaged or gone.
    """
    if opened.tip.seq >= durable_hint:
        return
    if opened.bad is not None:
        bad = opened.bad
    elif opened.segments:
        last = opened.segments[-1]
        bad = BadPlace(last.path.name, last.end, last.last.seq + 1, "zeros instead of a batch")
    else:
        bad = BadPlace(file_name(opened.tip.seq + 1), 0, opened.tip.seq + 1, "there is no segment")
    raise CorruptJournalError(bad.segment, bad.offset, bad.seq, bad.reason, durable_hint)
