"""The coordinator loses sight of an owner: when it acts, when it waits, and what it tells."""

from dataclasses import replace

import pytest

from drsync.core import detection
from drsync.core.detection import State
from drsync.model.charter import Charter
from drsync.model.copy import CopyState
from drsync.model.position import ORIGIN
from drsync.wire import control
from tests.coordinator.centers import DOCUMENT, World
from tests.engine.fake_members import A, B, C, Json

POLICY: Json = {"lease": "2s", "detect": "1s", "anti_flap": "60s", "failover": "automatic"}
AGE_S = 8.0  # of the coordinator's hasty clock: lease and detection have passed several times


def charter(world: World) -> Charter:
    return world.office.store.all()[0]


async def protect(world: World, **policy: str) -> None:
    """A served group with production and same-city in sync."""
    await world.post("/v1/groups", DOCUMENT | {"policy": POLICY | dict(policy)}, 201)
    await world.until(lambda: world.owner() == A and charter(world).intent is None)
    await join(world, A, B)


async def join(world: World, owner: str, mate: str) -> None:
    """The owner waits for its mate from now on."""
    before = charter(world)
    after = replace(before, version=before.version + 1, in_sync=frozenset((owner, mate)))
    handlers = world.office.desk.handlers(owner, lambda: world.lines[owner])
    body: Json = {"expected": before.version, "charter": control.to_json(after)}
    answer = await handlers["charter.cas"]("charter.cas", body)
    assert answer["outcome"] == "done", answer


def moved(world: World) -> bool:
    """Same-city owns the group, and nothing is under way any more."""
    return charter(world).owner == B and charter(world).intent is None


async def pass_time(world: World, seconds: float = AGE_S) -> None:
    until = world.now() + seconds
    await world.until(lambda: world.now() >= until)


def state(world: World) -> State | None:
    found = world.office.supervision.lookout.verdict(charter(world).group.id)
    return found.state if found is not None else None


async def events(world: World, kind: str) -> list[str]:
    found = (await world.get("/v1/events?limit=1000"))["events"]
    assert isinstance(found, list)
    return [event["text"] for event in found if event["kind"] == kind]


async def why(world: World) -> str:
    lines = (await world.get("/v1/groups/orders/why"))["lines"]
    assert isinstance(lines, list)
    return " ".join(f"{line['what']}. {line['remedy']}" for line in lines)


async def test_the_same_city_center_takes_over_and_says_why(world: World) -> None:
    await protect(world)
    world.lose(A)
    await world.until(lambda: moved(world))
    after = charter(world)
    assert (after.owner, after.is_forced) == (B, False)
    (decided,) = await events(world, "failover_decided")
    assert "production was not heard for" in decided
    assert "nor by same_city, remote" in decided
    found = (await world.get("/v1/operations"))["operations"]
    assert isinstance(found, list)
    (done,) = [one for one in found if one["kind"] == "failover"]
    assert (done["actor"], done["state"], done["target"]) == ("drsync", "done", B)
    assert done["reason"].startswith("automatic: production was not heard for")


async def test_a_manual_group_waits_for_a_person_and_says_so(world: World) -> None:
    await protect(world, failover="manual")
    world.lose(A)
    await world.until(lambda: state(world) is State.CONFIRMED)
    await pass_time(world)
    assert charter(world).owner == A
    assert "Nobody takes over by itself: a person decides (policy)" in await why(world)
    assert await events(world, "owner_lost")


async def test_an_isolation_of_43_seconds_moves_the_group_once_and_never_to_the_other_city(
    world: World,
) -> None:
    """P01: what took GitHub a day to mend. The links stay open in name; then all of it heals.

    The lease is a fifth of the usual one, so the 43 seconds are as well.
    """
    await protect(world)
    world.silence(A)
    owners = set()
    until = world.now() + 43.0 / 5
    while world.now() < until:
        await world.until(lambda: True)
        owners.add(charter(world).owner)
        await pass_time(world, 0.5)
    member = world.centers.members[A]
    member.word = replace(member.word, state=CopyState.REPLICA)
    world.centers.deaf.discard(A)
    await pass_time(world, 5.0)
    assert owners == {A, B}
    assert charter(world).owner == B
    assert len(await events(world, "failover_decided")) == 1


async def test_nobody_moves_a_group_whose_owner_only_the_coordinator_has_lost(world: World) -> None:
    """One-armed: production is cut off from the coordinator alone."""
    await protect(world)
    world.still_hears = {(B, A), (C, A)}
    world.silence(A)
    await world.until(lambda: state(world) is State.SUSPECTED)
    await pass_time(world)
    assert charter(world).owner == A
    assert "once another member has lost it as well" in await why(world)
    assert not await events(world, "failover_decided")


async def test_nobody_moves_a_group_whose_owner_goes_on_with_its_mate(world: World) -> None:
    """Production lost the coordinator and the remote center, and lives on what same-city confirms."""
    await protect(world)
    world.still_hears, world.bound = {(B, A)}, {B}
    world.silence(A)
    await world.until(lambda: state(world) is State.SUSPECTED)
    await pass_time(world)
    assert charter(world).owner == A
    assert "goes on without the coordinator, with same_city" in await why(world)
    world.bound = set()
    await world.until(lambda: moved(world))


