"""Checkpoints on hold are ordered with a reason, listed by center, and never given up silently."""

from tests.coordinator.centers import World
from tests.engine.fake_members import B, C, Json

PATH = "/v1/groups/orders/holds"
ASKED: Json = {"at": C, "point": "before", "name": "upgrade", "actor": "li", "reason": "ticket 4711"}


async def told(world: World) -> list[str]:
    found = (await world.get("/v1/events?group=orders"))["events"]
    assert isinstance(found, list)
    return [f"{event['kind']}: {event['text']}" for event in found if event["kind"].startswith("hold")]


async def test_what_is_on_hold_is_listed_and_released_and_both_are_on_record(world: World) -> None:
    await world.protect()
    made = await world.post(PATH, ASKED, 201)
    assert (made["center"], made["group"]) == (C, "orders")
    listed = await world.get(PATH)
    centers = listed["centers"]
    assert isinstance(centers, dict)
    assert [hold["name"] for hold in centers[C]["holds"]] == ["upgrade"]
    assert centers[B]["holds"] == []
    path = f"{PATH}/upgrade/release"
    await world.post(path, {"at": C, "actor": "wang", "reason": "done"}, 200)
    assert world.centers.holds[C] == {}
    assert sorted(await told(world)) == [
        f"hold_added: record 7 is on hold at {C} as upgrade (says li): ticket 4711",
        f"hold_released: upgrade (record 7) at {C} is on hold no longer (says wang): done",
    ]
    await world.post(path, {"at": C, "reason": "again"}, 404)


async def test_a_hold_wants_a_reason_and_a_name(world: World) -> None:
    await world.protect()
    for wrong in ({"reason": ""}, {"name": "../x"}, {"name": ""}, {"reason": "x" * 201}):
        await world.post(PATH, {**ASKED, **wrong}, 400)
    assert world.centers.holds[C] == {}


async def test_what_a_center_gave_up_is_an_event_once(world: World) -> None:
    await world.protect()
    world.centers.holds_lost[C] = [{"id": 1, "text": "upgrade is not on hold any more"}]
    for _ in range(3):
        await world.beat(C)
    world.centers.holds_lost[C].append({"id": 2, "text": "another is not on hold any more"})
    await world.beat(C)
    assert sorted(await told(world)) == [
        f"hold_given_up: {C}: another is not on hold any more",
        f"hold_given_up: {C}: upgrade is not on hold any more",
    ]
