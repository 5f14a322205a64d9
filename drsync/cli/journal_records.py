"""`drsync journal show --records`: which records there are, of a time, of a volume, of a place in it."""

import time
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from drsync.adapters.api_client.doc import Json
from drsync.cli.options import Command
from drsync.cli.output import DIM, console, line, print_json, row, table
from drsync.cli.text import clock, count, format_size
from drsync.config.instants import is_instant, parse_instant
from drsync.config.quantities import parse_size
from drsync.model import epoch as epochs
from drsync.model.errors import PermanentError, UsageError

if TYPE_CHECKING:
    from drsync.adapters.segments.listing import RecordReport, Selection

LIMIT = 1000  # because more is read by a program, which says how much it wants
OF_A_VOLUME = frozenset(("write", "zero", "resize"))
KEYS = ("from", "to", "volume", "offset", "length", "kind", "limit")


def record_options(command: Command) -> Command:
    """What to select; kept for `selection`."""
    options = (
        click.option("--records", "is_records", is_flag=True, help="List records one by one."),
        click.option("--from", "since", default="", metavar="T", help="From this record or time on."),
        click.option("--to", "until", default="", metavar="T", help="Up to this record or time."),
        click.option("--volume", default="", metavar="V", help="Of this volume only: name or index."),
        click.option("--offset", default="", metavar="BYTES", help="Only what touches this place in it."),
        click.option("--length", default="", metavar="BYTES", help="How long that place is. [default: 1]"),
        click.option("--kind", default="", help="Only these: write,zero,checkpoint,epoch_start,heartbeat,…"),
        click.option(
            "--limit", type=click.IntRange(1), default=LIMIT, show_default=True, help="At most so many."
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def selection(*, since: str, until: str, offset: str, length: str, kind: str) -> "Selection":
    """What the options say. Raises UsageError."""
    from drsync.adapters.segments.listing import Selection

    wanted = Selection(kinds=frozenset(word for word in kind.lower().replace(" ", "").split(",") if word))
    if length and not offset:
        raise UsageError("--length belongs to --offset")
    for option, text in (("from", since), ("to", until)):
        seq, label = _place(option, text)
        if option == "from":
            wanted = replace(wanted, first_seq=seq, from_us=label)
        else:
            wanted = replace(wanted, last_seq=seq, to_us=label)
    if offset:
        wanted = replace(wanted, offset=_size("offset", offset), length=_size("length", length or "1"))
    return wanted


def _place(option: str, text: str) -> tuple[int, int]:
    """A record number and a label, of which one is 0."""
    if not text:
        return 0, 0
    if text.isascii() and text.isdecimal():
        return int(text), 0
    if not is_instant(text):
        raise UsageError(f"--{option}: {text!r} is neither a record number nor a time")
    try:
        return 0, parse_instant(text, time.time_ns() // 1000)
    except ValueError as error:
        raise UsageError(f"--{option}: {error}") from error


def _size(option: str, text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise UsageError(f"--{option}: {error}") from error


def show_records(folders: list[Path], wanted: "Selection", volume: str, limit: int, *, as_json: bool) -> None:
    """List them. Raises UsageError: no volume of that name; DrsyncError: a journal cannot be read."""
    from drsync.adapters.segments.listing import list_records

    shown: list[Json] = []
    for folder in folders:
        names = volume_names(folder)
        index = _index(volume, names, folder)
        try:
            found = list(islice(list_records(folder, replace(wanted, volume=index)), limit + 1))
        except OSError as error:
            raise PermanentError(f"cannot read {error.filename or folder}: {error.strerror}") from error
        if as_json:
            listed = [_json(record, names) for record in found[:limit]]
            shown.append({"path": str(folder), "records": listed, "more": len(found) > limit})
        else:
            _show(folder, found, names, limit)
    if as_json:
        print_json({"journals": shown})


def volume_names(folder: Path) -> dict[int, str]:
    """Names by index, from the charter that the copy beside the journal remembers; empty: none is found."""
    from drsync.adapters.segments.superblock import SuperblockFiles
    from drsync.engine.durable import Durable
    from drsync.model.errors import DrsyncError

    for home in [folder, *folder.parents][:4]:  # a fork lies three levels below its copy
        try:
            raw = SuperblockFiles(home).load()
            charter = Durable.decode(raw).charter if raw is not None else None
        except (DrsyncError, ValueError, TypeError):
            return {}
        if charter is not None:
            return {volume.index: volume.name for volume in charter.group.volumes}
    return {}


def _index(volume: str, names: dict[int, str], folder: Path) -> int | None:
    if not volume:
        return None
    for index, name in names.items():
        if volume == name:
            return index
    if volume.isascii() and volume.isdecimal():
        return int(volume)
    known = ", ".join(f"{name} ({index})" for index, name in sorted(names.items())) or "not known"
    raise UsageError(f"{folder} has no volume {volume[:64]}; its volumes: {known}")


def _show(folder: Path, found: "list[RecordReport]", names: dict[int, str], limit: int) -> None:
    line(str(folder), "bold")
    what = table([">record", "time", "epoch", "kind", "volume", ">offset", ">length", ">segment, byte"])
    for record in found[:limit]:
        is_data = record.kind in {"write", "zero"}
        volume = names.get(record.volume, str(record.volume)) if record.kind in OF_A_VOLUME else ""
        place = (count(record.offset), format_size(record.length)) if is_data else ("", "")
        at = f"{record.segment}, {count(record.byte)}"
        about = (count(record.seq), clock(record.time_us), epochs.show(record.epoch))
        kind = f"{record.kind}: {record.text}" if record.text else record.kind
        row(what, *about, kind, volume, *place, at)
    if found:
        console().print(what)
    else:
        line("  no such records")
    if len(found) > limit:
        line(f"  and more: --from {found[limit].seq}, or a higher --limit", DIM)


def _json(record: "RecordReport", names: dict[int, str]) -> Json:
    body = {**asdict(record), "epoch_text": epochs.show(record.epoch)}
    return body | {"volume_name": names.get(record.volume, "")} if record.kind in OF_A_VOLUME else body
