"""Sizes and durations as people write them. Pure functions on text."""

import math
import re

from drsync.config.problems import MistakeError

SIZE_UNITS = {
    "B": 1,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "TiB": 1 << 40,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}
TIME_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

SHOWN_MIN = 0.005  # because less would be shown as "0.00 s"
TENTHS_BELOW = 9.95  # because 9.96 s would be shown as "10.0 s"
TEXT_MAX = 64  # because no quantity needs more, and a pasted file should not be echoed
SIZE_MAX = 1 << 62  # because sizes travel as signed 64-bit numbers

_SIZE = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)\s*(?P<unit>[A-Za-z]*)")
_TIME_PART = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)\s*(?P<unit>[a-zµ]*)\s*")
_SHOWN_UNITS = ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))
_UNITS_BY_FOLD = {unit.lower(): unit for unit in SIZE_UNITS}


def parse_size(text: str) -> int:
    """Bytes in ``256 MiB``, ``1.5GiB``, ``4096 B``; a bare number is bytes. ``GB`` is 10^9, ``GiB`` is 2^30.

    Raises:
        MistakeError: not a size; the message says what would be one.
    """
    match = _SIZE.fullmatch(text.strip()) if len(text) <= TEXT_MAX else None
    if match is None:
        raise MistakeError(f'{_quoted(text)} is no size; write a number and a unit, for example "256 MiB"')
    unit = _UNITS_BY_FOLD.get((match["unit"] or "B").lower())
    if unit is None:
        raise MistakeError(f'"{match["unit"]}" is no unit of size; use one of {", ".join(SIZE_UNITS)}')
    size = _scaled(match["number"], SIZE_UNITS[unit])
    if size is None:
        raise MistakeError(f"{_quoted(text)} is not a whole number of bytes")
    if size > SIZE_MAX:
        raise MistakeError(f"{_quoted(text)} is more than drsync can address")
    return size


def parse_duration(text: str) -> float:
    """Seconds in ``15s``, ``500 ms``, ``5m``, ``1h30m``; a bare ``0`` is allowed, other bare numbers are not.

    Raises:
        MistakeError: not a duration; the message says what would be one.
    """
    rest = text.strip() if len(text) <= TEXT_MAX else ""
    if rest == "0":
        return 0.0
    if not rest:
        raise MistakeError(f'{_quoted(text)} is no duration; write a number and a unit, for example "15s"')
    seconds = 0.0
    while rest:
        match = _TIME_PART.match(rest)
        if match is None:
            raise MistakeError(
                f'{_quoted(text)} is no duration; write a number and a unit, for example "15s"'
            )
        if not match["unit"]:
            raise MistakeError(f'{_quoted(text)} lacks a unit; write for example "{match["number"]}s"')
        unit = match["unit"].replace("µ", "u")
        if unit not in TIME_UNITS:
            raise MistakeError(f'"{unit}" is no unit of time; use one of {", ".join(TIME_UNITS)}')
        seconds += float(match["number"]) * TIME_UNITS[unit]
        rest = rest[match.end() :]
    return seconds


def parse_fraction(text: str) -> float:
    """The fraction in ``99.99 %`` or ``0.9999``.

    Raises:
        MistakeError: neither a number nor a percentage.
    """
    body = text.strip()
    scale = 100.0 if body.endswith("%") else 1.0
    try:
        value = float(body.removesuffix("%")) / scale
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise MistakeError(f'{_quoted(text)} is no fraction; write for example "99.99 %" or 0.9999')
    return value


def format_size(size: int) -> str:
    """`size` bytes for people: exact when a binary unit divides it, else with one decimal."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        scale = SIZE_UNITS[unit]
        if size >= scale:
            return f"{size // scale} {unit}" if size % scale == 0 else f"{size / scale:.1f} {unit}"
    return f"{size} B"


def format_duration(seconds: float) -> str:
    """`seconds` for people, two units at most: ``0.35 s``, ``2 min 5 s``, ``4 d 2 h``."""
    if seconds < 0:
        return "-" + format_duration(-seconds)
    if seconds < 1:
        return f"{seconds:.2f} s" if seconds >= SHOWN_MIN else "0 s"
    if seconds < TENTHS_BELOW:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    whole = round(seconds)
    for scale, unit, below, below_unit in _SHOWN_UNITS:
        if whole >= scale:
            rest = whole % scale // below
            return f"{whole // scale} {unit}" + (f" {rest} {below_unit}" if rest else "")
    return f"{whole} s"


def _scaled(number: str, scale: int) -> int | None:
    """`number` times `scale` if that is whole; exact, without floating point."""
    whole, _, fraction = number.partition(".")
    numerator = int(whole + fraction) * scale
    denominator = 10 ** len(fraction)
    return numerator // denominator if numerator % denominator == 0 else None


def _quoted(text: str) -> str:
    return f'"{text}"' if len(text) <= TEXT_MAX else f'"{text[:TEXT_MAX]}…"'
