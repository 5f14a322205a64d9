"""A point on hold in a town: writes wait for room by policy, but never for a replica that has none."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from drsync.engine import resync_desk, resync_slots
from drsync.model.charter import IntentKind
from drsync.model.errors import RefusedError
from drsync.model.group import WhenFull
from drsync.model.operation import OperationState
from tests.engine import town as town_module
from tests.engine.test_resync_town import SMALL, Story
from tests.engine.test_town import Writer, is_serving
from tests.engine.town import GROUP, Body, Town, town

STALL = replace(SMALL, policy=replace(SMALL.policy, when_full=WhenFull.STALL))


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resync_slots, "JITTER_S", 0.01)
    monkeypatch.setattr(resync_desk, "PAUSE_LOW_S", 0.1)
    monkeypatch.setattr(town_module, "SEGMENT_BYTES", 256 << 10)


async def ask(place: Town, center: str, method: str, **more: object) -> Body:
    return await place.call(center, method, {"group": GROUP.id, **more}, 20.0)


async def hold(place: Town, center: str) -> int:
    """The newest point that the center has."""
    await place.until(lambda: bool(place.member(center).copy.points()))
    answer = await ask(place, center, "hold.add", name="upgrade", reason="ticket 4711", actor="li")
    held = answer["hold"]
    assert isinstance(held, dict)
    return int(held["seq"])


async def stalled(place: Town, story: Story, center: str) -> None:
    """Write there until nothing is taken any more."""
    writer = story.writer = Writer(place, center)
    member = place.member(center)
    assert member.term is not None
    engine = member.term.engine
    for number in range(200):
        if engine.is_full:
            break
        writer.write_many(20 * number + 1, 20)
        await asyncio.sleep(0.05)
    assert engine.is_full, place.describe()


async def test_writes_wait_until_the_hold_is_released(tmp_path: Path) -> None:
    async with town(tmp_path, STALL) as place:
        story = Story(place)
        await story.write(10)
        with pytest.raises(RefusedError, match="owns orders"):
            await ask(place, "production", "hold.add", name="upgrade")
        seq = await hold(place, "same_city")
        outcome = await place.run(IntentKind.SWITCHOVER, "same_city")
        assert outcome.state is OperationState.DONE, outcome
        await place.until(lambda: place.is_in_sync("same_city", "production"))
        await stalled(place, story, "same_city")
        member = place.member("same_city")
        (pin,) = [
            one for one in _listed(await ask(place, "same_city", "group.pins")) if one["kind"] == "hold"
        ]
        assert (pin["name"], pin["seq"]) == ("upgrade", seq)
        assert seq in [point.seq for point in member.copy.points()]
        opened = await ask(place, "same_city", "opening.open", id="open-0000000001", point=str(seq))
        assert opened["opening"]
        await ask(place, "same_city", "opening.close", name="open-0000000001")
        story.writer.write(999_000)
        waiting = (999_000).to_bytes(8, "big")
        assert waiting not in story.writer.acknowledged
        await ask(place, "same_city", "hold.release", name="upgrade")
        await place.until(lambda: waiting in story.writer.acknowledged)
        assert not story.writer.errors
        assert member.copy.durable.holds == ()


async def test_another_center_takes_over_while_writes_wait(tmp_path: Path) -> None:
    async with town(tmp_path, STALL) as place:
        story = Story(place)
        await story.write(10)
        seq = await hold(place, "same_city")
        assert (await place.run(IntentKind.SWITCHOVER, "same_city")).state is OperationState.DONE
        await place.until(lambda: place.is_in_sync("same_city", "production"))
        await stalled(place, story, "same_city")
        await place.nodes["same_city"].die()
        outcome = await place.run(IntentKind.FAILOVER, "production")
        assert outcome.state is OperationState.DONE, outcome
        await place.until(lambda: is_serving(place, "production"))
        writer = Writer(place, "production")
        writer.write_many(1, 100)
        await place.until(lambda: len(writer.acknowledged) == 100, 20)
        place.start("same_city").open_copy(STALL)
        back = place.member("same_city")
        assert [one.seq for one in back.copy.durable.holds] == [seq], "kept by the crash"
        assert seq in [point.seq for point in back.copy.points()]


async def test_a_replica_without_room_waits_for_itself_alone(tmp_path: Path) -> None:
    async with town(tmp_path, STALL) as place:
        story = Story(place)
        await story.write(10)
        seq = await hold(place, "remote")
        remote = place.member("remote")
        for _ in range(60):
            if remote.statement().no_space:
                break
            await story.write(60)
        assert "(upgrade) uses up the journal's quota" in remote.statement().no_space
        await story.trim(beyond=remote.copy.journal.tip.seq)
        assert not story.writer.errors
        assert seq in [point.seq for point in remote.copy.points()]
        assert remote.copy.durable.holds
        with pytest.raises(RefusedError, match="cannot be resynced"):
            remote._resync_host.require_no_holds()
        await ask(place, "remote", "hold.release", name="upgrade")
        await story.level()


async def test_by_default_a_resync_takes_the_hold_with_it_and_says_so(tmp_path: Path) -> None:
    async with town(tmp_path, SMALL) as place:
        story = Story(place)
        await story.write(40)
        await hold(place, "remote")
        await story.leave()
        await story.trim(beyond=place.member("production").copy.journal.tip.seq)
        story.back()
        await story.level()
        assert place.member("remote").copy.durable.holds == ()
        assert [line for line in story.told("hold_given_up", "remote") if "a resync replaced" in line]


def _listed(answer: Body) -> list[Body]:
    found = answer["pins"]
    assert isinstance(found, list)
    return found
