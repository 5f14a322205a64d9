"""The token bucket that holds answers back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.core.pacing import BURST_S, Pacer


@given(
    rate=st.floats(1e4, 1e9),
    max_s=st.floats(0.0, 0.1),
    writes=st.lists(st.tuples(st.floats(0.0, 0.05), st.integers(1, 1 << 20)), max_size=60),
)
def test_no_answer_is_later_than_allowed_and_none_overtakes(
    rate: float, max_s: float, writes: list[tuple[float, int]]
) -> None:
    pacer, now, last = Pacer(max_s), 100.0, 0.0
    pacer.rate = rate
    for pause, size in writes:
        now += pause
        delay = pacer.delay(now, size)
        assert 0.0 <= delay <= max_s + 1e-9
        assert now + delay >= last - 1e-9
        last = now + delay


def test_a_client_with_one_write_in_flight_is_held_to_the_rate() -> None:
    pacer, now, written = Pacer(0.02), 100.0, 0
    pacer.rate = 1e6
    while now < 110.0:
        now += 0.0001 + pacer.delay(now + 0.0001, 4096)
        written += 4096
    assert written / 10.0 == pytest.approx(1e6, rel=0.05)


def test_without_a_rate_nothing_is_held() -> None:
    assert Pacer(0.02).delay(1.0, 1 << 30) == 0.0


def test_a_burst_is_no_excess() -> None:
    pacer = Pacer(0.02)
    pacer.rate = 1e6
    assert pacer.delay(50.0, int(BURST_S * 1e6)) == pytest.approx(0.0, abs=1e-6)
