"""Forms of what a group's file says: objectives and policy, as they travel in a charter."""

from typing import Annotated, Final

from pydantic import Field, Strict

from drsync.model.consistency import (
    FREEZE_S_MAX,
    HOOKS_S_MAX,
    STEPS_MAX,
    Consistency,
    OnFailure,
    QuietStep,
    StepKind,
)
from drsync.model.epoch import EPOCH_MAX
from drsync.model.group import (
    Durability,
    Failover,
    GroupPolicy,
    Mode,
    Objectives,
    OnBreach,
    Priority,
    WhenFull,
)
from drsync.model.self_drill import MAX_TIME_S, Check, SelfDrill
from drsync.wire.forms import U64, Message, Seconds, Text

_POLICY: Final = GroupPolicy()


class ObjectivesForm(Message):
    """`Objectives`."""

    rpo_s: Seconds
    rto_s: Seconds
    availability: Annotated[float, Field(ge=0, le=1)]

    def word(self) -> Objectives:
        """The objectives."""
        return Objectives(self.rpo_s, self.rto_s, self.availability)


class SelfDrillForm(Message):
    """`SelfDrill`."""

    check: Annotated[Check, Strict(strict=False)] = _POLICY.self_drill.check
    every_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = _POLICY.self_drill.every_s
    program: Annotated[tuple[Text, ...], Strict(strict=False)] = _POLICY.self_drill.program
    share: Annotated[float, Field(gt=0, le=1)] = _POLICY.self_drill.share
    rate: Annotated[int, Field(ge=1, le=EPOCH_MAX)] = _POLICY.self_drill.rate
    max_time_s: Annotated[float, Field(gt=0, le=MAX_TIME_S)] = _POLICY.self_drill.max_time_s
    max_age_s: Seconds = _POLICY.self_drill.max_age_s

    def word(self) -> SelfDrill:
        """The policy of self-drills."""
        return SelfDrill(**dict(self))


class QuietStepForm(Message):
    """`QuietStep`."""

    kind: Annotated[StepKind, Strict(strict=False)]
    name: Text

    def word(self) -> QuietStep:
        """The step."""
        return QuietStep(self.kind, self.name)


QuietSteps = Annotated[tuple[QuietStepForm, ...], Strict(strict=False), Field(max_length=STEPS_MAX)]


class ConsistencyForm(Message):
    """`Consistency`."""

    before: QuietSteps = ()
    after: QuietSteps = ()
    every_s: Seconds = _POLICY.consistency.every_s
    max_freeze_s: Annotated[float, Field(gt=0, le=FREEZE_S_MAX)] = _POLICY.consistency.max_freeze_s
    timeout_s: Annotated[float, Field(gt=0, le=HOOKS_S_MAX)] = _POLICY.consistency.timeout_s
    on_failure: Annotated[OnFailure, Strict(strict=False)] = _POLICY.consistency.on_failure
    max_age_s: Seconds = _POLICY.consistency.max_age_s

    def word(self) -> Consistency:
        """The policy of application-consistent checkpoints."""
        steps = {name: tuple(step.word() for step in getattr(self, name)) for name in ("before", "after")}
        return Consistency(**{**dict(self), **steps})


class PolicyForm(Message):
    """`GroupPolicy`. What an older peer does not state has its default."""

    mode: Annotated[Mode, Strict(strict=False)] = _POLICY.mode
    durability: Annotated[Durability, Strict(strict=False)] = _POLICY.durability
    sync_timeout_s: Seconds = _POLICY.sync_timeout_s
    freeze_timeout_s: Seconds = _POLICY.freeze_timeout_s
    lease_s: Seconds = _POLICY.lease_s
    checkpoint_s: Seconds = _POLICY.checkpoint_s
    window_s: Seconds = _POLICY.window_s
    window_floor_s: Seconds = _POLICY.window_floor_s
    journal_quota_bytes: U64 = _POLICY.journal_quota_bytes
    journal_soft_quota_bytes: U64 = _POLICY.journal_soft_quota_bytes
    when_full: Annotated[WhenFull, Strict(strict=False)] = _POLICY.when_full
    on_breach: Annotated[OnBreach, Strict(strict=False)] = _POLICY.on_breach
    priority: Annotated[Priority, Strict(strict=False)] = _POLICY.priority
    switchover_freeze_s: Seconds = _POLICY.switchover_freeze_s
    drill_max_age_s: Seconds = _POLICY.drill_max_age_s
    compress: bool = _POLICY.compress
    max_pace_s: Seconds = _POLICY.max_pace_s
    failover: Annotated[Failover, Strict(strict=False)] = _POLICY.failover
    detect_s: Seconds = _POLICY.detect_s
    anti_flap_s: Seconds = _POLICY.anti_flap_s
    slow_commit_s: Seconds = _POLICY.slow_commit_s
    self_drill: SelfDrillForm = SelfDrillForm()
    consistency: ConsistencyForm = ConsistencyForm()

    def word(self) -> GroupPolicy:
        """The policy."""
        parts = {"self_drill": self.self_drill.word(), "consistency": self.consistency.word()}
        return GroupPolicy(**{**dict(self), **parts})
