"""Machines, disks, places: what docs/failure-walk.md says of them."""

from dataclasses import replace

from drsync.sim.character import COORDINATOR
from drsync.sim.story import USUAL, Story, automatic
from tests.scenarios.durability import faults
from tests.scenarios.telling import tells


@tells("walk-production-lost", "production is lost")
def production_lost(story: Story) -> None:
    """A person has same_city take over; nothing is lost. Later production comes back with its old
    disk."""
    story.power_off("production")
    story.wait(3.5)
    story.status()
    story.state_loss(story.outcome(story.order("failover", "same_city", dry_run=True)))
    story.outcome(story.order("failover", "same_city"))
    story.expect("The application goes on.", story.answers())
    story.until("remote follows.", lambda: story.is_level("remote"))
    story.power_on("production")
    story.until("production follows, and is waited for.", lambda: "production" in story.in_sync)
    story.outcome(story.order("switchover", "production"))
    story.until("All is as it was.", lambda: story.owner == "production" and "same_city" in story.in_sync)
    story.expect_same_bytes()


@tells(
    "walk-production-lost-automatic", "production is lost, and the group fails over by itself", automatic()
)
def production_lost_automatic(story: Story) -> None:
    """The coordinator decides, by what it and same_city have heard."""
    story.power_off("production")
    story.until("same_city serves.", lambda: story.owner == "same_city")
    story.expect("The application goes on.", story.answers())
    story.power_on("production")
    story.until("production follows, and is waited for.", lambda: "production" in story.in_sync)
    story.expect_same_bytes()


@tells("walk-same-city-lost", "same_city is lost")
def same_city_lost(story: Story) -> None:
    """production goes on alone; a failover to same_city is refused until it has caught up."""
    story.power_off("same_city")
    story.until("production goes on alone.", lambda: story.in_sync == {"production"})
    story.expect("Writes are answered.", story.answers())
    story.status()
    story.why()
    story.power_on("same_city")
    story.until("same_city has caught up and is waited for.", lambda: "same_city" in story.in_sync)
    story.expect_same_bytes()


@tells("walk-remote-lost", "remote is lost")
def remote_lost(story: Story) -> None:
    """Nobody is held up; its records are kept."""
    story.power_off("remote")
    story.expect("Writes are answered.", story.answers(4))
    story.status()
    story.why()
    story.power_on("remote")
    story.until("remote is level again, from the journal.", lambda: story.is_level("remote"))
    story.expect_same_bytes()


@tells("walk-city-lost", "The city is lost")
def city_lost(story: Story) -> None:
    """remote has what arrived there. A person reads what is lost, and accepts it."""
    story.cut("production", "remote")
    story.wait(1.5)
    story.power_off("production", "same_city")
    story.wait(4)
    story.status()
    story.state_loss(story.outcome(story.order("failover", "remote", dry_run=True)))
    story.outcome(story.order("failover", "remote"))
    story.outcome(story.order("failover", "remote", accept_loss=True))
    story.expect("The application goes on at remote.", story.answers(3))
    story.mend()
    story.power_on("production", "same_city")
    story.until("The city follows remote.", lambda: story.is_level("production", "same_city"))
    story.expect_same_bytes()
    story.outcome(story.order("switchover", "production"))
    story.until("same_city is waited for.", lambda: "same_city" in story.in_sync)
    story.expect_same_bytes()


@tells("walk-power-cut", "Power fails in the city and comes back")
def power_cut(story: Story) -> None:
    """Both machines restart uncleanly. When both answer, the longest tail that any center has is
    opened."""
    story.world.application.rate = 40
    story.wait(1)
    story.power_off("production", "same_city")
    story.world.application.rate = 10
    story.wait(2)
    story.power_on("production")
    story.wait(3)
    story.expect("production alone is not opened: same_city may hold more.", story.openings == 1)
    story.power_on("same_city")
    story.until("With both there, production serves again.", lambda: story.owner == "production")
    story.until("same_city is waited for.", lambda: "same_city" in story.in_sync)
    story.expect_same_bytes()


