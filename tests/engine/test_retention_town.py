"""A center is away for a week, scaled down: who keeps what for it, and how it comes back level from whom."""

from functools import partial
from pathlib import Path

import pytest

from drsync.engine import resync_desk, resync_slots
from drsync.engine.member import Member
from drsync.model.charter import IntentKind
from drsync.model.operation import OperationState
from tests.engine import town as town_module
from tests.engine.test_resync_town import SMALL, Story
from tests.engine.test_town import Writer, is_serving
from tests.engine.town import Town, town

SEGMENT = 256 << 10
RESERVE = 3 * SEGMENT  # the segment that is written to, the reserved one, and what is not durable yet


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resync_slots, "JITTER_S", 0.01)
    monkeypatch.setattr(resync_desk, "PAUSE_LOW_S", 0.1)
    monkeypatch.setattr(town_module, "SEGMENT_BYTES", SEGMENT)


def is_durable(member: Member) -> bool:
    """Whether all that was written so far survives a crash, so that space can come back."""
    return member.copy.journal.durable_seq == member.copy.journal.tip.seq


async def away(place: Town, story: Story) -> int:
    """Remote is level, then it goes; what it held. Much more is written than the journals may keep."""
    await story.write(40)
    await story.level()
    remote = place.member("remote").copy
    await place.until(lambda: remote.journal.durable_seq == remote.journal.tip.seq)
    owner, mate = place.member("production"), place.member("same_city")
    held = remote.journal.durable_seq
    await place.until(lambda: min(m.keeper.cursor("remote") for m in (owner, mate)) >= held, 20)
    await story.leave()
    return held


async def test_a_week_without_the_remote_center_costs_the_quota_and_no_write_waits(tmp_path: Path) -> None:
    async with town(tmp_path, SMALL) as place:
        story = Story(place)
        held = await away(place, story)
        owner, mate = place.member("production"), place.member("same_city")
        quota = SMALL.policy.journal_quota_bytes
        for _ in range(12):
            await story.write(100)  # five times the quota in all
            await place.until(partial(is_durable, owner))
        for member in (owner, mate):
            journal = member.copy.journal
            await place.until(lambda held=journal: held.held_bytes <= quota + RESERVE, 20)  # type: ignore[misc]  # bound now
        assert not story.writer.errors
        for member in (owner, mate):
            assert member.copy.journal.first_seq > held + 1
            marked = member.keeper.of("remote")
            assert marked.is_known
            assert marked.reaches(member.keeper.cursor("remote"), member.copy.journal.first_seq - 1)
            (word,) = [holder for holder in member.keeper.holders() if holder.center == "remote"]
            assert word.dirty_bytes
        assert story.told("journal_not_kept")
        story.back()
        await story.level()
        assert "granules are marked" in story.told("resync_begun")[0], story.told("resync_begun")
        await place.until(lambda: owner.keeper.of("remote").is_clean, 20)


async def test_the_survivor_brings_the_absent_center_level_by_its_own_marks(tmp_path: Path) -> None:
    async with town(tmp_path, SMALL) as place:
        story = Story(place)
        held = await away(place, story)
        mate = place.member("same_city")
        await story.trim("same_city", beyond=held + 1)
        await story.leave("production")
        outcome = await place.run(IntentKind.FAILOVER, "same_city")
        assert outcome.state is OperationState.DONE, outcome
        await place.until(lambda: is_serving(place, "same_city"))
        assert mate.keeper.cursor("remote") >= held
        second = Writer(place, "same_city")
        second.write_many(1_000_000, 20)
        story.back()
        await story.level("remote", "same_city")
        begun = story.told("resync_begun", "same_city")
        assert "granules are marked" in begun[0], begun


async def test_an_owner_that_was_started_again_knows_what_the_absent_center_holds(tmp_path: Path) -> None:
    async with town(tmp_path, SMALL) as place:
        story = Story(place)
        held = await away(place, story)
        await story.trim("production", beyond=held + 1)
        marked = place.member("production").keeper.of("remote")
        await story.leave("production")
        story.back("production")
        owner = place.member("production")
        assert owner.keeper.cursor("remote") >= held
        again = owner.keeper.of("remote")
        assert again.is_known
        assert again.since == marked.since
        outcome = await place.run(IntentKind.FAILOVER, "production")
        assert outcome.state is OperationState.DONE, outcome
        await place.until(lambda: is_serving(place, "production"))
        story.back()
        await story.level()
        begun = story.told("resync_begun")
        assert "granules are marked" in begun[0], begun


async def test_a_center_that_follows_too_slowly_is_brought_level_by_blocks(tmp_path: Path) -> None:
    async with town(tmp_path, SMALL) as place:
        story = Story(place)
        await story.write(40)
        await story.level()
        place.rates["production", "remote"] = 150_000
        for _ in range(10):
            await story.write(100)
            await place.until(partial(is_durable, place.member("production")))
        await place.until(lambda: bool(story.told("journal_not_kept")), 20)
        place.rates.clear()
        # Its own word: the owner hears of it too, unless the link ends just then.
        await place.until(lambda: bool(story.told("resync_switched", "remote")), 30)
        await story.level()
