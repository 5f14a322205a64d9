"""The tables of `drsync sim availability`."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from drsync.cli.output import BAD, DIM, GOOD, console, line, row, table
from drsync.cli.text import count, format_duration
from drsync.sim.availability.faults import Cause

if TYPE_CHECKING:
    from drsync.sim.availability.rates import Rates
    from drsync.sim.availability.study import Bounds, Compared, Loss, Report

Words = Mapping[str, str]
MILLENNIUM = 1000.0
STYLES = {"reached": GOOD, "missed": BAD, "unclear": "yellow"}
SMALL = 0.005  # because less would be shown as 0.00
WHOLE = 100.0  # because nobody needs tenths of more


def show(report: "Report", rates: "Rates", say: Words) -> None:
    """All of it."""
    title = say["title"].format(
        years=f"{report['years']:g}", repetitions=report["repetitions"], seed=report["seed"]
    )
    line(title, "bold")
    budget = f"{report['budget_minutes']:.1f}"
    line("  " + say["target"].format(target=percent(report["target"]), budget=budget), DIM)
    _topologies(report, say)
    _causes(report, say)
    _losses(report, rates, say)
    if report["what_ifs"]:
        _what_ifs(report, say)
    _assumptions(report, rates, say)


def percent(share: float) -> str:
    """Cut, not rounded: 99.99 % is said only of what reached it."""
    return f"{math.floor(share * 1e6 + 1e-6) / 1e4:.4f} %"


def _topologies(report: "Report", say: Words) -> None:
    heads = [">" + say[key] for key in ("available", "down")]
    ends = [">" + say[key] for key in ("outages", "good_years")]
    what = table([">#", say["setup"], say["failover"], *heads, "95 %", *ends, say["verdict"]])
    for number, one in enumerate(report["topologies"], 1):
        row(
            what,
            str(number),
            say[one["name"]],
            say[one["failover"]] if len(one["centers"]) > 1 else "-",
            percent(one["availability"]["mean"]),
            minutes(one["down_minutes"]["mean"]),
            span(one["down_minutes"]),
            f"{one['outages_per_year']:.1f}",
            f"{one['good_years'] * 100:.1f} %",
            (say[f"verdict_{one['verdict']}"], STYLES[one["verdict"]]),
        )
    console().print(what)
    line("  " + say["good_years_note"], DIM)
    line("  " + say["setup_note"], DIM)


def minutes(value: float) -> str:
    """A figure that may be small or large."""
    if 0 < value < SMALL:
        return "<0.01"
    return count(value) if abs(value) >= WHOLE else f"{value:.1f}" if abs(value) >= 1 else f"{value:.2f}"


def span(bounds: "Bounds") -> str:
    """The interval."""
    return f"{minutes(bounds['low'])}…{minutes(bounds['high'])}"


def _causes(report: "Report", say: Words) -> None:
    line()
    line(say["by_cause"], "bold")
    numbers = [f">{number}" for number in range(1, len(report["topologies"]) + 1)]
    what = table([say["cause"], *numbers])
    for cause in Cause:
        found = [one["down_minutes_by_cause"].get(cause.value, 0.0) for one in report["topologies"]]
        if any(found):
            row(what, say[cause.value], *(minutes(value) if value else "-" for value in found))
    row(what, say["all"], *((minutes(one["down_minutes"]["mean"]), "bold") for one in report["topologies"]))
    row(what, say["planned"], *((minutes(one["planned_minutes"]), DIM) for one in report["topologies"]))
    console().print(what)


def _losses(report: "Report", rates: "Rates", say: Words) -> None:
    line()
    line(say["loss"], "bold")
    what = table(
        [
            ">#",
            ">" + say["loss_events"],
            "95 %",
            ">" + say["loss_chance"],
            ">" + say["loss_seconds"],
            say["loss_causes"],
            ">" + say["unflushed"],
        ]
    )
    for number, one in enumerate(report["topologies"], 1):
        row(what, str(number), *_loss(one["loss"], say))
    console().print(what)
    line("  " + say["loss_note"].format(unsynced=format_duration(rates.model.unsynced)), DIM)


def _loss(found: "Loss", say: Words) -> list[str]:
    often = found["per_year"]
    is_seen = often["mean"] > 0
    causes = sorted(found["per_year_by_cause"].items(), key=lambda item: (-item[1], item[0]))
    named = ", ".join(f"{say[cause]} {minutes(rate * MILLENNIUM)}" for cause, rate in causes)
    interval = f"{minutes(often['low'] * MILLENNIUM)}…{minutes(often['high'] * MILLENNIUM)}"
    return [
        minutes(often["mean"] * MILLENNIUM) if is_seen else say["never"],
        interval,
        f"{-math.expm1(-often['mean']) * 100:.2f} %" if is_seen else "-",
        format_duration(found["seconds_per_event"]) if is_seen else "-",
        named or "-",
        minutes(found["unflushed_per_year"]["mean"]),
    ]


def _what_ifs(report: "Report", say: Words) -> None:
    line()
    line(say["what_ifs"].format(base=say[report["base"]]), "bold")
    what = table(
        [say["what_if"], ">" + say["down"], ">" + say["difference"], "95 %", "", ">" + say["good_years"]]
    )
    for one in report["what_ifs"]:
        gap = one["difference_minutes"]
        style = "" if not one["is_significant"] else GOOD if gap["mean"] < 0 else BAD
        row(
            what,
            _change(one, say),
            minutes(one["down_minutes"]["mean"]),
            (f"{gap['mean']:+.2f}", style),
            f"{gap['low']:+.2f} … {gap['high']:+.2f}",
            say["significant"] if one["is_significant"] else say["not_significant"],
            f"{one['good_years'] * 100:.1f} %",
        )
    console().print(what)


def _change(one: "Compared", say: Words) -> str:
    if one["name"] == "automatic":
        return say["what_automatic"].format(detection=format_duration(one["detection_s"]))
    return say[one["name"]]


def _assumptions(report: "Report", rates: "Rates", say: Words) -> None:
    from drsync.sim.availability.study import rows

    guessed = report["assumptions"]
    named = ", ".join(path.partition(".")[2] or path for path in guessed)
    line()
    line(say["assumptions"].format(count=len(guessed), all=len(rows(rates)), rows=named), DIM)
