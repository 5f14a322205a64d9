"""Procedures run to an end: done, or refused with a reason, wherever the coordinator dies in between."""

from dataclasses import dataclass, replace

import pytest
from typing_extensions import override

from drsync.adapters.memory.charter_store import MemoryCharterStore, Mishap
from drsync.core.lease import LeaseBook
from drsync.engine.procedure_world import ProcedureWorld
from drsync.engine.procedures import Outcome, ProcedureRunner, Request
from drsync.model.charter import Charter, IntentKind
from drsync.model.copy import CopyState
from drsync.model.epoch import Epoch
from drsync.model.operation import OperationState
from drsync.ports.charter_store import CasResult
from tests.engine.fake_members import (
    GROUP,
    LEASE_S,
    A,
    B,
    C,
    FakeClock,
    FakeDesk,
    FakeMembers,
    FakeRandom,
    KilledError,
    Notes,
    served,
    spec,
)

EVERYWHERE = range(20)


class MortalStore(MemoryCharterStore):
    """The coordinator may also die right after a change of the charter, or right before."""

    def __init__(self, members: FakeMembers) -> None:
        super().__init__()
        self._members = members

    @override
    async def compare_and_set(self, expected_version: int, charter: Charter) -> CasResult:
        self._members.count()
        result = await super().compare_and_set(expected_version, charter)
        self._members.count()
        return result


@dataclass
class Stage:
    store: MemoryCharterStore
    members: FakeMembers
    desk: FakeDesk
    clock: FakeClock
    world: ProcedureWorld
    notes: Notes

    def runner(self, kind: IntentKind, target: str, **extra: object) -> ProcedureRunner:
        known = extra.pop("has_begun", False)
        request = Request(GROUP, kind, target, "a" * 32, "ops", "story", **extra)  # type: ignore[arg-type]
        return ProcedureRunner(self.world, request, self.notes, has_begun=bool(known))

    async def run(self, kind: IntentKind, target: str, **extra: object) -> Outcome:
        return await self.runner(kind, target, **extra).run()

    async def charter(self) -> Charter:
        found = await self.store.read(GROUP)
        assert found is not None
        return found

    def owners(self) -> list[str]:
        return [n for n, m in self.members.members.items() if m.word.state is CopyState.OWNER]


@pytest.fixture
async def stage() -> Stage:
    charter, members = served()
    clock = FakeClock()
    fakes = FakeMembers(members)
    store = MortalStore(fakes)
    assert (await store.compare_and_set(0, charter)).current == charter
    desk = FakeDesk(clock, LeaseBook(A, clock.now() + LEASE_S))
    store.guard = desk.guard
    world = ProcedureWorld(store, fakes, desk, clock, FakeRandom())
    return Stage(store, fakes, desk, clock, world, Notes())


async def test_the_same_city_center_takes_over_when_the_lease_has_run_out(stage: Stage) -> None:
    stage.members.deaf.add(A)

    outcome = await stage.run(IntentKind.FAILOVER, B)

    charter = await stage.charter()
    assert outcome.state is OperationState.DONE
    assert (charter.owner, charter.epoch, charter.in_sync) == (B, Epoch(2), frozenset((B,)))
    assert charter.intent is None
    assert stage.notes.losses[-1].loss == "none"
    assert stage.clock.now() >= 1000.0 + LEASE_S
    assert [s.name for s in stage.notes.steps if s.name == "wait"] == ["wait"], "one wait is one step"
    assert [s.n for s in stage.notes.steps] == list(range(1, len(stage.notes.steps) + 1))


async def test_a_switchover_moves_the_group_without_waiting_for_a_lease(stage: Stage) -> None:
    outcome = await stage.run(IntentKind.SWITCHOVER, C)

    charter = await stage.charter()
    assert outcome.state is OperationState.DONE
    assert charter.owner == C
    assert charter.history[-1].fork_seq == 40, "everything the old owner had"
    assert stage.clock.now() < 1000.0 + 1.0


async def test_a_failover_that_may_lose_writes_is_refused_and_nothing_is_changed(stage: Stage) -> None:
    stage.members.deaf |= {A, B}
    before = await stage.charter()

    outcome = await stage.run(IntentKind.FAILOVER, C)

    assert outcome.state is OperationState.REFUSED
    assert outcome.reasons[0].code == "not_in_sync"
    assert await stage.charter() == before
    assert stage.members.asked == []


async def test_an_accepted_loss_is_stated_before_it_is_committed(stage: Stage) -> None:
    stage.members.deaf |= {A, B}

    outcome = await stage.run(IntentKind.FAILOVER, C, accept_loss=True)

    charter = await stage.charter()
    assert outcome.state is OperationState.DONE
    assert charter.is_forced
    assert stage.notes.losses[-1].may_lose_acknowledged
    assert charter.epoch >> 32 == 1, "a forced opening raises the era"


async def test_a_dry_run_states_the_loss_and_changes_nothing(stage: Stage) -> None:
    stage.members.deaf |= {A, B}
    before = await stage.charter()

    plan, _ = await stage.runner(IntentKind.FAILOVER, C).examine()

    assert type(plan).__name__ == "Refuse"
    assert stage.notes.losses[0].may_lose_acknowledged
    assert await stage.charter() == before


