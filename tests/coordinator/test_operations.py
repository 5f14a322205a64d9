"""What people ask of a coordinator, and what it does by itself."""

import asyncio
from dataclasses import replace

import pytest

from drsync.coordinator import status
from drsync.model.copy import CopyState
from drsync.model.epoch import Epoch
from drsync.wire import control
from tests.coordinator.centers import DOCUMENT, WAIT_S, World
from tests.engine.fake_members import A, B, C, Json


def error_of(body: Json) -> Json:
    error = body["error"]
    assert isinstance(error, dict)
    return error


async def test_a_new_group_is_opened_at_its_preferred_owner(world: World) -> None:
    await world.protect()
    group = await world.group()
    assert (group["owner"], group["epoch"], group["intent"]) == (A, 1, None)


async def test_a_restarted_owner_is_opened_again_under_a_new_epoch(world: World) -> None:
    await world.protect()
    world.lose(A)
    world.centers.deaf.discard(A)
    await world.connect(A, session="second")
    await world.until(lambda: world.office.store.all()[0].epoch == 2 and world.owner() == A)
    assert world.office.store.all()[0].owner_session == f"second-{A}"


async def test_a_failover_waits_for_the_lease_and_then_moves_the_group(world: World) -> None:
    await world.protect()
    await world.until(lambda: world.office.sessions.report(world.office.store.all()[0].group.id) is not None)
    charter = world.office.store.all()[0]
    await world.office.store.compare_and_set(
        charter.version, replace(charter, version=charter.version + 1, in_sync=frozenset((A, B)))
    )
    world.lose(A)
    ended = await world.operate("/v1/groups/orders/failover", {"to": B, "reason": "fire", "actor": "ops"})
    assert ended["state"] == "done", ended
    loss, steps = ended["loss"], ended["steps"]
    assert isinstance(loss, dict)
    assert isinstance(steps, list)
    assert loss["loss"] == "none"
    assert "wait" in [step["name"] for step in steps]
    assert (await world.group())["owner"] == B
    listed = await world.get("/v1/operations")
    assert str(ended["id"]) in str(listed)


async def test_a_switchover_and_the_way_back(world: World) -> None:
    await world.protect()
    assert (await world.operate("/v1/groups/orders/switchover", {"to": B}))["state"] == "done"
    assert world.owner() == B
    assert (await world.operate("/v1/groups/orders/switchover", {"to": A}))["state"] == "done"
    assert world.owner() == A


async def test_a_loss_is_refused_with_exit_3_and_stated(world: World) -> None:
    await world.protect()
    before = world.office.store.all()[0]
    world.lose(A)
    ended = await world.operate("/v1/groups/orders/failover", {"to": C})
    assert ended["state"] == "refused"
    assert error_of(ended)["exit"] == 3
    assert ended["loss"] is not None
    assert world.office.store.all()[0] == before


async def test_a_dry_run_keeps_nothing(world: World) -> None:
    await world.protect()
    before = world.office.store.all()[0]
    answer = await world.post("/v1/groups/orders/failover", {"to": B, "dry_run": True}, 200)
    assert "operation" not in answer
    assert answer["loss"] is not None
    assert world.office.store.all()[0] == before


async def test_why_says_that_a_person_decides(world: World) -> None:
    await world.protect()
    world.lose(A)
    lines = (await world.get("/v1/groups/orders/why"))["lines"]
    assert isinstance(lines, list)
    assert lines[0]["who"] == A
    assert "a person decides" in lines[0]["remedy"]
    assert world.office.store.all()[0].owner == A


