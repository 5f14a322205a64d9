"""Three shipped agents on simulated machines, and a desk that grants what they ask for; no daemon of it."""

import random
from collections import Counter

from drsync.adapters.memory.charter_store import MemoryCharterStore
from drsync.core.lease import LeaseBook
from drsync.core.loss import LossStatement
from drsync.core.observation import LastKnown
from drsync.engine.owner import OwnerDevice
from drsync.engine.procedure_world import ProcedureWorld
from drsync.engine.procedures import Outcome, ProcedureRunner, Request
from drsync.engine.rpc import Endpoint, Me
from drsync.model.charter import Charter, IntentKind
from drsync.model.copy import Statement
from drsync.model.epoch import Epoch
from drsync.model.errors import DrsyncError, TransientError
from drsync.model.group import GroupPolicy, GroupSpec, VolumeSpec
from drsync.model.operation import OperationState, Step
from drsync.model.topology import Center, Designation
from drsync.ports.transport import Link
from drsync.ports.volume import BlockDevice
from drsync.sim.agent import SimAgent, Surroundings
from drsync.sim.disk import Disk
from drsync.sim.host import Host, HostClock, HostDice
from drsync.sim.network import Network
from drsync.sim.process import Process
from drsync.sim.timeline import Timeline
from drsync.sim.transport import SimTransport
from drsync.wire import control

Json = dict[str, object]
CLUSTER = "village"
CENTERS = (
    Center("production", Designation.PRODUCTION, "city"),
    Center("same_city", Designation.SAME_CITY, "city"),
    Center("remote", Designation.REMOTE, "far"),
)
NAMES = tuple(center.name for center in CENTERS)
GROUP = GroupSpec(
    id="ab" * 16,
    name="orders",
    volumes=(VolumeSpec("cd" * 16, "disk", 64 << 10, 0),),
    members=CENTERS,
    preferred_owner="production",
    policy=GroupPolicy(lease_s=1.0, sync_timeout_s=0.6, checkpoint_s=0.5, freeze_timeout_s=5.0),
)


class Answers:
    """Collects what a device answers."""

    def __init__(self) -> None:
        self.count: Counter[int] = Counter()

    def complete(self, cookies: list[bytes], error: int) -> None:
        self.count[error] += len(cookies)

    def resume(self) -> None:
        """Nothing waits."""


class OneDesk:
    """`ports`, `Members` and `Desk` of procedures: a coordinator without its daemon."""

    def __init__(self, village: "Village", process: Process) -> None:
        self.store = MemoryCharterStore()
        self.clock = HostClock(village.coordinator, process)
        self.dice = HostDice(village.dice)
        self.outcomes: list[Outcome] = []
        self.token = 0
        self._process = process
        self._book = LeaseBook()
        self._links: dict[str, Endpoint] = {}
        self._transport = SimTransport(village.network, process, "coordinator")

    async def run(self) -> None:
        await self.store.compare_and_set(0, Charter(GROUP, version=1))
        await self._transport.listen(self._accept)

    def _accept(self, link: Link) -> None:
        self._process.spawn(self._serve(link))

    async def _serve(self, link: Link) -> None:
        me = Me(CLUSTER, "coordinator", "c0" * 16, "", "test")
        calls = {
            "register": self._register,
            "heartbeat": lambda method, body: self._heartbeat(link.peer, body),
            "charter.read": self._read,
            "charter.cas": self._cas,
        }
        endpoint = self._links[link.peer] = Endpoint(link, self.clock, calls, me)
        try:
            await endpoint.run()
        except DrsyncError:
            if self._links.get(link.peer) is endpoint:
                del self._links[link.peer]

    async def _register(self, method: str, body: Json) -> Json:
        del method, body
        self.token += 1
        return {"token": self.token, "charters": await self._charters()}

    async def _charters(self) -> Json:
        return {GROUP.id: control.to_json(await self.charter())}

    async def _heartbeat(self, center: str, body: Json) -> Json:
        charter = await self.charter()
        groups = body["groups"]
        assert isinstance(groups, dict)
        report = groups[GROUP.id]["report"] if GROUP.id in groups else None
        leases: Json = {}
        if isinstance(report, dict):
            book = self._book.renew(charter, center, Epoch(report["epoch"]), self.clock.now())
            if book is not None:
                self._book = book
                leases[GROUP.id] = {"granted": True, "seconds": GROUP.policy.lease_s, "version": 1}
        return {"leases": leases, "charters": await self._charters()}

    async def _read(self, method: str, body: Json) -> Json:
        del method, body
        return {"charter": control.to_json(await self.charter())}

    async def _cas(self, method: str, body: Json) -> Json:
        del method
        expected = body["expected"]
        assert isinstance(expected, int)
        result = await self.store.compare_and_set(expected, control.from_json(Charter, body["charter"]))
        current = control.to_json(result.current) if result.current is not None else None
        return {"outcome": result.outcome.value, "current": current, "reason": result.reason}

    async def charter(self) -> Charter:
        found = await self.store.read(GROUP.id)
        assert found is not None
        return found

    async def procedure(self, kind: IntentKind, target: str) -> None:
        request = Request(GROUP.id, kind, target, self.dice.hex128(), "test", "a story", accept_loss=False)
        world = ProcedureWorld(self.store, self, self, self.clock, self.dice)
        self.outcomes.append(await ProcedureRunner(world, request, self).run(30.0))

    # Members, Desk, what a procedure tells

    def is_connected(self, center: str) -> bool:
        return center in self._links and self._links[center].is_open

    async def call(self, center: str, method: str, body: Json, timeout_s: float) -> Json:
        if center not in self._links:
            raise TransientError(f"{center} is not connected")
        return await self._links[center].call(method, body, timeout_s)

    def lease(self, group_id: str) -> LeaseBook:
        del group_id
        return self._book

    def released(self, group_id: str, center: str, epoch: Epoch) -> None:
        del group_id
        self._book = self._book.release(center, epoch)

    def store_ready(self, group_id: str) -> str:
        del group_id
        return ""

    def last_known(self, group_id: str) -> LastKnown | None:
        del group_id
        return None

    def heard(self, group_id: str, statement: Statement) -> Statement:
        del group_id
        return statement

    def stepped(self, step: Step) -> None:
        """Seen in the outcome."""

    def stated(self, loss: LossStatement) -> None:
        """Seen in the charter."""

    def waiting(self, reason: str, until: float | None) -> None:
        """Seen in the outcome."""


