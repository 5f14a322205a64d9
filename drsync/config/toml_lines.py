"""Where each key of a TOML text stands. tomllib keeps no lines, so a small scan finds them for messages.

The text has been accepted by tomllib when this runs, so the scan may be simple: a key it cannot place gets no
line, never a wrong error.
"""

import re

_HEADER = re.compile(r"\s*(?P<open>\[\[?)\s*(?P<keys>[^\[\]]+?)\s*\]\]?\s*(?:#.*)?")
_PAIR = re.compile(
    r"\s*(?P<keys>(?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*'))*)\s*="
)
_KEY = re.compile(r"[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*'")
_STRING = re.compile(r"\"(?:\\.|[^\"\\])*\"|'[^']*'")

Place = tuple[str | int, ...]
"""A path into the document, as pydantic gives it: keys and list indices."""


def find_lines(text: str) -> dict[Place, int]:
    """Lines, from 1, of tables and keys by their path."""
    lines: dict[Place, int] = {}
    tables: dict[Place, int] = {}  # arrays of tables: how many so far
    table: Place = ()
    depth, fence = 0, ""
    for number, line in enumerate(text.splitlines(), start=1):
        if fence:
            fence = "" if fence in line else fence
            continue
        if depth == 0:
            header = _HEADER.fullmatch(line)
            if header is not None and _keys(header["keys"]):
                table = _open_table(_keys(header["keys"]), tables, is_array=header["open"] == "[[")
                lines.setdefault(table, number)
                continue
            pair = _PAIR.match(line)
            if pair is not None:
                _note(lines, table, _keys(pair["keys"]), number)
        fence, depth = _after(line, depth)
    return lines


def line_of(lines: dict[Place, int], place: Place) -> int:
    """The line of `place` or of the nearest thing around it; 0 when nothing is known."""
    for length in range(len(place), 0, -1):
        found = lines.get(place[:length])
        if found:
            return found
    return 0


def _keys(dotted: str) -> list[str]:
    return [key.strip("\"'") for key in _KEY.findall(dotted)]


def _open_table(keys: list[str], tables: dict[Place, int], *, is_array: bool) -> Place:
    place: Place = ()
    for key in keys[:-1]:
        place += (key,)
        if place in tables:
            place += (tables[place] - 1,)
    place += (keys[-1],)
    if is_array:
        tables[place] = tables.get(place, 0) + 1
        place += (tables[place] - 1,)
    return place


def _note(lines: dict[Place, int], table: Place, keys: list[str], number: int) -> None:
    for length in range(1, len(keys) + 1):
        lines.setdefault((*table, *keys[:length]), number)


def _after(line: str, depth: int) -> tuple[str, int]:
    """Whether a multi-line string stays open after `line`, and how many brackets do."""
    for fence in ('"""', "'''"):
        if line.count(fence) % 2:
            return fence, depth
    bare = _STRING.sub("", line).partition("#")[0]
    opened = sum(bare.count(sign) for sign in "[{") - sum(bare.count(sign) for sign in "]}")
    return "", max(0, depth + opened)
