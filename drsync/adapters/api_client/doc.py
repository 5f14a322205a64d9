"""JSON from the coordinator, read with care.

The coordinator may be of another version than this command, so a key that is missing or of another shape
gives a harmless default: showing what is there comes before complaining.
"""

from collections.abc import Iterator, Mapping

Json = dict[str, object]


class Doc:
    """A JSON object."""

    def __init__(self, value: object = None) -> None:
        self._value: Mapping[str, object] = value if isinstance(value, Mapping) else {}

    def __bool__(self) -> bool:
        """Whether there is anything in it."""
        return bool(self._value)

    def has(self, key: str) -> bool:
        """Whether `key` is there and not null."""
        return self._value.get(key) is not None

    def raw(self, key: str) -> object:
        """The value as it came."""
        return self._value.get(key)

    def text(self, key: str, default: str = "") -> str:
        """A text; numbers are written out."""
        value = self._value.get(key)
        if isinstance(value, str):
            return value
        return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else default

    def number(self, key: str, default: float = 0.0) -> float:
        """A number."""
        value = self._value.get(key)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else default

    def whole(self, key: str, default: int = 0) -> int:
        """A whole number, exact."""
        value = self._value.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else default

    def flag(self, key: str) -> bool:
        """True only if it says so."""
        return self._value.get(key) is True

    def doc(self, key: str) -> "Doc":
        """An object inside."""
        return Doc(self._value.get(key))

    def docs(self, key: str) -> list["Doc"]:
        """The objects of a list."""
        value = self._value.get(key)
        return (
            [Doc(entry) for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []
        )

    def texts(self, key: str) -> list[str]:
        """The texts of a list."""
        value = self._value.get(key)
        return [entry for entry in value if isinstance(entry, str)] if isinstance(value, list) else []

    def table(self, key: str) -> Iterator[tuple[str, "Doc"]]:
        """Names and objects of an object of objects."""
        value = self._value.get(key)
        for name, entry in value.items() if isinstance(value, Mapping) else ():
            yield str(name), Doc(entry)

    def items(self) -> Iterator[tuple[str, object]]:
        """Everything in it."""
        yield from self._value.items()
