"""`drsync journal`: look into the files of a journal, also while its agent runs or can no longer start."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from drsync.adapters.api_client.doc import Json
from drsync.cli.errors import EXIT_CODES, FAILED
from drsync.cli.journal_records import record_options, selection, show_records
from drsync.cli.options import Talk, json_option
from drsync.cli.output import BAD, GOOD, console, line, print_json, row, table
from drsync.cli.text import count, format_size, plural
from drsync.model import epoch as epochs
from drsync.model.errors import PermanentError, UsageError
from drsync.model.position import EpochRun

if TYPE_CHECKING:
    from drsync.adapters.segments.inspection import JournalReport, SegmentReport

FOUND_MAX = 1000  # because a center holds tens of groups, and a wrong path may be the root of a disk

WHERE = click.argument("path", type=click.Path(path_type=Path, exists=True, file_okay=False))


@click.group()
def journal() -> None:
    """Read and check journal files."""


@json_option
@record_options
@journal.command("show", epilog=EXIT_CODES)
@WHERE
def show(  # noqa: PLR0913  # each option narrows the list
    *,
    path: Path,
    is_records: bool,
    since: str,
    until: str,
    volume: str,
    offset: str,
    length: str,
    kind: str,
    limit: int,
) -> None:
    """Segments, epochs and the last record of the journals in PATH. Quick.

    PATH is the folder of a journal or of a fork, or one above it: a state_dir, for example. With --records:
    what was written when, and where. Times are labels of the owner that wrote them.

    \b
    Examples:
      drsync journal show /var/lib/drsync
      drsync journal show --records --from 14:02 --to 14:04 --volume ledger PATH
      drsync journal show --records --volume disk --offset 4096 --json PATH
    """
    from drsync.adapters.segments.inspection import describe

    wanted = selection(since=since, until=until, offset=offset, length=length, kind=kind)
    if is_records:
        show_records(_journals(path), wanted, volume, limit, as_json=Talk.here().as_json)
        return
    if any((since, until, volume, offset, kind)):
        raise UsageError(
            "--from, --to, --volume, --offset and --kind select records", remedy="Add --records."
        )
    _tell({folder: describe(folder) for folder in _journals(path)})


@json_option
@journal.command("check", epilog=EXIT_CODES)
@WHERE
def check(path: Path) -> None:
    """Read every byte of the journals in PATH and compare all hashes; ends with 1 if one is bad.

    It names segment, byte and record of the first bad place, and says what to do: a torn end that was never
    durable is normal after a crash, and the agent cuts it off when it starts.

    \b
    Example:
      drsync journal check /var/lib/drsync
    """
    from drsync.adapters.segments.inspection import check as check_journal

    reports = {folder: check_journal(folder) for folder in _journals(path)}
    _tell(reports)
    if any(report.bad for report in reports.values()):
        click.get_current_context().exit(FAILED)
    if not Talk.here().as_json:
        line("Every batch is whole, and each continues the one before.", GOOD)


def _journals(path: Path) -> list[Path]:
    """Folders with segments, in and below `path`."""
    from drsync.adapters.segments.opening import segment_paths

    found: list[Path] = []
    try:
        if segment_paths(path):
            return [path]
        for below in sorted(path.rglob("*")):
            if below.is_dir() and segment_paths(below):
                found.append(below)
            if len(found) > FOUND_MAX:
                message = f"more than {FOUND_MAX} journals below {path}"
                raise UsageError(message, remedy="Name a folder further down.")
    except OSError as error:
        raise PermanentError(f"cannot read {error.filename}: {error.strerror}") from error
    if not found:
        message = f"no journal in or below {path}"
        raise UsageError(message, remedy="Name a state_dir, or the folder of a journal.")
    return found


def _tell(reports: "dict[Path, JournalReport]") -> None:
    if Talk.here().as_json:
        print_json({"journals": [_json(folder, report) for folder, report in reports.items()]})
        return
    for folder, report in reports.items():
        _show(folder, report)


def _show(folder: Path, report: "JournalReport") -> None:
    line(str(folder), "bold")
    what = table(["segment", ">first", ">last", ">batches", ">size", "epoch at end", "sealed"])
    for segment in report.segments:
        records = (count(segment.first_seq), count(segment.last.seq), count(segment.batches))
        end, is_sealed = epochs.show(segment.last.epoch), "yes" if segment.is_sealed else "no"
        row(what, segment.name, *records, format_size(segment.bytes), end, is_sealed)
    console().print(what)
    for run in report.runs:
        line(f"  epoch {epochs.show(run.epoch)}: records {count(run.first_seq)} to {count(run.last_seq)}")
    line(f"  ends with record {count(report.tip.seq)}, chain {report.tip.chain.hex()}")
    if report.bad:
        bad = report.bad
        where = f"byte {count(bad.offset)} of {bad.segment}, before record {count(bad.seq)}"
        line(f"  bad at {where}: {bad.reason}", BAD)
        line(f"  {_remedy(folder, report)}", BAD)
    if report.beyond:
        line(f"  {plural(len(report.beyond), 'segment')} beyond it: {', '.join(report.beyond)}", BAD)


def _remedy(folder: Path, report: "JournalReport") -> str:
    """What to do about the bad place, by what the copy calls durable."""
    bad, hint = report.bad, _durable_hint(folder)
    assert bad is not None
    if hint is None and not report.beyond:
        return f"If records from {bad.seq} on were never durable, the agent cuts them off when it starts."
    if hint is not None and hint < bad.seq:
        return (
            f"Records up to {hint} were durable, so this is a torn end: the agent cuts it off when it starts."
        )
    return (
        f"Records from {bad.seq} on are damaged here. Change nothing in this folder. Other centers have "
        "them: let the group run from one, and replace this copy (docs/operations/night-shift.md)."
    )


def _durable_hint(folder: Path) -> int | None:
    """The position that the copy beside the journal called durable; None: not told."""
    from drsync.adapters.segments.superblock import SuperblockFiles
    from drsync.engine.durable import Durable
    from drsync.model.errors import DrsyncError

    try:
        raw = SuperblockFiles(folder.parent).load()
        return Durable.decode(raw).durable_hint if raw is not None else None
    except (DrsyncError, ValueError, TypeError):
        return None


def _json(folder: Path, report: "JournalReport") -> Json:
    tip, bad = report.tip, report.bad
    return {
        "path": str(folder),
        "tip": {"epoch": tip.epoch, "seq": tip.seq, "chain": tip.chain.hex()},
        "runs": [_run_json(run) for run in report.runs],
        "segments": [_segment_json(segment) for segment in report.segments],
        "bad": {**asdict(bad), "remedy": _remedy(folder, report)} if bad is not None else None,
        "beyond": list(report.beyond),
    }


def _run_json(run: EpochRun) -> Json:
    number = {"epoch": run.epoch, "epoch_text": epochs.show(run.epoch)}
    return {**number, "first": run.first_seq, "last": run.last_seq}


def _segment_json(segment: "SegmentReport") -> Json:
    return {
        "name": segment.name,
        "number": segment.number,
        "first": segment.first_seq,
        "last": segment.last.seq,
        "batches": segment.batches,
        "bytes": segment.bytes,
        "sealed": segment.is_sealed,
    }
