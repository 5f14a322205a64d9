"""A runbook's next move: everything that decides what begins, what is undone and when a run is over is here.

In: the runbook, the mode, how far each step is, and the time. Out: what to do now. Nothing is remembered
between two questions, so a run that was killed is gone on with by asking again with what was kept of it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from drsync.model.operation import StepOutcome
from drsync.model.runbook import TRAITS, Attempt, OnFailure, Part, Runbook, RunbookStep, RunMode

AT_ONCE_MAX = 8  # because a coordinator serves all groups, and a person must be able to follow


class Phase(StrEnum):
    """How far a step is."""

    WAITING = "waiting"
    BEGUN = "begun"
    AGAIN = "again"  # failed, and a further try is due
    DONE = "done"
    FAILED = "failed"  # for good
    UNDOING = "undoing"
    UNDONE = "undone"
    NOT_UNDONE = "not_undone"  # its undo failed


RUNNING = frozenset((Phase.BEGUN, Phase.UNDOING))
MADE = frozenset((Phase.DONE, Phase.FAILED))


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a step is.

    Attributes:
        phase: see the type.
        tries: of the action so far.
        at: seconds of the clock when it last changed.
        has_failed: for good; still true when what it left was undone.
    """

    phase: Phase = Phase.WAITING
    tries: int = 0
    at: float = 0.0
    has_failed: bool = False


Marks = Mapping[str, Mark]
"""By step id; a step that is missing is waiting."""


class Ending(StrEnum):
    """How a run is over."""

    DONE = "done"
    FAILED = "failed"  # halted, or undone


@dataclass(frozen=True, slots=True)
class Begin:
    """Perform the step's action; this is try number `n`."""

    step: RunbookStep
    n: int


@dataclass(frozen=True, slots=True)
class TakeBack:
    """Undo the step."""

    step: RunbookStep


@dataclass(frozen=True, slots=True)
class Hold:
    """Nothing to begin: wait for what runs, and at the latest until `until` (seconds of the clock)."""

    until: float | None = None


@dataclass(frozen=True, slots=True)
class End:
    """Over. `because` names the steps that failed, or whose undo did."""

    ending: Ending
    because: tuple[str, ...] = ()


Move = Begin | TakeBack | Hold | End


def decide(
    book: Runbook, mode: RunMode, marks: Marks, now: float, *, is_given_up: bool = False
) -> list[Move]:
    """What to do now; never empty, and never both something to begin and an end.

    `is_given_up`: nothing more is begun and everything is taken back, because somebody said so.
    """
    steps = book.of_mode(mode)
    running = [step for step in steps if _mark(marks, step).phase in RUNNING]
    failed = [step for step in steps if _mark(marks, step).has_failed]
    grave = [step for step in failed if step.on_failure is not OnFailure.CONTINUE]
    is_back = is_given_up or _is_unwinding(steps, marks)
    if not grave and not is_back:
        return _forward(mode, steps, marks, now, len(running))
    if running and any(_mark(marks, step).phase is Phase.BEGUN for step in running):
        return [Hold()]  # what is under way ends first: half of something cannot be undone
    is_undone = mode is RunMode.DRILL or any(step.on_failure is OnFailure.UNDO for step in grave)
    return _backward(steps, marks, _names(grave), is_undone=is_undone or is_back)


def _forward(
    mode: RunMode, steps: tuple[RunbookStep, ...], marks: Marks, now: float, running: int
) -> list[Move]:
    due, until = _due(steps, marks, now)
    begun: list[Move] = [Begin(step, _mark(marks, step).tries + 1) for step in due[: AT_ONCE_MAX - running]]
    if begun:
        return begun
    if running or until is not None:
        return [Hold(until)]
    if mode is RunMode.DRILL:
        return _backward(steps, marks, (), is_undone=True)
    return [End(Ending.DONE)]


def _due(steps: tuple[RunbookStep, ...], marks: Marks, now: float) -> tuple[list[RunbookStep], float | None]:
    """The steps that may begin, and when the next retry may."""
    here = {step.id for step in steps}
    due: list[RunbookStep] = []
    until: float | None = None
    for step in steps:
        mark = _mark(marks, step)
        if mark.phase is Phase.AGAIN:
            again = mark.at + step.retry_wait_s
            if again <= now:
                due.append(step)
            else:
                until = again if until is None else min(until, again)
        elif mark.phase is Phase.WAITING and all(
            _phase(marks, need.id) in MADE for need in step.needs if need.id in here
        ):
            due.append(step)
    return due, until


def _backward(
    steps: tuple[RunbookStep, ...], marks: Marks, because: tuple[str, ...], *, is_undone: bool
) -> list[Move]:
    """Undo in reverse order: a step only when all that needed it are undone."""
    left = [step for step in steps if is_undone and _needs_undo(step, marks)]
    stands_on = _foundations(steps)
    free = [step for step in left if not any(step.id in stands_on[other.id] for other in left)]
    moves: list[Move] = [
        TakeBack(step) for step in reversed(free) if _mark(marks, step).phase is not Phase.UNDOING
    ]
    if moves:
        return moves
    if left:
        return [Hold()]
    stuck = [step for step in steps if _mark(marks, step).phase is Phase.NOT_UNDONE]
    because = tuple(dict.fromkeys((*because, *_names(stuck))))
    return [End(Ending.FAILED if because else Ending.DONE, because)]


def _needs_undo(step: RunbookStep, marks: Marks) -> bool:
    """What was done, and what may have been left half-made by an action that brings its own undo."""
    phase = _mark(marks, step).phase
    if phase in {Phase.FAILED, Phase.AGAIN}:
        return step.makes
    return phase is Phase.UNDOING or (phase is Phase.DONE and step.has_undo)


