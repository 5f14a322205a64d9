"""The world of resync plays what it is there for, and notices what it should."""

import pytest
from typing_extensions import override

from drsync.core import dirty as marks
from drsync.core.dirty import DirtySet
from drsync.core.resync_tables import SourceState, TargetState
from drsync.core.retention import Cursor
from drsync.sim.miniature.checker import ViolationError
from drsync.sim.miniature.resync import STEPS, ResyncRules, ResyncWorld
from drsync.sim.miniature.resync_copy import BLOCKS, Copy, block


class Watching(ResyncWorld):
    """Remembers what was played."""

    def __init__(self, seed: int) -> None:
        self.seen: set[str] = set()
        super().__init__(seed, ResyncRules())

    @override
    def check(self) -> None:
        super().check()
        self.seen |= {source.state.value for source in self.sources.values()}
        self.seen |= {copy.target.state.value for copy in self.copies.values()}
        for name, source in self.sources.items():
            self.seen |= {"a new round"} if source.rounds else set()
            self.seen |= {"away"} if name in self.away else set()
        for copy in self.copies.values():
            self.seen |= {"in place"} if not copy.target.is_consistent else set()
            self.seen |= {"unknown marks"} if any(not d.is_known for d in copy.dirty.values()) else set()
            self.seen |= {"went back in time"} if copy.incarnation > 1 else set()
        self.seen.add(f"owner {self.owner.name}")


def test_some_seeds_play_everything() -> None:
    seen: set[str] = set()
    switches = 0
    for seed in range(25):
        world = Watching(seed)
        world.run(STEPS)
        seen |= world.seen
        switches += world.switches
        assert world.position == world.tip
    assert switches > 25
    assert seen >= {state.value for state in SourceState} | {state.value for state in TargetState}
    assert seen >= {"a new round", "in place", "unknown marks", "went back in time", "away"}
    assert seen >= {"owner A", "owner B", "owner C"}


def pair() -> tuple[Copy, Copy]:
    """A is one record ahead of B, and knows it."""
    ahead, behind = Copy("A"), Copy("B")
    ahead.cursors, ahead.dirty = {"B": Cursor("1", 0)}, {"B": DirtySet()}
    ahead.append(1, 7)
    return ahead, behind


def test_a_difference_is_held_by_the_journal_or_by_marks() -> None:
    ahead, behind = pair()
    assert ahead.lacks_cover(behind) == []
    ahead.trimmed = 1
    assert ahead.lacks_cover(behind) == [7]
    ahead.dirty["B"] = marks.mark(DirtySet(), 0, 1, (block(7),), 0)
    assert ahead.lacks_cover(behind) == []
    ahead.dirty["B"] = marks.unknown()
    assert ahead.lacks_cover(behind) == []


@pytest.mark.parametrize("harm", ["image", "cursor", "two in place"])
def test_harm_is_noticed(harm: str) -> None:
    world = ResyncWorld(0, ResyncRules())
    world.write()
    world.check()
    match harm:
        case "image":
            world.copies["B"].image = [9] * BLOCKS
        case "cursor":
            world.copies["A"].cursors["B"] = Cursor("1", 1)
        case _:
            for name in ("B", "C"):
                world.copies[name].target = type(world.owner.target)(is_in_place=True)
    with pytest.raises(ViolationError):
        world.check()
