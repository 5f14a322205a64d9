"""The character of a world: how fast, how far, how broken. Each probability is itself drawn from the seed."""

import random
from dataclasses import dataclass

from drsync.core.extents import GRANULE
from drsync.model.group import Durability, Failover, GroupPolicy, GroupSpec, Mode, VolumeSpec
from drsync.model.topology import Center, Designation

CENTERS = (
    Center("production", Designation.PRODUCTION, "city"),
    Center("same_city", Designation.SAME_CITY, "city"),
    Center("remote", Designation.REMOTE, "far"),
)
NAMES = tuple(center.name for center in CENTERS)
COORDINATOR = "coordinator"
CLUSTER = "simulated"
GRANULES = 8  # of all volumes, because marks and digests must be able to tell parts of them apart
DATA_GRANULES = 5  # of the first, because a mistake about which volume it is shows where sizes differ
GROUP_BYTES = GRANULES * GRANULE
VOLUME = VolumeSpec("cd" * 16, "disk", DATA_GRANULES * GRANULE, 0)
LOG_VOLUME = VolumeSpec("ef" * 16, "log", GROUP_BYTES - VOLUME.size, 1)
VOLUMES = (VOLUME, LOG_VOLUME)
"""Of the group. Applications see them as one row of bytes, the second after the first."""
GROUP_ID = "ab" * 16
SMALL_QUOTA = 400 << 10  # bytes, because some journals must be too small for what a peer lacks
LEAST_QUOTA = 192 << 10  # because scenes about that have little time


@dataclass(frozen=True, slots=True)
class Character:
    """What is fixed for one world.

    Attributes:
        group: the group that is created.
        is_store_in_city: whether the coordinator stands in the city that may be lost.
        latency_city, latency_far: seconds one way.
        jitter: share of the latency.
        rate_far: bytes a second of the long lines; 0 is unlimited.
        write_rate: operations of the application a second.
        slots: places it writes to.
        fault_every_s: mean time between faults.
        weights: how likely each kind of fault is here, by name; 0 = never.
        operator_every_s: mean time between things that people ask for.
        restart_s: (low, high) until a dead process is started again.
        boot_s: (low, high) until a dark machine is back.
        stall_rate: share of disk calls that take long.
    """

    group: GroupSpec
    is_store_in_city: bool
    latency_city: float
    latency_far: float
    jitter: float
    rate_far: float
    write_rate: float
    slots: int
    fault_every_s: float
    weights: dict[str, float]
    operator_every_s: float
    restart_s: tuple[float, float]
    boot_s: tuple[float, float]
    stall_rate: float


def roll(dice: random.Random, faults: dict[str, float]) -> Character:
    """The character of a seed; `faults` gives each kind of fault its usual weight."""
    lease = dice.choice((1.0, 2.0, 4.0))
    policy = GroupPolicy(
        mode=dice.choices((Mode.SYNC, Mode.SYNC_STRICT, Mode.ASYNC), (8, 1, 1))[0],
        durability=dice.choices((Durability.APPEND, Durability.FSYNC), (3, 1))[0],
        sync_timeout_s=dice.choice((0.3, 1.0, 3.0)),
        freeze_timeout_s=dice.choice((0.0, 5.0, 30.0)),
        lease_s=lease,
        checkpoint_s=dice.choice((0.5, 2.0, 5.0)),
        window_s=dice.choice((2.0, 20.0)),
        journal_quota_bytes=dice.choice((64 << 30, 64 << 30, 64 << 30, SMALL_QUOTA)),
        switchover_freeze_s=dice.choice((1.0, 5.0)),
        max_pace_s=dice.choice((0.0, 0.02)),
        failover=dice.choice((Failover.MANUAL, Failover.AUTOMATIC)),
        detect_s=lease + dice.choice((0.5, 2.0)),
        anti_flap_s=dice.choice((5.0, 20.0)),
    )
    group = GroupSpec(GROUP_ID, "orders", VOLUMES, CENTERS, "production", policy=policy)
    return Character(
        group=group,
        is_store_in_city=dice.random() < 0.2,  # noqa: PLR2004  # against the design's advice, so sometimes
        latency_city=dice.choice((0.0002, 0.001, 0.004)),
        latency_far=dice.choice((0.01, 0.03)),
        jitter=dice.choice((0.1, 1.0, 5.0)),
        rate_far=dice.choice((0.0, 0.0, 50_000.0)),
        write_rate=dice.choice((4.0, 12.0, 30.0)),
        slots=dice.choice((4, 24, 100)),
        fault_every_s=dice.choice((0.7, 2.0, 5.0)),
        weights={name: weight * dice.choice((0, 0.3, 1, 1, 3)) for name, weight in faults.items()},
        operator_every_s=dice.choice((3.0, 8.0, 60.0)),
        restart_s=dice.choice(((0.1, 0.5), (1.0, 6.0))),
        boot_s=(1.0, dice.choice((4.0, 12.0))),
        stall_rate=dice.choice((0.0, 0.002, 0.02)),
    )


def quiet(policy: GroupPolicy) -> Character:
    """A world in which nothing breaks by itself, for stories and boundaries."""
    return Character(
        group=GroupSpec(GROUP_ID, "orders", VOLUMES, CENTERS, "production", policy=policy),
        is_store_in_city=False,
        latency_city=0.0005,
        latency_far=0.015,
        jitter=0.1,
        rate_far=0.0,
        write_rate=10.0,
        slots=16,
        fault_every_s=1e9,
        weights={},
        operator_every_s=1e9,
        restart_s=(2.0, 2.0),
        boot_s=(8.0, 8.0),
        stall_rate=0.0,
    )
