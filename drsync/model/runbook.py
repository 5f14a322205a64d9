"""Runbooks as frozen words: what a person wrote, checked, and what became of it step by step.

The table of actions is here because the reader of the file, the machine that decides and the programs that
perform must mean the same by a name. Nothing is read, decided or performed here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from drsync.model.operation import StepOutcome

API_VERSION = "drsync.io/v1"
KIND = "Runbook"

FILESYSTEMS = ("ext4", "xfs", "btrfs")
"""What `volume.mount` mounts: file systems of one disk whose kernel code is meant for disks of others."""

FORBIDDEN_VARIABLES = (
    *("LD_", "GLIBC_", "GCONV_", "LOCPATH", "NLSPATH", "OPENSSL_", "DRSYNC_"),
    *("PATH", "IFS", "BASH_", "ENV", "SHELLOPTS", "PS4", "PROMPT_COMMAND", "CDPATH", "ZDOTDIR"),
    *(
        "PYTHON",
        "PERL",
        "RUBY",
        "NODE_",
        "JAVA_",
        "JDK_",
        "_JAVA_",
        "CLASSPATH",
        "LUA_",
        "PHP",
        "GEM_",
        "GIT_",
    ),
)
"""Beginnings of names by which the environment chooses the code that runs, or our own mark."""

Values = Mapping[str, object]
"""Parameters by name: text, whole numbers, booleans, lists of text, mappings of text. No other shapes."""


class RunMode(StrEnum):
    """What a run of a runbook is for; a step says in which modes it takes part."""

    DRILL = "drill"
    SWITCHOVER = "switchover"
    FAILOVER = "failover"
    FAILBACK = "failback"


ALL_MODES = frozenset(RunMode)
MOVES = ALL_MODES - {RunMode.DRILL}


class OnFailure(StrEnum):
    """What a failed step means for the rest, after its retries."""

    HALT = "halt"  # nothing more is begun; in a drill everything is taken back
    CONTINUE = "continue"  # noted, and those who need it go on
    UNDO = "undo"  # what was done is undone in reverse order


class Action(StrEnum):
    """What a step can do."""

    CHECKPOINT = "repl.checkpoint"
    OPEN = "repl.open"
    COMPARE = "repl.compare"
    PROMOTE = "repl.promote"
    ATTACH = "volume.attach"
    MOUNT = "volume.mount"
    NETNS = "netns.create"
    SERVICE_START = "service.start"
    SERVICE_STOP = "service.stop"
    COMMAND = "probe.command"
    TCP = "probe.tcp"
    CLEANUP = "cleanup"


@dataclass(frozen=True, slots=True)
class Trait:
    """What is true of an action whatever its parameters.

    Attributes:
        modes: where it makes sense at all.
        outputs: names that later steps may refer to as ``{{ id.output }}``.
        makes: leaves something that clean-up takes away again, also when it failed half-way.
        counts: belongs to the time until the service is back (RTO); the others prove, or keep order.
        by_agent: performed by the agent of a center, not by the coordinator's own procedures.
    """

    modes: frozenset[RunMode] = ALL_MODES
    outputs: tuple[str, ...] = ()
    makes: bool = False
    counts: bool = True
    by_agent: bool = True


_DRILL = frozenset((RunMode.DRILL,))
TRAITS: Mapping[Action, Trait] = MappingProxyType(
    {
        Action.CHECKPOINT: Trait(outputs=("seq",), makes=True, counts=False, by_agent=False),
        Action.OPEN: Trait(_DRILL, ("seq",), makes=True, by_agent=False),
        Action.COMPARE: Trait(_DRILL, counts=False, by_agent=False),
        Action.PROMOTE: Trait(MOVES, ("epoch",), by_agent=False),
        Action.ATTACH: Trait(outputs=("device",), makes=True),
        Action.MOUNT: Trait(outputs=("path",), makes=True),
        Action.NETNS: Trait(outputs=("name",), makes=True),
        Action.SERVICE_START: Trait(outputs=("pid",), makes=True),
        Action.SERVICE_STOP: Trait(),
        Action.COMMAND: Trait(),
        Action.TCP: Trait(),
        Action.CLEANUP: Trait(counts=False),
    }
)
PROBES = frozenset((Action.COMMAND, Action.TCP))

DRILL_SCOPE = "drill-"
"""Beginning of the scopes of drills: what is made in them stands on a copy and may be torn down."""

TARGET, SOURCE = "target", "source"
"""Words for where a step is performed: the center that opens, or the one that owned the group before."""


@dataclass(frozen=True, slots=True)
class Do:
    """An action with its parameters; `at` is `TARGET`, `SOURCE` or the name of a center."""

    action: Action
    values: Values = field(default_factory=dict)
    at: str = TARGET


@dataclass(frozen=True, slots=True)
class Check:
    """A probe that must succeed within seconds after the step's action; it is asked again and again."""

    probe: Do
    within_s: float


@dataclass(frozen=True, slots=True)
class Need:
    """An edge of the graph. An optional one counts only in modes in which the other step takes part."""

    id: str
    is_optional: bool = False


