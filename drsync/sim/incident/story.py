"""An incident told in order, for a person who was not there: who was heard, what was decided, what was done.

Words come from a catalogue by language; reasons are quoted as the rules gave them.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from drsync.config.quantities import format_duration
from drsync.core.plan import Act
from drsync.model import epoch as epochs
from drsync.model.charter import Charter
from drsync.sim.incident.record import Case, Happened, Incident, Kept
from drsync.sim.incident.replay import deciding
from drsync.sim.incident.sentences import Sentences

Words = Mapping[str, str]
Clock = Callable[[int], str]

EVENTS_SHOWN = 6  # because what matters for a decision happened right before it
US_PER_S = 1_000_000


@dataclass(frozen=True, slots=True)
class Told:
    """One paragraph.

    Attributes:
        text: what is said.
        label: what it is about, in front of it.
        depth: 0 an operation, 1 a decision or what is around it, 2 what belongs to a decision.
        style: ``title``, ``decision``, ``good``, ``bad``, ``dim`` or empty.
    """

    text: str
    label: str = ""
    depth: int = 0
    style: str = ""


class Story:
    """Tells incidents in one language, with wall clock labels as `clock` writes them."""

    def __init__(self, say: Words, clock: Clock) -> None:
        self._say = say
        self._clock = clock
        self._sentences = Sentences(say)

    def case(self, incident: Incident, case: Case, at: int | None = None) -> Iterator[Told]:
        """One operation; only decision `at` of it, if that is given."""
        say = self._say
        yield Told(self._title(case), style="title")
        yield Told(self._asked(case), depth=1)
        first = case.decisions[0] if case.decisions else None
        if first is not None:
            yield Told(self._before(first.seen.charter), say["happened"], 2)
        for event in _before(incident, case):
            yield Told(f"{event.text} ({self._time(event.at_us)})", say["happened"], 2)
        if first is None and case.kind != "drill":
            yield Told(say["no_decisions"], depth=1)
        shown = deciding(case)
        for before, kept in pairwise((None, *case.decisions)):
            assert kept is not None
            if at in (None, kept.n):
                is_full = before is None or kept is shown or at is not None
                yield from self._decision(case, kept, before, is_full=is_full)
                for event in _meanwhile(incident, case, kept):
                    yield Told(f"{event.text} ({self._time(event.at_us)})", say["meanwhile"], 2)
        yield Told(self._ended(case), depth=1, style="good" if case.state == "done" else "bad")

    def _title(self, case: Case) -> str:
        key = {"open": "open_case", "drill": "drill_case"}.get(case.kind, "case")
        kind = self._say.get(f"kind_{case.kind}", case.kind)
        return self._say[key].format(kind=kind, group=case.group, target=case.target)

    def _asked(self, case: Case) -> str:
        say = self._say
        actor = say["by_itself"] if case.actor in ("", "drsync") else case.actor
        reason = say["because"].format(reason=case.reason) if case.reason else ""
        return say["asked"].format(actor=actor, at=self._clock(case.started_us), reason=reason)

    def _before(self, charter: Charter) -> str:
        if not charter.owner:
            return self._say["before_nobody"].format(version=charter.version)
        return self._say["before"].format(
            owner=charter.owner,
            epoch=epochs.show(charter.epoch),
            version=charter.version,
            in_sync=", ".join(sorted(charter.in_sync)),
        )

    def _decision(self, case: Case, kept: Kept, before: Kept | None, *, is_full: bool) -> Iterator[Told]:
        say, sentences = self._say, self._sentences
        text = sentences.plan(kept.way, kept.seen, kept.plan)
        if kept.times > 1:
            text += f" ({say['repeated'].format(times=kept.times, until=self._time(kept.last_us))})"
        label = f"{self._time(kept.at_us)}  {say['decision'].format(n=kept.n)}"
        yield Told(text, label, 1, "decision" if sentences.is_decisive(kept) else "")
        rows = sentences.full(kept) if is_full else sentences.news(kept, before)
        for name, row in rows:
            yield Told(row, name, 2)
        for step in self._done(case, kept):
            yield Told(step, say["done"], 2, "dim")

    def _done(self, case: Case, kept: Kept) -> Iterator[str]:
        """The steps between this decision and the next one."""
        if not isinstance(kept.plan, Act):
            return
        later = [other.at_us for other in case.decisions if other.n > kept.n]
        until_us = min(later, default=None)
        for step in case.steps:
            is_after = step.at_us >= kept.at_us and step.name != "wait"
            if is_after and (until_us is None or step.at_us < until_us):
                where = f" {step.center}" if step.center else ""
                failed = f" {self._say['step_failed']}:" if step.outcome == "failed" else ""
                yield f"{step.name}{where}:{failed} {step.detail} ({format_duration(step.seconds)})"

    def _ended(self, case: Case) -> str:
        say = self._say
        if not case.ended_us:
            return say["ended_running"]
        took = format_duration(max(0, case.ended_us - case.started_us) / US_PER_S)
        if case.state != "done":
            return say[f"ended_{case.state}"].format(took=took, message=case.message)
        last = case.decisions[-1].seen.charter if case.decisions else None
        if last is None:
            return say["ended_done_bare"].format(took=took)
        return say["ended_done"].format(took=took, owner=last.owner, epoch=epochs.show(last.epoch))

    def _time(self, at_us: int) -> str:
        """The time of day with milliseconds."""
        return f"{self._clock(at_us)[-8:]}.{at_us // 1000 % 1000:03d}"


def _before(incident: Incident, case: Case) -> list[Happened]:
    """The last events before an operation began, after the one before it, of its group or of no group."""
    ended = [other.ended_us for other in incident.cases if 0 < other.ended_us <= case.started_us]
    since_us = max(ended, default=0)
    near = [
        event
        for event in incident.events
        if since_us < event.at_us <= case.started_us and _concerns(event, case)
    ]
    return near[-EVENTS_SHOWN:]


def _meanwhile(incident: Incident, case: Case, kept: Kept) -> list[Happened]:
    """The first events between a decision and the next one, or the end."""
    later = [other.at_us for other in case.decisions if other.n > kept.n]
    until_us = min(later, default=case.ended_us)
    near = [
        event for event in incident.events if kept.at_us < event.at_us <= until_us and _concerns(event, case)
    ]
    return near[:EVENTS_SHOWN]


def _concerns(event: Happened, case: Case) -> bool:
    """Whether it is news of the group, or of no group; where operations begin and end is told anyway."""
    is_told = event.kind.endswith(("_started", "_done", "_refused", "_failed"))
    return event.group in ("", case.group) and not is_told
