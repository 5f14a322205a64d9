"""Tables, lists and JSON on stdout. Colors add to words and never replace them."""

import json
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import click

from drsync.cli.text import clean

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

WIDTH_MAX = 120  # because longer lines are hard to follow
WIDTH_PIPED = 100  # of tables that go to a file

GOOD, BAD, DIM = "green", "bold red", "dim"


def print_json(value: object) -> None:
    """One object on stdout, indented; keys in the order given."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


@cache
def console() -> "Console":
    """Stdout with tables; plain text when it is not a terminal."""
    from rich.console import Console

    probe = Console(highlight=False, markup=False, emoji=False)
    width = min(probe.width, WIDTH_MAX) if probe.is_terminal else WIDTH_PIPED
    return Console(highlight=False, markup=False, emoji=False, width=width)


def table(headings: Sequence[str]) -> "Table":
    """An empty table; a heading that starts with ``>`` is aligned to the right."""
    from rich import box
    from rich.table import Table

    result = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for heading in headings:
        is_right = heading.startswith(">")
        result.add_column(heading.lstrip(">"), justify="right" if is_right else "left", overflow="fold")
    return result


def row(into: "Table", *cells: str | tuple[str, str]) -> None:
    """Add a row; a cell is text, or text and style. Control characters are written out."""
    from rich.text import Text

    pairs = [cell if isinstance(cell, tuple) else (cell, "") for cell in cells]
    into.add_row(*(Text(clean(text), style=style) for text, style in pairs))


def line(text: str = "", style: str = "") -> None:
    """A line of text."""
    console().print(clean(text), style=style or None, soft_wrap=True)
