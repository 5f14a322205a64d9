"""Who owns the group: stories of split brain and of acknowledged writes that were lost."""

from dataclasses import replace

from drsync.model.position import Loss
from drsync.sim.character import COORDINATOR
from drsync.sim.client import SLOT, place_of, value_of
from drsync.sim.store_disk import Moment
from drsync.sim.story import USUAL, Story, automatic
from tests.scenarios.telling import tells


@tells("P01", "Forty-three seconds", automatic())
def forty_three_seconds(story: Story) -> None:
    """A cut of 43 seconds made another system promote its far coast. Both coasts then held writes
    that the other lacked, and the repair took a day."""
    story.isolate("production")
    story.until("same_city has taken over by itself.", lambda: story.owner == "same_city")
    story.wait(43 - story.now)
    story.mend()
    story.until("production follows again.", lambda: story.is_level("production", "remote"))
    story.expect("The group has moved once, and stays at same_city.", story.owner == "same_city")
    story.expect("Nobody ever opened it at the remote center.", story.openings == 2)
    story.expect_same_bytes()
    story.expect("No acknowledged write was lost.", story.world.ledger.lost == 0)


@tells("P02", "The owner that slept")
def the_owner_that_slept(story: Story) -> None:
    """A leader that was starved woke up after its lock had run out and had been used by another. It
    saw that nobody held the lock any more, and took it back."""
    export = story.exports()[0]
    story.freeze("production")
    story.wait(4)
    story.outcome(story.order("failover", "same_city"))
    story.wait(2)
    openings, seen = story.openings, bytearray(SLOT)
    story.thaw("production")
    story.wait(0.001)
    story.expect(
        "The first thing that it is asked is a read; it gives no data.",
        not export.process.is_alive or export.device.read_into(0, memoryview(seen)) != 0,
    )
    story.until("production has found out and follows.", lambda: story.is_level("production"))
    story.expect("It has opened nothing.", story.openings == openings)
    story.expect_same_bytes()
    story.expect("Nothing it held was acknowledged and lost.", story.world.ledger.lost == 0)


@tells("P03", "A lock that somebody else let go", replace(USUAL, lease_s=6.0, detect_s=7.0))
def a_lock_that_somebody_else_let_go(story: Story) -> None:
    """The lock of a leader was given away the moment its agent stopped, while the leader went on
    for as long as its own timeouts allowed."""
    last = story.now
    story.isolate("production")
    order = story.order("failover", "same_city")
    story.until("The owner's own lease still runs.", lambda: story.owner == "production" and story.now > 3)
    story.expect("Until it has run out nobody else opens.", story.openings == 1)
    story.outcome(order)
    waited = story.now - last
    story.expect("It took the rest of the lease, although a person was waiting.", waited > 4.5)
    story.expect("The old owner answers nothing any more.", story.owner == "same_city")
    story.mend()
    story.until("production follows.", lambda: story.is_level("production"))
    story.expect_same_bytes()


@tells("P04", "Records that were on their way")
def records_on_their_way(story: Story) -> None:
    """A lock was checked before the guarded write, not at it: what had been sent while the lock was
    good arrived when another held it."""
    story.deafen("same_city", "production")
    story.wait(0.5)
    story.say("What production sends to same_city meanwhile waits in the network.")
    story.isolate("production")
    story.wait(3.5)
    story.outcome(story.order("failover", "same_city"))
    story.until("The application writes at same_city.", lambda: story.answers(0.6))
    story.mend()
    story.wait(3)
    member = story.world.agents["same_city"].members()[0]
    story.expect(
        "What arrives late is refused record by record: no record of epoch 1 follows one of epoch 2.",
        [run.epoch for run in member.statement().runs] == [1, 2],
    )
    story.until("production follows.", lambda: story.is_level("production"))
    story.expect_same_bytes()


@tells("P05", "Tails of different length", replace(USUAL, sync_timeout_s=6.0))
def tails_of_different_length(story: Story) -> None:
    """A survivor was promoted before it had compared itself with the other survivor, and served
    data that was older than what the other one held."""
    story.deafen("same_city", "production")
    story.wait(1.5)
    story.power_off("production")
    story.wait(3)
    low, high = story.appended("same_city"), story.appended("remote")
    story.expect("remote holds records that same_city never got.", high > low)
    story.isolate("same_city")
    story.wait(2)
    story.outcome(story.order("failover", "remote"))
    story.expect("Longer is not enough: same_city, which is in sync, must be asked.", story.openings == 1)
    story.mend()
    story.until("The coordinator hears same_city.", lambda: story.is_connected("same_city"))
    story.outcome(story.order("failover", "same_city"))
    runs = story.world.agents["same_city"].members()[0].statement().runs
    story.expect("same_city fetched the longer tail before it opened.", runs[-1].first_seq > high)
    story.power_on("production")
    story.until("production follows.", lambda: story.is_level("production", "remote"))
    story.expect_same_bytes()


