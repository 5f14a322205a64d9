"""What a disk does: stories of writes that were lost, kept twice, or believed to be there."""

import random
from dataclasses import replace
from functools import partial

from drsync.model.group import Durability
from drsync.sim.client import SLOT
from drsync.sim.disk import Faults
from drsync.sim.story import USUAL, Story
from tests.scenarios.telling import tells

FSYNC = replace(USUAL, durability=Durability.FSYNC)
SMALL = replace(USUAL, journal_quota_bytes=192 << 10, window_s=2.0)
"""Three segments of the simulated journal."""


def faults(**chances: float) -> Faults:
    """A disk that does this."""
    made = Faults(random.Random(1))
    for name, chance in chances.items():
        setattr(made, name, chance)
    return made


@tells("P33", "The second fsync said yes")
def the_second_fsync_said_yes(story: Story) -> None:
    """A sync failed, was tried again, and succeeded, because the kernel had dropped what it could
    not write. The database went on with data that was on no disk."""
    story.break_disk("same_city", "fails one sync, and never again", faults(sync_error_at=1))
    story.until("same_city has found out.", lambda: story.is_failed("same_city"))
    story.until("production goes on alone.", lambda: story.in_sync == {"production"})
    story.kill("same_city")
    story.start("same_city")
    story.wait(4)
    story.expect("After a restart it is still failed.", story.is_failed("same_city"))
    story.expect("Nobody counts on it.", story.in_sync == {"production"} and story.answers())
    story.replace_disk("same_city")
    story.until("The new disk has been filled from production.", lambda: "same_city" in story.in_sync)
    story.expect_same_bytes()


@tells("P34", "An index ahead of its data")
def an_index_ahead_of_its_data(story: Story) -> None:
    """How far the log had been applied was kept apart from what had been applied. After a crash in
    between, one member silently differed from the others, for months."""
    for number in (3, 11, 20, 34):
        story.crash_in_a_call("remote", number)
        starts = story.world.agents["remote"].starts
        story.until("It died, is back, and level.", partial(has_come_back, story, starts))
        story.watch.look_at_image("remote")
    story.expect("Each time its image was what its log says.", True)
    story.expect_same_bytes()


@tells("P36", "A follower that never comes back", SMALL)
def a_follower_that_never_comes_back(story: Story) -> None:
    """What was kept for a replica that had been dead for weeks filled the primary's disk, and stopped it."""
    story.kill("remote")
    story.wait(1)
    segments = max_journal(story)
    story.world.application.rate = 150
    for _ in range(8):
        story.wait(1)
        segments = max(segments, max_journal(story))
    story.world.application.rate = 10
    quota = SMALL.journal_quota_bytes
    written = story.appended("production") * SLOT
    story.expect("More than three times the quota has been written.", written > 3 * quota)
    story.say(f"production's journal took {segments >> 10} KiB at most; the quota is {quota >> 10} KiB.")
    story.expect("It was kept near it, as far as open segments and a burst allow.", segments <= 4 * quota)
    story.expect("production was never held up.", story.owner == "production" and story.answers())
    story.start("remote")
    story.until("remote is level again.", lambda: story.is_level("remote"))
    story.expect_same_bytes()


def has_come_back(story: Story, starts: int) -> bool:
    """Whether remote was started again since, and has caught up."""
    return story.world.agents["remote"].starts > starts and story.is_level("remote")


def journal_of(story: Story, name: str) -> dict[str, bytes]:
    """Every segment at a member: path -> content."""
    found = {}
    for path, file in story.disk(name).files():
        if path.endswith(".seg"):
            content = bytearray(file.size)
            file.read(0, memoryview(content))
            found[path] = bytes(content)
    return found


def max_journal(story: Story) -> int:
    """Bytes of segments in production's journal."""
    return sum(file.size for path, file in story.disk("production").files() if path.endswith(".seg"))


@tells("P37", "A burst of ten times the line")
def a_burst(story: Story) -> None:
    """Asynchronous replication that ran into its limit dropped the session, and with it the
    consistent copy at the far side."""
    story.slow("production", "remote", 30_000)
    story.say("The application writes fifteen times as much for three seconds.")
    story.world.application.rate = 150
    lag = 0
    for _ in range(6):
        story.wait(0.5)
        lag = max(lag, story.appended("production") - story.appended("remote"))
        story.watch.look_at_image("remote")
    story.world.application.rate = 10
    story.expect(f"remote was {lag} records behind.", lag > 100)
    story.expect("What it had was a prefix of the log at every moment.", story.appended("remote") > 0)
    story.expect("Its connection was not given up.", not story.heard("needs_resync"))
    story.until("It has caught up.", lambda: story.is_level("remote"))
    story.expect_same_bytes()


