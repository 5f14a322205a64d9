"""Lines, processes, clocks: what docs/failure-walk.md says of them. Everything else is as the story says."""

from dataclasses import replace

from drsync.model.group import Mode
from drsync.sim.character import COORDINATOR
from drsync.sim.story import USUAL, Story, automatic
from tests.scenarios.telling import tells

FULL_S = 10.0  # because a procedure waits for longer than that before it gives up


@tells("walk-city-line", "The line between production and same_city is cut")
def city_line(story: Story) -> None:
    """production goes on alone, in the charter first. The other lines work."""
    story.cut("production", "same_city")
    before = story.acknowledged
    story.wait(0.6)
    story.expect("Writes wait.", story.acknowledged - before <= 2)
    story.until("production goes on alone.", lambda: story.in_sync == {"production"})
    story.expect("Writes are answered again.", story.answers())
    story.status()
    story.why()
    story.mend()
    story.until("same_city has caught up and is waited for.", lambda: "same_city" in story.in_sync)
    story.expect_same_bytes()


@tells("walk-city-line-strict", "The same in a strict group", replace(USUAL, mode=Mode.SYNC_STRICT))
def city_line_strict(story: Story) -> None:
    """A sync_strict group does not go on alone."""
    story.cut("production", "same_city")
    story.expect("Writes wait, however long.", not story.answers(3))
    story.why()
    story.expect("drsync says what for.", bool(story.reasons()))
    story.mend()
    story.until("They are answered.", lambda: story.answers(0.6))
    story.expect("Nobody has left the in-sync set.", story.in_sync == {"production", "same_city"})
    story.expect_same_bytes()


@tells("walk-production-cut-off", "production is cut off from everybody")
def production_cut_off(story: Story) -> None:
    """It acknowledges nothing from then on. A person has same_city take over."""
    story.isolate("production")
    story.expect("Nothing is acknowledged at production.", not story.answers(2.5))
    story.expect("Its lease has ended: it answers no reads either.", story.owner == "")
    story.wait(1)
    story.status()
    story.why()
    story.state_loss(story.outcome(story.order("failover", "same_city", dry_run=True)))
    story.outcome(story.order("failover", "same_city"))
    story.until("production has closed its connections.", lambda: bool(story.heard("dropped", "production")))
    story.mend()
    story.until(
        "production follows; what nobody had acknowledged is cut.", lambda: story.is_level("production")
    )
    story.expect_same_bytes()


@tells("walk-remote-line", "The line between production and remote is cut")
def remote_line(story: Story) -> None:
    """Only lag grows."""
    story.cut("production", "remote")
    story.expect("Nobody is held up.", story.answers(4))
    story.status()
    story.mend()
    story.until("remote is level again, from the journal.", lambda: story.is_level("remote"))
    story.expect_same_bytes()


@tells("walk-same-city-remote-line", "The line between same_city and remote is cut")
def same_city_remote_line(story: Story) -> None:
    """Nothing is carried on it while production is the owner."""
    story.cut("same_city", "remote")
    story.expect("Writes are answered.", story.answers(4))
    story.expect("All are level.", story.is_level("same_city", "remote"))
    story.why()
    story.expect_same_bytes()


@tells("walk-store-production", "production and the coordinator do not hear each other", automatic())
def store_production(story: Story) -> None:
    """To the coordinator it looks like a dead owner. same_city hears it, so nobody takes over by
    itself."""
    story.cut("production", COORDINATOR)
    story.expect("The application goes on.", story.answers(6))
    story.status()
    story.why()
    story.expect("Nobody took over, although the group fails over by itself.", story.openings == 1)
    story.mend()
    story.until("The coordinator hears production.", lambda: story.is_connected("production"))
    story.expect_same_bytes()


@tells("walk-store-cut-off", "The coordinator is cut off from everybody", automatic())
def store_cut_off(story: Story) -> None:
    """Nothing can be decided, and nothing stops."""
    story.isolate(COORDINATOR)
    story.expect("The application goes on: same_city confirms it.", story.answers(5))
    story.status()
    story.cut("production", "same_city")
    story.expect("With same_city gone as well, nothing is acknowledged.", not story.answers(3))
    story.mend()
    story.until(
        "All is as it was.", lambda: story.owner == "production" and story.is_level("same_city", "remote")
    )
    story.until("The application goes on.", lambda: story.answers(0.6))
    story.expect_same_bytes()


