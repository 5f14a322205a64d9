"""YAML into plain values that remember where they stood. No objects, tags, aliases or surprises.

Built from the parser's events, not from its constructor: what a plain word means is decided here, by the
core schema of YAML 1.2 (so `no` is a word and `1:30` is text), and every key and value keeps its line and
column for messages.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from drsync.config.runbook_mistakes import Mistake, Place, Spot

DEPTH_MAX = 12  # because a step's parameters are six levels deep, and a reader at night follows no more
VALUES_MAX = 20_000  # because the largest allowed runbook has some hundred steps of a few dozen values

_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_BOOLEAN = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


@dataclass(slots=True)
class Tree:
    """A document: its value, and where each key and each value begins.

    Attributes:
        value: mappings, lists, text, numbers, booleans, None.
        keys, values: spots by path; `keys` has only what has a key.
        mistakes: what the format allows and a runbook does not: repeated keys, aliases, tags.
    """

    value: object = None
    keys: dict[Place, Spot] = field(default_factory=dict)
    values: dict[Place, Spot] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)

    def spot(self, place: Place, *, of_key: bool = False) -> Spot:
        """Where `place` is, or the nearest thing around it."""
        if of_key and place in self.keys:
            return self.keys[place]
        for length in range(len(place), -1, -1):
            found = self.values.get(place[:length]) or self.keys.get(place[:length])
            if found is not None:
                return found
        return Spot(1, 1)


@dataclass(slots=True)
class _Frame:
    """An open mapping or list."""

    value: "dict[str, object] | list[object]"
    place: Place
    key: str | None = None


class UnreadableError(Exception):
    """The text is no YAML; carries the one mistake that says where. Never leaves `config`."""

    def __init__(self, mistake: Mistake) -> None:
        super().__init__(mistake.what)
        self.mistake = mistake


def read(text: str) -> Tree:
    """The document in `text`.

    Raises:
        UnreadableError: not YAML, more than one document, or too deep or too large to be a runbook.
    """
    reader = _Reader()
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            reader.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        spot = Spot(mark.line + 1, mark.column + 1) if mark else Spot(1, 1)
        said = " ".join(part for part in (error.problem, error.context) if part)
        raise UnreadableError(_syntax(spot, f"is not YAML: {said}")) from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        spot = Spot(before.count("\n") + 1, error.position - (before.rfind("\n") + 1) + 1)
        raise UnreadableError(_syntax(spot, "has a character that YAML does not allow")) from None
    return reader.tree


class _Reader:
    def __init__(self) -> None:
        self.tree = Tree()
        self._stack: list[_Frame] = []
        self._count = 0
        self._documents = 0

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise UnreadableError(_syntax(_spot(event), "has more than one document"))
        elif isinstance(event, yaml.MappingStartEvent):
            self._open(event, {})
        elif isinstance(event, yaml.SequenceStartEvent):
            self._open(event, [])
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self._stack.pop()
        elif isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, yaml.AliasEvent):
            self._complain(
                event, "alias", "is an alias; a runbook is read from top to bottom", "Write it out."
            )
            self._put(None, _spot(event))

    def _open(self, event: yaml.CollectionStartEvent, value: "dict[str, object] | list[object]") -> None:
        self._refuse_tag(event)
        if self._stack and self._is_key():
            spot = _spot(event)
            raise UnreadableError(_syntax(spot, "uses a list or mapping as a key"))
        if len(self._stack) >= DEPTH_MAX:
            raise UnreadableError(_syntax(_spot(event), f"is nested deeper than {DEPTH_MAX} levels"))
        place = self._put(value, _spot(event))
        self._stack.append(_Frame(value, place))

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        self._refuse_tag(event)
        if self._is_key():
            self._key(event)
        else:
            self._put(_plain(event), _spot(event))

    def _key(self, event: yaml.ScalarEvent) -> None:
        frame = self._stack[-1]
        assert isinstance(frame.value, dict)
        key = str(event.value)
        if key in frame.value:
            first = self.tree.keys[*frame.place, key].line
            what = f"{key!r} is already there in line {first}"
            self.tree.mistakes.append(
                Mistake("duplicate_key", _spot(event), (*frame.place, key), what, "Remove one of the two.")
            )
        else:
            self.tree.keys[*frame.place, key] = _spot(event)
        frame.key = key

    def _put(self, value: object, spot: Spot) -> Place:
        self._count += 1
        if self._count > VALUES_MAX:
            raise UnreadableError(_syntax(spot, f"has more than {VALUES_MAX} values"))
        if not self._stack:
            self.tree.value = value
            self.tree.values[()] = spot
            return ()
        frame = self._stack[-1]
        place: Place
        if isinstance(frame.value, list):
            place = (*frame.place, len(frame.value))
            frame.value.append(value)
        else:
            assert frame.key is not None
            place = (*frame.place, frame.key)
            frame.value[frame.key] = value
            frame.key = None
        self.tree.values[place] = spot
        return place

    def _is_key(self) -> bool:
        return bool(self._stack) and isinstance(self._stack[-1].value, dict) and self._stack[-1].key is None

    def _refuse_tag(self, event: "yaml.ScalarEvent | yaml.CollectionStartEvent") -> None:
        if event.tag is not None:
            self._complain(event, "tag", f"has the tag {event.tag}", "Remove it: types follow from the key.")

    def _complain(self, event: yaml.Event, code: str, what: str, remedy: str) -> None:
        place = next(iter(self._places()), ())
        self.tree.mistakes.append(Mistake(code, _spot(event), place, what, remedy))

    def _places(self) -> Iterator[Place]:
        if self._stack:
            frame = self._stack[-1]
            yield (*frame.place, len(frame.value) if isinstance(frame.value, list) else frame.key or "")


def _plain(event: yaml.ScalarEvent) -> object:
    """Text in quotes is text; a plain word may be null, a boolean or a number."""
    text = str(event.value)
    if event.style is not None:
        return text
    if text in _NULL:
        return None
    if text in _BOOLEAN:
        return _BOOLEAN[text]
    if len(text) <= DIGITS_MAX and _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if len(text) <= DIGITS_MAX and _FLOAT.fullmatch(text) else text


DIGITS_MAX = 20  # because no number in a runbook is longer, and turning a million digits into one takes long


def _spot(event: yaml.Event) -> Spot:
    mark = event.start_mark
    return Spot(mark.line + 1, mark.column + 1) if mark else Spot(1, 1)


def _syntax(spot: Spot, what: str) -> Mistake:
    return Mistake("yaml_syntax", spot, (), what, "Mend it there; check indentation, quotes and colons.")
