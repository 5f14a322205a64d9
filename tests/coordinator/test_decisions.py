"""The coordinator remembers why: what its procedures saw and decided, in bounds, and never in their way."""

import json
from dataclasses import replace

import pytest

from drsync import __version__
from drsync.adapters.sqlite.decisions import KeptDecision, SqliteDecisions
from drsync.coordinator.decisions import PER_OPERATION_MAX, WAITS_KEPT_MAX, DecisionLog
from drsync.core.lease import LeaseBook
from drsync.core.observation import Observation
from drsync.core.plan import Act, Done, Freeze, Plan, Wait
from drsync.core.procedure import Way
from drsync.engine.decision_form import observation_from_json, plan_from_json
from drsync.engine.decisions import Decision
from drsync.model.charter import IntentKind
from drsync.model.operation import Event
from drsync.report.incident import words
from drsync.sim.incident.record import read
from drsync.sim.incident.replay import differences
from drsync.sim.incident.sentences import Sentences
from drsync.sim.incident.story import Story
from drsync.sim.incident.what_if import alternatives
from drsync.wire.incident import unseal
from tests.coordinator.centers import DOCUMENT, World
from tests.core.groups import charter
from tests.engine.fake_members import A, B, C, Json

SEEN = Observation(charter(owner="a", epoch=1), {}, 100.0, LeaseBook(), IntentKind.FAILOVER, "b", "i1", "u")


def decisions_of(world: World) -> tuple[DecisionLog, SqliteDecisions]:
    log = world.office.supervision._world.decisions
    assert isinstance(log, DecisionLog)
    return log, log._shelf


def kept(world: World, operation: str) -> list[KeptDecision]:
    return list(decisions_of(world)[1].of(operation))


def told(log: DecisionLog, now: float, plan: Plan, **changes: object) -> None:
    log.decided(Decision(Way.FORWARD, replace(SEEN, now=now, uuid=str(now), **changes), plan))  # type: ignore[arg-type]


async def lose_production(world: World) -> None:
    await world.protect()
    found = world.office.store.all()[0]
    await world.until(lambda: world.office.sessions.report(found.group.id) is not None)
    found = world.office.store.all()[0]
    both = replace(found, version=found.version + 1, in_sync=frozenset((A, B)))
    await world.office.store.compare_and_set(found.version, both)
    world.lose(A)


async def test_a_failover_leaves_what_it_saw_and_what_it_decided(world: World) -> None:
    await lose_production(world)
    ended = await world.operate("/v1/groups/orders/failover", {"to": B, "reason": "fire", "actor": "ops"})
    rows = [json.loads(one.body) for one in kept(world, str(ended["id"]))]
    plans = [plan_from_json(one["plan"]) for one in rows]
    assert isinstance(plans[0], Act)
    assert isinstance(plans[-1], Done)
    assert {one["software"] for one in rows} == {__version__}
    seen = observation_from_json(rows[0]["observation"])
    assert (seen.actor, seen.reason, seen.target) == ("ops", "fire", B)
    assert set(seen.statements) == {B, C}
    assert set(rows[0]["silent"]) == {A}
    assert rows[0]["silent"][A]["statement"]["state"] == "owner"
    assert rows[0]["silent"][A]["heard_s"] >= 0


async def test_a_dry_run_leaves_no_decision(world: World) -> None:
    await lose_production(world)
    log, shelf = decisions_of(world)
    before = shelf._bytes[True]
    await world.post("/v1/groups/orders/failover", {"to": B, "dry_run": True}, 200)
    assert shelf._bytes[True] == before == 0
    assert log._latest


async def test_rounds_that_saw_the_same_are_kept_once(world: World) -> None:
    log, _ = decisions_of(world)
    for number in range(50):
        told(log, 100.0 + number, Wait("a holds its lease", 200.0))
    told(log, 200.0, Done("b owns the group"))
    assert [one.times for one in kept(world, "i1")] == [50, 1]


async def test_waits_that_change_are_kept_by_the_second_and_never_too_many(world: World) -> None:
    log, _ = decisions_of(world)
    for number in range(30):
        told(log, 100.0 + number / 10, Wait(f"drains: {number} to go"), started_us=number)
    assert [one.at_us > 0 for one in kept(world, "i1")] == [True] * 3
    assert [one.times for one in kept(world, "i1")][:2] == [10, 10]
    for number in range(2 * WAITS_KEPT_MAX):
        told(log, 200.0 + 2 * number, Wait(f"drains: {number} to go"), started_us=number)
    assert len(kept(world, "i1")) == WAITS_KEPT_MAX
    for number in range(2 * PER_OPERATION_MAX):
        told(log, 2000.0 + number, Act((Freeze("a"),)), started_us=number)
    assert len(kept(world, "i1")) == PER_OPERATION_MAX


