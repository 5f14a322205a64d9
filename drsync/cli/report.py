"""`drsync report`: how well objectives were kept, to read and to keep as evidence."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import click

from drsync.adapters.api_client.doc import Doc
from drsync.cli.client import ask
from drsync.cli.errors import EXIT_CODES
from drsync.cli.options import Talk, coordinator_options
from drsync.cli.output import BAD, DIM, GOOD, console, line, print_json, row, table
from drsync.cli.text import clock, count, format_duration
from drsync.config.quantities import parse_duration
from drsync.model.errors import UsageError
from drsync.report.objectives import words

Words = Mapping[str, str]
Command = TypeVar("Command", bound=click.Command)
RATE_WHOLE = 100.0  # because nobody needs tenths of a thousand
ROUNDING = 1e-6  # because 0.9999 has no exact binary form
SHARE_DIGITS = 7  # because 99.99 % and what is missing from it must be told apart


@click.group()
def report() -> None:
    """How well objectives were kept: availability, RPO."""


def _options(command: Command) -> Command:
    for option in (
        click.option("--group", default="", help="Of this group only."),
        click.option("--since", default="30d", show_default=True, help="How far to look back: 1h, 7d, 365d."),
        click.option("--lang", type=click.Choice(["en", "zh"]), default="en", help="[default: en]"),
    ):
        command = option(command)
    return command


@coordinator_options
@_options
@report.command("availability", epilog=EXIT_CODES)
def availability(group: str, since: str, lang: str) -> None:
    """The error budget: how much there is, what used it, interval by interval.

    \b
    Examples:
      drsync report availability
      drsync report availability --group orders --since 365d --json
    """
    _report("availability", group, since, lang, _show_availability)


@coordinator_options
@_options
@report.command("compliance", epilog=EXIT_CODES)
def compliance(group: str, since: str, lang: str) -> None:
    """For how much of the time each copy was within the RPO target.

    \b
    Examples:
      drsync report compliance
      drsync report compliance --group orders --since 7d --lang zh
    """
    _report("compliance", group, since, lang, _show_compliance)


def _report(kind: str, group: str, since: str, lang: str, show: Callable[[Doc, Words], None]) -> None:
    talk = Talk.here()
    try:
        since_s = int(parse_duration(since))
    except ValueError as error:
        raise UsageError(f"--since: {error}") from error
    found = ask(talk, f"/v1/reports/{kind}", {"group": group, "since_s": since_s})
    if talk.as_json:
        print_json(dict(found.items()))
        return
    reports = found.docs("reports")
    if not reports:
        line("No groups yet. drsync group apply -f FILE makes one.")
    for index, one in enumerate(reports):
        if index:
            line()
        show(one, words(lang))


def _show_availability(found: Doc, say: Words) -> None:
    sums = found.doc("account")
    line(say["availability"].format(group=found.text("group")), "bold")
    left, used = sums.number("left_s"), sums.number("used_s")
    period = say["period_text"].format(
        from_=clock(found.whole("from_us")),
        to=clock(found.whole("to_us")),
        watched=format_duration(sums.number("watched_s")),
    )
    left_text = format_duration(left) if left >= 0 else say["overdrawn"].format(left=format_duration(-left))
    outages = count(sums.whole("outages"))
    facts = [
        ("period", period, ""),
        ("target", _percent(sums.number("target")), ""),
        ("reached", _percent(sums.number("available")), GOOD if left >= 0 else BAD),
        ("budget", format_duration(sums.number("budget_s")), ""),
        ("used", format_duration(used), ""),
        ("left", left_text, GOOD if left >= 0 else BAD),
        ("down", say["down_text"].format(seconds=_length(sums, "down_s"), outages=outages), ""),
        ("unknown", say["unknown_text"].format(seconds=_length(sums, "unknown_s")), ""),
        ("planned", say["planned_text"].format(seconds=_length(sums, "planned_s")), ""),
        ("unprotected", say["unprotected_text"].format(seconds=_length(sums, "unprotected_s")), ""),
        *[(key, _length(sums, f"{key}_s"), "") for key in ("mtbf", "mttr") if sums.has(f"{key}_s")],
        *_burns(found, say),
        (
            "resolution",
            say["resolution_text"].format(seconds=format_duration(found.number("resolution_s"))),
            DIM,
        ),
    ]
    _facts(facts, say)
    _stretches(found, say)


def _show_compliance(found: Doc, say: Words) -> None:
    line(say["compliance"].format(group=found.text("group")), "bold")
    watched_s = (found.whole("to_us") - max(found.whole("first_us"), found.whole("from_us"))) / 1e6
    period = say["period_text"].format(
        from_=clock(found.whole("from_us")),
        to=clock(found.whole("to_us")),
        watched=format_duration(max(0.0, watched_s)),
    )
    target = say["rpo_target_text"].format(
        target=format_duration(found.number("target_s")),
        resolution=format_duration(found.number("resolution_s")),
    )
    _facts([("period", period, ""), ("target", target, "")], say)
    centers = list(found.table("centers"))
    if centers:
        keys = ("met", "over", "unknown", "worst", "watched", "not_watched")
        what = table([say["center"], *(">" + say[key] for key in keys)])
        for name, one in centers:
            share = (_percent(one.number("share")), _share_style(one, found)) if one.has("share") else "-"
            worst = format_duration(one.number("max_s")) if one.has("max_s") else "-"
            lengths = [_length(one, key) for key in ("over_s", "unknown_s")]
            seen = [_length(one, key) for key in ("watched_s", "not_watched_s")]
            row(what, name, share, *lengths, worst, *seen)
        console().print(what)
        for name, one in centers:
            _facts([(key, f"{name}: {text}", style) for key, text, style in _burns(one, say)], say)
    _stretches(found, say)


def _share_style(one: Doc, found: Doc) -> str:
    return GOOD if one.number("share") >= found.number("goal") else BAD


def _burns(found: Doc, say: Words) -> list[tuple[str, str, str]]:
    """The rules that fire; the calmest one when none does."""
    rules = found.docs("burn")
    shown = [rule for rule in rules if rule.flag("fires")] or rules[-1:]
    facts = []
    for rule in shown:
        text = say["burn_text"].format(
            long=_rate(rule, "long_rate"),
            short=_rate(rule, "short_rate"),
            long_window=format_duration(rule.number("long_s")),
            short_window=format_duration(rule.number("short_s")),
            rate=f"{rule.number('rate'):g}",
            urgency=rule.text("urgency"),
        )
        fires = rule.flag("fires")
        facts.append(("burn", f"{say['fires']}: {text}" if fires else text, BAD if fires else ""))
    return facts


def _rate(rule: Doc, key: str) -> str:
    rate = rule.number(key)
    if not rule.has(key):
        return "∞"
    return f"{rate:.3g}" if rate < RATE_WHOLE else count(rate)


def _facts(facts: list[tuple[str, str, str]], say: Words) -> None:
    from rich.cells import cell_len

    width = max((cell_len(say[key]) for key, _, _ in facts), default=0)
    for key, text, style in facts:
        line(f"  {say[key]}{' ' * (width - cell_len(say[key]))}  {text}", style)


def _stretches(found: Doc, say: Words) -> None:
    listed = found.docs("stretches")
    if not listed:
        line(f"  {say['nothing']}", DIM)
        return
    what = table([say["from"], ">" + say["lasted"], say["what"], say["center"], say["cause"]])
    for one in listed:
        lack = "planned" if one.flag("is_planned") else one.text("lack")
        style = {"planned": DIM, "unprotected": "yellow"}.get(lack, BAD)
        name = say.get(f"lack_{lack}", lack)
        operation = f" ({one.text('operation')[:12]})" if one.text("operation") else ""
        about = (clock(one.whole("from_us")), format_duration(one.number("seconds")), (name, style))
        row(what, *about, one.text("center") or "-", one.text("cause") + operation)
    console().print(what)
    if found.whole("stretches_left_out"):
        line("  " + say["left_out"].format(count=count(found.whole("stretches_left_out"))), DIM)


def _length(found: Doc, key: str) -> str:
    return format_duration(found.number(key))


def _percent(share: float) -> str:
    """Cut, not rounded: 100 % is said only of all of it."""
    scaled = int(share * 10**SHARE_DIGITS + ROUNDING) / 10 ** (SHARE_DIGITS - 2)
    return f"{scaled:.{SHARE_DIGITS - 2}f}".rstrip("0").rstrip(".") + " %"
