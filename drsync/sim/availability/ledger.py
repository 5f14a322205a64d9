"""What a run comes to: minutes without service and writes lost, by cause."""

from dataclasses import dataclass, field

from drsync.core import availability
from drsync.core.availability import US, Account, Span
from drsync.model.objectives import Lack, Stretch
from drsync.sim.availability.faults import YEAR_S, Cause

US_MIN = 1e-6  # because labels are whole microseconds, and nothing shorter can be told


@dataclass(frozen=True, slots=True)
class Lost:
    """Acknowledged writes that an opening gave up.

    Attributes:
        cause: of the outage that it ended.
        seconds: of writes.
        is_unflushed: only what was never flushed, when every copy's host went down at once.
    """

    cause: Cause
    seconds: float
    is_unflushed: bool


@dataclass(slots=True)
class Ledger:
    """Written by the group as its years pass."""

    stretches: list[Stretch] = field(default_factory=list)
    losses: list[Lost] = field(default_factory=list)
    openings: dict[str, int] = field(default_factory=dict)

    def down(self, from_s: float, to_s: float, cause: Cause, *, is_planned: bool) -> None:
        """No writes were taken from … until …."""
        if to_s - from_s > US_MIN:
            label = Stretch(Lack.DOWN, round(from_s * US), round(to_s * US), "", cause.value, "", is_planned)
            self.stretches.append(label)

    def lost(self, cause: Cause, seconds: float, *, is_unflushed: bool) -> None:
        """An opening gave writes up."""
        if seconds > US_MIN:
            self.losses.append(Lost(cause, seconds, is_unflushed))

    def count(self, what: str) -> None:
        """One more opening of a kind: ``automatic``, ``asked``, ``forced``, ``switchover``, ``restore``."""
        self.openings[what] = self.openings.get(what, 0) + 1


@dataclass(frozen=True, slots=True)
class Result:
    """One run, each figure for a year.

    Attributes:
        available: share of the time with service, planned pauses left out.
        down_s, planned_s: seconds a year, in total.
        down_by, planned_by: by cause.
        outages: unplanned ones a year.
        good_years: share of the calendar years that kept within the error budget of a year.
        lost_by, losses_by: seconds of acknowledged and flushed writes, and how often, by cause.
        unflushed_s, unflushed: the same for what was never flushed, in total.
        openings: by kind.
    """

    available: float
    down_s: float
    planned_s: float
    down_by: dict[str, float]
    planned_by: dict[str, float]
    outages: float
    good_years: float
    lost_by: dict[str, float]
    losses_by: dict[str, float]
    unflushed_s: float
    unflushed: float
    openings: dict[str, float]


def settle(ledger: Ledger, years: float, target: float) -> Result:
    """Add a ledger up, with the arithmetic of the error budget (`core.availability.account`)."""
    span = Span(0, round(years * YEAR_S * US))
    account: Account = availability.account(span, 0, target, ledger.stretches)
    down: dict[str, float] = {}
    planned: dict[str, float] = {}
    for one in ledger.stretches:
        into = planned if one.is_planned else down
        into[one.cause] = into.get(one.cause, 0.0) + Span(one.from_us, one.to_us).within(span) / years
    lost: dict[str, float] = {}
    losses: dict[str, float] = {}
    unflushed = [loss for loss in ledger.losses if loss.is_unflushed]
    for loss in ledger.losses:
        if not loss.is_unflushed:
            lost[loss.cause] = lost.get(loss.cause, 0.0) + loss.seconds / years
            losses[loss.cause] = losses.get(loss.cause, 0.0) + 1 / years
    return Result(
        available=account.available,
        down_s=account.down_s / years,
        planned_s=account.planned_s / years,
        down_by=down,
        planned_by=planned,
        outages=account.outages / years,
        good_years=_good_years(ledger, years, availability.budget_s(target, YEAR_S)),
        lost_by=lost,
        losses_by=losses,
        unflushed_s=sum(loss.seconds for loss in unflushed) / years,
        unflushed=len(unflushed) / years,
        openings={kind: number / years for kind, number in ledger.openings.items()},
    )


def _good_years(ledger: Ledger, years: float, budget_s: float) -> float:
    """The share of whole years with no more time down than the budget."""
    whole = max(1, int(years))
    down = [0.0] * (whole + 1)
    for one in ledger.stretches:
        if one.is_planned:
            continue
        first, last = int(one.from_us / US // YEAR_S), int(one.to_us / US // YEAR_S)
        for year in range(first, min(last, whole) + 1):
            span = Span(round(year * YEAR_S * US), round((year + 1) * YEAR_S * US))
            down[year] += Span(one.from_us, one.to_us).within(span)
    return sum(seconds <= budget_s for seconds in down[:whole]) / whole
