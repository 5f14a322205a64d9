"""What an exported incident says, read and checked: operations with their decisions, events, charters."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from drsync.core.observation import Observation
from drsync.core.plan import Plan
from drsync.core.procedure import Way
from drsync.engine.decision_form import Fields, observation_from_json, plan_from_json
from drsync.model.charter import Charter
from drsync.model.copy import Statement
from drsync.model.errors import MalformedError
from drsync.model.operation import OperationState
from drsync.wire.incident import HEAD, Line, unseal

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Silent:
    """A member that did not answer: whether it was connected, what it had said last, how long before in s."""

    is_connected: bool
    statement: Statement | None = None
    heard_s: float | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """One decision as it was recorded.

    Attributes:
        n: number given by the coordinator, rising.
        line: where it stands in the file.
        at_us, last_us: labels of when it was made first and last.
        times: how often, while nothing changed.
        software: version that made it.
        way, seen, plan: the question and the answer.
        silent: the members that did not answer.
        detection: what the watch over the centers said then; may be empty.
    """

    n: int
    line: int
    at_us: int
    last_us: int
    times: int
    software: str
    way: Way
    seen: Observation
    plan: Plan
    silent: Mapping[str, Silent] = field(default_factory=dict)
    detection: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Carried:
    """A step that was carried out; `center` is empty for the charter store, `outcome` how it ended."""

    name: str
    center: str
    at_us: int
    seconds: float
    outcome: str
    detail: str


@dataclass(frozen=True, slots=True)
class Case:
    """One operation, and what was decided in it.

    Attributes:
        id, kind, group, target, actor, reason: what was asked for.
        started_us, ended_us: labels; the second is 0 while it runs.
        state: how far it was.
        message: why it did not end well; empty if it did.
        steps: what was carried out.
        decisions: in order; none in a drill, which has no owner to choose.
    """

    id: str
    kind: str
    group: str
    target: str
    actor: str
    reason: str
    started_us: int
    ended_us: int
    state: str
    message: str
    steps: tuple[Carried, ...]
    decisions: tuple[Kept, ...]


@dataclass(frozen=True, slots=True)
class Happened:
    """An event: when, its kind, what it is about, one sentence."""

    at_us: int
    kind: str
    group: str
    center: str
    text: str


@dataclass(frozen=True, slots=True)
class Incident:
    """The whole file.

    Attributes:
        cluster, software, made_us: whose it is, by which version and when it was written.
        cases: in the order in which they began.
        events: in order.
        charters: every version with the label of its commit.
    """

    cluster: str
    software: str
    made_us: int
    cases: tuple[Case, ...]
    events: tuple[Happened, ...]
    charters: tuple[tuple[int, Charter], ...]


def read(data: bytes) -> Incident:
    """The incident in a file.

    Raises:
        MalformedError: incomplete, changed, or of another format; names the line.
    """
    lines = unseal(data)
    head = Fields(HEAD, lines[0].body)
    decisions: dict[str, list[Kept]] = {}
    for operation, kept in _each(lines, "decision", _decision):
        decisions.setdefault(operation, []).append(kept)
    cases = list(_each(lines, "operation", lambda line: _case(line, decisions)))
    return Incident(
        head.text("cluster"),
        head.text("software"),
        head.whole("made_us"),
        tuple(sorted(cases, key=lambda case: case.started_us)),
        tuple(_each(lines, "event", _event)),
        tuple(_each(lines, "charter", _charter)),
    )


def _each(lines: list[Line], kind: str, take: Callable[[Line], T]) -> Iterator[T]:
    """What `take` finds in every line of a kind; what is wrong in one is said with its number."""
    for line in lines:
        if line.kind == kind:
            try:
                yield take(line)
            except MalformedError as error:
                raise MalformedError(f"line {line.number}: {error}", code=error.code) from error


def _decision(line: Line) -> tuple[str, Kept]:
    of = Fields("decision", line.body)
    way = of.text("way")
    if way not in tuple(Way):
        raise MalformedError(f"decision.way: {way!r} is not known to this version")
    silent = of.fields("silent")
    kept = Kept(
        n=of.whole("n"),
        line=line.number,
        at_us=of.whole("at_us"),
        last_us=of.whole("last_us"),
        times=of.whole("times"),
        software=of.text("software"),
        way=Way(way),
        seen=observation_from_json(of.body.get("observation")),
        plan=plan_from_json(of.body.get("plan")),
        silent={name: _silent(silent.fields(name)) for name in silent.body},
        detection=of.fields("detection").body if of.body.get("detection") else {},
    )
    return of.text("operation"), kept


def _silent(of: Fields) -> Silent:
    word = of.word(Statement, "statement") if of.body.get("statement") else None
    return Silent(of.flag("is_connected"), word, of.maybe("heard_s", of.number))


def _case(line: Line, decisions: Mapping[str, list[Kept]]) -> Case:
    of = Fields("operation", line.body)
    error = of.fields("error").text("message") if of.body.get("error") else ""
    return Case(
        id=of.text("id"),
        kind=of.text("kind"),
        group=of.text("group"),
        target=of.text("target"),
        actor=of.text("actor"),
        reason=of.text("reason"),
        started_us=of.whole("started_us"),
        ended_us=of.whole("ended_us"),
        state=_state(of),
        message=error,
        steps=tuple(_step(Fields.of("operation.steps", step)) for step in of.each("steps")),
        decisions=tuple(decisions.get(of.text("id"), ())),
    )


def _state(of: Fields) -> str:
    text = of.text("state")
    if text not in tuple(OperationState):
        raise MalformedError(f"operation.state: {text!r} is not known to this version")
    return text


def _step(of: Fields) -> Carried:
    return Carried(
        of.text("name"),
        of.text("center"),
        of.whole("started_us"),
        of.number("seconds"),
        of.text("outcome"),
        of.text("detail"),
    )


def _event(line: Line) -> Happened:
    of = Fields("event", line.body)
    return Happened(of.whole("at_us"), of.text("kind"), of.text("group"), of.text("center"), of.text("text"))


def _charter(line: Line) -> tuple[int, Charter]:
    of = Fields("charter", line.body)
    return of.whole("at_us"), of.word(Charter, "charter")
