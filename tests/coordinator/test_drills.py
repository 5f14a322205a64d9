"""A drill proves content, leaves nothing behind, and never claims what it did not check."""

import pytest

from tests.coordinator.centers import World
from tests.engine.fake_members import A, B, C, Json


async def drill(world: World, **body: str) -> Json:
    """Run one; the report."""
    ended = await world.operate("/v1/groups/orders/drill", {"actor": "ops", "reason": "quarter", **body})
    assert ended["state"] in {"done", "failed"}, ended
    return await world.get(f"/v1/drills/{ended['id']}")


async def test_a_drill_passes_when_the_content_is_equal_and_all_is_gone(world: World) -> None:
    await world.protect()
    report = await drill(world)
    assert (report["verdict"], report["content"], report["center"]) == ("passed", "equal", C)
    cleanup = report["cleanup"]
    assert isinstance(cleanup, list)
    assert len(cleanup) == 2
    assert all(item["is_proved"] for item in cleanup)
    assert not any(world.centers.views.values())
    group = await world.group()
    assert group["last_drill"] is not None
    assert report["actor"] == "ops"


async def test_different_content_fails(world: World) -> None:
    await world.protect()
    world.centers.hashes[C] = {"data": "blake3:ff"}
    report = await drill(world)
    assert (report["verdict"], report["content"]) == ("failed", "different")
    assert "data differs" in str(report["reasons"])


async def test_an_older_point_that_the_owner_left_behind_is_no_proof(world: World) -> None:
    await world.protect()
    world.centers.reaches_back = False
    report = await drill(world, at=B, point="old")
    assert (report["verdict"], report["content"]) == ("failed", "not_comparable")
    assert "The point was" in str(report["reasons"]), "and it was too old for the objective"


async def test_an_older_point_that_can_be_compared_is(world: World) -> None:
    await world.protect()
    assert (await drill(world, point="1"))["content"] == "equal"


async def test_an_agent_without_a_probe_is_no_failure(world: World) -> None:
    await world.protect()
    world.centers.knows_probe = False
    report = await drill(world)
    steps = report["steps"]
    assert isinstance(steps, list)
    assert [s["outcome"] for s in steps if s["name"] == "view.probe"] == ["skipped"]
    assert report["verdict"] == "passed"


@pytest.mark.parametrize("method", ["group.checkpoint", "view.open", "view.probe", "view.hash"])
async def test_whatever_fails_the_views_are_closed(world: World, method: str) -> None:
    await world.protect()
    world.centers.fails.add(method)
    report = await drill(world)
    if method != "view.probe":
        assert report["verdict"] == "failed"
        assert "fails here" in str(report["reasons"])
    assert not any(world.centers.views.values())


async def test_what_could_not_be_closed_is_said_and_closed_later(world: World) -> None:
    await world.protect()
    world.centers.closes_views = False
    report = await drill(world)
    assert report["verdict"] == "failed"
    assert "Not proved to be gone" in str(report["reasons"])

    world.centers.closes_views = True
    world.office.supervision.wake()
    await world.until(lambda: not any(world.centers.views.values()))
    late = await world.get(f"/v1/drills/{report['id']}")
    while not all(item["is_proved"] for item in late["cleanup"]):  # type: ignore[attr-defined]
        late = await world.get(f"/v1/drills/{report['id']}")
    assert late["verdict"] == "failed", "it was not clean when it ended"


async def test_a_coordinator_that_died_in_a_drill_cleans_up_after_itself(world: World) -> None:
    await world.protect()
    started = str((await world.post("/v1/groups/orders/drill", {}))["operation"])
    await world.get(f"/v1/operations/{started}?after=2&wait_s=5")
    world.centers.closes_views = False
    await world.die()
    world.centers.closes_views = True
    await world.start()
    await world.until(lambda: not any(world.centers.views.values()))
    ended = await world.follow(started)
    assert ended["state"] in {"failed", "done"}


@pytest.mark.parametrize(("at", "code"), [(A, "is_owner"), (C, "not_reached")])
async def test_a_drill_that_cannot_start_is_refused(world: World, at: str, code: str) -> None:
    await world.protect()
    world.lose(C)
    ended = await world.operate("/v1/groups/orders/drill", {"at": at})
    error = ended["error"]
    assert isinstance(error, dict)
    assert (ended["state"], error["code"], error["exit"]) == ("refused", code, 3)


async def test_the_report_is_one_page_in_two_languages(world: World) -> None:
    await world.protect()
    report = await drill(world)
    for lang, word in (("en", "Passed"), ("zh", "通过"), ("zh-CN", "通过"), ("fr", "Passed")):
        page = await world.client.get(f"/v1/drills/{report['id']}/report.html?lang={lang}")
        text = await page.text()
        assert word in text
        assert "http://" not in text
        assert "https://" not in text
        assert "<script" not in text