async def test_a_city_that_is_gone_is_for_a_person(world: World) -> None:
    await protect(world)
    world.lose(A)
    world.lose(B)
    await world.until(lambda: state(world) is State.CONFIRMED)
    await pass_time(world)
    assert charter(world).owner == A
    said = await why(world)
    assert "nobody can take over: same_city" in said


async def test_a_restarted_owner_is_opened_again_where_it_is(world: World) -> None:
    await protect(world)
    before = charter(world).epoch
    world.lose(A)
    world.centers.deaf.discard(A)
    await world.connect(A, session="second")
    await world.until(lambda: world.owner() == A and charter(world).epoch > before)
    await pass_time(world)
    assert charter(world).owner == A
    assert not await events(world, "failover_decided")


async def test_a_group_does_not_move_twice_within_its_quiet_time(world: World) -> None:
    await protect(world)
    world.lose(A)
    await world.until(lambda: moved(world))
    world.centers.deaf.discard(A)
    await world.connect(A, session="second")
    await world.until(lambda: world.office.sessions.is_connected(A))
    await join(world, B, A)
    world.lose(B)
    await world.until(lambda: "too recent" in _hindrance(world))
    await pass_time(world)
    assert charter(world).owner == B
    assert len(await events(world, "failover_decided")) == 1


def _hindrance(world: World) -> str:
    found = world.office.supervision.lookout.verdict(charter(world).group.id)
    return found.hindrance if found is not None else ""


async def test_a_restarted_coordinator_remembers_that_the_group_has_just_moved(world: World) -> None:
    await protect(world)
    world.lose(A)
    await world.until(lambda: moved(world))
    await world.die()
    world.centers.deaf.discard(A)
    world.centers.members[A].word = replace(world.centers.members[A].word, state=CopyState.REPLICA)
    await world.start()
    await world.until(lambda: world.office.sessions.is_connected(A) and state(world) is State.HEALTHY)
    await join(world, B, A)
    world.lose(B)
    await world.until(lambda: "too recent" in _hindrance(world))
    assert charter(world).owner == B


async def test_a_gray_owner_is_told_of_and_stays(world: World) -> None:
    await protect(world)
    world.is_serving = False
    await world.until(lambda: state(world) is State.GRAY)
    await pass_time(world)
    assert charter(world).owner == A
    status = await world.group()
    found = status["detection"]
    assert isinstance(found, dict)
    assert (found["state"], found["action"]) == ("gray", "none")
    assert await events(world, "owner_slow")
    world.is_serving = True
    await world.until(lambda: state(world) is State.HEALTHY)
    assert await events(world, "owner_well")


async def test_an_owner_whose_copy_failed_is_left_at_once(world: World) -> None:
    """It says so itself: no witness is needed, the lease is waited for."""
    await protect(world)
    member = world.centers.members[A]
    member.word = replace(member.word, state=CopyState.FAILED)
    await world.until(lambda: charter(world).owner == B)
    (decided,) = await events(world, "failover_decided")
    assert "cannot serve: its copy is failed" in decided


async def test_a_coordinator_that_stood_still_judges_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGSTOP of the coordinator: what it missed while it slept says nothing about the others."""
    await protect(world)
    lookout = world.office.supervision.lookout
    world.silence(A)
    await world.until(lambda: state(world) is State.CONFIRMED or charter(world).owner == B)
    monkeypatch.setattr(lookout, "_looked_at", world.now() - 100.0)
    lookout.awake()
    verdict = lookout.look(charter(world))
    assert verdict is not None
    assert verdict.state is not State.CONFIRMED


async def test_a_pair_that_could_not_be_made_level_without_the_owner_is_told(world: World) -> None:
    """P30: readiness for the next loss is looked at all the time, not when it is needed."""
    await protect(world)
    group = await world.group()
    assert isinstance(group["star"], list)
    assert not any(pair["alarm"] for pair in group["star"])
    same_city, remote = world.centers.members[B], world.centers.members[C]
    same_city.word = replace(same_city.word, first_seq=2)
    remote.word = replace(remote.word, runs=(), appended=0, durable=0, commit=0, tip=ORIGIN)
    await pass_time(world, 1.0)
    said = await why(world)
    assert "same_city and remote could not be made level without the others" in said
    assert "the journal at same_city begins at 2, remote ends at 0" in said


@pytest.mark.parametrize(
    "policy",
    [
        {"detect": "1s", "lease": "10s"},
        {"anti_flap": "3s", "lease": "10s"},
        {"failover": "automatic", "mode": "async"},
        {"failover": "automatic", "mode": "sync_strict"},
    ],
)
async def test_a_policy_that_does_not_fit_is_refused(world: World, policy: Json) -> None:
    answer = await world.post("/v1/groups", DOCUMENT | {"policy": policy}, 400)
    assert "policy." in str(answer)


def test_the_patience_with_a_return_is_longer_than_an_opening() -> None:
    assert detection.REOPEN_S > 30.0
