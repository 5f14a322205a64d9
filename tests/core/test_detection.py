"""When an owner counts as lost: the table is complete, and each row has its story."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import pytest

from drsync.core import detection, gray, link, succession
from drsync.core.detection import (
    Action,
    Bar,
    MemberSeen,
    Others,
    OwnerSeen,
    Sight,
    Standing,
    State,
    Verdict,
)
from drsync.core.lease import LeaseBook
from drsync.model.charter import IntentKind
from drsync.model.copy import CopyState
from drsync.model.fileset import FileSetSpec
from drsync.model.group import Failover, GroupPolicy, Mode
from tests.core.world import Request, World, observe, town

AUTOMATIC = GroupPolicy(failover=Failover.AUTOMATIC, lease_s=10.0, detect_s=5.0, anti_flap_s=600.0)
NOW = 1000.0
LAPSED = LeaseBook("a", NOW - 1)
HELD = LeaseBook("a", NOW + 4)
SILENT = OwnerSeen(43.0)
B_LOST = MemberSeen("b", 0.5, owner_silent_s=42.0, is_in_sync=True)
C_LOST = MemberSeen("c", 0.5, owner_silent_s=42.0)
B_HEARS = replace(B_LOST, owner_silent_s=0.4)
C_HEARS = replace(C_LOST, owner_silent_s=0.4)
READY = Standing(LAPSED, target="b")


# --- the table


def test_every_case_has_exactly_one_row() -> None:
    for sight, others, bar in product(Sight, Others, Bar):
        found = [
            one for one in detection.TABLE if sight in one.sights and others in one.others and bar in one.bars
        ]
        assert len(found) == 1, (sight, others, bar, found)


def test_no_row_is_there_for_nothing() -> None:
    for one in detection.TABLE:
        assert any(detection.row(*case) is one for case in product(Sight, Others, Bar)), one


def test_only_a_lost_or_disabled_owner_is_ever_deposed_and_never_past_a_bar() -> None:
    acting = {case for case in product(Sight, Others, Bar) if detection.row(*case).action is Action.FAIL_OVER}
    assert acting == {
        (Sight.SILENT, Others.LOST, Bar.NONE),
        *((Sight.UNABLE, others, Bar.NONE) for others in Others),
    }


def test_every_bar_waits_or_asks_a_person() -> None:
    assert detection.FOR_A_PERSON | detection.PASSING | {Bar.NONE} == set(Bar)
    assert not detection.FOR_A_PERSON & detection.PASSING


# --- every input


def standings() -> Iterator[Standing]:
    for lease, store, busy, target, changed_at, retry_at in product(
        (LeaseBook(), LAPSED, HELD),
        ("", "the store waits"),
        ("", "a switchover"),
        ("", "b"),
        (None, NOW - 700, NOW - 10),
        (0.0, NOW + 3),
    ):
        yield Standing(lease, store, busy, target, "" if target else "nobody is there", changed_at, retry_at)


def owners() -> Iterator[OwnerSeen]:
    for silent_s, is_open, is_broken, unopened_s, trouble in product(
        (0.3, 3.5, 5.0, 43.0), (True, False), (True, False), (0.0, 61.0), ("", "slow disk")
    ):
        yield OwnerSeen(
            silent_s, is_open=is_open, is_broken=is_broken, unopened_s=unopened_s, trouble=trouble
        )


def members() -> Iterator[tuple[MemberSeen, ...]]:
    words = [
        (age_s, silent_s, bound_s)
        for age_s, silent_s, bound_s in product((0.5, 10.0), (None, 0.4, 42.0), (0.0, 4.0))
    ]
    for one, other in product(words, words):
        yield MemberSeen("b", *one, is_in_sync=True), MemberSeen("c", *other)


def policies() -> Iterator[GroupPolicy]:
    for failover, mode in product(Failover, Mode):
        yield replace(AUTOMATIC, failover=failover, mode=mode)


def test_whatever_is_seen_the_verdict_keeps_its_promises() -> None:
    """All of it: who acts has two that lost the owner, and nothing in the way."""
    world = town()
    seen = replace(observe(world, Request(IntentKind.FAILOVER, "b")), now=NOW)
    sights = [(owner, detection.sight(owner, AUTOMATIC)) for owner in owners()]
    words = [(said, detection.witnesses(said, AUTOMATIC)) for said in members()]
    for owner, sight in sights:
        is_lost = owner.silent_s >= AUTOMATIC.detect_s
        assert (sight is Sight.SILENT) is is_lost
        if sight in {Sight.SERVES, Sight.SLOW}:
            assert owner.is_open
            assert not owner.is_broken
    for said, (others, by) in words:
        fresh = {one.center for one in said if one.age_s < detection.FRESH_S}
        assert set(by) <= fresh
        assert (others is Others.ALONE) is (not by)
    for policy, standing in product(policies(), standings()):
        found = detection.hindrance(policy, "a", standing, NOW)
        is_free = (
            policy.failover is Failover.AUTOMATIC
            and policy.mode is Mode.SYNC
            and bool(standing.target)
            and not standing.busy
            and not standing.store_ready
            and standing.lease != HELD
            and standing.changed_at != NOW - 10
            and not standing.retry_at
        )
        assert (found.bar is Bar.NONE) is is_free, (policy, standing, found)
        assert bool(found.reason) is not is_free
    for (owner, _), (said, _), standing in product(sights, words[::7], list(standings())[::5]):
        charter = replace(seen.charter, group=replace(seen.charter.group, policy=AUTOMATIC))
        verdict = detection.detect(replace(seen, charter=charter), owner, said, standing)
        assert verdict.reason
        assert detection.row(verdict.sight, verdict.others, verdict.bar)[3:] == (
            verdict.state,
            verdict.action,
        )


# --- stories


def judged(
    owner: OwnerSeen,
    *members: MemberSeen,
    standing: Standing = READY,
    policy: GroupPolicy = AUTOMATIC,
    now: float = NOW,
) -> Verdict:
    world = town()
    charter = replace(world.charter, group=replace(world.charter.group, policy=policy))
    seen = replace(observe(world, Request(IntentKind.FAILOVER, "b")), charter=charter, now=now)
    return detection.detect(seen, owner, members, standing)


def test_an_owner_that_the_coordinator_alone_has_lost_is_only_suspected() -> None:
    verdict = judged(SILENT, B_HEARS, C_HEARS)
    assert (verdict.state, verdict.action) == (State.SUSPECTED, Action.WAIT)
    assert "no other member says so" in verdict.reason


def test_a_second_that_lost_it_confirms_the_loss_and_is_named() -> None:
    verdict = judged(SILENT, B_LOST, C_LOST)
    assert (verdict.state, verdict.action, verdict.by) == (State.CONFIRMED, Action.FAIL_OVER, ("b", "c"))
    assert verdict.since == NOW - 43.0
    assert verdict.target == "b"


def test_the_witness_may_be_the_remote_center_who_is_never_the_target() -> None:
    verdict = judged(SILENT, B_HEARS, C_LOST)
    assert (verdict.action, verdict.by, verdict.target) == (Action.FAIL_OVER, ("c",), "b")


def test_an_old_word_bears_no_witness() -> None:
    """The witness itself may have been cut off since: a city that is gone accuses nobody."""
    assert judged(SILENT, replace(B_LOST, age_s=10.0)).state is State.SUSPECTED


def test_a_witness_needs_the_whole_time_as_well() -> None:
    assert judged(SILENT, replace(B_LOST, owner_silent_s=4.9)).state is State.SUSPECTED


def test_an_owner_that_lives_on_confirmations_is_left_alone() -> None:
    """Only the coordinator and the remote center have lost production, which goes on with same-city."""
    verdict = judged(SILENT, replace(B_HEARS, bound_s=6.0), C_LOST)
    assert (verdict.state, verdict.others) == (State.SUSPECTED, Others.BOUND)
    assert "goes on without the coordinator, with b" in verdict.reason


def test_a_confirmation_that_has_run_out_since_protects_nobody() -> None:
    assert judged(SILENT, replace(B_HEARS, bound_s=0.3), C_LOST).state is State.CONFIRMED


@pytest.mark.parametrize(
    "owner",
    [
        OwnerSeen(3.5),
        OwnerSeen(4.9),
        OwnerSeen(0.2, trouble="3 % of its commits took more than 0.5 s"),
        OwnerSeen(0.2, trouble="no space left"),
    ],
)
def test_a_gray_owner_is_never_deposed(owner: OwnerSeen) -> None:
    """Even with everybody against it."""
    verdict = judged(owner, B_LOST, C_LOST)
    assert (verdict.state, verdict.action) == (State.GRAY, Action.NONE)


def test_an_owner_whose_process_restarted_is_opened_again_where_it_is() -> None:
    verdict = judged(OwnerSeen(0.2, is_open=False, unopened_s=2.0), B_LOST, C_LOST)
    assert (verdict.state, verdict.action) == (State.RETURNED, Action.REOPEN)


def test_an_owner_that_is_there_and_cannot_serve_needs_no_witness() -> None:
    for owner in (
        OwnerSeen(0.2, is_open=False, is_broken=True),
        OwnerSeen(0.2, is_open=False, unopened_s=61),
    ):
        assert judged(owner, B_HEARS, C_HEARS).action is Action.FAIL_OVER


def test_the_lease_is_waited_for_and_its_end_is_told() -> None:
    verdict = judged(SILENT, B_LOST, standing=replace(READY, lease=HELD))
    assert (verdict.action, verdict.bar, verdict.until) == (Action.WAIT, Bar.LEASE, NOW + 4)


def test_a_lease_of_somebody_else_is_no_lease_of_the_owner() -> None:
    assert judged(SILENT, B_LOST, standing=replace(READY, lease=LeaseBook("b", NOW + 4))).bar is Bar.NONE


def test_a_group_does_not_flap() -> None:
    moved = replace(READY, changed_at=NOW - 1)
    verdict = judged(SILENT, B_LOST, standing=moved)
    assert (verdict.action, verdict.bar, verdict.until) == (Action.WAIT, Bar.FLAPPING, NOW + 599)
    later = judged(SILENT, B_LOST, standing=moved, now=NOW + 599)
    assert later.action is Action.FAIL_OVER


@pytest.mark.parametrize(
    ("policy", "standing", "bar"),
    [
        (replace(AUTOMATIC, failover=Failover.MANUAL), READY, Bar.MANUAL),
        (replace(AUTOMATIC, mode=Mode.ASYNC), READY, Bar.MODE),
        (replace(AUTOMATIC, mode=Mode.SYNC_STRICT), READY, Bar.MODE),
        (AUTOMATIC, replace(READY, target="", nobody="b is silent"), Bar.NOBODY),
    ],
)
def test_what_is_for_a_person_says_so(policy: GroupPolicy, standing: Standing, bar: Bar) -> None:
    verdict = judged(SILENT, B_LOST, policy=policy, standing=standing)
    assert (verdict.state, verdict.action, verdict.bar) == (State.CONFIRMED, Action.PERSON, bar)


# --- who takes over


def successor(world: World, *reached: str) -> tuple[str, str]:
    return succession.successor(observe(world, Request(IntentKind.FAILOVER, ""), reached))


def test_the_clean_in_sync_mate_takes_over() -> None:
    assert successor(town(), "b", "c") == ("b", "")


def test_the_remote_center_never_does_even_if_it_holds_everything() -> None:
    for in_sync in ({"a"}, {"a", "c"}, {"a", "b", "c"}):
        name, why = successor(town(in_sync=in_sync, lengths=(4, 4, 4)), "c")
        assert name == ""
        assert why


def test_a_mate_outside_the_recorded_in_sync_set_does_not() -> None:
    name, why = successor(town(in_sync={"a"}), "b", "c")
    assert (name, why) == ("", "no center of a's site is in sync with it")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"unclean": True}, "restarted uncleanly"),
        ({"amnesic": True}, "gone back in time"),
        ({"no_space": "disk full"}, "disk full"),
        ({"state": CopyState.FAILED}, "failed"),
        ({"state": CopyState.FORKED}, "forked"),
        ({"state": CopyState.BLANK}, "blank"),
        ({"state": CopyState.OWNER}, "owner"),
    ],
)
def test_a_doubtful_mate_does_not(change: dict[str, object], words: str) -> None:
    world = town()
    doubtful = world.says(replace(world.words["b"], **change))  # type: ignore[arg-type]
    name, why = successor(doubtful, "b", "c")
    assert name == ""
    assert words in why


def test_a_silent_mate_does_not() -> None:
    name, why = successor(town(), "c")
    assert name == ""
    assert "cannot be reached" in why


def test_files_that_are_behind_are_for_a_person() -> None:
    world = town()
    group = replace(world.charter.group, filesets=(FileSetSpec("f" * 32, "docs", 1),))
    world = replace(world, charter=replace(world.charter, group=group))
    name, why = successor(world, "b", "c")
    assert name == ""
    assert "docs" in why


# --- slow


BOUNDS = (0.1, 0.5, 2.0)
FAST, SLOW = (100, 0, 0, 0), (90, 0, 10, 0)


def test_one_stall_is_no_condition_and_three_are() -> None:
    assert gray.trouble(AUTOMATIC, "", 0, [FAST] * 27 + [SLOW] * 2, BOUNDS) == ""
    said = gray.trouble(AUTOMATIC, "", 0, [FAST] * 27 + [SLOW] * 3, BOUNDS)
    assert said == "1% of its commits took more than 0.5 s"


def test_a_few_slow_ones_among_many_are_no_condition() -> None:
    assert gray.trouble(AUTOMATIC, "", 0, [(10_000, 0, 1, 0)] * 30, BOUNDS) == ""


def test_nobody_is_told_where_nobody_asks() -> None:
    assert gray.trouble(replace(AUTOMATIC, slow_commit_s=0.0), "", 0, [SLOW] * 30, BOUNDS) == ""
    assert gray.trouble(AUTOMATIC, "", 0, [], BOUNDS) == ""
    assert gray.trouble(AUTOMATIC, "", 0, [()] * 9, BOUNDS) == ""


def test_late_heartbeats_and_held_writes_are_told() -> None:
    assert "3 of its heartbeats" in gray.trouble(AUTOMATIC, "", 3, [FAST], BOUNDS)
    assert gray.trouble(AUTOMATIC, "no mate", 0, [FAST], BOUNDS) == "it holds writes: no mate"


@pytest.mark.parametrize(
    ("silent_s", "state"),
    [(0.0, "heard"), (2.9, "heard"), (3.0, "late"), (4.9, "late"), (5.0, "lost")],
)
def test_a_link_is_heard_late_or_lost(silent_s: float, state: str) -> None:
    assert link.judge(silent_s, link.late_after_s(10.0), 5.0) == state


def test_heartbeats_keep_pace_with_short_leases() -> None:
    assert link.heartbeat_s(2.0) == pytest.approx(0.4)
    assert link.heartbeat_s(10.0) == link.heartbeat_s(300.0) == 1.0
    assert link.judge(9.0, 9.0, 5.0) == "lost"