@tells("P38", "A copy from last week")
def a_copy_from_last_week(story: Story) -> None:
    """A machine was put back to a snapshot; it had the name and the papers of the one that it had
    been, and its old word was taken for the new one."""
    story.take_snapshot("same_city")
    story.wait(3)
    story.restore_snapshot("same_city")
    story.isolate("production")
    story.until("It is noticed.", lambda: bool(story.heard("member_went_back")))
    story.wait(3)
    story.outcome(story.order("failover", "same_city"))
    story.expect("It is not taken for what it was.", story.openings == 1)
    story.mend()
    story.until(
        "With production in sight it catches up, and is clean again.",
        lambda: "same_city" in story.in_sync and story.is_level("same_city"),
    )
    story.expect_same_bytes()
    story.expect("No acknowledged write was lost.", story.world.ledger.lost == 0)


@tells("P39", "A repair that threw away what was good")
def a_repair_that_threw_away(story: Story) -> None:
    """A repair command took readable data for broken, and discarded it."""
    story.wait(2)
    story.power_off("remote")
    story.rot_journal("remote")
    before = journal_of(story, "remote")
    story.cut("remote", "production")
    story.cut("remote", "same_city")
    story.power_on("remote")
    story.until("remote does not start this copy.", lambda: story.is_failed("remote"))
    story.wait(3)
    after = journal_of(story, "remote")
    story.expect("It changed nothing: the files are as they were found.", before == after)
    story.why()
    story.expect("The others go on.", story.answers())
    story.mend()
    story.until(
        "What is damaged is written again as another center has it, and remote catches up.",
        lambda: not story.is_failed("remote") and story.is_level("remote"),
    )
    story.expect_same_bytes()


@tells("P42", "One of three machines burns")
def one_of_three_machines_burns(story: Story) -> None:
    """A cluster that survived everything had no procedure for a member whose disk was gone for
    good."""
    story.power_off("same_city")
    story.until("production goes on alone.", lambda: story.in_sync == {"production"})
    story.wait(1)
    story.replace_disk("same_city")
    story.wait(0.3)
    story.expect("The new machine is nobody's second copy yet.", story.in_sync == {"production"})
    story.until(
        "It has been filled from production, and is waited for.", lambda: "same_city" in story.in_sync
    )
    story.expect_same_bytes()
    story.power_off("production")
    story.wait(3)
    story.outcome(story.order("failover", "same_city"))
    story.expect("Now it can take over.", story.owner == "same_city")
    story.power_on("production")
    story.until("production follows.", lambda: story.is_level("production", "remote"))
    story.expect_same_bytes()


@tells("P26", "A barrier that was answered too early", FSYNC)
def a_barrier_that_was_answered_too_early(story: Story) -> None:
    """A barrier was acknowledged by a peer that still held earlier writes in its hands."""
    story.say("This group has durability fsync: an answer means on the disks of both.")
    story.wait(2)
    story.world.application.rate = 60
    story.wait(1)
    promised = story.world.ledger.last_promised()
    assert promised is not None
    word = story.word("same_city")
    assert word is not None
    story.expect(
        "All that was answered is on the disk of same_city, without a gap.", word.durable >= promised.seq
    )
    story.power_off("production", "same_city", "remote")
    story.world.application.rate = 10
    story.wait(2)
    story.power_on("production", "same_city", "remote")
    story.until("production serves again.", lambda: story.owner == "production")
    story.until("The others follow.", lambda: story.is_level("same_city", "remote"))
    story.expect("No write that was ever answered is missing.", story.world.ledger.lost == 0)
    story.expect_same_bytes()


@tells("P27", "The error of one half, hidden by the other")
def the_error_of_one_half(story: Story) -> None:
    """A request was split; one part failed, the other succeeded later, and the whole was reported
    as done."""
    story.wait(1)
    answered = story.world.ledger.acknowledged
    story.break_disk("production", "fails every write from now on", faults(write_error=1.0))
    story.until("production has stopped serving.", lambda: story.owner == "")
    late = story.world.ledger.acknowledged - answered
    story.expect(f"{late} more writes were answered, all of them before the first error.", late <= 4)
    story.expect("production's copy is failed.", story.is_failed("production"))
    story.outcome(story.order("failover", "same_city"))
    story.expect("same_city serves, with all that was answered.", story.owner == "same_city")
    story.disk("production").faults = None
    story.replace_disk("production")
    story.until("A new disk at production is filled.", lambda: story.is_level("production"))
    story.expect_same_bytes()
