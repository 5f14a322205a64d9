"""A group of three centers in two cities, as the stories of the core know it."""

from collections.abc import Collection

from drsync.model.charter import Charter, Intent
from drsync.model.epoch import Epoch
from drsync.model.group import GroupPolicy, GroupSpec, Mode
from drsync.model.position import EpochStart
from drsync.model.topology import Center, Designation

A = Center("a", Designation.PRODUCTION, "here")
B = Center("b", Designation.SAME_CITY, "here")
C = Center("c", Designation.REMOTE, "there")
D = Center("d", Designation.SAME_CITY, "here")


def group(mode: Mode = Mode.SYNC, members: tuple[Center, ...] = (A, B, C)) -> GroupSpec:
    return GroupSpec("g1", "g", (), members, "a", policy=GroupPolicy(mode))


def charter(
    *,
    owner: str = "",
    session: str = "a1",
    epoch: int = 0,
    in_sync: Collection[str] = (),
    history: tuple[EpochStart, ...] = (),
    version: int = 1,
    generation: int = 0,
    mode: Mode = Mode.SYNC,
    intent: Intent | None = None,
    members: tuple[Center, ...] = (A, B, C),
) -> Charter:
    return Charter(
        group(mode, members),
        version,
        generation,
        owner,
        session if owner else "",
        Epoch(epoch),
        frozenset(in_sync),
        history,
        intent,
    )
