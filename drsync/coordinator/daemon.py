"""The coordinator: composition root. Wiring, listening, stopping; no decisions."""

import asyncio
import secrets
from pathlib import Path

import structlog
from aiohttp import web

from drsync.adapters.ssh import PeerKeys, SshTransport
from drsync.adapters.system.clock import SystemClock, SystemRandom, boot_id
from drsync.adapters.system.notify import Notifier, keep_telling
from drsync.config.options import CoordinatorOptions, HttpOptions
from drsync.coordinator.door import COORDINATOR, Door
from drsync.coordinator.http_log import calm
from drsync.coordinator.office import Office, Storage
from drsync.model.errors import PermanentError, TransientError

log = structlog.get_logger()

STOP_S = 1.0  # because a long poll is cut anyway when the process ends
SOCKET_MODE = 0o660  # owner and group of the run directory may ask; nobody else


class Coordinator:
    """One coordinator process: the office, and the door that agents come through."""

    def __init__(self, options: CoordinatorOptions, tasks: asyncio.TaskGroup) -> None:
        """Open the store and wire the parts.

        Raises:
            RefusedError: another process uses the store.
            PermanentError: the store or a key cannot be used.
        """
        clock, random = SystemClock(), SystemRandom()
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
        self.office = Office(
            storage=Storage.in_directories(options.state_dir, options.run_dir, boot_id()),
            cluster_id=options.cluster_id,
            centers=tuple(agent.center for agent in options.agents),
            clock=clock,
            random=random,
            spawn=tasks.create_task,
        )
        self.door = Door(
            desk=self.office.desk,
            journal=self.office.journal,
            cluster_id=options.cluster_id,
            session=random.hex128(),
            clock=clock,
            spawn=tasks.create_task,
        )


async def run(options: CoordinatorOptions, stop: asyncio.Event) -> None:
    """Run a coordinator until `stop` is set.

    Raises:
        TransientError: an address or a directory cannot be used now.
        RefusedError: another process uses the store.
        PermanentError: the store, a key or the token file cannot be used.
    """
    _make_directories(options)
    calm()
    manager = Notifier()
    runner: web.AppRunner | None = None
    coordinator: Coordinator | None = None
    try:
        async with asyncio.TaskGroup() as tasks:
            coordinator = Coordinator(options, tasks)
            runner = web.AppRunner(
                coordinator.office.api.application(_token(options.http)),
                access_log=None,
                shutdown_timeout=STOP_S,
            )
            await runner.setup()
            await _listen(runner, options)
            address = await coordinator.transport.listen(coordinator.door.accept)
            log.info("listening", center=COORDINATOR, reason=f"agents at {address}")
            if options.metrics is not None:
                address = await coordinator.office.metrics.listen(*options.metrics)
                log.info("listening", center=COORDINATOR, reason=f"metrics at {address}")
            coordinator.office.begin()
            tasks.create_task(_tell_manager(manager, coordinator.office, options))
            tasks.create_task(_end_with(stop))
    except* _StoppedError:
        pass
    finally:
        manager.stopping()
        if runner is not None:
            await runner.cleanup()
        if coordinator is not None:
            await coordinator.office.metrics.close()
            await coordinator.transport.close()
            coordinator.office.close()


class _StoppedError(Exception):
    """Ends the task group on a clean stop."""


async def _end_with(stop: asyncio.Event) -> None:
    await stop.wait()
    log.info("stopping", center=COORDINATOR, reason="asked to")
    raise _StoppedError


async def _tell_manager(manager: Notifier, office: Office, options: CoordinatorOptions) -> None:
    """People and agents are heard by now; supervision is the loop that must get on."""
    manager.ready()
    await keep_telling(
        manager,
        lambda: {"supervision": office.supervision.rounds},
        lambda: _sentence(office, [agent.center.name for agent in options.agents]),
        lambda reason: log.error("stalled", center=COORDINATOR, reason=reason),
    )


def _sentence(office: Office, centers: list[str]) -> str:
    missing = [name for name in centers if not office.sessions.is_connected(name)]
    words = f"{len(centers) - len(missing)} of {len(centers)} centers connected"
    return f"{words}; missing: {', '.join(missing)}" if missing else words


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
