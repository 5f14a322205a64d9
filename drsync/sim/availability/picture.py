"""The study as a picture: one bar for each set-up, minutes a year by cause, and the budget as a line.

Plain SVG without anything from elsewhere; it also reads without colors, since the figures stand at the bars.
"""

from collections.abc import Mapping
from html import escape

from drsync.sim.availability.faults import Cause
from drsync.sim.availability.study import Figures, Report

WIDTH, ROW, LEFT, RIGHT, TOP, BOTTOM = 1180, 38, 400, 190, 96, 96
BAR = 22
SIGN = 7.2  # because a sign of the figures is about that wide at their size
LEGEND_STEP = 116
LEGEND_ROW = 8
COLORS = (
    "#4e79a7",
    "#a0cbe8",
    "#f28e2b",
    "#ffbe7d",
    "#e15759",
    "#59a14f",
    "#9c755f",
    "#b07aa1",
    "#d37295",
    "#bab0ac",
    "#edc948",
    "#86bcb6",
)
"""One for each cause; those of Tableau's palette, which most color-blind eyes tell apart."""

ROOM = 1.15  # because the end of the longest bar should not touch the frame
TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
TICKS_WANTED = 6


def draw(report: Report, say: Mapping[str, str]) -> str:
    """The picture as SVG. `say`: the words of the report (`drsync.report.study`)."""
    rows = [(_name(one["name"], one["failover"], say), one) for one in report["topologies"]]
    longest = _longest(report)
    scale = (WIDTH - LEFT - RIGHT) / longest
    bottom = TOP + ROW * len(rows)
    height = bottom + BOTTOM
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{bottom + BOTTOM}" fill="#fff"/>',
        _text(24, 32, _title(report, say), size=18, weight="bold"),
        _text(24, 56, say["picture_axis"]),
        *_axis(longest, scale, bottom),
    ]
    for index, (name, figures) in enumerate(rows):
        parts += _bar(name, figures, TOP + ROW * index, scale)
    parts += _budget(report, scale, bottom, say)
    parts += _legend(bottom, say)
    return "\n".join([*parts, "</svg>", ""])


def _longest(report: Report) -> float:
    """Minutes that fit: the budget and all bars but the longest, which would squeeze the others."""
    means = sorted(one["down_minutes"]["mean"] for one in report["topologies"])
    return ROOM * max(report["budget_minutes"], *means[:-1] or means)


def _title(report: Report, say: Mapping[str, str]) -> str:
    return say["title"].format(
        years=f"{report['years']:g}", repetitions=report["repetitions"], seed=report["seed"]
    )


def _name(name: str, failover: str, say: Mapping[str, str]) -> str:
    return say[name] if name == "single-site" else f"{say[name]}, {say[failover]}"


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", size: int = 13, weight: str = "normal"
) -> str:
    style = f'text-anchor="{anchor}" font-size="{size}" font-weight="{weight}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>'


def _axis(longest: float, scale: float, bottom: int) -> list[str]:
    step = next((tick for tick in TICKS if longest / tick <= TICKS_WANTED), TICKS[-1])
    parts: list[str] = []
    for number in range(int(longest / step) + 1):
        x = LEFT + number * step * scale
        parts.append(f'<line x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{bottom}" stroke="#ddd"/>')
        parts.append(_text(x, TOP - 12, f"{number * step:g}", anchor="middle", size=11))
    return parts


def _bar(name: str, figures: Figures, y: int, scale: float) -> list[str]:
    middle = y + BAR / 2 + 5
    parts = [_text(LEFT - 12, middle, name, anchor="end")]
    x = float(LEFT)
    end = float(WIDTH - RIGHT)
    for cause, color in zip(Cause, COLORS, strict=True):
        width = min(figures["down_minutes_by_cause"].get(cause.value, 0.0) * scale, end - x)
        if width > 0:
            parts.append(f'<rect x="{x:.2f}" y="{y}" width="{width:.2f}" height="{BAR}" fill="{color}"/>')
        x += width
    down = figures["down_minutes"]
    if LEFT + down["mean"] * scale > end:
        wave = f"M{end - 18:.0f},{y - 3} l8,{BAR / 2 + 3:.0f} l-6,0 l8,{BAR / 2 + 3:.0f}"
        parts.append(f'<path d="{wave}" fill="none" stroke="#fff" stroke-width="4"/>')  # it goes on
    low, high = (min(LEFT + down[side] * scale, end) for side in ("low", "high"))
    line = y + BAR + 4
    parts.append(
        f'<line x1="{low:.1f}" y1="{line}" x2="{high:.1f}" y2="{line}" stroke="#333" stroke-width="2"/>'
    )
    text = f"{down['mean']:.1f} ({down['low']:.1f}…{down['high']:.1f})"
    parts.append(_text(min(x + 8, WIDTH - 12 - SIGN * len(text)), middle, text, weight="bold"))
    return parts


def _budget(report: Report, scale: float, bottom: int, say: Mapping[str, str]) -> list[str]:
    x = LEFT + report["budget_minutes"] * scale
    text = say["picture_budget"].format(
        budget=f"{report['budget_minutes']:.1f}",
        target=_percent(report["target"]),
    )
    stroke = 'stroke="#c00" stroke-width="2" stroke-dasharray="6 4"'
    return [
        f'<line x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{bottom + 4}" {stroke}/>',
        _text(x + 4, bottom + 18, text, size=12, weight="bold"),
    ]


def _percent(share: float) -> str:
    return f"{share * 100:.6f}".rstrip("0").rstrip(".") + " %"


def _legend(bottom: int, say: Mapping[str, str]) -> list[str]:
    parts: list[str] = []
    for index, (cause, color) in enumerate(zip(Cause, COLORS, strict=True)):
        x = 24 + index % LEGEND_ROW * (LEGEND_STEP + 26)
        y = bottom + 40 + index // LEGEND_ROW * 22
        parts.append(f'<rect x="{x}" y="{y}" width="14" height="14" fill="{color}"/>')
        parts.append(_text(x + 20, y + 12, say[cause.value], size=12))
    return parts
