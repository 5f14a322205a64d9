"""Whose resync comes next."""

from dataclasses import replace

from drsync.core.resync_order import SLOTS, Applicant, following
from drsync.model.group import Priority

LARGE = Applicant("g1/remote", 0.2, 900)
SMALL = Applicant("g2/remote", 0.9, 10)
LATE = Applicant("g3/remote", 1.5, 5000)
LATER = Applicant("g4/remote", 4.0, 9000)


def test_the_worst_breach_comes_first_then_the_smallest() -> None:
    waiting, order = [LARGE, SMALL, LATE, LATER], []
    while (chosen := following(waiting, 0)) is not None:
        waiting.remove(chosen)
        order.append(chosen)
    assert order == [LATER, LATE, SMALL, LARGE]


def test_a_group_of_high_priority_goes_before_a_breach_and_one_of_low_priority_after_all() -> None:
    first = replace(LARGE, key="g5/remote", priority=Priority.HIGH)
    last = replace(LATER, key="g6/remote", priority=Priority.LOW)
    waiting, order = [last, LARGE, LATE, first], []
    while (chosen := following(waiting, 0)) is not None:
        waiting.remove(chosen)
        order.append(chosen)
    assert order == [first, LATE, LARGE, last]


def test_equals_come_in_one_order_whatever_the_order_they_were_asked_in() -> None:
    twins = [Applicant("b", 0.0, 1), Applicant("a", 0.0, 1)]
    assert following(twins, 0) == following(twins[::-1], 0) == twins[1]


def test_nobody_begins_while_all_slots_are_taken() -> None:
    assert following([LATER], SLOTS) is None
    assert following([LATER], SLOTS - 1) is LATER
    assert following([], 0) is None
