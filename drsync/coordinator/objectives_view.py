"""What is said about objectives in answers: predictions, budgets, reports, and reasons of `why`."""

from dataclasses import asdict

from drsync.adapters.sqlite.history import Figures
from drsync.coordinator.objectives import Objectives
from drsync.core.availability import (
    BURN_RULES,
    US,
    Account,
    Burn,
    Span,
    account,
    bad_seconds,
    burns,
)
from drsync.core.objectives import RESOLUTION_S, Prediction
from drsync.engine.heartbeat import BEAT_S
from drsync.model.charter import Charter
from drsync.model.objectives import Standing, Stretch

Json = dict[str, object]

DAY_S = 86400
STATUS_WINDOW_S = 30 * DAY_S  # because budgets are agreed by the month
LONGEST_BURN_S = max(rule.long_s for rule in BURN_RULES)
STRETCHES_SHOWN = 500  # because an answer is built in memory; the sums count all of them


def about_rto(prediction: Prediction, charter: Charter) -> Json:
    """The forecast of a recovery, with what was measured."""
    return {
        "predicted_s": prediction.seconds,
        "target_s": charter.group.objectives.rto_s,
        "standing": prediction.standing.value,
        "source": asdict(prediction.source) if prediction.source is not None else None,
    }


def about_service(objectives: Objectives, charter: Charter) -> Json:
    """The error budget of 30 days in short."""
    found = _account(objectives, charter, STATUS_WINDOW_S)
    return {
        "target": found.target,
        "window_s": found.window_s,
        "watched_s": round(found.watched_s, 1),
        "available": found.available,
        "budget_s": round(found.budget_s, 3),
        "used_s": round(found.used_s, 3),
        "unprotected_s": round(found.unprotected_s, 1),
        "burning": [_burn(burn) for burn in _burns(objectives, charter) if burn.fires],
    }


def rto_lines(
    charter: Charter, prediction: Prediction, drilled_us: int, now_us: int
) -> list[tuple[str, str]]:
    """What and remedy of each reason why the group is not ready by its policy on drills."""
    group = charter.group
    allowed_s = group.policy.drill_max_age_s
    if not allowed_s:
        return []
    remedy = f"Run a drill: drsync drill run {group.name}."
    lines = []
    if not drilled_us:
        lines.append(
            (f"{group.name} was never drilled, its policy asks for one every {_span(allowed_s)}", remedy)
        )
    elif now_us - drilled_us > allowed_s * US:
        age = _span((now_us - drilled_us) / US)
        lines.append(
            (f"the last drill was {age} ago, the policy asks for one every {_span(allowed_s)}", remedy)
        )
    if prediction.standing is Standing.OVER and prediction.seconds is not None:
        target_s = group.objectives.rto_s
        what = f"a recovery is predicted to take {prediction.seconds:.0f} s, the target is {target_s:g} s"
        lines.append((what, "Look at the steps of the last drill: drsync drill show."))
    return lines


def _span(seconds: float) -> str:
    for length, word in ((DAY_S, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds / length:.3g} {word}"
    return f"{seconds:.0f} s"


# --- reports


def availability_report(objectives: Objectives, charter: Charter, since_s: float) -> Json:
    """The error budget of a group over the last `since_s` seconds, and every stretch that used it."""
    found = _account(objectives, charter, since_s)
    shown = objectives.stretches(charter, _from_us(objectives, since_s))
    return {
        "group": charter.group.name,
        "account": asdict(found),
        "from_us": _from_us(objectives, since_s),
        "to_us": objectives.label(),
        "first_us": objectives.first_us(charter),
        "burn": [_burn(burn) for burn in _burns(objectives, charter)],
        "stretches": _shown(shown),
        "stretches_left_out": max(0, len(shown) - STRETCHES_SHOWN),
        "resolution_s": BEAT_S,
        "measured_from": "the owner's own reports, heard by the coordinator",
    }


def compliance_report(objectives: Objectives, charter: Charter, since_s: float) -> Json:
    """How well the RPO target was kept at each center over the last `since_s` seconds."""
    now_us = objectives.label()
    from_us = _from_us(objectives, since_s)
    first_us = max(from_us, objectives.first_us(charter))
    lasted_s = max(0.0, (now_us - first_us) / US)
    figures = objectives.figures(charter, first_us)
    shown = objectives.stretches(charter, from_us, of_rpo=True)
    return {
        "group": charter.group.name,
        "target_s": charter.group.objectives.rpo_s,
        "judged_by_s": max(charter.group.objectives.rpo_s, RESOLUTION_S),
        "goal": charter.group.objectives.availability,
        "from_us": from_us,
        "to_us": now_us,
        "first_us": first_us,
        "centers": {
            name: _compliance(objectives, charter, name, one, lasted_s) for name, one in figures.items()
        },
        "stretches": _shown(shown),
        "stretches_left_out": max(0, len(shown) - STRETCHES_SHOWN),
        "resolution_s": RESOLUTION_S,
    }


def _compliance(objectives: Objectives, charter: Charter, center: str, one: Figures, lasted_s: float) -> Json:
    """Time in which the center was the owner or nobody watched is not in its figures and not in its share."""
    seconds = min(one.seconds, lasted_s)
    good_s = max(0.0, seconds - one.over_s - one.unknown_s)
    goal = charter.group.objectives.availability

    def bad_s(window_s: float) -> float:
        found = objectives.figures(charter, objectives.label() - int(window_s * US)).get(center)
        return 0.0 if found is None else found.over_s + found.unknown_s

    return {
        "watched_s": round(seconds, 1),
        "not_watched_s": round(max(0.0, lasted_s - seconds), 1),
        "over_s": round(one.over_s, 1),
        "unknown_s": round(one.unknown_s, 1),
        "max_s": one.max_s,
        "share": good_s / seconds if seconds > 0 else None,
        "burn": [_burn(burn) for burn in burns(bad_s, goal)],
    }


def _from_us(objectives: Objectives, since_s: float) -> int:
    return objectives.label() - int(since_s * US)


def _account(objectives: Objectives, charter: Charter, since_s: float) -> Account:
    now_us = objectives.label()
    from_us = now_us - int(since_s * US)
    target = charter.group.objectives.availability
    stretches = objectives.stretches(charter, from_us)
    return account(Span(from_us, now_us), objectives.first_us(charter), target, stretches)


def _burns(objectives: Objectives, charter: Charter) -> tuple[Burn, ...]:
    now_us = objectives.label()
    stretches = objectives.stretches(charter, now_us - int(LONGEST_BURN_S * US))
    return burns(
        lambda window_s: bad_seconds(now_us, window_s, stretches), charter.group.objectives.availability
    )


def _burn(burn: Burn) -> Json:
    """JSON knows no infinity: a burn without any budget is told as null."""
    rates = {"long_rate": burn.long_rate, "short_rate": burn.short_rate}
    return {
        **asdict(burn.rule),
        **{name: round(rate, 3) if rate != float("inf") else None for name, rate in rates.items()},
        "fires": burn.fires,
    }


def _shown(stretches: list[Stretch]) -> list[Json]:
    return [
        {**asdict(one), "lack": one.lack.value, "seconds": round(one.seconds, 3)}
        for one in stretches[-STRETCHES_SHOWN:]
    ]
