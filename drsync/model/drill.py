"""What a drill found: the words of its report. The JSON form of `DrillReport` is a stable interface."""

from dataclasses import dataclass
from enum import StrEnum

from drsync.model.epoch import Epoch
from drsync.model.operation import Step
from drsync.model.runbook import RunEvidence

DRILL_FORMAT = 1
"""Version of the JSON form; keys may be added without raising it."""


class Verdict(StrEnum):
    """What the drill shows."""

    PASSED = "passed"  # opened, content equal to the source, targets met, nothing left behind
    OPENED = "opened"  # as above, but the content could not be compared: no proof of content
    FAILED = "failed"


class Content(StrEnum):
    """The drilled copy beside its source at the same position."""

    EQUAL = "equal"
    DIFFERENT = "different"
    NOT_COMPARABLE = "not_comparable"  # the source can no longer be opened at that position
    NOT_CHECKED = "not_checked"  # the drill ended before


@dataclass(frozen=True, slots=True)
class DrillPoint:
    """The recovery point that was opened; `time_us` is a wall clock label of the owner that wrote it."""

    seq: int
    time_us: int
    name: str


@dataclass(frozen=True, slots=True)
class VolumeFinding:
    """One volume. Hashes are ``blake3:<hex>``, empty when not taken; `filesystem` as the probe named it."""

    name: str
    source_hash: str = ""
    drill_hash: str = ""
    content: Content = Content.NOT_CHECKED
    filesystem: str = ""


@dataclass(frozen=True, slots=True)
class TreeFinding:
    """One tree of files: the copy at the drill center beside what the owner cut at that point.

    Attributes:
        name: of the file set.
        generation: number of the one that was opened; 0 when none was.
        source_digest: of the entries the owner cut, content included; empty when not told.
        drill_digest: of what was read back from the copy; empty when not read.
        entries, bytes: what was read.
        content: equal only if the log, the index there and the copy itself agree.
    """

    name: str
    generation: int = 0
    source_digest: str = ""
    drill_digest: str = ""
    entries: int = 0
    bytes: int = 0
    content: Content = Content.NOT_CHECKED


@dataclass(frozen=True, slots=True)
class Cleanup:
    """What became of a view that the drill opened; proved when the agent itself said that it is gone."""

    center: str
    view: str
    is_proved: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class DrillReport:
    """Evidence of one drill.

    Attributes:
        id: the operation's.
        group, center, owner: names; `center` is where the copy was opened.
        epoch: of the group when the drill started.
        position: last record of the opened copy.
        point: the recovery point, None if the drill ended before there was one.
        rpo_s: age of the point when the drill started; for a point made by the drill itself, how long it
            took the drill center to hold it.
        remote_lag_s: how long it took the drill center to hold the point durably.
        rto_s: seconds from asking for the copy to readable volumes; None when it never opened.
        rto_steps: names of the steps that `rto_s` adds up.
        total_s: the whole drill, clean-up included.
        rpo_target_s, rto_target_s: the group's objectives.
        verdict, content: see the types.
        reasons: sentences that say why the verdict is not `passed`.
        runbook: what became of the runbook that the drill followed, if it followed one.
        trees: one finding per file set of the group.
    """

    id: str
    group: str
    center: str
    owner: str
    epoch: Epoch
    position: int
    point: DrillPoint | None
    actor: str
    reason: str
    started_us: int
    ended_us: int
    rpo_s: float | None
    remote_lag_s: float | None
    rto_s: float | None
    rto_steps: tuple[str, ...]
    total_s: float
    rpo_target_s: float
    rto_target_s: float
    verdict: Verdict
    content: Content
    reasons: tuple[str, ...]
    volumes: tuple[VolumeFinding, ...]
    cleanup: tuple[Cleanup, ...]
    steps: tuple[Step, ...]
    runbook: RunEvidence | None = None
    trees: tuple[TreeFinding, ...] = ()


@dataclass(frozen=True, slots=True)
class OpenView:
    """A view that a drill is about to open or has opened, recorded before it is asked for."""

    drill: str
    group_id: str
    center: str
    view: str
