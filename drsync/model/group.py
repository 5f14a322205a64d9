"""Protection groups: volumes with one write order that fail over together."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from drsync.model.consistency import Consistency
from drsync.model.fileset import FileSetSpec
from drsync.model.self_drill import SelfDrill
from drsync.model.topology import Center

SOFT_QUOTA_SHARE: Final = 0.8  # because a fifth of a long outage is time to do something about it


_SELF_DRILL: Final = SelfDrill()
_CONSISTENCY: Final = Consistency()


class Durability(StrEnum):
    """When a write is acknowledged. FLUSH and FUA always wait until all members have it durable."""

    APPEND = "append"
    FSYNC = "fsync"


class Mode(StrEnum):
    """Which centers an acknowledgment waits for."""

    SYNC = "sync"  # the same-city pair; a silent member is removed in the charter first
    SYNC_STRICT = "sync_strict"  # never shrink: freeze instead
    ASYNC = "async"  # the owner alone


class Failover(StrEnum):
    """Who decides that another center takes over from a lost owner."""

    MANUAL = "manual"  # a person; the coordinator observes and reports
    AUTOMATIC = "automatic"  # the coordinator, inside the in-sync set and without loss; else a person


class WhenFull(StrEnum):
    """What an owner does when its journal is over the quota and nothing else is left to give up."""

    DROP_HISTORY = "drop_history"  # checkpoints on hold go; the default, because writes matter more
    STALL = "stall"  # they stay, and writes wait


class Priority(StrEnum):
    """Which groups come first where an agent cannot serve all at once: resyncs."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class OnBreach(StrEnum):
    """What an owner does when a peer that it feeds misses the RPO target, whatever else was done."""

    ALERT = "alert"  # people are told; the default, because writes matter more
    STALL = "stall"  # new writes wait until the lag is small again


@dataclass(frozen=True, slots=True)
class VolumeSpec:
    """A served volume.

    Attributes:
        id: random, 32 hex digits; names the image file.
        name: alias; the NBD export name.
        size: bytes, a multiple of 4096.
        index: small number used in records; never reused within the group.
        first_size: bytes at the beginning of the log; 0: `size`, because it never grew.
    """

    id: str
    name: str
    size: int
    index: int
    first_size: int = 0


@dataclass(frozen=True, slots=True)
class Objectives:
    """Targets. Seconds; availability as a fraction."""

    rpo_s: float = 15.0
    rto_s: float = 300.0
    availability: float = 0.9999


@dataclass(frozen=True, slots=True)
class GroupPolicy:
    """How a group behaves. Times in seconds."""

    mode: Mode = Mode.SYNC
    durability: Durability = Durability.APPEND
    sync_timeout_s: float = 5.0  # because a slow disk recovers in less, and a client's own timeout is longer
    freeze_timeout_s: float = 60.0  # because NBD clients give up after minutes; 0 = never answer EIO
    lease_s: float = 10.0  # because a same-city failover must wait this long after the owner's last word
    checkpoint_s: float = 5.0
    window_s: float = 600.0  # points of the last so many seconds can be opened at replicas
    journal_quota_bytes: int = 64 << 30
    drill_max_age_s: float = 0.0  # older, never or too slow: the group is not ready; 0: nobody asks
    switchover_freeze_s: float = 10.0  # a planned pause longer than this is an outage
    compress: bool = True  # batches, on lines that hold writes back
    max_pace_s: float = 0.02  # the most that an answer waits for a peer that is behind; 0 = never
    failover: Failover = (
        Failover.MANUAL
    )  # because applications that do not follow by themselves need a person
    detect_s: float = (
        5.0  # because an agent restarts and a route changes in less; the lease is waited for, too
    )
    anti_flap_s: float = 600.0  # because who moves twice within minutes has a fault that moving does not mend
    slow_commit_s: float = (
        0.5  # because within a city it takes milliseconds, and people feel this; 0 = no alarm
    )
    window_floor_s: float = 0.0  # a full journal shrinks the window down to this, and then no further
    journal_soft_quota_bytes: int = 0  # above this people are told; 0: `SOFT_QUOTA_SHARE` of the quota
    when_full: WhenFull = WhenFull.DROP_HISTORY
    on_breach: OnBreach = OnBreach.ALERT
    priority: Priority = Priority.NORMAL
    self_drill: SelfDrill = _SELF_DRILL
    consistency: Consistency = _CONSISTENCY

    @property
    def soft_quota_bytes(self) -> int:
        """Of the journal: above this people are told."""
        return self.journal_soft_quota_bytes or int(SOFT_QUOTA_SHARE * self.journal_quota_bytes)


@dataclass(frozen=True, slots=True)
class GroupSpec:
    """What a group is made of; part of the charter, so that every member can read it offline."""

    id: str
    name: str
    volumes: tuple[VolumeSpec, ...]
    members: tuple[Center, ...]
    preferred_owner: str
    objectives: Objectives = Objectives()
    policy: GroupPolicy = GroupPolicy()
    filesets: tuple[FileSetSpec, ...] = ()

    def center(self, name: str) -> Center:
        """The member called `name`; KeyError when there is none."""
        for member in self.members:
            if member.name == name:
                return member
        raise KeyError(name)

    def mates(self, name: str) -> tuple[str, ...]:
        """The other members in the same site: those an owner `name` may hold in sync."""
        site = self.center(name).site
        return tuple(m.name for m in self.members if m.site == site and m.name != name)
