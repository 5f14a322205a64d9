"""Reads a runbook, reports every mistake in it at once, and gives frozen words. Nothing else reads YAML."""

import hashlib
import typing
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from types import NoneType

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from drsync.config.problems import nearest
from drsync.config.runbook_build import build
from drsync.config.runbook_checks import check_document
from drsync.config.runbook_mistakes import Mistake, Place, RunbookError, Spot
from drsync.config.runbook_schema import LimitError, RunbookFile, Section
from drsync.config.runbook_sketch import Sketch, bound_params, sketch
from drsync.config.runbook_yaml import Tree, UnreadableError, read
from drsync.config.sections import annotation_of, section_at
from drsync.model.runbook import API_VERSION, Runbook

FILE_BYTES_MAX = 256 << 10  # because a runbook is read by people, and is kept with every run of it
DURATIONS = frozenset(("timeout", "within", "retry_wait", "budget", "rto", "lifetime", "grace"))
REMEDIES = {
    "bad_duration": 'Write a number and a unit, for example "15s".',
    "limit": "Choose a value within the limits; docs/runbooks.md lists them.",
    "missing": "Add it; docs/runbooks.md shows a whole example.",
    "undo_without_action": "Say what undoes the step, for example action: service.stop.",
    "wrong_type": "Write a value of the type that the key wants; docs/runbooks.md lists them.",
}


def load_runbook(path: Path) -> Runbook:
    """The runbook in a file, with its parameters at their defaults.

    Raises:
        RunbookError: with every mistake.
    """
    return parse_runbook(read_bytes(path), str(path))


def read_bytes(path: Path) -> bytes:
    """The file, as it is. Raises RunbookError when it cannot be read or is too large."""
    try:
        with path.open("rb") as file:
            return file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        raise RunbookError(str(path), [_whole("unreadable", what, "Look at its name and rights.")]) from None


def parse_runbook(raw: bytes, source: str, params: Mapping[str, object] | None = None) -> Runbook:
    """The runbook in `raw`.

    Args:
        raw: the bytes of the file.
        source: what to call it in messages.
        params: values given for a run; None only checks, and assumes something where there is no default.

    Raises:
        RunbookError: with every mistake.
    """
    tree = _tree(raw, source)
    document = tree.value
    if not isinstance(document, dict):
        raise RunbookError(
            source, [_whole("wrong_type", "is no mapping", f"Begin with apiVersion: {API_VERSION}.")]
        )
    known, mistakes = bound_params(tree, document, params)
    found = sketch(document, known)
    mistakes += tree.mistakes
    mistakes += _schema_mistakes(tree, document)
    mistakes += _values_mistakes(tree, found)
    mistakes += check_document(tree, document, found, known)
    if mistakes:
        raise RunbookError(source, mistakes)
    digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
    return build(RunbookFile.model_validate(document), found, digest)


def _tree(raw: bytes, source: str) -> Tree:
    if len(raw) > FILE_BYTES_MAX:
        what = f"is larger than {FILE_BYTES_MAX >> 10} KiB"
        raise RunbookError(source, [_whole("limit", what, "A runbook is written by hand; is it this file?")])
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - (raw.rfind(b"\n", 0, error.start) + 1) + 1
        what, remedy = "is not UTF-8 text", "Save it as UTF-8."
        raise RunbookError(source, [Mistake("not_utf8", Spot(line, column), (), what, remedy)]) from None
    try:
        return read(text.removeprefix("\ufeff"))
    except UnreadableError as error:
        raise RunbookError(source, [error.mistake]) from None


def _whole(code: str, what: str, remedy: str) -> Mistake:
    return Mistake(code, Spot(1, 1), (), what, remedy)


# --- what the schema finds, in the words of people


def _schema_mistakes(tree: Tree, document: Mapping[str, object]) -> Iterator[Mistake]:
    try:
        RunbookFile.model_validate(document)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            yield _explain(tree, RunbookFile, (), detail)


