"""Instants as people write them: ``-10m``, ``14:03:05``, ``2026-11-21T14:03:05+08:00``. Pure functions."""

import re
from datetime import UTC, datetime, timedelta, tzinfo

from drsync.config.problems import MistakeError
from drsync.config.quantities import parse_duration

US_PER_S = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2})(\.\d{1,6})?)?")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}.*)?")


def is_instant(text: str) -> bool:
    """Whether it looks like one, right or wrong; names and numbers do not."""
    text = text.strip()
    return bool(text.startswith("-") or _CLOCK.fullmatch(text) or _DATE.fullmatch(text))


def parse_instant(text: str, now_us: int, zone: tzinfo | None = None) -> int:
    """Microseconds since 1970 of an instant; without an offset it is meant in `zone` (None: the local one).

    ``-10m`` is counted from `now_us`. ``14:03:05`` is the last time that the clock showed it: today, or
    yesterday if today it is still to come.

    Raises:
        MistakeError: not an instant; the message says what would be one.
    """
    text = text.strip()
    if text.startswith("-"):
        return now_us - round(parse_duration(text[1:]) * US_PER_S)
    now = (_EPOCH + timedelta(microseconds=now_us)).astimezone(zone)
    try:
        clock = _CLOCK.fullmatch(text)
        if clock is None:
            return _us(datetime.fromisoformat(text), zone)
        hour, minute, second, fraction = clock.groups()
        micro = round(float(fraction or 0) * US_PER_S)
        naive = now.replace(
            hour=int(hour), minute=int(minute), second=int(second or 0), microsecond=micro, tzinfo=None
        )
        found = _us(naive, zone)
        return found if found <= now_us else _us(naive - timedelta(days=1), zone)
    except (ValueError, OverflowError) as error:
        raise MistakeError(
            f'"{text[:64]}" is no time ({error}); write for example "-10m", "14:03:05" or '
            '"2026-11-21T14:03:05+08:00"'
        ) from None


def _us(moment: datetime, zone: tzinfo | None) -> int:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone) if zone is not None else moment.astimezone()
    return (moment - _EPOCH) // timedelta(microseconds=1)
