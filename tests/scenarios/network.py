"""Lines between places: stories of connections that were neither up nor down."""

from drsync.sim.story import Story
from tests.scenarios.telling import tells


@tells("P59", "A connection that nobody closed")
def a_connection_that_nobody_closed(story: Story) -> None:
    """A firewall forgot a connection. Neither side was told, and replication hung until somebody
    looked."""
    story.also |= {"link_ended"}
    story.deafen("remote", "production")
    story.say("remote's own packets arrive, so that its side of the connection looks well.")
    before = story.appended("remote")
    story.wait(5)
    story.expect("remote gets nothing, and nobody is held up.", story.appended("remote") <= before + 1)
    story.until(
        "production has given the connection up, because nothing moved on it.",
        lambda: any("remote" in why for why in story.heard("link_ended", "production")),
    )
    story.mend()
    story.until("A new one carries what was missing.", lambda: story.is_level("remote"))
    story.expect_same_bytes()
