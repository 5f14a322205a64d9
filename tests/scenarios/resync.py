"""Bringing copies level again: stories of good copies that were spoilt, of blocks that nobody sent."""

from dataclasses import replace

from drsync.sim.story import USUAL, Story
from tests.scenarios.telling import tells


@tells("P20", "The good copy that was overwritten")
def the_good_copy_that_was_overwritten(story: Story) -> None:
    """While a target was brought level it could not be used; then the source died, and the target
    was started as it was: half old, half new."""
    story.cut("production", "remote")
    story.world.application.rate = 60
    story.wait(4)
    story.world.application.rate = 10
    story.mend()
    story.slow("production", "remote", 20_000)
    low = story.appended("remote")
    story.until("remote is being brought level.", lambda: story.appended("remote") > low + 20)
    behind = story.appended("production") - story.appended("remote")
    story.expect("It is not level yet.", behind > 20)
    story.say("In the middle of it the city is lost.")
    story.power_off("production", "same_city")
    story.wait(4)
    story.state_loss(story.outcome(story.order("failover", "remote", dry_run=True)))
    story.outcome(story.order("failover", "remote", accept_loss=True))
    story.watch.look_at_image("remote")
    story.expect(
        "remote serves what was there at one moment of the past, no mixture.", story.owner == "remote"
    )
    story.power_on("production", "same_city")
    story.until("The city follows remote.", lambda: story.is_level("production", "same_city"))
    story.expect_same_bytes()


@tells("P28", "A resync that never ended")
def a_resync_that_never_ended(story: Story) -> None:
    """A session that was interrupted at the wrong moment stayed in the state of being synchronised
    for ever."""
    story.lose_packets("production", "same_city", 0.3)
    for _ in range(3):
        story.reset("production", "same_city")
        story.wait(0.7)
    story.kill("same_city")
    story.wait(1.5)
    story.start("same_city")
    story.wait(0.25)
    story.reset("production", "same_city")
    story.wait(0.2)
    story.freeze("same_city")
    story.wait(1.5)
    story.thaw("same_city")
    story.mend()
    story.until("same_city is level and waited for.", lambda: "same_city" in story.in_sync)
    story.expect_same_bytes()


@tells("P29", "Holes that did not arrive")
def holes_that_did_not_arrive(story: Story) -> None:
    """For years an incremental stream forgot some of the holes that had been punched; the copy kept
    old bytes there, and nobody compared."""
    ledger = story.world.ledger
    story.world.application.rate = 40
    story.cut("production", "remote")
    story.wait(3)
    zeroed = [write for write in ledger.writes if write.content == 0]
    story.expect("Zeros and trims were among what remote has missed.", len(zeroed) > 2)
    story.mend()
    story.wait(1)
    story.crash_in_a_call("remote", 5)
    story.wait(3)
    story.world.application.rate = 10
    story.until("remote is level.", lambda: story.is_level("remote"))
    story.expect_same_bytes()
    found = story.outcome(story.order("drill", "remote"))
    story.expect("A drill compares them as well.", found is not None and found.state.value == "done")


@tells("P30", "A delta that was not there when it was needed", replace(USUAL, journal_quota_bytes=192 << 10))
def a_delta_that_was_not_there(story: Story) -> None:
    """Three centers could be made level by their difference; but not right after the start, not
    when a journal was three quarters full, and not when only one leg had moved. Nobody said so
    before it was needed."""
    story.expect("While all is well no pair is at risk.", not risks(story))
    story.cut("production", "remote")
    story.wait(2)
    story.expect("One leg has stood still for two seconds: still none.", not risks(story))
    story.say("Now it stands still while much more is written than journals may hold.")
    story.world.harmed.add("remote")  # the quota gives it up, which is recorded and said (INV-12)
    story.world.application.rate = 150
    story.until("A pair is at risk, and drsync says so before anything is lost.", lambda: bool(risks(story)))
    story.world.application.rate = 10
    story.why()
    story.expect("The city is not held up.", story.answers())
    story.expect_same_bytes("production", "same_city")


def risks(story: Story) -> list[str]:
    """What ``drsync why`` says about pairs that could not be made level without the third."""
    office, charter = story.world.coordinator.office, story.world.charter
    assert office is not None
    assert charter is not None
    return [line.what for line in office.picture.why(charter) if "could not be made level" in line.what]


@tells("P32", "The snapshot that a follower still needed")
def the_snapshot_that_a_follower_needed(story: Story) -> None:
    """A base was pruned although a lagging peer still needed it. It then looked like split brain,
    and everything had to be copied."""
    story.cut("production", "remote")
    story.cut("same_city", "remote")
    story.world.application.rate = 120
    story.wait(4)
    story.world.application.rate = 10
    end = story.appended("remote")
    member = story.world.agents["production"].members()[0]
    story.expect("production keeps every record that remote lacks.", member.copy.journal.first_seq <= end + 1)
    story.outcome(story.order("switchover", "same_city"))
    mate = story.world.agents["same_city"].members()[0]
    story.expect("So does its successor.", mate.copy.journal.first_seq <= end + 1)
    story.mend()
    story.until("remote has caught up, from the journal of the new owner.", lambda: story.is_level("remote"))
    story.expect("Nothing was cut, and nothing was copied whole.", not story.heard("log_cut"))
    story.expect_same_bytes()