@tells("walk-city-cut-off", "The city is cut off from remote and the coordinator")
def city_cut_off(story: Story) -> None:
    """Seen from outside it is lost. It lives. Then somebody is too quick."""
    story.isolate("production", "same_city")
    story.expect("The city goes on by itself.", story.answers(4))
    story.status()
    story.why()
    story.state_loss(story.outcome(story.order("failover", "remote", dry_run=True)))
    story.say("Nobody makes a telephone call.")
    story.outcome(story.order("failover", "remote", accept_loss=True))
    lost = story.acknowledged
    story.wait(1)
    story.expect("Now both sides acknowledge.", story.acknowledged > lost)
    story.mend()
    story.until("The city follows remote.", lambda: story.is_level("production", "same_city"))
    kept = [why for why in story.heard("log_cut") if "kept as fork" in why]
    story.expect("What the city had acknowledged is kept as a fork, at both.", len(kept) == 2)
    story.expect_same_bytes()


@tells("walk-bad-line", "A line that loses packets")
def bad_line(story: Story) -> None:
    """Each loss is a delay. Writes are slower; nobody is given up."""
    story.lose_packets("production", "same_city", 0.05)
    story.expect("Writes are answered.", story.answers(5))
    story.expect("same_city stays in sync.", "same_city" in story.in_sync)
    story.mend()
    story.expect_same_bytes()


@tells("walk-owner-killed", "The owner's agent is killed")
def owner_killed(story: Story) -> None:
    """Nobody decides before a person does; starting the agent again is enough."""
    story.kill("production")
    story.wait(4)
    story.why()
    story.expect("Nobody has taken over.", story.openings == 1)
    story.start("production")
    story.until("production serves again.", lambda: story.owner == "production")
    story.until("same_city is waited for.", lambda: "same_city" in story.in_sync)
    story.expect_same_bytes()


@tells("walk-coordinator-killed", "The coordinator is killed")
def coordinator_killed(story: Story) -> None:
    """Owners go on; nothing can be moved until it runs again."""
    story.also |= {"coordinator_lost"}
    story.kill(COORDINATOR)
    story.expect("The application goes on.", story.answers(5))
    order = story.order("switchover", "same_city")
    story.outcome(order)
    story.start(COORDINATOR)
    story.until("It hears everybody.", lambda: story.is_connected("production", "same_city", "remote"))
    story.outcome(story.order("switchover", "same_city"))
    story.until("production follows.", lambda: story.is_level("production", "remote"))
    story.expect_same_bytes()


@tells("walk-coordinator-full", "The disk of the coordinator is full")
def coordinator_full(story: Story) -> None:
    """Nothing can be written down there: nothing can be moved, and owners go on."""
    story.fill_store(FULL_S)
    story.expect("The application goes on.", story.answers(5))
    order = story.order("switchover", "same_city")
    story.wait(3)
    story.expect("production still serves.", story.owner == "production" and story.openings == 1)
    story.wait(FULL_S)
    story.say("Somebody has made room.")
    story.outcome(order)
    story.until("Somebody serves, and all agree who.", lambda: agreed(story))
    story.until("All follow.", lambda: story.is_level("production", "same_city", "remote"))
    story.expect_same_bytes()


@tells("walk-switchover-interrupted", "The coordinator dies in the middle of a switchover")
def switchover_interrupted(story: Story) -> None:
    """Whatever had been decided is gone on with; nobody has to remember anything."""
    for number in (1, 2):
        target = "same_city" if number == 1 else "production"
        story.say(f"The coordinator will be killed after command {number} of the next procedure.")
        coordinator = story.world.coordinator
        coordinator.crash_after_command = coordinator.commands + number
        story.order("switchover", target)
        story.until("It is dead.", lambda: not story.world.coordinator.is_alive)
        story.wait(1)
        story.start(COORDINATOR)
        story.until("Somebody serves again, and all agree who.", lambda: agreed(story))
        story.until("All follow.", lambda: story.is_level("production", "same_city", "remote"))
        story.wait(1)  # because the next procedure is refused before the end of this one is noted
    story.expect_same_bytes()


def agreed(story: Story) -> bool:
    """Whether the charter's owner serves and no procedure is open."""
    charter = story.world.charter
    return charter is not None and charter.intent is None and story.owner == charter.owner


@tells("walk-clocks", "Clocks are set, and a machine is suspended")
def clocks(story: Story) -> None:
    """Labels change, decisions do not. A suspended owner is a dead one until it wakes up."""
    for name, hours in (("production", 1), ("same_city", -1), ("remote", 1), (COORDINATOR, -1)):
        story.set_wall_clock(name, hours)
    story.expect("The application notices nothing.", story.answers(3))
    story.status()
    story.suspend("production", 5)
    story.wait(3.5)
    story.why()
    story.until("It has woken up, and asks before it answers.", lambda: story.owner == "production")
    story.until("All is as it was.", lambda: story.answers(0.6) and story.is_level("same_city", "remote"))
    story.expect("It is the same owner.", story.owner == "production")
    story.expect_same_bytes()
