"""Instants as people write them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from drsync.config.instants import is_instant, parse_instant
from drsync.config.problems import MistakeError

CHINA = timezone(timedelta(hours=8))
NOW = datetime(2026, 11, 21, 14, 30, tzinfo=CHINA)
NOW_US = int(NOW.timestamp()) * 1_000_000


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("-10m", "2026-11-21T14:20:00+08:00"),
        ("-1h30m", "2026-11-21T13:00:00+08:00"),
        ("14:03", "2026-11-21T14:03:00+08:00"),
        ("14:03:05", "2026-11-21T14:03:05+08:00"),
        ("14:03:05.25", "2026-11-21T14:03:05.250000+08:00"),
        ("23:59:59", "2026-11-20T23:59:59+08:00"),
        ("2026-11-20T23:00:00", "2026-11-20T23:00:00+08:00"),
        ("2026-11-20 23:00:00", "2026-11-20T23:00:00+08:00"),
        ("2026-11-20T15:00:00Z", "2026-11-20T23:00:00+08:00"),
        ("2026-11-20T15:00:00-02:00", "2026-11-21T01:00:00+08:00"),
        ("2026-11-20", "2026-11-20T00:00:00+08:00"),
    ],
)
def test_instants_are_read_as_they_are_meant(text: str, meant: str) -> None:
    assert is_instant(text)
    wanted = datetime.fromisoformat(meant)
    assert parse_instant(text, NOW_US, CHINA) == (wanted - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(
        microseconds=1
    )


@pytest.mark.parametrize("text", ["latest", "before-upgrade", "1234", "", "14-03", "drill-2026-11-21"])
def test_names_and_numbers_are_no_instants(text: str) -> None:
    assert not is_instant(text)


@pytest.mark.parametrize("text", ["25:00", "14:61:00", "-10", "-", "2026-13-01", "2026-11-21T99:00"])
def test_what_looks_like_an_instant_and_is_none_is_a_mistake(text: str) -> None:
    assert is_instant(text)
    with pytest.raises(MistakeError):
        parse_instant(text, NOW_US, CHINA)
