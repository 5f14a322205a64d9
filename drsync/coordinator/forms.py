"""What agents and people may send: every body is checked here before anything looks at it."""

from typing import Annotated, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from drsync.core.resize import Why
from drsync.model import hold
from drsync.model.consistency import HOOKS_S_MAX
from drsync.model.errors import UsageError
from drsync.model.opening import LIFETIME_MAX_S, LIFETIME_S, NAME_MAX

Name = Annotated[str, Field(max_length=255)]
Text = Annotated[str, Field(max_length=2000)]
Count = Annotated[int, Field(ge=0, le=(1 << 64) - 1)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Json = dict[str, object]


class Form(BaseModel):
    """Base: unknown keys are ignored, so that a newer agent may say more."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class PeerTree(Form):
    """What the owner says about a tree at one other member: the generation that is there, its age."""

    held: Count | None = None
    lag_s: Annotated[float, Field(ge=0)] | None = None
    is_held_back: bool = False
    sent_entries: Count = 0
    sent_bytes: Count = 0


class OwnTree(Form):
    """What the owner says about its own tree.

    `looked_s`: since when it was last looked through completely, so that what is newer may not be cut yet.
    """

    generation: Count = 0
    entries: Count = 0
    bytes: Count = 0
    scan_s: Annotated[float, Field(ge=0)] = 0.0
    looked_s: Annotated[float, Field(ge=0)] | None = None
    busy: Annotated[tuple[Text, ...], Field(max_length=100)] = ()
    unseen: Count = 0
    hold: Text = ""
    root: Annotated[str, Field(max_length=4096)] = ""


class ResyncWord(Form):
    """A session that brings a member level by blocks; see `engine.resync_progress.Progress`."""

    state: Name
    mode: Name
    granules: Count = 0
    granules_total: Count = 0
    bytes: Count = 0
    bytes_total: Count = 0
    redo_bytes: Count = 0
    wire_bytes: Count = 0
    rate: Count = 0
    eta_s: Annotated[float, Field(ge=0)] | None = None
    rounds: Count = 0


def resync_words(word: ResyncWord) -> str:
    """How far it is, in one line."""
    done, total = word.bytes / 2**20, word.bytes_total / 2**20
    verb = "compared" if word.state == "digesting" else "sent"
    left = f", about {word.eta_s:.0f} s left" if word.eta_s is not None else ""
    rounds = f", round {word.rounds + 1}" if word.rounds else ""
    return f"{done:.1f} of {total:.1f} MiB {verb} at {word.rate / 2**20:.1f} MiB/s{left}{rounds}"


class MarksWord(Form):
    """Blocks changed by records after `since` that a member may lack and the journal no longer holds."""

    known: bool = False
    since: Count = 0
    through: Count = 0
    bytes: Count = 0


class ResyncedWord(Form):
    """Sessions that brought a member level in this term, and bytes that all sent, as they went out."""

    sessions: Count = 0
    wire_bytes: Count = 0


class PeerWord(Form):
    """What the owner says about one other member."""

    connected: bool = False
    appended: Count = 0
    durable: Count = 0
    lag_records: Count = 0
    lag_bytes: Count = 0
    rpo_s: Annotated[float, Field(ge=0)] | None = None
    plan: Text = ""
    sent_bytes: Count = 0
    wire_bytes: Count = 0
    level: Count = 0
    ratio: Annotated[float, Field(ge=0)] = 1.0
    mark_ratio: Annotated[float, Field(ge=0)] | None = None
    compression: Text = ""
    standing: Name = ""
    acts: Text = ""
    resync: ResyncWord | None = None
    resynced: ResyncedWord = ResyncedWord()
    marks: MarksWord | None = None
    files: Annotated[dict[Name, PeerTree], Field(max_length=64)] = {}


class PacingWord(Form):
    """What the owner holds back: bytes of batches answered per second, 0 for nothing; seconds at most."""

    rate: Count = 0
    max_s: Annotated[float, Field(ge=0)] = 0.0
    paced: Count = 0
    paced_s: Annotated[float, Field(ge=0)] = 0.0


class ConsistencyWord(Form):
    """How an owner's application-consistent checkpoints go; see `agent.quiet_desk.QuietDesk.about`.

    `newest_us`: label of the newest one known there; 0: none. `at_us`, `why`, `freeze_ms`: of the last try.
    """

    newest_us: Count = 0
    attempts: Count = 0
    failures: Count = 0
    at_us: Count = 0
    why: Text = ""
    freeze_ms: Count = 0
    is_late: bool = False


class OwnerReport(Form):
    """What only the owner knows; comes with its heartbeats.

    `now_us`: the present instant in labels of its heartbeat records. `serving_s`: for how long it has taken
    writes without a break; None while it takes none. `served`: earlier stretches of that in its term, from
    and to in seconds ago, oldest first. `commit_counts`: commits since its opening, by how long they took.
    `journal_full`: over which of its quotas the journal is, and for whom most of it is kept.
    """

    epoch: Count
    version: Count = 0
    tip: Count = 0
    commit: Count = 0
    time_us: Count = 0
    serving: bool = False
    commit_counts: Annotated[tuple[Count, ...], Field(max_length=64)] = ()
    now_us: Count = 0
    serving_s: Annotated[float, Field(ge=0)] | None = None
    served: Annotated[tuple[tuple[float, float], ...], Field(max_length=64)] = ()
    waiting: Text = ""
    journal_full: Text = ""
    pacing: PacingWord = PacingWord()
    peers: Annotated[dict[Name, PeerWord], Field(max_length=16)] = {}
    nbd: Annotated[dict[Name, Text], Field(max_length=1024)] = {}
    files: Annotated[dict[Name, OwnTree], Field(max_length=64)] = {}
    consistency: ConsistencyWord | None = None


class BeatWord(Form):
    """The newest heartbeat record that a member's copy could show; all zero when there is none."""

    seq: Count = 0
    time_us: Count = 0
    epoch: Count = 0


class OpeningWord(Form):
    """An opening as its agent tells it; see `drsync.model.opening.Opening`."""

    id: Name
    name: Name
    group_id: Name
    center: Name
    seq: Count = 0
    time_us: Count = 0
    point: Name = ""
    is_point: bool = False
    is_app_consistent: bool = False
    fork: Name = ""
    quota_bytes: Count = 0
    opened_us: Count = 0
    until_us: Count = 0


class EndedWord(Form):
    """How an opening ended at its agent."""

    id: Name
    why: Annotated[str, Field(pattern="^(closed|expired|given_up)$")]
    text: Annotated[str, Field(max_length=5000)] = ""
    at_us: Count = 0


class SelfDrillWord(Form):
    """How a center proves its points; see `agent.self_drill_course.Course.told`.

    `proved`, `failed`: proofs as `PointProof.fields`.
    """

    check: Name = ""
    proved: Json | None = None
    failed: Annotated[tuple[Json, ...], Field(max_length=16)] = ()
    failures: Count = 0
    why: Text = ""
    is_late: bool = False


def _or_nothing(value: object, read: ValidatorFunctionWrapHandler) -> SelfDrillWord | None:
    """What does not read well is not known: a lease must not depend on news about points."""
    try:
        found: SelfDrillWord | None = read(value)
    except ValidationError:
        return None
    return found


class LostHoldWord(Form):
    """A checkpoint on hold that a copy had to give up; see `model.hold.LostHold`."""

    id: Count
    text: Text = ""


class GroupBeat(Form):
    """One group in a heartbeat. `bound_s`: for so long a confirmation to an owner still binds it.

    `openings`, `ended`: what people opened there, and what of it is no more (`drsync.model.opening`).
    `holds_lost`: checkpoints on hold that were given up.
    """

    statement: Json
    beat: BeatWord = BeatWord()
    report: OwnerReport | None = None
    version: Count = 0
    generation: Count | None = None
    bound_s: Seconds = 0.0
    self_drill: Annotated[SelfDrillWord | None, WrapValidator(_or_nothing)] = None
    openings: Annotated[tuple[OpeningWord, ...], Field(max_length=64)] = ()
    ended: Annotated[tuple[EndedWord, ...], Field(max_length=64)] = ()
    holds_lost: Annotated[tuple[LostHoldWord, ...], Field(max_length=64)] = ()


class Heartbeat(Form):
    """``heartbeat``.

    `silent_s`: for how long the agent has not heard each other center. `since_answer_s`: how long before it
    was made the answer before it came, so that nobody takes it for younger than it is.
    """

    since_answer_s: Seconds = 0.0
    groups: dict[Name, GroupBeat] = {}
    silent_s: Annotated[dict[Name, Seconds], Field(max_length=16)] = {}


class SeenCharter(Form):
    """What a member says about the newest charter of a group that it has seen."""

    name: Name
    generation: Count = 0
    version: Count = 0
    epoch: Count = 0


class Registration(Form):
    """``register``. A `token` is compared with the store's memory only if the agent sends one.

    `charters`: what it remembers, by group id; a store that lost its own learns from it.
    """

    center: Name
    session: Name
    software: Name = ""
    address: Name = ""
    token: Count | None = None
    groups: dict[Name, Json] = {}
    charters: dict[Name, SeenCharter] = {}


class RunbookForm(Form):
    """A runbook as it was sent: its bytes as text, what to call it, and values of its parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: Annotated[str, Field(max_length=256 << 10)]
    name: Text = ""
    params: Annotated[dict[Name, str | int | bool], Field(max_length=100)] = {}


class Asked(Form):
    """Base of what people send: unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reason: Text = ""
    actor: Name = ""
    runbook: RunbookForm | None = None


class MoveForm(Asked):
    """``POST /v1/groups/{g}/switchover``. `failback`: it is the way back, for the modes of a runbook."""

    to: Name
    failback: bool = False


class FailoverForm(MoveForm):
    """``POST /v1/groups/{g}/failover``. `without_store`: begin a new generation of the charter store."""

    accept_loss: bool = False
    without_store: bool = False
    dry_run: bool = False


class DrillForm(Asked):
    """``POST /v1/groups/{g}/drill``. Without `at`: the remote center; without `point`: a new one."""

    at: Name = ""
    point: Name = ""


class OpenForm(Asked):
    """``POST /v1/groups/{g}/openings``. `time_us`: what `point` means if it is a time.

    `quota_bytes`: what may be written; 0: read-only. `fork`: open this fork instead of a point.
    """

    at: Name
    point: Name = ""
    time_us: Annotated[int, Field(ge=0, lt=1 << 63)] | None = None
    name: Annotated[str, Field(max_length=NAME_MAX, pattern=r"^([A-Za-z0-9][A-Za-z0-9._:-]*)?$")] = ""
    quota_bytes: Annotated[int, Field(ge=0, lt=1 << 62)] = 0
    lifetime_s: Annotated[float, Field(gt=0, le=LIFETIME_MAX_S)] = LIFETIME_S
    fork: Name = ""


class CloseForm(Asked):
    """``POST /v1/groups/{g}/openings/{name}/close``. `at`: needed where several centers have the name."""

    at: Name = ""


class ResizeForm(Asked):
    """``POST /v1/groups/{g}/volumes/{v}/resize``. `size`: bytes. `without`: centers whose answer is waived.

    `thin`: nobody needs to have the space now.
    """

    size: Annotated[int, Field(gt=0, le=1 << 62)]
    without: Annotated[tuple[Name, ...], Field(max_length=16)] = ()
    thin: bool = False
    dry_run: bool = False


class ExaminedForm(Form):
    """What an agent answers to ``volume.examine``; see `core.resize.Word`."""

    size: Count
    record: Count = 0
    committed: bool = False
    resizes: Count = 0
    free: Count = 0
    why: Why | None = None
    text: Text = ""


class DiscardForm(Asked):
    """``POST /v1/groups/{g}/forks/{name}/discard``."""

    at: Name
    reason: Annotated[str, Field(min_length=1, max_length=2000)]


class HoldForm(Asked):
    """``POST /v1/groups/{g}/holds``. `time_us`: what `point` means if it is a time."""

    at: Name
    point: Name = ""
    time_us: Annotated[int, Field(ge=0, lt=1 << 63)] | None = None
    name: Annotated[str, Field(max_length=hold.NAME_MAX, pattern=hold.NAME)]
    reason: Annotated[str, Field(min_length=1, max_length=hold.REASON_MAX)]
    actor: Annotated[str, Field(max_length=hold.ACTOR_MAX)] = ""


class ReleaseForm(Asked):
    """``POST /v1/groups/{g}/holds/{name}/release``."""

    at: Name
    reason: Annotated[str, Field(min_length=1, max_length=2000)]


class ApproveForm(Form):
    """``POST /v1/groups/{g}/filesets/{set}/approve``. `at`: the center that is held; empty: whichever is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    at: Name = ""
    reason: Annotated[str, Field(min_length=1, max_length=2000)]
    actor: Name = ""


class CheckpointForm(Asked):
    """``POST /v1/groups/{g}/checkpoint``. `timeout_s`: for hooks, in place of the policy's own."""

    name: Name = ""
    app_consistent: bool = False
    timeout_s: Annotated[float, Field(gt=0, le=HOOKS_S_MAX)] | None = None


F = TypeVar("F", bound=BaseModel)


def read(form: type[F], body: object) -> F:
    """`body` as a form.

    Raises:
        UsageError: names every wrong field.
    """
    try:
        return form.model_validate(body)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in one['loc']) or 'body'}: {one['msg']}"
            for one in error.errors(include_url=False, include_input=False)
        )
        raise UsageError(f"wrong request: {wrong}") from error
