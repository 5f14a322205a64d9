"""Three centers in one process: real members, journals, images and procedures; links in memory."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from typing_extensions import override

from drsync.adapters.memory.charter_store import MemoryCharterStore
from drsync.adapters.system.clock import SystemClock, SystemRandom
from drsync.agent.copy_store import FileCopyStore
from drsync.agent.exports import Sockets
from drsync.agent.file_store import FileStores
from drsync.agent.front_end import NbdFrontEnd
from drsync.agent.hold_requests import HoldRequests
from drsync.agent.opening_desk import OpeningDesk
from drsync.agent.point_requests import PointRequests
from drsync.agent.requests import Requests, unknown_group
from drsync.agent.self_drills import SelfDrills
from drsync.agent.view_desk import ViewDesk
from drsync.core.lease import LeaseBook
from drsync.core.loss import LossStatement
from drsync.core.observation import LastKnown
from drsync.engine.bulk import BulkChannel, StreamHandler
from drsync.engine.copy import GroupCopy, Self
from drsync.engine.file_sets import FileSets
from drsync.engine.member import Member, World
from drsync.engine.peers import Peers
from drsync.engine.procedure_world import ProcedureWorld
from drsync.engine.procedures import Outcome, ProcedureRunner, Request
from drsync.engine.rpc import Endpoint, Me
from drsync.model.charter import Charter, IntentKind
from drsync.model.copy import Statement
from drsync.model.epoch import Epoch
from drsync.model.errors import DrsyncError, TransientError
from drsync.model.group import GroupPolicy, GroupSpec, VolumeSpec
from drsync.model.operation import Step
from drsync.model.topology import Center, Designation
from drsync.ports.charter_store import CasOutcome, CasResult
from drsync.ports.transport import Link, LinkHandler, LinkKind
from drsync.wire.files import read_open
from drsync.wire.frames import Frame, FrameType
from drsync.wire.resync import read_begin
from drsync.wire.stream import read_attach, read_fetch

CENTERS = (
    Center("production", Designation.PRODUCTION, "beijing"),
    Center("same_city", Designation.SAME_CITY, "beijing"),
    Center("remote", Designation.REMOTE, "guangzhou"),
)
VOLUME_BYTES = 4 << 20
SEGMENT_BYTES = 4 << 20  # because a journal reserves two of them, and hundreds of towns are built
GROUP = GroupSpec(
    id="ab" * 16,
    name="orders",
    volumes=(VolumeSpec("cd" * 16, "disk", VOLUME_BYTES, 0),),
    members=CENTERS,
    preferred_owner="production",
    policy=GroupPolicy(lease_s=1.0, sync_timeout_s=0.6, checkpoint_s=0.2, freeze_timeout_s=5.0),
)
QUEUE_BYTES = 256 << 10  # that a slow link takes before it asks its writer to pause
Body = dict[str, object]


class MemoryLink:
    """One direction-pair of bytes between two centers; silent while cut."""

    def __init__(self, town: "Town", me: str, peer: str, kind: LinkKind) -> None:
        self.peer, self.kind = peer, kind
        self._town, self._me = town, me
        self._handler: LinkHandler | None = None
        self._early: list[bytes] = []
        self.other: MemoryLink | None = None
        self.is_closed = False
        self._free_at = 0.0
        self._queued = 0
        self._is_paused = False

    def soon(self, callback: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_soon(callback)

    def set_handler(self, handler: LinkHandler) -> None:
        self._handler = handler
        early, self._early = self._early, []
        for data in early:
            handler.data_received(data)

    def write(self, data: bytes) -> None:
        if self.is_closed or self._town.is_cut(self._me, self.peer) or self.other is None:
            return
        rate = self._town.rates.get((self._me, self.peer), 0.0) if self.kind is LinkKind.BULK else 0.0
        if rate:
            self._write_slowly(data, rate)
        else:
            asyncio.get_running_loop().call_soon(self.other.deliver, data)

    def _write_slowly(self, data: bytes, rate: float) -> None:
        loop = asyncio.get_running_loop()
        self._town.carried += len(data)
        self._free_at = max(self._free_at, loop.time()) + len(data) / rate
        self._queued += len(data)
        loop.call_at(self._free_at, self._arrived, data)
        if self._queued > QUEUE_BYTES and not self._is_paused and self._handler is not None:
            self._is_paused = True
            self._handler.pause_writing()

    def _arrived(self, data: bytes) -> None:
        self._queued -= len(data)
        if self.other is not None and not self._town.is_cut(self._me, self.peer):
            self.other.deliver(data)
        if self._is_paused and self._queued < QUEUE_BYTES // 2 and self._handler is not None:
            self._is_paused = False
            if not self.is_closed:
                self._handler.resume_writing()

    def deliver(self, data: bytes) -> None:
        if self.is_closed:
            return
        if self._handler is None:
            self._early.append(data)
        else:
            self._handler.data_received(data)

    def close(self, reason: str) -> None:
        if self.is_closed:
            return
        self.is_closed = True
        if self._handler is not None:
            asyncio.get_running_loop().call_soon(self._handler.connection_lost, reason)
        if self.other is not None and not self._town.is_cut(self._me, self.peer):
            self.other.close(reason)


class MemoryTransport:
    """Dials other nodes of the town."""

    def __init__(self, town: "Town", me: str) -> None:
        self._town, self._me = town, me

    async def connect(self, peer: str, kind: LinkKind) -> Link:
        await asyncio.sleep(0)
        node = self._town.nodes.get(peer)
        if node is None or self._town.is_over or self._town.is_cut(self._me, peer):
            raise TransientError(f"{peer} is not reached")
        ours = MemoryLink(self._town, self._me, peer, kind)
        theirs = MemoryLink(self._town, peer, self._me, kind)
        ours.other, theirs.other = theirs, ours
        self._town.links += [ours, theirs]
        node.accept(theirs)
        return ours

    async def listen(self, accept: object) -> str:
        raise AssertionError("nodes accept directly")

    async def close(self) -> None:
        """Nothing to close."""


class GroupsOf:
    """`requests.Groups` of a node."""

    def __init__(self, node: "Node") -> None:
        self._node = node

    def member(self, group_id: str) -> Member:
        if self._node.member is None:
            raise unknown_group(group_id, self._node.name)
        return self._node.member

    def statement(self, group_id: str) -> Statement:
        self.member(group_id).copy.require_settled()
        return self.member(group_id).statement()

    def remembered(self, group_id: str) -> tuple[Charter, float]:
        charter = self.member(group_id).charter
        assert charter is not None
        return charter, self.member(group_id).bound_s()

    async def adopt(self, charter: Charter) -> Member:
        return await self._node.adopt(charter)


class Node:
    """A center's agent without a process of its own."""

    def __init__(self, town: "Town", name: str, directory: Path) -> None:
        self.name, self.town, self.directory = name, town, directory
        self.member: Member | None = None
        self.trees: FileSets | None = None
        self.lines: list[str] = []
        self.me = Self(name, town.dice.hex128(), "boot")
        self._tasks = town.tasks
        self.front = front = NbdFrontEnd(town.sockets / name)
        self.drills: SelfDrills | None = None
        self._sockets = Sockets(front, lambda what, why: self.lines.append(f"{what}: {why}"))
        self.requests = Requests(GroupsOf(self), ViewDesk(self._sockets, self.store, town.clock))
        self.openings = OpeningDesk(front, self.store, town.clock, self._spawn, self.log_member)
        self.points = PointRequests(GroupsOf(self).member, self.openings)
        self.holds = HoldRequests(GroupsOf(self).member, town.clock)
        self.peers = Peers(
            tuple(center.name for center in CENTERS if center.name != name),
            MemoryTransport(town, name),
            town.clock,
            town.dice,
            self._endpoint,
            lambda link: BulkChannel(link, None, self._malformed),
        )
        self.running = [self._tasks.create_task(self.peers.run())]

    def _endpoint(self, link: Link) -> Endpoint:
        me = Me("cluster", self.name, self.me.session, "", "test")
        return Endpoint(link, self.town.clock, self.requests.for_peer(link.peer), me)

    def accept(self, link: Link) -> None:
        if link.kind is LinkKind.CONTROL:
            self.running.append(self._tasks.create_task(self._serve(link)))
        else:
            BulkChannel(link, self._stream_opened, self._malformed)

    async def _serve(self, link: Link) -> None:
        try:
            await self._endpoint(link).run()
        except DrsyncError as error:
            self.lines.append(f"link: {error}")

    def _malformed(self, peer: str, error: DrsyncError) -> None:
        self.lines.append(f"malformed from {peer}: {error}")

    def _stream_opened(self, channel: BulkChannel, frame: Frame) -> StreamHandler | None:
        if self.member is None:
            return None
        if frame.type is FrameType.TREE_OPEN:
            opened = read_open(frame.body)
            if self.trees is None:
                return None
            return self.trees.accept(channel.peer, opened.fileset.hex(), opened.epoch, channel, frame.stream)
        if frame.type is FrameType.ATTACH:
            return self.member.accept_stream(channel.peer, read_attach(frame.body), channel, frame.stream)
        if frame.type is FrameType.RESYNC_BEGIN:
            return self.member.accept_resync(read_begin(frame.body), channel, frame.stream)
        if frame.type is not FrameType.FETCH:
            return None
        read_fetch(frame.body)
        return self.member.accept_fetch(channel, frame.stream)

    # Groups

    def store(self, _group_id: str) -> FileCopyStore:
        return FileCopyStore(self.directory, "cluster", self.name, segment_bytes=SEGMENT_BYTES)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        self.running.append(self._tasks.create_task(work))

    def member_of(self) -> Member:
        assert self.member is not None
        return self.member

    def open_copy(self, spec: GroupSpec) -> Member:
        store = self.store(spec.id)
        copy = GroupCopy.open(self.me, spec, store, self.town.dice.hex128(), self.town.clock.now())
        world = World(self.town.store_for(self.name), self.peers, self.town.clock, self.town.dice, "cluster")
        self.member = Member(copy, world, self)
        self.member.checked(0)
        self.running.append(self._tasks.create_task(self.member.run()))
        if spec.filesets:
            places = FileStores(self.name, self.directory, spec, (str(self.town.directory),))
            trees = FileSets(self.member, places, self.peers, self.town.clock, self.town.dice)
            self.trees = self.member.trees = trees
            self.running.append(self._tasks.create_task(trees.run()))
        return self.member

    async def adopt(self, charter: Charter) -> Member:
        member = self.member or self.open_copy(charter.group)
        await member.adopt(charter)
        return member

    # MemberEvents

    def exports_changed(self, member: Member) -> None:
        self.lines.append("exports changed")

    def view_given_up(self, member: Member, view_id: str, why: str) -> None:
        self.lines.append(f"view given up: {view_id}")
        if self.drills is not None:
            self.drills.given_up(view_id, why)
        self._spawn(self.openings.given_up(view_id, why))

    def word_changed(self, member: Member) -> None:
        """The town asks when it wants to know."""

    def log_member(self, member: Member, event: str, reason: str) -> None:
        self.lines.append(f"{event}: {reason}")

    async def die(self) -> None:
        """SIGKILL: no goodbye, nothing synced, links drop."""
        for task in self.running:
            task.cancel()
        await asyncio.gather(*self.running, return_exceptions=True)
        for link in self.town.links:
            if self.name in (link.peer, link._me):
                link.close("the process died")
        if self.member is not None:
            self.member.copy.journal.close()
            self.member.copy.volumes.close()
        self.town.nodes.pop(self.name)


