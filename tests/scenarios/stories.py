"""The failure stories of other systems, told to ours. Each function is one story; its docstring is its about.

The numbers are those of the stories in docs/failure-walk.md.
"""

from collections.abc import Callable
from dataclasses import dataclass

from drsync.model.group import GroupPolicy
from drsync.sim.story import USUAL, Story, automatic

Tell = Callable[[Story], None]


@dataclass(frozen=True)
class Told:
    """A story and the world that it begins in."""

    title: str
    about: str
    policy: GroupPolicy
    tell: Tell

    def transcript(self) -> str:
        """Tell it."""
        story = Story(self.title, self.about, self.policy)
        try:
            self.tell(story)
            return story.end()
        finally:
            story.world.end()


STORIES: dict[str, Told] = {}
"""Number -> story."""


def tells(number: str, title: str, policy: GroupPolicy = USUAL) -> Callable[[Tell], Tell]:
    """Note a story."""

    def note(tell: Tell) -> Tell:
        assert number not in STORIES
        assert tell.__doc__
        STORIES[number] = Told(f"{number} {title}", tell.__doc__, policy, tell)
        return tell

    return note


@tells("P01", "Forty-three seconds", automatic())
def forty_three_seconds(story: Story) -> None:
    """A cut of 43 s made another system promote its far coast, and cost a day of repairs."""
    story.isolate("production")
    story.until("same_city has taken over by itself", lambda: story.owner == "same_city")
    story.wait(43 - story.now)
    story.mend()
    story.until("production follows again", lambda: story.is_level("production", "remote"))
    story.wait(20)
    story.expect("The group is still served at same_city: it has moved once", story.owner == "same_city")
    story.expect("Nobody ever opened it at the remote center", story.world.ledger.openings == 2)


@tells("P02", "The owner that slept")
def the_owner_that_slept(story: Story) -> None:
    """A leader that was starved woke after its lock had been used by another, and took it back."""
    story.freeze("production")
    story.wait(6)
    story.outcome(story.order("failover", "same_city"))
    story.wait(5)
    before = story.world.ledger.openings
    story.thaw("production")
    story.until("production has found out and follows", lambda: story.is_level("production"))
    story.wait(10)
    story.expect("It has opened nothing", story.world.ledger.openings == before)
