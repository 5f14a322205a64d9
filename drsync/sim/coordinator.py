"""The shipped coordinator on a simulated machine, with its real store, and the people who order it about."""

import asyncio
import random
import sqlite3
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial

from typing_extensions import override

from drsync.coordinator import forms
from drsync.coordinator.door import COORDINATOR, Door
from drsync.coordinator.office import Office
from drsync.coordinator.orders import Orders
from drsync.core.plan import Command
from drsync.model.charter import Charter
from drsync.model.errors import DrsyncError
from drsync.model.group import GroupSpec
from drsync.model.operation import Event, Operation, OperationKind
from drsync.model.topology import Center
from drsync.sim.host import Host, HostClock, HostDice
from drsync.sim.killed import Killed
from drsync.sim.network import Network
from drsync.sim.process import Process
from drsync.sim.service import Service, StoppedError, Tell, as_the_unit_says, end_with, nobody
from drsync.sim.store_disk import AtCommit, Kept, Moment, StoreDisk
from drsync.sim.transport import SimTransport

EVENTS_MAX = 1000  # because an answer has no more
PERSON = "operator"
USELESS = ("this charter store is an old copy", "the charter store has just started and waits")


AtStart = Callable[[Process, Office], None]
"""Told of each process and the office in it, before that begins anything."""

AtCommand = Callable[[Command], None]
"""Told of each command of a procedure that was carried out."""


Work = Callable[[Orders], Coroutine[None, None, Operation | None]]
"""What a person has done in the office."""


@dataclass(slots=True, eq=False)
class Order:
    """What a person asked for, and what the coordinator said to it.

    Attributes:
        kind, target: what was asked for.
        operation: id of the operation that it became; empty before that and when it was refused.
        refusal: why it became none.
        dry: what a dry run answered, which is kept nowhere.
    """

    kind: str
    target: str
    operation: str = ""
    refusal: DrsyncError | None = None
    dry: Operation | None = None


