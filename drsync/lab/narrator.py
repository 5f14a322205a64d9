"""How a lab talks: chapters, steps, checks and tables on a terminal or as plain lines. No decisions.

Text from elsewhere is shown as it is, without markup, and with control characters written out.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text
from typing_extensions import override

from drsync.config.quantities import format_size
from drsync.model.errors import DrsyncError

WIDTH_MAX = 120  # because longer lines are hard to follow
WIDTH_PIPED = 100
PLAIN_PROGRESS_S = 2.0  # because a log needs no more lines than that
MARGIN = 9  # columns for the time
GOOD, BAD, DIM = "green", "bold red", "dim"


class _Stage(Console):
    """A console whose reader may leave; the story goes on, because a center may be down just now."""

    @override
    def on_broken_pipe(self) -> None:
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.file.fileno())
        os.close(nowhere)


class Narrator:
    """Writes to one stream. Every line carries the seconds since the story began."""

    def __init__(self, stream: TextIO) -> None:
        self._began = time.monotonic()
        probe = Console(file=stream, highlight=False, markup=False, emoji=False)
        width = min(probe.width, WIDTH_MAX) if probe.is_terminal else WIDTH_PIPED
        self._console = _Stage(file=stream, highlight=False, markup=False, emoji=False, width=width)
        self._chapter = 0

    @property
    def seconds(self) -> float:
        """Since the story began."""
        return time.monotonic() - self._began

    def chapter(self, title: str) -> None:
        """A new part, numbered."""
        self._chapter += 1
        self.blank()
        self._console.print(Text(f"{self._chapter}  {clean(title)}", style="bold"))

    def title(self, title: str, about: str = "") -> None:
        """What this is all about."""
        self._console.print(Text.assemble((clean(title), "bold"), "  ", (clean(about), DIM)))

    def blank(self) -> None:
        """Some air."""
        self._console.print()

    def say(self, text: str, style: str = "") -> None:
        """A sentence."""
        self._line("", text, style)

    def check(self, text: str, *, is_good: bool) -> None:
        """Something that was promised, and whether it is so."""
        self._line("✓ " if is_good else "✗ ", text, GOOD if is_good else BAD)

    def verdict(self, text: str, *, is_good: bool) -> None:
        """How it all ended."""
        self._console.print(Text(clean(text), style=f"bold {GOOD}" if is_good else BAD))

    def hint(self, text: str) -> None:
        """What can be done next."""
        self._console.print(Text(clean(text), style="bold"))

    def step(self, name: str, center: str, took_s: float, detail: str, *, is_done: bool = True) -> None:
        """A step of an operation; a long detail is cut."""
        text = Text.assemble(
            (f"{self.seconds:6.1f} s ", DIM),
            ("· ", GOOD if is_done else "yellow"),
            f"{clean(name):16} {clean(center):10} {show_seconds(took_s):>7}  ",
            (clean(detail), DIM),
        )
        self._console.print(text, no_wrap=True, overflow="ellipsis")

    def error(self, error: DrsyncError) -> None:
        """What went wrong and what helps."""
        self._line("✗ ", str(error), BAD)
        if error.remedy:
            self._line("  ", error.remedy, "")

    def lines(self, lines: Sequence[str]) -> None:
        """Somebody else's words, as they came."""
        for line in lines:
            self._console.print(Text("    │ " + clean(line), style=DIM), no_wrap=True, overflow="ellipsis")

    def pairs(self, rows: Sequence[tuple[str, str]]) -> None:
        """Names and where they lead; never cut, so that they can be copied."""
        width = max((len(name) for name, _ in rows), default=0)
        for name, value in rows:
            text = Text.assemble("  ", (f"{clean(name):{width}}", DIM), "  ", clean(value))
            self._console.print(text, soft_wrap=True)

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[tuple[str, str]]]) -> None:
        """Cells are text and style; a heading that starts with ``>`` is aligned to the right."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
        for heading in headings:
            table.add_column(heading.lstrip(">"), justify="right" if heading.startswith(">") else "left")
        for cells in rows:
            table.add_row(*(Text(clean(text), style=style) for text, style in cells))
        self._console.print(table)

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """Shows bytes, rate and time to go; gives what to call with each number of bytes dealt with."""
        if self._console.is_terminal:
            columns = (
                TextColumn(" " * MARGIN + "{task.description}"),
                BarColumn(bar_width=24),
                DownloadColumn(binary_units=True),
                TransferSpeedColumn(),
                TimeRemainingColumn(compact=True),
            )
            with Progress(*columns, console=self._console, transient=True) as bar:
                task = bar.add_task(what, total=total)
                yield lambda count: bar.advance(task, count)
        else:
            yield PlainProgress(self.say, what, total).advance

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Something that takes a moment: it moves on a terminal, and is silent elsewhere."""
        if self._console.is_terminal:
            with self._console.status(f"{' ' * (MARGIN - 2)}{clean(what)} …", spinner="dots"):
                yield
        else:
            yield

    def _line(self, mark: str, text: str, style: str) -> None:
        margin = MARGIN + len(mark)
        lines = Text(clean(text), style=style).wrap(self._console, max(20, self._console.width - margin))
        for n, line in enumerate(lines):
            line.rstrip()
            head = (
                Text.assemble((f"{self.seconds:6.1f} s ", DIM), (mark, style))
                if n == 0
                else Text(" " * margin)
            )
            self._console.print(head.append_text(line))


class PlainProgress:
    """Progress for files and pipes: a line now and then."""

    def __init__(self, say: Callable[[str], None], what: str, total: int) -> None:
        self._say = say
        self._what = what
        self._total = total
        self._done = 0
        self._began = self._said = time.monotonic()

    def advance(self, count: int) -> None:
        """So much more is done."""
        self._done += count
        now = time.monotonic()
        if now - self._said < PLAIN_PROGRESS_S:
            return
        self._said = now
        rate = self._done / (now - self._began)
        left = (self._total - self._done) / rate if rate else 0.0
        self._say(
            f"{self._what}: {format_size(self._done)} of {format_size(self._total)}, "
            f"{format_size(int(rate))}/s, {left:.0f} s to go"
        )


def clean(text: str) -> str:
    """`text` without what could steer a terminal."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def show_seconds(seconds: float) -> str:
    """A duration in a few characters: ``12 ms``, ``3.4 s``."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
