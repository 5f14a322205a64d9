"""What becomes of acknowledged writes: three centers, real journals, real procedures, one process."""

import asyncio
import shutil
from pathlib import Path

import pytest

from drsync.engine import retention
from drsync.model.charter import IntentKind
from drsync.model.copy import CopyState
from drsync.model.errors import FailedCopyError
from drsync.model.operation import OperationState
from tests.engine.town import GROUP, Town, town

BLOCK = 4096


class Writer:
    """A client that remembers what was acknowledged."""

    def __init__(self, place: Town, center: str) -> None:
        device = place.member(center).device("disk")
        assert device is not None
        self.device = device
        self.acknowledged: list[bytes] = []
        self.errors: list[tuple[bytes, int]] = []

    def complete(self, cookies: list[bytes], error: int) -> None:
        if error:
            self.errors += [(cookie, error) for cookie in cookies]
        else:
            self.acknowledged += cookies

    def resume(self) -> None:
        """It reads nothing."""

    def write(self, number: int) -> None:
        data = number.to_bytes(8, "big") * (BLOCK // 8)
        self.device.write((number % 512) * BLOCK, memoryview(data), number.to_bytes(8, "big"), fua=False)
        self.device.submit(self)

    def write_many(self, first: int, count: int) -> None:
        for number in range(first, first + count):
            self.write(number)


def content(place: Town, center: str, number: int) -> int:
    """The number that stands where write `number` was made."""
    device = place.member(center).device("disk")
    assert device is not None
    piece = bytearray(8)
    assert device.read_into((number % 512) * BLOCK, memoryview(piece)) == 0
    return int.from_bytes(piece, "big")


def is_serving(place: Town, center: str) -> bool:
    term = place.member(center).term
    return term is not None and term.engine.is_leased


async def test_a_write_is_acknowledged_when_both_city_members_have_it(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        writer = Writer(place, "production")
        writer.write_many(1, 50)
        await place.until(lambda: len(writer.acknowledged) == 50)
        assert place.member("same_city").copy.journal.tip == place.member("production").copy.journal.tip
        remote = place.member("remote").copy.journal
        await place.until(lambda: remote.tip == place.member("production").copy.journal.tip)


async def test_the_owner_dies_and_the_same_city_center_has_every_acknowledged_write(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        writer = Writer(place, "production")
        writer.write_many(1, 200)
        await place.until(lambda: len(writer.acknowledged) >= 100)
        await place.nodes["production"].die()
        outcome = await place.run(IntentKind.FAILOVER, "same_city")
        assert outcome.state is OperationState.DONE, outcome
        await place.until(lambda: is_serving(place, "same_city"))
        for cookie in writer.acknowledged:
            number = int.from_bytes(cookie, "big")
            assert content(place, "same_city", number) == number


async def test_the_old_owner_returns_as_a_replica_without_a_full_copy(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        first = Writer(place, "production")
        first.write_many(1, 300)
        await place.until(lambda: len(first.acknowledged) == 300)
        await place.nodes["production"].die()
        assert (await place.run(IntentKind.FAILOVER, "same_city")).state is OperationState.DONE
        await place.until(lambda: is_serving(place, "same_city"))
        second = Writer(place, "same_city")
        second.write_many(301, 20)
        place.start("production").open_copy(GROUP)
        await place.until(lambda: place.is_in_sync("same_city", "production"))
        await place.until(lambda: len(second.acknowledged) == 20)
        term = place.member("same_city").term
        assert term is not None
        assert term.attachments["production"].feed.sent_bytes < 60 * BLOCK


async def test_cut_off_alive_the_old_owner_acknowledges_nothing_any_more(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        writer = Writer(place, "production")
        writer.write_many(1, 20)
        await place.until(lambda: len(writer.acknowledged) == 20)
        place.cut_off("production")
        writer.write_many(21, 20)
        outcome = await place.run(IntentKind.FAILOVER, "same_city")
        assert outcome.state is OperationState.DONE, outcome
        await place.until(lambda: is_serving(place, "same_city"))
        assert len(writer.acknowledged) == 20
        assert not is_serving(place, "production")
        place.cuts.clear()
        for link in place.links:
            if "production" in (link.peer, link._me):
                link.close("the cut connections time out")
        await place.until(lambda: place.is_in_sync("same_city", "production"), 20)
        assert len(writer.acknowledged) == 20
        assert place.member("production").copy.journal.tip == place.member("same_city").copy.journal.tip


async def test_a_switchover_loses_nothing_and_comes_back(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        writer = Writer(place, "production")
        writer.write_many(1, 100)
        outcome = await place.run(IntentKind.SWITCHOVER, "same_city")
        assert outcome.state is OperationState.DONE, outcome
        await place.until(lambda: is_serving(place, "same_city"))
        for cookie in writer.acknowledged:
            assert content(place, "same_city", int.from_bytes(cookie, "big")) == int.from_bytes(cookie, "big")
        await place.until(lambda: place.is_in_sync("same_city", "production"))
        outcome = await place.run(IntentKind.SWITCHOVER, "production")
        assert outcome.state is OperationState.DONE, outcome
        await place.until(lambda: place.is_in_sync("production", "same_city"))


async def test_failover_to_the_remote_center_is_refused_when_it_may_lose_writes(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        writer = Writer(place, "production")
        writer.write_many(1, 20)
        await place.until(lambda: len(writer.acknowledged) == 20)
        before = await place.charter()
        await place.nodes["production"].die()
        await place.nodes["same_city"].die()
        outcome = await place.run(IntentKind.FAILOVER, "remote")
        assert outcome.state is OperationState.REFUSED, outcome
        after = await place.charter()
        assert (after.owner, after.epoch, after.intent) == (before.owner, before.epoch, None)


async def test_after_a_forced_failover_both_return_and_their_fork_is_kept(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        writer = Writer(place, "production")
        writer.write_many(1, 50)
        await place.until(
            lambda: place.member("remote").copy.journal.tip == place.member("production").copy.journal.tip
        )
        place.cuts |= {frozenset(("production", "remote"))}
        writer.write_many(51, 30)
        await place.until(lambda: len(writer.acknowledged) == 80)
        await place.nodes["production"].die()
        await place.nodes["same_city"].die()
        outcome = await place.run(IntentKind.FAILOVER, "remote", accept_loss=True)
        assert outcome.state is OperationState.DONE, outcome
        place.cuts.clear()
        await place.until(lambda: is_serving(place, "remote"))
        assert content(place, "remote", 50) == 50
        assert content(place, "remote", 80) == 0
        for name in ("production", "same_city"):
            place.start(name).open_copy(GROUP)
        await place.until(
            lambda: place.member("production").copy.journal.tip == place.member("remote").copy.journal.tip, 20
        )
        forks = list((tmp_path / "production").rglob("fork-*"))
        assert forks, "what production alone had acknowledged is kept"


async def test_both_city_members_die_but_one_returns_and_gives_the_remote_its_tail(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        writer = Writer(place, "production")
        place.cuts |= {frozenset(("production", "remote"))}
        writer.write_many(1, 40)
        await place.until(lambda: len(writer.acknowledged) == 40)
        await place.nodes["production"].die()
        place.cuts.clear()
        outcome = await place.run(IntentKind.FAILOVER, "remote")
        assert outcome.state is OperationState.DONE, outcome
        await place.until(lambda: is_serving(place, "remote"))
        assert all(content(place, "remote", number) == number for number in range(1, 41))


async def test_without_the_store_the_pair_goes_on_and_a_lone_owner_freezes(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        place.cuts |= {frozenset((c, where)) for c in place.nodes for where in ("store", "coordinator")}
        lease_s = GROUP.policy.lease_s
        end = place.clock.now() + 2 * lease_s
        await place.until(lambda: place.clock.now() > end, 5 * lease_s)
        writer = Writer(place, "production")
        writer.write(1)
        await place.until(lambda: writer.acknowledged != [])
        await place.nodes["same_city"].die()
        writer.write(2)
        await place.until(lambda: not is_serving(place, "production"), 5 * lease_s)
        assert len(writer.acknowledged) == 1


async def test_a_dead_member_is_removed_in_the_charter_before_writes_go_on(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        writer = Writer(place, "production")
        await place.nodes["same_city"].die()
        writer.write(1)
        assert writer.acknowledged == []
        await place.until(lambda: writer.acknowledged != [])
        assert (await place.charter()).in_sync == {"production"}


async def test_a_drill_reads_exactly_what_the_owner_had_at_that_point(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        writer = Writer(place, "production")
        writer.write_many(1, 30)
        wanted: dict[str, object] = {"group": GROUP.id, "name": "d", "hold": True, "view": "01" * 16}
        mark = await place.call("production", "group.checkpoint", wanted, 5)
        writer.write_many(31, 30)
        remote = place.member("remote").copy
        await place.until(lambda: any(point.seq == mark["seq"] for point in remote.points()))
        body: dict[str, object] = {"group": GROUP.id, "id": "ef" * 16, "seq": mark["seq"]}
        await place.call("remote", "view.open", body, 5)
        probe = await place.call("remote", "view.probe", body, 5)
        assert probe["ok"] is True
        theirs = await place.call("remote", "view.hash", body, 5)
        ours = await place.call("production", "view.hash", {"group": GROUP.id, "id": mark["view"]}, 5)
        assert theirs["volumes"] == ours["volumes"]
        assert (await place.call("remote", "view.close", body, 5))["open"] == []
        await asyncio.sleep(0)
        assert place.member("remote").copy.state is CopyState.REPLICA


async def test_a_broken_disk_at_a_replica_stops_that_replica_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with town(tmp_path) as place:
        writer = Writer(place, "production")
        remote = place.member("remote")
        writer.write_many(1, 10)
        await place.until(lambda: remote.copy.journal.tip.seq >= 10)

        def broken(*_: object) -> int:
            raise FailedCopyError("append: input/output error")

        monkeypatch.setattr(remote.copy.journal, "append", broken)
        writer.write_many(11, 10)
        await place.until(lambda: len(writer.acknowledged) == 20)
        await place.until(lambda: remote.copy.state is CopyState.FAILED)
        term = place.member("production").term
        assert term is not None
        await place.until(lambda: "input/output error" in term.plans["remote"])
        writer.write(21)
        await place.until(lambda: len(writer.acknowledged) == 21)


async def test_checkpoints_are_written_under_constant_load(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        writer = Writer(place, "production")
        remote = place.member("remote").copy
        before = len(remote.checkpoints)
        number = 0
        while len(remote.checkpoints) < before + 3:
            number += 1
            writer.write(number)
            await asyncio.sleep(0)
            assert number < 200_000, place.describe()


async def test_a_forgotten_drill_view_never_stops_the_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "VIEW_BLOCKS_MAX", 100)
    async with town(tmp_path) as place:
        writer = Writer(place, "production")
        wanted: dict[str, object] = {"group": GROUP.id, "name": "d", "hold": True, "view": "01" * 16}
        await place.call("production", "group.checkpoint", wanted, 5)
        owner = place.member("production")
        writer.write_many(1, 300)
        await place.until(lambda: owner.views.ids() == [])
        await place.until(lambda: owner.copy.volumes.applied >= 300)


async def test_a_wiped_member_leaves_the_set_before_it_is_refilled(tmp_path: Path) -> None:
    """If the owner died meanwhile, nobody may take the half-filled copy for a complete one."""
    async with town(tmp_path) as place:
        writer = Writer(place, "production")
        writer.write_many(1, 50)
        await place.until(lambda: len(writer.acknowledged) == 50)
        await place.nodes["same_city"].die()
        shutil.rmtree(tmp_path / "same_city")
        place.start("same_city").open_copy(GROUP)
        before = (await place.charter()).version
        await place.until(lambda: any(c.in_sync == {"production"} for c in place.later_charters(before)))
        await place.until(lambda: place.is_in_sync("production", "same_city"))
        assert place.member("same_city").copy.journal.tip.seq >= 50
