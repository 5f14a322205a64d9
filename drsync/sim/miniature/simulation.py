"""The passing of time in the world: ticks under faults, then healing, after which all must converge.

Only the order of what happens lives here.
"""

from drsync.model.charter import IntentKind
from drsync.model.epoch import generation
from drsync.sim.miniature import faults, procedures, protocol, scenes
from drsync.sim.miniature.checker import ViolationError
from drsync.sim.miniature.member import Member
from drsync.sim.miniature.messages import Renew
from drsync.sim.miniature.procedures import Coordinator
from drsync.sim.miniature.rules import Rules
from drsync.sim.miniature.store import NAMES
from drsync.sim.miniature.world import IN_NET_MAX, World

COORDINATORS_MAX = 3
DEATH_RATE = 0.005  # of a coordinator in one tick
FAST_DISK_ODDS = (25, 10, 10, 10, 45)  # append, sync, apply, heartbeat, rest
SLOW_DISK_ODDS = (5, 5, 35, 10, 45)
PACES = (0.35, 0.35, 0.03)  # because a coordinator that stalls meets a charter that moved on
HEAL_TICKS = 4000  # because leases, patience and a person's decisions all have to pass in it
DECISION_TICKS = 500  # until a person forces something
REPAIR_TICKS = 50  # between attempts to start a new store generation
SETTLE_TICKS = 200  # because convergence that does not last is none


def is_outranked(world: World) -> bool:
    """Whether somebody promised an epoch to a store generation that was never finished."""
    newest = world.stores[-1].charter.generation
    return any(generation(member.disk.promised) > newest for member in world.members.values())


