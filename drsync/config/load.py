"""Reads a file, reports every mistake in it at once, and gives options. Nothing else in drsync reads TOML."""

import tomllib
import typing
from collections.abc import Callable, Iterable, Iterator
from enum import Enum, StrEnum
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from drsync.config.checks import Document, Finding, check_agent, check_coordinator, check_group, show
from drsync.config.options import AgentOptions, CoordinatorOptions, GroupRequest
from drsync.config.problems import ConfigError, Problem, nearest
from drsync.config.profiles import unfilled
from drsync.config.schema import AgentFile, CoordinatorFile, GroupFile, Section
from drsync.config.sections import section_at, sections_in
from drsync.config.toml_lines import Place, find_lines, line_of

FILE_BYTES_MAX = 1 << 20  # because a configuration is written by hand, and a wrong path may name a disk image

SectionType = TypeVar("SectionType", bound=Section)


class FileKind(StrEnum):
    """What a file is for; told by what it contains."""

    AGENT = "agent"
    COORDINATOR = "coordinator"
    GROUP = "group"


def load_agent(path: Path) -> AgentOptions:
    """The options in an agent's file.

    Raises:
        ConfigError: with every mistake.
    """
    text, document = read_document(path)
    return _checked(AgentFile, check_agent, document, text, path).build()


def load_coordinator(path: Path) -> CoordinatorOptions:
    """The options in a coordinator's file.

    Raises:
        ConfigError: with every mistake.
    """
    text, document = read_document(path)
    return _checked(CoordinatorFile, check_coordinator, document, text, path).build()


def load_group(path: Path) -> GroupRequest:
    """The group in a file for `drsync group apply`.

    Raises:
        ConfigError: with every mistake.
    """
    text, document = read_document(path)
    return _checked(GroupFile, check_group, document, text, path).build()


def read_group(document: Document, source: str = "the request") -> GroupRequest:
    """The group in a document of the same shape as the file, as the coordinator receives it.

    Raises:
        ConfigError: with every mistake.
    """
    return _checked(GroupFile, check_group, document, "", Path(source)).build()


def load_any(path: Path) -> tuple[FileKind, AgentOptions | CoordinatorOptions | GroupRequest]:
    """What kind of file it is, and what is in it.

    Raises:
        ConfigError: with every mistake.
    """
    _, document = read_document(path)
    if "agents" in document or ("http" in document and "center" not in document):
        return FileKind.COORDINATOR, load_coordinator(path)
    if "volumes" in document or "preferred_owner" in document:
        return FileKind.GROUP, load_group(path)
    return FileKind.AGENT, load_agent(path)


def read_document(path: Path) -> tuple[str, dict[str, object]]:
    """The text of a TOML file and the document in it, of any shape.

    Raises:
        ConfigError: not readable, not text, not TOML.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(str(path), [Problem("", f"cannot be read: {error.strerror}")]) from None
    if len(raw) > FILE_BYTES_MAX:
        raise ConfigError(str(path), [Problem("", f"is larger than {FILE_BYTES_MAX} bytes")])
    try:
        text = raw.decode()
        return text, tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(str(path), [Problem("", "is not UTF-8 text", line)]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(path), [Problem("", f"is not TOML: {error}")]) from None


def _checked(
    schema: type[SectionType],
    cross_check: Callable[[Document], Iterable[Finding]],
    document: Document,
    text: str,
    path: Path,
) -> SectionType:
    """The section in `document`, or all mistakes in it."""
    lines = find_lines(text)

    def problem(finding: Finding) -> Problem:
        place, what, hint = finding
        return Problem(show(place), what, line_of(lines, place), hint)

    blanks = dict(unfilled(document))  # what else is wrong with such a text is no news
    problems = [problem((place, what, "")) for place, what in blanks.items()]
    problems += [problem(finding) for finding in cross_check(document) if finding[0] not in blanks]
    try:
        result = schema.model_validate(dict(document), context={"base": path.absolute().parent})
    except ValidationError as error:
        findings = [_explain(schema, detail) for detail in error.errors(include_url=False)]
        problems += [problem(finding) for finding in findings if finding[0] not in blanks]
    else:
        if not problems:
            return result
    raise ConfigError(str(path), problems)


def _explain(schema: type[Section], detail: ErrorDetails) -> Finding:
    """A mistake that pydantic found, in the words of people."""
    place: Place = tuple(step for step in detail["loc"] if step != "[key]")
    match detail["type"]:
        case "extra_forbidden":
            return place, "is not a known key here", _nearest_key(schema, place)
        case "missing":
            return place, "is missing", ""
        case "enum":
            known = _enum_values(schema, place)
            value = str(detail["input"])
            return place, f"{value!r} is not one of {', '.join(known)}", nearest(value, known)
        case "model_type" | "model_attributes_type" | "dict_type":
            return place, "must be a table", ""
        case "list_type":
            return place, "must be a list", ""
        case "too_short":
            return place, "must not be empty", ""
        case "too_long":
            return place, f"has too many entries; at most {detail.get('ctx', {}).get('max_length')}", ""
        case _:
            return place, detail["msg"].removeprefix("Value error, "), ""


def _nearest_key(schema: type[Section], place: Place) -> str:
    """The known key that an unknown one was probably meant to be, here or elsewhere in the file."""
    section = section_at(schema, place[:-1])
    wrong = str(place[-1])
    here = nearest(wrong, section.model_fields) if section else ""
    if here:
        return here
    elsewhere = {path.rpartition(".")[2]: path for path in _all_keys(schema)}
    return elsewhere.get(wrong, "")


def _enum_values(schema: type[Section], place: Place) -> list[str]:
    section = section_at(schema, place[:-1])
    field = section.model_fields.get(str(place[-1])) if section else None
    kind = field.annotation if field else None
    return [str(member.value) for member in kind] if isinstance(kind, type) and issubclass(kind, Enum) else []


def _all_keys(schema: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in schema.model_fields.items():
        yield prefix + name
        is_named = typing.get_origin(field.annotation) is dict
        for section in sections_in(field.annotation):
            yield from _all_keys(section, f"{prefix}{name}.NAME." if is_named else f"{prefix}{name}.")
