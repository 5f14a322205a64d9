"""A volume grows while three centers keep it: by its charter, and at one record of its log."""

from dataclasses import replace
from pathlib import Path

import pytest

from drsync.engine import resync_desk, resync_slots
from drsync.model.charter import IntentKind
from drsync.model.copy import CopyState
from drsync.model.operation import OperationState
from drsync.ports.charter_store import CasOutcome
from drsync.wire.negotiate import FEATURE_RESIZE, MEMBER_FEATURES
from tests.engine import town as town_module
from tests.engine.test_resync_town import SIZE, SMALL, Story
from tests.engine.test_town import BLOCK, Writer, is_serving
from tests.engine.town import GROUP, VOLUME_BYTES, Body, Town, town

GROWN = VOLUME_BYTES + (1 << 20) + BLOCK  # no whole granules, so that the last one is short
EVERYWHERE = ("production", "same_city", "remote")


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resync_slots, "JITTER_S", 0.01)
    monkeypatch.setattr(resync_desk, "PAUSE_LOW_S", 0.1)


async def decide(place: Town, size: int) -> None:
    """What the coordinator does once everybody agreed."""
    known = await place.charter()
    (volume,) = known.group.volumes
    grown = replace(volume, size=size, first_size=volume.first_size or volume.size)
    wanted = replace(known, version=known.version + 1, group=replace(known.group, volumes=(grown,)))
    result = await place.store.compare_and_set(known.version, wanted)
    assert result.outcome is CasOutcome.DONE


def size_at(place: Town, center: str) -> int:
    device = place.member(center).device("disk")
    return device.size if device is not None else 0


async def grow(place: Town, size: int = GROWN, owner: str = "production") -> None:
    await decide(place, size)
    await place.until(lambda: size_at(place, owner) == size)


def put(place: Town, center: str, offset: int, data: bytes) -> Writer:
    """Write through a new connection."""
    writer = Writer(place, center)
    assert offset + len(data) <= writer.device.size
    writer.device.write(offset, memoryview(data), offset.to_bytes(8, "big"), fua=False)
    writer.device.submit(writer)
    return writer


def get(place: Town, center: str, offset: int, length: int = 8) -> bytes:
    device = place.member(center).device("disk")
    assert device is not None
    found = bytearray(length)
    assert device.read_into(offset, memoryview(found)) == 0
    return bytes(found)


async def seen_at(place: Town, center: str, seq: int) -> tuple[int, dict[str, str]]:
    """Size and content of the volume at a record, as a view shows them."""
    member = place.member(center)
    view = member.views.hold(f"at {seq}", seq)
    try:
        await view.build()
        (volume,) = view.spec.volumes
        assert view.device(volume).size == volume.size
        return volume.size, await view.hash()
    finally:
        member.views.release(f"at {seq}")


async def point(place: Town, owner: str, *others: str) -> int:
    """A recovery point that all of these hold."""
    term = place.member(owner).term
    assert term is not None
    seq = term.checkpoint("here", is_app_consistent=False).seq
    copies = [place.member(center).copy for center in (owner, *others)]
    await place.until(lambda: all(c.commit >= seq and c.journal.durable_seq >= seq for c in copies))
    return seq


async def is_same_everywhere(place: Town, owner: str, *others: str) -> tuple[int, int]:
    """The record and the size at which all of these show the same."""
    seq = await point(place, owner, *others)
    shown = [await seen_at(place, center, seq) for center in (owner, *others)]
    assert all(one == shown[0] for one in shown), shown
    sizes = [place.member(center).copy.sizes for center in (owner, *others)]
    assert all(one == sizes[0] for one in sizes), sizes
    return seq, shown[0][0]


async def test_a_volume_grows_at_one_record_at_every_center_and_points_keep_their_sizes(
    tmp_path: Path,
) -> None:
    async with town(tmp_path) as place:
        before, size = await is_same_everywhere(place, *EVERYWHERE)
        assert size == VOLUME_BYTES
        await grow(place)
        assert get(place, "production", GROWN - 8) == bytes(8)
        writer = put(place, "production", GROWN - BLOCK, b"x" * BLOCK)
        await place.until(lambda: bool(writer.acknowledged))
        after, size = await is_same_everywhere(place, *EVERYWHERE)
        assert size == GROWN
        assert get(place, "production", GROWN - 8) == b"x" * 8
        (resize,) = place.member("remote").copy.sizes.resizes
        assert before < resize.seq < after
        for center in EVERYWHERE:
            assert (await seen_at(place, center, before))[0] == VOLUME_BYTES
        assert [c.seq for c in place.member("remote").copy.points() if c.name] == [before, after]


