"""What the coordinator makes of application-consistent points: it asks, tells, and warns; it runs no hook."""

import pytest
from typing_extensions import override

from tests.coordinator.centers import DOCUMENT, Centers, World
from tests.engine.fake_members import A, Json

PATH = "/v1/groups/orders/checkpoint"
HOOKS: Json = {"before": [{"program": "hold"}], "timeout": "7s"}
WORD: Json = {"newest_us": 5, "attempts": 1, "failures": 0, "at_us": 9, "why": "", "freeze_ms": 40}


async def with_hooks(world: World) -> None:
    await world.protect()
    policy = {"lease": "2s", "consistency": HOOKS}
    await world.post("/v1/groups", {**DOCUMENT, "policy": policy}, 200)


async def kinds(world: World) -> list[str]:
    found = (await world.get("/v1/events?group=orders"))["events"]
    assert isinstance(found, list)
    return [event["kind"] for event in found if event["kind"].startswith("app_point")]


async def why(world: World) -> str:
    return str(await world.get("/v1/groups/orders/why"))


async def test_a_group_without_hooks_is_told_so_and_the_owner_is_not_asked(world: World) -> None:
    await world.protect()
    refused = await world.post(PATH, {"app_consistent": True}, 400)
    assert "nothing makes the application of orders quiet" in str(refused)
    await world.post(PATH, {"app_consistent": True, "timeout_s": 121}, 400)


async def test_the_owner_is_asked_with_the_time_of_the_policy_and_its_answer_is_passed_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, Json, float]] = []

    class Hooked(Centers):
        @override
        async def call(self, center: str, method: str, body: Json, timeout_s: float) -> Json:
            if method != "group.quiet":
                return await super().call(center, method, body, timeout_s)
            asked.append((center, body, timeout_s))
            return {"seq": 7, "app": False, "why": "hold failed", "steps": []}

    await with_hooks(world)
    monkeypatch.setattr(world.centers, "__class__", Hooked)
    answer = await world.post(PATH, {"app_consistent": True, "name": "noon"}, 200)
    assert (answer["app"], answer["why"]) == (False, "hold failed")
    await world.post(PATH, {"app_consistent": True, "timeout_s": 3}, 200)
    (center, body, wait_s), (_, other, _) = asked
    assert (center, body["name"], body["timeout_s"], other["timeout_s"]) == (A, "noon", 7.0, 3.0)
    assert wait_s > 2 * 7.0, "hooks before and after"


async def test_failures_are_told_once_and_their_end_too_and_late_is_what_is_waited_for(world: World) -> None:
    await with_hooks(world)
    told: list[Json] = [
        WORD,
        {**WORD, "at_us": 10, "why": "hold failed"},
        {**WORD, "at_us": 11, "why": "hold failed"},
        {**WORD, "at_us": 11, "why": "hold failed", "is_late": True},
    ]
    for word in told:
        world.consistency = word
        await world.beat(A)
    assert await kinds(world) == ["app_point_failed"]
    assert "no checkpoint was application-consistent for longer" in await why(world)
    shown = (await world.group())["consistency"]
    assert isinstance(shown, dict)
    assert (shown["why"], shown["is_late"]) == ("hold failed", True)
    world.consistency = {**WORD, "at_us": 12}
    await world.beat(A)
    assert await kinds(world) in (
        ["app_point_failed", "app_point_again"],
        ["app_point_again", "app_point_failed"],
    )
    assert "application-consistent for longer" not in await why(world)
