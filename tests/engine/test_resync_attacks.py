"""What would leave a center silently different, or without an end, after it was brought level by blocks."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from drsync.adapters.segments.journal import SegmentJournal
from drsync.core import dirty
from drsync.engine import resync_desk, resync_slots
from drsync.engine.copy import GroupCopy
from drsync.engine.dirty_entries import found
from drsync.model.charter import IntentKind
from drsync.model.copy import Statement
from drsync.model.operation import OperationState
from drsync.model.position import Position
from tests.engine import town as town_module
from tests.engine.test_resync_town import SMALL, Story
from tests.engine.test_town import is_serving
from tests.engine.town import town

SPOT = 12 << 20  # where nothing else is written
OTHER_CHAIN = b"x" * 16
FOLD_S = 0.2  # between looks at a journal that is trimmed now and then


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resync_slots, "JITTER_S", 0.01)
    monkeypatch.setattr(resync_desk, "PAUSE_LOW_S", 0.1)
    monkeypatch.setattr(town_module, "SEGMENT_BYTES", 256 << 10)


class Tale(Story):
    """Writes in one place, whose content comes back to what it was."""

    async def put(self, byte: bytes) -> None:
        device, copy = self.writer.device, self.place.member("production").copy
        device.write(SPOT, memoryview(byte * 65_536), b"spot" + byte, fua=False)
        device.submit(self.writer)
        tip = copy.journal.tip.seq
        await self.place.until(lambda: self.term().engine.log.commit >= tip, 20)

    async def go_on(self) -> None:
        """Until the owner's journal holds nothing of what was written so far."""
        journal = self.place.member("production").copy.journal
        tip = journal.tip.seq
        for _ in range(40):
            if journal.first_seq > tip + 1:
                return
            self.writer.write_many(self.number, 100)
            self.number += 100
            await asyncio.sleep(FOLD_S)
        raise AssertionError(f"nothing was trimmed\n{self.place.describe()}")


async def test_what_digests_found_equal_differs_at_a_center_that_stands_in_between(tmp_path: Path) -> None:
    """A block is written, and written back: remote, which was away, has it; same_city saw one half of it."""
    async with town(tmp_path, SMALL) as place:
        tale = Tale(place)
        await tale.write(40)
        await tale.level()
        owner, remote = place.member("production"), place.member("remote")
        await place.until(lambda: remote.keeper.cursor("same_city") > 0, 20)
        await tale.leave()
        await tale.put(b"N")
        await tale.level("same_city")
        mate = place.member("same_city").copy.journal
        await place.until(lambda: mate.durable_seq == owner.copy.journal.tip.seq, 20)
        await tale.leave("same_city")
        await place.until(lambda: not place.is_in_sync("production", "same_city"), 20)
        await tale.put(b"\0")
        await tale.go_on()
        await owner.keeper.book.change("remote", lambda marked: dirty.mark_different(marked, None))
        tale.back()
        await tale.level()
        assert "everything is compared" in tale.told("resync_begun")[0], tale.told("resync_begun")
        await tale.leave("production")
        outcome = await place.run(IntentKind.FAILOVER, "remote", accept_loss=True)
        assert outcome.state is OperationState.DONE, outcome
        await place.until(lambda: is_serving(place, "remote"))
        tale.back("same_city")
        await tale.level("same_city", "remote")


async def test_after_a_switch_nothing_of_the_former_log_is_remembered_of_the_others(tmp_path: Path) -> None:
    async with town(tmp_path, SMALL) as place:
        tale = Tale(place)
        await tale.write(40)
        await tale.level()
        await tale.leave()
        await tale.go_on()
        tale.back()
        remote = place.member("remote")

        async def no_round(term: object) -> None:
            """The fold loop comes late."""
            del term

        remote.keeper.round = no_round  # type: ignore[method-assign]
        await place.until(lambda: bool(tale.told("resync_done")), 20)
        for center in ("production", "same_city"):
            marked, _ = found(remote.copy.files.dirty_sets(), remote.copy.durable, center)
            assert marked.through > 0
            assert remote.keeper.of(center) == marked


async def test_a_center_whose_log_says_something_else_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where two logs should be one and are not, no common position is believed."""
    async with town(tmp_path, SMALL) as place:
        tale = Tale(place)
        await tale.write(100)
        await tale.level()
        await tale.leave()

        def is_wrong(center: str) -> bool:
            return "remote" in center and not any("resync_began" in x for x in place.nodes["remote"].lines)

        statement, position_at = GroupCopy.statement, SegmentJournal.position_at

        def wrong_statement(copy: GroupCopy) -> Statement:
            word = statement(copy)
            tip = word.tip._replace(chain=OTHER_CHAIN) if is_wrong(word.center) else word.tip
            return replace(word, tip=tip)

        def wrong_position(journal: SegmentJournal, seq: int) -> Position | None:
            here = position_at(journal, seq)
            is_tip = here is not None and 0 < seq == journal.tip.seq
            return (
                here._replace(chain=OTHER_CHAIN)
                if here and is_tip and is_wrong(str(journal._directory))
                else here
            )

        monkeypatch.setattr(GroupCopy, "statement", wrong_statement)
        monkeypatch.setattr(SegmentJournal, "position_at", wrong_position)
        tale.back()
        await place.until(lambda: bool(tale.told("resync_done")), 20)
        await tale.level()
        assert tale.told("resync_corrupt")
        assert any("fork_kept" in line for line in place.nodes["remote"].lines), place.describe()