def _is_unwinding(steps: Iterable[RunbookStep], marks: Marks) -> bool:
    back = {Phase.UNDOING, Phase.UNDONE, Phase.NOT_UNDONE}
    return any(_mark(marks, step).phase in back for step in steps)


def _foundations(steps: tuple[RunbookStep, ...]) -> dict[str, set[str]]:
    """All that each step stands on, also by way of steps that leave nothing to undo."""
    needs = {step.id: {need.id for need in step.needs} for step in steps}
    found: dict[str, set[str]] = {}
    for step in steps:
        below = found[step.id] = set()
        queue = [step.id]
        for name in queue:
            fresh = needs.get(name, set()) - below
            below |= fresh
            queue += fresh
    return found


def _mark(marks: Marks, step: RunbookStep) -> Mark:
    return marks.get(step.id, Mark())


def _phase(marks: Marks, step_id: str) -> Phase:
    return marks.get(step_id, Mark()).phase


def _names(steps: Iterable[RunbookStep]) -> tuple[str, ...]:
    return tuple(step.id for step in steps)


# --- from one moment to the next


def began(marks: Marks, step: RunbookStep, part: Part, now: float) -> dict[str, Mark]:
    """The marks after a half of a step has begun."""
    mark = _mark(marks, step)
    if part is Part.UNDO:
        return {**marks, step.id: replace(mark, phase=Phase.UNDOING, at=now)}
    return {**marks, step.id: Mark(Phase.BEGUN, mark.tries + 1, now)}


def ended(
    marks: Marks, step: RunbookStep, part: Part, now: float, *, is_good: bool, is_final: bool = False
) -> dict[str, Mark]:
    """The marks after a half of a step has ended. `is_final`: trying again cannot help."""
    mark = _mark(marks, step)
    if part is Part.UNDO:
        phase = Phase.UNDONE if is_good else Phase.NOT_UNDONE
    elif is_good:
        phase = Phase.DONE
    else:
        phase = Phase.AGAIN if mark.tries <= step.retries and not is_final else Phase.FAILED
    has_failed = mark.has_failed or phase is Phase.FAILED
    return {**marks, step.id: replace(mark, phase=phase, at=now, has_failed=has_failed)}


def recovered(book: Runbook, mode: RunMode, kept: Iterable[Attempt], now: float) -> dict[str, Mark]:
    """How far a run is whose coordinator died, from what was kept: an intent without an outcome has begun.

    A change of owner goes on: what had begun begins again (actions are performed by name, so that twice is
    once), and counts as the same try. A drill is not resumed, because what it measures would be wrong: what
    had begun has failed, and the rest is taken back. So it is in a change of owner that was on its way back.
    """
    marks: dict[str, Mark] = {}
    steps = {step.id: step for step in book.of_mode(mode)}
    for attempt in kept:
        step = steps.get(attempt.step)
        if step is None:
            continue
        marks = began(marks, step, attempt.part, now)
        if attempt.outcome is not None:
            is_good = attempt.outcome is not StepOutcome.FAILED
            marks = ended(marks, step, attempt.part, now, is_good=is_good, is_final=attempt.is_final)
    is_over = mode is RunMode.DRILL or any(
        mark.has_failed and steps[name].on_failure is not OnFailure.CONTINUE for name, mark in marks.items()
    )
    return {name: _found(mark, is_over=is_over) for name, mark in marks.items()}


def _found(mark: Mark, *, is_over: bool) -> Mark:
    if mark.phase is Phase.UNDOING:
        return replace(mark, phase=Phase.DONE)
    if mark.phase in {Phase.BEGUN, Phase.AGAIN} and is_over:
        return replace(mark, phase=Phase.FAILED, has_failed=True)
    if mark.phase is Phase.BEGUN:
        return replace(mark, phase=Phase.WAITING, tries=mark.tries - 1)
    return mark


# --- for people


def stages(book: Runbook, mode: RunMode) -> list[list[RunbookStep]]:
    """The steps of a mode in the order they can begin; those of one stage run in parallel."""
    left = list(book.of_mode(mode))
    found: list[list[RunbookStep]] = []
    while left:
        ids = {step.id for step in left}
        stage = [step for step in left if not any(need.id in ids for need in step.needs)]
        assert stage, "the reader of the file refuses cycles"
        found.append(stage)
        left = [step for step in left if step not in stage]
    return found


def undo_order(book: Runbook, mode: RunMode) -> list[RunbookStep]:
    """What is taken back, in that order, when everything had been done."""
    return [step for stage in reversed(stages(book, mode)) for step in reversed(stage) if step.has_undo]


def longest_budget(steps: Iterable[RunbookStep]) -> tuple[float, tuple[str, ...]]:
    """The path that may take longest by its budgets: seconds, and the steps on it that have one, in order.

    Only steps that count towards the RTO are added up.
    """
    best: dict[str, tuple[float, tuple[str, ...]]] = {}
    left = list(steps)
    while left:
        ids = {step.id for step in left}
        stage = [step for step in left if not any(need.id in ids for need in step.needs)]
        if not stage:
            break  # a cycle, which is a mistake of its own
        for step in stage:
            before = max((best.get(need.id, (0.0, ())) for need in step.needs), default=(0.0, ()))
            own = step.budget_s or 0.0 if TRAITS[step.do.action].counts else 0.0
            best[step.id] = (before[0] + own, (*before[1], step.id) if own else before[1])
        left = [step for step in left if step not in stage]
    return max(best.values(), default=(0.0, ()))
