"""Finding one's way in a schema: which of its sections a place in a document is described by."""

import typing
from collections.abc import Iterator

from pydantic import BaseModel

Section = type[BaseModel]


def section_at(schema: Section, place: tuple[str | int, ...]) -> Section | None:
    """The section that describes what is at `place`, which is keys and indices; None if it is no section."""
    section: Section | None = schema
    skip = False
    for step in place:
        if skip:
            skip = False
            continue
        annotation = annotation_of(section, str(step))
        if annotation is None:
            return None
        section = next(sections_in(annotation), None)
        skip = any(_is_container(one) for one in _flat(annotation))
    return section


def annotation_of(section: Section | None, key: str) -> object:
    """The type of a key as it is written in the document; None when the section has no such key."""
    if section is None:
        return None
    for name, field in section.model_fields.items():
        if key in (name, field.alias):
            return field.annotation
    return None


def sections_in(annotation: object) -> Iterator[Section]:
    """Sections that a field's type mentions: itself, of a list, a table of tables, a union, or optional."""
    if isinstance(annotation, type) and not typing.get_args(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from sections_in(argument)


def _flat(annotation: object) -> Iterator[object]:
    yield annotation
    if not _is_container(annotation):
        for argument in typing.get_args(annotation):
            yield from _flat(argument)


def _is_container(annotation: object) -> bool:
    return typing.get_origin(annotation) in (dict, list)
