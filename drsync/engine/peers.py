"""Links to the other centers, dialed and kept: one control and one bulk connection to each, one for files.

Control answers questions and proves that the peer is alive; bulk carries the log, files carries trees and is
dialed from the first time that somebody asks for it. A lost link is dialed again with jittered delays.
Nothing here knows what groups are.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from drsync.engine.bulk import BulkChannel
from drsync.engine.rpc import Endpoint
from drsync.model.errors import DrsyncError, TransientError
from drsync.ports.clock import Clock, Random
from drsync.ports.transport import Link, LinkKind, Transport

RETRY_LOW_S, RETRY_HIGH_S = 0.2, 5.0  # because a returning center should be met in seconds, without a storm
BULK_WAIT_S = 10.0  # because connecting has its own deadline of that size

MakeEndpoint = Callable[[Link], Endpoint]
MakeChannel = Callable[[Link], BulkChannel]


@dataclass(slots=True)
class _Peer:
    """What we know of one peer's links."""

    endpoint: Endpoint | None = None
    channels: dict[LinkKind, BulkChannel] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    files_wanted: asyncio.Event = field(default_factory=asyncio.Event)
    trouble: str = "not connected yet"
    heard_at: float = 0.0  # on the last control link, or when we began to dial


class Peers:
    """Keeps links to every configured peer for as long as `run` runs."""

    def __init__(
        self,
        names: tuple[str, ...],
        transport: Transport,
        clock: Clock,
        dice: Random,
        make_endpoint: MakeEndpoint,
        make_channel: MakeChannel,
    ) -> None:
        self._peers = {name: _Peer(heard_at=clock.now()) for name in names}
        self._transport = transport
        self._clock = clock
        self._dice = dice
        self._make_endpoint = make_endpoint
        self._make_channel = make_channel

    async def run(self) -> None:
        """Dial and redial everybody until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for name, peer in self._peers.items():
                tasks.create_task(self._keep_control(name, peer))
                tasks.create_task(self._keep_channel(name, peer, LinkKind.BULK))
                tasks.create_task(self._keep_channel(name, peer, LinkKind.FILES))

    async def call(
        self, center: str, method: str, body: dict[str, object], timeout_s: float
    ) -> dict[str, object]:
        """Ask a peer.

        Raises:
            TransientError: no link, or no answer in time.
            DrsyncError: what the peer answered.
        """
        peer = self._peers.get(center)
        if peer is None or peer.endpoint is None:
            trouble = peer.trouble if peer is not None else "not configured"
            raise TransientError(f"{center} is not reached: {trouble}")
        return await peer.endpoint.call(method, body, timeout_s)

    async def bulk(self, center: str, kind: LinkKind = LinkKind.BULK) -> BulkChannel:
        """The channel of that kind to a peer, waiting a little for it.

        Raises:
            TransientError: there is none.
        """
        peer = self._peers.get(center)
        if peer is None:
            raise TransientError(f"{center} is not configured here")
        if kind is LinkKind.FILES:
            peer.files_wanted.set()
        try:
            async with asyncio.timeout(BULK_WAIT_S):
                while (channel := peer.channels.get(kind)) is None or channel.is_lost:
                    peer.changed.clear()
                    await peer.changed.wait()
        except TimeoutError:
            raise TransientError(f"no {kind.value} link to {center}: {peer.trouble}") from None
        return channel

    def status(self) -> Mapping[str, tuple[bool, str]]:
        """Per peer: whether control is up, and the last trouble."""
        return {name: (peer.endpoint is not None, peer.trouble) for name, peer in self._peers.items()}

    def silent_s(self) -> dict[str, float]:
        """Per peer: for how long nothing was heard of it on the control link that we dial."""
        now = self._clock.now()
        heard = {
            name: peer.endpoint.heard_at if peer.endpoint is not None else peer.heard_at
            for name, peer in self._peers.items()
        }
        return {name: max(0.0, now - at) for name, at in heard.items()}

    async def _keep_control(self, name: str, peer: _Peer) -> None:
        delay = RETRY_LOW_S
        while True:
            try:
                endpoint = self._make_endpoint(await self._transport.connect(name, LinkKind.CONTROL))
                peer.endpoint, peer.trouble, delay = endpoint, "", RETRY_LOW_S
                await endpoint.run()
            except DrsyncError as error:
                peer.trouble = str(error)
            finally:
                if peer.endpoint is not None:
                    peer.heard_at = peer.endpoint.heard_at
                peer.endpoint = None
            delay = await self._pause(delay)

    async def _keep_channel(self, name: str, peer: _Peer, kind: LinkKind) -> None:
        if kind is LinkKind.FILES:
            await peer.files_wanted.wait()
        delay = RETRY_LOW_S
        while True:
            try:
                channel = self._make_channel(await self._transport.connect(name, kind))
                peer.channels[kind], delay = channel, RETRY_LOW_S
                peer.changed.set()
                await channel.lost_event.wait()
            except DrsyncError as error:
                peer.trouble = peer.trouble or str(error)
            finally:
                peer.channels.pop(kind, None)
            delay = await self._pause(delay)

    async def _pause(self, delay: float) -> float:
        await self._clock.sleep_until(self._clock.now() + self._dice.uniform(delay / 2, delay))
        return min(delay * 2, RETRY_HIGH_S)
