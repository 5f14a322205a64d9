"""Write docs/state-machines.md from the tables in drsync/core, so that the page says what the code does.

Run it through `make state-machines`; a test compares the page with what this would write.
"""

from collections.abc import Iterable, Sequence
from enum import Enum, StrEnum
from pathlib import Path
from typing import get_args

from drsync.core import admission, compare, detection, ladder, plan, retention, roles
from drsync.core.machine import Machine, Move, Nothing
from drsync.core.resync_tables import SOURCE, TARGET
from drsync.core.roles import ROLES

PAGE = Path(__file__).resolve().parent.parent / "docs" / "state-machines.md"

HEAD = """\
# State machines

Made from the tables in `drsync/core` by `make state-machines`; do not edit. A test compares it with the code.

Each machine is a total table: every event has its cell in every state. A cell is a move, or `late` (the
event came over a line, late or twice, and is dropped), or `wrong` (correct code never sends it: an error, and
nothing changes). Effects are done in the order in which they stand.

Agents and coordinators act by these rules; member roles describe what agents do.
"""


def first(thing: object) -> str:
    """The first sentence of what something says about itself."""
    text = (thing.__doc__ or "").strip().split("\n\n")[0]
    return " ".join(text.split())


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table in Markdown."""
    lines = [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
    return [*lines, ""]


def name(state: StrEnum) -> str:
    """A state's name in a diagram."""
    return state.name.lower()


def machine(made: Machine[StrEnum, StrEnum, StrEnum], about: str, begin: StrEnum) -> list[str]:
    """Diagram, moves and cells of one machine."""
    lines = [f"## {made.name[0].upper()}{made.name[1:]}", "", about, "", "```mermaid", "stateDiagram-v2"]
    lines.append(f"    [*] --> {name(begin)}")
    for state, cells in made.cells.items():
        arrows: dict[StrEnum, list[str]] = {}
        for event, cell in cells.items():
            if isinstance(cell, Move):
                arrows.setdefault(cell.to, []).append(event.value)
        lines += [f"    {name(state)} --> {name(to)}: {', '.join(events)}" for to, events in arrows.items()]
    lines += ["```", ""]
    lines += table(
        ("in", "at", "goes to", "and does, in this order"),
        [
            (
                state.value,
                event.value,
                cell.to.value,
                "; ".join(effect.value for effect in cell.effects) or "nothing",
            )
            for state, cells in made.cells.items()
            for event, cell in cells.items()
            if isinstance(cell, Move)
        ],
    )
    rest = []
    for state, cells in made.cells.items():
        late = ", ".join(event.value for event, cell in cells.items() if cell is Nothing.LATE)
        wrong = ", ".join(event.value for event, cell in cells.items() if cell is Nothing.WRONG)
        rest.append((state.value, late or "nothing", wrong or "nothing"))
    return [*lines, *table(("in", "late", "wrong"), rest)]


def values(some: Iterable[Enum], every: type[Enum]) -> str:
    """Members of an enumeration, in its order; all of them in one word."""
    names = [str(member.value) for member in every if member in set(some)]
    return "any" if len(names) == len(every) else ", ".join(names)


def connecting() -> list[str]:
    """What a comparison ends with, and how the peer catches up."""
    rules = sorted(first(kind).split(": ", 1) for kind in get_args(compare.ConnectPlan))
    lines = ["## Connecting: rules R0 to R9", "", first(compare), ""]
    return lines + table(("rule", "what it finds, and what follows"), rules)


def detecting() -> list[str]:
    """When an owner counts as lost."""
    rows = [
        (
            values(row.sights, detection.Sight),
            values(row.others, detection.Others),
            values(row.bars, detection.Bar),
            row.state.value,
            row.action.value,
        )
        for row in detection.TABLE
    ]
    lines = ["## Detection", "", first(detection), ""]
    return lines + table(("the owner", "other members", "bar", "state", "what follows"), rows)


def proceeding() -> list[str]:
    """What procedures command, in the order in which they come."""
    lines = ["## Procedures", "", first(plan), ""]
    lines += [
        "A plan is computed from an observation alone, so procedures have no states of their own: what is",
        "there says what comes next. These are the commands, in the order in which they come.",
        "",
    ]
    return lines + table(
        ("command", "what it does"), [(kind.__name__, first(kind)) for kind in get_args(plan.Command)]
    )


def admitting() -> list[str]:
    """The gate and the ladder."""
    lines = ["## Admission of writes", "", first(admission.admit), ""]
    lines += table(
        ("reason", "writes are"), [(why.value, gate.name.lower()) for why, gate in admission.GATES.items()]
    )
    lines += ["## Lag of a peer", "", first(ladder.judge), ""]
    shares = {
        ladder.Rung.LARGER: ladder.LARGER_SHARE,
        ladder.Rung.HARDER: ladder.HARDER_SHARE,
        ladder.Rung.QUIET: ladder.QUIET_SHARE,
        ladder.Rung.PACE: ladder.PACE_SHARE,
        ladder.Rung.DELTA: ladder.DELTA_SHARE,
    }
    rows = [
        (rung.name.lower(), f"{shares[rung]:.0%} of the target is coming" if rung in shares else "", words)
        for rung, words in ladder.WORDS.items()
    ]
    rows[-1] = (rows[-1][0], "the target is missed", "told, or new writes wait (`on_breach`)")
    return lines + table(("rung", "from", "what is done"), rows)


def retaining() -> list[str]:
    """What is given up for space."""
    lines = ["## Space for the journal", "", first(retention), ""]
    kinds = sorted((kind.__name__, first(kind)) for kind in get_args(retention.Action))
    lines += table(("action", "what it is"), kinds)
    lines += ["Over the hard quota, each until it has nothing left to give:", ""]
    lines += [f"* {first(sacrifice)}" for sacrifice in retention.SACRIFICES]
    return [*lines, ""]


def render() -> str:
    """The page."""
    lines = [HEAD]
    lines += machine(ROLES, first(roles), next(iter(ROLES.cells)))
    lines += detecting() + proceeding() + connecting()
    lines += machine(
        SOURCE, "What brings a peer level block by block, seen from who sends.", next(iter(SOURCE.cells))
    )
    lines += machine(
        TARGET,
        "The same from who receives: it stands at its last consistent point until the switch.",
        next(iter(TARGET.cells)),
    )
    lines += admitting() + retaining()
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(render())
    print(f"wrote {PAGE.name}")
