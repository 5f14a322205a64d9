"""The coordinator: composition root. Wiring, listening, stopping; no decisions."""

import asyncio
import secrets
from collections.abc import Coroutine
from pathlib import Path

import structlog
from aiohttp import web

from drsync import __version__
from drsync.adapters.sqlite.charters import SqliteCharterStore
from drsync.adapters.sqlite.database import Database
from drsync.adapters.sqlite.evidence import SqliteEvidence
from drsync.adapters.sqlite.members import MemberMemory
from drsync.adapters.ssh import PeerKeys, SshTransport
from drsync.adapters.system.clock import SystemClock, SystemRandom, boot_id
from drsync.config.options import CoordinatorOptions, HttpOptions
from drsync.coordinator.agents import AgentDesk
from drsync.coordinator.api import Api, Parts
from drsync.coordinator.authority import Authority
from drsync.coordinator.groups import Groups
from drsync.coordinator.journal import Journal
from drsync.coordinator.operations import Operations
from drsync.coordinator.sessions import Line, SessionTable
from drsync.coordinator.status import Picture
from drsync.coordinator.supervision import Supervision
from drsync.engine.procedure_world import ProcedureWorld
from drsync.engine.rpc import Endpoint, Me
from drsync.model.errors import DrsyncError, PermanentError, TransientError
from drsync.ports.transport import Link, LinkKind

log = structlog.get_logger()

COORDINATOR = "coordinator"
STOP_S = 1.0  # because a long poll is cut anyway when the process ends
SOCKET_MODE = 0o660  # owner and group of the run directory may ask; nobody else


