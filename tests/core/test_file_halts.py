"""When a tree is not believed: an unmounted disk must never look like a clean-up."""

from dataclasses import dataclass

import pytest

from drsync.core.file_halts import CHANGES_FREE, Hold, judge_changes, judge_root, uses_approval
from drsync.model.fileset import BEFORE_ALL, Generation, HoldReason
from drsync.model.scan import RootIdentity

SET = "ab" * 16
ROOT = RootIdentity(SET, "fe01", 2)


@dataclass(frozen=True)
class Facts:
    held: Generation = BEFORE_ALL
    entries: int = 10
    root: RootIdentity | None = ROOT
    approved: bool = False


NEW = Facts(entries=0, root=None)


def reason(hold: Hold | None) -> HoldReason | None:
    assert hold is None or (hold.what and hold.remedy)
    return None if hold is None else hold.reason


@pytest.mark.parametrize("is_owner", [True, False])
def test_the_root_that_is_known_goes_on(is_owner: bool) -> None:
    assert judge_root(SET, Facts(), ROOT, is_owner=is_owner) is None


@pytest.mark.parametrize("facts", [Facts(), NEW, Facts(approved=True)])
def test_a_missing_root_waits_and_nobody_can_approve_it(facts: Facts) -> None:
    hold = judge_root(SET, facts, None, is_owner=True)
    assert reason(hold) is HoldReason.ROOT_MISSING
    assert hold is not None
    assert not hold.may_approve


@pytest.mark.parametrize("facts", [Facts(), NEW, Facts(approved=True)])
def test_the_root_of_another_set_is_never_taken(facts: Facts) -> None:
    hold = judge_root(SET, facts, RootIdentity("cd" * 16, "fe01", 2), is_owner=True, is_free=True)
    assert reason(hold) is HoldReason.ROOT_FOREIGN
    assert hold is not None
    assert not hold.may_approve


@pytest.mark.parametrize("approved", [False, True])
def test_an_empty_mount_point_is_not_the_root_whatever_was_approved(approved: bool) -> None:
    hold = judge_root(SET, Facts(approved=approved), RootIdentity("", "aa", 2), is_owner=True, is_free=True)
    assert reason(hold) is HoldReason.ROOT_FOREIGN


def test_a_file_system_with_another_id_at_each_mount_is_known_by_mark_and_inode() -> None:
    assert judge_root(SET, Facts(), RootIdentity(SET, "fe02", 2), is_owner=True) is None


def test_a_root_that_was_restored_elsewhere_needs_a_word() -> None:
    for moved in (RootIdentity(SET, "fe01", 3), RootIdentity(SET, "fe02", 3)):
        hold = judge_root(SET, Facts(), moved, is_owner=True)
        assert hold is not None
        assert hold.may_approve
        assert judge_root(SET, Facts(approved=True), moved, is_owner=True) is None


def test_a_root_that_never_had_a_mark_is_known_by_its_place() -> None:
    bare = RootIdentity("", "fe01", 2)
    assert judge_root(SET, Facts(root=bare), bare, is_owner=True) is None
    assert judge_root(SET, Facts(root=bare), RootIdentity("", "fe02", 2), is_owner=True)


def test_the_owner_takes_a_new_root_as_it_is_and_a_replica_overwrites_nothing() -> None:
    found = RootIdentity("", "fe01", 2)
    assert judge_root(SET, NEW, found, is_owner=True) is None
    hold = judge_root(SET, NEW, found, is_owner=False)
    assert hold is not None
    assert hold.may_approve
    assert judge_root(SET, NEW, found, is_owner=False, is_free=True) is None
    assert judge_root(SET, NEW, ROOT, is_owner=False) is None
    assert judge_root(SET, Facts(root=None, approved=True), found, is_owner=False) is None


def test_an_emptied_root_is_held_however_small_it_was() -> None:
    assert reason(judge_changes(Facts(entries=3), 2, is_emptied=True)) is HoldReason.ROOT_EMPTIED
    assert judge_changes(Facts(entries=3, approved=True), 2, is_emptied=True) is None


@pytest.mark.parametrize(
    ("entries", "removed", "replaced", "is_held"),
    [
        (10, 9, 0, False),
        (1500, CHANGES_FREE, 0, False),
        (1500, CHANGES_FREE, 1, True),
        (10_000, 3_000, 0, False),
        (10_000, 3_001, 0, True),
        (10_000, 0, 3_001, True),
    ],
)
def test_mass_changes_are_held(entries: int, removed: int, replaced: int, is_held: bool) -> None:
    hold = judge_changes(Facts(entries=entries), removed, replaced=replaced)
    assert reason(hold) is (HoldReason.MASS_CHANGE if is_held else None)
    assert judge_changes(Facts(entries=entries, approved=True), removed, replaced=replaced) is None


def test_a_word_is_used_up_by_the_first_complete_look() -> None:
    assert uses_approval(Facts(approved=True), is_partial=False)
    assert not uses_approval(Facts(approved=True), is_partial=True)
    assert not uses_approval(Facts(), is_partial=False)
