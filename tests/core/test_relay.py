"""Following an owner: what is attached, what is cut, what must not go on. And what is sent again."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from drsync.core.held import REQUEST_COST, Held
from drsync.core.relay import AfterLoss, Export, Offer, Patience, Pursuit
from drsync.model import epoch as epochs
from drsync.model.epoch import NEVER, Epoch
from drsync.model.served import Served

SIZE = 1 << 20
FORCED = epochs.make(0, 1, 0)


def export(epoch: int, lost_in: int = 0, size: int = SIZE, *, is_read_only: bool = False) -> Export:
    return Export(Served(Epoch(epoch), Epoch(lost_in)), size, is_read_only)


def attached(epoch: int, users: int = 1, after: AfterLoss = AfterLoss.FAIL) -> Pursuit:
    pursuit, offer = Pursuit(after).offered(export(epoch))
    assert offer is Offer.CARRY
    for _ in range(users):
        pursuit = pursuit.joined()
    return pursuit


# --- whom to follow


def test_a_newer_epoch_is_cut_to_at_once_and_an_older_one_never_attached_again() -> None:
    pursuit = attached(5).heard(Epoch(6))
    assert not pursuit.is_attached
    same, offer = pursuit.offered(export(5))
    assert (same, offer) == (pursuit, Offer.STALE)
    assert pursuit.offered(export(6))[1] is Offer.CARRY


def test_an_older_word_changes_nothing() -> None:
    """A coordinator whose store is an old copy."""
    pursuit = attached(5)
    assert pursuit.heard(Epoch(4)) == pursuit
    assert pursuit.heard(Epoch(5)) == pursuit


def test_the_same_owner_in_the_same_epoch_is_attached_again() -> None:
    assert attached(5).lost().offered(export(5))[1] is Offer.CARRY


# --- after a loss


@pytest.mark.parametrize("now", [FORCED, FORCED + 1, FORCED + 7])
def test_an_admitted_loss_since_the_last_answers_breaks_it(now: int) -> None:
    broken, offer = attached(5).lost().offered(export(now, lost_in=FORCED))
    assert offer is Offer.BROKEN
    assert not broken.is_attached
    assert "epoch 1.0 was opened with an admitted loss, and clients were answered in epoch 5" in broken.broken
    again, offer = broken.offered(export(now + 1, lost_in=FORCED))
    assert offer is Offer.BROKEN
    assert again.broken == broken.broken


def test_a_loss_before_the_first_answer_is_none_of_ours() -> None:
    pursuit = attached(FORCED).lost()
    assert pursuit.offered(export(FORCED + 1, lost_in=FORCED))[1] is Offer.CARRY


def test_a_volatile_loss_counts_although_no_era_rose() -> None:
    assert attached(5).lost().offered(export(6, lost_in=6))[1] is Offer.BROKEN


def test_who_comes_after_the_loss_has_nothing_to_miss() -> None:
    broken, _ = attached(5, users=2).lost().offered(export(FORCED, lost_in=FORCED))
    still = broken.left()
    assert still.broken
    mended = still.left()
    assert not mended.broken
    assert mended.offered(export(FORCED, lost_in=FORCED))[1] is Offer.CARRY


def test_nobody_was_there() -> None:
    assert attached(5, users=0).lost().offered(export(FORCED, lost_in=FORCED))[1] is Offer.CARRY


def test_who_came_while_nobody_owned_it_has_seen_nothing_either() -> None:
    pursuit = attached(5, users=0).lost().joined()
    assert pursuit.offered(export(FORCED, lost_in=FORCED))[1] is Offer.CARRY


def test_told_to_continue_it_does_and_each_loss_is_met_once() -> None:
    pursuit, offer = attached(5, after=AfterLoss.CONTINUE).lost().offered(export(FORCED, lost_in=FORCED))
    assert offer is Offer.CARRY
    assert pursuit.answered_in == FORCED


@pytest.mark.parametrize("after", AfterLoss)
def test_a_smaller_size_cannot_be_carried_on(after: AfterLoss) -> None:
    broken, offer = attached(5, after=after).lost().offered(export(6, size=SIZE // 2))
    assert offer is Offer.BROKEN
    assert f"the volume has {SIZE // 2} bytes now and had {SIZE}" in broken.broken


def test_a_volume_that_has_grown_is_carried_on_and_the_next_owner_must_have_that_size() -> None:
    grown, offer = attached(5).lost().offered(export(6, size=2 * SIZE))
    assert offer is Offer.CARRY
    assert grown.export == export(6, size=2 * SIZE)
    assert grown.lost().offered(export(7))[1] is Offer.BROKEN


def test_a_volume_that_grows_under_its_owner_is_told_to_those_who_come() -> None:
    pursuit = attached(5).measured(export(5, size=2 * SIZE))
    assert pursuit.export == export(5, size=2 * SIZE)
    assert pursuit.is_attached
    assert pursuit.measured(export(5)) == pursuit, "an older look at it"
    assert pursuit.measured(export(4, size=3 * SIZE)) == pursuit, "a deposed owner"
    lost = pursuit.lost()
    assert lost.measured(export(5, size=3 * SIZE)) == lost


def test_a_volume_that_became_read_only_cannot_be_carried_on() -> None:
    assert attached(5).lost().offered(export(6, is_read_only=True))[1] is Offer.BROKEN


@dataclass
class History:
    """Openings of a group, some with an admitted loss, and the acknowledged writes that each still holds."""

    epoch: int = 1
    lost_in: int = 0
    writes: set[int] = field(default_factory=set)


class Followed(RuleBasedStateMachine):
    """Owners that come and go in any order, some with an admitted loss, and clients of one relay."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.old = History(epoch=2), History(epoch=1)
        self.pursuit = Pursuit()
        self.acknowledged: set[int] = set()
        self.count = 0

    @rule(loses=st.booleans())
    def open(self, loses: bool) -> None:
        self.old = History(self.now.epoch, self.now.lost_in, set(self.now.writes))
        self.now.epoch += 1
        if loses:
            self.now.lost_in = self.now.epoch
            self.now.writes.clear()

    @rule()
    def hear(self) -> None:
        self.pursuit = self.pursuit.heard(Epoch(self.now.epoch))
        export = self.pursuit.export
        if self.pursuit.is_attached and export is not None:
            assert export.served.epoch == self.now.epoch

    @rule()
    def lose_the_connection(self) -> None:
        self.pursuit = self.pursuit.lost()

    @precondition(lambda self: not self.pursuit.is_attached)
    @rule(is_old=st.booleans())
    def offer(self, is_old: bool) -> None:
        of, before = self.old if is_old else self.now, self.pursuit
        self.pursuit, offer = before.offered(export(of.epoch, of.lost_in))
        if offer is Offer.CARRY:
            assert self.acknowledged <= of.writes
        assert (offer is Offer.STALE) == (of.epoch < before.newest)

    @precondition(lambda self: not self.pursuit.broken)
    @rule()
    def join(self) -> None:
        self.pursuit = self.pursuit.joined()

    @precondition(lambda self: self.pursuit.users)
    @rule()
    def leave(self) -> None:
        self.pursuit = self.pursuit.left()
        if not self.pursuit.users:
            self.acknowledged.clear()

    @precondition(lambda self: self.pursuit.users and self.pursuit.is_attached)
    @rule()
    def write(self) -> None:
        assert self.pursuit.export is not None
        if self.pursuit.export.served.epoch == self.now.epoch:  # a deposed owner acknowledges nothing
            self.count += 1
            self.now.writes.add(self.count)
            self.acknowledged.add(self.count)

    @invariant()
    def it_is_consistent(self) -> None:
        assert not (self.pursuit.broken and self.pursuit.is_attached)
        assert self.pursuit.users or (self.pursuit.answered_in == NEVER and not self.pursuit.broken)