@dataclass(frozen=True, slots=True)
class RunbookStep:
    """One step as written.

    Attributes:
        id: name within the runbook.
        do: the action.
        modes: in which it takes part.
        needs: steps that come first.
        timeout_s: for the action, each try; the check has its own time.
        retries: further tries after the first.
        retry_wait_s: between two tries.
        on_failure: what a failure means for the rest.
        undo: what takes it back; None: what the action brings along, or nothing.
        check: what proves it.
        budget_s: seconds it may take of the plan's time; None: no promise.
    """

    id: str
    do: Do
    modes: frozenset[RunMode]
    needs: tuple[Need, ...] = ()
    timeout_s: float = 60.0
    retries: int = 0
    retry_wait_s: float = 1.0
    on_failure: OnFailure = OnFailure.HALT
    undo: Do | None = None
    check: Check | None = None
    budget_s: float | None = None

    @property
    def makes(self) -> bool:
        """Whether the action leaves something that is taken away again without being told how."""
        return TRAITS[self.do.action].makes

    @property
    def has_undo(self) -> bool:
        """Whether it can be taken back."""
        return self.undo is not None or self.makes


class ParamKind(StrEnum):
    """Types of a runbook's own parameters."""

    STRING = "string"
    INTEGER = "integer"
    BOOLEAN = "boolean"


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter of a runbook; without a default it must be given when it is run."""

    name: str
    kind: ParamKind
    default: object = None
    title: str = ""


@dataclass(frozen=True, slots=True)
class Runbook:
    """A checked runbook.

    Attributes:
        name, version, title: what its author calls it.
        group: name of the only group it may be run for; empty: any.
        rto_s: the plan's budget.
        params: by name.
        steps: in the order of the file.
        digest: ``sha256:<hex>`` of the file's bytes; goes into the evidence.
    """

    name: str
    version: str
    steps: tuple[RunbookStep, ...]
    rto_s: float
    title: str = ""
    group: str = ""
    params: tuple[Param, ...] = ()
    digest: str = ""

    def step(self, step_id: str) -> RunbookStep:
        """The step of that id; KeyError when there is none."""
        for step in self.steps:
            if step.id == step_id:
                return step
        raise KeyError(step_id)

    def of_mode(self, mode: RunMode) -> tuple[RunbookStep, ...]:
        """The steps that take part in `mode`, in the order of the file."""
        return tuple(step for step in self.steps if mode in step.modes)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a runbook: what was asked for, kept before anything is done.

    Attributes:
        id: the operation's.
        group_id: random id of the group.
        mode: what for.
        source: the owner when it began; may be empty.
        target: the center that opens.
        text: the runbook as it was sent, byte for byte.
        params: given parameters.
        point: for a drill, an older recovery point; empty makes a new one.
        accept_loss: for a failover.
    """

    id: str
    group_id: str
    mode: RunMode
    source: str
    target: str
    text: str
    params: Values = field(default_factory=dict)
    point: str = ""
    actor: str = ""
    reason: str = ""
    accept_loss: bool = False
    started_us: int = 0

    @property
    def scope(self) -> str:
        """Under what name agents register what they make for it: a drill's own, or the group's."""
        return f"{DRILL_SCOPE}{self.id[:16]}" if self.mode is RunMode.DRILL else f"group-{self.group_id}"


class Part(StrEnum):
    """Which half of a step."""

    DO = "do"
    UNDO = "undo"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of one half of a step. Kept without an outcome before it begins, and again when it has ended.

    Attributes:
        step, part, n: which; `n` counts from 1.
        started_us: wall clock label.
        outcome: None while nobody knows how it ended.
        seconds: by the monotonic clock.
        detail: one sentence.
        outputs: what later steps may refer to.
        evidence: what programs printed, cut to a limit.
        is_final: it failed in a way that trying again does not help.
    """

    step: str
    part: Part
    n: int
    started_us: int
    outcome: StepOutcome | None = None
    seconds: float = 0.0
    detail: str = ""
    outputs: Mapping[str, str] = field(default_factory=dict)
    evidence: str = ""
    is_final: bool = False


@dataclass(frozen=True, slots=True)
class StepEvidence:
    """What became of a step, for the report. `state` is a word of `core.runbook.Phase`."""

    id: str
    action: str
    center: str
    state: str
    tries: int
    seconds: float
    budget_s: float | None
    counts: bool
    detail: str = ""
    evidence: str = ""

    @property
    def is_over(self) -> bool:
        """Whether it took longer than it was given."""
        return self.budget_s is not None and self.seconds > self.budget_s


@dataclass(frozen=True, slots=True)
class RunEvidence:
    """What became of a run.

    Attributes:
        name, version, digest: of the runbook.
        mode: what for.
        params: in force.
        budget_s: the plan's.
        used_s: seconds during which steps ran that count towards the RTO; None when none ended.
        steps: in the order of the file.
    """

    name: str
    version: str
    digest: str
    mode: str
    params: Mapping[str, str]
    budget_s: float
    used_s: float | None
    steps: tuple[StepEvidence, ...]
