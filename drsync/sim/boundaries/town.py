"""A small quiet world: fixed lines, an application that writes little, and nothing that breaks by itself."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from drsync.model.charter import Charter
from drsync.model.copy import CopyState
from drsync.model.epoch import NEVER, Epoch
from drsync.model.group import GroupPolicy, GroupSpec
from drsync.model.operation import Operation, OperationState
from drsync.sim import character
from drsync.sim.boundaries.deaths import CITY, CallLog, Death, Kind, Steps, Way
from drsync.sim.character import CENTERS, COORDINATOR, GROUP_ID, NAMES, Character
from drsync.sim.client import SLOT, Export, value_of
from drsync.sim.disk import MOST
from drsync.sim.invariants import Watch
from drsync.sim.ledger import ViolationError
from drsync.sim.store_disk import Moment as CommitMoment
from drsync.sim.world import World

if TYPE_CHECKING:
    from drsync.sim.coordinator import Order

SEED = 1  # because a boundary should be the same in every run
LOOK_S = 0.05  # as in runs of seeds
STEP_S = 0.05  # between looks at whether something is over, because looking costs more than waiting
UNDER_WAY = 8  # records, because a few batches of writes may be on long lines
CONNECT_S = 1.0  # because TCP asks again after a second, and finds a machine that has booted meanwhile
BOOT_S = 0.6
DARK_CITY_S = 0.4  # more, for the second machine of a city
POLICY = GroupPolicy(
    lease_s=1.0,
    sync_timeout_s=0.5,
    freeze_timeout_s=30.0,
    checkpoint_s=0.5,
    window_s=60.0,
    switchover_freeze_s=2.0,
    max_pace_s=0.0,
    detect_s=1.5,
    anti_flap_s=2.0,
)
"""Short, because waiting costs as much as working in a simulated world."""

GROUP = GroupSpec(GROUP_ID, "orders", character.VOLUMES, CENTERS, NAMES[0], policy=POLICY)
QUIET = Character(
    group=GROUP,
    is_store_in_city=False,
    latency_city=0.000_5,
    latency_far=0.01,
    jitter=0.0,
    rate_far=0.0,
    write_rate=8.0,
    slots=6,
    fault_every_s=1e9,
    weights={},
    operator_every_s=1e9,
    restart_s=(0.2, 0.2),
    boot_s=(BOOT_S, BOOT_S),
    stall_rate=0.0,
)


class Town:
    """Three centers, a coordinator, one group.

    Attributes:
        world: what it is made of.
        watch: looks at it all the time.
        order: what was asked for last; None before anything was.
        struck: deaths that have happened, in order.
        is_dry: the application rests.
    """

    def __init__(self, *, policy: GroupPolicy = POLICY, keeps_all: bool = False) -> None:
        quiet = replace(QUIET, group=replace(GROUP, policy=policy))
        self.world = World(SEED, {}, keeps_all=keeps_all, known=quiet)
        self.world.network.connect_timeout_s = CONNECT_S
        self.watch = Watch(self.world)
        self.world.disk_changed.append(self.watch.disk_changed)
        for host in self.world.hosts.values():
            host.stall_rate = 0.0
        self.order: Order | None = None
        self.struck: list[Death] = []
        self._logs: dict[str, CallLog] = {}
        self._has_ended = False
        self._promises: dict[str, Epoch] = {}
        self.world.disk_changed.append(self._forget_promise)
        self._commits = 0
        self._commands = 0
        self._waiting: list[Death] = []

    def start(self) -> None:
        """Every process starts, and the application waits for something to be served."""
        self.world.coordinator.start()
        for agent in self.world.agents.values():
            agent.start()
        self.world.application.start()
        self.world.timeline.soon(self._look)

    def end(self) -> None:
        """Take everything down; nobody looks any more."""
        self._has_ended = True
        self.world.end()

    def _look(self) -> None:
        if self._has_ended:
            return
        self.watch.look()
        self.world.later(LOOK_S, self._look)

    # --- time

    def run(self, seconds: float) -> None:
        """Let time pass. Raises ViolationError."""
        timeline = self.world.timeline
        end = timeline.now + seconds
        while self._waiting and timeline.run(end, self._has_struck):
            self._finish_deaths()
        timeline.run(end)
        self._look_at_promises()
        if self.world.ledger.broken is not None:
            raise self.world.ledger.broken

    def run_until(self, is_so: Callable[[], bool], seconds: float) -> bool:
        """Let time pass until something is so; whether it became so. Raises ViolationError."""
        end = self.world.timeline.now + seconds
        while not is_so():
            if self.world.timeline.now >= end:
                return False
            self.run(STEP_S)
        return True

    # --- deaths

    def arm(self, deaths: tuple[Death, ...]) -> None:
        """Have them happen, counted from now; count everything from now."""
        world = self.world
        for name in NAMES:
            disk = world.hosts[name].disk
            self._logs[name] = CallLog(disk.calls)
            disk.calls = self._logs[name]
            disk.loss = MOST  # because a death that takes nothing with it shows nothing
        self._commands = world.coordinator.commands
        world.coordinator.disk.charters.at_commit = self._count_commit
        for death in deaths:
            if death.kind is Kind.CALL:
                world.hosts[death.place].disk.die_at(death.number, death.moment.value)
            elif death.kind is Kind.COMMAND:
                world.coordinator.crash_after_command = self._commands + death.number
            else:
                world.coordinator.crash_at_commit(death.number, CommitMoment(death.moment.value))
        self._waiting = list(deaths)

    def _count_commit(self, moment: CommitMoment) -> None:
        self._commits += moment is CommitMoment.BEFORE

    def steps(self) -> Steps:
        """What was counted since `arm`, of a procedure that nobody disturbed."""
        calls = {name: list(log.order) for name, log in self._logs.items()}
        return Steps(calls, self.world.coordinator.commands - self._commands, self._commits)

    def _is_due(self, death: Death) -> bool:
        coordinator = self.world.coordinator
        if death.kind is Kind.CALL:
            return self.world.hosts[death.place].disk.doom is None
        if death.kind is Kind.COMMAND:
            return coordinator.crash_after_command is None
        return coordinator.disk.charters.at_commit is None

    def _forget_promise(self, name: str) -> None:
        self._promises.pop(name, None)

    def _look_at_promises(self) -> None:
        """INV-03, after every event while a death is due: what was stated a moment before it must last."""
        for name, agent in self.world.agents.items():
            for member in agent.members():
                promised, before = member.copy.durable.promised, self._promises.get(name, NEVER)
                if promised < before:
                    text = f"{name} promised {before:x} and, after its death, only {promised:x}"
                    raise ViolationError("INV-03", text)
                self._promises[name] = promised

    def _has_struck(self) -> bool:
        self._look_at_promises()
        return any(self._is_due(death) for death in self._waiting)

    def _finish_deaths(self) -> None:
        """A process has died in a step; the power that goes with it goes before anything else happens."""
        for death in [one for one in self._waiting if self._is_due(one)]:
            self._waiting.remove(death)
            self.struck.append(death)
            self.world.trace.say("world", "death", str(death))
            if death.way is Way.POWER:
                self.dark(death.place, BOOT_S)
            elif death.way is Way.CITY:
                for number, name in enumerate(CITY):
                    self.dark(name, BOOT_S + number * DARK_CITY_S)

    def dark(self, name: str, seconds: float) -> None:
        """A machine has no power for a while."""
        self.world.hosts[name].crash()
        self.world.later(seconds, lambda: self.world.boot(name))

    # --- lines

    def cut_off(self, name: str, *others: str) -> None:
        """A place loses sight of others, or of all."""
        for other in others or tuple(place for place in self.world.places if place != name):
            self.world.network.cut(name, other)
            self.world.network.cut(other, name)

    def mend(self) -> None:
        """All lines are whole again, and everything has power and runs."""
        self.world.network.mend_all()
        for place in self.world.places:
            self.world.boot(place)
        self.world.keep_up()

    # --- what is so

    @property
    def charter(self) -> Charter | None:
        """The one in force."""
        return self.world.charter

    def exports(self) -> list[Export]:
        """Where the volume can be used."""
        return [export for export in self.world.application.exports if not export.is_over]

    def serves(self, center: str = "") -> bool:
        """Whether the group is served in the epoch in force, at that center if one is named.

        An owner that is cut off may not know that it is deposed; it answers nothing any more.
        """
        charter = self.charter
        if charter is None or charter.intent is not None:
            return False
        return any(one.epoch == charter.epoch and center in ("", one.center) for one in self.exports())

    def is_protected(self) -> bool:
        """Whether it is served and every write waits for all that should be waited for."""
        charter = self.charter
        if charter is None or not self.serves():
            return False
        return charter.in_sync == {charter.owner, *charter.group.mates(charter.owner)}

    def why_not_whole(self, lag: int = 0) -> str:
        """What is missing until everybody holds the same, but for `lag` records; empty when nothing is."""
        charter = self.charter
        if charter is None:
            return "there is no charter"
        if charter.intent is not None:
            return f"a change of owner is under way: {charter.intent.kind} to {charter.intent.target}"
        if not self.serves() or len(self.exports()) != 1:
            where = [export.center for export in self.exports()]
            return f"served at {where}, not by the owner {charter.owner} alone"
        if not self.is_protected():
            return f"in sync are {sorted(charter.in_sync)}"
        tips: dict[str, int] = {}
        for name in NAMES:
            members = self.world.agents[name].members()
            if not members:
                return f"{name} has no copy"
            word = members[0].statement()
            if word.state in (CopyState.FAILED, CopyState.FORKED, CopyState.BLANK):
                return f"{name} is {word.state}"
            if word.follow != charter.epoch:
                return f"{name} follows epoch {word.follow:x}, not {charter.epoch:x}"
            tips[name] = word.appended
        return "" if max(tips.values()) - min(tips.values()) <= lag else f"logs end at {tips}"

    def is_whole(self) -> bool:
        """Whether everybody holds the same."""
        return not self.why_not_whole()

    def is_caught_up(self) -> bool:
        """Whether everybody holds the same, but for what is on its way while somebody writes."""
        return not self.why_not_whole(UNDER_WAY)

    def operation(self) -> Operation | None:
        """What became of the last order; None: nothing, or it was lost with whoever heard it."""
        return self.world.coordinator.operation(self.order) if self.order is not None else None

    def is_running(self) -> bool:
        """Whether an operation is under way."""
        coordinator = self.world.coordinator
        return any(one.state is OperationState.RUNNING for one in coordinator.operations())

    def compare(self) -> None:
        """All copies hold the same bytes, and those are what was written. Raises ViolationError."""
        world = self.world
        (export,) = self.exports()
        history = world.ledger.histories[export.epoch]
        tip = world.agents[export.center].members()[0].statement().appended
        for name in NAMES:
            self.watch.look_at_image(name)
            image = world.whole_image(name)
            for slot in world.application.places:
                found = value_of(image[slot * SLOT : (slot + 1) * SLOT])
                expected = world.ledger.content(history, tip, slot)
                if found != expected:
                    raise ViolationError(
                        "INV-09", f"slot {slot} at {name} holds {found} in the end, not {expected}"
                    )

    def is_coordinator_up(self) -> bool:
        """Whether somebody hears orders."""
        return self.world.coordinator.is_alive and self.world.hosts[COORDINATOR].is_up
