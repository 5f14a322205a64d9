"""`--runbook` and `--param` of commands that run something; a runbook is checked when it is used."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import click

from drsync.adapters.api_client.doc import Json
from drsync.model.errors import UsageError

_PARAM = re.compile(r"(?P<name>[a-z][a-z0-9-]*)=(?P<value>.*)", re.DOTALL)
_META = "drsync.runbook."

Command = TypeVar("Command", bound=click.Command)

PARAM = click.option(
    "--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter of the runbook."
)


def _keep(context: click.Context, parameter: click.Parameter, value: "Path | tuple[str, ...] | None") -> None:
    assert parameter.name is not None
    context.meta[_META + parameter.name] = value


def runbook_options(command: Command) -> Command:
    """``--runbook`` and ``--param``; `runbook_form` gives what they say."""
    command = click.option(
        "--param",
        multiple=True,
        metavar="NAME=VALUE",
        expose_value=False,
        callback=_keep,
        help="A parameter of the runbook.",
    )(command)
    return click.option(
        "--runbook",
        type=click.Path(path_type=Path, dir_okay=False),
        expose_value=False,
        callback=_keep,
        metavar="FILE",
        help="Follow the steps of this runbook. [default: what drsync does by itself]",
    )(command)


def runbook_form() -> Json:
    """What a request says about the runbook; checked here, so that a mistake is told with its line.

    Raises:
        RunbookError: with every mistake.
        UsageError: a parameter without a runbook, or not of the form NAME=VALUE.
    """
    from drsync.config.runbook import parse_runbook, read_bytes

    meta = click.get_current_context().meta
    book, words = meta.get(f"{_META}runbook"), meta.get(f"{_META}param") or ()
    params = read_params(str(word) for word in words)
    if not isinstance(book, Path):
        if params:
            raise UsageError("--param needs --runbook")
        return {}
    raw = read_bytes(book)
    parse_runbook(raw, str(book), params)
    return {"runbook": {"text": raw.decode(), "name": book.name, "params": params}}


def read_params(words: Iterable[str]) -> dict[str, object]:
    """``NAME=VALUE`` as a mapping. Raises UsageError."""
    found: dict[str, object] = {}
    for word in words:
        match = _PARAM.fullmatch(word)
        if match is None:
            raise UsageError(f"--param {word}: write NAME=VALUE", remedy="For example --param port=8080.")
        found[match["name"]] = match["value"]
    return found
