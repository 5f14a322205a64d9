"""What is done as a peer falls behind, as tables and small worlds of plain numbers."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.core import ladder
from drsync.core.ladder import (
    NOISE_S,
    PAUSE_HIGH_S,
    PAUSE_LOW_S,
    Behind,
    Measures,
    Rung,
    Verdict,
    judge,
    measures,
    slowest,
    state_of,
)
from drsync.core.pacing import Pacer
from drsync.model.group import OnBreach
from drsync.model.objectives import Standing

TARGET_S = 10.0
MIB = 1 << 20


def behind(seconds: float | None, **more: object) -> Behind:
    """A peer that is fed over a line that holds us back."""
    return replace(Behind(seconds, is_fed=True, drain=1e6), **more)  # type: ignore[arg-type]  # by their names


def worth_a_set(seconds: float) -> Behind:
    return behind(seconds, lacks=8 * MIB, set_bytes=2 * MIB)


def settled(seen: Behind, last: Verdict | None = None) -> Verdict:
    verdict = last or Verdict()
    for _ in Rung:
        verdict = judge(verdict, seen, TARGET_S)
    return verdict


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
    ("seconds", "rung"),
    [
        (0.3, Rung.STREAM),
        (2.4, Rung.STREAM),
        (2.5, Rung.LARGER),
        (5.0, Rung.HARDER),
        (6.4, Rung.HARDER),
        (6.5, Rung.QUIET),
        (7.9, Rung.QUIET),
        (8.0, Rung.PACE),
        (10.0, Rung.PACE),
        (10.1, Rung.BREACH),
        (None, Rung.HARDER),
    ],
)
def test_rungs_are_climbed_one_by_one(seconds: float | None, rung: Rung) -> None:
    verdict = Verdict()
    for _ in Rung:
        before, verdict = verdict, judge(verdict, behind(seconds), TARGET_S)
        skipped = range(before.rung + 1, verdict.rung)
        assert seconds is None or all(Rung(step) is Rung.DELTA for step in skipped)
    assert verdict.rung is rung
    assert (verdict.rate > 0) == (rung >= Rung.PACE)


def test_rungs_are_kept_until_lag_is_a_tenth_of_the_target() -> None:
    verdict = settled(behind(9.0))
    for seconds in (6.0, 3.0, 1.1):
        verdict = judge(verdict, behind(seconds), TARGET_S)
        assert verdict.rung is Rung.PACE
    assert judge(verdict, behind(0.9), TARGET_S).rung is Rung.STREAM


@given(st.sampled_from(list(Rung)), st.floats(0, 30), st.booleans(), st.booleans())
def test_a_rung_is_given_up_only_where_it_is_of_no_use(
    rung: Rung, seconds: float, is_fed: bool, is_held_back: bool
) -> None:
    seen = behind(seconds, is_fed=is_fed, drain=1e6 if is_held_back else 0.0)
    after = judge(Verdict(rung=rung), seen, TARGET_S)
    if seconds <= NOISE_S or seconds < 1.0 or not is_fed:
        assert after.rung is Rung.STREAM
    elif rung not in (Rung.PACE, Rung.DELTA):
        assert after.rung >= rung


def test_the_further_behind_the_harder_the_pace() -> None:
    rates = []
    verdict = Verdict(rung=Rung.QUIET)
    for seconds in (12.0, 9.0, 4.0):
        verdict = judge(replace(verdict, rung=Rung.PACE), behind(seconds), TARGET_S)
        rates.append(verdict.rate)
    assert rates == sorted(rates)
    assert rates[-1] < 1e6, "less than the peer takes, or lag never shrinks"


def test_nobody_waits_for_a_peer_that_takes_nothing() -> None:
    gone = judge(Verdict(), behind(100.0, is_fed=False), TARGET_S)
    assert (gone.state, gone.rung, gone.rate) == (Standing.OVER, Rung.STREAM, 0.0)
    stuck = judge(Verdict(rung=Rung.PACE), behind(9.0, drain=0.0), TARGET_S)
    assert (stuck.rung, stuck.rate) == (Rung.QUIET, 0.0)


def test_what_is_coming_counts_before_it_is_there() -> None:
    soon = behind(0.3, lacks=90_000_000, drain=10e6)
    verdict = settled(soon)
    assert (verdict.state, verdict.rung) == (Standing.OK, Rung.PACE)
    fast = behind(0.3, lacks=90_000_000, drain=0.0)
    assert settled(fast).rung is Rung.STREAM


def test_what_cannot_be_seen_is_no_reason_to_act() -> None:
    assert judge(Verdict(), behind(NOISE_S), 0.0).rung is Rung.STREAM
    assert judge(Verdict(), behind(NOISE_S), 0.5).state is Standing.OVER


# --- delta sets


def test_a_set_is_sent_above_the_target_where_it_pays() -> None:
    verdict = settled(worth_a_set(12.0))
    assert verdict.gets_sets
    assert verdict.rung is Rung.BREACH
    assert verdict.rate == 0.0, "what is written again is sent once: pacing would cost and bring nothing"
    coming = settled(replace(worth_a_set(1.5), drain=0.5e6))
    assert (coming.rung, coming.gets_sets, coming.state) == (Rung.DELTA, True, Standing.OK)


@pytest.mark.parametrize(
    "seen",
    [
        worth_a_set(7.9),
        replace(worth_a_set(12.0), set_bytes=None),
        replace(worth_a_set(12.0), set_bytes=5 * MIB),
        replace(worth_a_set(12.0), drain=0.0),
        replace(worth_a_set(12.0), is_fed=False),
    ],
    ids=["within its target", "not counted", "no less than its journal", "a line that keeps up", "gone"],
)
def test_else_it_is_not(seen: Behind) -> None:
    assert not settled(seen).gets_sets


def test_only_who_answers_for_no_write_gets_a_set() -> None:
    assert ladder.may_get_sets("remote", frozenset({"production", "same_city"}))
    assert not ladder.may_get_sets("same_city", frozenset({"production", "same_city"}))


def test_sets_go_on_until_the_lag_is_small_and_do_not_come_back_at_once() -> None:
    verdict = settled(worth_a_set(12.0))
    assert judge(verdict, behind(3.0), TARGET_S).gets_sets
    pauses = []
    for round_number in range(8):
        now = 1000.0 * round_number if not round_number else verdict.not_before
        verdict = settled(replace(worth_a_set(12.0), now=now), verdict)
        assert verdict.gets_sets
        verdict = judge(verdict, behind(0.1, now=now), TARGET_S)
        assert not verdict.gets_sets
        pauses.append(verdict.not_before - now)
        assert not settled(replace(worth_a_set(12.0), now=verdict.not_before - 0.1), verdict).gets_sets
    assert pauses[0] == PAUSE_LOW_S
    assert pauses == sorted(pauses)
    assert pauses[-1] == PAUSE_HIGH_S
    calm = verdict.not_before + PAUSE_HIGH_S + 1.0
    verdict = settled(replace(worth_a_set(12.0), now=calm), verdict)
    verdict = judge(verdict, behind(0.1, now=calm), TARGET_S)
    assert verdict.not_before - calm == PAUSE_LOW_S, "what was long ago is forgotten"


def test_a_set_that_is_not_worth_it_is_not_even_counted() -> None:
    assert not ladder.is_to_be_counted(Verdict(share=0.9), 0.0)
    assert ladder.is_to_be_counted(Verdict(share=1.1), 0.0)
    assert not ladder.is_to_be_counted(Verdict(share=1.1, not_before=5.0), 4.0)


# --- all peers together


def test_writes_wait_by_policy_for_a_peer_that_kept_up_once() -> None:
    kept_up = judge(Verdict(), behind(0.1), TARGET_S)
    missed = settled(behind(12.0), kept_up)
    assert measures({"remote": missed}, OnBreach.STALL).stalls == ("remote",)
    assert measures({"remote": missed}, OnBreach.ALERT) == Measures(
        rate=missed.rate, troubled=("remote",), missed=("remote",)
    )
    late = judge(missed, behind(2.0), TARGET_S)
    assert measures({"remote": late}, OnBreach.STALL).stalls, "until the lag is small"
    assert not measures({"remote": judge(late, behind(0.5), TARGET_S)}, OnBreach.STALL).stalls


def test_neither_a_dead_peer_nor_one_that_comes_back_stops_writes() -> None:
    kept_up = judge(Verdict(), behind(0.1), TARGET_S)
    dead = settled(behind(100.0, is_fed=False), kept_up)
    assert measures({"remote": dead}, OnBreach.STALL) == Measures(missed=("remote",))
    back = settled(behind(100.0), dead)
    assert back.rung is Rung.BREACH
    assert not measures({"remote": back}, OnBreach.STALL).stalls
    assert not measures({"remote": settled(behind(None), kept_up)}, OnBreach.STALL).stalls


def test_the_way_of_a_peer_in_trouble_is_kept_free() -> None:
    calm, trouble = Verdict(), Verdict(rung=Rung.QUIET)
    assert measures({"a": calm, "b": trouble}, OnBreach.ALERT).troubled == ("b",)


def test_the_slowest_peer_sets_the_pace() -> None:
    assert slowest([]) == 0.0
    assert slowest([Verdict(rate=0.0), Verdict(rate=5e6), Verdict(rate=3e6)]) == 3e6


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
