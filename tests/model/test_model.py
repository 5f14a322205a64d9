"""The words themselves: epochs order as they should, and a group and a charter answer simple questions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.model.charter import Charter
from drsync.model.copy import Statement
from drsync.model.epoch import EPOCH_MAX, ERA_MAX, NEVER, TERM_MAX, Epoch, era, generation, make, show, term
from drsync.model.errors import (
    DrsyncError,
    FailedCopyError,
    MalformedError,
    PermanentError,
    RefusedError,
    TransientError,
    UsageError,
)
from drsync.model.group import GroupSpec
from drsync.model.position import NO_CHAIN, ORIGIN, EpochStart, Loss
from drsync.model.topology import Center, Designation

parts = st.tuples(st.integers(0, ERA_MAX), st.integers(0, ERA_MAX), st.integers(0, TERM_MAX))

A = Center("a", Designation.PRODUCTION, "here")
B = Center("b", Designation.SAME_CITY, "here")
C = Center("c", Designation.REMOTE, "there")
GROUP = GroupSpec("1", "orders", (), (A, B, C), "a")


@given(parts, parts)
def test_epochs_order_by_generation_then_era_then_term(
    one: tuple[int, int, int], two: tuple[int, int, int]
) -> None:
    assert (make(*one) < make(*two)) == (one < two)
    epoch = make(*one)
    assert (generation(epoch), era(epoch), term(epoch)) == one
    assert NEVER <= epoch <= EPOCH_MAX


@pytest.mark.parametrize(
    "wrong", [(-1, 0, 0), (ERA_MAX + 1, 0, 0), (0, ERA_MAX + 1, 0), (0, 0, TERM_MAX + 1)]
)
def test_a_part_that_does_not_fit_is_a_mistake(wrong: tuple[int, int, int]) -> None:
    with pytest.raises(AssertionError):
        make(*wrong)


@pytest.mark.parametrize(
    ("epoch", "text"),
    [(NEVER, "0"), (make(0, 0, 7), "7"), (make(0, 1, 0), "1.0"), (make(2, 0, 3), "2.0.3")],
)
def test_people_see_only_the_parts_that_matter(epoch: Epoch, text: str) -> None:
    assert show(epoch) == text


def test_an_owner_may_hold_the_centers_of_its_own_city_in_sync() -> None:
    assert GROUP.mates("a") == ("b",)
    assert GROUP.mates("c") == ()
    assert GROUP.center("b") is B


def test_a_center_that_is_no_member_is_an_error() -> None:
    with pytest.raises(KeyError, match="stranger"):
        GROUP.center("stranger")


@pytest.mark.parametrize("loss", Loss)
def test_a_charter_knows_whether_a_loss_was_accepted(loss: Loss) -> None:
    charter = Charter(GROUP, history=(EpochStart(Epoch(1), "u", 0, NO_CHAIN, loss),))
    assert charter.is_forced == (loss is Loss.FORCED)
    assert not Charter(GROUP).is_forced


def test_a_copy_that_says_nothing_has_nothing() -> None:
    word = Statement("a", "s", "i")
    assert (word.first_seq, word.runs, word.tip, word.promised) == (1, (), ORIGIN, NEVER)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (DrsyncError, "failed"),
        (TransientError, "not_reached"),
        (PermanentError, "failed"),
        (RefusedError, "refused"),
        (MalformedError, "malformed"),
        (FailedCopyError, "copy_failed"),
        (UsageError, "usage"),
    ],
)
def test_an_error_carries_a_code_and_what_to_do(kind: type[DrsyncError], code: str) -> None:
    assert kind("No.").code == code
    named = kind("No.", code="stale_epoch", remedy="Ask again.")
    assert (str(named), named.code, named.remedy, kind.code) == ("No.", "stale_epoch", "Ask again.", code)
