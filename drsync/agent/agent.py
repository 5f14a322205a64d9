"""One center's agent: its copies, its links, and what it answers. Wiring and supervision; no decisions.

Everything outside is handed in, so that the same code runs in a daemon and in the simulated world.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Protocol

from drsync import __version__
from drsync.adapters.charter_remote import RemoteCharterStore
from drsync.agent import report
from drsync.agent.broken import BrokenCopy, broken_copy, may_be_created_again
from drsync.agent.exports import Sockets
from drsync.agent.front_end import FrontEnd
from drsync.agent.headquarters import COORDINATOR, Headquarters
from drsync.agent.hold_requests import HoldRequests, lost
from drsync.agent.lines import Lines
from drsync.agent.opening_desk import OpeningDesk
from drsync.agent.point_requests import PointRequests
from drsync.agent.requests import Requests, unknown_group
from drsync.agent.resize_requests import ResizeRequests
from drsync.agent.self_drills import Kit, Means, SelfDrills
from drsync.agent.view_desk import ViewDesk
from drsync.engine.bulk import Accept, BulkChannel, StreamHandler
from drsync.engine.copy import GroupCopy, Self
from drsync.engine.durable import Durable
from drsync.engine.file_sets import FileSets
from drsync.engine.member import Member, World
from drsync.engine.peers import Peers
from drsync.engine.procedure_drill import HASH_TIMEOUT_S
from drsync.engine.resync_slots import ResyncSlots
from drsync.engine.rpc import Endpoint, Limits, Me
from drsync.engine.start_mending import RETRY_S, StartMender
from drsync.engine.threads import in_thread
from drsync.model.charter import Charter
from drsync.model.copy import Statement
from drsync.model.errors import DrsyncError, TransientError
from drsync.ports.clock import Clock, Random
from drsync.ports.copy_store import CopyStore
from drsync.ports.transport import Call, Link, LinkKind, Transport
from drsync.wire.files import read_open
from drsync.wire.frames import Frame, FrameType
from drsync.wire.resync import read_begin
from drsync.wire.stream import read_attach, read_fetch

Json = dict[str, object]

TREES_AGAIN_S = 5.0  # because what failed once may fail again at once, and the log should stay readable
LIMITS = Limits(longer={"view.hash": HASH_TIMEOUT_S})


class Copies(Protocol):
    """Where an agent keeps its copies."""

    def ids(self) -> list[str]:
        """Groups that have a copy here, in order."""
        ...

    def store(self, group_id: str) -> CopyStore:
        """The copy of a group, whether or not it was made."""
        ...


class Token(Protocol):
    """The start token; see `start_token.StartToken`."""

    @property
    def value(self) -> int:
        """The one kept last."""
        ...

    def keep(self, value: int) -> None:
        """Durable on return. Blocks. Raises FailedCopyError."""
        ...


MakeTrees = Callable[[Member, Peers], FileSets]
"""The trees of a group that has some."""


@dataclass(frozen=True, slots=True)
class Outside:
    """What an agent works with.

    Attributes:
        center, cluster: who it is.
        peers: the other centers.
        boot_id: of its host.
        copies, token: what survives it.
        front: how it serves volumes.
        make_trees: None where there are no trees; groups are then served without theirs.
        lines: what it says.
        about: what people are told of this process beside, such as its address.
        self_drill: how points are proved here in the background; None: they are not.
    """

    center: str
    cluster: str
    peers: tuple[str, ...]
    boot_id: str
    transport: Transport
    clock: Clock
    dice: Random
    copies: Copies
    token: Token
    front: FrontEnd
    make_trees: MakeTrees | None
    lines: Lines
    about: Mapping[str, str]
    self_drill: Kit | None = None


class Agent:
    """One center: its groups, its links, its sockets. `open`, then `start`; at the end `close`.

    Attributes:
        name: of the center.
        session: of this process.
        peers, headquarters: links to other centers and to the coordinator.
        drills: proves recovery points in the background; None where nobody does.
        about_quiet: what an owner tells of its application-consistent checkpoints; None where there are none.
        sockets: what is served here.
    """

    def __init__(self, outside: Outside) -> None:
        self._outside = outside
        self.name = outside.center
        self._clock = outside.clock
        self._dice = outside.dice
        self._lines = outside.lines
        self._me = Self(self.name, self._dice.hex128(), outside.boot_id)
        self._members: dict[str, Member] = {}
        self._broken: dict[str, BrokenCopy] = {}
        self._trees: dict[str, FileSets] = {}
        self._adopting = asyncio.Lock()
        self._slots = ResyncSlots()
        self._tasks: asyncio.TaskGroup | None = None
        self._offered: Mapping[str, Call] = {}
        self.about_quiet: Callable[[Member], Json | None] = lambda _member: None
        self.sockets = Sockets(outside.front, self.log)
        stores = outside.copies.store
        self._requests = Requests(self, ViewDesk(self.sockets, stores, outside.clock))
        self._openings = OpeningDesk(outside.front, stores, outside.clock, self.spawn, self._opening_changed)
        self.drills: SelfDrills | None = None
        if outside.self_drill is not None:
            means = Means(outside.self_drill, stores, outside.front, self._clock, self._dice, self.spawn)
            self.drills = SelfDrills(self, means)
        self._points = PointRequests(self.member, self._openings, self.drills)
        self._holds = HoldRequests(self.member, outside.clock)
        self._resizes = ResizeRequests(self.member)
        self.peers = Peers(
            outside.peers,
            outside.transport,
            self._clock,
            self._dice,
            lambda link: self._endpoint(link, self._requests.for_peer(link.peer)),
            lambda link: self._channel(link, None),
        )
        self.headquarters = Headquarters(
            self,
            outside.transport,
            self._clock,
            self._dice,
            lambda link: self._endpoint(link, self._for_coordinator()),
        )

    @property
    def session(self) -> str:
        """Random per process start."""
        return self._me.session

    # --- life

    def offer(self, calls: Mapping[str, Call]) -> None:
        """What the coordinator may ask beside; before `start`."""
        self._offered = {**self._offered, **calls}

    def _for_coordinator(self) -> Mapping[str, Call]:
        parts = (self._requests, self._points, self._holds, self._resizes)
        calls = {name: call for part in parts for name, call in part.for_coordinator().items()}
        return {**calls, **self._offered}

    async def open(self) -> None:
        """Open the copies that are here. One that cannot be opened does not keep the others from it."""
        for group_id in self._outside.copies.ids():
            await self._reopen(group_id)

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Run as tasks of `tasks`, until these are cancelled. Raises TransientError: cannot listen."""
        self._tasks = tasks
        for member in self._members.values():
            tasks.create_task(self._run_member(member))
        self.log("listening", await self._outside.transport.listen(self._accept))
        tasks.create_task(self.peers.run())
        tasks.create_task(self.headquarters.run())
        for group_id, broken in self._broken.items():
            if broken.damage is not None:
                tasks.create_task(self._mend_start(group_id))
        if self.drills is not None:
            tasks.create_task(self.drills.run())

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Start a task that lives with this agent."""
        assert self._tasks is not None
        self._tasks.create_task(work)

    async def close(self) -> None:
        """Serve nothing any more and close every copy cleanly."""
        await self.sockets.close()
        await self._openings.stop()
        await self._outside.transport.close()
        for member in self._members.values():
            try:
                await asyncio.to_thread(member.copy.close)
            except DrsyncError as error:
                self.log_member(member, "close_failed", str(error))

    async def _run_trees(self, member: Member) -> None:
        """A bug stops the trees of its group for a moment; its volumes go on."""
        trees = self._trees.get(member.copy.spec.id)
        while trees is not None:
            try:
                await trees.run()
            except* Exception as errors:  # noqa: BLE001  # whatever escaped is a bug of these trees alone
                for error in errors.exceptions:
                    self._lines.bug(f"trees of {member.copy.spec.name}", error)
            await self._clock.sleep_until(self._clock.now() + TREES_AGAIN_S)

    async def _run_member(self, member: Member) -> None:
        """A bug stops its group, which then serves nothing; the other groups go on."""
        self.spawn(self._run_trees(member))
        try:
            await member.run()
        except* Exception as errors:  # noqa: BLE001  # whatever escaped is a bug of that group alone
            for error in errors.exceptions:
                self._lines.bug(f"group {member.copy.spec.name}", error)
            member.copy.fail(DrsyncError(f"stopped by a bug: {errors.exceptions[0]!r}", code="bug"))
            await self.sockets.serve_group(member)

    async def _reopen(self, group_id: str) -> None:
        try:
            raw = self._outside.copies.store(group_id).superblock().load()
            charter = Durable.decode(raw).charter if raw is not None else None
            if charter is None:
                self.log("copy_skipped", f"{group_id} has no charter yet")
                return
            await self._open_copy(charter)
        except DrsyncError as error:
            self.log("copy_failed", f"{group_id}: {error}")

    async def _open_copy(self, charter: Charter) -> Member:
        spec, store = charter.group, self._outside.copies.store(charter.group.id)
        try:
            copy = await asyncio.to_thread(
                GroupCopy.open, self._me, spec, store, self._dice.hex128(), self._clock.now()
            )
        except TransientError:
            raise
        except DrsyncError as error:
            if may_be_created_again(store, error):
                raise  # when the group is offered again
            self._broken[spec.id] = broken_copy(self._me, store, charter, error)
            raise
        world = World(
            store=RemoteCharterStore(self.headquarters.ask),
            peers=self.peers,
            clock=self._clock,
            dice=self._dice,
            cluster=self._outside.cluster,
            slots=self._slots,
        )
        member = Member(copy, world, self)
        self._members[spec.id] = member
        if spec.filesets and self._outside.make_trees is not None:
            self._trees[spec.id] = member.trees = self._outside.make_trees(member, self.peers)
        self.log_member(
            member, "copy_opened", f"record {copy.journal.tip.seq}, images at {copy.volumes.applied}"
        )
        return member

    async def _mend_start(self, group_id: str) -> None:
        """A copy that could not be opened for damage is FAILED until another center has given the records."""
        store = self._outside.copies.store(group_id)
        mender = StartMender(self.name, self.peers, self.log)
        while True:
            broken = self._broken[group_id]
            if broken.damage is None:
                return
            spec = broken.charter.group
            if await mender.mend(spec, store, broken.statement.incarnation, broken.damage):
                async with self._adopting:
                    charter = self._broken[group_id].charter
                    try:
                        member = await self._open_copy(charter)
                    except DrsyncError as error:  # another place, or something that a person has to look at
                        self.log("copy_failed", f"{group_id}: {error}")
                    else:
                        del self._broken[group_id]  # only now: nobody may take it for a center without a copy
                        self.spawn(self._run_member(member))
                        return
            await self._clock.sleep_until(self._clock.now() + RETRY_S)

    # --- Groups, Host

    def members(self) -> list[Member]:
        """See `headquarters.Host`."""
        return list(self._members.values())

    def member(self, group_id: str) -> Member:
        """See `requests.Groups`."""
        if group_id in self._broken:
            raise self._broken[group_id].error()
        member = self._members.get(group_id)
        if member is None:
            raise unknown_group(group_id, self.name)
        return member

    def statement(self, group_id: str) -> Statement:
        """See `requests.Groups`."""
        broken = self._broken.get(group_id)
        if broken is not None:
            return broken.statement
        member = self.member(group_id)
        member.copy.require_settled()
        return member.statement()

    def remembered(self, group_id: str) -> tuple[Charter, float]:
        """See `requests.Groups`."""
        broken = self._broken.get(group_id)
        if broken is not None:
            return broken.charter, 0.0
        member = self.member(group_id)
        if member.charter is None:
            raise unknown_group(group_id, self.name)
        return member.charter, member.bound_s()

    def broken(self) -> list[BrokenCopy]:
        """See `headquarters.Host`."""
        return list(self._broken.values())

    async def adopt(self, charter: Charter) -> Member:
        """See `requests.Groups`: a center that is no member of the group gets no copy."""
        member = None if charter.group.id in self._broken else self._members.get(charter.group.id)
        if member is None:
            found: asyncio.Future[Member] = asyncio.get_running_loop().create_future()
            self.spawn(self._found(charter, found))
            member = await found
        await member.adopt(charter)
        return member

    async def _found(self, charter: Charter, found: asyncio.Future[Member]) -> None:
        """Open the copy, or create it, also when whoever asked has gone with its link meanwhile.

        The thread that does it cannot be called back: given up, it would keep the journal locked, and the
        next who asks would find it in use and the copy broken.
        """
        try:
            async with self._adopting:
                member = await self._member_of(charter)
        except Exception as error:  # noqa: BLE001  # whoever asked hears of it, and ends if it is a bug
            if not found.done():
                found.set_exception(error)
            elif isinstance(error, DrsyncError | OSError):
                self.log("charter_not_adopted", f"{charter.group.name}: {error}")
            else:
                self._lines.bug(f"group {charter.group.name}", error)
        else:
            if not found.done():
                found.set_result(member)

    async def _member_of(self, charter: Charter) -> Member:
        broken = self._broken.get(charter.group.id)
        if broken is not None:
            broken.charter = charter  # not opened again: a person has to look at it first
            raise broken.error()
        member = self._members.get(charter.group.id)
        if member is None:
            if all(center.name != self.name for center in charter.group.members):
                raise unknown_group(charter.group.id, self.name)
            member = await self._open_copy(charter)
            self.spawn(self._run_member(member))
        return member

    def silent_s(self) -> dict[str, float]:
        """See `headquarters.Host`."""
        return self.peers.silent_s()

    def registration(self) -> Json:
        """See `headquarters.Host`."""
        return {
            "center": self.name,
            "session": self._me.session,
            "boot_id": self._me.boot_id,
            "software": __version__,
            **self._outside.about,
            "token": self._outside.token.value,
        }

    async def keep_token(self, token: int) -> None:
        """See `headquarters.Host`."""
        kept = self._outside.token
        if token != kept.value:
            await in_thread(lambda: kept.keep(token))

    def report(self, member: Member) -> Json | None:
        """See `headquarters.Host`: what only the owner knows."""
        said = report.about_owner(member, self._clock.now(), self.sockets.uris(member))
        quiet = self.about_quiet(member)
        return said if said is None or quiet is None else said | {"consistency": quiet}

    def openings(self, member: Member) -> Json:
        """See `headquarters.Host`."""
        told = self._openings.told(member) | lost(member)
        return told if self.drills is None else told | self.drills.told(member)

    def proofs_changed(self) -> None:
        """See `self_drills.Host`."""
        self.headquarters.beat_soon()

    def bug(self, where: str, error: Exception) -> None:
        """See `self_drills.Host`."""
        self._lines.bug(where, error)

    # --- MemberEvents

    def exports_changed(self, member: Member) -> None:
        """See MemberEvents."""
        self.spawn(self.sockets.serve_group(member))

    def view_given_up(self, member: Member, view_id: str, why: str) -> None:
        """See MemberEvents."""
        del member
        if self.drills is not None:
            self.drills.given_up(view_id, why)
        self.spawn(self._drop_view(view_id, why))

    async def _drop_view(self, view_id: str, why: str) -> None:
        await self.sockets.drop_view(view_id)
        await self._openings.given_up(view_id, why)

    def _opening_changed(self, member: Member, event: str, reason: str) -> None:
        self.log_member(member, event, reason)
        self.headquarters.beat_soon()

    def word_changed(self, member: Member) -> None:
        """See MemberEvents."""
        del member
        self.headquarters.beat_soon()

    def log(self, event: str, reason: str) -> None:
        """See `headquarters.Host`."""
        self._lines.say(event, reason)

    def log_member(self, member: Member, event: str, reason: str) -> None:
        """See MemberEvents."""
        self._lines.say_of(member.copy, event, reason)

    # --- links

    def _endpoint(self, link: Link, handlers: Mapping[str, Call]) -> Endpoint:
        me = Me(
            cluster=self._outside.cluster,
            center=self.name,
            session=self._me.session,
            incarnation="",
            software=__version__,
        )
        return Endpoint(link, self._clock, handlers, me, limits=LIMITS, on_bug=self._lines.bug)

    def _accept(self, link: Link) -> None:
        if link.peer == COORDINATOR:
            link.close("the coordinator is dialed, it does not dial")
        elif link.kind is LinkKind.CONTROL:
            self.spawn(self._serve_control(link))
        else:
            self._channel(link, self._stream_opened)

    def _channel(self, link: Link, accept: Accept | None) -> BulkChannel:
        channel = BulkChannel(link, accept, self._lines.malformed)
        channel.on_lost = lambda reason: self.log(
            "link_ended", f"{link.kind.value} with {link.peer}: {reason}"
        )
        return channel

    async def _serve_control(self, link: Link) -> None:
        try:
            await self._endpoint(link, self._requests.for_peer(link.peer)).run()
        except DrsyncError as error:
            self.log("link_ended", f"control from {link.peer}: {error}")

    def _stream_opened(self, channel: BulkChannel, frame: Frame) -> StreamHandler | None:
        peer = channel.peer
        if frame.type is FrameType.ATTACH:
            attach = read_attach(frame.body)
            member = self._members.get(attach.group.hex())
            return member.accept_stream(peer, attach, channel, frame.stream) if member is not None else None
        if frame.type is FrameType.TREE_OPEN:
            opened = read_open(frame.body)
            trees = self._trees.get(opened.group.hex())
            if trees is None:
                return None
            return trees.accept(peer, opened.fileset.hex(), opened.epoch, channel, frame.stream)
        if frame.type is FrameType.RESYNC_BEGIN:
            begin = read_begin(frame.body)
            member = self._members.get(begin.group.hex())
            return member.accept_resync(begin, channel, frame.stream) if member is not None else None
        if frame.type is FrameType.FETCH:
            member = self._members.get(read_fetch(frame.body).group.hex())
            return member.accept_fetch(channel, frame.stream) if member is not None else None
        return None
