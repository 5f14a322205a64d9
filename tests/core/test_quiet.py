"""What makes a point application-consistent, in which order, and when: never a word without its proof."""

from dataclasses import replace
from itertools import product

import pytest

from drsync.core.quiet import AGAIN_S, US, Evidence, Owner, Thawed, is_due, is_late, is_written, plan, verdict
from drsync.model.consistency import Consistency, OnFailure, QuietStep, StepKind

FREEZE = QuietStep(StepKind.FSFREEZE, "/srv/orders")
DATABASE = QuietStep(StepKind.POSTGRESQL, "orders")
HOLD, GO = QuietStep(StepKind.PROGRAM, "hold"), QuietStep(StepKind.PROGRAM, "go")
POLICY = Consistency(before=(FREEZE, HOLD, DATABASE), after=(GO,), every_s=900.0)
ASKED = plan(POLICY)
PROVED = Evidence(
    is_recorded=True, is_kept=True, thawed=(Thawed("/srv/orders", held=True, ms=40),), has_reached=True
)
NOW = 10_000_000 * US


def test_file_systems_are_frozen_last_because_what_writes_must_be_able_to() -> None:
    assert ASKED.before == (HOLD, DATABASE)
    assert ASKED.freezes == ("/srv/orders",)
    assert ASKED.after == (GO,)


def test_a_file_system_that_is_named_twice_is_frozen_once() -> None:
    assert plan(replace(POLICY, before=(FREEZE, FREEZE))).freezes == ("/srv/orders",)


def test_with_every_proof_the_application_agreed() -> None:
    assert verdict(ASKED, PROVED) == ""


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (replace(PROVED, failed=("program hold ended with exit code 3",)), "exit code 3"),
        (replace(PROVED, ended="ended, because it is frozen"), "because it is frozen"),
        (replace(PROVED, is_recorded=False), "not quiet"),
        (replace(PROVED, is_kept=False), "went on before"),
        (replace(PROVED, thawed=()), "nobody said that /srv/orders stayed frozen"),
        (
            replace(PROVED, thawed=(Thawed("/srv/orders", held=False, ms=2000, why="its time was over"),)),
            "over",
        ),
        (replace(PROVED, has_reached=False), "is it on one of them?"),
        (replace(PROVED, is_same_term=False), "changed hands"),
    ],
)
def test_one_missing_proof_is_enough_for_a_point_as_after_a_crash(seen: Evidence, why: str) -> None:
    assert why in verdict(ASKED, seen)


def test_nothing_but_all_proofs_together_is_ever_enough() -> None:
    flags = ("is_recorded", "is_kept", "has_reached", "is_same_term")
    held = [(), (Thawed("/srv/orders", held=True, ms=1),), (Thawed("/srv/orders", held=False, ms=1),)]
    for values in product((False, True), repeat=len(flags)):
        for thawed, failed, ended in product(held, ((), ("x",)), ("", "x")):
            seen = Evidence(failed, ended, thawed=thawed, **dict(zip(flags, values, strict=True)))
            is_enough = all(values) and thawed == held[1] and not failed and not ended
            assert (verdict(ASKED, seen) == "") == is_enough, seen


def test_what_becomes_of_the_checkpoint_when_a_step_failed() -> None:
    assert is_written(POLICY, ("x",))
    strict = replace(POLICY, on_failure=OnFailure.NONE)
    assert not is_written(strict, ("x",))
    assert is_written(strict, ())


def test_an_owner_makes_one_each_so_often_and_counts_from_the_one_before() -> None:
    owner = Owner(is_serving=True, newest_us=NOW - 899 * US)
    assert not is_due(POLICY, owner, NOW)
    assert is_due(POLICY, owner, NOW + US)


@pytest.mark.parametrize("change", [{"is_serving": False}, {"has_intent": True}, {"is_running": True}])
def test_nothing_is_begun_while_something_else_has_the_group_in_hand(change: dict[str, bool]) -> None:
    owner = Owner(is_serving=True, newest_us=NOW - 3600 * US)
    assert is_due(POLICY, owner, NOW)
    assert not is_due(POLICY, replace(owner, **change), NOW)


def test_after_a_failure_it_is_tried_again_in_a_minute_not_at_once() -> None:
    owner = Owner(is_serving=True, newest_us=NOW - 3600 * US, tried_s=AGAIN_S - 1)
    assert not is_due(POLICY, owner, NOW)
    assert is_due(POLICY, replace(owner, tried_s=AGAIN_S), NOW)


def test_a_new_owner_does_not_begin_with_a_pause() -> None:
    owner = Owner(is_serving=True, since_us=NOW)
    assert not is_due(POLICY, owner, NOW + (int(AGAIN_S) - 1) * US)
    assert is_due(POLICY, owner, NOW + int(AGAIN_S) * US)


def test_without_a_plan_or_a_period_nothing_is_ever_due_or_late() -> None:
    owner = Owner(is_serving=True, newest_us=1)
    for policy in (replace(POLICY, before=()), replace(POLICY, every_s=0.0)):
        assert not is_due(policy, owner, NOW)
        assert not is_late(policy, 0, 0, NOW)


def test_people_are_told_when_two_in_a_row_are_missing_or_as_the_policy_says() -> None:
    assert not is_late(POLICY, NOW - 1800 * US, 0, NOW)
    assert is_late(POLICY, NOW - 1801 * US, 0, NOW)
    assert not is_late(POLICY, 0, NOW - 1800 * US, NOW), "before the first it is counted from the beginning"
    assert is_late(replace(POLICY, max_age_s=60.0), NOW - 61 * US, 0, NOW)
    assert is_late(replace(POLICY, every_s=0.0, max_age_s=60.0), NOW - 61 * US, 0, NOW)