@tells("P06", "A label is no acknowledgment")
def a_label_is_no_acknowledgment(story: Story) -> None:
    """A peer was counted as holding the newest generation because it said so, not because it had
    the data. Writes that waited for it were released, and lost."""
    story.cut("production", "same_city")
    story.until("production goes on alone.", lambda: story.in_sync == {"production"})
    story.wait(2)
    story.mend()
    story.slow("production", "same_city", 6_000)
    story.wait(3)
    story.expect("The coordinator hears same_city, and it follows the right epoch.", follows(story, 1))
    lacks = story.appended("production") - story.appended("same_city")
    story.expect("It lacks records.", lacks > 0)
    story.expect("It is not in sync for that.", story.in_sync == {"production"})
    story.power_off("production")
    story.wait(3)
    found = story.outcome(story.order("failover", "same_city"))
    story.expect("Nothing was opened.", found is not None and story.openings == 1)
    story.power_on("production")
    story.mend()
    story.until(
        "production serves again, and now waits for same_city.",
        lambda: story.owner == "production" and "same_city" in story.in_sync,
    )
    story.expect_same_bytes()


def follows(story: Story, epoch: int) -> bool:
    """Whether same_city is heard, and what it says."""
    word = story.word("same_city")
    return story.is_connected("same_city") and word is not None and word.follow == epoch


@tells("P07", "The same number is not the same record")
def the_same_number(story: Story) -> None:
    """Two copies had the same label and different content; the list of what differed was
    cleared."""
    story.isolate("production", "same_city")
    story.wait(2)
    story.say("The city lives, but nobody outside can see that. Somebody does not wait for a telephone call.")
    story.state_loss(story.outcome(story.order("failover", "remote", accept_loss=True)))
    story.until(
        "Both sides have written records with the same numbers.",
        lambda: min(story.appended("remote"), story.appended("production")) > 25,
    )
    story.mend()
    story.until("The city has met its successor.", lambda: story.is_level("production", "same_city"))
    kept = [why for why in story.heard("log_cut") if "kept as fork" in why]
    story.expect("Nobody took them for the same: what the city had is kept as a fork, twice.", len(kept) == 2)
    story.expect_same_bytes()


@tells("P08", "Writes that nobody else has")
def writes_that_nobody_else_has(story: Story) -> None:
    """A primary kept acknowledging while its peer was gone and nobody had noted that. The stale
    copy was taken for a good one later."""
    story.kill(COORDINATOR)
    story.wait(1)
    story.cut("production", "same_city")
    story.expect(
        "Nobody can note that same_city is gone: from now on nothing is acknowledged.", not story.answers(3)
    )
    story.expect("same_city is still in sync, and holds all that was.", "same_city" in story.in_sync)
    story.start(COORDINATOR)
    story.until("Its removal is in the charter.", lambda: story.in_sync == {"production"})
    story.expect("Only now production acknowledges again.", story.answers())
    story.mend()
    story.until("same_city has caught up and is waited for.", lambda: "same_city" in story.in_sync)
    story.expect_same_bytes()


@tells("P09", "A witness makes nobody eligible", automatic())
def a_witness_makes_nobody_eligible(story: Story) -> None:
    """A tiebreaker that changed sides gave its vote, and with it the right to serve, to a node that
    was stale."""
    story.cut("production", "same_city")
    story.until("production goes on alone.", lambda: story.in_sync == {"production"})
    story.wait(1)
    story.isolate("production")
    story.mend_line("same_city", "remote")
    story.wait(6)
    story.expect("same_city and the coordinator see each other. Nobody opens.", story.openings == 1)
    found = story.outcome(story.order("failover", "same_city"))
    story.expect("A person who asks is refused.", found is not None and found.state.value == "refused")
    story.mend()
    story.until("production serves again.", lambda: story.owner == "production")
    story.until("same_city is waited for.", lambda: "same_city" in story.in_sync)
    story.expect_same_bytes()


@tells("P10", "Neither done nor not done")
def neither_done_nor_not_done(story: Story) -> None:
    """An answer that got lost was taken for a failure by one and for a success by another."""
    story.say("From the next commit on, the store's disk reports an error although the commit is in force.")
    story.world.coordinator.fail_commits(1, 3, Moment.AFTER)
    story.cut("production", "same_city")
    story.wait(1.2)
    before = story.acknowledged
    story.until("The charter names production alone.", lambda: story.in_sync == {"production"})
    is_same = story.acknowledged == before
    story.expect("production acknowledged nothing before it had read that back.", is_same)
    story.until("It acknowledges again.", lambda: story.acknowledged > before)
    story.mend()
    story.until("same_city is waited for.", lambda: "same_city" in story.in_sync)
    story.expect_same_bytes()


