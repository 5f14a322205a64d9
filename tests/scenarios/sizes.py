"""Volumes that grow: who has to agree, and who was not there."""

from drsync.core.extents import GRANULE
from drsync.sim.character import LOG_VOLUME, NAMES
from drsync.sim.story import Story
from tests.scenarios.telling import tells

GROWN = LOG_VOLUME.size + 3 * GRANULE
GROWN_MORE = LOG_VOLUME.size + 5 * GRANULE


@tells("P31", "The member that was not asked")
def the_member_that_was_not_asked(story: Story) -> None:
    """A resize was committed by the half that was reachable. The member that was away then had a disk of
    another size than all others, and could never join again."""
    story.kill("remote")
    story.wait(1)
    refused = story.resize(LOG_VOLUME.name, GROWN)
    story.until("It is refused: not all agree, and nothing has changed.", lambda: refused.refusal is not None)
    assert refused.refusal is not None
    story.say(str(refused.refusal))
    story.expect("The volume has its former size everywhere.", not sizes(story, "production", "same_city"))
    story.resize(LOG_VOLUME.name, GROWN, without="remote")
    story.until(
        "The city has the new size, from one record on.",
        lambda: sizes(story, "production", "same_city") == {GROWN},
    )
    story.say("The next time the owner dies in the middle of it.")
    story.resize(LOG_VOLUME.name, GROWN_MORE, without="remote")
    story.wait(0.05)
    story.kill("production")
    story.outcome(story.order("failover", "same_city"))
    story.start("remote")
    story.start("production")
    story.until("All are back.", lambda: story.is_level("production", "remote"))
    story.resize(LOG_VOLUME.name, GROWN_MORE)
    story.until(
        "Asked again, and all agree: one size everywhere, also where nobody had been asked.",
        lambda: sizes(story, *NAMES) == {GROWN_MORE},
    )
    records = [member.copy.sizes for name in NAMES for member in story.world.agents[name].members()]
    story.expect("And by the same records.", all(one == records[0] for one in records))
    story.expect_same_bytes()


def sizes(story: Story, *names: str) -> set[int]:
    """Sizes at the ends of the logs of these centers; empty while none of them has grown."""
    members = [member for name in names for member in story.world.agents[name].members()]
    if len(members) < len(names) or not any(member.copy.sizes.resizes for member in members):
        return set()
    return {member.copy.sizes.newest[LOG_VOLUME.index] for member in members}
