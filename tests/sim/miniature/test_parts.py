"""The checkers themselves: a world is only as good as what it would notice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.model.copy import CopyState
from drsync.model.epoch import Epoch
from drsync.model.position import NO_CHAIN, EpochRun, EpochStart, Loss
from drsync.sim.miniature.checker import Acknowledged, Checker, ViolationError, covering
from drsync.sim.miniature.member import Log, Member, Rec, record
from drsync.sim.miniature.rules import Rules
from drsync.sim.miniature.simulation import Simulation

E1, E2 = Epoch(1), Epoch(2)


def chain_of(*epochs: int) -> list[Rec]:
    recs: list[Rec] = []
    for seq, epoch in enumerate(epochs, start=1):
        recs.append(record(Epoch(epoch), seq, seq, recs[-1].chain if recs else NO_CHAIN))
    return recs


def member(*epochs: int, name: str = "A") -> Member:
    made = Member(name, f"{name}1")
    made.disk.log.extend(chain_of(*epochs))
    made.disk.durable = made.disk.known = len(epochs)
    return made


def start(epoch: int, fork: int, loss: Loss = Loss.NONE, at_least: int = 0) -> EpochStart:
    return EpochStart(Epoch(epoch), f"u{epoch}", fork, NO_CHAIN, loss, at_least)


@given(st.lists(st.integers(1, 3), max_size=12).map(sorted), st.integers(0, 12))
def test_a_log_knows_its_runs_before_and_after_a_cut(epochs: list[int], keep: int) -> None:
    log = Log(chain_of(*epochs))
    gone = log.cut(min(keep, len(epochs)))
    assert [rec.epoch for rec in log.recs] + [rec.epoch for rec in gone] == epochs
    naive: list[EpochRun] = []
    for rec in log.recs:
        if naive and naive[-1].epoch == rec.epoch:
            naive[-1] = EpochRun(rec.epoch, naive[-1].first_seq, rec.seq, rec.chain)
        else:
            naive.append(EpochRun(rec.epoch, rec.seq, rec.seq, rec.chain))
    assert log.runs() == log.copy().runs() == tuple(naive)


def test_two_owners_in_one_era_are_noticed() -> None:
    first, second = member(1), member(1, name="B")
    first.epoch = second.epoch = E1
    with pytest.raises(ViolationError, match="two owners serve"):
        Checker().committed(first, first.disk.log.recs, [second])
    second.epoch = Epoch(1 << 32)  # after a forced opening only the lease stops the isolated one
    Checker().committed(first, first.disk.log.recs, [second])


def test_two_contents_at_one_position_are_noticed() -> None:
    checker, one = Checker(), member(1)
    checker.committed(one, one.disk.log.recs, [])
    with pytest.raises(ViolationError, match="two contents"):
        checker.committed(one, [record(E1, 1, 99, NO_CHAIN)], [])
    with pytest.raises(ViolationError, match="uncommitted"):
        checker.was_read(one, record(E1, 1, 99, NO_CHAIN))


def test_a_stale_read_is_noticed() -> None:
    checker, old = Checker(), member(1)
    old.epoch = E1
    checker.committed(old, old.disk.log.recs, [])
    checker.was_read(old, old.disk.log.recs[0])
    checker.top = E2
    with pytest.raises(ViolationError, match="stale read"):
        checker.was_read(old, old.disk.log.recs[0])


@pytest.mark.parametrize(
    ("history", "flushed", "is_covered"),
    [
        ((start(1, 0), start(2, 1)), False, False),
        ((start(1, 0), start(2, 1, Loss.VOLATILE)), False, True),
        ((start(1, 0), start(2, 1, Loss.VOLATILE)), True, False),
        ((start(1, 0), start(2, 1, Loss.FORCED)), True, True),
        ((start(1, 0), start(2, 2, Loss.FORCED)), True, False),
    ],
)
def test_a_lost_write_needs_an_admission_that_covers_it(
    history: tuple[EpochStart, ...], *, flushed: bool, is_covered: bool
) -> None:
    checker, before, after = Checker(), member(1, 1), member(1)
    before.epoch, after.epoch = E1, E2
    checker.committed(before, before.disk.log.recs, [])
    if flushed:
        checker.flushed(before, 2)
    after.disk.history = history
    if is_covered:
        checker.opened(after, [])
    else:
        with pytest.raises(ViolationError, match="acknowledged write lost"):
            checker.opened(after, [])


def test_a_statement_must_not_claim_more_than_was_lost() -> None:
    checker, after = Checker(), member(1)
    after.epoch, after.disk.history = E2, (start(1, 0), start(2, 1, Loss.FORCED, at_least=3))
    with pytest.raises(ViolationError, match="says more"):
        checker.opened(after, [])


def test_no_volatile_loss_while_somebody_in_sync_kept_it() -> None:
    checker, before, after = Checker(), member(1, 1, name="B"), member(1)
    before.epoch, after.epoch = E1, E2
    checker.committed(before, before.disk.log.recs, [])
    after.disk.history = (start(1, 0), start(2, 1, Loss.VOLATILE))
    with pytest.raises(ViolationError, match="an in-sync member has it"):
        checker.opened(after, [before])
    before.disk.unclean = True
    checker.opened(after, [before])


def test_a_foreign_acknowledgment_is_covered_by_force_only() -> None:
    assert covering((start(1, 0), start(3, 5, Loss.FORCED)), E2, 4, 9) == {Loss.FORCED}
    assert covering((start(1, 0), start(3, 5, Loss.VOLATILE)), E2, 4, 9) == set()


@pytest.mark.parametrize(("kept", "loss"), [(False, Loss.FORCED), (True, Loss.NONE)])
def test_cuts_are_watched(*, kept: bool, loss: Loss) -> None:
    checker, one = Checker(), member(1, 1)
    checker.committed(one, one.disk.log.recs, [])
    with pytest.raises(ViolationError):
        checker.cut(one, one.disk.log.recs[1:], (start(1, 0), start(2, 1, loss)), is_kept_aside=kept)


def test_an_image_beyond_its_log_is_noticed() -> None:
    one = member(1)
    one.disk.image = (2, NO_CHAIN)
    with pytest.raises(ViolationError, match="image"):
        Checker().image(one)


def test_a_flush_covers_what_was_acknowledged_before_it() -> None:
    checker, one = Checker(), member(1, 1)
    one.epoch = E1
    checker.committed(one, one.disk.log.recs, [])
    checker.flushed(one, 1)
    first, second = one.disk.log.recs
    assert checker.acknowledged == [Acknowledged(first, E1, E1), Acknowledged(second, E1)]


def test_a_calm_world_has_one_owner_and_equal_logs() -> None:
    calm = Simulation(3, Rules())
    calm.world.fault_rate = 0.0
    calm.heal()
    assert calm.has_converged()
    assert [found.state for found in calm.world.members.values()].count(CopyState.OWNER) == 1
