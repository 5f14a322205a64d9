"""The agent: composition root of one center's daemon. Wiring and supervision; no decisions."""

import asyncio
from collections.abc import Coroutine, Mapping

import structlog

from drsync import __version__
from drsync.adapters.charter_remote import RemoteCharterStore
from drsync.adapters.hooks.inventory import Inventory
from drsync.adapters.ssh import PeerKeys, SshTransport
from drsync.adapters.system.allocator import keep_freed_memory
from drsync.adapters.system.clock import SystemClock, SystemRandom, boot_id
from drsync.adapters.system.notify import Notifier, keep_telling
from drsync.agent import file_metrics, metrics, rates, service
from drsync.agent.broken import BrokenCopy, broken_copy, may_be_created_again
from drsync.agent.copy_store import FileCopyStore, copies_in
from drsync.agent.exports import Sockets
from drsync.agent.file_store import FileStores
from drsync.agent.headquarters import COORDINATOR, Headquarters
from drsync.agent.hook_exports import HookExports
from drsync.agent.hooks import HookDesk
from drsync.agent.requests import Requests, unknown_group
from drsync.agent.start_token import StartToken
from drsync.agent.view_desk import ViewDesk
from drsync.config.options import AgentOptions
from drsync.engine.bulk import BulkChannel, StreamHandler
from drsync.engine.copy import Durable, GroupCopy, Self
from drsync.engine.file_sets import FileSets
from drsync.engine.member import Member, World
from drsync.engine.peers import Peers
from drsync.engine.procedure_drill import HASH_TIMEOUT_S
from drsync.engine.rpc import Endpoint, Limits, Me
from drsync.engine.threads import in_thread
from drsync.model import epoch as epochs
from drsync.model.charter import Charter
from drsync.model.copy import Statement
from drsync.model.errors import DrsyncError, MalformedError, TransientError
from drsync.ports.transport import Call, Link, LinkKind
from drsync.wire.files import read_open
from drsync.wire.frames import Frame, FrameType
from drsync.wire.stream import read_attach, read_fetch

Json = dict[str, object]

TREES_AGAIN_S = 5.0  # because what failed once may fail again at once, and the log should stay readable
LIMITS = Limits(longer={"view.hash": HASH_TIMEOUT_S})

log = structlog.get_logger()


