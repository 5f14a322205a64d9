"""Which point a center proves next: named ones, everywhere the same, the edge of a failure, one an hour."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.core import self_drill
from drsync.core.self_drill import Candidate, Facts, Prove, Wait, choose, is_late, obstacle, rest_s, slot_s
from drsync.model.copy import CopyState
from drsync.model.point_proof import Outcome
from drsync.model.self_drill import Check, SelfDrill

S = 1_000_000
HOUR = SelfDrill(every_s=3600.0)
WINDOW_S = 7 * 86400.0
REPLICA = Facts(CopyState.REPLICA)
T0 = 1_800_000_000 * S  # the beginning of an hour
PROVED, FAILED, UNKNOWN = Outcome.PROVED, Outcome.FAILED, Outcome.UNKNOWN


def points(count: int, step_s: float = 300.0) -> list[Candidate]:
    return [Candidate(10 * (n + 1), T0 + round(n * step_s * S)) for n in range(count)]


def next_of(
    known: list[Candidate], tried: dict[int, Outcome], policy: SelfDrill = HOUR, facts: Facts = REPLICA
) -> int | None:
    found = choose(policy, known, tried, facts, now_us=known[-1].time_us, window_s=WINDOW_S)
    return found.point.seq if isinstance(found, Prove) else None


def test_of_each_slot_the_first_point_is_proved_so_that_every_center_chooses_the_same() -> None:
    whole = points(40)
    seen_late = whole[20:]  # a center whose window reaches back less
    assert next_of(whole, {}) == 10 * 37, "the first point of the fourth hour"
    assert next_of(seen_late, {}) == 10 * 37
    assert next_of(whole[36:], {}) == 400, "which was the first cannot be seen: the newest"


def test_a_point_that_a_person_named_comes_first_and_one_of_the_application_before_others() -> None:
    known = points(40)
    known[20] = replace(known[20], name="before-upgrade")
    known[38] = replace(known[38], is_app_consistent=True)
    assert next_of(known, {}) == 210
    assert next_of(known, {210: PROVED}) == 390


def test_after_a_failure_the_edge_is_looked_for_by_halves() -> None:
    known = points(12)
    tried = {120: FAILED, 10: PROVED}
    looked: list[int] = []
    truth_ends_at = 60
    while (seq := next_of(known, tried)) is not None:
        looked.append(seq)
        tried[seq] = PROVED if seq <= truth_ends_at else FAILED
    assert max(seq for seq, found in tried.items() if found is PROVED) == truth_ends_at
    assert min(seq for seq, found in tried.items() if found is FAILED) == truth_ends_at + 10
    assert len(looked) <= 4, "of ten points between"


def test_an_hour_without_a_verdict_is_made_up_for_newest_first() -> None:
    known = points(40)
    tried = {370: PROVED}
    assert next_of(known, tried) == 360, "the last point of the third hour"
    tried[360] = UNKNOWN
    assert next_of(known, tried) == 240, "what could not be found out is not tried again and again"
    tried[240] = PROVED
    tried[120] = PROVED
    assert next_of(known, tried) is None


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (replace(REPLICA, is_owner=True, state=CopyState.OWNER), "it owns the group"),
        (replace(REPLICA, state=CopyState.SEALED), "the copy is sealed"),
        (replace(REPLICA, state=CopyState.FAILED), "the copy is failed"),
        (replace(REPLICA, state=CopyState.BLANK), "the copy is blank"),
        (replace(REPLICA, resync="seeding: 3 granules"), "a resync: seeding"),
        (replace(REPLICA, no_space="the disk is full"), "the disk is full"),
        (replace(REPLICA, is_journal_full=True), "soft quota"),
        (replace(REPLICA, lag_s=40.0), "40 s behind"),
    ],
)
def test_nothing_is_read_while_the_copy_has_other_things_to_do(facts: Facts, why: str) -> None:
    assert why in obstacle(facts)
    found = choose(HOUR, points(3), {}, facts, now_us=T0)
    assert isinstance(found, Wait)
    assert why in found.why


def test_a_replica_that_is_alone_is_not_behind_anybody() -> None:
    assert obstacle(replace(REPLICA, lag_s=None)) == ""
    assert obstacle(replace(REPLICA, lag_s=5.0)) == ""


@pytest.mark.parametrize(
    ("policy", "facts", "rests_s", "why"),
    [
        (replace(HOUR, check=Check.NONE), REPLICA, 0.0, "policy says none"),
        (HOUR, replace(REPLICA, is_busy=True), 0.0, "a procedure is under way"),
        (HOUR, replace(REPLICA, bytes=1 << 40), 0.0, "reading 1024 GiB at 32 MiB/s takes 32768 s"),
        (HOUR, REPLICA, 7.0, "its share of time (5%) is used up"),
    ],
)
def test_what_waits_says_why(policy: SelfDrill, facts: Facts, rests_s: float, why: str) -> None:
    found = choose(policy, points(3), {}, facts, now_us=T0, rests_s=rests_s)
    assert isinstance(found, Wait)
    assert why in found.why
    assert found.seconds > 0


def test_a_program_is_not_kept_from_it_by_what_reading_everything_takes() -> None:
    policy = replace(HOUR, check=Check.FILESYSTEM)
    assert isinstance(choose(policy, points(3), {}, replace(REPLICA, bytes=1 << 40), now_us=T0), Prove)


def test_the_share_of_time_is_kept_whatever_a_check_takes() -> None:
    for took_s in (0.01, 30.0, 600.0):
        assert took_s / (took_s + rest_s(HOUR, took_s)) == pytest.approx(HOUR.share)
    assert rest_s(replace(HOUR, share=1.0), 30.0) == 0


def test_a_short_window_has_a_proved_point_in_it_all_the_time() -> None:
    assert slot_s(HOUR, 600.0) == 300.0
    assert slot_s(HOUR, 86400.0) == 3600.0
    assert slot_s(HOUR, 0.0) == self_drill.SLOT_MIN_S
    assert slot_s(replace(HOUR, every_s=5.0), 600.0) == 5.0


def test_people_are_told_only_where_the_group_asks_for_it() -> None:
    policy = replace(HOUR, max_age_s=60.0)
    assert not is_late(HOUR, 0, 0, 1 << 60)
    assert not is_late(policy, 0, T0, T0 + 59 * S), "before the first it counts from the beginning"
    assert is_late(policy, 0, T0, T0 + 61 * S)
    assert not is_late(policy, T0 + 30 * S, T0, T0 + 61 * S)
    assert not is_late(replace(policy, check=Check.NONE), 0, T0, 1 << 60)


@given(
    gaps=st.lists(st.integers(1, 4000), min_size=1, max_size=60),
    broken_from=st.integers(0, 60),
    names=st.sets(st.integers(0, 59), max_size=12),
    every_s=st.sampled_from([5.0, 300.0, 3600.0]),
)
def test_it_comes_to_an_end_and_leaves_no_hour_and_no_edge_unknown(
    gaps: list[int], broken_from: int, names: set[int], every_s: float
) -> None:
    known, time_us = [], T0
    for n, gap in enumerate(gaps):
        time_us += gap * S
        known.append(Candidate(n + 1, time_us, "named" if n in names else ""))
    tried: dict[int, Outcome] = {}
    policy = replace(HOUR, every_s=every_s)
    while (seq := next_of(known, tried, policy)) is not None:
        assert seq not in tried, "nothing is tried twice"
        tried[seq] = FAILED if seq > broken_from else PROVED
    slot_us = max(every_s, 3600.0) * S
    for slot in {point.time_us // slot_us for point in known}:
        assert any(point.seq in tried for point in known if point.time_us // slot_us == slot)
    good = [seq for seq, found in tried.items() if found is PROVED]
    bad = [seq for seq, found in tried.items() if found is FAILED]
    if good and bad:
        assert min(bad) - max(good) == 1, "the newest good point is the last before the first bad one"
