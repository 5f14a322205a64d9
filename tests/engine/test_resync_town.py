"""A center that the journal does not reach is brought level by blocks: real members, files and journals."""

import asyncio
import random
from dataclasses import replace
from pathlib import Path

import pytest

from drsync.core import compare
from drsync.delta.batch import KIND_WRITE, KIND_ZERO, records, split
from drsync.engine import resync_desk, resync_slots
from drsync.engine.resync_line import Line
from drsync.engine.resync_source import ResyncSource
from drsync.engine.term import OwnerTerm
from drsync.model.charter import IntentKind
from drsync.model.copy import Statement
from drsync.model.group import VolumeSpec
from drsync.model.operation import OperationState
from tests.engine import town as town_module
from tests.engine.test_town import Writer, is_serving
from tests.engine.town import GROUP, Town, town

SIZE = 16 << 20
SMALL = replace(
    GROUP,
    volumes=(VolumeSpec("cd" * 16, "disk", SIZE, 0),),
    policy=replace(GROUP.policy, journal_quota_bytes=1 << 20, window_s=0.5),
)
PLAIN = replace(SMALL, policy=replace(SMALL.policy, compress=False))  # so that a slow line is slow
SLOW = 1_500_000  # bytes/s: two MiB take more than a second


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resync_slots, "JITTER_S", 0.01)
    monkeypatch.setattr(resync_desk, "PAUSE_LOW_S", 0.1)
    monkeypatch.setattr(town_module, "SEGMENT_BYTES", 256 << 10)  # so that little has to be written


class Story:
    """A town whose remote center is away while so much is written that the journal lets it go."""

    def __init__(self, place: Town) -> None:
        self.place = place
        self.writer = Writer(place, "production")
        self.number = 1
        self.disks: dict[str, Path] = {}

    async def write(self, count: int) -> None:
        self.writer.write_many(self.number, count)
        self.number += count
        await self.place.until(lambda: len(self.writer.acknowledged) >= self.number - 1, 20)

    async def trim(self, center: str = "production", beyond: int = 1) -> None:
        """Write until the journal of a center begins after a record."""
        journal = self.place.member(center).copy.journal
        for _ in range(60):
            if journal.first_seq > beyond:
                return
            await self.write(100)
            await asyncio.sleep(0.05)
        raise AssertionError(f"nothing was trimmed\n{self.place.describe()}")

    async def leave(self, center: str = "remote", *, is_wiped: bool = False) -> None:
        await self.place.nodes[center].die()
        if is_wiped:
            self.disks[center] = self.place.directory / f"{center}, new disk"

    def back(self, center: str = "remote") -> None:
        node = self.place.start(center)
        node.directory = self.disks.get(center, node.directory)
        node.open_copy(SMALL)

    async def start_slowly(self) -> None:
        """A disk that is new is filled over a slow line, and blocks are on their way."""
        await self.leave(is_wiped=True)
        await self.trim()
        self.place.rates["production", "remote"] = SLOW
        self.back()
        await self.running()

    def cut(self, center: str = "remote") -> None:
        """Every line of a center breaks, once."""
        for link in self.place.links:
            if center in (link.peer, link._me):
                link.close("cut by the test")

    def term(self, owner: str = "production") -> OwnerTerm:
        term = self.place.member(owner).term
        assert term is not None
        return term

    def source(self, center: str = "remote", owner: str = "production") -> ResyncSource:
        return self.term(owner).resyncs.of(center)

    def told(self, event: str, owner: str = "production") -> list[str]:
        return [line for line in self.place.nodes[owner].lines if line.startswith(event + ":")]

    async def outgrow(self) -> bool:
        """What the journal asks of a session that holds too much of it."""
        tip, log = self.place.member("production").copy.journal.tip.seq, self.term().engine.log
        await self.place.until(lambda: log.flush_bound() >= tip)
        return await self.term().resyncs.outgrow("remote", tip)

    async def running(self, center: str = "remote") -> None:
        """Until blocks are on their way."""
        source = self.source(center)
        await self.place.until(lambda: source.progress is not None and source.progress.wire_bytes > 0, 20)

    async def level(self, center: str = "remote", owner: str = "production") -> None:
        """Until the center has all that the owner has, and then byte for byte."""
        await self.place.until(
            lambda: (
                center in self.place.nodes
                and self.place.nodes[center].member is not None
                and self.place.member(center).copy.journal.tip == self.place.member(owner).copy.journal.tip
            ),
            30,
        )
        assert content(self.place, center) == content(self.place, owner), self.place.describe()

    async def done(self) -> None:
        """Until the owner has heard that its session is over."""
        await self.place.until(lambda: bool(self.told("resync_done")), 20)
        assert len(self.told("resync_done")) == 1