Followed.TestCase.settings = settings(stateful_step_count=25)
TestNoClientGoesOnWhereAWriteThatWasAcknowledgedToItIsMissing = Followed.TestCase


# --- patience


def test_patience_ends_a_while_after_the_owner_was_lost_or_fell_silent() -> None:
    patience = Patience(10.0)
    assert not patience.is_over(100.0, alone_since=None, oldest_since=None)
    assert not patience.is_over(100.0, alone_since=91.0, oldest_since=95.0)
    assert patience.is_over(100.0, alone_since=90.0, oldest_since=None)
    assert patience.is_over(100.0, alone_since=None, oldest_since=90.0)
    assert patience.is_over(100.0, alone_since=99.0, oldest_since=80.0)


def test_patience_of_zero_never_ends() -> None:
    assert not Patience(0.0).is_over(1e9, alone_since=0.0, oldest_since=0.0)


# --- what is sent again


def test_costs_are_what_requests_and_answers_hold() -> None:
    held = Held()
    held.take(b"a", bytes(28 + 4096))
    held.take(b"b", bytes(28), read_length=65536)
    assert held.cost == 2 * REQUEST_COST + 2 * 28 + 4096 + 65536
    assert held.answer(b"b")
    assert held.answer(b"a")
    assert held.cost == 0
    assert not held.answer(b"a")


@dataclass
class Owner:
    """Executes requests in order of arrival, answers some of them."""

    log: list[bytes] = field(default_factory=list)


@given(
    st.lists(st.tuples(st.sampled_from(["ask", "answer", "change", "drop"]), st.integers(0, 7)), max_size=80)
)
def test_the_unanswered_are_sent_again_in_order_before_anything_newer_and_the_answered_never(
    steps: list[tuple[str, int]],
) -> None:
    held, owner = Held(), Owner()
    asked: list[bytes] = []
    done: set[bytes] = set()
    for step, choice in steps:
        match step:
            case "ask":
                request = len(asked).to_bytes(8)
                asked.append(request)
                held.take(request, request)
                owner.log.append(request)
            case "answer" if waiting := [r for r in asked if r not in done]:
                request = waiting[choice % len(waiting)]
                assert held.answer(request)
                done.add(request)
            case "change":
                owner = Owner(held.unanswered())
                assert owner.log == [request for request in asked if request not in done]
            case "drop":
                refused = [cookie for cookie, _ in held.drop()]
                assert refused == [request for request in asked if request not in done]
                done.update(refused)
            case _:
                pass
        oldest = held.oldest()
        assert oldest == next((request for request in asked if request not in done), None)
        assert len(held) == len(asked) - len(done)
    places = {request: owner.log.index(request) for request in owner.log}
    assert sorted(places, key=places.__getitem__) == sorted(places), "each once, in the order they came"
