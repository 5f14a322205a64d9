import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.config.problems import MistakeError
from drsync.config.quantities import (
    SIZE_MAX,
    SIZE_UNITS,
    TIME_UNITS,
    format_duration,
    format_size,
    parse_duration,
    parse_fraction,
    parse_size,
)


@given(
    st.integers(0, 1 << 20), st.sampled_from(sorted(SIZE_UNITS)), st.sampled_from(["", " "]), st.booleans()
)
def test_a_whole_number_of_any_unit_is_exact(number: int, unit: str, space: str, shouts: bool) -> None:
    text = f"{number}{space}{unit.upper() if shouts else unit}"
    assert parse_size(text) == number * SIZE_UNITS[unit]


@given(st.integers(0, SIZE_MAX))
def test_a_size_that_is_shown_exactly_is_read_back(size: int) -> None:
    shown = format_size(size)
    if "." not in shown:
        assert parse_size(shown) == size
    else:
        assert parse_size(f"{size}") == size


@given(st.integers(0, 10**6), st.sampled_from(sorted(TIME_UNITS)))
def test_a_duration_of_any_unit(number: int, unit: str) -> None:
    assert math.isclose(parse_duration(f"{number} {unit}"), number * TIME_UNITS[unit])


@given(st.lists(st.tuples(st.integers(0, 99), st.sampled_from(sorted(TIME_UNITS))), min_size=1, max_size=4))
def test_parts_of_a_duration_add_up(parts: list[tuple[int, str]]) -> None:
    text = "".join(f"{number}{unit}" for number, unit in parts)
    assert math.isclose(parse_duration(text), sum(number * TIME_UNITS[unit] for number, unit in parts))


@given(st.text(max_size=80))
def test_any_text_is_a_quantity_or_a_mistake_and_nothing_else(text: str) -> None:
    for parse in (parse_size, parse_duration, parse_fraction):
        with contextlib.suppress(MistakeError):
            assert math.isfinite(parse(text))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("256 MiX", "no unit of size"),
        ("lots", 'for example "256 MiB"'),
        ("1.5 B", "not a whole number of bytes"),
        ("-1 GiB", "is no size"),
        ("9999999 TiB", "more than drsync can address"),
    ],
)
def test_a_wrong_size_says_what_would_be_right(text: str, said: str) -> None:
    with pytest.raises(MistakeError, match=said):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [("15", 'lacks a unit; write for example "15s"'), ("", "is no duration"), ("5 weeks", "no unit of time")],
)
def test_a_wrong_duration_says_what_would_be_right(text: str, said: str) -> None:
    with pytest.raises(MistakeError, match=said):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0, "0 s"),
        (0.349, "0.35 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (2.0, "2 s"),
        (59.6, "1 min"),
        (125.0, "2 min 5 s"),
        (11400.0, "3 h 10 min"),
        (352800.0, "4 d 2 h"),
        (-15.0, "-15 s"),
    ],
)
def test_durations_are_shown_with_two_units_at_most(seconds: float, shown: str) -> None:
    assert format_duration(seconds) == shown


def test_sizes_are_shown_in_the_largest_unit() -> None:
    assert [format_size(n) for n in (0, 4096, 5000, 256 << 20)] == ["0 B", "4 KiB", "4.9 KiB", "256 MiB"]


def test_a_percentage_is_a_fraction() -> None:
    assert parse_fraction("99.99 %") == pytest.approx(0.9999)
    assert parse_fraction("0.9999") == pytest.approx(0.9999)
