"""The state of a simulated cluster: members, stores, links, dice and time.

Only state and the network live here. Who says what is in `protocol`, changes of owner in `procedures`,
what breaks in `faults`, and the passing of time in `simulation`.
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from zlib import crc32

from drsync.model.charter import Charter
from drsync.model.epoch import make
from drsync.model.group import GroupPolicy, GroupSpec, Mode
from drsync.model.position import NO_CHAIN, EpochStart
from drsync.model.topology import Center, Designation
from drsync.sim.miniature.checker import Checker
from drsync.sim.miniature.member import Disk, Member
from drsync.sim.miniature.messages import Message
from drsync.sim.miniature.rules import Rules
from drsync.sim.miniature.store import NAMES, Store

LEASE = 80  # ticks
DELAYED_RATE = 0.1  # of compare-and-sets that are done later, or never
UNHEARD_RATE = 0.1  # of those whose answer gets lost
IN_NET_MAX = 40  # because a link that is cut loses what it held
FAULTS = {
    "link": 14,
    "store_link": 10,
    "alone": 12,
    "one_armed": 8,
    "links_heal": 10,
    "process": 12,
    "host": 9,
    "power_cut": 5,
    "city_lost": 0.3,
    "snapshot": 8,
    "restore": 8,
    "store_down": 5,
    "backup": 5,
    "old_store": 3,
    "force": 4,
    "generation": 2,
}
"""Relative weights."""

MEMBERS = (
    Center("A", Designation.PRODUCTION, "city"),
    Center("B", Designation.SAME_CITY, "city"),
    Center("C", Designation.REMOTE, "far"),
)


def group(mode: Mode) -> GroupSpec:
    """The simulated group. Times are ticks."""
    policy = GroupPolicy(mode=mode, lease_s=LEASE, switchover_freeze_s=LEASE / 2)
    return GroupSpec("g", "g", (), MEMBERS, "A", policy=policy)


class World:
    """Everything one seed runs on."""

    def __init__(self, seed: int, rules: Rules) -> None:
        self.dice = random.Random(seed)
        self.rules = rules
        self.now = 0
        self.events = 0
        self.is_faulty = True
        self.trace_sum = 0
        self._ids = 0
        self.checker = Checker()
        self.net: list[tuple[str, str, Message]] = []
        self.cut: set[tuple[str, str]] = set()
        self.snapshots: dict[str, Disk] = {}
        self.backups: list[tuple[Store, Charter, dict[str, int]]] = []
        self.later: list[tuple[int, str, str]] = []  # when whose process crashes, and who loses sight of it
        self.thawed_owners: set[tuple[str, int]] = set()
        self._roll_character()
        first = make(0, 0, 1)
        start = EpochStart(first, "1", 0, NO_CHAIN)
        self.members = {name: Member(name, self.fresh_session(name)) for name in NAMES}
        session = self.members["A"].disk.session
        mode = Mode.SYNC_STRICT if self.is_strict else Mode.SYNC
        charter = Charter(group(mode), 1, 0, "A", session, first, frozenset("A"), (start,))
        self.stores = [Store("S0", charter, 0, rules)]
        for member in self.members.values():
            member.disk.charter = charter
            member.disk.promised = first

    def _roll_character(self) -> None:
        """Each seed has its own mix of faults and speeds."""
        dice = self.dice
        self.is_fsync = self.chance(0.3)
        self.is_store_in_city = self.chance(0.3)
        self.is_strict = self.chance(0.1)
        self.loss_rate = dice.choice([0, 0.05, 0.2])
        self.weights = [weight * dice.choice([0, 0.5, 1, 3]) for weight in FAULTS.values()]
        self.weights[0] += 0.1
        # members and the store never go back in time in the same run: then nobody may be left who remembers
        self.forbid(dice.choice(["restore", "old_store"]))
        self.speed = dice.choice([1, 2, 3])
        self.shrink_rate = dice.choice([0.01, 0.15])
        self.plan_rate = dice.choice([0.004, 0.015])
        self.fault_rate = dice.choice([0.01, 0.02, 0.04])
        self.is_slow_disk = self.chance(0.5)

    def be_strict(self) -> None:
        """The group is strict in this world. Before anything happens."""
        self.is_strict = True
        store = self.stores[0]
        store.charter = replace(store.charter, group=group(Mode.SYNC_STRICT))
        for member in self.members.values():
            member.disk.charter = store.charter

    def forbid(self, fault: str) -> None:
        """This never breaks in this world."""
        self.weights[list(FAULTS).index(fault)] = 0

    def chance(self, probability: float) -> bool:
        """Roll."""
        return self.dice.random() < probability

    def fresh(self) -> int:
        """A new number."""
        self._ids += 1
        return self._ids

    def fresh_session(self, name: str) -> str:
        """A new session of a member."""
        return f"{name}{self.fresh()}"

    def mates(self, name: str) -> tuple[str, ...]:
        """Same-city members."""
        return self.stores[0].charter.group.mates(name)

    def trace(self, *facts: int) -> None:
        """Mix facts into the run's fingerprint."""
        self.trace_sum = crc32(repr((self.now, *facts)).encode(), self.trace_sum)

    def thawed(self, c: Member) -> bool:
        """Whether a wrong rule let this owner go on after it was frozen."""
        return (c.name, c.epoch) in self.thawed_owners

    def is_up(self, name: str) -> bool:
        """Whether a member or a store runs."""
        return self.members[name].is_up if name in self.members else self.stores[int(name[1:])].is_up

    def reach(self, a: str, b: str) -> bool:
        """Whether two places reach each other now."""
        return self.is_up(a) and self.is_up(b) and (a == b or link(a, b) not in self.cut)

    def send(self, source: str, target: str, message: Message) -> None:
        """Put a message on its way; it may get lost."""
        if not self.chance(self.loss_rate):
            self.net.append((source, target, message))

    def take_message(self) -> tuple[str, str, Message] | None:
        """Any message, in any order; now and then twice."""
        if not self.net:
            return None
        taken = self.net.pop(self.dice.randrange(len(self.net)))
        source, target, _ = taken
        if not self.reach(source, target):
            return None
        if self.is_faulty and self.chance(0.03):
            self.net.append(taken)
        return taken

    def compare_and_set(self, store: Store, expected: int, charter: Charter) -> bool | None:
        """Whether it was done; None when the outcome is not known, and it may still happen later."""
        if self.is_faulty and self.chance(DELAYED_RATE):
            store.delayed.append((expected, charter))
            return None
        done = store.execute(expected, charter, self.now)
        self.trace(4, charter.version, done)
        return None if self.is_faulty and self.chance(UNHEARD_RATE) else done

    def near(self, name: str) -> list[Member]:
        """The members that a place reaches."""
        return [member for member in self.members.values() if self.reach(name, member.name)]

    def toggle(self, names: Sequence[str]) -> None:
        """Cut or mend a link."""
        self.cut ^= {link(names[0], names[1])}

    def new_store(self, charter: Charter) -> Store:
        """A new store generation."""
        store = Store(f"S{len(self.stores)}", charter, self.now, self.rules)
        self.stores.append(store)
        return store


def link(a: str, b: str) -> tuple[str, str]:
    """The name of the link between two places."""
    return (a, b) if a < b else (b, a)


def next_version(charter: Charter) -> Charter:
    """The same charter, one version on."""
    return replace(charter, version=charter.version + 1)