@tells("walk-disk-full-replica", "The disk of same_city is full")
def disk_full_replica(story: Story) -> None:
    """It refuses records, and is left out until somebody makes room."""
    story.fill_disk("same_city")
    story.world.application.rate = 60
    story.until("production goes on alone.", lambda: story.in_sync == {"production"})
    story.world.application.rate = 10
    story.wait(1)
    story.why()
    story.make_room("same_city")
    story.until("It has caught up and is waited for.", lambda: "same_city" in story.in_sync)
    story.expect_same_bytes()


@tells("walk-disk-full-owner", "The disk of production is full")
def disk_full_owner(story: Story) -> None:
    """Its volumes are closed; what was answered is in the journal. It is opened again when there is
    room."""
    story.fill_disk("production")
    story.world.application.rate = 60
    story.until("production has closed its volumes.", lambda: story.owner == "")
    story.world.application.rate = 10
    story.wait(3)
    story.why()
    story.make_room("production")
    story.until("production serves again.", lambda: story.owner == "production", within_s=60)
    story.until("same_city is waited for.", lambda: "same_city" in story.in_sync)
    story.expect_same_bytes()


@tells("walk-disk-fails", "The disk of production fails")
def disk_fails(story: Story) -> None:
    """The copy is failed at once; a person has same_city take over, and replaces the disk."""
    story.break_disk("production", "fails every write from now on", faults(write_error=1.0))
    story.until("production has closed its volumes.", lambda: story.owner == "")
    story.wait(1)
    story.status()
    story.why()
    story.outcome(story.order("failover", "same_city"))
    story.expect("The application goes on.", story.answers())
    story.replace_disk("production")
    story.until("The new disk is filled, and waited for.", lambda: "production" in story.in_sync)
    story.expect_same_bytes()


@tells("walk-store-lost", "The coordinator's disk is lost")
def store_lost(story: Story) -> None:
    """Owners go on. A person begins a new generation of the store from what the members
    remember."""
    story.wait(1)
    story.lose_store()
    story.expect("The application goes on.", story.answers(3))
    story.outcome(story.order("failover", "production"))
    story.state_loss(
        story.outcome(
            story.order("failover", "production", dry_run=True, without_store=True, accept_loss=True)
        )
    )
    story.outcome(story.order("failover", "production", without_store=True, accept_loss=True))
    story.until("production serves, in the new generation.", lambda: story.owner == "production")
    story.until("same_city is waited for.", lambda: "same_city" in story.in_sync)
    story.expect_same_bytes()
    story.expect("No acknowledged write was lost.", story.world.ledger.lost == 0)


@tells(
    "walk-lag-of-days",
    "remote was away for longer than the quota",
    replace(USUAL, journal_quota_bytes=128 << 10),
)
def lag_of_days(story: Story) -> None:
    """What it lacks is in no journal. It is brought level by blocks, and can be drilled until then."""
    story.kill("remote")
    story.world.application.rate = 150
    story.wait(3)
    story.world.application.rate = 10
    story.start("remote")
    story.until("remote is level again.", lambda: story.is_level("remote"))
    story.why()
    story.expect("Nobody is held up.", story.answers())
    story.expect_same_bytes()


@tells("walk-coordinator-reboots", "The coordinator's machine is booted")
def coordinator_reboots(story: Story) -> None:
    """Its store may be an old copy for all it knows: it acts only when every member has spoken."""
    story.power_off("remote")
    story.wait(1)
    story.power_off(COORDINATOR)
    story.wait(1)
    story.power_on(COORDINATOR)
    story.until("The city has registered.", lambda: story.is_connected("production", "same_city"))
    story.wait(1)
    story.why()
    story.expect("It does not act yet.", not story.is_trusted())
    story.expect("The application goes on.", story.answers(3))
    story.power_on("remote")
    story.until("All have spoken; it acts again.", story.is_trusted)
    story.expect_same_bytes()
