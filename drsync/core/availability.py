"""Time without service, counted: which stretches, why, how much of the error budget, how fast it burns.

Pure; all times are labels in microseconds of one clock, all lengths seconds. A group is up where its owner
proved that it took writes. Every other moment since it first did is down: announced by a person before
(planned), not watched by anybody (unknown), or simply down. Unknown counts like down.

Burn rates: a window's bad share over the share that the target allows. A rule fires when a long and a short
window both burn at its rate; the rates and windows are those of the usual multi-window alerting on error
budgets (14.4 for 2 % of 30 days in an hour, 6 for 5 % in six hours, 3 and 1 for 10 % in one and three days).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from drsync.model.objectives import Lack, Stretch

US = 1_000_000
ANNOUNCED_LATE_US = 1_500_000
"""Because the last proof of service is up to a heartbeat old when a pause begins: a planned pause seems to
begin before the moment in which it was asked for."""
ANNOUNCED_TAIL_US = 2_000_000
"""Because the new owner proves that it serves with its first report after the operation has ended."""


@dataclass(frozen=True, slots=True)
class Span:
    """From when until when."""

    from_us: int
    to_us: int

    def within(self, other: "Span") -> float:
        """Seconds of it that lie in the other one."""
        return max(0, min(self.to_us, other.to_us) - max(self.from_us, other.from_us)) / US


@dataclass(frozen=True, slots=True)
class Task:
    """Something that was done to the group at that time, and may explain a pause.

    `is_announced`: a person asked for it, and it is of a kind that is planned.
    """

    id: str
    words: str
    span: Span
    is_announced: bool


def next_up(up_until_us: int, claim: Span) -> tuple[int, Span | None]:
    """Until when service is proved after one more claim, and the gap that this claim ends.

    A claim is "I took writes all the time from … until …". Claims come in order of their ends.
    """
    gap = Span(up_until_us, claim.from_us) if claim.from_us > up_until_us else None
    return max(up_until_us, claim.to_us), gap


def explain(gap: Span, blind: Sequence[Span], tasks: Sequence[Task], otherwise: str) -> tuple[Stretch, ...]:
    """A gap in service as stretches that are each of one kind, in order.

    Args:
        gap: nobody proved service in it.
        blind: when nobody watched.
        tasks: what was done to the group around that time, the most telling first.
        otherwise: the cause where no task explains it.
    """
    plans = [_planned_span(gap, task) for task in tasks if _is_plan_for(gap, task)]
    cuts = {gap.from_us, gap.to_us}
    for span in (*plans, *blind):
        cuts |= {edge for edge in (span.from_us, span.to_us) if gap.from_us < edge < gap.to_us}
    edges = sorted(cuts)
    parts: list[Stretch] = []
    for piece in (Span(low, high) for low, high in pairwise(edges)):
        part = _explained(gap, piece, blind, tasks, otherwise)
        if parts and _is_same(parts[-1], part):
            part = Stretch(
                part.lack, parts[-1].from_us, part.to_us, "", part.cause, part.operation, part.is_planned
            )
            parts.pop()
        parts.append(part)
    return tuple(parts)


def _is_plan_for(gap: Span, task: Task) -> bool:
    return task.is_announced and task.span.from_us <= gap.from_us + ANNOUNCED_LATE_US


def _planned_span(gap: Span, task: Task) -> Span:
    return Span(min(gap.from_us, task.span.from_us), task.span.to_us + ANNOUNCED_TAIL_US)


def _is_inside(piece: Span, span: Span) -> bool:
    return span.from_us <= piece.from_us and piece.to_us <= span.to_us


def _explained(
    gap: Span, piece: Span, blind: Sequence[Span], tasks: Sequence[Task], otherwise: str
) -> Stretch:
    for task in tasks:
        if _is_plan_for(gap, task) and _is_inside(piece, _planned_span(gap, task)):
            return Stretch(Lack.DOWN, piece.from_us, piece.to_us, "", task.words, task.id, is_planned=True)
    if any(_is_inside(piece, span) for span in blind):
        return Stretch(Lack.UNKNOWN, piece.from_us, piece.to_us, "", "the coordinator was not running")
    for task in tasks:
        if task.span.within(gap):
            return Stretch(Lack.DOWN, piece.from_us, piece.to_us, "", task.words, task.id)
    return Stretch(Lack.DOWN, piece.from_us, piece.to_us, "", otherwise)


def _is_same(one: Stretch, other: Stretch) -> bool:
    return (one.lack, one.cause, one.operation, one.is_planned) == (
        other.lack,
        other.cause,
        other.operation,
        other.is_planned,
    )


@dataclass(frozen=True, slots=True)
class Account:
    """The error budget of a window. Seconds, except `available` (a fraction) and `outages` (how many).

    Attributes:
        window_s: length asked for.
        watched_s: part of it in which the group existed.
        target: fraction of the time that shall be served.
        budget_s: what the target allows in the window.
        down_s, planned_s, unknown_s: unplanned outage, announced pauses, nobody knows.
        used_s, left_s: of the budget: down and unknown; left may be negative.
        unprotected_s: served with no second copy that could take over.
        available: of the watched time, planned pauses left out; 1 when nothing was watched.
        outages: unplanned ones.
        mtbf_s, mttr_s: means between and of unplanned outages; None without one.
    """

    window_s: float
    watched_s: float
    target: float
    budget_s: float
    down_s: float
    planned_s: float
    unknown_s: float
    used_s: float
    left_s: float
    unprotected_s: float
    available: float
    outages: int
    mtbf_s: float | None
    mttr_s: float | None


def account(window: Span, first_us: int, target: float, stretches: Iterable[Stretch]) -> Account:
    """Add up a window. `first_us`: the group first served; nothing before it counts."""
    watched = Span(max(window.from_us, first_us), window.to_us)
    watched_s = max(0.0, (watched.to_us - watched.from_us) / US)
    down = planned = unknown = unprotected = 0.0
    outages = 0
    for stretch in stretches:
        seconds = Span(stretch.from_us, stretch.to_us).within(watched)
        if stretch.lack is Lack.UNPROTECTED:
            unprotected += seconds
        elif stretch.lack is Lack.UNKNOWN:
            unknown += seconds
        elif stretch.lack is Lack.DOWN and stretch.is_planned:
            planned += seconds
        elif stretch.lack is Lack.DOWN and seconds:
            down += seconds
            outages += 1
    window_s = (window.to_us - window.from_us) / US
    used, budget = down + unknown, budget_s(target, window_s)
    counted = watched_s - planned
    return Account(
        window_s=window_s,
        watched_s=watched_s,
        target=target,
        budget_s=budget,
        down_s=down,
        planned_s=planned,
        unknown_s=unknown,
        used_s=used,
        left_s=budget - used,
        unprotected_s=unprotected,
        available=1.0 - used / counted if counted > 0 else 1.0,
        outages=outages,
        mtbf_s=max(0.0, counted - used) / outages if outages else None,
        mttr_s=down / outages if outages else None,
    )


def budget_s(target: float, window_s: float) -> float:
    """Seconds without service that a target allows: at 99.99 % 52.6 minutes a year, 4.32 in 30 days."""
    return (1.0 - target) * window_s


# --- burn rates


@dataclass(frozen=True, slots=True)
class BurnRule:
    """Fires when both windows burn at least at `rate`."""

    rate: float
    long_s: float
    short_s: float
    urgency: str


BURN_RULES = (
    BurnRule(14.4, 3600, 300, "page"),
    BurnRule(6.0, 6 * 3600, 1800, "page"),
    BurnRule(3.0, 24 * 3600, 2 * 3600, "ticket"),
    BurnRule(1.0, 72 * 3600, 6 * 3600, "ticket"),
)


@dataclass(frozen=True, slots=True)
class Burn:
    """A rule and what its windows show."""

    rule: BurnRule
    long_rate: float
    short_rate: float

    @property
    def fires(self) -> bool:
        """Whether somebody should look."""
        return min(self.long_rate, self.short_rate) >= self.rule.rate


def burns(bad_s: Callable[[float], float], target: float) -> tuple[Burn, ...]:
    """All rules. `bad_s(window_s)`: bad seconds in the window of that length that ends now."""

    def rate(window_s: float) -> float:
        allowed = budget_s(target, window_s)
        bad = bad_s(window_s)
        if allowed > 0:
            return bad / allowed
        return float("inf") if bad > 0 else 0.0

    return tuple(Burn(rule, rate(rule.long_s), rate(rule.short_s)) for rule in BURN_RULES)


def bad_seconds(now_us: int, window_s: float, stretches: Iterable[Stretch]) -> float:
    """Seconds of the window that ends now which use up the budget of availability."""
    window = Span(now_us - int(window_s * US), now_us)
    return sum(
        Span(one.from_us, one.to_us).within(window)
        for one in stretches
        if one.lack is Lack.UNKNOWN or (one.lack is Lack.DOWN and not one.is_planned)
    )
