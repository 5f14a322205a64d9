"""The relay as a process: its sockets, its service manager, its end. Wiring only; see `relay.Relay`."""

import asyncio

from drsync.adapters.nbd.address import make_uri
from drsync.adapters.nbd.connection import Conversation
from drsync.adapters.nbd.negotiation import Chosen
from drsync.adapters.nbd.server import FrontDoor, Limits
from drsync.adapters.nbd.transmission import Outlet
from drsync.adapters.system.attention import Attention
from drsync.adapters.system.clock import SystemClock, SystemRandom
from drsync.adapters.system.notify import Notifier
from drsync.core.relay import Export
from drsync.model.errors import DrsyncError, TransientError
from drsync.relay.options import RelayOptions
from drsync.relay.relay import Relay
from drsync.relay.telling import Event, Said, Tell

CLIENTS_MAX = 60  # because an owner lets 64 connections to an export in, and one is the relay's own


class Window:
    """The one export of a relay, under the volume's name; the empty name means it too."""

    def __init__(self, relay: Relay, options: RelayOptions) -> None:
        self._relay = relay
        self._options = options

    def names(self) -> list[str]:
        """See Catalog."""
        return [self._options.volume] if self._relay.export is not None else []

    def describe(self, name: str) -> str:
        """See Catalog."""
        return f"volume {self._options.name}, wherever it is served" if self.find(name) is not None else ""

    def find(self, name: str) -> Export | None:
        """See Catalog."""
        return self._relay.export if name in {"", self._options.volume} else None


class _StoppedError(Exception):
    """Ends the task group on a clean stop."""


async def run(options: RelayOptions, stop: asyncio.Event, tell: Tell) -> None:
    """Serve the volume until `stop` is set; what is unanswered then stays so, and connections close.

    Raises:
        UsageError: the coordinator knows no such group, or the socket cannot be there.
        TransientError: no owner was found in time at the start, or an address is taken.
    """
    manager = Notifier()

    def say(said: Said) -> None:
        manager.status(said.text)
        tell(said)

    attention = Attention(options.busy_poll_s)
    relay = Relay(options, SystemClock(), SystemRandom(), say, attention.ear())

    def speak(chosen: Chosen, outlet: Outlet) -> Conversation:
        return relay.welcome(chosen, outlet).passage

    limits = Limits(per_export=CLIENTS_MAX)
    door = FrontDoor(Window(relay, options), options.socket, speak, limits, attention.ear())
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(relay.run())
            tasks.create_task(_serve(relay, door, options, manager, say))
            tasks.create_task(_end_with(stop))
    except* _StoppedError:
        say(Said(Event.STOPPING, "stopping: asked to", {"volume": options.name}))
    except* DrsyncError as errors:
        raise _first(errors) from None
    finally:
        manager.stopping()
        await door.stop(answers=False)


async def _serve(relay: Relay, door: FrontDoor, options: RelayOptions, manager: Notifier, say: Tell) -> None:
    """Let clients in once there was an owner: before that nobody knows the size."""
    await relay.attached.wait()
    try:
        options.socket.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TransientError(f"cannot use {options.socket.parent}: {error.strerror}") from error
    await door.start()
    uris = [make_uri(options.volume, options.socket)]
    if options.listen is not None:
        host, port = options.listen
        port = await door.listen_loopback(host, port)
        uris.append(f"nbd://{host}:{port}/{options.volume}")
    export = relay.export
    size = export.size if export is not None else 0
    say(
        Said(
            Event.SERVING,
            f"serving {' and '.join(uris)}",
            {"volume": options.name, "uris": uris, "size": size},
        )
    )
    manager.ready()


async def _end_with(stop: asyncio.Event) -> None:
    await stop.wait()
    raise _StoppedError


def _first(group: BaseExceptionGroup[DrsyncError]) -> DrsyncError:
    for error in group.exceptions:
        return _first(error) if isinstance(error, BaseExceptionGroup) else error
    raise AssertionError("a group of errors holds one at least")
