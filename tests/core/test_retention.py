"""What is given up for space, in which order, and what never is."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.core import retention
from drsync.core.retention import (
    Action,
    Alarm,
    Convert,
    Cursor,
    Fold,
    GiveUp,
    Kept,
    Level,
    Limits,
    Needed,
    Pin,
    PinKind,
    Segment,
    ShrinkWindow,
    Stall,
    Trim,
    heard,
    plan,
)
from drsync.model.group import WhenFull

LIMITS = Limits(soft_bytes=60, hard_bytes=100)


def journal(count: int, size: int = 10, age_s: float = 0.0) -> tuple[Segment, ...]:
    """Segments of ten records; the newest is `age_s` old for each segment after it."""
    return tuple(Segment(10 * (n + 1), size, age_s * (count - n)) for n in range(count))


def owner(count: int, *needs: Needed, applied: int = 0, pins: tuple[Pin, ...] = ()) -> Kept:
    tip = 10 * count
    return Kept(True, tip, tip, applied, journal(count), needs=needs, pins=pins)


B_IN_SYNC = Needed("B", 10_000)
C_AWAY = Needed("C", 15)


def test_an_empty_journal_asks_for_nothing() -> None:
    assert plan(Kept(True, 0, 0, 0), LIMITS) == ()


def test_what_all_have_goes_after_it_is_in_the_images() -> None:
    assert plan(owner(5, B_IN_SYNC, Needed("C", 35)), LIMITS) == (Fold(35), Trim(35))


def test_images_trail_the_farthest_member_while_their_index_has_room() -> None:
    kept = owner(5, B_IN_SYNC, C_AWAY)
    assert plan(kept, LIMITS) == (Fold(15), Trim(15))
    assert plan(replace(kept, may_trail=False), LIMITS) == (Fold(50), Trim(15))


@pytest.mark.parametrize(("commit", "durable", "bound"), [(23, 50, 23), (50, 31, 31)])
def test_images_hold_only_what_is_committed_and_durable(commit: int, durable: int, bound: int) -> None:
    kept = replace(owner(5, B_IN_SYNC), commit=commit, durable=durable)
    assert plan(kept, LIMITS) == (Fold(bound), Trim(bound))


def test_over_the_soft_quota_people_are_told() -> None:
    assert plan(owner(8, C_AWAY, applied=15), LIMITS)[0] == Alarm(Level.SOFT, 70)


def test_over_the_hard_quota_the_farthest_member_is_marked_before_anything_goes() -> None:
    found = plan(owner(15, B_IN_SYNC, Needed("D", 30), C_AWAY), LIMITS)
    assert found == (
        Alarm(Level.HARD, 140),
        Convert("C", 50, is_round=False),
        Convert("D", 50, is_round=False),
        Fold(50),
        Trim(50),
    )


def test_a_resync_that_holds_too_much_begins_a_new_round() -> None:
    found = plan(owner(15, Needed("C", 5, through=20, pin=20)), LIMITS)
    assert found == (Alarm(Level.HARD, 130), Convert("C", 150, is_round=True), Fold(150), Trim(150))


def test_a_member_that_is_marked_already_holds_nothing_back() -> None:
    assert plan(owner(15, Needed("C", 5, through=140)), LIMITS) == (Fold(140), Trim(140))


def replica(count: int, *needs: Needed, age_s: float = 60.0) -> Kept:
    return Kept(False, 10 * count, 10 * count, 0, journal(count, age_s=age_s), needs=needs)


def test_a_replica_keeps_its_window() -> None:
    limits = replace(LIMITS, window_s=240.0)
    assert plan(replica(5), limits) == (Fold(20), Trim(20))
    assert plan(replace(replica(5), window_s=0.0), limits) == (Fold(50), Trim(50))
    assert plan(replica(3), limits) == ()


def test_the_window_is_shrunk_before_a_member_is_marked() -> None:
    limits = replace(LIMITS, window_s=3600.0)
    found = plan(replica(12, C_AWAY), limits)
    assert found == (
        Alarm(Level.HARD, 120),
        ShrinkWindow(660.0),
        Convert("C", 20, is_round=False),
        Fold(20),
        Trim(20),
    )


def test_the_floor_of_the_window_is_never_given_up_and_a_replica_does_not_stall() -> None:
    limits = replace(LIMITS, window_s=3600.0, floor_s=1000.0)
    assert plan(replica(12), limits) == (Alarm(Level.HARD, 120),)


def test_images_of_a_replica_stop_at_the_newest_point_that_is_older_than_the_window() -> None:
    limits = replace(LIMITS, window_s=240.0)
    assert plan(replace(replica(5), window_seq=17), limits) == (Fold(17), Trim(17))
    shrunk = plan(replace(replica(12), window_seq=0), replace(limits, window_s=3600.0))
    assert shrunk == (Alarm(Level.HARD, 120), ShrinkWindow(660.0), Fold(20), Trim(20))


def test_journal_that_nobody_holds_is_no_reason_to_stall() -> None:
    """The piece that is written to is larger than the quota: waiting would never end."""
    kept = replace(owner(2, B_IN_SYNC), open_bytes=500)
    assert plan(kept, LIMITS) == (Alarm(Level.HARD, 500), Fold(20), Trim(20))


def view(seq: int, quota_bytes: int | None = None, name: str = "drill") -> Pin:
    return Pin(PinKind.VIEW, name, seq, quota_bytes)


HELD = Pin(PinKind.CHECKPOINT, "before-upgrade", 5)
LEGAL = Pin(PinKind.LEGAL, "case", 5)


def test_neither_images_nor_trimming_pass_a_pin() -> None:
    assert plan(owner(5, B_IN_SYNC, pins=(view(23), HELD)), LIMITS) == (Fold(5),)


def test_a_view_keeps_the_journal_from_where_the_images_stood_when_it_was_opened() -> None:
    pin = replace(view(43), base=18)
    assert plan(owner(5, B_IN_SYNC, pins=(pin,)), LIMITS) == (Fold(43), Trim(18))


def test_a_view_goes_when_it_holds_more_than_its_own_quota() -> None:
    kept = owner(5, B_IN_SYNC, pins=(view(10, 20, "old"), view(10, 20, "twin"), view(30, 20, "new")))
    assert plan(kept, LIMITS) == (
        GiveUp(PinKind.VIEW, "old"),
        GiveUp(PinKind.VIEW, "twin"),
        Fold(30),
        Trim(30),
    )


def test_views_go_before_checkpoints_that_are_held() -> None:
    found = plan(owner(15, B_IN_SYNC, pins=(HELD, view(20))), LIMITS)
    assert [action for action in found if isinstance(action, GiveUp)] == [
        GiveUp(PinKind.VIEW, "drill"),
        GiveUp(PinKind.CHECKPOINT, "before-upgrade"),
    ]
    assert found[-1] == Trim(150)


def test_by_policy_writes_wait_before_a_held_checkpoint_goes() -> None:
    limits = replace(LIMITS, when_full=WhenFull.STALL)
    found = plan(owner(15, B_IN_SYNC, pins=(HELD,)), limits)
    assert found == (Alarm(Level.HARD, 150), Fold(5), Stall(50))


def test_a_legal_hold_is_never_given_up() -> None:
    found = plan(owner(15, B_IN_SYNC, pins=(LEGAL, HELD)), LIMITS)
    assert GiveUp(PinKind.LEGAL, "case") not in found
    assert found[-1] == Stall(50)


def test_what_was_given_up_lets_a_member_be_marked_further() -> None:
    """A view stood before the member: marks reach the view first, and the quota only when it is gone."""
    found = plan(owner(15, C_AWAY, pins=(view(30),)), LIMITS)
    assert found == (
        Alarm(Level.HARD, 140),
        Convert("C", 30, is_round=False),
        GiveUp(PinKind.VIEW, "drill"),
        Convert("C", 50, is_round=False),
        Fold(50),
        Trim(50),
    )


@pytest.mark.parametrize(
    ("count", "pins", "when_full", "left"),
    [
        (5, (HELD,), WhenFull.STALL, 50),  # the oldest hold keeps all of it
        (5, (replace(HELD, seq=30, name="later"),), WhenFull.STALL, 80),
        (5, (HELD, replace(HELD, seq=30, name="later")), WhenFull.STALL, 50),
        (15, (HELD,), WhenFull.STALL, 0),
        (15, (LEGAL,), WhenFull.STALL, 0),
        (15, (HELD,), WhenFull.DROP_HISTORY, None),  # it would go first
        (15, (view(5),), WhenFull.STALL, None),  # and so would a view
        (15, (), WhenFull.STALL, None),
    ],
)
def test_room_is_what_holds_leave_of_the_quota(
    count: int, pins: tuple[Pin, ...], when_full: WhenFull, left: int | None
) -> None:
    limits = replace(LIMITS, when_full=when_full)
    for is_owner in (True, False):
        kept = replace(owner(count, C_AWAY, pins=pins), is_owner=is_owner)
        assert retention.room(kept, limits) == left


# --- properties


def applied(kept: Kept, actions: tuple[Action, ...]) -> Kept:
    """The copy after the actions, in order, with what must hold in between."""
    for action in actions:
        match action:
            case Convert(center=center, through=through, is_round=is_round):
                new = [
                    replace(need, through=through, pin=through if is_round else need.pin)
                    if need.center == center
                    else need
                    for need in kept.needs
                ]
                kept = replace(kept, needs=tuple(new))
            case GiveUp(kind=kind, name=name):
                kept = replace(
                    kept, pins=tuple(pin for pin in kept.pins if (pin.kind, pin.name) != (kind, name))
                )
            case ShrinkWindow(to_s=to_s):
                kept = replace(kept, window_s=to_s)
            case Fold(to=to):
                assert to <= min(kept.commit, kept.durable, *(pin.seq for pin in kept.pins))
                kept = replace(kept, applied=to)
            case Trim(to=to):
                assert to <= kept.applied
                assert all(to <= need.floor for need in kept.needs)  # INV-13
                kept = replace(kept, segments=tuple(s for s in kept.segments if s.last_seq > to))
            case _:
                pass
    return kept


members = st.builds(
    lambda center, cursor, through, pin: Needed(center, cursor, through, min(pin, through) or None),
    st.sampled_from("BCDE"),
    st.integers(0, 160),
    st.integers(0, 160),
    st.integers(0, 160),
)
pins = st.builds(
    Pin,
    st.sampled_from([PinKind.VIEW, PinKind.CHECKPOINT]),
    st.sampled_from(["x", "y", "z"]),
    st.integers(0, 160),
    st.none() | st.integers(0, 100),
)


@given(
    st.booleans(),
    st.lists(members, max_size=3, unique_by=lambda need: need.center),
    st.lists(pins, max_size=3, unique_by=lambda pin: (pin.kind, pin.name)),
    st.integers(0, 15),
    st.floats(0, 1000),
)
def test_the_quota_holds_whoever_needs_what(
    is_owner: bool, needs: list[Needed], held: list[Pin], count: int, window_s: float
) -> None:
    kept = Kept(is_owner, 160, 160, 0, journal(count, 15, age_s=30.0), needs=tuple(needs), pins=tuple(held))
    limits = replace(LIMITS, window_s=window_s)
    found: list[Action] = []
    for _ in range(5):  # because what one round gave up may show that a pin holds more than its own quota
        found = [action for action in plan(kept, limits) if not isinstance(action, Alarm)]
        kept = applied(kept, tuple(found))
        assert kept.held_bytes <= limits.hard_bytes
        assert not any(isinstance(action, Stall) for action in found)
    assert found == []


def test_a_member_away_for_a_week_costs_the_quota_and_nothing_else() -> None:
    kept = Kept(True, 0, 0, 0, needs=(Needed("B", 0), Needed("C", 0)))
    for hour in range(1, 7 * 24 + 1):
        tip = 10 * hour
        kept = replace(
            kept,
            commit=tip,
            durable=tip,
            segments=(*kept.segments, Segment(tip, 30)),
            needs=(replace(kept.needs[0], cursor=tip), *kept.needs[1:]),
        )
        found = plan(kept, LIMITS)
        kept = applied(kept, found)
        assert kept.held_bytes <= LIMITS.hard_bytes
        assert not any(isinstance(action, Stall) for action in found)
    assert kept.needs[1].cursor == 0
    assert kept.needs[1].through > 0


# --- cursors of others


def test_words_about_others_carry_a_position_and_only_rise() -> None:
    known = {"B": Cursor("i1", 10), "C": Cursor("i1", 20)}
    told = [("B", Cursor("i1", 5)), ("C", Cursor("i1", 30)), ("A", Cursor("i1", 99)), ("D", Cursor("i4", 1))]
    assert heard(known, told, "A") == {"B": Cursor("i1", 10), "C": Cursor("i1", 30), "D": Cursor("i4", 1)}


def test_another_store_is_believed_only_to_its_own_member() -> None:
    known = {"C": Cursor("i1", 20)}
    assert heard(known, [("C", Cursor("i2", 500))], "A") == known


def test_bytes_that_are_left_after_a_bound() -> None:
    assert retention.held_after(replace(owner(3), open_bytes=7), 20) == 17
