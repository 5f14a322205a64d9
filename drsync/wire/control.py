"""Control bodies: canonical JSON, and the one form each shared word has in it.

Only forms and their translation may live here: strict models that check every field, `to_json` and
`from_json` for the words of `drsync.model`. Epochs are integers, chains are hex, choices are their values.
Fields that are not known are ignored, so that a newer peer may say more; what a peer must understand is
a critical feature of HELLO.
"""

import json
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Final, Protocol, TypeAlias, TypeVar, runtime_checkable

from pydantic import BeforeValidator, Field, Strict

from drsync.model.charter import Charter, Intent, IntentKind
from drsync.model.copy import CopyState, Statement
from drsync.model.epoch import Epoch
from drsync.model.errors import MalformedError
from drsync.model.fileset import FileSetSpec, FileSetWord, Generation
from drsync.model.group import GroupPolicy, GroupSpec, Objectives, VolumeSpec
from drsync.model.position import EpochRun, EpochStart, History, Loss, Position
from drsync.model.topology import Center, Designation
from drsync.wire.forms import U64, Chain, Message, Name, Seconds, Text, parse
from drsync.wire.policy import ObjectivesForm, PolicyForm

__all__ = [
    "DEPTH_MAX",
    "ITEMS_MAX",
    "Hello",
    "Request",
    "Response",
    "Welcome",
    "dump",
    "from_json",
    "history_from_json",
    "history_to_json",
    "load",
    "parse",
    "to_json",
]

DEPTH_MAX: Final = 16
"""Because the deepest honest body, a charter in an answer, nests 6 deep."""
ITEMS_MAX: Final = 4096
"""Per object or list; because the longest honest list, an epoch history, has some 300 entries."""
_INTEGER_MAX: Final = (1 << 64) - 1

Json: TypeAlias = dict[str, object]
_T = TypeVar("_T")


