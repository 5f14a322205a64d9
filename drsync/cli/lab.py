"""`drsync lab`: three centers on this machine. Options and endings; what happens is in `drsync.lab`."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from drsync.adapters.api_client.doc import Doc, Json
from drsync.cli.client import run
from drsync.cli.errors import EXIT_CODES
from drsync.cli.options import Talk, json_option
from drsync.cli.output import BAD, GOOD, console, line, print_json, row, table
from drsync.cli.text import plural

if TYPE_CHECKING:
    from drsync.lab.cluster import Cluster
    from drsync.lab.narrator import Narrator

Command = TypeVar("Command", bound=click.Command)

IMAGE = click.Path(path_type=Path, exists=True, dir_okay=False, readable=True)
TREE = click.Path(path_type=Path, exists=True, file_okay=False, readable=True)
FAULTS = ("kill", "pause", "resume", "restart")


def dir_option(command: Command) -> Command:
    """``--dir``."""
    return click.option(
        "--dir",
        "root",
        type=click.Path(path_type=Path, file_okay=False),
        default=".lab",
        show_default=True,
        help="Everything of the lab: data, keys, logs.",
    )(command)


@click.group()
def lab() -> None:
    """Three centers on this machine, as real processes, protecting real data.

    \b
    Examples:
      drsync lab up --demo                    start, then show a drill, a failover and the way back
      drsync lab up --image disk.img --detach
      drsync lab status --json
      drsync lab down
    """


@json_option
@dir_option
@lab.command("up", epilog=EXIT_CODES)
@click.option(
    "--image", "images", type=IMAGE, multiple=True, help="Protect this disk image; it is only read."
)
@click.option("--files", "trees", type=TREE, multiple=True, help="Protect a copy of this directory.")
@click.option("--no-files", is_flag=True, help="Protect no files, only images.")
@click.option("--detach", is_flag=True, help="Leave everything running and come back.")
@click.option("--demo", "with_demo", is_flag=True, help="Tell the story of `drsync lab demo` once it is up.")
def up(
    root: Path,
    images: tuple[Path, ...],
    trees: tuple[Path, ...],
    no_files: bool,
    detach: bool,
    with_demo: bool,
) -> None:
    """Start a coordinator and three centers, and protect a disk image and a tree of files.

    Without --image the image is made of files that are on this machine anyway; without --files the tree is a
    copy of some of /usr/share/doc. What you name is only read. Started again, a lab goes on with its data.
    Without --detach it runs until Ctrl-C.

    \b
    Examples:
      drsync lab up
      drsync lab up --image vm.img --image data.img --dir /srv/lab --detach --json
      drsync lab up --files ~/documents --demo
    """
    from drsync.lab.images import look_at
    from drsync.lab.session import up as bring_up
    from drsync.lab.trees import require_tree

    tell = _narrator()
    cluster = _cluster(root)
    tell.title("drsync lab: two sites, three centers, on this machine", str(cluster.layout.root))
    if trees and no_files:
        raise click.UsageError("--files and --no-files contradict each other")
    chosen = [look_at(path.absolute()) for path in images]
    chosen_trees = None if no_files else [require_tree(path.absolute()) for path in trees]
    sys.exit(run(bring_up(cluster, chosen, chosen_trees, tell, _show, detach=detach, with_demo=with_demo)))


@json_option
@dir_option
@lab.command("demo", epilog=EXIT_CODES)
def demo(root: Path) -> None:
    """A drill, the loss of the production center, the way back; measured and checked.

    Ends with 0 only if everything was as promised. The lab goes on running.

    \b
    Example:
      drsync lab demo
    """
    from drsync.lab.session import demo as tell_story

    tell = _narrator()
    cluster = _cluster(root)
    tell.title("drsync lab demo", str(cluster.layout.root))
    sys.exit(run(tell_story(cluster, tell, _show)))


@json_option
@dir_option
@lab.command("status", epilog=EXIT_CODES)
def status(root: Path) -> None:
    """What runs, where, and how the group stands.

    \b
    Examples:
      drsync lab status
      drsync lab status --json | jq .env
    """
    from drsync.lab.status import lab_status

    shown = run(lab_status(_cluster(root)))
    if Talk.here().as_json:
        print_json(shown)
    else:
        _show_status(Doc(shown))


@json_option
@dir_option
@lab.command("down", epilog=EXIT_CODES)
def down(root: Path) -> None:
    """Stop everything cleanly; the data stays, and `drsync lab up` goes on with it.

    \b
    Example:
      drsync lab down
    """
    cluster = _cluster(root)
    count = len(cluster.alive())
    killed = run(cluster.stop_all())
    if Talk.here().as_json:
        print_json({"dir": str(cluster.layout.root), "stopped": count, "killed": killed})
        return
    line(f"{plural(count, 'process', 'processes')} stopped; the data stays in {cluster.layout.root}")
    if killed:
        line(f"did not end by themselves: {', '.join(killed)}", "yellow")


@json_option
@dir_option
@lab.command("fault", epilog=EXIT_CODES)
@click.argument("fault", type=click.Choice(FAULTS))
@click.argument("process", metavar="CENTER")
def fault(root: Path, fault: str, process: str) -> None:
    """Disturb a center, or the coordinator: kill, pause, resume, restart.

    \b
    Examples:
      drsync lab fault kill production
      drsync lab fault restart coordinator
    """
    from drsync.lab.faults import Fault, disturb

    said = run(disturb(_cluster(root), Fault(fault), process))
    if Talk.here().as_json:
        print_json({"fault": fault, "process": process, "text": said})
    else:
        line(said)


def _cluster(root: Path) -> "Cluster":
    from drsync.lab.cluster import Cluster
    from drsync.lab.layout import Layout

    return Cluster(Layout(root.absolute()))


def _narrator() -> "Narrator":
    """The story goes to stdout, unless that is for one JSON object."""
    from drsync.lab.narrator import Narrator

    return Narrator(sys.stderr if Talk.here().as_json else sys.stdout)


def _show(shown: Json) -> None:
    if Talk.here().as_json:
        print_json(shown)
        sys.stdout.flush()


def _show_status(shown: Doc) -> None:
    """For people: processes, then the group as `drsync status` shows it."""
    line(f"lab in {shown.text('dir')}", "bold")
    what = table(["process", ">pid", "is", "log"])
    processes = [("coordinator", shown.doc("coordinator")), *shown.table("centers")]
    for name, process in processes:
        state = process.text("process")
        style = {"running": GOOD, "paused": "yellow"}.get(state, BAD)
        row(what, name, process.text("pid") or "-", (state, style), process.text("log"))
    console().print(what)
    for name, group in shown.table("groups"):
        owner = group.text("owner") or "nobody"
        line(f"group {name}: owned by {owner}; in sync: {', '.join(group.texts('in_sync'))}")
    if shown.doc("coordinator").flag("answers"):
        for key, value in shown.doc("env").items():
            line(f"  export {key}={shlex.quote(str(value))}")
    if not shown.flag("running"):
        line("drsync lab up starts what does not run")
