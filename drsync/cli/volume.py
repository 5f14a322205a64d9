"""`drsync volume`: volumes of a group, and how they grow."""

import click

from drsync.adapters.api_client.doc import Doc, Json
from drsync.cli.client import quote, run
from drsync.cli.errors import EXIT_CODES
from drsync.cli.opening import post
from drsync.cli.options import Talk, asked_by_options, coordinator_options
from drsync.cli.output import DIM, GOOD, console, line, print_json, row, table
from drsync.cli.text import format_size
from drsync.model.errors import UsageError

RESIZE_WAIT_S = 60.0  # because each center is asked for up to 5 s, and the record is waited for


@click.group()
def volume() -> None:
    """Volumes of a group: resize."""


@coordinator_options
@asked_by_options
@volume.command("resize", epilog=EXIT_CODES)
@click.argument("name", metavar="GROUP/VOLUME")
@click.option("--size", required=True, metavar="SIZE", help="How large it shall be, as in 20GiB.")
@click.option("--without", multiple=True, metavar="CENTER", help="Go on although this center has not agreed.")
@click.option("--thin", is_flag=True, help="Go on although centers have less space free than it may take.")
@click.option("--dry-run", is_flag=True, help="Ask everybody, say what would be; change nothing.")
def resize(
    name: str, size: str, without: tuple[str, ...], thin: bool, dry_run: bool, reason: str, actor: str
) -> None:
    """Let a volume grow while it is used. A volume never shrinks.

    Every configured center is asked first: that its software can, that its copy is sound, that it has the
    space. If one says no, nothing changes (exit 3). --without goes on without the answer of a center that is
    away, with --reason; it grows when it comes back. Asked again, the command only looks how far it is.

    \b
    Examples:
      drsync volume resize orders/data --size 20GiB --dry-run
      drsync volume resize orders/data --size 20GiB
      drsync volume resize orders/data --size 2TiB --without remote --reason flood
    """
    from drsync.config.quantities import parse_size

    talk = Talk.here()
    group, _, wanted = name.partition("/")
    if not group or not wanted:
        raise UsageError(f"{name!r} is no volume", remedy="Write GROUP/VOLUME, as in orders/data.")
    try:
        count = parse_size(size)
    except ValueError as error:
        raise UsageError(f"--size: {error}") from error
    body: Json = {"size": count, "thin": thin, "dry_run": dry_run, "reason": reason, "actor": actor}
    if without:
        body["without"] = list(without)
    path = f"/v1/groups/{quote(group)}/volumes/{quote(wanted)}/resize"
    found = run(post(talk, path, body, RESIZE_WAIT_S))
    if talk.as_json:
        print_json(dict(found.items()))
    else:
        _show(found, name)


def _show(found: Doc, name: str) -> None:
    new, former = format_size(found.whole("size")), format_size(found.whole("former"))
    what = table(["center", ">has", ">free", ">since record", "note"])
    waived = [center.text("center") for center in found.docs("centers") if center.flag("waived")]
    for center in found.docs("centers"):
        note = "waived" if center.flag("waived") else ""
        text = ": ".join(part for part in (note, center.text("text")) if part)
        since = str(center.whole("record")) if center.whole("record") else ""
        is_known = bool(center.whole("size"))
        has, free = (format_size(center.whole(key)) if is_known else "?" for key in ("size", "free"))
        row(what, center.text("center"), has, free, since, text)
    console().print(what)
    if found.flag("dry_run"):
        who = f"All but {', '.join(waived)}" if waived else "All"
        line(f"{who} agree that {name} may grow from {former} to {new}. Nothing was changed (dry run).", GOOD)
        return
    waiting = found.texts("waiting")
    if waiting:
        line(f"{name} is decided to have {new}; still to follow: {', '.join(waiting)}.", "yellow")
        line("  They follow by themselves. The same command says how far it is.", DIM)
    else:
        line(f"{name} has {new} everywhere, from record {found.whole('record')} on.", GOOD)
    line("New connections see the new size; connections that are open keep the one they were told.", DIM)
    line("  drsync attach: local clients that connect anew see it, the others go on as they are.", DIM)
    line("  a file system: connect again (or tell the kernel: losetup -c), then resize2fs, xfs_growfs.", DIM)
