"""`drsync sim --replay-incident FILE`: a real incident asked why, and if it could have gone otherwise."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from drsync import __version__
from drsync.cli.errors import FAILED
from drsync.cli.options import Command, Talk
from drsync.cli.output import BAD, DIM, GOOD, console, line, print_json, row, table
from drsync.cli.text import clean, clock
from drsync.model.errors import MalformedError, UsageError

if TYPE_CHECKING:
    from drsync.sim.incident.record import Case, Incident, Kept
    from drsync.sim.incident.replay import Difference
    from drsync.sim.incident.story import Told

STYLES = {"title": "bold", "decision": "bold cyan", "good": GOOD, "bad": BAD, "dim": DIM, "": ""}
INDENTS = (0, 2, 6)  # by depth
LABEL_WIDTH = 10  # of what belongs to a decision
TEXT_WIDTH_MIN = 20

Words = Mapping[str, str]


def incident_options(command: Command) -> Command:
    """``--replay-incident``, ``--at``, ``--lang``."""
    command = click.option(
        "--lang", type=click.Choice(["en", "zh"]), default="en", help="Of an incident. [default: en]"
    )(command)
    command = click.option("--at", type=int, metavar="N", help="Of an incident: only decision N, in full.")(
        command
    )
    return click.option(
        "--replay-incident",
        "incident",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Ask a real incident why (drsync events --export FILE).",
    )(command)


def replay(path: Path, at: int | None, lang: str) -> None:
    """Ask the recorded decisions again, and tell what happened; ends with 1 if an answer is another one.

    Raises:
        UsageError: the file cannot be read, is incomplete or was changed, or has no decision `at`.
    """
    from drsync.sim.incident.replay import differences

    incident = _read(path)
    cases = [case for case in incident.cases if at is None or at in [kept.n for kept in case.decisions]]
    if at is not None and not cases:
        known = [kept.n for case in incident.cases for kept in case.decisions]
        hint = f"Its decisions are {min(known)} to {max(known)}." if known else "It has none."
        raise UsageError(f"there is no decision {at} in {path}", remedy=hint)
    found = differences(incident)
    if Talk.here().as_json:
        from drsync.sim.incident.document import document

        print_json(document(incident, cases, found, at))
    else:
        _show(incident, cases, found, at, lang)
    if found:
        click.get_current_context().exit(FAILED)


def _read(path: Path) -> "Incident":
    from drsync.sim.incident.record import read

    try:
        return read(path.read_bytes())
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    except MalformedError as error:
        raise UsageError(f"{path}: {error}", code=error.code, remedy="Export the incident again.") from error


def _show(
    incident: "Incident", cases: "list[Case]", found: "list[Difference]", at: int | None, lang: str
) -> None:
    from drsync.report.incident import words
    from drsync.sim.incident.replay import deciding
    from drsync.sim.incident.story import Story

    say = words(lang)
    made = clock(incident.made_us)
    cluster = incident.cluster[:8]
    line(say["title"].format(cluster=cluster, made=made, software=incident.software), "bold")
    counts = {"decisions": sum(len(case.decisions) for case in incident.cases), "cases": len(incident.cases)}
    line(say["summary"].format(**counts, now=__version__))
    if not cases:
        line(say["no_cases"])
    story = Story(say, clock)
    for case in cases:
        line()
        for told in story.case(incident, case, at):
            _tell(told)
        shown = next((kept for kept in case.decisions if kept.n == at), None) or deciding(case)
        if shown is not None and (case.kind != "open" or at is not None):
            _what_if(say, shown)
    line()
    _verdict(say, found)


def _tell(told: "Told") -> None:
    """A paragraph; what it is about stands in front of it, and its lines below each other."""
    from rich.cells import cell_len
    from rich.text import Text

    label = clean(told.label)
    if label:
        width = max(LABEL_WIDTH if told.depth > 1 else 0, cell_len(label))
        label += " " * (width - cell_len(label) + 2)
    label = " " * INDENTS[told.depth] + label
    text = Text(clean(told.text), style=STYLES[told.style])
    room = max(console().width - cell_len(label), TEXT_WIDTH_MIN)
    for number, piece in enumerate(text.wrap(console(), room)):
        piece.rstrip()
        start = label if number == 0 else " " * cell_len(label)
        console().print(Text.assemble((start, DIM if told.depth > 1 else STYLES[told.style]), piece))


def _what_if(say: Words, kept: "Kept") -> None:
    from rich.padding import Padding

    from drsync.sim.incident.sentences import Sentences
    from drsync.sim.incident.what_if import alternatives

    sentences = Sentences(say)
    line()
    line("  " + say["what_if"].format(n=kept.n))
    what = table(["", say["col_change"], say["col_outcome"], say["col_loss"]])
    found = alternatives(kept)
    is_marked = any(one.is_other for one in found)
    for one in found:
        change, outcome, lost = sentences.alternative(one)
        style = "" if one.is_other or one.change.what == "none" else DIM
        mark = ("*", "bold") if one.is_other else ("", "")
        row(what, mark, (change, style), (outcome, style), (lost, style))
    console().print(Padding(what, (0, 0, 0, INDENTS[1])))
    if is_marked:
        line(f"  {say['star']}", DIM)


def _verdict(say: Words, found: "list[Difference]") -> None:
    from drsync.sim.incident.sentences import Sentences

    if not found:
        line(say["same"], GOOD)
        return
    sentences = Sentences(say)
    line(say["different"].format(count=len(found)), BAD)
    for one in found:
        kept = one.kept
        line("  " + say["difference"].format(n=kept.n, at=clock(kept.at_us), software=kept.software))
        for key, plan in (("was", kept.plan), ("would_be", one.now)):
            line("    " + say[key].format(plan=sentences.plan(kept.way, kept.seen, plan, in_full=True)))
