"""Runs a runbook: asks `core.runbook` what to do now, does it, keeps how it ended, and asks again.

Before anything is touched its intent is durable, and after it its outcome; so a coordinator that is killed at
any moment knows afterwards what may have happened. It decides nothing itself.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from drsync.core import runbook as machine
from drsync.core.runbook import Begin, End, Ending, Hold, Mark, Move, Phase, TakeBack
from drsync.engine.procedure_steps import StepLog
from drsync.model.errors import DrsyncError, PermanentError, RefusedError, UsageError
from drsync.model.operation import StepOutcome
from drsync.model.runbook import (
    TRAITS,
    Attempt,
    Part,
    Run,
    Runbook,
    RunbookStep,
    RunEvidence,
    StepEvidence,
)
from drsync.ports.clock import Clock
from drsync.ports.runs import Runs

EVIDENCE_CHARS_MAX = 16 << 10  # because the first and last pages of what a program says are what people read


class StepFailedError(PermanentError):
    """A program or probe said no; `evidence` is what it printed."""

    code = "step_failed"

    def __init__(self, message: str, evidence: str = "") -> None:
        super().__init__(message)
        self.evidence = evidence


@dataclass(frozen=True, slots=True)
class Performed:
    """What came of a half of a step."""

    detail: str = ""
    outputs: Mapping[str, str] = field(default_factory=dict)
    evidence: str = ""


class Performer(Protocol):
    """Does what steps say. Doing it twice under one step's name is doing it once."""

    def center(self, step: RunbookStep) -> str:
        """Where it is done."""
        ...

    async def perform(self, step: RunbookStep, outputs: Mapping[str, str]) -> Performed:
        """The action and then the check. `outputs`: of the steps before, by ``id.output``.

        Raises:
            DrsyncError: not done, or not proved in time.
        """
        ...

    async def undo(self, step: RunbookStep, outputs: Mapping[str, str]) -> Performed:
        """Take it back; well done also when there is nothing to take back. Raises DrsyncError."""
        ...


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run is over. `sentences` say why it failed."""

    ending: Ending
    because: tuple[str, ...]
    sentences: tuple[str, ...]
    evidence: RunEvidence


@dataclass(slots=True)
class _Span:
    """When a step ran, by the monotonic clock, over all its tries."""

    began: float
    ended: float


class RunbookRunner:
    """Runs one runbook once, or goes on with it."""

    def __init__(
        self,
        book: Runbook,
        run: Run,
        runs: Runs,
        performer: Performer,
        clock: Clock,
        log: StepLog,
    ) -> None:
        """Prepare; what was kept of an earlier runner of the same run is read back."""
        self._book = book
        self._run = run
        self._runs = runs
        self._performer = performer
        self._clock = clock
        self._log = log
        kept = runs.attempts(run.id)
        self._marks: dict[str, Mark] = machine.recovered(book, run.mode, kept, clock.now())
        self._last: dict[tuple[str, Part], Attempt] = {(one.step, one.part): one for one in kept}
        self._outputs = {f"{one.step}.{key}": value for one in kept for key, value in one.outputs.items()}
        self._spans: dict[str, _Span] = {}
        self._changed = asyncio.Event()
        self._alarms: dict[float, asyncio.Task[None]] = {}

    async def run(self, *, is_given_up: bool = False) -> RunResult:
        """Until it is over. Cancelled, it leaves what runs as begun; the next runner goes on from there."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._changed.clear()
                moves = machine.decide(
                    self._book, self._run.mode, self._marks, self._clock.now(), is_given_up=is_given_up
                )
                end = next((move for move in moves if isinstance(move, End)), None)
                if end is not None:
                    for alarm in self._alarms.values():
                        alarm.cancel()
                    return self._result(end, is_given_up=is_given_up)
                for move in moves:
                    self._make(move, tasks)
                if all(isinstance(move, Hold) for move in moves):
                    await self._changed.wait()

    def _make(self, move: Move, tasks: asyncio.TaskGroup) -> None:
        match move:
            case Begin():
                self._begin(move.step, Part.DO, tasks)
            case TakeBack():
                self._begin(move.step, Part.UNDO, tasks)
            case Hold(until=until) if until is not None and until not in self._alarms:
                self._alarms[until] = tasks.create_task(self._ring(until))
            case _:
                pass

    async def _ring(self, until: float) -> None:
        await self._clock.sleep_until(until)
        self._changed.set()

    # --- a half of a step

    def _begin(self, step: RunbookStep, part: Part, tasks: asyncio.TaskGroup) -> None:
        self._marks = machine.began(self._marks, step, part, self._clock.now())
        n = self._marks[step.id].tries if part is Part.DO else 1
        attempt = Attempt(step.id, part, n, self._clock.wall_us())
        self._runs.intend(self._run.id, attempt)
        tasks.create_task(self._carry_out(step, attempt))

    async def _carry_out(self, step: RunbookStep, attempt: Attempt) -> None:
        began = self._clock.now()
        is_final = False
        try:
            found = await self._perform(step, attempt)
            outcome = StepOutcome.DONE
        except DrsyncError as error:
            found = Performed(str(error), evidence=getattr(error, "evidence", ""))
            outcome = StepOutcome.FAILED
            is_final = isinstance(error, RefusedError | UsageError)
        except Exception as error:  # noqa: BLE001  # a bug in one step must not cut off the others half-way
            found = Performed(f"a bug, please report it: {error!r}")
            outcome, is_final = StepOutcome.FAILED, True
        now = self._clock.now()
        ended = Attempt(
            attempt.step,
            attempt.part,
            attempt.n,
            attempt.started_us,
            outcome,
            now - began,
            found.detail,
            dict(found.outputs),
            _cut(found.evidence),
            is_final,
        )
        self._runs.conclude(self._run.id, ended)
        self._remember(ended, began, now)
        is_good = outcome is StepOutcome.DONE
        self._marks = machine.ended(self._marks, step, attempt.part, now, is_good=is_good, is_final=is_final)
        self._changed.set()

    async def _perform(self, step: RunbookStep, attempt: Attempt) -> Performed:
        """The half itself, as one line for the person who watches."""
        is_undo = attempt.part is Part.UNDO
        name = f"undo {step.id}" if is_undo else step.id
        with self._log.step(name, self._performer.center(step)) as note:
            began = self._clock.now()
            work = self._performer.undo if is_undo else self._performer.perform
            found = await work(step, self._outputs)
            note.detail = self._line(step, attempt, found.detail, self._clock.now() - began)
        return found

    def _line(self, step: RunbookStep, attempt: Attempt, detail: str, seconds: float) -> str:
        if attempt.part is Part.UNDO:
            return detail
        text = f"{step.do.action.value}: {detail}" if detail else step.do.action.value
        if attempt.n > 1:
            text += f" (try {attempt.n})"
        if step.budget_s is not None and seconds > step.budget_s:
            text += f"; over its budget of {step.budget_s:g} s"
        return text

    def _remember(self, attempt: Attempt, began: float, ended: float) -> None:
        self._last[attempt.step, attempt.part] = attempt
        self._outputs |= {f"{attempt.step}.{key}": value for key, value in attempt.outputs.items()}
        if attempt.part is Part.DO:
            span = self._spans.setdefault(attempt.step, _Span(began, ended))
            span.ended = ended

    # --- the end

    def _result(self, end: End, *, is_given_up: bool) -> RunResult:
        sentences = [self._sentence(name) for name in end.because]
        if is_given_up:
            sentences.insert(0, "The coordinator stopped during the run.")
        ending = Ending.FAILED if is_given_up else end.ending
        return RunResult(ending, end.because, tuple(sentences), self._evidence())

    def _sentence(self, step_id: str) -> str:
        is_undo = self._marks[step_id].phase is Phase.NOT_UNDONE
        last = self._last.get((step_id, Part.UNDO if is_undo else Part.DO))
        why = last.detail if last is not None and last.detail else "nobody knows how it ended"
        what = f"Undoing {step_id}" if is_undo else f"Step {step_id}"
        return f"{what} failed: {why}" + ("" if why.endswith(".") else ".")

    def _evidence(self) -> RunEvidence:
        book = self._book
        counted = [
            self._spans[step.id]
            for step in book.of_mode(self._run.mode)
            if step.id in self._spans and TRAITS[step.do.action].counts
        ]
        return RunEvidence(
            name=book.name,
            version=book.version,
            digest=book.digest,
            mode=self._run.mode.value,
            params={p.name: str(self._run.params.get(p.name, p.default)) for p in book.params},
            budget_s=book.rto_s,
            used_s=_covered(counted) if counted else None,
            steps=tuple(self._step_evidence(step) for step in book.of_mode(self._run.mode)),
        )

    def _step_evidence(self, step: RunbookStep) -> StepEvidence:
        mark = self._marks.get(step.id, Mark())
        last = self._last.get((step.id, Part.DO))
        span = self._spans.get(step.id)
        seconds = span.ended - span.began if span else last.seconds if last else 0.0
        return StepEvidence(
            id=step.id,
            action=step.do.action.value,
            center=self._performer.center(step),
            state=mark.phase.value,
            tries=mark.tries,
            seconds=seconds,
            budget_s=step.budget_s,
            counts=TRAITS[step.do.action].counts,
            detail=last.detail if last else "",
            evidence=last.evidence if last else "",
        )


def _covered(spans: Iterable[_Span]) -> float:
    """Seconds during which at least one of them ran."""
    total, until = 0.0, float("-inf")
    for span in sorted(spans, key=lambda one: one.began):
        total += max(0.0, span.ended - max(span.began, until))
        until = max(until, span.ended)
    return total


def _cut(text: str) -> str:
    if len(text) <= EVIDENCE_CHARS_MAX:
        return text
    half = EVIDENCE_CHARS_MAX // 2
    return f"{text[:half]}\n… {len(text) - 2 * half} characters left out …\n{text[-half:]}"
