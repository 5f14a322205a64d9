"""Text from elsewhere, made safe for a terminal, and numbers and times as people read them."""

from datetime import UTC, datetime

from drsync.config.quantities import format_duration, format_size

__all__ = ["ago", "clean", "clock", "count", "format_duration", "format_size", "lag", "plural"]

US_PER_S = 1_000_000


def clean(text: str, *, keep_lines: bool = False) -> str:
    """`text` with control characters written out, so that a peer's words cannot steer a terminal (P69)."""
    return "".join(
        sign if sign.isprintable() or (keep_lines and sign == "\n") else _escaped(sign) for sign in text
    )


def _escaped(sign: str) -> str:
    return sign.encode("unicode_escape").decode()


def clock(time_us: int) -> str:
    """A wall clock label in local time: ``2026-11-21 04:55:12``; a dash when there is none."""
    if not 0 < time_us < 1 << 55:
        return "-"
    return datetime.fromtimestamp(time_us / US_PER_S, tz=UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def ago(time_us: int, now_us: int) -> str:
    """How long before `now_us` a label was; labels are only ever compared for display."""
    if time_us <= 0:
        return "-"
    return f"{format_duration(max(0.0, (now_us - time_us) / US_PER_S))} ago"


def count(number: float) -> str:
    """A number in groups of three: ``12,345``."""
    return f"{number:,.0f}"


def plural(number: int, one: str, many: str = "") -> str:
    """``1 record``, ``2 records``."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def lag(records: int, size: int, seconds: float) -> str:
    """A lag on one line; nothing to add when there is none."""
    if not records and not size:
        return "none"
    return f"{count(records)} rec · {format_size(size)} · {format_duration(seconds)}"
