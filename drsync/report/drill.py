"""A drill's report as JSON and as one self-contained page."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from jinja2 import Environment, PackageLoader, StrictUndefined

from drsync.model.drill import DRILL_FORMAT, DrillReport
from drsync.model.epoch import show
from drsync.model.operation import Step
from drsync.report.messages import best, table

MINUTE_S = 60
BAR_PERCENT_MIN = 0.4  # because a step of a millisecond should still be seen

PAGES = Environment(
    loader=PackageLoader("drsync.report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True, slots=True)
class Bar:
    """A step and where its bar lies, in percent of the whole drill."""

    step: Step
    began_s: float
    left: float
    width: float
    counts: bool


def drill_json(report: DrillReport) -> dict[str, object]:
    """The stable JSON form: the fields of `DrillReport` plus ``format`` and ``epoch_text``."""
    return {"format": DRILL_FORMAT, "epoch_text": show(report.epoch), **asdict(report)}


def drill_summary(report: DrillReport) -> dict[str, object]:
    """As `drill_json`, without what programs printed: for lists."""
    if report.runbook is None:
        return drill_json(report)
    steps = tuple(replace(step, evidence="") for step in report.runbook.steps)
    return drill_json(replace(report, runbook=replace(report.runbook, steps=steps)))


def drill_page(report: DrillReport, lang: str = "en") -> str:
    """The report as HTML without any outside resource. `lang`: ``en`` or ``zh-CN``."""
    language = best(lang)
    return PAGES.get_template("drill.html.j2").render(
        report=report,
        epoch=show(report.epoch),
        bars=bars(report.steps, report.started_us, report.total_s, report.rto_steps),
        is_clean=all(item.is_proved for item in report.cleanup),
        lang=language,
        t=table(language),
        utc=utc,
        seconds=seconds,
    )


def bars(steps: Sequence[Step], started_us: int, total_s: float, rto_steps: Sequence[str]) -> list[Bar]:
    """The steps on a common scale. Begin times come from labels, so they are held within the drill."""
    scale = max(total_s, 1e-6)
    placed = []
    for step in steps:
        began = min(max((step.started_us - started_us) / 1e6, 0.0), scale)
        width = min(max(100 * step.seconds / scale, BAR_PERCENT_MIN), 100.0)
        left = min(100 * began / scale, 100.0 - width)
        placed.append(Bar(step, began, round(left, 2), round(width, 2), step.name in rto_steps))
    return placed


def utc(time_us: int) -> str:
    """A label for people; empty for 0."""
    if not time_us:
        return ""
    return datetime.fromtimestamp(time_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def seconds(value: float) -> str:
    """A duration for people: three digits that matter."""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < MINUTE_S:
        return f"{value:.3g} s"
    minutes, rest = divmod(round(value), MINUTE_S)
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"
