"""Centers that come and go, a tiny quota, owners that change: in the end all copies are one."""

import asyncio
import random
from dataclasses import replace
from pathlib import Path

import pytest

from drsync.core import dirty
from drsync.engine import resync_desk, resync_slots
from drsync.model.charter import IntentKind
from drsync.model.operation import OperationState
from tests.engine import town as town_module
from tests.engine.test_resync_town import SMALL, Story
from tests.engine.test_town import BLOCK, Writer, is_serving
from tests.engine.town import Town, town

TINY = replace(SMALL, policy=replace(SMALL.policy, journal_quota_bytes=768 << 10, window_s=0.1))
CENTERS = ("production", "same_city", "remote")
STEPS = 12
POLL_S = 0.1  # between tries to go back to an owner; its own deadlines end them
PLACES = 230  # granules, most of which are seldom written, so that marks do not cover everything


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resync_slots, "JITTER_S", 0.01)
    monkeypatch.setattr(resync_desk, "PAUSE_LOW_S", 0.1)
    monkeypatch.setattr(town_module, "SEGMENT_BYTES", 256 << 10)


class Chaos:
    """What happens, by the dice."""

    def __init__(self, place: Town, dice: random.Random) -> None:
        self.place, self.dice = place, dice
        self.story = Story(place)
        self.owner = "production"
        self.writer = Writer(place, self.owner)
        self.away: set[str] = set()
        self.told: list[str] = []
        self._number = 0

    def write(self, count: int) -> None:
        """Few contents in few places, so that much is written back to what it was."""
        dice, device = self.dice, self.writer.device
        near = dice.randrange(PLACES)
        for _ in range(count):
            self._number += 1
            cookie = self._number.to_bytes(8, "big")
            granule = dice.randrange(PLACES) if dice.random() < 0.3 else near + dice.randrange(8)
            length = dice.choice((512, BLOCK, 3 * BLOCK, 16 * BLOCK))
            offset = (granule * 16 + dice.randrange(2)) * BLOCK + (length == 512) * 512 * dice.randrange(8)
            if dice.random() < 0.2:
                device.zero(offset, length, cookie, fua=False, is_trim=True)
            else:
                device.write(offset, memoryview(dice.choice((b"\0", b"A")) * length), cookie, fua=False)
            device.submit(self.writer)

    async def step(self) -> None:
        here = [center for center in CENTERS if center != self.owner and center not in self.away]
        fate = self.dice.random()
        if fate < 0.25 and here:
            await self.leave(self.dice.choice(here))
        elif fate < 0.5 and self.away:
            self.back(self.dice.choice(sorted(self.away)))
        elif fate < 0.6:
            for link in list(self.place.links):
                if self.dice.random() < 0.5:
                    link.close("cut by the test")
        elif fate < 0.75 and here:
            await self.forget_marks(self.dice.choice(here))
        elif here:
            await self.change_owner(self.dice.choice(here))

    async def leave(self, center: str) -> None:
        self.told.append(f"{center} leaves")
        self.away.add(center)
        await self.story.leave(center)

    def back(self, center: str) -> None:
        self.told.append(f"{center} is back")
        self.away.discard(center)
        self.place.start(center).open_copy(TINY)

    async def forget_marks(self, center: str) -> None:
        """As when a set was lost: everything is compared."""
        self.told.append(f"what {center} lacks is not known")
        keeper = self.place.member(self.owner).keeper
        await keeper.book.change(center, lambda marked: dirty.mark_different(marked, None))
        attachment = self.story.term(self.owner).attachments.get(center)
        if attachment is not None:
            attachment.close("the test asks it again")

    async def change_owner(self, target: str) -> None:
        former = self.owner
        await self.leave(former)
        if not await self._failover(target):
            self.back(former)
            while not await self._failover(former):
                await asyncio.sleep(POLL_S)

    async def _failover(self, target: str) -> bool:
        outcome = await self.place.run(IntentKind.FAILOVER, target, accept_loss=True)
        self.told.append(f"failover to {target}: {outcome.state.value}")
        if outcome.state is not OperationState.DONE:
            return False
        self.owner = target
        await self.place.until(lambda: is_serving(self.place, target), 20)
        self.writer = Writer(self.place, target)
        return True


@pytest.mark.parametrize("seed", [203, 206])
async def test_whatever_happens_all_copies_are_one_in_the_end(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    async with town(tmp_path, TINY) as place:
        chaos = Chaos(place, dice)
        for _ in range(STEPS):
            chaos.write(dice.randrange(20, 120))
            await asyncio.sleep(dice.random() * 0.4)
            await chaos.step()
        for center in sorted(chaos.away):
            chaos.back(center)
        chaos.write(5)
        for center in CENTERS:
            if center != chaos.owner:
                await chaos.story.level(center, chaos.owner)