class Simulation:
    """One seed under some rules."""

    def __init__(self, seed: int, rules: Rules) -> None:
        self.world = World(seed, rules)
        self.coordinators: list[Coordinator] = []
        world = self.world
        self.scene = scenes.begin(world, seed)
        first = world.members["A"]
        first.disk.promised = world.stores[0].charter.epoch
        protocol.open_group(world, first, world.stores[0].charter)

    def run(self, steps: int) -> None:
        """Ticks under faults, then healing. Raises ViolationError."""
        world = self.world
        for _ in range(steps):
            faults.crash_later(world)
            if world.chance(world.fault_rate):
                self._add(faults.strike(world))
            self._add(next(self.scene, None))
            self.tick()
        self.heal()

    def tick(self) -> None:
        """One unit of time."""
        world = self.world
        world.now += 1
        world.events += 1
        for _ in range(world.speed if world.is_faulty else 3):
            self._deliver()
        del world.net[:-IN_NET_MAX]
        for member in world.members.values():
            self._member(member)
        self._stores()
        self._coordinators()

    def _deliver(self) -> None:
        world = self.world
        taken = world.take_message()
        if taken is None:
            return
        world.events += 1
        source, target, message = taken
        if target in world.members:
            protocol.receive(world, source, world.members[target], message)
        else:
            assert isinstance(message, Renew)
            protocol.receive_renewal(world, world.stores[int(target[1:])], source, message)

    def _member(self, c: Member) -> None:
        world = self.world
        if not c.is_up:
            if not world.is_faulty or world.chance(0.03 if c.is_host_down else 0.1):
                faults.restart(world, c)
            return
        self._housekeeping(c)
        if c.is_owner:
            self._owner(c)

    def _housekeeping(self, c: Member) -> None:
        world = self.world
        odds = SLOW_DISK_ODDS if world.is_slow_disk else FAST_DISK_ODDS
        chore = world.dice.choices(("append", "sync", "apply", "heartbeat", "rest"), odds)[0]
        if chore == "append":
            protocol.append(c)
        elif chore == "sync":
            protocol.sync(c)
        elif chore == "apply":
            protocol.apply(world, c)
        elif chore == "heartbeat":
            protocol.heartbeat(world, c)

    def _owner(self, o: Member) -> None:
        world = self.world
        if world.chance(0.3 if world.is_faulty else 0.05):
            protocol.write(world, o)
        if world.chance(0.1):
            protocol.flush(world, o)
        if world.chance(0.2):
            protocol.read(world, o)
        if world.chance(0.5):
            protocol.ship(world, o)
        if world.chance(0.2):
            protocol.tend(world, o)

    def _stores(self) -> None:
        world = self.world
        for store in world.stores:
            if not store.is_up and (not world.is_faulty or world.chance(0.15)):
                faults.restart_store(world, store, is_known_good=world.chance(0.5))
            if store.delayed and store.is_up and world.chance(0.2):
                expected, charter = store.delayed.pop(0)
                store.execute(expected, charter, world.now)

    def _coordinators(self) -> None:
        world = self.world
        for found in list(self.coordinators):
            is_over = world.chance(found.pace) and not procedures.advance(world, found)
            if is_over or world.chance(DEATH_RATE):
                self.coordinators.remove(found)
        is_served = self._is_served()
        rate = world.plan_rate * world.is_faulty if is_served else 0.04
        if world.chance(rate):
            is_planned = is_served and world.chance(0.6)
            self._add(procedures.begin(world, IntentKind.SWITCHOVER if is_planned else IntentKind.OPEN))

    def _add(self, found: Coordinator | None) -> None:
        if found is not None and len(self.coordinators) < COORDINATORS_MAX:
            found.pace = self.world.dice.choice(PACES if self.world.is_faulty else PACES[:1])
            self.coordinators.append(found)

    def heal(self) -> None:
        """No more faults; a person may start a new store generation or force an opening."""
        world = self.world
        world.is_faulty, world.cut, world.loss_rate, world.is_slow_disk = False, set(), 0, False
        for i in range(HEAL_TICKS):
            self.tick()
            self._person(i)
            if i > SETTLE_TICKS and self.has_converged():
                return
        words = [
            (c.name, c.state, c.disk.follow, c.disk.promised, len(c.disk.log)) for c in world.members.values()
        ]
        raise ViolationError(
            "did not converge after healing", words, world.stores[-1].charter, world.stores[-1].ready()
        )

    def _person(self, i: int) -> None:
        """What somebody at the keyboard would do after a while."""
        world, store = self.world, self.world.stores[-1]
        is_useless = store.is_stale or store.is_lost or (bool(store.ready()) and i > DECISION_TICKS)
        if is_useless and i % REPAIR_TICKS == REPAIR_TICKS - 1:
            newest = sorted(
                world.members.values(),
                key=lambda c: (c.charter.generation, c.disk.follow, len(c.disk.log)),
                reverse=True,
            )
            procedures.without_store(world, newest[i // REPAIR_TICKS % len(newest)].name)
        if i % DECISION_TICKS == DECISION_TICKS - 1 and not self._is_served():
            self._force(i // DECISION_TICKS)

    def _is_served(self) -> bool:
        world = self.world
        return any(protocol.serves(world, member) for member in world.members.values())

    def _force(self, attempt: int) -> None:
        """Force the newest copy, then another; or finish the store generation that somebody began."""
        world = self.world
        newest = sorted(NAMES, key=lambda name: world.members[name].disk.follow, reverse=True)
        target = newest[attempt % len(NAMES)]
        if is_outranked(world):
            procedures.without_store(world, target)
            return
        found = procedures.begin(world, IntentKind.FAILOVER)
        if found is None:
            return
        if not found.has_begun:
            found.accept_loss, found.target = True, target
        self._add(found)

    def has_converged(self) -> bool:
        """One owner serves, wrote something in its epoch, and all three logs are equal."""
        world = self.world
        serving = [c for c in world.members.values() if protocol.serves(world, c)]
        if len(serving) != 1:
            return False
        owner = serving[0]
        tip = owner.disk.log.tip
        is_level = all(c.disk.follow == owner.epoch and c.disk.log.tip == tip for c in world.members.values())
        return is_level and owner.disk.known == tip.seq and tip.epoch == owner.epoch