class CutStore:
    """The charter store as one center reaches it."""

    def __init__(self, town: "Town", name: str) -> None:
        self._town, self._name = town, name

    async def read(self, group_id: str) -> Charter | None:
        if self._town.is_cut(self._name, "store"):
            raise TransientError("cut off")
        return await self._town.store.read(group_id)

    async def compare_and_set(self, expected_version: int, charter: Charter) -> CasResult:
        if self._town.is_cut(self._name, "store"):
            return CasResult(CasOutcome.UNKNOWN, None, "cut off")
        return await self._town.store.compare_and_set(expected_version, charter)


class OwnRounds(SystemClock):
    """No mark comes sooner than a second after the last: stories count records of the first second."""

    @override
    def until_round(self, period_s: float, slack_s: float = 0.0) -> float:
        return period_s


class Town:
    """Everything, and the coordinator's desk."""

    def __init__(
        self, directory: Path, sockets: Path, tasks: asyncio.TaskGroup, group: GroupSpec = GROUP
    ) -> None:
        """`sockets` is a folder with a short path."""
        self.group = group
        self.directory, self.sockets, self.tasks = directory, sockets, tasks
        self.clock, self.dice = OwnRounds(), SystemRandom()
        self.store = MemoryCharterStore()
        self.nodes: dict[str, Node] = {}
        self.links: list[MemoryLink] = []
        self.cuts: set[frozenset[str]] = set()
        self.rates: dict[tuple[str, str], float] = {}  # bytes/s of bulk links from one to another; else none
        self.carried = 0  # bytes that went over lines with a rate
        self.lease_book = LeaseBook()
        self.steps: list[Step] = []
        self.losses: list[LossStatement] = []
        self.is_over = False  # nobody is let in any more

    # network

    def is_cut(self, one: str, other: str) -> bool:
        return frozenset((one, other)) in self.cuts

    def cut_off(self, name: str) -> None:
        """Alive, but nobody hears it and it hears nobody; connections are dropped, not closed."""
        others = [center.name for center in CENTERS if center.name != name]
        self.cuts |= {frozenset((name, other)) for other in (*others, "store", "coordinator")}

    def store_for(self, name: str) -> CutStore:
        return CutStore(self, name)

    def start(self, name: str) -> Node:
        node = self.nodes[name] = Node(self, name, self.directory / name)
        return node

    # coordinator

    async def create(self) -> None:
        charter = Charter(self.group, version=1)
        await self.store.compare_and_set(0, charter)
        for node in list(self.nodes.values()):
            await node.adopt(charter)

    async def heartbeats(self) -> None:
        while True:
            charter = await self.store.read(GROUP.id)
            for node in list(self.nodes.values()):
                await self._beat(node, charter)
            await asyncio.sleep(0.05)

    async def _beat(self, node: Node, charter: Charter | None) -> None:
        if charter is None or self.is_cut(node.name, "coordinator") or node.member is None:
            return
        if self.nodes.get(node.name) is not node:
            return  # it died while the others were told
        sent_at = self.clock.now()
        term = node.member.term
        if term is not None:
            book = self.lease_book.renew(charter, node.name, term.charter.epoch, sent_at)
            if book is not None:
                self.lease_book = book
                node.member.lease_granted(sent_at, GROUP.policy.lease_s)
        await node.adopt(charter)

    def is_connected(self, center: str) -> bool:
        return center in self.nodes and not self.is_cut(center, "coordinator")

    async def call(self, center: str, method: str, body: Body, timeout_s: float) -> Body:
        if not self.is_connected(center):
            raise TransientError(f"{center} is not reached")
        node = self.nodes[center]
        parts = (node.requests, node.points, node.holds)
        handler = {name: call for part in parts for name, call in part.for_coordinator().items()}[method]
        async with asyncio.timeout(timeout_s):
            return await handler(method, body)

    def lease(self, group_id: str) -> LeaseBook:
        return self.lease_book

    def released(self, group_id: str, center: str, epoch: Epoch) -> None:
        self.lease_book = self.lease_book.release(center, epoch)

    def store_ready(self, group_id: str) -> str:
        return ""

    def last_known(self, group_id: str) -> LastKnown | None:
        return None

    def heard(self, group_id: str, statement: Statement) -> Statement:
        return statement

    def stepped(self, step: Step) -> None:
        self.steps.append(step)

    def stated(self, loss: LossStatement) -> None:
        self.losses.append(loss)

    def waiting(self, reason: str, until: float | None) -> None:
        """Seen in the steps."""

    async def run(self, kind: IntentKind, target: str, *, accept_loss: bool = False) -> Outcome:
        request = Request(GROUP.id, kind, target, self.dice.hex128(), "test", "a story", accept_loss)
        world = ProcedureWorld(self.store, self, self, self.clock, self.dice)
        return await ProcedureRunner(world, request, self).run(15.0)

    # questions

    def member(self, name: str) -> Member:
        return self.nodes[name].member_of()

    def later_charters(self, version: int) -> list[Charter]:
        """Every charter after a version, oldest first."""
        return [charter for charter in self.store.history(GROUP.id) if charter.version > version]

    async def charter(self) -> Charter:
        charter = await self.store.read(GROUP.id)
        assert charter is not None
        return charter

    async def until(self, what: Callable[[], bool], seconds: float = 10.0) -> None:
        """Wait for a condition, or fail with what every center last said."""
        try:
            async with asyncio.timeout(seconds):
                while not what():
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(self.describe()) from None

    def describe(self) -> str:
        words = []
        for node in self.nodes.values():
            if node.member is not None:
                word = replace(node.member.statement())
                term = node.member.term
                plans = term.plans if term is not None else {}
                words.append(f"{node.name}: {word}\n  plans {plans}\n  log {node.lines[-6:]}")
        return "\n".join([*words, *(str(step) for step in self.steps[-8:])])

    def is_in_sync(self, owner: str, *members: str) -> bool:
        term = self.member(owner).term
        return term is not None and term.insync.pending is None and term.charter.in_sync == {owner, *members}


@asynccontextmanager
async def town(directory: Path, group: GroupSpec = GROUP) -> AsyncIterator[Town]:
    """A town with all three centers up, the group open at production and same_city in sync."""
    places: list[Town] = []
    sockets = Path(tempfile.mkdtemp(prefix="town-"))
    try:
        async with asyncio.TaskGroup() as tasks:
            place = Town(directory, sockets, tasks, group)
            places.append(place)
            for center in CENTERS:
                place.start(center.name)
            await place.create()
            tasks.create_task(place.heartbeats())
            outcome = await place.run(IntentKind.OPEN, "production")
            assert outcome.state.value == "done", outcome
            await place.until(lambda: place.is_in_sync("production", "same_city"))
            yield place
            for node in place.nodes.values():
                await node.openings.stop()
            place.is_over = True
            raise _OverError
    except* _OverError:
        pass
    finally:
        for node in [node for place in places for node in place.nodes.values()]:
            if node.member is not None:
                node.member.copy.journal.close()
                node.member.copy.volumes.close()
        shutil.rmtree(sockets, ignore_errors=True)


class _OverError(Exception):
    """The story has ended."""
