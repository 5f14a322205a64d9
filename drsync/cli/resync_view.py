"""Sentences of `drsync status` about centers that are brought level by blocks."""

from drsync.adapters.api_client.doc import Doc
from drsync.cli.text import format_duration, format_size

HOW = {
    "dirty": "marked blocks are sent",
    "digest": "blocks are compared, and those that differ sent",
    "everything": "everything is sent",
}


def resync_remarks(name: str, group: Doc) -> list[tuple[str, str]]:
    """A sentence and a style for each session that runs."""
    remarks: list[tuple[str, str]] = []
    for center, state in group.table("centers"):
        resync = state.doc("resync")
        if resync:
            remarks.append((f"{name}: {center} is brought level by blocks: {_progress(resync)}", "yellow"))
    return remarks


def _progress(resync: Doc) -> str:
    done, total = (format_size(resync.whole(key)) for key in ("bytes", "bytes_total"))
    verb = "compared" if resync.text("state") == "digesting" else "sent"
    words = [HOW.get(resync.text("mode"), resync.text("mode")), f"{done} of {total} {verb}"]
    if resync.whole("rate"):
        words.append(f"{format_size(resync.whole('rate'))} a second")
    if resync.has("eta_s"):
        words.append(f"about {format_duration(resync.number('eta_s'))} left")
    if resync.whole("rounds"):
        words.append(f"round {resync.whole('rounds') + 1}")
    return ", ".join(words)
