"""What people open is on record before it is asked for, listed, closed by name, and told when it is gone."""

import pytest

from tests.coordinator.centers import World
from tests.engine.fake_members import A, B, C, Json

PATH = "/v1/groups/orders/openings"


async def open_point(world: World, at: str = C, **more: object) -> Json:
    return await world.post(PATH, {"at": at, "actor": "li", "reason": "audit", **more}, 201)


async def listed(world: World, key: str = "openings") -> list[Json]:
    found = (await world.get(PATH))[key]
    assert isinstance(found, list)
    return found


async def events(world: World) -> list[tuple[str, str]]:
    found = (await world.get("/v1/events?group=orders"))["events"]
    assert isinstance(found, list)
    return [
        (event["kind"], event["text"]) for event in found if event["kind"].startswith(("opening", "fork"))
    ]


def restart(world: World, center: str) -> None:
    """What is open at a center lives in its process."""
    world.centers.openings[center].clear()
    world.centers.ended[center].clear()


async def test_what_is_open_is_listed_in_the_status_and_closed_by_its_name(world: World) -> None:
    await world.protect()
    opened = await open_point(world, point="old", name="mine", quota_bytes=4096)
    assert (opened["seq"], opened["center"], opened["proof"]) == (1, C, None)
    assert opened["volumes"] == {"data": "nbd+unix:///data.at-7?socket=/mine"}
    (shown,) = await listed(world)
    assert (shown["name"], shown["actor"], shown["reason"]) == ("mine", "li", "audit")
    in_status = (await world.group())["openings"]
    assert in_status == [shown]
    await world.post(f"{PATH}/mine/close", {"actor": "wang", "reason": "copied"}, 200)
    assert await listed(world) == []
    assert await listed(world, "openings_ended") == [], "somebody asked for that end"
    kinds, texts = zip(*await events(world), strict=True)
    assert kinds == ("opening_opened", "opening_closed")
    assert "point old, record 1, writable, asked for by li: audit" in texts[0]
    assert "closed by wang: copied" in texts[1]
    assert world.centers.openings[C] == {}


async def test_one_name_at_two_centers_is_closed_where_one_says(world: World) -> None:
    await world.protect()
    await open_point(world, B, name="mine")
    await open_point(world, C, name="mine")
    refused = await world.post(f"{PATH}/mine/close", {}, 409)
    assert f"open at {C}, {B}" in str(refused) or f"open at {B}, {C}" in str(refused)
    await world.post(f"{PATH}/mine/close", {"at": B}, 200)
    assert [one["center"] for one in await listed(world)] == [C]
    wrong = await world.post(f"{PATH}/yours/close", {}, 404)
    assert "open are: mine" in str(wrong)


async def test_a_refusal_is_passed_on_and_nothing_stays_on_the_list(world: World) -> None:
    await world.protect()
    world.centers.fails.add("opening.open")
    refused = await world.post(PATH, {"at": C}, 409)
    assert "opening.open fails here" in str(refused)
    assert await listed(world) == []
    assert await events(world) == []


async def test_a_center_that_cannot_open_it_names_those_that_can(world: World) -> None:
    await world.protect()
    world.centers.reaches_back = False
    refused = await world.post(PATH, {"at": A, "point": "old"}, 409)
    assert f"It can be opened at {B} and {C}" in str(refused) or f"at {C} and {B}" in str(refused)
    world.centers.fails.add("group.points")
    refused = await world.post(PATH, {"at": A, "point": "old"}, 409)
    assert "drsync points lists" in str(refused)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"at": C, "name": "../x"},
        {"at": C, "lifetime_s": 0},
        {"at": C, "quota_bytes": -1},
        {"at": C, "x": 1},
    ],
)
async def test_wrong_orders_are_mistakes(world: World, body: Json) -> None:
    await world.protect()
    await world.post(PATH, body, 400)


async def test_an_opening_that_its_agent_lost_is_told(world: World) -> None:
    await world.protect()
    await open_point(world, name="mine", quota_bytes=4096)
    restart(world, C)
    await world.beat(C)
    assert await listed(world) == []
    (ended,) = await listed(world, "openings_ended")
    assert (ended["name"], ended["why"]) == ("mine", "restarted")
    told = (await events(world))[-1]
    assert told[0] == "opening_restarted"
    assert f"the agent of {C} was restarted and what was written to it is gone" in told[1]


