"""Who may write, and what is done as a peer falls behind: as tables."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.core.admission import (
    CLIMB,
    GATES,
    TAKEN,
    Asked,
    Gate,
    Lag,
    Measures,
    OnBreach,
    Rung,
    Standing,
    Why,
    admit,
    climb,
    lag_of,
    measures,
)
from drsync.model.copy import CopyState
from drsync.model.epoch import Epoch

FINE = Standing(
    CopyState.OWNER, Epoch(2), Epoch(2), lease_s=3.0, volume_bytes=1000, request_bytes_max=100, room_bytes=500
)
WRITE = Asked(0, 1000, largest=100, size=500)

FAULTS = {
    Why.NOT_OWNER: replace(FINE, state=CopyState.REPLICA),
    Why.STALE_EPOCH: replace(FINE, promised=Epoch(3)),
    Why.OUT_OF_RANGE: replace(FINE, volume_bytes=999),
    Why.TOO_LARGE: replace(FINE, request_bytes_max=99),
    Why.READ_ONLY: replace(FINE, is_read_only=True),
    Why.FROZEN: replace(FINE, state=CopyState.FROZEN),
    Why.NO_LEASE: replace(FINE, lease_s=0.0),
    Why.NO_SPACE: replace(FINE, no_space=True),
    Why.STALLED: replace(FINE, is_stalled=True),
    Why.TOO_MANY: replace(FINE, room_bytes=499),
}


def test_a_write_of_the_owner_is_taken() -> None:
    assert admit(WRITE, FINE) == TAKEN


@pytest.mark.parametrize("why", Why)
def test_each_reason_stands_alone(why: Why) -> None:
    verdict = admit(WRITE, FAULTS[why])
    assert (verdict.gate, verdict.reasons) == (GATES[why], (why,))
    assert verdict.gate is not Gate.TAKE


def test_no_reason_hides_another_and_the_strictest_rules() -> None:
    broken = replace(FINE, state=CopyState.FROZEN, promised=Epoch(9), lease_s=-1.0, no_space=True)
    verdict = admit(replace(WRITE, first=-1), broken)
    assert verdict.gate is Gate.CLOSE
    assert set(verdict.reasons) == {
        Why.STALE_EPOCH,
        Why.OUT_OF_RANGE,
        Why.FROZEN,
        Why.NO_LEASE,
        Why.NO_SPACE,
    }
    assert [GATES[why] for why in verdict.reasons] == sorted(
        (GATES[why] for why in verdict.reasons), reverse=True
    )


@pytest.mark.parametrize("state", CopyState)
def test_only_an_owner_takes_writes(state: CopyState) -> None:
    gate = admit(WRITE, replace(FINE, state=state)).gate
    held = {CopyState.OWNER: Gate.TAKE, CopyState.FROZEN: Gate.HOLD}
    assert gate is held.get(state, Gate.CLOSE)


@pytest.mark.parametrize(
    ("share", "lag"),
    [(0.0, Lag.OK), (0.49, Lag.OK), (0.5, Lag.SOFT), (0.8, Lag.WARN), (1.0, Lag.WARN), (1.01, Lag.BREACH)],
)
def test_lag_beside_its_target(share: float, lag: Lag) -> None:
    assert lag_of(share) is lag


@pytest.mark.parametrize("lag", Lag)
def test_rungs_are_climbed_one_by_one_and_no_further_than_the_lag_is_worth(lag: Lag) -> None:
    share = {Lag.OK: 0.3, Lag.SOFT: 0.6, Lag.WARN: 0.9, Lag.BREACH: 1.5}[lag]
    rung, path = Rung.STREAM, []
    for _ in range(len(Rung) + 1):
        rung = climb(rung, share, is_fed=True)
        path.append(rung)
    assert path[-1] is CLIMB[lag]
    assert path[:-1] == [min(Rung(step + 1), CLIMB[lag]) for step in range(len(Rung) - 1)] + [CLIMB[lag]]


@given(st.sampled_from(list(Rung)), st.floats(0, 3), st.booleans())
def test_steps_are_kept_until_the_lag_is_small(rung: Rung, share: float, is_fed: bool) -> None:
    after = climb(rung, share, is_fed=is_fed)
    if share < 0.1:
        assert after is Rung.STREAM
    elif is_fed:
        assert rung <= after <= rung + 1
    else:
        assert after is (Rung.BREACH if share > 1 else Rung.STREAM)


@pytest.mark.parametrize(
    ("rung", "expected"),
    [
        (Rung.STREAM, Measures()),
        (Rung.HARDER, Measures(compresses=True)),
        (Rung.QUIET, Measures(compresses=True, runs_background=False)),
        (Rung.PACE, Measures(compresses=True, runs_background=False, paces=True)),
        (Rung.DELTA, Measures(compresses=True, runs_background=False, paces=True, deltas=("C",))),
        (
            Rung.BREACH,
            Measures(
                compresses=True, runs_background=False, paces=True, stalls=True, alerts=True, deltas=("C",)
            ),
        ),
    ],
)
def test_each_rung_does_what_those_below_do(rung: Rung, expected: Measures) -> None:
    assert measures([("B", Rung.STREAM, True), ("C", rung, True)], OnBreach.STALL) == expected
    assert measures([("C", rung, True)], OnBreach.ALERT).stalls is False


def test_a_dead_peer_is_told_of_and_stops_nothing() -> None:
    assert measures([("C", Rung.BREACH, False)], OnBreach.STALL) == Measures(alerts=True)
