"""The entry point: the list of commands, loaded when used, and what a command's end looks like."""

import importlib
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

import click
from typing_extensions import override

from drsync import __version__
from drsync.cli import errors
from drsync.cli.options import json_option
from drsync.model.errors import DrsyncError


class Entry(NamedTuple):
    """Where a command is found, without loading it for the list of commands."""

    module: str
    attribute: str
    summary: str


LAB = "Three centers on this machine, as real processes, protecting real data."

SECTIONS: dict[str, dict[str, Entry]] = {
    "Try it": {
        "lab": Entry(
            "drsync.cli.lab", "lab", "Three centers on this machine, as real processes, protecting real data."
        ),
    },
    "Look": {
        "status": Entry("drsync.cli.status", "status", "Groups, centers, lag, and whether all is ready."),
        "why": Entry("drsync.cli.status", "why", "What a group is waiting for: who, until when, what helps."),
        "points": Entry("drsync.cli.points", "points", "Recovery points of a group, by center."),
        "pins": Entry("drsync.cli.pins", "pins", "Who holds images or journal back, and what to do."),
        "files": Entry("drsync.cli.files", "files", "Protected trees, and which change may pass."),
        "events": Entry("drsync.cli.status", "events", "What happened, in order."),
        "report": Entry("drsync.cli.report", "report", "How well objectives were kept: availability, RPO."),
    },
    "Move": {
        "switchover": Entry("drsync.cli.moves", "switchover", "Planned change of owner; loses nothing."),
        "failover": Entry("drsync.cli.moves", "failover", "Unplanned change of owner; names its loss first."),
        "failback": Entry("drsync.cli.moves", "failback", "Switch over to the preferred owner."),
    },
    "Use": {
        "attach": Entry(
            "drsync.cli.attach", "attach", "A local address of a volume that stays, whoever owns it."
        ),
    },
    "Go back in time": {
        "open": Entry("drsync.cli.opening", "open_point", "Serve any recovery point, beside production."),
        "close": Entry("drsync.cli.opening", "close", "End what drsync open began."),
        "hold": Entry("drsync.cli.hold", "hold", "Recovery points that are kept: add, list, release."),
        "fork": Entry("drsync.cli.fork", "fork", "Records that a group gave up: list, open, discard."),
    },
    "Practise": {
        "checkpoint": Entry("drsync.cli.points", "checkpoint", "Make a recovery point now."),
        "drill": Entry("drsync.cli.drill", "drill", "Fail over an isolated copy and report what it took."),
        "runbook": Entry("drsync.cli.runbook", "runbook", "Check and show runbooks."),
        "sim": Entry("drsync.cli.sim", "sim", "Thousands of disasters in a seeded world."),
    },
    "Set up": {
        "agent": Entry("drsync.cli.daemons", "agent", "The daemon of a center."),
        "coordinator": Entry("drsync.cli.daemons", "coordinator", "The daemon that decides and acts."),
        "group": Entry("drsync.cli.group", "group", "Protection groups: apply, list, show."),
        "volume": Entry("drsync.cli.volume", "volume", "Volumes of a group: resize."),
        "config": Entry("drsync.cli.config", "config", "Files to begin with, and their mistakes."),
    },
    "Look inside": {
        "charter": Entry("drsync.cli.charter", "charter", "Who owns a group, and how it came to that."),
        "journal": Entry("drsync.cli.journal", "journal", "Read and check journal files."),
        "version": Entry("drsync.cli.main", "version", "The version of drsync and of what it runs on."),
    },
}
ENTRIES = {name: entry for section in SECTIONS.values() for name, entry in section.items()}


class Commands(click.Group):
    """Loads a command's file when the command is used: the list itself must come at once."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(ENTRIES)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = ENTRIES.get(cmd_name)
        if entry is None:
            return None
        command: object = getattr(importlib.import_module(entry.module), entry.attribute)
        assert isinstance(command, click.Command)
        return command

    @override
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, ENTRIES))
        for title, section in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), entry.summary) for name, entry in section.items()])

    @override
    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from drsync.config.problems import nearest

            meant = nearest(args[0], ENTRIES)
            raise click.UsageError(
                error.message + (f" Did you mean {meant!r}?" if meant else ""), ctx
            ) from None


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=errors.EXIT_CODES,
    no_args_is_help=True,
)
@click.version_option(__version__, prog_name="drsync")
def cli() -> None:
    """Disaster recovery for two sites and three centers.

    \b
    Examples:
      drsync lab up                        a whole cluster on this machine, to try things
      drsync status --watch                what is protected, and how far behind each center is
      drsync drill run orders              prove that the remote copy opens; production goes on
      drsync failover orders --to same_city
    """


@json_option
@click.command()
def version() -> None:
    """The version of drsync and of what it runs on."""
    import platform

    from drsync.cli.options import Talk
    from drsync.cli.output import print_json

    facts = {"drsync": __version__, "python": platform.python_version(), "kernel": platform.release()}
    if Talk.here().as_json:
        print_json(dict(facts))
    else:
        click.echo(f"drsync {facts['drsync']} on Python {facts['python']}, Linux {facts['kernel']}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and leave with its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in words
    if not __debug__:
        errors.show(
            "drsync does not run with assertions off (python -O, PYTHONOPTIMIZE)",
            "assertions_off",
            "Its checks of what must be true are part of its safety; start it without -O.",
            errors.USAGE,
            as_json=as_json,
        )
        sys.exit(errors.USAGE)
    try:
        code: object = cli.main(args=words, prog_name="drsync", standalone_mode=False)
    except DrsyncError as error:
        errors.end_with(error, as_json=as_json)
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "drsync"
        errors.show(error.format_message(), "usage", f"See {where} --help.", errors.USAGE, as_json=as_json)
        sys.exit(errors.USAGE)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(errors.INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads; say nothing at exit
        sys.exit(errors.FAILED)
    sys.exit(code if isinstance(code, int) else errors.DONE)


if __name__ == "__main__":
    main()
