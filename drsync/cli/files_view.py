"""File sets for people: one line each in `drsync status`, and the table of `drsync files show`."""

from typing import TYPE_CHECKING

from drsync.adapters.api_client.doc import Doc
from drsync.cli.output import BAD, DIM, GOOD, row, table
from drsync.cli.text import count, format_duration, format_size, plural

if TYPE_CHECKING:
    from rich.table import Table

Cell = str | tuple[str, str]


def file_remarks(name: str, group: Doc) -> list[tuple[str, str]]:
    """One sentence per file set: how large it is, and where its others stand."""
    owner = group.text("owner")
    remarks = []
    for fileset in group.docs("filesets"):
        title = fileset.text("name")
        own = _tree(group, owner, title)
        others = [center for center, _ in group.table("centers") if center != owner]
        behind = [f"{center} {_behind(group, center, title)}" for center in others]
        size = f"{count(own.whole('entries'))} names, {format_size(own.whole('bytes'))}"
        is_held = any(_tree(group, center, title).text("hold") for center, _ in group.table("centers"))
        remarks.append((f"{name}: files {title}: {size}; {', '.join(behind)}", BAD if is_held else DIM))
    return remarks


def trees_table(group: Doc, only: str) -> "Table":
    """File sets and centers; the owner first."""
    what = table(["files", "center", ">generation", ">names", ">size", ">behind", "where"])
    owner = group.text("owner")
    for fileset in group.docs("filesets"):
        title = fileset.text("name")
        if only not in ("", title):
            continue
        centers = sorted((center for center, _ in group.table("centers")), key=lambda name: name != owner)
        for index, center in enumerate(centers):
            tree = _tree(group, center, title)
            first: Cell = (title, "bold") if index == 0 else ""
            figures = (count(tree.whole("entries")), format_size(tree.whole("bytes")))
            age = ("owner", GOOD) if center == owner else _age(group, tree)
            row(what, first, center, _generation(tree), *figures, age, tree.text("root") or "-")
    return what


def tree_remarks(group: Doc, only: str) -> list[tuple[str, str]]:
    """Why a tree stands still, what is on its way, which files never rest."""
    remarks = []
    for fileset in group.docs("filesets"):
        title = fileset.text("name")
        if only not in ("", title):
            continue
        for center, _ in group.table("centers"):
            remarks += _about(f"{title} at {center}", _tree(group, center, title))
    return remarks


def _about(where: str, tree: Doc) -> list[tuple[str, str]]:
    remarks = []
    if tree.text("hold"):
        remarks.append((f"{where} stands still: {tree.text('hold')}", BAD))
    for words, key, total in (
        ("not there yet", "pending_names", tree.whole("pending")),
        ("change while they are read", "busy", 0),
    ):
        names = tree.texts(key)
        more = total - len(names)
        if names:
            tail = f" and {count(more)} more" if more > 0 else ""
            remarks.append((f"{where}, {words}: {', '.join(names)}{tail}", "yellow"))
    if tree.whole("forks"):
        number = tree.whole("forks")
        what = f"{plural(number, 'name was', 'names were')} put aside"
        remarks.append((f"{where}: {what} in {tree.text('root')}/.drsync-fork-*", "yellow"))
    if tree.whole("unseen"):
        remarks.append((f"{where}: {plural(tree.whole('unseen'), 'place')} cannot be looked at", BAD))
    return remarks


def _tree(group: Doc, center: str, title: str) -> Doc:
    return group.doc("centers").doc(center).doc("files").doc(title)


def _generation(tree: Doc) -> str:
    held, known = tree.whole("generation"), tree.whole("known")
    return count(held) if held >= known else f"{count(held)} of {count(known)}"


def _age(group: Doc, tree: Doc) -> Cell:
    """Beside the group's objective; changes that were not cut yet are in it."""
    if tree.text("hold"):
        return "held", BAD
    if not tree.has("rpo_s"):
        return "UNKNOWN", BAD
    seconds = tree.number("rpo_s")
    is_over = seconds > group.doc("objectives").number("rpo_s")
    return f"< {format_duration(seconds)}", BAD if is_over else GOOD


def _behind(group: Doc, center: str, title: str) -> str:
    tree = _tree(group, center, title)
    if tree.text("hold"):
        return "stands still"
    if not tree.has("lag_s"):
        return "is not known"
    if not tree.number("lag_s"):
        return "has all"
    return f"is {format_duration(tree.number('lag_s'))} behind (generation {_generation(tree)})"
