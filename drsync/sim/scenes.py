"""Scenes: rare orders of faults that dice would need too many seeds for, played into some of the worlds.

A scene only breaks and mends things and orders what a person may order; whatever the daemons make of it, and
all other faults meanwhile, stay random. Its own dice keep the worlds without a scene as they are.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from drsync.model.group import Durability, Failover, Mode, OnBreach
from drsync.sim import scene_acts as acts
from drsync.sim import scene_blocks as blocks
from drsync.sim import scene_lag as lag
from drsync.sim import scene_memory as memories
from drsync.sim import scene_resync as resyncs
from drsync.sim.character import LEAST_QUOTA
from drsync.sim.client import places
from drsync.sim.scene_parts import Scene, opening

if TYPE_CHECKING:
    from drsync.sim.world import World

BARE = 8  # seeds without a scene beside one of each scene
FAULT_EVERY_S = 25.0  # between other faults, because a scene that is broken into often shows nothing
ALONE_RATE = 0.6  # of the scenes; beside the others faults are as thick as in worlds without one
LEASE_MAX_S = 2.0  # because a scene waits for leases again and again
LONG_LEASE_S = 4.0  # because a coordinator needs a second to start
BOOT_MAX_S = 4.0  # because whoever is to boot in a scene is waited for
DETECT_S = 0.5  # beyond the lease
ANTI_FLAP_S = 20.0
WINDOW_S = 20.0  # because what a forced opening leaves behind must not be in any image yet
SHORT_S = 0.2  # because images that follow at once show what they must not hold yet
WRITE_RATE = 12.0  # a second at least, because what nobody reads or writes cannot be seen to be wrong
SPREAD_SLOTS = 24  # because work cannot move to other blocks where only half of them are written
OPERATOR_EVERY_S = 60.0  # between other orders
LOOK_S = 0.05  # between looks at what a scene waits for


class Play:
    """The scene of one world, most often none.

    Attributes:
        name: of the scene; empty when there is none.
    """

    def __init__(self, world: "World") -> None:
        """Choose, and give the world the character that the scene needs; before anything happens."""
        self._world = world
        self._dice = world.new_dice("scene")
        self._scene: Scene | None = None
        self.name = scene_of(world.seed)
        if self.name:
            _suit(world, self.name, is_alone=self._dice.random() < ALONE_RATE or self.name in ALONE)

    def begin(self) -> None:
        """Let it happen."""
        if self.name:
            self._world.trace.say("world", f"scene {self.name}")
            scene = (SCENES | AWAY | LAGGING | NEWER)[self.name](self._world, self._dice)
            self._scene = opening(
                scene, self._world, self._dice, awaits_founding=self.name in {*NEWER, *LAZY}
            )
            self._world.later(LOOK_S, self._go_on)

    def _go_on(self) -> None:
        """To the next wait; it ends when nothing is to break any more."""
        assert self._scene is not None
        if self._world.is_calm:
            self._scene.close()
            return
        seconds = next(self._scene, None)
        if seconds is not None:
            self._world.later(seconds, self._go_on)


def scene_of(seed: int) -> str:
    """The scene of a seed, most often one: of so many seeds in a row each scene is that of exactly one."""
    first = sorted(set(SCENES | AWAY) - {*LATER, *LAST})
    names = [*first, *[""] * (BARE - len(LATER)), *LATER]
    turn, place = divmod(seed, len(names) + len(LAST))
    if place >= len(names):
        return LAST[place - len(names)]
    random.Random(f"{turn} scenes").shuffle(names)
    bare = [at for at, name in enumerate(names) if not name]
    for at, name in zip(bare, [*sorted(LAGGING), *NEWER], strict=False):  # so that no other seed changes
        names[at] = name
    return names[place]


def _suit(world: "World", name: str, *, is_alone: bool) -> None:
    """The character that a scene needs: its mode, and if `is_alone` less of what would come between."""
    found = world.character
    group = found.group
    if name in STRICT:
        group = replace(group, policy=replace(group.policy, mode=Mode.SYNC_STRICT))
    elif name not in ANY_MODE:
        group = replace(group, policy=replace(group.policy, mode=Mode.SYNC))
    policy = group.policy
    lease_s = LONG_LEASE_S if name in LONG_LEASE else min(policy.lease_s, LEASE_MAX_S)
    if name in AUTOMATIC:
        policy = replace(policy, failover=Failover.AUTOMATIC, anti_flap_s=ANTI_FLAP_S)
    policy = replace(policy, lease_s=lease_s, detect_s=lease_s + DETECT_S)
    is_folding = name in FOLDING or name in AWAY
    window_s, checkpoint_s = (SHORT_S, SHORT_S) if is_folding else (WINDOW_S, policy.checkpoint_s)
    policy = replace(policy, window_s=window_s, checkpoint_s=checkpoint_s)
    if name in AWAY:
        policy = replace(policy, journal_quota_bytes=LEAST_QUOTA, compress=name not in PLAIN)
    if name in LAZY:
        policy = replace(policy, durability=Durability.APPEND)
        world.application.is_fsync = False
        for host in world.hosts.values():
            host.disk.is_brief = False
    group = replace(group, policy=policy)
    if name in LAGGING:
        on_breach = OnBreach.STALL if world.new_dice("breach").getrandbits(1) else OnBreach.ALERT
        policy = replace(policy, max_pace_s=0.0, compress=False, on_breach=on_breach, checkpoint_s=SHORT_S)
        group = replace(group, policy=policy, objectives=replace(group.objectives, rpo_s=lag.TARGET_S))
    world.character = replace(
        found,
        group=group,
        fault_every_s=max(found.fault_every_s, FAULT_EVERY_S) if is_alone else found.fault_every_s,
        operator_every_s=max(found.operator_every_s, OPERATOR_EVERY_S),
        boot_s=(found.boot_s[0], min(found.boot_s[1], BOOT_MAX_S)),
        rate_far=0.0 if name in PLAIN else found.rate_far,
    )
    if name in PLAIN:
        world.lay_lines()
    world.application.rate = max(world.application.rate, WRITE_RATE)
    if name in LAST:
        world.application.places = places(max(found.slots, SPREAD_SLOTS))


SCENES: dict[str, Callable[["World", random.Random], Scene]] = {
    "lone_owner": acts.lone_owner,
    "company_leaves": acts.company_leaves,
    "split_pair": acts.split_pair,
    "split_strict": acts.split_strict,
    "lagging_heir": acts.lagging_heir,
    "dark_city": acts.dark_city,
    "dark_owner": acts.dark_owner,
    "hasty_return": acts.hasty_return,
    "old_store": acts.old_store,
    "gone_back": acts.gone_back,
    "forgotten_promise": acts.forgotten_promise,
    "out_of_sight": acts.out_of_sight,
    "frozen_alone": acts.frozen_alone,
    "loose_plug": acts.loose_plug,
    "slow_mate": acts.slow_mate,
    "full_mate": acts.full_mate,
    "unheard_answer": acts.unheard_answer,
    "rotten_mate": acts.rotten_mate,
    "lying_sync": acts.lying_sync,
    "deaths_in_folds": acts.deaths_in_folds,
    "drills": acts.drills,
    "flapping": acts.flapping,
    "forgetful_store": memories.forgetful_store,
    "twice_lost": memories.twice_lost,
    "regretted": memories.regretted,
    "tail_of_three": memories.tail_of_three,
    "two_generations": memories.two_generations,
    "dropped_and_forgotten": memories.dropped_and_forgotten,
    "same_fork": blocks.same_fork,
}
"""Every scene by its name, but for those of `AWAY`, `LAGGING` and `NEWER`."""

AWAY: dict[str, Callable[["World", random.Random], Scene]] = {
    "remote_away": resyncs.remote_away,
    "mate_away": resyncs.mate_away,
    "outrun": resyncs.outrun,
    "owner_dies_staging": resyncs.owner_dies_staging,
    "cut_in_the_switch": resyncs.cut_in_the_switch,
    "late_disk": resyncs.late_disk,
    "fork_beyond_images": resyncs.fork_beyond_images,
    "stood_between": resyncs.stood_between,
    "moved_on": blocks.moved_on,
    "back_in_between": blocks.back_in_between,
    "cleared_meanwhile": blocks.cleared_meanwhile,
}
"""Scenes for which journals are soon too small."""

LAGGING: dict[str, Callable[["World", random.Random], Scene]] = {
    "slower_than_writes": lag.slower_than_writes,
    "lost_while_behind": lag.lost_while_behind,
}
"""Scenes for which the RPO target is soon missed."""

NEWER: dict[str, Callable[["World", random.Random], Scene]] = {
    "rolled_back": memories.rolled_back,
    "forgotten_streams": memories.forgotten_streams,
    "left_behind": memories.left_behind,
}
"""Scenes that came last, in their order: they take places without one, so that no other seed changes."""

FOLDING = frozenset({"deaths_in_folds", "hasty_return", "loose_plug"})
"""These need images that follow soon."""

STRICT = frozenset({"split_strict", "tail_of_three"})
"""These need a strict group."""

PLAIN = frozenset({"cleared_meanwhile"})
"""These need sessions that take their time: nothing is compressed. No line is slow by itself, because such a
one can be slower than the writes for ever where journals are small: drsync says so, and waits."""

AUTOMATIC = frozenset({"flapping", "twice_lost"})
"""These need a coordinator that acts by itself."""

LAZY = frozenset({"tail_of_three"})
"""These need records that are acknowledged for a while before they are durable."""

LONG_LEASE = frozenset({"forgetful_store"})
"""These need a lease that outlasts the start of a coordinator."""

LATER = ("slower_than_writes",)
"""Scenes that came later take places without one, so that every other seed keeps its scene."""

LAST = ("moved_on", "back_in_between", "cleared_meanwhile", "same_fork")
"""Scenes that are played after each turn of the others, in this order, so that none of the others moves
within its turn."""

ALONE = frozenset(
    {"forgotten_streams", "outrun", "slower_than_writes", "tail_of_three", "twice_lost", "two_generations"}
)
"""These show nothing when anything else happens meanwhile."""

ANY_MODE = frozenset({"out_of_sight", "dark_city"})
"""These are played whatever the mode is; all others need a synchronous group."""
