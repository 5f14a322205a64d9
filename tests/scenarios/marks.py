"""What a member lacks and no journal holds any more: stories of bits that were cleared by the wrong one."""

from dataclasses import replace

from drsync.core import extents
from drsync.core.dirty import DirtySet
from drsync.sim.story import USUAL, Story
from tests.scenarios.telling import tells

SMALL = replace(USUAL, journal_quota_bytes=192 << 10, window_s=0.2, checkpoint_s=0.2)
RUSH_RATE = 150.0  # operations a second, because a small journal is written over within seconds then


def marks(story: Story, holder: str, center: str) -> DirtySet:
    """What a member has marked for another."""
    return story.world.agents[holder].members()[0].keeper.of(center)


def is_outgrown(story: Story, holder: str, end: int) -> bool:
    """Whether its journal holds not all any more that comes after a record."""
    return story.world.agents[holder].members()[0].copy.journal.first_seq > end + 1


def outgrow(story: Story, holder: str, *names: str) -> None:
    """Write until the journal of the owner has let go what others lack."""
    story.world.application.rate = RUSH_RATE
    end = min(story.appended(name) for name in names)
    story.until(
        f"{holder}'s journal has let go what {' and '.join(names)} lack{'s' * (len(names) == 1)}.",
        lambda: is_outgrown(story, holder, end),
    )
    story.world.application.rate = 10


@tells("P21", "Neither sent nor marked", SMALL)
def neither_sent_nor_marked(story: Story) -> None:
    """A peer was in a state in which it was sent no data and nothing was marked for it either; it
    lacked blocks ever after."""
    for one in ("production", "same_city"):
        story.cut(one, "remote")
    outgrow(story, "production", "remote")
    marked = marks(story, "production", "remote")
    story.say(f"{extents.size(marked.runs or ())} granules are marked for remote.")
    story.expect(
        "The marks reach from where remote stands to where the journal begins.",
        marked.since <= story.appended("remote") and is_marked_to_the_journal(story, marked),
    )
    story.mend()
    story.until("remote is level again.", lambda: story.is_level("remote"))
    story.expect_same_bytes()


def is_marked_to_the_journal(story: Story, marked: DirtySet) -> bool:
    """Whether no record is between what is marked and what the owner's journal holds."""
    return story.world.agents["production"].members()[0].copy.journal.first_seq <= marked.through + 1


@tells("P22", "The third node missed blocks", SMALL)
def the_third_node_missed_blocks(story: Story) -> None:
    """Two nodes met and cleared their bitmaps; the blocks that were marked in them for a third one
    were never sent to it."""
    for one in ("production", "same_city"):
        story.cut(one, "remote")
    story.cut("production", "same_city")
    outgrow(story, "production", "remote", "same_city")
    before = marks(story, "production", "remote").runs or ()
    story.expect("production has marked what remote lacks.", bool(before))
    story.mend_line("production", "same_city")
    story.until("same_city is level, and waited for.", lambda: "same_city" in story.in_sync)
    left = marks(story, "production", "remote").runs or ()
    story.expect("What is marked for remote is marked as before.", extents.covers(left, before))
    story.mend()
    story.until("remote is level.", lambda: story.is_level("remote"))
    story.expect_same_bytes()


@tells("P23", "The word of a third party", SMALL)
def the_word_of_a_third_party(story: Story) -> None:
    """Peers told each other that a third one was in sync; the word was old, a write had come since,
    and the bit for it was cleared."""
    for one in ("production", "same_city"):
        story.cut(one, "remote")
    outgrow(story, "production", "remote")
    end = story.appended("remote")
    told = story.world.agents["same_city"].members()[0].keeper.cursor("remote")
    story.expect("What same_city was told of remote is a position, and none beyond its log.", told <= end)
    story.outcome(story.order("switchover", "same_city"))
    story.expect(
        "The new owner can tell by itself what remote lacks.",
        bool(marks(story, "same_city", "remote").runs) or not is_outgrown(story, "same_city", end),
    )
    story.mend()
    story.until("remote is level with its new owner.", lambda: story.is_level("remote"))
    story.expect_same_bytes()


@tells("P24", "Finished too early", SMALL)
def finished_too_early(story: Story) -> None:
    """A resync was declared finished while marks of writes that were under way had not arrived."""
    for one in ("production", "same_city"):
        story.cut(one, "remote")
    outgrow(story, "production", "remote")
    story.mend()
    story.slow("production", "remote", 60_000)
    story.world.application.rate = 30
    story.until("remote is brought level by blocks.", lambda: bool(story.heard("resync_begun")))
    begun = story.appended("production")
    story.say("The application goes on writing to the same places.")
    story.until("The session ends.", lambda: bool(story.heard("resync_done")))
    story.expect(
        "It ended at a record that was written after it began: what was written meanwhile is in it.",
        story.appended("remote") >= begun,
    )
    story.mend()
    story.world.application.rate = 10
    story.until("remote follows.", lambda: story.is_level("remote"))
    story.expect_same_bytes()


@tells("P25", "Split brain, resolved by hand", SMALL)
def split_brain_resolved_by_hand(story: Story) -> None:
    """Somebody chose a side; the bitmap that was used did not cover what the other side had
    written. Both nodes said that they were equal, and were not."""
    story.isolate("production", "same_city")
    story.world.application.rate = 60
    story.wait(4)
    story.world.application.rate = 10
    story.outcome(story.order("failover", "remote", accept_loss=True))
    story.wait(1)
    outgrow(story, "remote", "production")
    story.mend()
    story.until("The city is level with remote.", lambda: story.is_level("production", "same_city"), 60)
    story.expect("What only the city had is kept as forks.", len(story.heard("fork_kept")) > 0)
    story.expect_same_bytes()


@tells("P35", "Marks that nobody can read", SMALL)
def marks_that_nobody_can_read(story: Story) -> None:
    """After an unclean stop the bitmap could not be used; it was taken for empty, and what it had
    marked was never sent."""
    for one in ("production", "same_city"):
        story.cut(one, "remote")
    outgrow(story, "production", "remote")
    story.kill("production")
    spoilt = 0
    for path, file in story.disk("production").files():
        if "/dirty/remote" in path:
            file.flip(40)
            spoilt += 1
    story.say(f"A bit flips in each of the {spoilt} files of marks for remote.")
    story.world.harmed.add("production")
    story.start("production")
    story.until("production serves.", lambda: story.owner == "production")
    story.expect("What remote lacks is not known.", marks(story, "production", "remote").runs is None)
    story.mend()
    story.until("remote is level: everything was compared.", lambda: story.is_level("remote"), 60)
    story.expect("No digest was left out.", any("digest" in line for line in story.heard("resync_began")))
    story.expect_same_bytes()


@tells("P75", "Everybody at once", SMALL)
def everybody_at_once(story: Story) -> None:
    """After an outage all replicas were brought level at the same time, and applications stood
    still."""
    for one in ("production", "same_city"):
        story.cut(one, "remote")
    story.cut("production", "same_city")
    outgrow(story, "production", "remote", "same_city")
    story.world.application.rate = 20
    story.mend()
    story.slow("production", "remote", 100_000)
    story.slow("production", "same_city", 100_000)
    before = story.acknowledged
    story.until("Both are being brought level.", lambda: len(story.heard("resync_begun")) > 1)
    story.until("Both are level.", lambda: len(story.heard("resync_done")) > 1, 60)
    story.expect("Meanwhile writes were answered.", story.acknowledged > before + 20)
    story.mend()
    story.world.application.rate = 10
    story.until("All follow.", lambda: story.is_level("remote", "same_city"))
    story.expect_same_bytes()
