"""The picture of `drsync status`: a table of groups and centers, and sentences for what is not right."""

from typing import TYPE_CHECKING

from drsync.adapters.api_client.doc import Doc
from drsync.cli.files_view import file_remarks
from drsync.cli.objectives_view import objective_remarks, rpo_cell
from drsync.cli.openings_view import opening_remarks
from drsync.cli.output import BAD, DIM, GOOD, row, table
from drsync.cli.resync_view import resync_remarks
from drsync.cli.text import clean, clock, count, format_duration, format_size

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

Cell = str | tuple[str, str]


def status_view(found: Doc) -> "Group":
    """Everything that GET /v1/status says, for a terminal of 80 to 120 columns."""
    from rich.console import Group
    from rich.text import Text

    groups = list(found.table("groups"))
    parts: list[Table | Text] = [_headline(found)]
    if groups:
        parts.append(_groups(found))
    elif not list(found.table("forgotten")):
        parts.append(Text("\nNo groups yet. drsync group apply -f FILE makes one.\n"))
    for _, lost in found.table("forgotten"):
        name, centers = lost.text("group"), ", ".join(lost.texts("centers"))
        text = f"\n{name} is known at {centers}, but not to this charter store (drsync why {name})"
        parts.append(Text(clean(text), style=BAD))
    for name, group in groups:
        parts += [Text(clean(f"  {sentence}"), style=style) for sentence, style in _remarks(name, group)]
    return Group(*parts)


def _headline(found: Doc) -> "Text":
    from rich.text import Text

    centers = list(found.table("centers"))
    connected = sum(center.flag("connected") for _, center in centers)
    me = found.doc("coordinator")
    text = Text()
    cluster = me.text("cluster") or me.text("cluster_id")
    text.append(clean(f"cluster {cluster}, " if cluster else ""))
    text.append(clean(f"coordinator {me.text('software') or me.text('version')}".rstrip()) + ", ")
    style = GOOD if centers and connected == len(centers) else BAD
    text.append(f"{connected} of {len(centers)} centers connected", style=style)
    for name, center in centers:
        if not center.flag("connected"):
            since = f" since {clock(center.whole('since_us'))}" if center.whole("since_us") else ""
            gone = f"  {name} ({center.text('designation')}) is not connected{since}"
            text.append("\n" + clean(gone), style=BAD)
    return text


def _groups(found: Doc) -> "Table":
    what = table(["group", "center", "is", ">record", ">lag", ">RPO proved, target"])
    for name, group in found.table("groups"):
        owner = group.text("owner")
        centers = list(group.table("centers"))
        centers.sort(
            key=lambda entry: entry[0] != owner
        )  # stable: the owner, then as the coordinator lists them
        if not owner:
            row(what, (name, "bold"), ("no owner", BAD))
        for index, (center, state) in enumerate(centers):
            title: Cell = (name, "bold") if index == 0 and owner else ""
            row(what, title, center, *_cells(group, center, state))
    return what


def _cells(group: Doc, center: str, state: Doc) -> list[Cell]:
    """What the center is, its record, its lag, its RPO."""
    if center == group.text("owner"):
        return [_role(group, center, state), _record(state)]
    return [_role(group, center, state), _record(state), _lag(state), rpo_cell(group, state)]


def _role(group: Doc, center: str, state: Doc) -> Cell:
    if state.has("connected") and not state.flag("connected"):
        return "not connected", BAD
    role, condition = state.text("role", "-"), state.text("state")
    if condition and condition not in {role, "replica", "owner"}:
        return f"{role}, {condition}", "yellow"
    if role == "owner":
        return role, GOOD if group.flag("ready") else ""
    return (f"{role}, in sync", GOOD) if center in group.texts("in_sync") else f"{role}, async"


def _record(state: Doc) -> str:
    position = state.raw("position")
    seq = Doc(position).whole("seq") if isinstance(position, dict) else state.whole("position")
    return count(seq)


def _lag(state: Doc) -> Cell:
    size, seconds = state.whole("lag_bytes"), state.number("lag_seconds")
    if not state.whole("lag_records") and not size:
        return "none"
    return f"{format_size(size)}, {format_duration(seconds) if state.has('lag_seconds') else 'age unknown'}"


def _remarks(name: str, group: Doc) -> list[tuple[str, str]]:
    """What is not as it should be, and the last drill."""
    remarks: list[tuple[str, str]] = []
    epoch = group.text("epoch_text") or group.text("epoch")
    intent = group.doc("intent")
    if intent:
        remarks.append((f"{name}: {intent.text('kind')} to {intent.text('target')} is under way", "yellow"))
    if group.text("waiting"):
        remarks.append((f"{name} waits: {group.text('waiting')} (drsync why {name})", "yellow"))
    elif group.has("ready") and not group.flag("ready"):
        remarks.append((f"{name} is not ready (drsync why {name})", BAD))
    remarks += file_remarks(name, group)
    remarks += objective_remarks(name, group)
    remarks += resync_remarks(name, group)
    remarks += opening_remarks(name, group)
    drill = group.doc("last_drill")
    if drill:
        when = clock(drill.whole("ended_us") or drill.whole("started_us"))
        took = f", open in {format_duration(drill.number('rto_s'))}" if drill.has("rto_s") else ""
        remarks.append((f"{name}: epoch {epoch}, last drill {drill.text('verdict')} at {when}{took}", DIM))
    else:
        remarks.append((f"{name}: epoch {epoch}, never drilled (drsync drill run {name})", DIM))
    return remarks
