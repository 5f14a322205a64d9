"""A figure that nobody can prove is unknown, and one that is proved is never below the truth."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.core.objectives import RESOLUTION_S, Measured, judge_rpo, predict_rto, prove
from drsync.model.epoch import Epoch
from drsync.model.objectives import NO_BEAT, Beat, Standing

E = Epoch(1)


def test_the_proof_is_the_age_of_the_newest_heartbeat_and_grows_while_the_owner_is_silent() -> None:
    beat = Beat(10, 1_000_000, E)
    assert prove(beat, 10, 3_500_000, 0.0).seconds == 2.5
    assert prove(beat, 10, 3_500_000, 60.0).seconds == 62.5


@pytest.mark.parametrize(
    ("beat", "belongs", "owner_us", "words"),
    [
        (Beat(10, 1, E), 10, 0, "no owner has reported"),
        (NO_BEAT, 10, 5, "no heartbeat record was found"),
        (Beat(11, 1, E), 10, 5, "given up"),
    ],
)
def test_without_a_proof_the_figure_is_unknown_and_says_why(
    beat: Beat, belongs: int, owner_us: int, words: str
) -> None:
    proof = prove(beat, belongs, owner_us, 0.0)
    assert proof.seconds is None
    assert words in proof.reason


@given(
    write_s=st.floats(0, 100),
    beats=st.lists(st.floats(0, 100), min_size=1, max_size=50),
    held_s=st.floats(0, 100),
    told_s=st.floats(0, 100),
    late_s=st.floats(0, 100),
)
def test_it_is_never_below_what_would_be_lost(
    write_s: float, beats: list[float], held_s: float, told_s: float, late_s: float
) -> None:
    """A copy holds the log up to `held_s`; the truth is the age of the oldest write it lacks."""
    found = max((at for at in beats if at <= held_s), default=None)
    now_s = max(told_s, held_s, write_s) + late_s
    told_s = max(told_s, held_s)  # a heartbeat cannot be found before its owner has lived that long
    beat = NO_BEAT if found is None else Beat(1, int(found * 1e6), E)
    proof = prove(beat, 1, 1 + int(told_s * 1e6), now_s - told_s)
    truth = now_s - write_s if write_s > held_s else 0.0
    assert proof.seconds is None or proof.seconds >= truth - 1e-5


@pytest.mark.parametrize(
    ("seconds", "target", "standing"),
    [
        (None, 15.0, Standing.UNKNOWN),
        (0.4, 15.0, Standing.OK),
        (7.5, 15.0, Standing.OK),
        (7.6, 15.0, Standing.SOFT),
        (15.1, 15.0, Standing.OVER),
        (RESOLUTION_S, 0.0, Standing.OK),
        (RESOLUTION_S + 0.1, 0.0, Standing.OVER),
        (2.0, 3.0, Standing.OK),
    ],
)
def test_a_target_is_not_judged_finer_than_heartbeats_tell(
    seconds: float | None, target: float, standing: Standing
) -> None:
    assert judge_rpo(seconds, target) is standing


def test_a_drill_forecasts_a_failover_with_the_lease_it_did_not_wait_for() -> None:
    drill = Measured("drill", "d", "remote", 4.0, 1)
    assert predict_rto(drill, 10.0, 60.0).seconds == 14.0
    failover = Measured("failover", "f", "remote", 40.0, 1)
    assert predict_rto(failover, 10.0, 60.0).seconds == 40.0
    assert predict_rto(failover, 10.0, 60.0).standing is Standing.SOFT
    assert predict_rto(failover, 10.0, 30.0).standing is Standing.OVER
    assert predict_rto(None, 10.0, 60.0).standing is Standing.UNKNOWN