def _values_mistakes(tree: Tree, found: Sketch) -> Iterator[Mistake]:
    """Parameters of actions, with references to the runbook's own parameters replaced."""
    for part in found.parts:
        if part.schema is None or not isinstance(part.values, Mapping):
            continue
        try:
            part.schema.model_validate(part.values)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                yield _explain(tree, part.schema, (*part.place, "with"), detail)


def _explain(tree: Tree, schema: type[Section], base: Place, detail: ErrorDetails) -> Mistake:
    inner: Place = tuple(step for step in detail["loc"] if step != "[key]")
    inner = _without_branches(schema, inner)
    place = (*base, *inner)
    key = str(place[-1]) if place else ""
    match detail["type"]:
        case "extra_forbidden":
            keys = _keys(schema, inner[:-1])
            spot = tree.spot(place, of_key=True)
            return Mistake("unknown_key", spot, place, f"{key!r} is not a known key here", _meant(key, keys))
        case "missing":
            code = "undo_without_action" if place[-2:] == ("undo", "action") else "missing"
            return Mistake(code, tree.spot(place[:-1]), place, "is missing", REMEDIES[code])
        case "enum" | "literal_error":
            return _not_one_of(tree, place, detail, _choices(schema, inner))
        case "too_short" | "string_too_short":
            code = "no_mode" if key == "modes" else "limit"
            what = "is empty: the step is in no mode" if key == "modes" else "must not be empty"
            return Mistake(code, tree.spot(place), place, what, "Name at least one, or leave the key out.")
        case _:
            return _other(tree, place, detail)


def _other(tree: Tree, place: Place, detail: ErrorDetails) -> Mistake:
    error = detail.get("ctx", {}).get("error")
    key = str(place[-1]) if place else ""
    text = detail["msg"]
    text = str(error) if isinstance(error, ValueError) else text[:1].lower() + text[1:]
    code = "wrong_type"
    if isinstance(error, LimitError) or detail["type"] in LIMITS:
        code = "limit"
    elif key in DURATIONS:
        code = "bad_duration"
    what = PLAIN.get(detail["type"], text)
    return Mistake(code, tree.spot(place), place, what, REMEDIES[code])


LIMITS = frozenset(("too_long", "string_too_long", "greater_than_equal", "less_than_equal"))
PLAIN = {
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "dict_type": "must be a mapping",
    "list_type": "must be a list",
    "bool_type": "must be true or false",
}


def _not_one_of(tree: Tree, place: Place, detail: ErrorDetails, known: list[str]) -> Mistake:
    value, key = str(detail["input"]), str(place[-1])
    named = {"action": "unknown_action", "apiVersion": "wrong_version", "kind": "wrong_version"}
    code = "unknown_mode" if "modes" in place else named.get(key, "unknown_value")
    remedy = f"This drsync reads {known[0]}." if code == "wrong_version" and known else _meant(value, known)
    return Mistake(code, tree.spot(place), place, f"{value!r} is not known here", remedy)


def _meant(word: str, known: list[str]) -> str:
    close = nearest(word, known)
    if not known:
        return "Remove it."
    meant = f"Did you mean {close}? " if close else ""
    return f"{meant}Known: {', '.join(sorted(known))}."


# --- finding a field by its place


def _without_branches(schema: type[Section], place: Place) -> Place:
    """The place without the names of union branches, which pydantic adds at the end."""
    return place[:-1] if len(place) > 1 and str(place[-1]).startswith(("literal[", "function-")) else place


def _keys(schema: type[Section], place: Place) -> list[str]:
    section = section_at(schema, place)
    return [field.alias or name for name, field in section.model_fields.items()] if section else []


def _choices(schema: type[Section], place: Place) -> list[str]:
    names = [step for step in place if isinstance(step, str)]
    if not names:
        return []
    at = max(index for index, step in enumerate(place) if step == names[-1])
    section = section_at(schema, place[:at])
    return list(_words(annotation_of(section, names[-1])))


def _words(annotation: object) -> Iterator[str]:
    """The words an annotation allows: members of an enum, literals; in lists and unions, too."""
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        yield from (str(member.value) for member in annotation)
    for argument in typing.get_args(annotation):
        if isinstance(argument, str):
            if argument:
                yield argument
        elif argument is not NoneType:
            yield from _words(argument)