class SimCoordinator(Service):
    """One coordinator, over all its processes.

    Attributes:
        office: in the running process; None while there is none.
        disk: what outlives processes.
        orders: everything that people asked for, oldest first.
        commands: carried out so far by the present process.
        crash_after_command: it is killed right after so many commands of its process; None: never. Used up
            by that.
        at_start, at_command, at_other_store: who looks at it from outside; the last: its store was put back
            or taken away.
    """

    def __init__(
        self,
        host: Host,
        network: Network,
        *,
        centers: Sequence[Center],
        cluster: str,
        dice: random.Random,
        tell: Tell = nobody,
        again_s: Callable[[], float] = as_the_unit_says,
    ) -> None:
        super().__init__(host, COORDINATOR, process_name=COORDINATOR, tell=tell, again_s=again_s)
        self.office: Office | None = None
        self.disk = StoreDisk(host)
        self.orders: list[Order] = []
        self.commands = 0
        self.crash_after_command: int | None = None
        self.at_start: list[AtStart] = []
        self.at_command: list[AtCommand] = []
        self.at_other_store: list[Callable[[], None]] = []
        self._network = network
        self._centers = tuple(centers)
        self._cluster = cluster
        self._dice = dice
        self._found: Kept | None = None

    # --- life

    @override
    def restart(self, from_backup: bytes | None = None) -> None:
        """Kill it and start it at once, with another store if one is given (`backup`)."""
        self.kill()
        if from_backup is not None:
            self.disk.charters.put(from_backup)
            self._other_store()
        self.start()

    def lose_store(self) -> None:
        """Kill it, and let it find an empty disk when it is started."""
        self.kill()
        self.disk.lose()
        self._other_store()

    def _other_store(self) -> None:
        self._found = None
        for tell in self.at_other_store:
            tell()

    def backup(self) -> bytes:
        """The store as it is now."""
        return self.disk.charters.committed()

    def crash_at_commit(self, count: int, moment: Moment) -> None:
        """Let it die at the `count`-th commit from now, whatever that is for; the first is 1."""
        left = count

        def at_commit(now: Moment) -> None:
            nonlocal left
            left -= now is Moment.BEFORE
            if left == 0 and now is moment:
                self.disk.charters.at_commit = None
                self._die()

        self.disk.charters.at_commit = at_commit

    def fail_commits(self, first: int, count: int, moment: Moment) -> None:
        """Let the disk say no at the `first` commit from now (1 is the next) and at those after it.

        `moment` AFTER: they are in force nevertheless.
        """
        done = 0

        def at_commit(now: Moment) -> None:
            nonlocal done
            done += now is Moment.BEFORE
            if done >= first + count:
                self.disk.charters.relieve(at_commit)
            elif done >= first and now is moment:
                raise sqlite3.OperationalError("disk I/O error")

        self.disk.charters.trouble(at_commit)

    def fill_disk(self, seconds: float) -> None:
        """There is no room for anything for a while."""

        def at_commit(now: Moment) -> None:
            if now is Moment.BEFORE:
                raise sqlite3.OperationalError("database or disk is full")

        self._trouble_for(seconds, at_commit)

    def slow_disk(self, seconds: float, commit_s: float) -> None:
        """Each commit takes some time for a while; its process stands still meanwhile."""

        def at_commit(now: Moment) -> None:
            process = self.process
            if now is Moment.AFTER and process is not None:
                process.stop("disk")
                self.host.timeline.after(commit_s, lambda: process.resume("disk"))

        self._trouble_for(seconds, at_commit)

    def relieve(self) -> None:
        """Nothing is wrong with its disk any more, and nothing will happen to it after some command."""
        self.crash_after_command = None
        self.disk.relieve()

    def _trouble_for(self, seconds: float, at_commit: AtCommit) -> None:
        for place in (self.disk.charters, self.disk.history):
            place.trouble(at_commit)
            self.host.timeline.after(seconds, partial(place.relieve, at_commit))

    def _performed(self, _group_id: str, command: Command) -> None:
        self.commands += 1
        for tell in self.at_command:
            tell(command)
        self._tell(self.name, "performed", f"command {self.commands}: {type(command).__name__}")
        if self.commands == self.crash_after_command:
            self.crash_after_command = None
            self._die()

    def _die(self) -> None:
        """From within: nothing after this is done any more."""
        assert self.process is not None
        self.process.kill()
        raise Killed

    @override
    def _forget(self) -> None:
        self.office = self._found = None

    @override
    def _name_of(self, process: Process) -> str:
        return f"process {self.starts}"

    # --- inside the process

    @override
    async def _main(self, process: Process, stop: asyncio.Event) -> None:
        self.commands = 0
        self._found = None
        office: Office | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                office = await self._open(process, tasks.create_task)
                office.begin()
                tasks.create_task(end_with(stop))
        except* StoppedError:
            assert office is not None
            office.close()
        except* DrsyncError as errors:
            reasons = "; ".join(str(error) for error in errors.exceptions)
            self._tell(self.name, "process_failed", reasons)
        except* Exception as errors:  # noqa: BLE001  # whatever escaped is a bug, and the world must know
            for error in errors.exceptions:
                self.said(process, "bug", {"reason": repr(error), "exc_info": error})

    async def _open(
        self, process: Process, spawn: Callable[[Coroutine[None, None, None]], "asyncio.Task[None]"]
    ) -> Office:
        clock, dice = HostClock(self.host, process), HostDice(self._dice)
        office = Office(
            storage=self.disk.open(process),
            cluster_id=self._cluster,
            centers=self._centers,
            clock=clock,
            random=dice,
            spawn=spawn,
            log=_SimLog(self, process),
            performed=self._performed,
        )
        for tell in self.at_start:
            tell(process, office)
        door = Door(
            desk=office.desk,
            journal=office.journal,
            cluster_id=self._cluster,
            session=dice.hex128(),
            clock=clock,
            spawn=spawn,
        )
        await SimTransport(self._network, process, self.name).listen(door.accept)
        self.office = office
        return office

    def said(self, process: Process, event: str, facts: dict[str, object]) -> None:
        """A process said something; the dead say nothing."""
        if not process.is_alive:
            return
        error = facts.get("exc_info")
        if isinstance(error, BaseException):
            self.bugs.append(error)
        about = f"{facts['center']}: " if facts.get("center") else ""
        self._tell(self.name, event, f"{about}{facts.get('reason', '')}")

    # --- people

    def create(self, group: GroupSpec) -> Order:
        """Ask for a new group."""

        async def make(orders: Orders) -> None:
            await orders.make(group)

        return self._ask("create", group.name, make)

    def switchover(self, group: str, to: str, *, failback: bool = False, reason: str = "") -> Order:
        """Ask for one."""
        form = forms.MoveForm(to=to, failback=failback, actor=PERSON, reason=reason)

        async def move(orders: Orders) -> Operation:
            return await orders.switchover(group, form)

        return self._ask(OperationKind.SWITCHOVER, to, move)

    def failover(
        self,
        group: str,
        to: str,
        *,
        accept_loss: bool = False,
        reason: str = "",
        dry_run: bool = False,
        without_store: bool = False,
    ) -> Order:
        """Ask for one, or with `dry_run` only for what it would lose; see `FailoverForm`."""
        form = forms.FailoverForm(
            to=to,
            accept_loss=accept_loss,
            actor=PERSON,
            reason=reason,
            dry_run=dry_run,
            without_store=without_store,
        )

        async def move(orders: Orders) -> Operation:
            return await orders.failover(group, form)

        return self._ask(OperationKind.FAILOVER, to, move, is_dry=dry_run)

    def drill(self, group: str, at: str = "", *, reason: str = "") -> Order:
        """Ask for one."""
        form = forms.DrillForm(at=at, actor=PERSON, reason=reason)

        async def drill(orders: Orders) -> Operation:
            return orders.drill(group, form)

        return self._ask(OperationKind.DRILL, at, drill)

    def resize(self, group: str, volume: str, size: int, *, without: str = "", reason: str = "") -> Order:
        """Ask for a volume to grow. It becomes no operation: what comes of it is in the charter."""
        waived = (without,) if without else ()
        form = forms.ResizeForm(size=size, without=waived, actor=PERSON, reason=reason)

        async def resize(_orders: Orders) -> None:
            assert self.office is not None
            await self.office.resizes.resize(group, volume, form)

        return self._ask("resize", volume, resize)

    def _ask(self, kind: str, target: str, work: Work, *, is_dry: bool = False) -> Order:
        """Have it done in the process as soon as that runs; one that is not there does nothing."""
        order = Order(kind, target)
        self.orders.append(order)
        office, process = self.office, self.process
        if office is None or process is None or not process.is_alive:
            order.refusal = DrsyncError(f"{self.name} is not reached", code="not_reached")
            return order

        async def ask() -> None:
            try:
                found = await work(office.orders)
            except DrsyncError as error:
                order.refusal = error
                return
            if is_dry:
                order.dry = found
            elif found is not None:
                order.operation = found.id

        process.spawn(ask())
        return order

    # --- looking, from outside of the world

    def charter(self, group: str) -> Charter | None:
        """The charter of a group by name or id, as it is committed, whether or not a process runs."""
        charters = self._look().charters
        found = charters.get(group)
        if found is not None:
            return found
        for charter in charters.all():
            if group in (charter.group.id, charter.group.name):
                return charter
        return None

    def history(self, group_id: str) -> list[Charter]:
        """Every charter of a group, oldest first."""
        return [charter for _, charter in self._look().charters.history(group_id)]

    def events(self, after: int = 0) -> list[Event]:
        """Events numbered above `after`, oldest first."""
        return self._look().evidence.events("", after, EVENTS_MAX)

    def operation(self, order: Order) -> Operation | None:
        """What became of an order so far; None: it became no operation, or that is lost with its store."""
        if not order.operation:
            return order.dry
        if self.office is not None:
            return self.office.operations.find(order.operation)
        return self._look().evidence.operation(order.operation)

    def operations(self) -> list[Operation]:
        """The latest operations, newest first."""
        return self._look().evidence.operations(EVENTS_MAX)

    def status(self) -> dict[str, object]:
        """What ``GET /v1/status`` says; empty while nobody answers."""
        return self.office.picture.status() if self.office is not None else {}

    def is_useless(self, group: str) -> bool:
        """Whether its store refuses: it knows no group, is old, or waits for who may never come."""
        groups = self.status().get("groups")
        if not isinstance(groups, dict):
            return False
        found = groups.get(group)
        return found is None or str(found["waiting"]).startswith(USELESS)

    def _look(self) -> Kept:
        """What is committed: as the running process has it, or read from a copy of its disk."""
        if self.office is not None:
            return Kept(self.office.store, self.office.evidence)
        if self._found is None:
            self._found = self.disk.look()
        return self._found


class _SimLog:
    """`coordinator.journal.Log` of one process to the listener of the world."""

    def __init__(self, coordinator: SimCoordinator, process: Process) -> None:
        self._coordinator, self._process = coordinator, process

    def info(self, event: str, **facts: object) -> None:
        """See Log."""
        self._coordinator.said(self._process, event, facts)

    def error(self, event: str, **facts: object) -> None:
        """See Log."""
        self._coordinator.said(self._process, event, facts)
