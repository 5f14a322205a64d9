"""`drsync config`: every mistake in a file before a service is started with it, and files to begin with."""

from pathlib import Path

import click

from drsync.cli.errors import EXIT_CODES, USAGE
from drsync.cli.options import Talk, json_option
from drsync.cli.output import GOOD, line, print_json
from drsync.cli.profile import profile


@click.group()
def config() -> None:
    """Files to begin with, and their mistakes."""


config.add_command(profile)


@json_option
@config.command("check", epilog=EXIT_CODES)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def check(file: Path) -> None:
    """Tell every mistake in FILE at once: path, line, and the nearest correct key.

    FILE is an agent's, a coordinator's or a group's; which one is told by what it contains.

    \b
    Example:
      drsync config check /etc/drsync/agent.toml
    """
    from drsync.config.load import load_any
    from drsync.config.problems import ConfigError

    talk = Talk.here()
    try:
        kind, _ = load_any(file)
    except ConfigError as error:
        if not talk.as_json:
            raise
        keys = ("path", "line", "what", "nearest")
        problems = [{key: getattr(problem, key) for key in keys} for problem in error.problems]
        print_json({"file": str(file), "ok": False, "problems": problems})
        click.get_current_context().exit(USAGE)
    if talk.as_json:
        print_json({"file": str(file), "ok": True, "kind": kind.value, "problems": []})
    else:
        line(f"{file}: no mistakes ({kind.value})", GOOD)
