"""`drsync events --export FILE`: all that is known of what happened, in one file that can be checked."""

from pathlib import Path

import click

from drsync.cli.client import Client, run
from drsync.cli.options import Command, Talk
from drsync.cli.output import line, print_json
from drsync.cli.text import format_size, plural
from drsync.config.quantities import parse_duration
from drsync.model.errors import MalformedError, PermanentError, UsageError

MODE = 0o600  # because it tells who did what, although nothing in it opens a door


def export_options(command: Command) -> Command:
    """``--export``, ``--since``."""
    command = click.option("--since", default="", help="With --export: how far to look back: 1h, 7d.")(
        command
    )
    return click.option(
        "--export",
        "path",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Write events, operations, charters and decisions to FILE (JSON lines).",
    )(command)


def write_export(talk: Talk, path: Path, group: str, since: str) -> None:
    """Fetch it, check it, write it.

    Raises:
        UsageError: `since` is no duration, the file cannot be written or would be too large.
        PermanentError: what came is not complete.
    """
    from drsync.wire.incident import unseal

    content = run(_fetch(talk, group, _seconds(since)))
    try:
        lines = unseal(content)
    except MalformedError as error:
        raise PermanentError(f"the coordinator sent an incomplete file: {error}", code=error.code) from error
    try:
        path.touch(mode=MODE)
        path.write_bytes(content)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
    counts = {
        kind: sum(one.kind == kind for one in lines) for kind in ("operation", "decision", "event", "charter")
    }
    if talk.as_json:
        print_json({"file": str(path), "bytes": len(content), **counts})
        return
    told = ", ".join(plural(number, kind) for kind, number in counts.items())
    line(f"{path}: {told} ({format_size(len(content))})")
    line(f"Ask it why: drsync sim --replay-incident {path}", "dim")


def _seconds(since: str) -> int:
    if not since:
        return 0
    try:
        return max(1, int(parse_duration(since)))
    except ValueError as error:
        raise UsageError(f"--since: {error}") from error


async def _fetch(talk: Talk, group: str, since_s: int) -> bytes:
    async with Client(talk.coordinator, talk.token_file) as client:
        return await client.fetch("/v1/export", {"group": group, "since_s": since_s})
