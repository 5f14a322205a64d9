"""All stories. Each module of a theme notes its own when it is imported."""

from tests.scenarios import durability, marks, network, ownership, resync, sizes, stores, walk, walk_places
from tests.scenarios.telling import STORIES

__all__ = ["STORIES", "THEMES"]

THEMES = (ownership, stores, resync, marks, sizes, durability, network, walk, walk_places)