async def test_a_center_that_was_away_grows_by_the_stream(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        await place.nodes["remote"].die()
        await grow(place)
        put(place, "production", VOLUME_BYTES + BLOCK, b"far away")
        await grow(place, GROWN + (1 << 20))
        put(place, "production", GROWN + BLOCK, b"farther")
        place.start("remote").open_copy(GROUP)  # it has never heard of it
        _, size = await is_same_everywhere(place, *EVERYWHERE)
        assert size == GROWN + (1 << 20)
        assert len(place.member("remote").copy.sizes.resizes) == 2


async def test_a_new_disk_follows_from_the_beginning_also_by_a_charter_that_forgot_the_first_size(
    tmp_path: Path,
) -> None:
    """As an older coordinator leaves it, which does not know that a volume had another size once."""
    async with town(tmp_path) as place:
        await place.nodes["remote"].die()
        await grow(place, GROWN)
        await grow(place, GROWN + (1 << 20))
        known = await place.charter()
        volume = replace(known.group.volumes[0], first_size=0)
        forgot = replace(known, version=known.version + 1, group=replace(known.group, volumes=(volume,)))
        assert (await place.store.compare_and_set(known.version, forgot)).outcome is CasOutcome.DONE
        put(place, "production", GROWN + BLOCK, b"farther" + bytes(BLOCK - 7))
        node = place.start("remote")
        node.directory = tmp_path / "new disk"
        node.open_copy(forgot.group)
        seq = await point(place, "production", "remote")
        assert await seen_at(place, "remote", seq) == await seen_at(place, "production", seq)
        resizes = [place.member(center).copy.sizes.resizes for center in ("production", "remote")]
        assert resizes[0] == resizes[1]


@pytest.mark.parametrize("is_wiped", [False, True], ids=["its own copy", "a new disk"])
async def test_a_center_that_was_away_for_long_grows_by_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_wiped: bool
) -> None:
    monkeypatch.setattr(town_module, "SEGMENT_BYTES", 256 << 10)
    async with town(tmp_path, SMALL) as place:
        story = Story(place)
        await story.write(40)
        await story.leave(is_wiped=is_wiped)
        await grow(place, SIZE + GROWN)
        resized = place.member("production").copy.sizes.resizes[0].seq
        put(place, "production", SIZE + GROWN - BLOCK, b"the end!" * (BLOCK // 8))
        put(place, "production", SIZE - BLOCK, b"the last" * (2 * BLOCK // 8))
        await story.trim(beyond=resized + 10)
        story.back()
        await story.done()
        _, size = await is_same_everywhere(place, "production", "remote")
        assert size == SIZE + GROWN
        await story.leave("production")
        outcome = await place.run(IntentKind.FAILOVER, "same_city")
        assert outcome.state is OperationState.DONE, outcome
        await place.until(lambda: is_serving(place, "same_city"))
        assert get(place, "same_city", SIZE + GROWN - 8) == b"the end!"
        await place.until(
            lambda: place.member("remote").copy.durable.applied > resized, 20
        )  # so that its image holds what is beyond the former end
        await place.nodes["remote"].die()
        story.back()
        assert place.member("remote").copy.state is not CopyState.FAILED
        assert place.member("remote").copy.sizes.resizes[0].seq == resized


async def test_a_resync_that_is_under_way_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(town_module, "SEGMENT_BYTES", 256 << 10)
    async with town(tmp_path, SMALL) as place:
        story = Story(place)
        await story.start_slowly()
        await grow(place, SIZE + GROWN)
        put(place, "production", SIZE + GROWN - BLOCK, b"the end!" * (BLOCK // 8))
        place.rates.clear()
        await place.until(lambda: bool(story.told("resync_done")), 30)
        _, size = await is_same_everywhere(place, "production", "remote")
        assert size == SIZE + GROWN


async def test_the_owner_dies_before_it_heard_and_the_next_one_owes_the_record(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        place.cut_off("production")
        await decide(place, GROWN)
        await place.nodes["production"].die()
        place.cuts.clear()
        outcome = await place.run(IntentKind.FAILOVER, "same_city")
        assert outcome.state is OperationState.DONE, outcome
        assert size_at(place, "same_city") == GROWN
        put(place, "same_city", GROWN - BLOCK, b"y" * BLOCK)
        place.start("production").open_copy(GROUP)
        await place.until(lambda: place.is_in_sync("same_city", "production"))
        assert (await is_same_everywhere(place, "same_city", "production", "remote"))[1] == GROWN


async def test_a_record_that_only_the_dead_owner_had_is_cut_and_owed_again(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        place.cuts |= {frozenset(("production", other)) for other in ("same_city", "remote")}
        term = place.member("production").term
        assert term is not None
        for _ in range(20):  # so that the next owner's record has another number
            term.checkpoint("", is_app_consistent=False)
        await grow(place)
        (alone,) = place.member("production").copy.sizes.resizes
        writer = put(place, "production", GROWN - BLOCK, b"nobody has this" + bytes(BLOCK - 15))
        await place.nodes["production"].die()
        assert not writer.acknowledged
        place.cuts.clear()
        outcome = await place.run(IntentKind.FAILOVER, "same_city")
        assert outcome.state is OperationState.DONE, outcome
        assert size_at(place, "same_city") == GROWN
        place.start("production").open_copy(GROUP)
        await place.until(lambda: place.is_in_sync("same_city", "production"))
        _, size = await is_same_everywhere(place, "same_city", "production", "remote")
        assert size == GROWN
        assert place.member("production").copy.sizes.resizes != (alone,)
        assert get(place, "same_city", GROWN - BLOCK) == bytes(8)


async def test_a_forced_failover_to_a_center_without_the_record_serves_the_new_size(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        place.cuts |= {frozenset(("remote", other)) for other in ("production", "same_city")}
        await grow(place)
        writer = put(place, "production", GROWN - BLOCK, b"lost" + bytes(BLOCK - 4))
        await place.until(lambda: bool(writer.acknowledged))
        for center in ("production", "same_city"):
            await place.nodes[center].die()
        assert not place.member("remote").copy.sizes.resizes
        outcome = await place.run(IntentKind.FAILOVER, "remote", accept_loss=True)
        assert outcome.state is OperationState.DONE, outcome
        assert size_at(place, "remote") == GROWN
        await place.until(lambda: is_serving(place, "remote"))
        assert get(place, "remote", GROWN - BLOCK) == bytes(8)
        place.cuts.clear()
        returned = place.start("production").open_copy(GROUP).copy
        epoch = place.member("remote").copy.durable.follow
        await place.until(lambda: returned.durable.follow == epoch)
        told = await place.call("production", "fork.list", {"group": GROUP.id}, 5.0)
        forks = told["forks"]
        assert isinstance(forks, list)
        body: Body = {"group": GROUP.id, "id": "open-0123456789", "fork": forks[0]["name"]}
        await place.call("production", "opening.open", body, 5.0)
        view = place.member("production").views.find("open-0123456789")
        assert view is not None
        device, found = view.device(view.spec.volumes[0]), bytearray(4)
        assert device.size == GROWN, "a fork has the size that it ends with"
        assert device.read_into(GROWN - BLOCK, memoryview(found)) == 0
        assert bytes(found) == b"lost"


async def test_a_switchover_and_restarts_keep_the_size(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        await grow(place)
        put(place, "production", GROWN - BLOCK, b"z" * BLOCK)
        outcome = await place.run(IntentKind.SWITCHOVER, "same_city")
        assert outcome.state is OperationState.DONE, outcome
        assert size_at(place, "same_city") == GROWN
        resized = place.member("production").copy.sizes.resizes
        await place.until(lambda: place.is_in_sync("same_city", "production"))
        for center in EVERYWHERE[:2]:
            await place.nodes[center].die()
            copy = place.start(center).open_copy(GROUP).copy
            assert copy.sizes.resizes[: len(resized)] == resized
            assert copy.spec.volumes[0].size == GROWN


async def test_a_center_with_older_software_is_not_fed_a_log_that_grew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with town(tmp_path) as place:
        older = tuple(feature for feature in MEMBER_FEATURES if feature != FEATURE_RESIZE)
        monkeypatch.setattr("drsync.engine.member.MEMBER_FEATURES", older)
        await place.nodes["remote"].die()
        place.start("remote").open_copy(GROUP)
        term = place.member("production").term
        assert term is not None
        await place.until(lambda: "remote" in term.attachments and not term.attachments["remote"].is_lost)
        await grow(place)
        await place.until(lambda: "does not know volumes that grow" in term.plans["remote"])
        assert not place.member("remote").copy.sizes.resizes
        monkeypatch.setattr("drsync.engine.member.MEMBER_FEATURES", MEMBER_FEATURES)
        await place.until(lambda: bool(place.member("remote").copy.sizes.resizes), 15)
