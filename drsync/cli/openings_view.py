"""What the status says about openings: what is open, and what ended without anybody's asking."""

from drsync.adapters.api_client.doc import Doc
from drsync.cli.output import DIM
from drsync.cli.text import clock, count


def opening_remarks(name: str, group: Doc) -> list[tuple[str, str]]:
    """Sentences about a group, with their styles."""
    remarks = []
    for opening in group.docs("openings"):
        what = f"{opening.text('name')} is open at {opening.text('center')}"
        remarks.append((f"{name}: {what} until {clock(opening.whole('until_us'))} (drsync pins {name})", DIM))
    for ended in group.docs("openings_ended"):
        what = f"{ended.text('name')} at {ended.text('center')}, record {count(ended.whole('seq'))}"
        why = ended.text("why").replace("_", " ")
        said = f"{name}: opening {what}: {why} at {clock(ended.whole('ended_us'))}: {ended.text('text')}"
        remarks.append((said, DIM if ended.text("why") == "expired" else "yellow"))
    return remarks
