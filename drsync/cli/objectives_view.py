"""Objectives in `drsync status`: a copy's RPO beside its target, and sentences on RTO and error budget."""

from drsync.adapters.api_client.doc import Doc
from drsync.cli.output import BAD, DIM, GOOD
from drsync.cli.text import format_duration

Cell = str | tuple[str, str]
STYLES = {"ok": GOOD, "soft": "yellow", "over": BAD, "unknown": BAD}
DAY_S = 86400
BUDGET_SOFT = 0.5  # because at half of a budget there is still time to do something


def rpo_cell(group: Doc, state: Doc) -> Cell:
    """What a copy proves, beside the target; an older coordinator tells only the owner's view."""
    target = format_duration(group.doc("objectives").number("rpo_s"))
    if not state.has("rpo_standing"):
        return _owners_view(state, group.doc("objectives").number("rpo_s"))
    standing = state.text("rpo_standing")
    style = STYLES.get(standing, BAD)
    if not state.has("rpo_proved_s"):
        return f"UNKNOWN, {target}", style
    word = "OVER" if standing == "over" else "of"
    return f"{format_duration(state.number('rpo_proved_s'))} {word} {target}", style


def _owners_view(state: Doc, target_s: float) -> Cell:
    if not state.has("rpo_actual_s"):
        return "-", DIM
    actual, target = state.number("rpo_actual_s"), format_duration(target_s)
    if actual <= target_s:
        return f"{format_duration(actual)} of {target}", GOOD
    return f"{format_duration(actual)} OVER {target}", BAD


def objective_remarks(name: str, group: Doc) -> list[tuple[str, str]]:
    """Sentences and styles on what is unknown, on what is done about lag, on RTO and on the error budget."""
    remarks: list[tuple[str, str]] = []
    for center, state in group.table("centers"):
        if state.text("rpo_standing") == "unknown" and center != group.text("owner"):
            why = state.text("rpo_unknown_why")
            remarks.append((f"{name}: nothing proves how old the copy at {center} is: {why}", BAD))
        if state.text("acts"):
            remarks.append((f"{name}: {center} is behind: {state.text('acts')}", "yellow"))
    remarks += _rto(name, group.doc("rto"))
    remarks += _service(name, group.doc("availability"))
    return remarks


def _rto(name: str, rto: Doc) -> list[tuple[str, str]]:
    source = rto.doc("source")
    if not rto.has("predicted_s") or not source:
        return []
    style = {"ok": DIM}.get(rto.text("standing"), STYLES.get(rto.text("standing"), BAD))
    predicted, target = (format_duration(rto.number(key)) for key in ("predicted_s", "target_s"))
    word = "OVER the target of" if rto.text("standing") == "over" else "of"
    measured = f"measured by the {source.text('kind')} at {source.text('center')}"
    return [(f"{name}: a recovery is predicted to take {predicted} {word} {target}, {measured}", style)]


def _service(name: str, service: Doc) -> list[tuple[str, str]]:
    if not service.number("watched_s"):
        return []
    used, budget = service.number("used_s"), service.number("budget_s")
    style = DIM
    if used > BUDGET_SOFT * budget:
        style = BAD if used > budget else "yellow"
    days = service.number("window_s") / DAY_S
    goal = f"{service.number('target') * 100:.6g} %"
    spent = f"without service {format_duration(used)} of {format_duration(budget)} allowed"
    remarks = [(f"{name}: {spent} in {days:g} days ({goal})", style)]
    fires = service.docs("burning")
    if fires:
        worst = max(fires, key=lambda burn: burn.number("rate"))
        rate = f"{worst.number('long_rate'):,.0f} times" if worst.has("long_rate") else "infinitely"
        window = format_duration(worst.number("long_s"))
        remarks.append((f"{name}: in {window} it used its budget {rate} as fast as the target allows", BAD))
    return remarks
