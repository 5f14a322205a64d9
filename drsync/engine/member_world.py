"""What a member works with, and whom it tells."""

from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from drsync.engine.peers import Peers
from drsync.engine.resync_slots import ResyncSlots
from drsync.ports.charter_store import CharterStore
from drsync.ports.clock import Clock, Random

MemberT_contra = TypeVar("MemberT_contra", contravariant=True)


class MemberEvents(Protocol[MemberT_contra]):
    """What a member tells its agent."""

    def exports_changed(self, member: MemberT_contra) -> None:
        """Volumes are served now, or no longer."""
        ...

    def word_changed(self, member: MemberT_contra) -> None:
        """Something the coordinator should hear soon."""
        ...

    def view_given_up(self, member: MemberT_contra, view_id: str, why: str) -> None:
        """A view was dropped to keep the copy going: serve it no longer."""
        ...

    def log_member(self, member: MemberT_contra, event: str, reason: str) -> None:
        """A line for the night shift."""
        ...


@dataclass(frozen=True, slots=True)
class World:
    """What a member works with."""

    store: CharterStore
    peers: Peers
    clock: Clock
    dice: Random
    cluster: str
    slots: ResyncSlots = field(default_factory=ResyncSlots)