async def test_a_refusal_midway_takes_the_intent_back_and_the_owner_serves(stage: Stage) -> None:
    """The copy of the target breaks after the owner was sealed."""
    runner = stage.runner(IntentKind.FAILOVER, B)
    stage.members.kill_after = 3
    with pytest.raises(KilledError):
        await runner.run()
    stage.members.kill_after = None
    target = stage.members.members[B]
    target.word = replace(target.word, state=CopyState.FAILED)

    outcome = await stage.run(IntentKind.FAILOVER, B, has_begun=True)

    charter = await stage.charter()
    assert outcome.state is OperationState.REFUSED
    assert outcome.reasons[0].code == "copy_failed"
    assert charter.intent is None
    assert stage.owners() == [A]
    assert charter.epoch > Epoch(1), "promises are never taken back: it opened under a higher epoch"


async def test_a_switchover_that_does_not_drain_gives_the_group_back(stage: Stage) -> None:
    stage.members.is_target_slow = True
    target = stage.members.members[C]
    target.word = replace(target.word, durable=target.word.durable - 1)

    outcome = await stage.run(IntentKind.SWITCHOVER, C)

    charter = await stage.charter()
    assert outcome.state is OperationState.REFUSED
    assert charter.owner == A
    assert charter.intent is None
    assert stage.owners() == [A]
    waited = stage.clock.now() - 1000.0
    assert waited <= spec().policy.switchover_freeze_s + 1.0, "the pause is bounded"


@pytest.mark.parametrize("kind", [IntentKind.FAILOVER, IntentKind.SWITCHOVER])
@pytest.mark.parametrize("target", [B, C])
@pytest.mark.parametrize("deaths", EVERYWHERE)
async def test_the_next_coordinator_finishes_or_refuses(
    stage: Stage, kind: IntentKind, target: str, deaths: int
) -> None:
    """SIGKILL after every command, the owner alive: whoever owns it then serves, and nobody else."""
    stage.members.kill_after = deaths
    runner = stage.runner(kind, target)
    try:
        await runner.run()
    except KilledError:
        stage.members.kill_after = None
        stage.desk.book = LeaseBook.started(await stage.charter(), stage.clock.now())
        charter = await stage.charter()
        has_begun = charter.intent is not None
        outcome = await stage.run(kind, target, has_begun=has_begun)
        assert outcome.state in {OperationState.DONE, OperationState.REFUSED}, outcome
        assert outcome.state is OperationState.DONE or outcome.reasons
    charter = await stage.charter()
    assert charter.intent is None
    assert stage.owners() == [charter.owner]
    assert stage.members.members[charter.owner].term == charter.epoch


@pytest.mark.parametrize("mishap", [Mishap.LANDS_UNHEARD, Mishap.NEVER_LANDS, Mishap.LANDS_LATER])
@pytest.mark.parametrize("which", range(3))
async def test_an_unknown_outcome_is_read_back_before_going_on(
    stage: Stage, mishap: Mishap, which: int
) -> None:
    stage.members.deaf.add(A)
    stage.store.mishaps = [Mishap.NONE] * which + [mishap]
    stage.clock.on_sleep.append(stage.store.deliver_late)

    outcome = await stage.run(IntentKind.FAILOVER, B)

    charter = await stage.charter()
    assert outcome.state is OperationState.DONE
    assert (charter.owner, charter.intent) == (B, None)
    assert stage.owners().count(B) == 1
    opened = [v.epoch for v in stage.store.history(GROUP)]
    assert opened == sorted(opened), "epochs never sink"
    assert any("unknown" in s.detail for s in stage.notes.steps)


async def test_two_coordinators_race_and_one_change_comes_of_it(stage: Stage) -> None:
    stage.members.deaf.add(A)
    first = stage.runner(IntentKind.FAILOVER, B)
    stage.members.kill_after = 4
    with pytest.raises(KilledError):
        await first.run()
    stage.members.kill_after = None
    other = Request(GROUP, IntentKind.FAILOVER, C, "b" * 32, "night shift", "the other one")

    late = await ProcedureRunner(stage.world, other, Notes()).run()
    outcome = await stage.run(IntentKind.FAILOVER, B, has_begun=True)

    assert late.state is OperationState.REFUSED
    assert late.reasons[0].code == "in_progress"
    assert outcome.state is OperationState.DONE
    assert (await stage.charter()).owner == B


async def test_a_dead_member_costs_no_more_than_its_deadline(stage: Stage) -> None:
    stage.members.deaf |= {A, C}
    outcome = await stage.run(IntentKind.FAILOVER, B)
    assert outcome.state is OperationState.DONE


async def test_while_the_store_may_not_act_nothing_is_touched(stage: Stage) -> None:
    stage.desk.ready = "the charter store waits to hear from remote"
    outcome = await stage.run(IntentKind.FAILOVER, B)
    assert outcome.state is OperationState.FAILED
    assert stage.members.asked == []
    assert "waits to hear" in outcome.text