class Coordinator:
    """One coordinator process."""

    def __init__(self, options: CoordinatorOptions, tasks: asyncio.TaskGroup) -> None:
        """Open the store and wire the parts.

        Raises:
            RefusedError: another process uses the store.
            PermanentError: the store or a key cannot be used.
        """
        self._options = options
        self._tasks = tasks
        self._clock = SystemClock()
        random = SystemRandom()
        self._session = random.hex128()
        self._database = Database(options.state_dir / "coordinator.db")
        store = SqliteCharterStore(self._database, options.run_dir, boot_id(), self._clock, random)
        evidence = SqliteEvidence(self._database, self._clock)
        self.journal = Journal(evidence)
        self._memory = MemberMemory(self._database, self._clock)
        sessions = SessionTable()

        def told(kind: str, text: str, group_id: str, center: str) -> None:
            charter = store.get(group_id)
            name = charter.group.name if charter is not None else ""
            self.journal.event(kind, text, group=name, center=center)

        authority = Authority(store, self._memory, sessions, self._clock, told)
        world = ProcedureWorld(store, sessions, authority, self._clock, random)
        operations = Operations(world, evidence, self.journal, self._spawn)
        self.supervision = Supervision(
            store=store,
            evidence=evidence,
            sessions=sessions,
            authority=authority,
            operations=operations,
            journal=self.journal,
            world=world,
        )
        self._desk = AgentDesk(store, authority, sessions, self.journal, self._clock, self.supervision.wake)
        centers = {agent.center.name: agent.center for agent in options.agents}
        groups = Groups(store, centers, random)
        picture = Picture(
            store=store,
            evidence=evidence,
            sessions=sessions,
            authority=authority,
            operations=operations,
            centers=centers,
            clock=self._clock,
            about={"cluster": options.cluster_id, "started_us": self._clock.wall_us()},
        )
        wake = self.supervision.wake
        self.api = Api(
            Parts(store, evidence, sessions, operations, groups, picture, self._clock, random, wake)
        )
        self.transport = SshTransport(
            me=COORDINATOR,
            host_key=options.ssh.host_key,
            client_key=options.ssh.client_key,
            listen=(options.ssh.listen.host, options.ssh.listen.port),
            peers={
                agent.center.name: PeerKeys(None, agent.host_key, agent.client_key)
                for agent in options.agents
            },
        )

    def _spawn(self, work: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        return self._tasks.create_task(work)

    def accept(self, link: Link) -> None:
        """An agent dialed."""
        if link.kind is not LinkKind.CONTROL:
            link.close("the coordinator takes control links only")
            return
        self._tasks.create_task(self._serve(link))

    async def _serve(self, link: Link) -> None:
        line: list[Line] = []
        me = Me(self._options.cluster_id, COORDINATOR, self._session, "", __version__)
        handlers = self._desk.handlers(link.peer, lambda: line[0])
        endpoint = Endpoint(link, self._clock, handlers, me, on_bug=self.journal.bug)
        line.append(endpoint)
        try:
            await endpoint.run()
        except DrsyncError as error:
            self._desk.lost(link.peer, endpoint, str(error))
        except Exception as error:  # noqa: BLE001  # a bug costs this link, not the coordinator
            self.journal.bug(f"link of {link.peer}", error)
            self._desk.lost(link.peer, endpoint, "a bug")

    def close(self) -> None:
        """Keep what is only in memory, and release the store."""
        self._memory.flush()
        self._database.close()


async def run(options: CoordinatorOptions, stop: asyncio.Event) -> None:
    """Run a coordinator until `stop` is set.

    Raises:
        TransientError: an address or a directory cannot be used now.
        RefusedError: another process uses the store.
        PermanentError: the store, a key or the token file cannot be used.
    """
    _make_directories(options)
    runner: web.AppRunner | None = None
    coordinator: Coordinator | None = None
    try:
        async with asyncio.TaskGroup() as tasks:
            coordinator = Coordinator(options, tasks)
            runner = web.AppRunner(
                coordinator.api.application(_token(options.http)), access_log=None, shutdown_timeout=STOP_S
            )
            await runner.setup()
            await _listen(runner, options)
            address = await coordinator.transport.listen(coordinator.accept)
            log.info("listening", center=COORDINATOR, reason=f"agents at {address}")
            tasks.create_task(coordinator.supervision.run())
            tasks.create_task(_end_with(stop))
    except* _StoppedError:
        pass
    finally:
        if runner is not None:
            await runner.cleanup()
        if coordinator is not None:
            await coordinator.transport.close()
            coordinator.close()


class _StoppedError(Exception):
    """Ends the task group on a clean stop."""


async def _end_with(stop: asyncio.Event) -> None:
    await stop.wait()
    log.info("stopping", center=COORDINATOR, reason="asked to")
    raise _StoppedError


async def _listen(runner: web.AppRunner, options: CoordinatorOptions) -> None:
    path = options.run_dir / "coordinator.sock"
    path.unlink(missing_ok=True)  # the store is ours alone, so whoever left it is gone
    try:
        await web.UnixSite(runner, str(path)).start()
        path.chmod(SOCKET_MODE)
        if options.http is not None:
            await web.TCPSite(runner, options.http.listen.host, options.http.listen.port).start()
    except OSError as error:
        where = f"{path} and {options.http.listen}" if options.http else str(path)
        raise TransientError(f"cannot listen on {where}: {error.strerror or error}") from error
    log.info("listening", center=COORDINATOR, reason=f"people at {', '.join(map(str, runner.addresses))}")


def _token(http: HttpOptions | None) -> str:
    """The token that requests over TCP must bear; made on the first start."""
    if http is None:
        return ""
    path = http.token_file
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_secret(path, secrets.token_urlsafe(32))
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise PermanentError(f"cannot use the token file {path}: {error}", code="token_file") from error
    if not token:
        raise PermanentError(f"the token file {path} is empty", code="token_file", remedy="Remove it.")
    return token


def _write_secret(path: Path, text: str) -> None:
    path.touch(mode=0o600, exist_ok=False)
    path.write_text(text + "\n", encoding="ascii")


def _make_directories(options: CoordinatorOptions) -> None:
    for directory in (options.state_dir, options.run_dir):
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TransientError(f"cannot use {directory}: {error.strerror}") from error
