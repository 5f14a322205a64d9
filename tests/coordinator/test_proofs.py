"""What centers proved of their points: told beside the points, before a failover, and when it goes wrong."""

from dataclasses import replace

import pytest

from drsync.model.epoch import Epoch
from drsync.model.point_proof import SELF_DRILL, Outcome, PointProof
from drsync.model.position import Position
from tests.coordinator.centers import World
from tests.engine.fake_members import A, B, C, Json

PATH = "/v1/groups/orders"
CHAIN = bytes(range(16))
CLEAN = PointProof(
    Position(Epoch(1), 1, CHAIN),
    5,
    Outcome.PROVED,
    SELF_DRILL,
    "filesystem",
    1000,
    2.0,
    "ext4 of data is clean",
)
BROKEN = replace(
    CLEAN,
    position=Position(Epoch(1), 7, CHAIN),
    time_us=9,
    outcome=Outcome.FAILED,
    text="ext4 of data is not",
)


def course(*failed: PointProof, proved: PointProof | None = CLEAN, **more: object) -> Json:
    return {
        "check": "filesystem",
        "proved": proved.fields() if proved is not None else None,
        "failed": [proof.fields() for proof in failed],
        "failures": len(failed),
        "why": "every point that is due was checked",
        "is_late": False,
        **more,
    }


async def events(world: World, kind: str) -> list[str]:
    found = (await world.get("/v1/events?group=orders"))["events"]
    assert isinstance(found, list)
    return [event["text"] for event in found if event["kind"] == kind]


async def why(world: World) -> str:
    lines = (await world.get(f"{PATH}/why"))["lines"]
    assert isinstance(lines, list)
    return "\n".join(f"{line['what']} | {line['remedy']}" for line in lines)


async def dry_run(world: World, target: str) -> Json:
    body: Json = {"to": target, "dry_run": True, "accept_loss": True, "reason": "x"}
    loss = (await world.post(f"{PATH}/failover", body, 200))["loss"]
    assert isinstance(loss, dict)
    points = loss["points"]
    assert isinstance(points, dict)
    return points


async def test_points_bear_what_each_center_found(world: World) -> None:
    await world.protect()
    world.centers.proofs[C] = [CLEAN.fields()]
    world.centers.proofs[B] = [replace(CLEAN, time_us=6).fields(), {"seq": "of a later version"}]
    centers = (await world.get(f"{PATH}/points"))["centers"]
    assert isinstance(centers, dict)
    (there,) = centers[C]["points"]
    assert there["proof"] == CLEAN.fields()
    (here,) = centers[B]["points"]
    assert "proof" not in here, "a proof of another point of that number"


async def test_points_that_fail_are_told_at_once_and_once_and_before_a_failover(world: World) -> None:
    await world.protect()
    world.centers.courses[C] = course()
    await world.beat(C)
    assert "drsync points orders" not in await why(world)
    proved = (await dry_run(world, C))["proved"]
    assert isinstance(proved, dict)
    assert (proved["seq"], proved["text"]) == (1, CLEAN.text)
    world.centers.courses[C] = course(BROKEN)
    await world.beat(C)
    await world.beat(C)
    (told,) = await events(world, "points_failing")
    assert f"the newest point tried at {C} fails the filesystem check (ext4 of data is not)" in told
    assert "record 1 before it is proved" in told
    assert told in await why(world)
    assert (await dry_run(world, C))["text"] == told
    proofs, charter = world.office.openings.proofs, world.office.store.all()[0]
    assert proofs.by_trust(charter, [C, B]) == [B, C], "who is proposed to take over"
    later = replace(CLEAN, position=Position(Epoch(1), 9, CHAIN), time_us=11)
    world.centers.courses[C] = course(proved=later)
    await world.beat(C)
    assert len(await events(world, "points_proved_again")) == 1
    assert "fails the filesystem check" not in await why(world)


async def test_two_centers_that_read_different_content_at_one_point_are_told(world: World) -> None:
    await world.protect()
    one = replace(CLEAN, check="hash", digest="stored1:aa")
    other = replace(one, digest="stored1:bb")
    world.centers.courses[B], world.centers.courses[C] = course(proved=one), course(proved=other)
    await world.beat(B)
    await world.beat(C)
    (told,) = await events(world, "points_differ")
    assert f"the content of record 1 differs between {C} and {B}" in told
    assert told in await why(world)
    world.centers.proofs[B], world.centers.proofs[C] = [one.fields()], [other.fields()]
    centers = (await world.get(f"{PATH}/points"))["centers"]
    assert isinstance(centers, dict)
    assert [centers[name]["points"][0]["proof"]["outcome"] for name in (B, C)] == ["failed", "failed"]


async def test_a_center_that_proves_nothing_for_too_long_is_told(world: World) -> None:
    await world.protect()
    world.centers.courses[C] = course(proved=None, is_late=True, why="the journal is above its soft quota")
    await world.beat(C)
    await world.beat(C)
    (told,) = await events(world, "self_drill_late")
    assert "above its soft quota" in told
    assert f"drsync drill run orders --at {C}" in await why(world)


async def test_an_opening_says_what_is_known_and_what_is_better(world: World) -> None:
    await world.protect()
    world.centers.proofs[C] = [CLEAN.fields(), BROKEN.fields()]
    opened = await world.post(f"{PATH}/openings", {"at": C, "point": "old"}, 201)
    assert (opened["proof"], opened["nearest_proved"]) == (CLEAN.fields(), None)
    latest = await world.post(f"{PATH}/openings", {"at": C}, 201)
    assert latest["proof"] is None, "only of the very point that was opened"
    assert latest["nearest_proved"] == CLEAN.fields()


async def test_a_drill_proves_the_point_that_it_opened(world: World) -> None:
    await world.protect()
    _ = await world.operate(f"{PATH}/drill", {"at": C, "point": "old"})
    centers = (await world.get(f"{PATH}/points"))["centers"]
    assert isinstance(centers, dict)
    proof = centers[C]["points"][0]["proof"]
    assert (proof["outcome"], proof["by"], proof["check"]) == ("proved", "drill", "content")
    assert "proof" not in centers[A]["points"][0]


@pytest.mark.parametrize("strange", [7, {"failed": 3}, {"why": None}, {"failed": [{}] * 99}])
async def test_news_that_make_no_sense_cost_nobody_a_lease(world: World, strange: object) -> None:
    await world.protect()
    world.centers.courses[A] = course()
    await world.beat(A)
    world.centers.courses[A] = strange  # type: ignore[assignment]
    leases = (await world.beat(A))["leases"]
    assert isinstance(leases, dict)
    assert all(grant["granted"] for grant in leases.values())
    assert (await world.group())["centers"][A]["self_drill"] is None  # type: ignore[index]