@tells("P11", "Cut where the next but one began")
def cut_where_the_next_but_one_began(story: Story) -> None:
    """A returning follower cut its log where it remembered the last mark, not where the epochs that
    it had missed began, and acknowledged records were gone."""
    story.isolate("production")
    story.wait(0.6)
    tip = story.appended("production")
    story.wait(3)
    story.outcome(story.order("failover", "same_city"))
    story.until("same_city serves and writes.", lambda: story.answers(0.5))
    story.until("remote follows it.", lambda: story.is_level("remote"))
    story.outcome(story.order("switchover", "remote"))
    story.until("remote serves and writes.", lambda: story.answers(0.5))
    charter = story.world.charter
    assert charter is not None
    fork = min(start.fork_seq for start in charter.history if start.epoch > 1)
    story.expect("production has records beyond the place where epoch 2 begins.", tip > fork)
    story.mend()
    story.until("production follows, two epochs later.", lambda: story.is_level("production", "same_city"))
    story.expect("It cut at the earliest beginning.", f"after record {fork}" in story.heard("log_cut")[0])
    story.expect_same_bytes()


@tells("P12", "A fork that nobody can talk away")
def a_fork_that_nobody_can_talk_away(story: Story) -> None:
    """After a forced promotion the old primary was demoted, and from then on its own writes looked
    like an ordinary backlog."""
    story.isolate("production", "same_city")
    story.wait(2)
    story.outcome(story.order("failover", "remote", accept_loss=True))
    story.wait(2)
    story.mend()
    story.until("The city follows remote.", lambda: story.is_level("production", "same_city"))
    story.until("The coordinator hears the city.", lambda: story.is_connected("production", "same_city"))
    story.outcome(story.order("switchover", "production"))
    charter = story.world.charter
    assert charter is not None
    forced = [start for start in charter.history if start.loss is Loss.FORCED]
    story.expect("The history still says where an epoch was forced.", len(forced) == 1)
    kept = [why for why in story.heard("log_cut") if "kept as fork" in why]
    story.expect("The records of the fork were put aside, not replayed.", len(kept) == 2)
    story.until("All follow production.", lambda: story.is_level("same_city", "remote"))
    story.expect_same_bytes()


@tells("P13", "There and back without a write")
def there_and_back(story: Story) -> None:
    """An image that nobody had written to went to the other side and back, and reported split
    brain."""
    story.say("The application pauses.")
    story.world.application.is_resting = True
    story.wait(1)
    for to in ("same_city", "production"):
        story.outcome(story.order("switchover", to))
        story.until("The others follow.", lambda: story.is_level("production", "same_city", "remote"))
    story.expect("No log was cut, nothing was put aside.", not story.heard("log_cut"))
    plans = story.plans()
    story.expect(f"The copies are streamed to: {plans}.", "resync" not in plans)
    story.expect_same_bytes()


@tells("P14", "A write that readers saw too early", replace(USUAL, sync_timeout_s=20.0))
def seen_too_early(story: Story) -> None:
    """A wait for the second copy was given up, and readers saw a write that then vanished in a
    failover."""
    story.cut("production", "same_city")
    story.wait(1.0)
    waiting = [write for write in story.world.ledger.writes if not write.is_promised and write.seq]
    story.expect("Writes wait for same_city.", len(waiting) > 1)
    export = story.exports()[0]
    found = bytearray(SLOT)
    shown = set()
    for write in waiting:
        volume, offset = place_of(write.slot)
        assert export.devices[volume].read_into(offset, memoryview(found)) == 0
        shown.add(value_of(found))
    hidden = {write.content for write in waiting if write.content}
    story.expect("Reads of the same places show what was there before.", not shown & hidden)
    story.isolate("production")
    story.wait(3)
    story.outcome(story.order("failover", "same_city"))
    story.until("The application goes on.", lambda: story.answers(0.5))
    story.mend()
    story.until("production follows.", lambda: story.is_level("production"))
    story.expect("Every value that was ever read is there or was overwritten.", story.world.ledger.lost == 0)
    story.expect_same_bytes()


@tells("P17", "The dead site is asked")
def the_dead_site_is_asked(story: Story) -> None:
    """A failover hung because one of its steps needed the site that had failed."""
    story.say("production becomes a black hole: packets vanish, no connection is refused.")
    story.isolate("production")
    story.wait(0.5)
    began = story.now
    story.outcome(story.order("failover", "same_city"))
    story.expect("It took the lease and one patience, no more.", story.now - began < 8)
    story.expect("same_city acknowledges.", story.answers())
    story.mend()
    story.until("production follows.", lambda: story.is_level("production", "remote"))
    story.expect_same_bytes()


@tells("P19", "A backup that nobody had read")
def a_backup_that_nobody_had_read(story: Story) -> None:
    """A database was wiped on the wrong host, and each of five ways of backing it up turned out to
    be useless: nobody had ever read one back."""
    story.wait(1)
    found = story.outcome(story.order("drill", "remote"))
    story.expect("The drill read remote's copy and production's, and compared them.", found is not None)
    story.say("A block of remote's image changes on the medium.")
    story.rot_image("remote")
    found = story.outcome(story.order("drill", "remote"))
    is_noticed = found is not None and found.state.value == "failed"
    story.expect("The next drill fails: it does not believe, it compares.", is_noticed)
    story.expect("The application noticed neither.", story.owner == "production" and story.answers())