class Agent:
    """One center: its groups, its links, its sockets."""

    def __init__(self, options: AgentOptions) -> None:
        self._options = options
        self._name = options.center.name
        self._clock = SystemClock()
        self._dice = SystemRandom()
        self._me = Self(self._name, self._dice.hex128(), boot_id())
        self._token = StartToken(options.state_dir)
        self._members: dict[str, Member] = {}
        self._broken: dict[str, BrokenCopy] = {}
        self._trees: dict[str, FileSets] = {}
        self._adopting = asyncio.Lock()
        self._tasks: asyncio.TaskGroup | None = None
        self._sockets = Sockets(options.run_dir, self.log)
        self._manager = Notifier()
        self._requests = Requests(self, ViewDesk(self._sockets))
        self._transport = SshTransport(
            me=self._name,
            host_key=options.ssh.host_key,
            client_key=options.ssh.client_key,
            listen=(options.ssh.listen.host, options.ssh.listen.port),
            peers={
                peer.name: PeerKeys((peer.address.host, peer.address.port), peer.host_key, peer.client_key)
                for peer in (*options.peers, options.coordinator)
            },
        )
        self._peers = Peers(
            tuple(peer.name for peer in options.peers),
            self._transport,
            self._clock,
            self._dice,
            lambda link: self._endpoint(link, self._requests.for_peer(link.peer)),
            lambda link: BulkChannel(link, None, self._malformed),
        )
        self._headquarters = Headquarters(
            self,
            self._transport,
            self._clock,
            self._dice,
            lambda link: self._endpoint(
                link, {**self._requests.for_coordinator(), **self._hooks.for_coordinator()}
            ),
        )
        self._metrics = metrics.server(
            self._name,
            self,
            self._peers,
            self._headquarters,
            lambda: file_metrics.about_trees(self.members()),
        )
        self._hooks = HookDesk(
            options.hooks,
            Inventory(options.state_dir / "inventory", str(options.state_dir)),
            options.run_dir / "hooks",
            HookExports(self.member, self._sockets, self._clock, self._me.session),
            self._spawn,
            self.log,
        )

    # --- life

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set; then close every copy cleanly."""
        for group_id in copies_in(self._options.state_dir):
            await self._reopen(group_id)
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                for member in self._members.values():
                    tasks.create_task(self._run_member(member))
                self.log("listening", await self._transport.listen(self._accept))
                if address := await metrics.listen(self._metrics, self._options.metrics):
                    self.log("listening", f"metrics at {address}")
                tasks.create_task(self._hooks.sweep())
                tasks.create_task(self._peers.run())
                tasks.create_task(self._headquarters.run())
                tasks.create_task(self._tell_manager())
                tasks.create_task(_end_with(stop))
        except* _StoppedError:
            self.log("stopping", "asked to")
        finally:
            self._manager.stopping()
            await self._close()

    async def _tell_manager(self) -> None:
        """Copies are open and peers are heard: we are ready, whether the coordinator is there or not."""
        self._manager.ready()
        await keep_telling(
            self._manager,
            lambda: service.rounds(self._headquarters, self._members.values()),
            lambda: service.sentence(self._headquarters, self._members.values(), len(self._broken)),
            lambda reason: log.error("stalled", center=self._name, reason=reason),
        )

    async def _run_trees(self, member: Member) -> None:
        """A bug stops the trees of its group for a moment; its volumes go on."""
        trees = self._trees.get(member.copy.spec.id)
        while trees is not None:
            try:
                await trees.run()
            except* Exception as errors:  # noqa: BLE001  # whatever escaped is a bug of these trees alone
                for error in errors.exceptions:
                    self._bug(f"trees of {member.copy.spec.name}", error)
            await self._clock.sleep_until(self._clock.now() + TREES_AGAIN_S)

    async def _run_member(self, member: Member) -> None:
        """A bug stops its group, which then serves nothing; the other groups go on."""
        assert self._tasks is not None
        self._tasks.create_task(self._run_trees(member))
        try:
            await member.run()
        except* Exception as errors:  # noqa: BLE001  # whatever escaped is a bug of that group alone
            for error in errors.exceptions:
                self._bug(f"group {member.copy.spec.name}", error)
            member.copy.fail(DrsyncError(f"stopped by a bug: {errors.exceptions[0]!r}", code="bug"))
            await self._sockets.serve_group(member)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        assert self._tasks is not None
        self._tasks.create_task(work)

    async def _close(self) -> None:
        await self._hooks.sweep()
        await self._metrics.close()
        await self._sockets.close()
        await self._transport.close()
        for member in self._members.values():
            try:
                await asyncio.to_thread(member.copy.close)
            except DrsyncError as error:
                self._log_group(member, "close_failed", str(error))

    def _store(self, group_id: str) -> FileCopyStore:
        directory = self._options.state_dir / "groups" / group_id
        return FileCopyStore(directory, self._options.cluster_id, self._name)

    async def _reopen(self, group_id: str) -> None:
        store = self._store(group_id)
        try:
            raw = store.superblock().load()
            charter = Durable.decode(raw).charter if raw is not None else None
            if charter is None:
                self.log("copy_skipped", f"{group_id} has no charter yet")
                return
            await self._open_copy(charter)
        except DrsyncError as error:
            self.log("copy_failed", f"{group_id}: {error}")

    async def _open_copy(self, charter: Charter) -> Member:
        spec, store = charter.group, self._store(charter.group.id)
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
            store=RemoteCharterStore(self._headquarters.ask),
            peers=self._peers,
            clock=self._clock,
            dice=self._dice,
            cluster=self._options.cluster_id,
        )
        member = Member(copy, world, self)
        self._members[spec.id] = member
        if spec.filesets:
            home = self._options.state_dir / "groups" / spec.id
            places = FileStores(self._name, home, spec, self._options.file_roots)
            trees = FileSets(member, places, self._peers, self._clock, self._dice)
            self._trees[spec.id] = member.trees = trees
        self._log_group(
            member, "copy_opened", f"record {copy.journal.tip.seq}, images at {copy.volumes.applied}"
        )
        return member

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
            raise unknown_group(group_id, self._name)
        return member

    def statement(self, group_id: str) -> Statement:
        """See `requests.Groups`."""
        broken = self._broken.get(group_id)
        return broken.statement if broken is not None else self.member(group_id).statement()

    def broken(self) -> list[BrokenCopy]:
        """See `headquarters.Host`."""
        return list(self._broken.values())

    async def adopt(self, charter: Charter) -> Member:
        """See `requests.Groups`: a center that is no member of the group gets no copy."""
        async with self._adopting:
            broken = self._broken.get(charter.group.id)
            if broken is not None:
                broken.charter = charter  # not opened again: a person has to look at it first
                raise broken.error()
            member = self._members.get(charter.group.id)
            if member is None:
                if all(center.name != self._name for center in charter.group.members):
                    raise unknown_group(charter.group.id, self._name)
                member = await self._open_copy(charter)
                assert self._tasks is not None
                self._tasks.create_task(self._run_member(member))
        await member.adopt(charter)
        return member

    def silent_s(self) -> dict[str, float]:
        """See `headquarters.Host`."""
        return self._peers.silent_s()

    def registration(self) -> Json:
        """See `headquarters.Host`."""
        return {
            "center": self._name,
            "session": self._me.session,
            "boot_id": self._me.boot_id,
            "software": __version__,
            "address": str(self._options.ssh.listen),
            "state_dir": str(self._options.state_dir),
            "token": self._token.value,
        }

    async def keep_token(self, token: int) -> None:
        """See `headquarters.Host`."""
        if token != self._token.value:
            await in_thread(lambda: self._token.keep(token))

    def report(self, member: Member) -> Json | None:
        """See `headquarters.Host`: what only the owner knows."""
        term = member.term
        if term is None:
            return None
        log, copy, now = term.engine.log, member.copy, self._clock.now()
        return {
            "epoch": term.charter.epoch,
            "version": term.charter.version,
            "tip": copy.journal.tip.seq,
            "commit": log.commit,
            "time_us": term.engine.commit_time_us,
            "serving": term.engine.is_leased and not term.engine.is_frozen,
            "waiting": term.waiting,
            "now_us": term.pulse.label(now),
            "serving_s": term.pulse.serving_s(now),
            "served": term.pulse.served(now),
            "writes": term.engine.stats.writes,
            "write_bytes": term.engine.stats.write_bytes,
            "commit_counts": list(term.engine.stats.commit_counts),
            "pacing": rates.about_pacing(term),
            "peers": {
                center.name: self._peer_report(member, center.name)
                for center in copy.spec.members
                if center.name != self._name
            },
            "nbd": self._sockets.uris(member),
            "files": member.trees.own_report(),
        }

    def _peer_report(self, member: Member, center: str) -> Json:
        term = member.term
        assert term is not None
        attachment = term.attachments.get(center)
        lag = term.lag(center)
        is_connected = attachment is not None and not attachment.is_lost
        return {
            "connected": is_connected,
            "appended": attachment.feed.appended if attachment is not None else 0,
            "durable": attachment.feed.durable if attachment is not None else 0,
            "lag_records": lag.records,
            "lag_bytes": lag.bytes,
            "rpo_s": None if lag.seconds is None else round(lag.seconds, 3),
            "plan": term.plans.get(center, ""),
            "sent_bytes": attachment.feed.sent_bytes if attachment is not None else 0,
            "files": member.trees.report(center),
            **rates.about_peer(term, center),
        }

    # --- MemberEvents

    def exports_changed(self, member: Member) -> None:
        """See MemberEvents."""
        assert self._tasks is not None
        self._tasks.create_task(self._sockets.serve_group(member))

    def view_given_up(self, member: Member, view_id: str) -> None:
        """See MemberEvents."""
        del member
        assert self._tasks is not None
        self._tasks.create_task(self._drop_view(view_id))

    async def _drop_view(self, view_id: str) -> None:
        await self._sockets.drop_view(view_id)

    def word_changed(self, member: Member) -> None:
        """See MemberEvents."""
        del member
        self._headquarters.beat_soon()

    def log(self, event: str, reason: str) -> None:
        """See `headquarters.Host`."""
        log.info(event, center=self._name, reason=reason)

    def log_member(self, member: Member, event: str, reason: str) -> None:
        """See MemberEvents."""
        self._log_group(member, event, reason)

    def _log_group(self, member: Member, event: str, reason: str) -> None:
        follow = member.copy.durable.follow
        log.info(
            event, group=member.copy.spec.name, center=self._name, epoch=epochs.show(follow), reason=reason
        )

    # --- links

    def _endpoint(self, link: Link, handlers: Mapping[str, Call]) -> Endpoint:
        me = Me(
            cluster=self._options.cluster_id,
            center=self._name,
            session=self._me.session,
            incarnation="",
            software=__version__,
        )
        return Endpoint(link, self._clock, handlers, me, limits=LIMITS, on_bug=self._bug)

    def _malformed(self, peer: str, error: MalformedError) -> None:
        log.warning("malformed", center=self._name, peer=peer, reason=str(error))

    def _bug(self, where: str, error: Exception) -> None:
        log.error("bug", center=self._name, reason=f"{where}: {error!r}", exc_info=error)

    def _accept(self, link: Link) -> None:
        assert self._tasks is not None
        if link.peer == COORDINATOR:
            link.close("the coordinator is dialed, it does not dial")
        elif link.kind is LinkKind.CONTROL:
            self._tasks.create_task(self._serve_control(link))
        else:
            BulkChannel(link, self._stream_opened, self._malformed)

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
        if frame.type is FrameType.FETCH:
            member = self._members.get(read_fetch(frame.body).group.hex())
            return member.accept_fetch(channel, frame.stream) if member is not None else None
        return None


class _StoppedError(Exception):
    """Ends the task group on a clean stop."""


async def _end_with(stop: asyncio.Event) -> None:
    await stop.wait()
    raise _StoppedError


def _make_directories(options: AgentOptions) -> None:
    for directory in (options.state_dir, options.run_dir):
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TransientError(f"cannot use {directory}: {error.strerror}") from error


async def run(options: AgentOptions, stop: asyncio.Event) -> None:
    """Run an agent until `stop` is set.

    Raises:
        TransientError: an address or a directory cannot be used now.
    """
    keep_freed_memory()
    _make_directories(options)
    await Agent(options).run(stop)
