"""What a source and a target say about a session on the control link, before its stream: `group.resync`."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from drsync.core import extents
from drsync.core.extents import NOTHING, Extents, Run
from drsync.core.resync import EndWord
from drsync.model.copy import Statement
from drsync.model.epoch import Epoch
from drsync.model.errors import MalformedError
from drsync.wire import control, resync

Json = dict[str, object]


class Mode(StrEnum):
    """How what differs is found."""

    DIRTY = "dirty"  # marks tell
    DIGEST = "digest"  # digests tell
    EVERYTHING = "everything"  # there is nothing to compare with


def words_of(mode: Mode, count: int) -> str:
    """What a session of `count` granules is about, for people."""
    match mode:
        case Mode.DIRTY:
            return f"{count} granules are marked"
        case Mode.DIGEST:
            return "everything is compared"
        case Mode.EVERYTHING:
            return "everything is sent"


@dataclass(frozen=True, slots=True)
class Kept:
    """The stage that a target kept."""

    session: str
    generation: int
    rounds: int
    epoch: Epoch


@dataclass(frozen=True, slots=True)
class Answer:
    """Where a target stands before a session.

    Attributes:
        statement: as of now.
        changed: what has to be sent whatever marks or digests say, because its own records touched it: those
            after the fork, and those above its images that digests cannot tell; None: it does not know.
        free: bytes that a stage may take.
        stage: what it kept; None without one.
        staged, fresh: what is in that stage, of all rounds and of the last; perhaps less than there is.
        switched: the end of the last session that became its copy.
    """

    statement: Statement
    changed: Extents | None = NOTHING
    free: int = 0
    stage: Kept | None = None
    staged: Extents = NOTHING
    fresh: Extents = NOTHING
    switched: EndWord | None = None

    def to_json(self) -> Json:
        """For a control link. What is too long becomes coarser in `changed`, and less in what was kept."""
        changed = None if self.changed is None else extents.coarsened(self.changed, resync.RUNS_MAX)
        stage, switched = self.stage, self.switched
        return {
            "statement": control.to_json(self.statement),
            "changed": None if changed is None else resync.runs_to_json(changed),
            "free": self.free,
            "stage": None if stage is None else {name: getattr(stage, name) for name in Kept.__slots__},
            "staged": resync.runs_to_json(extents.fewer(self.staged, resync.RUNS_MAX)),
            "fresh": resync.runs_to_json(extents.fewer(self.fresh, resync.RUNS_MAX)),
            "switched": None
            if switched is None
            else {name: getattr(switched, name) for name in EndWord.__slots__},
        }

    @staticmethod
    def from_json(body: Mapping[str, object]) -> "Answer":
        """Inverse of `to_json`. Raises MalformedError."""
        stage, switched, changed = body.get("stage"), body.get("switched"), body.get("changed")
        return Answer(
            control.from_json(Statement, body.get("statement")),
            None if changed is None else _runs(changed),
            _whole(body, "free"),
            None if stage is None else _kept(stage),
            _runs(body.get("staged")),
            _runs(body.get("fresh")),
            None if switched is None else _end(switched),
        )


def _runs(value: object) -> Extents:
    return extents.normal(Run(*run) for run in resync.runs_from_json(value))


def _kept(value: object) -> Kept:
    body = _object(value, "stage")
    return Kept(
        _session(body),
        _whole(body, "generation"),
        _whole(body, "rounds"),
        Epoch(_whole(body, "epoch")),
    )


def _end(value: object) -> EndWord:
    body = _object(value, "switched")
    return EndWord(_session(body), _whole(body, "generation"), _whole(body, "p1"), _whole(body, "size"))


def _object(value: object, name: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise MalformedError(f"{name}: an object was expected")
    return value


def _session(body: Mapping[str, object]) -> str:
    value = body.get("session")
    if not isinstance(value, str):
        raise MalformedError("session: a text was expected")
    return value


def _whole(body: Mapping[str, object], name: str) -> int:
    value = body.get(name)
    if type(value) is not int or not 0 <= value < 1 << 64:
        raise MalformedError(f"{name}: a whole number from 0 was expected")
    return value
