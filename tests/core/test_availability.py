"""Every moment is up because somebody proved it, or it is counted, with its reason."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.core.availability import (
    BURN_RULES,
    Span,
    Task,
    account,
    bad_seconds,
    budget_s,
    burns,
    explain,
    next_up,
)
from drsync.model.objectives import Lack, Stretch

S = 1_000_000
DAY = 86400


def _parts(gap: Span, blind: list[Span], tasks: list[Task]) -> list[tuple[str, int, int, str, bool]]:
    found = explain(gap, blind, tasks, "the owner was silent")
    return [(one.lack.value, one.from_us // S, one.to_us // S, one.cause, one.is_planned) for one in found]


def test_service_is_proved_by_claims_that_touch() -> None:
    up, gap = next_up(10 * S, Span(5 * S, 12 * S))
    assert (up, gap) == (12 * S, None)
    assert next_up(up, Span(14 * S, 15 * S)) == (15 * S, Span(12 * S, 14 * S))


def test_an_owner_that_served_all_along_proves_a_time_nobody_watched() -> None:
    """The coordinator was away from 20 to 500; the owner's next report says: without a break since 3."""
    assert next_up(20 * S, Span(3 * S, 501 * S)) == (501 * S, None)


def test_a_pause_that_was_announced_is_planned_and_what_lasts_longer_is_not() -> None:
    task = Task("op", "switchover to same_city", Span(10 * S, 12 * S), is_announced=True)
    assert _parts(Span(9 * S, 13 * S), [], [task]) == [("down", 9, 13, task.words, True)]
    assert _parts(Span(9 * S, 40 * S), [], [task]) == [
        ("down", 9, 14, task.words, True),
        ("down", 14, 40, task.words, False),
    ]


def test_what_is_announced_after_it_began_is_not_planned() -> None:
    task = Task("op", "switchover to same_city", Span(20 * S, 30 * S), is_announced=True)
    assert _parts(Span(9 * S, 30 * S), [], [task]) == [("down", 9, 30, task.words, False)]


def test_a_failover_is_an_outage_with_a_name() -> None:
    task = Task("op", "failover to remote", Span(20 * S, 30 * S), is_announced=False)
    assert _parts(Span(9 * S, 30 * S), [], [task]) == [("down", 9, 30, task.words, False)]


def test_nobody_watched_is_a_line_of_its_own() -> None:
    assert _parts(Span(10 * S, 100 * S), [Span(20 * S, 50 * S)], []) == [
        ("down", 10, 20, "the owner was silent", False),
        ("unknown", 20, 50, "the coordinator was not running", False),
        ("down", 50, 100, "the owner was silent", False),
    ]


spans = st.tuples(st.integers(0, 60), st.integers(1, 30)).map(lambda p: Span(p[0] * S, (p[0] + p[1]) * S))
tasks_of = st.builds(Task, st.sampled_from("ab"), st.sampled_from(("x", "y")), spans, st.booleans())


@given(spans, st.lists(spans, max_size=3), st.lists(tasks_of, max_size=3))
def test_a_gap_is_accounted_for_to_the_last_microsecond(
    gap: Span, blind: list[Span], tasks: list[Task]
) -> None:
    found = explain(gap, blind, tasks, "?")
    assert found[0].from_us == gap.from_us
    assert found[-1].to_us == gap.to_us
    assert all(one.to_us == other.from_us for one, other in pairwise(found))


def test_the_budget_is_what_the_target_allows() -> None:
    assert budget_s(0.9999, 365.25 * DAY) / 60 == pytest.approx(52.596)
    assert budget_s(0.9999, 30 * DAY) / 60 == pytest.approx(4.32)


def test_an_account_keeps_planned_unknown_and_unprotected_apart() -> None:
    stretches = [
        Stretch(Lack.DOWN, 100 * S, 160 * S),
        Stretch(Lack.DOWN, 200 * S, 203 * S, is_planned=True),
        Stretch(Lack.UNKNOWN, 300 * S, 310 * S),
        Stretch(Lack.UNPROTECTED, 100 * S, 500 * S),
        Stretch(Lack.RPO, 0, 900 * S, "remote"),
    ]
    found = account(Span(0, 1000 * S), 50 * S, 0.99, stretches)
    assert (found.window_s, found.watched_s) == (1000.0, 950.0)
    assert found.budget_s == pytest.approx(10.0)
    assert (found.down_s, found.planned_s, found.unknown_s, found.unprotected_s) == (60.0, 3.0, 10.0, 400.0)
    assert (found.used_s, found.outages) == (70.0, 1)
    assert found.left_s == pytest.approx(-60.0)
    assert found.available == pytest.approx(1 - 70 / 947)
    assert found.mttr_s == 60.0


def test_what_lies_before_the_window_does_not_count() -> None:
    found = account(Span(100 * S, 200 * S), 0, 0.99, [Stretch(Lack.DOWN, 90 * S, 110 * S)])
    assert found.down_s == 10.0


def test_a_group_that_was_never_watched_has_used_nothing() -> None:
    found = account(Span(0, 100 * S), 500 * S, 0.9999, [])
    assert (found.watched_s, found.available, found.mtbf_s) == (0.0, 1.0, None)


@pytest.mark.parametrize(
    ("down_s", "ago_s", "fires"),
    [
        (0.5, 0.0, [False, False, False, False]),
        (5.3, 0.0, [True, False, False, False]),  # 5.2 s in an hour, 0.43 s in five minutes
        (5.3, 400.0, [False, False, False, False]),  # the short window has recovered
        (13.1, 0.0, [True, True, False, False]),
        (26.0, 0.0, [True, True, True, True]),
        (26.0, 4 * 3600.0, [False, False, False, True]),
    ],
)
def test_burn_rules_at_four_nines(down_s: float, ago_s: float, fires: list[bool]) -> None:
    now = 10 * DAY * S
    end = now - int(ago_s * S)
    down = [Stretch(Lack.DOWN, end - int(down_s * S), end), Stretch(Lack.DOWN, 5, now, is_planned=True)]
    found = burns(lambda window: bad_seconds(now, window, down), 0.9999)
    assert [burn.fires for burn in found] == fires
    assert [burn.rule for burn in found] == list(BURN_RULES)


def test_a_target_of_all_the_time_burns_at_once() -> None:
    assert all(burn.fires for burn in burns(lambda _: 0.1, 1.0))
    assert not any(burn.fires for burn in burns(lambda _: 0.0, 1.0))
