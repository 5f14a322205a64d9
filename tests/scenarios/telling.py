"""Stories and how they are noted: a number, a title, the world it begins in, and a function that tells it."""

from collections.abc import Callable
from dataclasses import dataclass

from drsync.model.group import GroupPolicy
from drsync.sim.story import USUAL, Story

Tell = Callable[[Story], None]


@dataclass(frozen=True)
class Told:
    """A story and the world that it begins in.

    Attributes:
        title: with its number.
        about: what happened to others, or what breaks; the docstring of the function.
        policy: of the group.
        tell: breaks, waits, expects.
        wanting: why what ships does not keep it yet; empty for all others.
    """

    title: str
    about: str
    policy: GroupPolicy
    tell: Tell
    wanting: str = ""

    def transcript(self) -> str:
        """Tell it. Raises StoryError, ViolationError."""
        story = Story(self.title, self.about, self.policy)
        try:
            self.tell(story)
            return story.end()
        finally:
            story.world.end()


STORIES: dict[str, Told] = {}
"""Name of the transcript -> story."""


def tells(name: str, title: str, policy: GroupPolicy = USUAL, *, wanting: str = "") -> Callable[[Tell], Tell]:
    """Note a story: `P07` and the like are those of others, `walk-…` belong to docs/failure-walk.md."""

    def note(tell: Tell) -> Tell:
        assert name not in STORIES
        assert tell.__doc__
        shown = f"{name} {title}" if name.startswith("P") else title
        STORIES[name] = Told(shown, " ".join(tell.__doc__.split()), policy, tell, wanting)
        return tell

    return note
