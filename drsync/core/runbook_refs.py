"""``{{ name }}`` in the values of a runbook: found, and replaced. Text in, text out; nothing is evaluated."""

import re
from collections.abc import Iterator, Mapping

_REFERENCE = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")


def references(value: object) -> Iterator[str]:
    """Every name that is referred to in a value, however deep."""
    if isinstance(value, str):
        yield from _REFERENCE.findall(value)
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from references(inner)


def replaced(value: object, known: Mapping[str, object]) -> object:
    """The value with every known name replaced; what is not known stays as it is.

    A text that is nothing but one reference becomes what the name stands for, with its type.
    """
    if isinstance(value, str):
        whole = _REFERENCE.fullmatch(value)
        if whole is not None and whole[1] in known:
            return known[whole[1]]
        return _REFERENCE.sub(lambda found: _word(known, found), value)
    if isinstance(value, Mapping):
        return {str(key): replaced(inner, known) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [replaced(inner, known) for inner in value]
    return value


def _word(known: Mapping[str, object], found: "re.Match[str]") -> str:
    if found[1] not in known:
        return found[0]
    value = known[found[1]]
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