async def test_an_opening_that_was_given_up_is_told_with_its_reason_once(world: World) -> None:
    await world.protect()
    opened = await open_point(world, name="mine")
    world.centers.openings[C].clear()
    why: Json = {"id": opened["id"], "why": "given_up", "text": "too much was written", "at_us": 7}
    world.centers.ended[C].append(why)
    await world.beat(C)
    await world.beat(C)
    told = [text for kind, text in await events(world) if kind == "opening_given_up"]
    assert len(told) == 1
    assert "too much was written" in told[0]
    assert [one["why"] for one in await listed(world, "openings_ended")] == ["given_up"]


async def test_a_coordinator_that_comes_back_knows_what_is_open(world: World) -> None:
    await world.protect()
    await open_point(world, name="mine")
    await world.die()
    await world.start()
    await world.beat(C)
    assert [one["name"] for one in await listed(world)] == ["mine"]


async def test_a_read_only_opening_is_opened_again_after_a_restart_of_its_agent(world: World) -> None:
    await world.protect()
    before = await open_point(world, name="mine", point="old")
    restart(world, C)
    await world.beat(C)
    await world.until(lambda: bool(world.centers.openings[C]))
    (again,) = world.centers.openings[C].values()
    assert (again["id"], again["seq"], again["name"]) == (before["id"], before["seq"], "mine")
    await world.beat(C)
    assert [one["name"] for one in await listed(world)] == ["mine"]
    assert (await events(world))[-1][0] == "opening_restored"

    world.centers.fails.add("opening.open")
    restart(world, C)
    await world.beat(C)
    await world.until(lambda: not world.office.openings._asking)
    assert [one["why"] for one in await listed(world, "openings_ended")] == ["restarted"]
    assert "opening.open fails here" in (await events(world))[-1][1]


async def test_an_opening_whose_answer_was_lost_is_found_again(world: World) -> None:
    await world.protect()
    world.centers.fails.add("opening.open")
    await world.post(PATH, {"at": C, "name": "mine"}, 409)
    row = world.office.openings._kept
    (never,) = row.ended(world.office.store.all()[0].group.id, 0)
    body: Json = {"group": never.opening.group_id, "id": never.opening.id, "name": "mine", "point": ""}
    world.centers._on_opening_open(C, {**body, "fork": "", "quota_bytes": 0, "time_us": None})
    await world.beat(C)
    assert [one["name"] for one in await listed(world)] == ["mine"]
    await world.post(f"{PATH}/mine/close", {}, 200)


async def test_pins_come_from_every_center_and_silence_is_told(world: World) -> None:
    await world.protect()
    world.lose(B)
    centers = (await world.get("/v1/groups/orders/pins"))["centers"]
    assert isinstance(centers, dict)
    assert sorted(centers) == sorted((A, B, C))
    assert centers[C]["pins"][0]["kind"] == "window"
    assert "error" in centers[B]


async def test_a_fork_is_discarded_with_a_reason_that_is_on_record_first(world: World) -> None:
    await world.protect()
    fork: Json = {"name": "fork-1-4", "epoch": 1, "after_seq": 4, "records": 3, "last_seq": 7}
    world.centers.forks[A] = [fork]
    centers = (await world.get("/v1/groups/orders/forks"))["centers"]
    assert isinstance(centers, dict)
    (told,) = centers[A]["forks"]
    assert (told["name"], told["epoch_text"]) == ("fork-1-4", "1")
    assert "record 4" in told["why"]

    path = "/v1/groups/orders/forks/fork-1-4/discard"
    await world.post(path, {"at": A}, 400)
    await world.post(path, {"at": A, "reason": ""}, 400)
    await world.post(path, {"at": C, "reason": "seen"}, 404)
    world.centers.forks[A] = [fork | {"open_as": "mine"}]
    assert "open as mine" in str(await world.post(path, {"at": A, "reason": "seen"}, 409))
    assert await events(world) == []
    world.centers.forks[A] = [fork]
    world.centers.fails.add("fork.discard")
    await world.post(path, {"at": A, "reason": "seen", "actor": "li"}, 409)
    assert [kind for kind, _ in await events(world)] == ["fork_discarding"]
    assert world.centers.forks[A] == [fork]
    world.centers.fails.clear()
    await world.post(path, {"at": A, "reason": "seen", "actor": "li"}, 200)
    assert world.centers.forks[A] == []
    assert "is to be discarded (says li): seen" in (await events(world))[0][1]
