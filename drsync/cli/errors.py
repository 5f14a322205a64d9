"""How a command ends when it does not end well: exit codes, and one clear line with a remedy."""

import json
import sys
from typing import NoReturn

import click

from drsync.adapters.api_client.failures import (
    DONE,
    FAILED,
    NOT_REACHED,
    REFUSED,
    USAGE,
    WAITING_FOR_APPROVAL,
    ApprovalError,
    error_for,
    exit_code,
)
from drsync.cli.text import clean
from drsync.model.errors import DrsyncError

__all__ = [
    "DONE",
    "EXIT_CODES",
    "FAILED",
    "NOT_REACHED",
    "REFUSED",
    "USAGE",
    "WAITING_FOR_APPROVAL",
    "ApprovalError",
    "end_with",
    "error_for",
    "exit_code",
    "show",
]

INTERRUPTED = 130  # what shells use for SIGINT

EXIT_CODES = """\b
Exit codes:
  0  done
  1  failed
  2  wrong usage or configuration
  3  refused for safety; nothing was changed
  4  not reached, or timed out
  5  waiting for approval
"""


def end_with(error: DrsyncError, *, as_json: bool) -> NoReturn:
    """Say what happened and what the reader can do, on stderr, and leave with the exit code of `error`."""
    code = exit_code(error)
    show(str(error), error.code, error.remedy, code, as_json=as_json)
    sys.exit(code)


def show(message: str, code: str, remedy: str, exit_with: int, *, as_json: bool) -> None:
    """Write an error to stderr: one object, or a line and its remedy."""
    if as_json:
        body = {"code": code, "message": message, "remedy": remedy, "exit": exit_with}
        click.echo(json.dumps({"error": body}, ensure_ascii=False), err=True)
        return
    word = click.style("refused:" if exit_with == REFUSED else "error:", fg="red", bold=True)
    click.echo(f"{word} {clean(message, keep_lines=True)}", err=True)
    if remedy:
        click.echo(f"{click.style('remedy:', bold=True)} {clean(remedy)}", err=True)