def content(place: Town, center: str) -> bytes:
    """What a center's copy holds: its image, and its journal above."""
    copy = place.member(center).copy
    found = bytearray(SIZE)
    copy.volumes.views[0].image.read_into(0, memoryview(found))
    for batch in copy.journal.places(copy.volumes.applied):
        raw = copy.journal.read(batch.locator, batch.length)
        for at, header in split(raw):
            for offset, _, length, start, _, kind, _, _ in records(raw, at, header):
                begins = at + header.payload_start + start
                if kind == KIND_WRITE:
                    found[offset : offset + length] = raw[begins : begins + length]
                elif kind == KIND_ZERO:
                    found[offset : offset + length] = bytes(length)
    return bytes(found)


async def test_a_center_that_comes_late_to_a_trimmed_journal_is_filled(tmp_path: Path) -> None:
    async with town(tmp_path, SMALL) as place:
        story = Story(place)
        await story.leave(is_wiped=True)
        await story.trim()
        story.back()
        await story.level()
        await story.done()
        assert place.member("remote").copy.points()[-1].seq > 0


async def test_a_center_that_was_away_too_long_is_not_filled_anew(tmp_path: Path) -> None:
    async with town(tmp_path, SMALL) as place:
        story = Story(place)
        device = story.writer.device
        device.write(8 << 20, memoryview(random.Random(1).randbytes(4 << 20)), b"old", fua=False)
        device.submit(story.writer)
        remote = place.member("remote").copy
        await place.until(lambda: remote.volumes.applied > 20, 20)
        await story.leave()
        here = place.member("production").copy.journal.tip.seq
        story.writer.acknowledged.clear()
        await story.trim(beyond=here + 1)
        story.back()
        await story.level()
        await place.until(lambda: story.source().wire_bytes > 0)  # counted when the owner hears of the end
        sent = story.source().wire_bytes
        assert sent < 3 << 20, f"{sent} bytes were sent for 2 MiB that differ"


async def test_the_city_center_leaves_the_in_sync_set_and_comes_back_level(tmp_path: Path) -> None:
    async with town(tmp_path, SMALL) as place:
        story = Story(place)
        await story.leave("same_city", is_wiped=True)
        await story.trim()
        story.back("same_city")
        await place.until(lambda: place.is_in_sync("production", "same_city"), 30)
        await story.level("same_city")


