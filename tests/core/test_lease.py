"""Leases with time as data: until when an owner may answer, and who may take over when."""

from dataclasses import replace

import pytest

from drsync.core.lease import (
    DRIFT,
    LeaseBook,
    bound_until,
    may_confirm,
    may_go_on_without_store,
    owner_view,
)
from drsync.model.charter import Charter
from drsync.model.epoch import Epoch
from tests.core.groups import charter
from tests.core.logs import word

OWNED = charter(owner="a", epoch=5)
HELD = LeaseBook("a", 110.0)


@pytest.mark.parametrize(("sent_at", "until"), [(0.0, 9.9), (100.0, 109.9)])
def test_the_owner_counts_from_when_it_asked_and_a_little_less(sent_at: float, until: float) -> None:
    assert owner_view(sent_at, 10.0) == pytest.approx(until)
    assert owner_view(sent_at, 10.0, drift=0.0) == sent_at + 10.0


@pytest.mark.parametrize("delay", [0.0, 0.001, 5.0])
@pytest.mark.parametrize("rate", [1 - DRIFT / 2, 1.0, 1 + DRIFT / 2])
def test_an_owner_stops_before_the_store_gives_the_lease_to_another(delay: float, rate: float) -> None:
    """The store counts from when it heard, on a clock that may run a little faster."""
    book = LeaseBook().renew(OWNED, "a", Epoch(5), now=delay)
    assert book is not None
    assert owner_view(0.0, OWNED.group.policy.lease_s) <= book.until / rate


@pytest.mark.parametrize(
    ("center", "epoch", "released", "granted"),
    [
        ("a", 5, 0, True),
        ("a", 5, 5, True),
        ("a", 5, 6, False),
        ("a", 4, 0, False),
        ("a", 6, 0, False),
        ("b", 5, 0, False),
    ],
)
def test_only_the_owner_in_its_epoch_renews(center: str, epoch: int, released: int, granted: bool) -> None:
    book = LeaseBook(released=Epoch(released))
    renewed = book.renew(OWNED, center, Epoch(epoch), now=100.0)
    assert renewed == (replace(book, holder="a", until=110.0) if granted else None)


def test_a_store_that_remembers_nothing_takes_the_lease_for_just_granted() -> None:
    assert LeaseBook.started(OWNED, now=100.0) == HELD
    assert LeaseBook.started(charter(), now=100.0).may_change_owner(charter(), OWNED, 100.0)


def test_who_gave_the_lease_back_gets_no_other_below_the_epoch_it_gave_way_to() -> None:
    freed = HELD.release("a", Epoch(6))
    assert freed == LeaseBook("", 0.0, Epoch(6))
    assert freed.renew(OWNED, "a", Epoch(5), 101.0) is None
    assert freed.renew(replace(OWNED, epoch=Epoch(6)), "a", Epoch(6), 101.0) is not None


def test_a_release_never_takes_back_an_earlier_one() -> None:
    assert LeaseBook("a", 110.0, Epoch(9)).release("a", Epoch(6)).released == 9


@pytest.mark.parametrize("center", ["b", ""])
def test_nobody_gives_back_what_another_holds(center: str) -> None:
    assert HELD.release(center, Epoch(6)) == HELD


@pytest.mark.parametrize(
    ("book", "new", "now", "may"),
    [
        (HELD, charter(owner="b", epoch=6), 109.9, False),
        (HELD, charter(owner="b", epoch=6), 110.0, True),
        (HELD, charter(owner="a", epoch=6), 100.0, True),
        (HELD, replace(OWNED, version=9), 100.0, True),
        (LeaseBook(), charter(owner="b", epoch=6), 0.0, True),
    ],
    ids=["held", "lapsed", "its own next epoch", "same epoch", "nobody holds it"],
)
def test_a_change_of_owner_waits_for_the_lease(book: LeaseBook, new: Charter, now: float, may: bool) -> None:
    assert book.may_change_owner(OWNED, new, now) is may


@pytest.mark.parametrize(
    ("mates", "confirmations", "may"),
    [
        ((), (), False),
        (("b",), (), False),
        (("b",), ("a",), False),
        (("b",), ("c",), False),
        (("b",), ("b",), True),
        (("a", "b"), ("b", "c"), True),
        ((), ("c",), True),
        (("b", "d"), ("b",), False),
    ],
)
def test_going_on_without_the_store_needs_every_mate_and_one_other(
    mates: tuple[str, ...], confirmations: tuple[str, ...], may: bool
) -> None:
    assert may_go_on_without_store("a", mates, confirmations) is may


def test_a_remote_member_in_sync_is_asked_as_well() -> None:
    """A strict group may have one; whoever is in sync can open without asking the owner."""
    assert not may_go_on_without_store("a", ("b",), ("b",), in_sync=("a", "b", "c"))
    assert may_go_on_without_store("a", ("b",), ("b", "c"), in_sync=("a", "b", "c"))


@pytest.mark.parametrize(
    ("promised", "unclean", "amnesic", "is_checked", "may"),
    [
        (5, False, False, True, True),
        (4, False, False, True, True),
        (6, False, False, True, False),
        (5, True, False, True, False),
        (5, False, True, True, False),
        (5, False, False, False, False),
    ],
)
def test_who_may_have_forgotten_a_promise_confirms_nothing(
    promised: int, unclean: bool, amnesic: bool, is_checked: bool, may: bool
) -> None:
    said = word((), promised=promised, unclean=unclean, amnesic=amnesic)
    assert may_confirm(said, Epoch(5), is_checked=is_checked) is may


def test_a_confirmation_binds_as_long_as_the_owner_may_lean_on_it() -> None:
    assert bound_until(100.0, 10.0) >= owner_view(100.0, 10.0)
