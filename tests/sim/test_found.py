"""What seeds have shown once, as small worlds."""

from drsync.sim.story import Story

FAR_S = 0.06  # one way, because a round trip longer than a tick of the owner is what it takes


def test_an_empty_center_behind_a_long_line_is_filled() -> None:
    """Its owner once gave it up before it could answer, and again and again."""
    story = Story("A long line", "A seed with a replaced disk and slow lines showed it.")
    try:
        for place in ("production", "same_city", "coordinator"):
            for one, other in ((place, "remote"), ("remote", place)):
                story.world.network.line(one, other).latency = FAR_S
        story.world.replace_disk("remote")
        story.until("remote has been filled again", lambda: story.is_level("remote"), within_s=20)
    finally:
        story.world.end()
