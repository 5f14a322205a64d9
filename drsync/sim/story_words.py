"""The words of stories: which events are told, and how facts become sentences."""

import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import cast

from drsync.model.epoch import Epoch, show
from drsync.sim.character import COORDINATOR, NAMES

WIDTH = 110

TOLD = frozenset(
    (
        "serves",
        "dropped",
        "term_ended",
        "log_cut",
        "gone_back",
        "copy_failed",
        "no_space",
        "space_back",
        "owner_suspected",
        "owner_lost",
        "failover_decided",
        "resumed",
        "left_in_sync",
        "joined_in_sync",
        "member_went_back",
        "store_went_back",
        "generation_begun",
        "boots",
        "process_failed",
        "needs_resync",
    )
)
"""Events that are part of every story; what operations do is told by their endings."""

REPEATED = frozenset(("coordinator_lost", "open_refused", "no_space"))
"""Said again with each try."""


def is_told(event: str, also: set[str]) -> bool:
    """Whether an event is told."""
    return event in TOLD or event in also or event.endswith(("_done", "_refused", "_failed"))


def parts(line: str) -> tuple[float, str, str, str]:
    """A line of the trace: when, who, the event word, and why."""
    event, _, why = line[24:].partition(": ")
    return float(line[:9]), line[11:23].strip(), event, why


def sentence(who: str, event: str, why: str) -> str:
    """An event as it is told: its word as it is in the log, with spaces, and its reason."""
    if event == "serves":
        why = re.sub(r"[0-9a-f]+$", lambda found: show(Epoch(int(found[0], 16))), why)
    for name in (*NAMES, "orders"):
        why = why.removeprefix(f"{name}: ")
    why = short(why)
    says = f"{who}: {event.replace('_', ' ')}"
    return f"{says}: {why}" if why and why != "orders" else says


def short(text: str) -> str:
    """Without what is the same in every path."""
    return re.sub(r"/var/lib/drsync/groups/[0-9a-f]{32}", "…", text)


def time(seconds: float, gap: int) -> str:
    """The head of a line."""
    return f"{round(seconds, 3) + 1e-6:7.1f} s" + " " * gap


def wrapped(text: str, head: str) -> list[str]:
    """Lines of a paragraph."""
    return textwrap.wrap(text, WIDTH, initial_indent=head, subsequent_indent=" " * len(head)) or [head]


def capital(text: str) -> str:
    """The beginning of a sentence; names and commands stay as they are typed."""
    first = text.split(maxsplit=1)[0]
    is_name = first in NAMES or first == "drsync" or first.rstrip(":,'s") in NAMES
    return text if is_name else text[0].upper() + text[1:]


def called(place: str) -> str:
    """A place in a sentence."""
    return "the coordinator" if place == COORDINATOR else place


def running(place: str) -> str:
    """What runs at a place."""
    return "the coordinator" if place == COORDINATOR else f"the agent of {place}"


def listed(names: Sequence[str]) -> str:
    """Names in a sentence."""
    found = [called(name) for name in names]
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} and {found[-1]}"


def status(document: Mapping[str, object]) -> list[str]:
    """What ``drsync status`` says of the group, one line for each center, in short."""
    groups = cast("Mapping[str, Mapping[str, object]]", document.get("groups", {}))
    found = groups.get("orders")
    if found is None:
        return ["the coordinator is not reached" if not document else "there is no group"]
    ready = "ready" if found["ready"] else "not ready"
    lines = [f"orders is {ready}; owner {found['owner']}, epoch {found['epoch_text']}"]
    in_sync = cast("list[str]", found["in_sync"])
    for name, facts in cast("Mapping[str, Mapping[str, object]]", found["centers"]).items():
        words = [str(facts["state"]), "connected" if facts["connected"] else "not connected"]
        words += ["in sync"] if name in in_sync else []
        if facts["lag_records"] and name != found["owner"]:
            words.append(f"{facts['lag_records']} records behind")
        lines.append(f"{name}: {', '.join(words)}")
    return lines


def loss(facts: Mapping[str, object]) -> list[str]:
    """A loss statement: what the opening gives up, then what each center contributes."""
    records = "nothing that was acknowledged is lost"
    if facts["may_lose_acknowledged"]:
        kind = "acknowledged but never flushed" if facts["loss"] == "volatile" else "acknowledged"
        records = f"writes that were {kind} may be lost, at least {facts['records_at_least']} records"
    notes = cast("list[Mapping[str, str]]", facts["centers"])
    return [
        f"loss statement: opening at {facts['target']} at record {facts['position']}; {records}.",
        *(f"{called(note['center'])}: {note['text']}" for note in notes),
    ]
