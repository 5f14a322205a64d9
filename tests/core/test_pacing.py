"""Holding an RPO target, as tables and small worlds of plain numbers."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.core.pacing import (
    BURST_S,
    NOISE_S,
    Behind,
    Pacer,
    Step,
    Verdict,
    judge,
    slowest,
    state_of,
)
from drsync.model.objectives import Standing

TARGET_S = 10.0


@pytest.mark.parametrize(
    ("seconds", "state"),
    [
        (0.0, Standing.OK),
        (5.0, Standing.OK),
        (5.1, Standing.SOFT),
        (10.0, Standing.SOFT),
        (10.1, Standing.OVER),
        (None, Standing.UNKNOWN),
    ],
)
def test_states(seconds: float | None, state: Standing) -> None:
    assert state_of(seconds, TARGET_S) is state


@pytest.mark.parametrize(
    ("seconds", "step"),
    [
        (0.3, Step.STREAM),
        (2.4, Step.STREAM),
        (2.5, Step.LARGER),
        (5.0, Step.HARDER),
        (7.9, Step.HARDER),
        (8.0, Step.PACE),
        (30.0, Step.PACE),
        (None, Step.HARDER),
    ],
)
def test_steps_are_taken_one_by_one(seconds: float | None, step: Step) -> None:
    verdict = Verdict()
    for _ in Step:
        before, verdict = verdict, judge(verdict, Behind(seconds, is_fed=True, drain=1e6), TARGET_S)
        assert seconds is None or verdict.step <= before.step + 1
    assert verdict.step is step
    assert (verdict.rate > 0) == (step is Step.PACE)


def test_steps_are_kept_until_lag_is_a_tenth_of_the_target() -> None:
    verdict = judge(Verdict(step=Step.HARDER), Behind(9.0, is_fed=True, drain=1e6), TARGET_S)
    for seconds in (6.0, 3.0, 1.1):
        verdict = judge(verdict, Behind(seconds, is_fed=True, drain=1e6), TARGET_S)
        assert verdict.step is Step.PACE
    assert judge(verdict, Behind(0.9, is_fed=True, drain=1e6), TARGET_S).step is Step.STREAM


def test_the_further_behind_the_harder_the_pace() -> None:
    rates = []
    verdict = judge(Verdict(step=Step.HARDER), Behind(12.0, is_fed=True, drain=1e6), TARGET_S)
    for seconds in (12.0, 9.0, 4.0):
        verdict = judge(verdict, Behind(seconds, is_fed=True, drain=1e6), TARGET_S)
        rates.append(verdict.rate)
    assert rates == sorted(rates)
    assert rates[-1] < 1e6, "less than the peer takes, or lag never shrinks"


def test_nobody_waits_for_a_peer_that_takes_nothing() -> None:
    gone = judge(Verdict(), Behind(100.0, is_fed=False, drain=1e6), TARGET_S)
    assert (gone.state, gone.step, gone.rate) == (Standing.OVER, Step.STREAM, 0.0)
    stuck = judge(Verdict(step=Step.PACE), Behind(100.0, is_fed=True, drain=0.0), TARGET_S)
    assert (stuck.step, stuck.rate) == (Step.HARDER, 0.0)


def test_what_is_coming_counts_before_it_is_there() -> None:
    soon = Behind(0.3, is_fed=True, lacks=90_000_000, drain=10e6)
    verdict = judge(Verdict(step=Step.HARDER), soon, TARGET_S)
    assert (verdict.state, verdict.step) == (Standing.OK, Step.PACE)
    fast = Behind(0.3, is_fed=True, lacks=90_000_000, drain=0.0)
    assert judge(Verdict(step=Step.HARDER), fast, TARGET_S).step is Step.STREAM


def test_what_cannot_be_seen_is_no_reason_to_act() -> None:
    assert judge(Verdict(), Behind(NOISE_S, is_fed=True, drain=1e6), 0.0).step is Step.STREAM
    assert judge(Verdict(), Behind(NOISE_S, is_fed=True, drain=1e6), 0.5).state is Standing.OVER


def test_the_slowest_peer_sets_the_pace() -> None:
    assert slowest([]) == 0.0
    assert slowest([Verdict(rate=0.0), Verdict(rate=5e6), Verdict(rate=3e6)]) == 3e6


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


def lag(demand: float, drain: float, seconds: float) -> Iterator[float]:
    """Seconds of lag behind a line that takes `drain`; the client keeps 32 writes of 4 KiB in flight."""
    verdict, pacer = Verdict(), Pacer(0.02)
    backlog, now, step_s = 0.0, 0.0, 0.05
    for _ in range(int(seconds / step_s)):
        now += step_s
        wanted = min(demand, pacer.rate) if pacer.rate else demand
        floor = 32 * 4096 / 0.02  # more than this cannot be taken away, since answers wait 20 ms at most
        backlog = max(0.0, backlog + (max(wanted, min(floor, demand)) - drain) * step_s)
        behind = backlog / drain
        verdict = judge(verdict, Behind(behind, is_fed=True, drain=drain), TARGET_S)
        pacer.rate = slowest([verdict])
        yield behind


def test_lag_is_bounded_by_pacing() -> None:
    assert max(lag(40e6, 10e6, 300.0)) < TARGET_S
    assert max(lag(9e6, 10e6, 300.0)) < NOISE_S


def test_a_burst_is_no_excess() -> None:
    pacer = Pacer(0.02)
    pacer.rate = 1e6
    assert pacer.delay(50.0, int(BURST_S * 1e6)) == pytest.approx(0.0, abs=1e-6)
