"""The picture of `drsync status`: a table of groups and centers, and sentences for what is not right."""

from typing import TYPE_CHECKING

from drsync.adapters.api_client.doc import Doc
from drsync.cli.output import BAD, DIM, GOOD, row, table
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
    else:
        parts.append(Text("\nNo groups yet. drsync group apply -f FILE makes one.\n"))
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
    what = table(["group", "center", "role", "state", ">record", ">lag", "rpo now / target", "in sync"])
    for name, group in found.table("groups"):
        target = group.doc("objectives").number("rpo_s")
        first: list[Cell] = [(name, "bold"), *_cells(group, *_owner(group), target)]
        rows = [first]
        for center, state in group.table("centers"):
            if center != group.text("owner"):
                rows.append(["", *_cells(group, center, state, target)])
        for cells in rows:
            row(what, *cells)
        what.add_section()
    return what


def _owner(group: Doc) -> tuple[str, Doc]:
    owner = group.text("owner")
    return owner or "(no owner)", dict(group.table("centers")).get(owner, Doc())


def _cells(group: Doc, center: str, state: Doc, target_s: float) -> list[Cell]:
    """Center, role, state, record, lag, RPO, in sync."""
    role = state.text("role", "-")
    is_connected = state.flag("connected") or not state.has("connected")
    condition: Cell = state.text("state", "-") if is_connected else ("not connected", BAD)
    if role == "owner" and not group.doc("intent") and group.has("ready"):
        condition = condition if not isinstance(condition, str) else _owner_state(group, condition)
    in_sync = "yes" if center in group.texts("in_sync") else "no"
    return [center, role, condition, _record(state), _lag(role, state), _rpo(role, state, target_s), in_sync]


def _owner_state(group: Doc, condition: str) -> Cell:
    return (condition, GOOD) if group.flag("ready") else (f"{condition}, not ready", BAD)


def _record(state: Doc) -> str:
    position = state.raw("position")
    seq = Doc(position).whole("seq") if isinstance(position, dict) else state.whole("position")
    return count(seq)


def _lag(role: str, state: Doc) -> Cell:
    if role == "owner":
        return "-", DIM
    records, size = state.whole("lag_records"), state.whole("lag_bytes")
    if not records and not size:
        return "none"
    return f"{count(records)} rec, {format_size(size)}, {format_duration(state.number('lag_seconds'))}"


def _rpo(role: str, state: Doc, target_s: float) -> Cell:
    if role == "owner" or not state.has("rpo_actual_s"):
        return "-", DIM
    actual = state.number("rpo_actual_s")
    text = f"{format_duration(actual)} / {format_duration(target_s)}"
    return (text, GOOD) if actual <= target_s else (f"{text} MISSED", BAD)


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
    drill = group.doc("last_drill")
    if drill:
        when = clock(drill.whole("ended_us") or drill.whole("started_us"))
        took = f", open in {format_duration(drill.number('rto_s'))}" if drill.has("rto_s") else ""
        remarks.append((f"{name}: epoch {epoch}, last drill {drill.text('verdict')} at {when}{took}", DIM))
    else:
        remarks.append((f"{name}: epoch {epoch}, never drilled (drsync drill run {name})", DIM))
    return remarks