async def test_why_names_a_center_that_is_connected_and_silent(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stopped process keeps its connection for a while; nobody should wait for that to break."""
    monkeypatch.setattr(status, "SILENT_S", 0.2)
    await world.protect()
    gid = world.office.store.all()[0].group.id
    world.centers.deaf.add(C)
    word = world.office.sessions.word(gid, C)
    assert word is not None
    await world.until(lambda: world.office.orders._clock.now() - word.heard_at > 1)
    lines = (await world.get("/v1/groups/orders/why"))["lines"]
    assert isinstance(lines, list)
    (about,) = [line for line in lines if line["who"] == C]
    assert "has said nothing for" in about["what"]


async def test_rpo_grows_while_the_owner_is_silent(world: World) -> None:
    await world.protect()
    gid = world.office.store.all()[0].group.id
    await world.until(lambda: world.office.sessions.report(gid) is not None)
    world.lose(A)
    first = await world.group()
    heard = world.office.sessions.report(gid)
    assert heard is not None
    await world.until(lambda: world.office.orders._clock.now() - heard.heard_at > 0.3)
    later = await world.group()
    centers = (first["centers"], later["centers"])
    assert isinstance(centers[0], dict)
    assert isinstance(centers[1], dict)
    assert centers[1][C]["rpo_actual_s"] > centers[0][C]["rpo_actual_s"] >= 0.5
    assert centers[1][C]["rpo_actual_s"] >= 0.8


async def test_a_failover_takes_the_place_of_a_switchover_that_hangs(world: World) -> None:
    await world.protect()
    charter = world.office.store.all()[0]
    await world.office.store.compare_and_set(
        charter.version, replace(charter, version=charter.version + 1, in_sync=frozenset((A, B)))
    )
    world.centers.is_target_slow = True
    target = world.centers.members[B]
    target.word = replace(target.word, durable=0)
    slow = str((await world.post("/v1/groups/orders/switchover", {"to": B}))["operation"])
    await world.until(lambda: world.centers.members[A].word.state is CopyState.FROZEN)
    refused = await world.client.post("/v1/groups/orders/switchover", json={"to": C})
    assert refused.status == 409
    world.lose(A)
    ended = await world.operate("/v1/groups/orders/failover", {"to": B})
    assert ended["state"] == "done", ended
    assert error_of(await world.follow(slow))["code"] == "superseded"
    assert world.owner() in {B, ""}  # the old owner is frozen, wherever it is


@pytest.mark.parametrize("deaths", range(0, 16, 3))
async def test_a_restarted_coordinator_goes_on_with_what_was_begun(world: World, deaths: int) -> None:
    """The process dies between two steps of a switchover; the next one finishes it, or hands it back."""
    await world.protect()
    started = await world.post("/v1/groups/orders/switchover", {"to": C})
    operation = str(started["operation"])
    async with asyncio.timeout(WAIT_S):
        await world.get(f"/v1/operations/{operation}?after={deaths // 3}&wait_s=5")
    await world.die()
    await world.start()
    ended = await world.follow(operation)
    assert ended["state"] in {"done", "failed", "refused"}
    await world.until(lambda: world.office.store.all()[0].intent is None and world.owner() != "")
    charter = world.office.store.all()[0]
    assert world.owner() == charter.owner
    if ended["state"] == "done":
        assert charter.owner == C


async def test_an_old_store_acts_no_more(world: World) -> None:
    """A member follows an epoch that the store has never heard of."""
    await world.protect()
    word = world.centers.members[B].word
    world.centers.members[B].word = replace(word, follow=Epoch(9), promised=Epoch(9))
    await world.beat(B)
    group = await world.group()
    assert "old copy" in str(group["waiting"])
    answer = await world.beat(A)
    leases = answer["leases"]
    assert isinstance(leases, dict)
    assert not any(lease["granted"] for lease in leases.values())


async def test_an_agent_speaks_for_nobody_else(world: World) -> None:
    line = world.lines[B]
    handlers = world.office.desk.handlers(B, lambda: line)
    with pytest.raises(Exception, match="does not speak for production"):
        await handlers["register"]("register", {"center": A, "session": "x"})
    await world.protect()
    charter = world.office.store.all()[0]
    stolen = replace(charter, version=charter.version + 1, owner=B, owner_session=world.session(B).session)
    body: Json = {"expected": charter.version, "charter": control.to_json(stolen)}
    answer = await handlers["charter.cas"]("charter.cas", body)
    assert answer["outcome"] == "lost"
    assert world.office.store.all()[0] == charter


async def test_a_group_is_changed_only_where_that_moves_no_data(world: World) -> None:
    await world.protect()
    same = await world.post("/v1/groups", DOCUMENT, 200)
    assert same["created"] is False
    await world.post("/v1/groups", {**DOCUMENT, "objectives": {"rpo": "30s"}}, 200)
    assert world.office.store.all()[0].group.objectives.rpo_s == 30
    await world.post("/v1/groups", {**DOCUMENT, "volumes": [{"name": "data", "size": "2 MiB"}]}, 409)