class Village:
    """Everything, on one timeline.

    Attributes:
        lines: what happened, in order.
        devices: the served volume by center, the newest opening.
    """

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.timeline = Timeline()
        self.network = Network(self.timeline, self.dice)
        self.lines: list[str] = []
        self.devices: dict[str, tuple[Process, BlockDevice]] = {}
        self.agents: dict[str, SimAgent] = {}
        self.coordinator = Host(self.timeline, "coordinator", self.dice, Disk())
        process = self.coordinator.process("coordinator")
        self.desk = OneDesk(self, process)
        process.spawn(self.desk.run())
        self._process = process
        around = Surroundings(self._tell, self._served)
        for name in NAMES:
            host = Host(self.timeline, name, self.dice, Disk())
            peers = tuple(other for other in NAMES if other != name)
            agent = SimAgent(host, self.network, name, peers, CLUSTER, self.dice, around)
            self.agents[name] = agent
            agent.start()
        hosts = {name: agent.host for name, agent in self.agents.items()} | {"coordinator": self.coordinator}
        self.network.is_host_up = lambda place: hosts[place].is_up

    def _tell(self, center: str, event: str, reason: str) -> None:
        self.lines.append(f"{self.timeline.now:.6f} {center} {event}: {reason}")

    def _served(self, center: str, process: Process, group: str, volume: str, device: BlockDevice) -> None:
        assert (group, volume) == ("orders", "disk")
        self.devices[center] = (process, device)

    def run(self, seconds: float) -> None:
        self.timeline.run(self.timeline.now + seconds)

    def procedure(self, kind: IntentKind, target: str) -> Outcome:
        """Have it done, and wait for its end."""
        before = len(self.desk.outcomes)
        self._process.spawn(self.desk.procedure(kind, target))
        self.timeline.run(self.timeline.now + 40, lambda: len(self.desk.outcomes) > before)
        return self.desk.outcomes[-1]

    def ask(self, center: str, method: str, body: Json) -> Json:
        """Have the coordinator ask an agent, and wait for the answer."""
        answers: list[Json] = []

        async def asking() -> None:
            answers.append(await self.desk.call(center, method, {"group": GROUP.id, **body}, 30.0))

        self._process.spawn(asking())
        self.timeline.run(self.timeline.now + 40, lambda: bool(answers))
        return answers[0]

    def write(self, center: str, count: int) -> Answers:
        """Have an application write where the volume is served; answers come as time passes."""
        process, device = self.devices[center]
        answers = Answers()

        def writing() -> None:
            assert isinstance(device, OwnerDevice)
            for number in range(count):
                device.write(number % 16 * 4096, memoryview(bytes([number + 1]) * 4096), bytes(8), fua=False)
            device.submit(answers)

        process.run_soon(writing)
        return answers

    def read(self, center: str, slot: int) -> bytes:
        _, device = self.devices[center]
        target = bytearray(4096)
        assert device.read_into(slot * 4096, memoryview(target)) == 0
        return bytes(target)

    def said(self, center: str, event: str) -> list[str]:
        return [line for line in self.lines if f" {center} {event}:" in line]

    def close(self) -> None:
        """Let every process end, so that nothing is left half-way."""
        for agent in self.agents.values():
            agent.kill()
        self._process.kill()
        self.run(0)

    @property
    def bugs(self) -> list[str]:
        found = [repr(error) for agent in self.agents.values() for error in agent.bugs]
        return found + [
            trouble
            for agent in self.agents.values()
            if agent.process is not None
            for trouble in agent.process.troubles
        ]


def opened(seed: int) -> Village:
    """A village whose group is open at production and in sync in the city."""
    village = Village(seed)
    village.run(3)
    outcome = village.procedure(IntentKind.OPEN, "production")
    assert outcome.state is OperationState.DONE, (outcome, village.lines)
    village.run(3)
    return village


def long_story(seed: int) -> Village:
    """Writes, a death, an opening elsewhere, a power cut, a move; told to its end."""
    village = opened(seed)
    village.write("production", 30)
    village.run(0.05)
    village.agents["production"].kill()
    village.run(2)
    village.procedure(IntentKind.OPEN, "same_city")
    village.agents["production"].start()
    village.write("same_city", 30)
    village.run(3)
    village.agents["remote"].host.crash()
    village.run(2)
    village.agents["remote"].host.boot()
    village.agents["remote"].start()
    village.run(8)
    village.procedure(IntentKind.SWITCHOVER, "production")
    village.run(5)
    village.close()
    return village