async def test_a_copy_that_rotted_is_compared_and_mended_with_an_alarm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with town(tmp_path, SMALL) as place:
        story = Story(place)
        await story.write(100)
        await story.level()
        await story.leave()
        path = next((tmp_path / "remote").rglob("*.img"))
        with path.open("r+b") as file:
            file.seek(SIZE // 2)
            file.write(b"rot")
        real = compare.compare

        def doubting(
            owner: compare.OwnerView, statement: Statement, identity: compare.Identity
        ) -> compare.ConnectPlan:
            if statement.center == "remote" and not story.told("resync_done"):
                return compare.Corrupt(statement.tip.seq)
            return real(owner, statement, identity)

        monkeypatch.setattr(compare, "compare", doubting)
        story.back()
        await place.until(lambda: bool(story.told("resync_done")), 20)
        await story.level()
        assert story.told("resync_corrupt")


async def test_records_that_a_forced_failover_gave_up_are_undone_in_the_image(tmp_path: Path) -> None:
    async with town(tmp_path, SMALL) as place:
        story = Story(place)
        await story.write(300)
        await story.level()
        place.cuts |= {frozenset(("remote", other)) for other in ("production", "same_city")}
        story.cut()
        await story.trim(beyond=place.member("remote").copy.journal.tip.seq + 1)
        city = place.member("production").copy
        await place.until(lambda: city.volumes.applied > place.member("remote").copy.journal.tip.seq, 20)
        await story.leave("production")
        await story.leave("same_city")
        place.cuts.clear()
        outcome = await place.run(IntentKind.FAILOVER, "remote", accept_loss=True)
        assert outcome.state is OperationState.DONE, outcome
        await place.until(lambda: is_serving(place, "remote"))
        second = Writer(place, "remote")
        second.write_many(1_000_000, 20)
        story.back("production")
        await story.level("production", "remote")
        story.back("same_city")
        await story.level("same_city", "remote")
        assert any("fork_kept" in line for line in place.nodes["production"].lines), place.describe()


@pytest.mark.parametrize("frame", [1, 2, 12, 30])
async def test_a_line_that_is_cut_in_the_middle_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frame: int
) -> None:
    sent = 0
    real = Line.bulk

    async def cutting(self: Line, *args: object, **more: object) -> None:
        nonlocal sent
        sent += 1
        if sent == frame:
            self.give_up("cut by the test")
        await real(self, *args, **more)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(Line, "bulk", cutting)
    async with town(tmp_path, SMALL) as place:
        story = Story(place)
        await story.leave(is_wiped=True)
        await story.trim()
        story.back()
        await story.level()
        await story.done()
        assert sent >= min(frame, 2)


async def test_writes_that_outgrow_the_redo_take_several_rounds(tmp_path: Path) -> None:
    async with town(tmp_path, PLAIN) as place:
        story = Story(place)
        await story.start_slowly()
        rounds = 0
        for _ in range(4):
            await story.write(40)
            await story.outgrow()  # or retention was faster
            rounds = max(rounds, story.source("remote").source.rounds)
        assert rounds
        place.rates.clear()
        await story.level()
        await story.done()


async def test_the_target_restarts_in_the_middle_and_goes_on_from_what_it_kept(tmp_path: Path) -> None:
    async with town(tmp_path, PLAIN) as place:
        story = Story(place)
        await story.start_slowly()
        await story.leave()
        place.rates.clear()
        await story.write(100)
        story.back()
        await story.level()


async def test_the_owner_dies_in_the_middle_and_the_next_one_brings_the_center_level(tmp_path: Path) -> None:
    async with town(tmp_path, PLAIN) as place:
        story = Story(place)
        await story.start_slowly()
        await story.leave("production")
        place.rates.clear()
        outcome = await place.run(IntentKind.FAILOVER, "same_city")
        assert outcome.state is OperationState.DONE, outcome
        await place.until(lambda: is_serving(place, "same_city"))
        await story.level("remote", "same_city")
        story.back("production")
        await story.level("production", "same_city")


async def test_two_centers_at_once(tmp_path: Path) -> None:
    async with town(tmp_path, SMALL) as place:
        story = Story(place)
        await story.leave("remote", is_wiped=True)
        await story.leave("same_city", is_wiped=True)
        await story.trim()
        story.back("remote")
        story.back("same_city")
        await story.level("remote")
        await story.level("same_city")
        await place.until(lambda: place.is_in_sync("production", "same_city"), 20)


@pytest.mark.parametrize("seed", range(3))
async def test_random_writes_cuts_and_restarts_end_byte_for_byte_the_same(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    async with town(tmp_path, PLAIN) as place:
        story = Story(place)
        await story.leave(is_wiped=dice.random() < 0.5)
        await story.trim(beyond=place.member("production").copy.journal.tip.seq)
        place.rates["production", "remote"] = SLOW
        story.back()
        for _ in range(6):
            await asyncio.sleep(dice.random() * 0.3)
            await story.write(dice.randrange(1, 60))
            fate = dice.random()
            if fate < 0.4:
                story.cut()
            elif fate < 0.6:
                await story.leave()
                story.back()
            elif fate < 0.8:
                await story.outgrow()
        place.rates.clear()
        await story.level()
