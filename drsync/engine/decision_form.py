"""The JSON form of what a decision saw and what it answered, there and back without loss.

Words of the model have their form in `wire.control`; here are those of `core`. Fields that are not known are
ignored and those with a default may be missing, so that records of other versions can be read.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from drsync.core.lease import LeaseBook
from drsync.core.observation import LastKnown, Observation, TreeKnown
from drsync.core.plan import (
    Act,
    Command,
    CommitCharter,
    Done,
    FinishIntent,
    Freeze,
    OpenGroup,
    Plan,
    Prepare,
    RecordIntent,
    Refuse,
    Release,
    Seal,
    VoidIntent,
    Wait,
)
from drsync.core.safety import Reason
from drsync.model.charter import Charter, Intent, IntentKind
from drsync.model.copy import Statement
from drsync.model.epoch import EPOCH_MAX, NEVER, Epoch
from drsync.model.errors import MalformedError
from drsync.wire import control

Json = dict[str, object]
T = TypeVar("T")
_MISSING = object()


@dataclass(frozen=True, slots=True)
class Fields:
    """An object of which every field is checked when it is taken. All methods raise MalformedError."""

    what: str
    body: Mapping[str, object]

    @staticmethod
    def of(what: str, value: object) -> "Fields":
        """The fields of `value`, which `what` names in messages."""
        if not isinstance(value, dict):
            raise MalformedError(f"{what}: an object was expected, not {type(value).__name__}")
        return Fields(what, value)

    def text(self, key: str, usual: str | None = None) -> str:
        """A text."""
        return self._take(key, str, usual)

    def flag(self, key: str, *, usual: bool | None = None) -> bool:
        """True or false."""
        return self._take(key, bool, usual)

    def whole(self, key: str, usual: int | None = None) -> int:
        """An integer of at most 64 bits."""
        value = self._take(key, int, usual)
        if isinstance(value, bool) or not -EPOCH_MAX <= value <= EPOCH_MAX:
            raise MalformedError(f"{self.what}.{key}: not an integer of 64 bits")
        return value

    def epoch(self, key: str, usual: Epoch | None = None) -> Epoch:
        """An epoch."""
        value = self.whole(key, usual)
        if value < 0:
            raise MalformedError(f"{self.what}.{key}: an epoch is not below zero")
        return Epoch(value)

    def number(self, key: str) -> float:
        """A number."""
        value = self._take(key, (int, float), None)
        if isinstance(value, bool):
            raise MalformedError(f"{self.what}.{key}: not a number")
        return float(value)

    def maybe(self, key: str, take: Callable[[str], T]) -> T | None:
        """What `take` finds, or None where the field is null or missing."""
        return None if self.body.get(key) is None else take(key)

    def fields(self, key: str) -> "Fields":
        """An object within."""
        return Fields.of(f"{self.what}.{key}", self.body.get(key))

    def each(self, key: str) -> list[object]:
        """A list; empty where it is missing."""
        return self._take(key, list, [])

    def word(self, kind: type[T], key: str) -> T:
        """A word of the model."""
        return control.from_json(kind, self.body.get(key))

    def _take(self, key: str, kind: type[T] | tuple[type[T], ...], usual: T | None) -> T:
        value = self.body.get(key, _MISSING)
        if value is _MISSING and usual is not None:
            return usual
        if not isinstance(value, kind):
            found = "nothing" if value is _MISSING else type(value).__name__
            raise MalformedError(f"{self.what}.{key}: {found} is not what was expected")
        return value


# --- observations ----------------------------------------------------------------------------------------


def observation_to_json(seen: Observation) -> Json:
    """The JSON form of an observation. Raises MalformedError: something in it is beyond its limits."""
    return {
        "charter": control.to_json(seen.charter),
        "statements": {name: control.to_json(word) for name, word in sorted(seen.statements.items())},
        "now": seen.now,
        "lease": {
            "holder": seen.lease.holder,
            "until": seen.lease.until,
            "released": seen.lease.released,
        },
        "kind": seen.kind.value,
        "target": seen.target,
        "intent_id": seen.intent_id,
        "uuid": seen.uuid,
        "actor": seen.actor,
        "reason": seen.reason,
        "accept_loss": seen.accept_loss,
        "started_us": seen.started_us,
        "has_begun": seen.has_begun,
        "begun_epoch": seen.begun_epoch,
        "store_ready": seen.store_ready,
        "last_known": _last_to_json(seen.last_known) if seen.last_known is not None else None,
        "frozen_since": seen.frozen_since,
    }


def observation_from_json(body: object) -> Observation:
    """The observation in a body. Raises MalformedError."""
    of = Fields.of("observation", body)
    lease, words = of.fields("lease"), of.fields("statements").body
    return Observation(
        charter=of.word(Charter, "charter"),
        statements={name: _said_by(name, word) for name, word in words.items()},
        now=of.number("now"),
        lease=LeaseBook(lease.text("holder"), lease.number("until"), lease.epoch("released", NEVER)),
        kind=_kind(of),
        target=of.text("target"),
        intent_id=of.text("intent_id"),
        uuid=of.text("uuid"),
        actor=of.text("actor", ""),
        reason=of.text("reason", ""),
        accept_loss=of.flag("accept_loss", usual=False),
        started_us=of.whole("started_us", 0),
        has_begun=of.flag("has_begun", usual=False),
        begun_epoch=of.epoch("begun_epoch", NEVER),
        store_ready=of.text("store_ready", ""),
        last_known=_last_from_json(of.fields("last_known")) if of.body.get("last_known") else None,
        frozen_since=of.maybe("frozen_since", of.number),
    )


def _said_by(name: str, body: object) -> Statement:
    word = control.from_json(Statement, body)
    if word.center != name:
        raise MalformedError(f"observation.statements.{name}: it is the word of {word.center!r}")
    return word


def _kind(of: Fields) -> IntentKind:
    text = of.text("kind")
    if text not in tuple(IntentKind):
        raise MalformedError(f"{of.what}.kind: {text!r} is not known to this version")
    return IntentKind(text)


def _last_to_json(last: LastKnown) -> Json:
    return {
        "commit": last.commit,
        "tip": last.tip,
        "time_us": last.time_us,
        "heard_at": last.heard_at,
        "trees": [
            {
                "fileset": tree.fileset,
                "generation": tree.generation,
                "looked_s": tree.looked_s,
                "lags_s": [{"center": center, "lag_s": lag_s} for center, lag_s in tree.lags_s],
            }
            for tree in last.trees
        ],
    }


def _last_from_json(of: Fields) -> LastKnown:
    trees = tuple(_tree(Fields.of("last_known.trees", tree)) for tree in of.each("trees"))
    return LastKnown(of.whole("commit"), of.whole("tip"), of.whole("time_us"), of.number("heard_at"), trees)


def _tree(of: Fields) -> TreeKnown:
    lags = [Fields.of("last_known.trees.lags_s", lag) for lag in of.each("lags_s")]
    return TreeKnown(
        of.text("fileset"),
        of.whole("generation"),
        of.maybe("looked_s", of.number),
        tuple((lag.text("center"), lag.number("lag_s")) for lag in lags),
    )


# --- plans -----------------------------------------------------------------------------------------------


def plan_to_json(plan: Plan) -> Json:
    """The JSON form of a plan. Raises MalformedError: something in it is beyond its limits."""
    match plan:
        case Act():
            return {"act": [_command_to_json(command) for command in plan.commands]}
        case Wait():
            return {"wait": plan.reason, "until": plan.until}
        case Refuse():
            reasons = [
                {"code": why.code, "sentence": why.sentence, "remedy": why.remedy, "override": why.override}
                for why in plan.reasons
            ]
            return {"refuse": reasons}
        case Done():
            return {"done": plan.outcome}


def plan_from_json(body: object) -> Plan:
    """The plan in a body. Raises MalformedError."""
    of = Fields.of("plan", body)
    if "act" in of.body:
        commands = tuple(_command(Fields.of("plan.act", one)) for one in of.each("act"))
        if not commands:
            raise MalformedError("plan.act: there is nothing to do in it")
        return Act(commands)
    if "wait" in of.body:
        return Wait(of.text("wait"), of.maybe("until", of.number))
    if "refuse" in of.body:
        return Refuse(tuple(_reason(Fields.of("plan.refuse", one)) for one in of.each("refuse")))
    return Done(of.text("done"))


def _reason(of: Fields) -> Reason:
    return Reason(of.text("code"), of.text("sentence"), of.text("remedy"), of.text("override", ""))


def _command_to_json(command: Command) -> Json:
    name: Json = {"do": type(command).__name__}
    match command:
        case RecordIntent():
            return name | {"intent": control.to_json(command.intent)}
        case Seal() | Release():
            return name | {"center": command.center, "epoch": command.epoch}
        case Freeze():
            return name | {"center": command.center}
        case Prepare():
            return name | {
                "center": command.center,
                "epoch": command.epoch,
                "history": control.history_to_json(command.history),
                "donors": list(command.donors),
            }
        case OpenGroup():
            return name | {"center": command.center, "charter": control.to_json(command.charter)}
        case CommitCharter() | VoidIntent() | FinishIntent():
            return name | {
                "expected_version": command.expected_version,
                "charter": control.to_json(command.charter),
            }


def _command(of: Fields) -> Command:
    name = of.text("do")
    if name not in _COMMANDS:
        raise MalformedError(f"plan.act: the command {name!r} is not known to this version")
    return _COMMANDS[name](of)


def _prepare(of: Fields) -> Prepare:
    donors = tuple(str(donor) for donor in of.each("donors"))
    history = control.history_from_json(of.body.get("history"))
    return Prepare(of.text("center"), of.epoch("epoch"), history, donors)


def _swap(of: Fields) -> tuple[int, Charter]:
    return of.whole("expected_version"), of.word(Charter, "charter")


_COMMANDS: Mapping[str, Callable[[Fields], Command]] = {
    "RecordIntent": lambda of: RecordIntent(of.word(Intent, "intent")),
    "Seal": lambda of: Seal(of.text("center"), of.epoch("epoch")),
    "Freeze": lambda of: Freeze(of.text("center")),
    "Release": lambda of: Release(of.text("center"), of.epoch("epoch")),
    "Prepare": _prepare,
    "CommitCharter": lambda of: CommitCharter(*_swap(of)),
    "OpenGroup": lambda of: OpenGroup(of.text("center"), of.word(Charter, "charter")),
    "VoidIntent": lambda of: VoidIntent(*_swap(of)),
    "FinishIntent": lambda of: FinishIntent(*_swap(of)),
}
