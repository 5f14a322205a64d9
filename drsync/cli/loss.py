"""The loss statement of a failover, as people read it before they decide."""

from drsync.adapters.api_client.doc import Doc
from drsync.cli.output import BAD, DIM, GOOD, console, line, row, table
from drsync.cli.text import clock, count, format_duration, format_size, plural

WORDS = {
    "none": "Nothing that was acknowledged is lost.",
    "volatile": "Writes that were acknowledged but never flushed may be lost: all restarted uncleanly.",
    "forced": "Acknowledged writes may be lost.",
}


def show(statement: Doc) -> None:
    """Print what opening at the target gives up, and what each center says."""
    target = statement.text("target", "the target")
    is_loss = statement.flag("may_lose_acknowledged")
    line(f"Loss statement: opening at {target} at record {statement.text('position', '?')}", "bold")
    line(f"  {WORDS.get(statement.text('loss'), statement.text('loss'))}", BAD if is_loss else GOOD)
    if is_loss:
        records = plural(statement.whole("records_at_least"), "record")
        line(f"  Known to be lost: at least {records}; {_size(statement)}.")
        if statement.whole("records_at_least"):
            line("  (The marks that drsync writes each second count as records.)", DIM)
    if statement.whole("from_us"):
        line(f"  Nothing written before {clock(statement.whole('from_us'))} is lost.")
    if statement.whole("until_us"):
        line(f"  The newest record known to be lost is of {clock(statement.whole('until_us'))}.")
    for tree in statement.docs("files"):
        _show_tree(tree)
    if statement.has("points"):
        _show_points(statement.doc("points"), target)
    centers = statement.docs("centers")
    if centers:
        what = table(["center", "says"])
        for center in centers:
            row(what, center.text("center"), center.text("text"))
        console().print(what)


def _show_points(points: Doc, target: str) -> None:
    """What is known of the recovery points there: the opening shows what the newest one does, and more."""
    if points.text("text"):
        line(f"  Points: {points.text('text')}.", BAD)
    if not points.has("proved"):
        line(f"  No recovery point at {target} is proved.", DIM)
        return
    proof = points.doc("proved")
    made, when = clock(proof.whole("time_us")), clock(proof.whole("at_us"))
    what = f"record {count(proof.whole('seq'))} of {made}"
    line(f"  Newest proved point: {what}, by {proof.text('by')} ({proof.text('check')}) at {when}.")


def _show_tree(tree: Doc) -> None:
    """One line on a tree, and some of the names that are missing."""
    held, known = tree.whole("held"), tree.whole("known")
    has = f"generation {held}, the newest" if held == known else f"generation {held} of {known}"
    age = "how much is missing is not known"
    if tree.has("seconds"):
        age = f"changes of the last {format_duration(tree.number('seconds'))} may be missing"
    line(f"  Files of {tree.text('fileset')}: {has}; {age}.", "" if tree.has("seconds") else BAD)
    if tree.text("hold"):
        line(f"    It stands still: {tree.text('hold')}", BAD)
    names = tree.texts("pending_names")
    if names:
        more = tree.whole("pending") - len(names)
        line(f"    Not there yet: {', '.join(names)}{f' and {more} more' if more > 0 else ''}")


def _size(statement: Doc) -> str:
    if not statement.has("bytes_lost"):
        return "their size is not known"
    return format_size(statement.whole("bytes_lost"))
