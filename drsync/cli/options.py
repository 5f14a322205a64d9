"""Options that commands share, and what they say, found through click's context."""

import getpass
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click

DEFAULT_SOCKET = "/run/drsync/coordinator.sock"

Command = TypeVar("Command", bound=click.Command)
"""The decorators stand above ``@click.command``, so that shared options come last in the help."""


def _remember(context: click.Context, parameter: click.Parameter, value: str | bool | None) -> None:
    """Keep the value for `Talk.here`; given before the subcommand or after it."""
    assert parameter.name is not None
    if value:
        context.find_root().meta[f"drsync.{parameter.name}"] = value


def json_option(command: Command) -> Command:
    """``--json``."""
    return click.option(
        "--json",
        "as_json",
        is_flag=True,
        expose_value=False,
        callback=_remember,
        help="Print one JSON object.",
    )(command)


def coordinator_options(command: Command) -> Command:
    """``--json``, ``--coordinator``, ``--token-file``."""
    command = click.option(
        "--token-file",
        metavar="FILE",
        expose_value=False,
        callback=_remember,
        help="File with the token for http://… [env: DRSYNC_TOKEN_FILE]",
    )(command)
    command = click.option(
        "--coordinator",
        metavar="URL",
        expose_value=False,
        callback=_remember,
        help=f"unix:PATH or http://HOST:PORT. [env: DRSYNC_COORDINATOR; default: unix:{DEFAULT_SOCKET}]",
    )(command)
    return json_option(command)


def _default_actor() -> str:
    return f"{getpass.getuser()}@{os.uname().nodename}"


def asked_by_options(command: Command) -> Command:
    """``--reason`` and ``--actor``, kept with the operation as evidence."""
    command = click.option("--actor", default=_default_actor, help="Who asks. [default: user@host]")(command)
    return click.option("--reason", default="", help="Why, in your words; kept with the operation.")(command)


@dataclass(frozen=True, slots=True)
class Talk:
    """How this run of a command talks: to which coordinator, and in which form to the person.

    Attributes:
        coordinator: ``unix:PATH`` or ``http://HOST:PORT``.
        token_file: file with the bearer token, if any.
        as_json: one JSON object on stdout instead of tables.
    """

    coordinator: str
    token_file: Path | None
    as_json: bool

    @staticmethod
    def here() -> "Talk":
        """What the options and the environment say."""
        meta = click.get_current_context().find_root().meta
        coordinator = meta.get("drsync.coordinator") or os.environ.get("DRSYNC_COORDINATOR")
        token_file = meta.get("drsync.token_file") or os.environ.get("DRSYNC_TOKEN_FILE")
        return Talk(
            coordinator=str(coordinator or f"unix:{DEFAULT_SOCKET}"),
            token_file=Path(str(token_file)) if token_file else None,
            as_json=bool(meta.get("drsync.as_json")),
        )
