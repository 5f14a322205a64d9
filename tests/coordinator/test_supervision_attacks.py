"""What one center, one drill or one restart must not do to the rest of the coordinator's work."""

import asyncio

import pytest

from drsync.model.operation import Operation, OperationKind, OperationState
from drsync.model.runbook import Run, RunMode
from drsync.ports.runs import Place
from tests.coordinator.centers import World
from tests.coordinator.test_runbooks import PARAMS, TEXT
from tests.engine.fake_members import A, B, C, Json


async def test_a_center_that_hangs_in_a_clean_up_keeps_no_group_closed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.protect()
    call, hangs = world.centers.call, asyncio.Event()

    async def hanging(center: str, method: str, body: Json, timeout_s: float) -> Json:
        if method == "inventory.clean":
            hangs.set()
            await asyncio.Event().wait()
        return await call(center, method, body, timeout_s)

    monkeypatch.setattr(world.centers, "call", hanging)
    world.office.supervision._left._runs.owe(Place("gone", C, "drill-gone"))
    await hangs.wait()
    world.lose(A)
    world.centers.deaf.discard(A)
    await world.connect(A, session="second")
    await world.until(lambda: world.office.store.all()[0].epoch == 2 and world.owner() == A)


async def unfinished(world: World, mode: RunMode, target: str) -> str:
    """What a coordinator that died left: a run whose steps have not begun."""
    charter = world.office.store.all()[0]
    operations = world.office.api._operations
    run = Run("d" * 32, charter.group.id, mode, A, target, TEXT, PARAMS, actor="ops", started_us=1)
    operations.books._runs.begin(run)
    kind = OperationKind.DRILL if mode is RunMode.DRILL else OperationKind(mode.value)
    operation = Operation(run.id, kind, "orders", target, "ops", "", 1)
    operations._evidence.begin(operation)
    assert operations.postpone(operation)
    return run.id


async def test_what_is_asked_for_meanwhile_is_not_followed_by_an_older_move(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failover right after a restart takes the place of the move that would have gone on."""
    await world.protect()
    monkeypatch.setattr(world.office.supervision, "_has_settled", lambda _charter: False)
    old = await unfinished(world, RunMode.SWITCHOVER, C)
    refused = await world.post("/v1/groups/orders/switchover", {"to": B}, 409)
    assert "is under way" in str(refused)
    world.lose(A)
    ended = await world.operate("/v1/groups/orders/failover", {"to": B, "accept_loss": True})
    assert ended["state"] == "done", ended
    known = world.office.api._operations.find(old)
    assert known is not None
    assert known.state is OperationState.FAILED
    assert known.error is not None
    assert known.error.code == "superseded"
    assert not world.office.api._operations.is_postponed(old)


async def test_a_drill_does_not_start_beside_one_that_is_still_to_be_taken_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.protect()
    monkeypatch.setattr(world.office.supervision, "_has_settled", lambda _charter: False)
    await unfinished(world, RunMode.DRILL, C)
    refused = await world.post("/v1/groups/orders/drill", {}, 409)
    assert "is under way" in str(refused)
