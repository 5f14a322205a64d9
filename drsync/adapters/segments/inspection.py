"""What the night shift wants to know about a journal's files, without opening it for work.

Both functions may run beside the process that uses the journal; the last segment may then grow meanwhile.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from drsync.adapters.segments.files import Files, OsFiles
from drsync.adapters.segments.layout import Identity, SegmentHeader
from drsync.adapters.segments.opening import BadPlace, read_directory, segment_paths
from drsync.adapters.segments.scan import reader, scan_segment
from drsync.adapters.segments.segment import Segment, load_directory, read_header, read_trailer
from drsync.model.errors import DrsyncError
from drsync.model.position import ORIGIN, EpochRun, Position, Runs


@dataclass(frozen=True, slots=True)
class SegmentReport:
    """One segment.

    Attributes:
        name: file name.
        number: in locators.
        identity: whose journal.
        created_us: label.
        first_seq: its first record.
        last: position after its last one.
        batches: how many.
        bytes: of the file.
        is_sealed: it has a valid footer.
    """

    name: str
    number: int
    identity: Identity
    created_us: int
    first_seq: int
    last: Position
    batches: int
    bytes: int
    is_sealed: bool


@dataclass(frozen=True, slots=True)
class JournalReport:
    """A journal's files.

    Attributes:
        segments: those that hold the log, in order.
        runs: epochs in them.
        tip: position after the last good batch.
        bad: the first place that is no good batch; None when the log simply ends.
        beyond: names of segments after the bad place.
    """

    segments: tuple[SegmentReport, ...]
    runs: Runs
    tip: Position
    bad: BadPlace | None
    beyond: tuple[str, ...]


def describe(directory: Path) -> JournalReport:
    """Read headers and footers, and the batches of segments without a footer. Quick. Raises OSError."""
    files = OsFiles()
    opened = read_directory(files, directory, ORIGIN, None)
    reports: list[SegmentReport] = []
    bad = opened.bad
    for segment in opened.segments:
        try:
            reports.append(_describe(files, segment))
        except DrsyncError as error:
            bad = bad or BadPlace(segment.path.name, segment.end, segment.first_seq, str(error))
    beyond = tuple(path.name for path in opened.doomed)
    return JournalReport(tuple(reports), opened.runs.all(), opened.tip, bad, beyond)


def _describe(files: Files, segment: Segment) -> SegmentReport:
    fd = files.open(segment.path, os.O_RDONLY)
    try:
        header = read_header(files, fd)
        directory = segment.directory or load_directory(files, fd, segment)
        is_sealed = read_trailer(files, fd, segment.first_seq) is not None
        return _report(
            segment.path, files.size(fd), header, segment.last, len(directory), is_sealed=is_sealed
        )
    finally:
        files.close(fd)


def _report(
    path: Path, size: int, header: SegmentHeader, last: Position, batches: int, *, is_sealed: bool
) -> SegmentReport:
    return SegmentReport(
        path.name, header.number, header.identity, header.created_us, header.prior.seq + 1, last, batches,
        size, is_sealed,
    )  # fmt: skip


def check(directory: Path) -> JournalReport:
    """Read every byte of every batch and compare all hashes and chains. Stops at the first bad place.

    Raises:
        OSError: reading failed.
    """
    files = OsFiles()
    reports: list[SegmentReport] = []
    runs: list[EpochRun] = []
    tip: Position | None = None
    paths = segment_paths(directory, files)
    bad: BadPlace | None = None
    for index, path in enumerate(paths):
        try:
            bad, report, found = _check(files, path, tip)
        except FileNotFoundError:
            bad, report, found = None, None, ()
        if not files.exists(path):  # trimmed meanwhile, and perhaps written over: the journal begins after it
            reports, runs, tip, bad = [], [], None, None
            continue
        if report is not None:
            reports.append(report)
            tip = report.last
            _join(runs, found)
        if bad is not None:
            beyond = tuple(later.name for later in paths[index + 1 :])
            return JournalReport(tuple(reports), tuple(runs), tip or ORIGIN, bad, beyond)
    return JournalReport(tuple(reports), tuple(runs), tip or ORIGIN, None, ())


def _check(
    files: Files, path: Path, tip: Position | None
) -> tuple[BadPlace | None, SegmentReport | None, Runs]:
    fd = files.open(path, os.O_RDONLY)
    try:
        try:
            header = read_header(files, fd)
        except DrsyncError as error:
            return BadPlace(path.name, 0, tip.seq + 1 if tip else 0, str(error)), None, ()
        if tip is not None and header.prior != tip:
            reason = f"continues seq {header.prior.seq}, the segment before ends with {tip.seq}"
            return BadPlace(path.name, 0, tip.seq + 1, reason), None, ()
        scanned = scan_segment(reader(files, fd), header.prior)
        footer = read_trailer(files, fd, header.prior.seq + 1)
        is_sealed = footer is not None
        report = _report(
            path, files.size(fd), header, scanned.end, len(scanned.directory), is_sealed=is_sealed
        )
        reason = scanned.stop.reason
        if footer is not None and footer[0].data_end == scanned.stop.offset:
            reason = "" if footer[1] == scanned.runs else "the footer's runs differ from the batches'"
        elif is_sealed:
            reason = reason or "the batches end here, the footer names another end"
        bad = BadPlace(path.name, scanned.stop.offset, scanned.end.seq + 1, reason) if reason else None
        return bad, report, scanned.runs
    finally:
        files.close(fd)


def _join(runs: list[EpochRun], more: Runs) -> None:
    for run in more:
        if runs and runs[-1].epoch == run.epoch:
            runs[-1] = EpochRun(run.epoch, runs[-1].first_seq, run.last_seq, run.last_chain)
        else:
            runs.append(run)
