"""A daemon that dies in any call while it is brought level by blocks comes back, and is level."""

from dataclasses import replace

import pytest

from drsync.sim.agent import STATE_DIR
from drsync.sim.character import GROUP_ID
from drsync.sim.story import USUAL, Story

QUOTA = 192 << 10
HOME = STATE_DIR / "groups" / GROUP_ID
SMALL = replace(USUAL, journal_quota_bytes=QUOTA)


@pytest.mark.parametrize("calls", [3, 15, 30, 45, 60, 75, 90, 120])
def test_a_target_that_dies_in_a_call_is_level_in_the_end(calls: int) -> None:
    """Some of these calls are of the stage, some of the switch, some of the start after it."""
    story = Story("A death in a resync", "The disk chooses the call.", SMALL, seed=calls)
    try:
        story.kill("remote")
        story.world.application.rate = 150
        story.wait(4)
        story.world.application.rate = 10
        story.start("remote")
        lines = story.world.trace.lines
        before = len(lines)
        story.until(
            "a session has begun", lambda: any("resync_began" in line for line in list(lines)[before:])
        )
        starts = story.world.agents["remote"].starts
        story.disk("remote").die_at(calls)
        story.until("remote has died", lambda: not story.world.agents["remote"].is_alive)
        if story.world.agents["remote"].starts == starts:
            story.start("remote")
        story.until("remote is level", lambda: story.is_level("remote"), within_s=60)
        story.expect_same_bytes()
        entries = story.disk("remote").directory(HOME).entries
        assert not {"stage", "journal.old"} & set(entries)
    finally:
        story.world.end()
