"""Follows an operation of the coordinator to its end and shows its steps as they finish.

The operation belongs to the coordinator: when this command is interrupted, it goes on.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Protocol

import click

from drsync.adapters.api_client.doc import Doc, Json
from drsync.adapters.api_client.following import failure, follow
from drsync.cli import loss
from drsync.cli.client import Client
from drsync.cli.output import print_json
from drsync.cli.text import clean, format_duration


class Progress(Protocol):
    """Who is told while an operation runs."""

    def started(self, operation: str, title: str) -> None:
        """It is in the coordinator's hands."""
        ...

    def step(self, step: Doc) -> None:
        """A step has ended."""
        ...

    def waiting(self, reason: str) -> None:
        """The coordinator is not reached at the moment; empty when it is again."""
        ...

    def ended(self) -> None:
        """Nothing more comes."""
        ...


class Spinner:
    """For a terminal: a line for each step, and below them one that moves and counts the seconds."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import Progress as Bar
        from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

        self._console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        columns = (SpinnerColumn("line"), TextColumn("{task.description}"), TimeElapsedColumn())
        self._bar: Bar = Bar(*columns, console=self._console, transient=True)
        self._task = self._bar.add_task("working", total=None)

    def started(self, operation: str, title: str) -> None:
        """See Progress."""
        self._console.print(f"{clean(title)}  (operation {clean(operation[:8])})")
        self._bar.start()

    def step(self, step: Doc) -> None:
        """See Progress."""
        from rich.text import Text

        outcome = step.text("outcome", "done")
        style = {"done": "green", "failed": "bold red"}.get(outcome, "yellow")
        name, center = clean(step.text("name")), clean(step.text("center") or "-")
        took, detail = step.number("seconds"), clean(step.text("detail"))
        line = Text("  ")
        line.append(clean(outcome).ljust(7), style=style)
        line.append(f" {took:7.2f} s  {name:18} {center:12} {detail}".rstrip())
        self._console.print(line, soft_wrap=True)
        self._bar.update(self._task, description=f"after {name}")

    def waiting(self, reason: str) -> None:
        """See Progress."""
        if reason:
            self._bar.update(self._task, description=clean(reason))

    def ended(self) -> None:
        """See Progress."""
        self._bar.stop()


class Lines:
    """For files and pipes: one plain line for each step."""

    def started(self, operation: str, title: str) -> None:
        """See Progress."""
        click.echo(f"{title}: operation {operation}", err=True)

    def step(self, step: Doc) -> None:
        """See Progress."""
        about = " ".join(clean(step.text(key)) for key in ("name", "center") if step.text(key))
        detail = f": {clean(step.text('detail'))}" if step.text("detail") else ""
        ended = f"{clean(step.text('outcome'))} in {step.number('seconds'):.3f} s"
        click.echo(f"step {step.whole('n')}: {about} {ended}{detail}", err=True)

    def waiting(self, reason: str) -> None:
        """See Progress."""
        if reason:
            click.echo(clean(reason), err=True)

    def ended(self) -> None:
        """See Progress."""


class JsonLines:
    """For programs: one object a line on stderr; the result is on stdout."""

    def started(self, operation: str, title: str) -> None:
        """See Progress."""
        self._say({"operation": operation, "title": title})

    def step(self, step: Doc) -> None:
        """See Progress."""
        self._say({"step": dict(step.items())})

    def waiting(self, reason: str) -> None:
        """See Progress."""
        if reason:
            self._say({"waiting": reason})

    def ended(self) -> None:
        """See Progress."""

    @staticmethod
    def _say(line: Json) -> None:
        click.echo(json.dumps(line, ensure_ascii=False), err=True)


def progress(*, as_json: bool) -> Progress:
    """The fitting way to show progress."""
    if as_json:
        return JsonLines()
    return Spinner() if sys.stderr.isatty() else Lines()


async def ask(client: Client, path: str, body: Json, title: str, show: Progress) -> Doc:
    """Start an operation and follow it to its end; gives the ended operation, whatever its outcome."""
    answer = await client.post(path, body)
    identity = answer.text("operation")
    if not identity:
        return answer  # answered at once: nothing had to be done
    show.started(identity, title)
    try:
        return await follow(client, identity, show.step, show.waiting)
    except (KeyboardInterrupt, asyncio.CancelledError):
        show.ended()
        click.echo(f"The operation {identity} goes on in the coordinator; drsync status shows it.", err=True)
        raise
    finally:
        show.ended()


def finish(operation: Doc, *, as_json: bool, report: Callable[[Doc], None], knows_loss: bool = False) -> None:
    """Show how an operation ended; one that did not end well becomes the error it stands for."""
    error = failure(operation)
    if as_json:
        print_json(
            dict(operation.items())
        )  # also of a refusal: the loss statement in it is what was asked for
    else:
        if operation.has("loss") and not knows_loss:
            loss.show(operation.doc("loss"))
        if error is None:
            report(operation)
    if error is not None:
        raise error


def took(operation: Doc) -> str:
    """How long all its steps took."""
    return format_duration(sum(step.number("seconds") for step in operation.docs("steps")))
