"""`drsync files`: protected trees, and a person's word on a change that looks like an accident."""

import click

from drsync.adapters.api_client.doc import Doc
from drsync.cli.client import Client, ask, quote, run
from drsync.cli.errors import EXIT_CODES
from drsync.cli.files_view import tree_remarks, trees_table
from drsync.cli.options import Talk, asked_by_options, coordinator_options
from drsync.cli.output import GOOD, console, line, print_json
from drsync.model.errors import UsageError


@click.group()
def files() -> None:
    """Protected trees, and which change may pass.

    \b
    Examples:
      drsync files show orders
      drsync files approve orders/documents --reason "the archive was moved away"
    """


@coordinator_options
@files.command("show", epilog=EXIT_CODES)
@click.argument("group")
@click.argument("fileset", required=False, default="", metavar="[SET]")
def show(group: str, fileset: str) -> None:
    """Each tree of a group at each center.

    \b
    Example:
      drsync files show orders documents
    """
    talk = Talk.here()
    status = ask(talk, f"/v1/groups/{quote(group)}").doc("status")
    names = [one.text("name") for one in status.docs("filesets")]
    if fileset and fileset not in names:
        raise UsageError(
            f"{group} has no file set {fileset}",
            code="unknown_fileset",
            remedy=f"It has: {', '.join(names) or 'none'}.",
        )
    if talk.as_json:
        shown = [fileset] if fileset else names
        centers = {
            center: {name: dict(state.doc("files").doc(name).items()) for name in shown}
            for center, state in status.table("centers")
        }
        print_json({"group": group, "owner": status.text("owner"), "centers": centers})
        return
    if not names:
        line(f"{group} protects no files; [[filesets]] in its group file adds some.")
        return
    console().print(trees_table(status, fileset))
    for sentence, style in tree_remarks(status, fileset):
        line(f"  {sentence}", style)


@coordinator_options
@asked_by_options
@files.command("approve", epilog=EXIT_CODES)
@click.argument("name", metavar="GROUP/SET")
@click.option("--at", default="", metavar="CENTER", help="Where it is held. [default: the one place]")
def approve(name: str, at: str, reason: str, actor: str) -> None:
    """Let a change pass that a tree is held for: it is meant.

    A tree is held when it is suddenly empty, when very much of it is gone at once, or when its directory is
    not the one it was. What you approve reaches the other centers with the next scan. Needs --reason, which
    is kept with your name.

    \b
    Example:
      drsync files approve orders/documents --reason "the archive was moved away"
    """
    group, slash, fileset = name.partition("/")
    if not (group and slash and fileset):
        raise UsageError(
            f"{name} is not GROUP/SET", remedy="For example: drsync files approve orders/documents"
        )
    if not reason.strip():
        raise UsageError("a reason is needed: it is kept as evidence", remedy="Say why with --reason TEXT.")
    talk = Talk.here()
    told = run(_approve(talk, group, fileset, {"at": at, "reason": reason, "actor": actor}))
    if talk.as_json:
        print_json(dict(told.items()))
        return
    line(f"{group}/{fileset} goes on at {told.text('center')} with its next scan.", GOOD)


async def _approve(talk: Talk, group: str, fileset: str, body: dict[str, object]) -> Doc:
    async with Client(talk.coordinator, talk.token_file) as client:
        return await client.post(f"/v1/groups/{quote(group)}/filesets/{quote(fileset)}/approve", body)
