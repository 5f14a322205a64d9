"""The charter store: stories of what is decided when the place that decides is gone, old, or silent."""

from drsync.sim.character import COORDINATOR
from drsync.sim.story import Story
from tests.scenarios.telling import tells


@tells("P15", "The hub from the day before")
def the_hub_from_the_day_before(story: Story) -> None:
    """A control plane was restored from an old backup, wanted the world to be as it remembered it,
    and began to move things back."""
    backup = story.back_up_store()
    story.wait(1)
    story.outcome(story.order("switchover", "same_city"))
    story.until("production follows.", lambda: "production" in story.in_sync)
    newest = story.world.coordinator.backup()
    openings = story.openings
    story.restore_store(backup)
    story.wait(6)
    story.expect("It names production as the owner, and moves nothing.", story.openings == openings)
    story.expect("same_city goes on: its mate confirms that nobody else may.", story.answers())
    story.why()
    story.outcome(story.order("failover", "production"), within_s=3)
    story.expect("It does not act for a person either.", story.owner == "same_city")
    story.restore_store(newest, "the newest database again")
    story.until("The coordinator is trusted again.", story.is_trusted)
    story.expect("Nothing has moved.", story.owner == "same_city" and story.openings == openings)
    story.expect_same_bytes()


@tells("P73", "The witness that went back in time")
def the_witness_that_went_back_in_time(story: Story) -> None:
    """A witness was restored from a snapshot and gave its vote as if nothing had happened since."""
    backup = story.back_up_store()
    story.cut("production", "same_city")
    story.until("production goes on alone.", lambda: story.in_sync == {"production"})
    story.wait(1.5)
    story.isolate("production")
    story.mend_line("same_city", "remote")
    story.restore_store(backup)
    story.expect("The old store believes that same_city is in sync.", "same_city" in story.in_sync)
    story.wait(5)
    story.outcome(story.order("failover", "same_city"), within_s=3)
    story.expect("It grants nothing before it has heard what the members have seen.", story.openings == 1)
    story.mend()
    story.until("production is heard.", lambda: story.is_connected("production"))
    story.wait(2)
    story.why()
    story.expect("Now it knows that it is an old copy.", not story.is_trusted())
    found = story.order("failover", "production", accept_loss=True, without_store=True)
    story.state_loss(story.outcome(found))
    story.until("production serves in the new generation.", lambda: story.owner == "production")
    story.until("The others follow.", lambda: story.is_level("same_city", "remote"))
    story.expect_same_bytes()
    story.expect("No acknowledged write was lost.", story.world.ledger.lost == 0)


@tells("P71", "Two snapshots in the same second")
def two_snapshots_in_the_same_second(story: Story) -> None:
    """Names that were made from the time of day collided when the clocks were set back, and the
    newer snapshot was taken for the older one."""
    story.wait(1.5)
    first = story.outcome(story.order("drill", "remote"))
    for name in ("production", "remote", COORDINATOR):
        story.set_wall_clock(name, -1)
    second = story.outcome(story.order("drill", "remote"))
    assert first is not None
    assert second is not None
    is_before = second.started_us < first.started_us
    story.expect("By the time of day the second drill began before the first.", is_before)
    story.expect("They are two all the same.", first.id != second.id)
    checked = [one.result for one in (first, second)]
    story.expect("Each has its own recovery point.", checked[0] != checked[1])
    story.outcome(story.order("switchover", "same_city"))
    story.until("production follows.", lambda: story.is_level("production", "remote"))
    story.expect_same_bytes()


@tells("P72", "What time is it?")
def what_time_is_it(story: Story) -> None:
    """Leases that compared the time of day of two machines had two holders when the clocks
    differed."""
    story.set_wall_clock("production", -1)
    story.set_wall_clock("same_city", 1)
    story.set_wall_clock(COORDINATOR, -1)
    story.wait(3)
    story.expect("Nobody minds.", story.owner == "production" and story.openings == 1)
    story.say("The boot clock of production runs 1 % too slow, as much as leases allow.")
    story.host("production").set_rate(0.99)
    story.suspend("production", 9)
    story.wait(4)
    story.outcome(story.order("failover", "same_city"))
    story.until("The machine of production has woken up.", lambda: story.now > 13)
    story.expect("It answers nothing: its own clock says that its lease is over.", story.owner == "same_city")
    story.until("It follows.", lambda: story.is_level("production", "remote"))
    story.set_wall_clock("same_city", -1)
    story.wait(3)
    story.expect("The group has moved once.", story.openings == 2)
    story.expect_same_bytes()
