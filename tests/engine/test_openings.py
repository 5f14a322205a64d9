"""What people open: served apart from production, private, bounded in time, told when it ends."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from drsync.adapters.nbd.client import NbdClient
from drsync.engine import private
from drsync.model.charter import IntentKind
from drsync.model.epoch import Epoch
from drsync.model.errors import DrsyncError, MalformedError, RefusedError, UsageError
from drsync.model.opening import LIFETIME_S
from drsync.model.operation import OperationState
from drsync.model.position import EpochStart, Loss
from tests.engine.test_town import BLOCK, Writer, is_serving
from tests.engine.town import GROUP, Body, Town, town

MIB = 1 << 20


async def ask(place: Town, center: str, method: str, **more: object) -> Body:
    return await place.call(center, method, {"group": GROUP.id, **more}, 20.0)


async def open_point(place: Town, center: str, number: int = 1, **more: object) -> Body:
    return await ask(place, center, "opening.open", id=f"open-{number:010x}", **more)


def opening(answer: Body) -> Body:
    found = answer["opening"]
    assert isinstance(found, dict)
    return found


def told(answer: Body, key: str) -> list[Body]:
    found = answer[key]
    assert isinstance(found, list)
    return found


def uri(answer: Body) -> str:
    volumes = answer["volumes"]
    assert isinstance(volumes, dict)
    return str(volumes["disk"])


async def number_at(uri: str, block: int) -> int:
    client = await NbdClient.connect(uri)
    try:
        return int.from_bytes((await client.read(block * BLOCK, BLOCK))[:8], "big")
    finally:
        await client.close()


async def write_and_mark(place: Town, number: int, name: str) -> int:
    """Write `number` into its block, and 512 times that into block 0; then a named point."""
    writer = Writer(place, "production")
    writer.write(number)
    writer.write(512 * number)
    await place.until(lambda: len(writer.acknowledged) == 2)
    term = place.member("production").term
    assert term is not None
    return term.checkpoint(name, is_app_consistent=False).seq


def holds(place: Town, center: str, seq: int) -> bool:
    copy = place.member(center).copy
    return min(copy.commit, copy.journal.durable_seq) >= seq


@pytest.mark.parametrize("center", ["remote", "same_city", "production"])
async def test_a_point_is_served_as_it_was_while_production_goes_on(tmp_path: Path, center: str) -> None:
    async with town(tmp_path) as place:
        seq = await write_and_mark(place, 1, "before")
        await place.until(lambda: holds(place, center, seq))
        answer = await open_point(place, center, point="before")
        later = await write_and_mark(place, 2, "after")
        await place.until(lambda: holds(place, center, later))

        assert (opening(answer)["seq"], opening(answer)["point"]) == (seq, "before")
        assert opening(answer)["is_point"] is True
        assert "/disk.at-" in uri(answer)
        assert "/open-0000000001.sock" in uri(answer)
        assert await number_at(uri(answer), 0) == 512
        assert await number_at(uri(answer), 2) == 0

        second = await open_point(place, center, 2, point="after", name="beside")
        assert await number_at(uri(second), 0) == 1024
        assert await number_at(uri(answer), 0) == 512

        await ask(place, center, "opening.close", name=f"point-{seq}")
        with pytest.raises((DrsyncError, OSError)):
            await NbdClient.connect(uri(answer))
        assert place.member(center).views.ids() == ["open-0000000002"]


async def test_asking_again_opens_nothing_more_and_names_are_not_given_twice(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        seq = await write_and_mark(place, 1, "before")
        await place.until(lambda: holds(place, "remote", seq))
        first = await open_point(place, "remote", point="before", name="mine")
        assert await open_point(place, "remote", point="before", name="mine") == first
        with pytest.raises(RefusedError, match="called mine"):
            await open_point(place, "remote", 2, point="before", name="mine")
        unnamed = [await open_point(place, "remote", n, point="before") for n in (3, 4)]
        assert [opening(one)["name"] for one in unnamed] == [f"point-{seq}", f"point-{seq}-2"]
        with pytest.raises(UsageError, match="open are: mine, point-"):
            await ask(place, "remote", "opening.close", name="other")


async def test_what_is_not_there_is_refused_and_nothing_stays_pinned(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        with pytest.raises(RefusedError, match="no recovery point is called nothing"):
            await open_point(place, "remote", point="nothing")
        with pytest.raises(RefusedError, match="out of reach"):
            await open_point(place, "remote", point="99999999")
        for wrong in ({"name": "../x"}, {"lifetime_s": 0}, {"quota_bytes": -1}, {"id": "drill-1"}):
            with pytest.raises(MalformedError):
                await ask(place, "remote", "opening.open", **{"id": "open-0000000001", **wrong})
        assert place.member("remote").views.ids() == []


async def test_an_opening_that_fails_half_way_leaves_no_pin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with town(tmp_path) as place:
        seq = await write_and_mark(place, 1, "before")
        await place.until(lambda: holds(place, "remote", seq))
        desk = place.nodes["remote"].openings
        monkeypatch.setattr(desk._doors._front, "path", lambda _name: tmp_path / "no" / "such.sock")
        with pytest.raises(DrsyncError, match="cannot serve"):
            await open_point(place, "remote", point="before")
        assert place.member("remote").views.ids() == []
        assert desk.told(place.member("remote")) == {}


async def test_private_writes_stay_private_and_within_their_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private, "IN_MEMORY_BLOCKS", 4)
    async with town(tmp_path) as place:
        seq = await write_and_mark(place, 1, "before")
        await place.until(lambda: holds(place, "remote", seq))
        answer = await open_point(place, "remote", point="before", quota_bytes=MIB)
        beside = await open_point(place, "remote", 2, point="before")
        client = await NbdClient.connect(uri(answer))
        await client.write(0, (99).to_bytes(8, "big") + bytes(MIB - 8))
        assert await number_at(uri(answer), 0) == 99
        assert await number_at(uri(beside), 0) == 512
        with pytest.raises(DrsyncError, match="ENOSPC"):
            await client.write(2 * MIB, b"x" * BLOCK)
        await client.close()
        reader = await NbdClient.connect(uri(beside))
        assert reader.is_read_only
        await reader.close()
        await ask(place, "remote", "opening.close", name=f"point-{seq}")
        again = await open_point(place, "remote", 3, point="before", quota_bytes=MIB)
        assert await number_at(uri(again), 0) == 512


async def test_a_quota_that_would_take_the_journal_s_space_is_refused(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        seq = await write_and_mark(place, 1, "before")
        await place.until(lambda: holds(place, "remote", seq))
        with pytest.raises(RefusedError, match="MiB stay for journals"):
            await open_point(place, "remote", point="before", quota_bytes=1 << 61)
        assert place.member("remote").views.ids() == []


async def test_an_opening_ends_by_itself_and_says_so(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        seq = await write_and_mark(place, 1, "before")
        await place.until(lambda: holds(place, "remote", seq))
        answer = await open_point(place, "remote", point="before", name="short", lifetime_s=0.2)
        member, desk = place.member("remote"), place.nodes["remote"].openings
        assert opening(answer)["until_us"] == int(str(opening(answer)["opened_us"])) + 200_000
        assert [one["name"] for one in told(desk.told(member), "openings")] == ["short"]
        await place.until(lambda: "openings" not in desk.told(member))
        (ended,) = told(desk.told(member), "ended")
        assert (ended["id"], ended["why"]) == (opening(answer)["id"], "expired")
        assert member.views.ids() == []
        assert LIFETIME_S == 86_400


async def test_an_opening_that_the_copy_gave_up_is_closed_and_told_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with town(tmp_path) as place:
        seq = await write_and_mark(place, 1, "before")
        await place.until(lambda: holds(place, "remote", seq))
        answer = await open_point(place, "remote", point="before")
        member, desk = place.member("remote"), place.nodes["remote"].openings
        policy = replace(GROUP.policy, journal_quota_bytes=1)
        monkeypatch.setattr(member.copy, "spec", replace(GROUP, policy=policy))
        await place.until(lambda: "ended" in desk.told(member))
        (ended,) = told(desk.told(member), "ended")
        assert (ended["id"], ended["why"]) == (opening(answer)["id"], "given_up")
        assert "the journal kept for it" in str(ended["text"])


async def test_pins_tell_who_holds_what(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        seq = await write_and_mark(place, 1, "before")
        await place.until(lambda: holds(place, "remote", seq))
        await open_point(place, "remote", point="before", name="audit")
        place.member("remote").views.hold("drill-1-copy", seq)
        found = told(await ask(place, "remote", "group.pins"), "pins")
        by_kind = {str(pin["kind"]): pin for pin in found}
        assert sorted(by_kind) == ["drill", "member", "opening", "window"]
        assert (by_kind["opening"]["name"], by_kind["opening"]["seq"]) == ("audit", seq)
        assert int(str(by_kind["opening"]["since_us"])) > 0
        assert int(str(by_kind["opening"]["bytes"])) > 0
        at_owner = told(await ask(place, "production", "group.pins"), "pins")
        assert {pin["name"] for pin in at_owner if pin["kind"] == "member"} == {"same_city", "remote"}


async def fork_of(place: Town) -> tuple[int, str]:
    """At same_city, put aside what follows record 10 or so, as a forced change of owner would."""
    Writer(place, "production").write_many(1, 20)
    mate = place.member("same_city")
    await place.until(lambda: holds(place, "same_city", 20))
    start = mate.copy.journal.batch_end_at_or_below(10)
    charter = await place.charter()
    epoch = Epoch(charter.epoch + 1)
    place.cut_off("production")
    await mate.seal(epoch)
    begun = EpochStart(epoch, "1" * 32, start.seq, start.chain, Loss.FORCED)
    await mate.prepare(epoch, (*charter.history, begun), ())
    (name,) = (fork["name"] for fork in await forks_at(place, "same_city"))
    return start.seq, str(name)


async def forks_at(place: Town, center: str) -> list[Body]:
    return told(await ask(place, center, "fork.list"), "forks")


async def test_a_fork_is_listed_and_browsed_beside_what_the_group_has_now(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        start, name = await fork_of(place)
        (fork,) = await forks_at(place, "same_city")
        assert (fork["after_seq"], fork["why_not"], fork["damage"]) == (start, "", "")
        assert int(str(fork["records"])) >= 10
        answer = await open_point(place, "same_city", fork=name)
        below = await open_point(place, "same_city", 2, point=str(start))
        twice = await open_point(place, "same_city", 3, fork=name)
        assert opening(twice)["name"] == f"{name}-2"
        await ask(place, "same_city", "opening.close", name=f"{name}-2")
        assert opening(answer)["fork"] == name
        assert "/disk.fork-" in uri(answer)
        assert await number_at(uri(answer), 5) == await number_at(uri(below), 5) == 5
        assert (await number_at(uri(answer), 19), await number_at(uri(below), 19)) == (19, 0)
        client = await NbdClient.connect(uri(answer))
        whole = await client.read(3 * BLOCK, 17 * BLOCK)
        assert [int.from_bytes(whole[at : at + 8], "big") for at in range(0, 17 * BLOCK, BLOCK)] == [
            *range(3, 20)
        ]
        await client.close()

        with pytest.raises(RefusedError, match=f"open as {name}"):
            await ask(place, "same_city", "fork.discard", name=name)
        await ask(place, "same_city", "opening.close", name=name)
        await ask(place, "same_city", "fork.discard", name=name)
        assert await forks_at(place, "same_city") == []


async def test_a_fork_below_the_images_says_what_can_still_be_done(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        start, name = await fork_of(place)
        place.member("same_city").copy.volumes.reached = start + 1
        (fork,) = await forks_at(place, "same_city")
        assert f"begins after {start}" in str(fork["why_not"])
        with pytest.raises(RefusedError) as refused:
            await open_point(place, "same_city", fork=name)
        assert "drsync journal show" in refused.value.remedy
        with pytest.raises(UsageError, match="there are: fork-"):
            await open_point(place, "same_city", fork="fork-9-9")
        assert place.member("same_city").views.ids() == []


async def test_an_opening_lives_through_changes_of_owner(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        seq = await write_and_mark(place, 1, "before")
        await place.until(lambda: holds(place, "same_city", seq))
        answer = await open_point(place, "same_city", point="before")
        later = await write_and_mark(place, 2, "after")
        await place.until(lambda: holds(place, "same_city", later))
        for owner, mate in (("same_city", "production"), ("production", "same_city")):
            assert (await place.run(IntentKind.SWITCHOVER, owner)).state is OperationState.DONE
            await place.until(partial(is_serving, place, owner))
            await place.until(partial(place.is_in_sync, owner, mate))  # or the next one is refused
            assert await number_at(uri(answer), 0) == 512
        assert place.member("same_city").views.ids() == ["open-0000000001"]