async def test_evidence_that_cannot_be_kept_stops_no_failover_and_is_said(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await lose_production(world)

    def full(*_: object, **__: object) -> int:
        raise OSError("no space left")

    monkeypatch.setattr(decisions_of(world)[1], "keep", full)
    ended = await world.operate("/v1/groups/orders/failover", {"to": B})
    assert ended["state"] == "done"
    assert world.office.store.all()[0].owner == B
    assert "decision_not_kept" in capsys.readouterr().out


async def exported(world: World, query: str = "") -> bytes:
    answer = await world.client.get(f"/v1/export{query}")
    assert answer.status == 200
    return await answer.read()


async def test_the_export_has_everything_and_opens_no_door(world: World) -> None:
    await lose_production(world)
    ended = await world.operate("/v1/groups/orders/failover", {"to": B})
    data = await exported(world)
    assert b"secret" not in data, "the token of the interface"
    lines = unseal(data)
    counts = {
        kind: [line.body for line in lines if line.kind == kind] for kind in {one.kind for one in lines}
    }
    assert set(counts) == {"incident", "charter", "operation", "event", "decision"}
    assert lines[0].body["groups"] == ["orders"]
    assert len(counts["charter"]) == len(world.office.store.history(world.office.store.all()[0].group.id))
    assert counts["operation"][-1]["id"] == ended["id"]
    assert counts["operation"][-1]["steps"]
    assert {line["operation"] for line in counts["decision"]} == {one["id"] for one in counts["operation"]}


async def test_an_export_may_be_of_one_group_and_of_some_time(world: World) -> None:
    await lose_production(world)
    everything = unseal(await exported(world, "?group=orders"))
    assert {line.kind for line in everything} >= {"operation", "event"}
    hour_us, evidence = 3_600_000_000, world.office.api._evidence
    last = max(str(line.body["at_us"]) for line in everything if line.kind == "event")
    assert evidence.events_before(0) == 0
    later = int(last) + hour_us
    assert evidence.events("", evidence.events_before(later), 10) == []
    world.office.journal._evidence.record(Event("old", "an hour ago", "orders", at_us=int(last) - hour_us))
    world.office.journal._evidence.record(Event("other", "of another group", "others"))
    recent = unseal(await exported(world, "?group=orders&since_s=60"))
    some = [line.body.get("kind") for line in recent if line.kind == "event"]
    assert "agent_lost" in some
    assert "old" not in some
    assert "other" not in some
    assert (await world.client.get("/v1/export?group=ordres")).status == 404
    assert (await world.client.get("/v1/export?since_s=soon")).status == 400


async def test_an_export_that_is_too_large_says_how_to_ask_for_less(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.protect()
    monkeypatch.setattr("drsync.wire.incident.FILE_BYTES_MAX", 2000)
    found: Json = await world.get("/v1/export", 400)
    error = found["error"]
    assert isinstance(error, dict)
    assert (error["code"], error["exit"]) == ("too_large", 2)
    assert "--since" in error["remedy"]


async def test_the_stories_of_a_town_are_decided_alike_when_they_are_asked_again(world: World) -> None:
    """There and back, a refusal, and a loss that was accepted."""
    await lose_production(world)
    await world.operate("/v1/groups/orders/failover", {"to": B, "reason": "fire"})
    world.centers.deaf.discard(A)
    await world.connect(A, session="second")
    await world.operate("/v1/groups/orders/switchover", {"to": C})
    await world.operate("/v1/groups/orders/switchover", {"to": B})
    world.lose(B)
    refused = await world.operate("/v1/groups/orders/failover", {"to": C})
    assert refused["state"] == "refused"
    forced = await world.operate("/v1/groups/orders/failover", {"to": C, "accept_loss": True})
    assert forced["state"] == "done"
    found = read(await exported(world))
    assert [case.kind for case in found.cases] == [
        "open", "failover", "switchover", "switchover", "failover", "failover",
    ]  # fmt: skip
    assert differences(found) == []
    told = Story(words("en"), str)
    lines = [line.text for case in found.cases for line in told.case(found, case)]
    assert "THE DECISION: remote owns the group in epoch 1.0." in lines
    table = [Sentences(words("en")).alternative(one) for one in alternatives(found.cases[-1].decisions[0])]
    assert ("without --accept-loss", "refused: not_in_sync", "-") in table


async def test_an_automatic_failover_tells_what_was_held_of_the_owner(world: World) -> None:
    policy: Json = {"lease": "2s", "detect": "1s", "failover": "automatic"}
    await world.post("/v1/groups", DOCUMENT | {"policy": policy}, 201)
    await world.until(lambda: world.owner() == A and world.office.store.all()[0].intent is None)
    found = world.office.store.all()[0]
    both = replace(found, version=found.version + 1, in_sync=frozenset((A, B)))
    await world.office.store.compare_and_set(found.version, both)
    world.lose(A)
    await world.until(lambda: world.office.store.all()[0].owner == B)
    await world.until(lambda: world.office.store.all()[0].intent is None)
    record = read(await exported(world, "?group=orders"))
    failover = record.cases[-1]
    first = failover.decisions[0]
    assert (failover.kind, first.detection["state"]) == ("failover", "confirmed")
    assert first.detection["by"] == [B, C]
    (owner,) = [text for label, text in Sentences(words("en")).full(first) if label == "owner"]
    assert "production was not heard for" in owner
    assert "nor by same_city, remote" in owner
    assert differences(record) == []