def dump(body: Mapping[str, object]) -> bytes:
    """Canonical JSON: sorted keys, no spaces, ASCII; equal bodies are equal bytes."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def load(data: bytes) -> Json:
    """The object in a control body, its limits checked.

    Raises:
        MalformedError: not UTF-8, not JSON, not an object, too deep, too many items, a number too large.
    """
    try:
        body: object = json.loads(data.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"control body: not JSON: {error}") from error
    if not isinstance(body, dict):
        raise MalformedError(f"control body: an object was expected, not {type(body).__name__}")
    _check(body, 1)
    return body


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number here")


def _check(value: object, depth: int) -> None:
    if isinstance(value, dict | list):
        if depth > DEPTH_MAX or len(value) > ITEMS_MAX:
            raise MalformedError(f"control body: deeper than {DEPTH_MAX} or more than {ITEMS_MAX} items")
        for item in value.values() if isinstance(value, dict) else value:
            _check(item, depth + 1)
    elif isinstance(value, int) and not -_INTEGER_MAX <= value <= _INTEGER_MAX:
        raise MalformedError(f"control body: integer of {value.bit_length()} bits")
    elif isinstance(value, float) and not math.isfinite(value):
        raise MalformedError("control body: a number too large")  # written with digits, as 1e999


def _list_of_set(value: object) -> object:
    return tuple(sorted(value)) if isinstance(value, frozenset) else value


@runtime_checkable
class _Form(Protocol):
    """A message that is the form of a word of `drsync.model`."""

    def word(self) -> object: ...


# --- the words -------------------------------------------------------------------------------------------


class PositionForm(Message):
    """`Position`."""

    epoch: U64
    seq: U64
    chain: Chain

    def word(self) -> Position:
        """The position."""
        return Position(Epoch(self.epoch), self.seq, bytes.fromhex(self.chain))


class GenerationForm(Message):
    """`Generation`."""

    epoch: U64
    number: U64

    def word(self) -> Generation:
        """The generation."""
        return Generation(Epoch(self.epoch), self.number)


class EpochStartForm(Message):
    """`EpochStart`."""

    epoch: U64
    uuid: Name
    fork_seq: U64
    fork_chain: Chain
    loss: Annotated[Loss, Strict(strict=False)] = Loss.NONE
    lost_at_least: U64 = 0

    def word(self) -> EpochStart:
        """The start of an epoch."""
        return EpochStart(
            Epoch(self.epoch),
            self.uuid,
            self.fork_seq,
            bytes.fromhex(self.fork_chain),
            self.loss,
            self.lost_at_least,
        )


class EpochRunForm(Message):
    """`EpochRun`."""

    epoch: U64
    first_seq: U64
    last_seq: U64
    last_chain: Chain

    def word(self) -> EpochRun:
        """The run."""
        return EpochRun(Epoch(self.epoch), self.first_seq, self.last_seq, bytes.fromhex(self.last_chain))


HistoryForm = Annotated[tuple[EpochStartForm, ...], Strict(strict=False)]
RunsForm = Annotated[tuple[EpochRunForm, ...], Strict(strict=False)]


class CenterForm(Message):
    """`Center`."""

    name: Name
    designation: Annotated[Designation, Strict(strict=False)]
    site: Name

    def word(self) -> Center:
        """The center."""
        return Center(self.name, self.designation, self.site)


class VolumeForm(Message):
    """`VolumeSpec`."""

    id: Name
    name: Name
    size: U64
    index: Annotated[int, Field(ge=0, le=0xFFFF)]
    first_size: U64 = 0

    def word(self) -> VolumeSpec:
        """The volume."""
        return VolumeSpec(self.id, self.name, self.size, self.index, self.first_size)


_Root: TypeAlias = Annotated[tuple[Name, Text], Strict(strict=False)]


class FileSetForm(Message):
    """`FileSetSpec`."""

    id: Name
    name: Name
    index: U64
    roots: Annotated[tuple[_Root, ...], Strict(strict=False)] = ()

    def word(self) -> FileSetSpec:
        """The file set."""
        return FileSetSpec(self.id, self.name, self.index, self.roots)


class GroupForm(Message):
    """`GroupSpec`."""

    id: Name
    name: Name
    volumes: Annotated[tuple[VolumeForm, ...], Strict(strict=False)]
    members: Annotated[tuple[CenterForm, ...], Strict(strict=False)]
    preferred_owner: Name
    objectives: ObjectivesForm
    policy: PolicyForm
    filesets: Annotated[tuple[FileSetForm, ...], Strict(strict=False)] = ()

    def word(self) -> GroupSpec:
        """The group."""
        return GroupSpec(
            self.id,
            self.name,
            tuple(volume.word() for volume in self.volumes),
            tuple(member.word() for member in self.members),
            self.preferred_owner,
            self.objectives.word(),
            self.policy.word(),
            tuple(fileset.word() for fileset in self.filesets),
        )


class IntentForm(Message):
    """`Intent`."""

    id: Name
    kind: Annotated[IntentKind, Strict(strict=False)]
    target: Name
    from_version: U64
    actor: Text
    reason: Text
    accept_loss: bool = False
    started_us: U64 = 0

    def word(self) -> Intent:
        """The intent."""
        return Intent(
            self.id,
            self.kind,
            self.target,
            self.from_version,
            self.actor,
            self.reason,
            self.accept_loss,
            self.started_us,
        )


class CharterForm(Message):
    """`Charter`."""

    group: GroupForm
    version: U64
    generation: U64
    owner: Name
    owner_session: Name
    epoch: U64
    in_sync: Annotated[tuple[Name, ...], Strict(strict=False), BeforeValidator(_list_of_set)]
    history: HistoryForm
    intent: IntentForm | None

    def word(self) -> Charter:
        """The charter."""
        return Charter(
            self.group.word(),
            self.version,
            self.generation,
            self.owner,
            self.owner_session,
            Epoch(self.epoch),
            frozenset(self.in_sync),
            tuple(start.word() for start in self.history),
            self.intent.word() if self.intent else None,
        )


class FileSetWordForm(Message):
    """`FileSetWord`."""

    fileset: Name
    held: GenerationForm
    staged: GenerationForm
    known: GenerationForm
    entries: U64 = 0
    bytes: U64 = 0
    pending: U64 = 0
    pending_names: Annotated[tuple[Text, ...], Strict(strict=False)] = ()
    behind_s: Seconds = 0.0
    hold: Text = ""
    root: Text = ""
    forks: U64 = 0

    def word(self) -> FileSetWord:
        """The word."""
        return FileSetWord(
            self.fileset,
            self.held.word(),
            self.staged.word(),
            self.known.word(),
            self.entries,
            self.bytes,
            self.pending,
            self.pending_names,
            self.behind_s,
            self.hold,
            self.root,
            self.forks,
        )


class StatementForm(Message):
    """`Statement`."""

    center: Name
    session: Name
    incarnation: Name
    state: Annotated[CopyState, Strict(strict=False)]
    promised: U64
    follow: U64
    first_seq: U64
    runs: RunsForm
    appended: U64
    durable: U64
    applied: U64
    commit: U64
    tip: PositionForm
    unclean: bool
    amnesic: bool
    token: U64
    files: Annotated[tuple[FileSetWordForm, ...], Strict(strict=False)] = ()
    no_space: Text = ""
    resync: Text = ""

    def word(self) -> Statement:
        """The statement."""
        return Statement(
            self.center,
            self.session,
            self.incarnation,
            self.state,
            Epoch(self.promised),
            Epoch(self.follow),
            self.first_seq,
            tuple(run.word() for run in self.runs),
            self.appended,
            self.durable,
            self.applied,
            self.commit,
            self.tip.word(),
            self.unclean,
            self.amnesic,
            self.token,
            tuple(word.word() for word in self.files),
            self.no_space,
            self.resync,
        )


_FORMS: Final[Mapping[type, type[Message]]] = MappingProxyType(
    {
        Position: PositionForm,
        Generation: GenerationForm,
        FileSetWord: FileSetWordForm,
        EpochStart: EpochStartForm,
        EpochRun: EpochRunForm,
        Center: CenterForm,
        VolumeSpec: VolumeForm,
        Objectives: ObjectivesForm,
        GroupPolicy: PolicyForm,
        GroupSpec: GroupForm,
        Intent: IntentForm,
        Charter: CharterForm,
        Statement: StatementForm,
    }
)


def to_json(word: object) -> Json:
    """The JSON form of a word: Charter, Intent, GroupSpec, Statement, Position, EpochStart and their parts.

    Raises:
        MalformedError: it breaks a limit of its form (a name of more than 255 characters, say).
    """
    return parse(_FORMS[type(word)], word).fields()


def from_json(kind: type[_T], body: object) -> _T:
    """The word of that kind in a body: ``from_json(Charter, body["charter"])``.

    Raises:
        MalformedError: names the fields that are missing or wrong.
    """
    if not isinstance(body, dict):
        raise MalformedError(f"{kind.__name__}: an object was expected, not {type(body).__name__}")
    form = parse(_FORMS[kind], body)
    assert isinstance(form, _Form)
    word = form.word()
    assert isinstance(word, kind)
    return word


def history_to_json(history: History) -> list[Json]:
    """The JSON form of an epoch history."""
    return [to_json(start) for start in history]


def history_from_json(body: object) -> History:
    """The epoch history in a body. Raises MalformedError."""
    if not isinstance(body, list):
        raise MalformedError(f"History: a list was expected, not {type(body).__name__}")
    return tuple(from_json(EpochStart, start) for start in body)


# --- the link --------------------------------------------------------------------------------------------


class Hello(Message):
    """First frame of either side of a control link.

    Attributes:
        protocol_min, protocol_max: versions spoken.
        features: extras this side could use; used when both name them.
        critical_features: extras the other side must know.
        software: version, for people.
        cluster: id of the cluster; both must be equal.
        center: who speaks, by the name its key is pinned under; `agree` compares the two.
        session: random per process start.
        incarnation: random per formatted store; empty for a coordinator.
        kind: of the link, ``control`` or ``bulk``.
        frame_bytes_max: largest body this side takes; may only lower the limits.
        requests_max: requests this side answers at once.
    """

    protocol_min: Annotated[int, Field(ge=1, le=0xFFFF)]
    protocol_max: Annotated[int, Field(ge=1, le=0xFFFF)]
    features: Annotated[tuple[Name, ...], Strict(strict=False), Field(max_length=256)] = ()
    critical_features: Annotated[tuple[Name, ...], Strict(strict=False), Field(max_length=256)] = ()
    software: Name
    cluster: Name
    center: Name
    session: Name
    incarnation: Name = ""
    kind: Name
    frame_bytes_max: Annotated[int, Field(ge=1 << 16)]
    requests_max: Annotated[int, Field(ge=1)]


class Welcome(Message):
    """Answer to HELLO: the version and features in use. Both sides say it, and both must say the same."""

    protocol: Annotated[int, Field(ge=1, le=0xFFFF)]
    features: Annotated[tuple[Name, ...], Strict(strict=False), Field(max_length=256)]


class Request(Message):
    """A question; the frame's id names it."""

    method: Name
    body: Annotated[Json, Field(max_length=ITEMS_MAX)]


class Response(Message):
    """The answer to the request of the same id."""

    body: Annotated[Json, Field(max_length=ITEMS_MAX)]
