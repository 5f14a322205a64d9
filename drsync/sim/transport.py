"""How simulated processes reach each other: `ports.transport.Transport` over the simulated network."""

import asyncio

from drsync.model.errors import TransientError
from drsync.ports.transport import Accept, Link, LinkKind
from drsync.sim.killed import Killed
from drsync.sim.network import Network
from drsync.sim.process import Process

AGAIN_S = 1.0  # after which the first packet of a connection is sent again; each time twice as long
HANDSHAKE_TRIPS = 4  # because TCP and SSH take about that many round trips


def _wake(answer: asyncio.Future[object]) -> None:
    if not answer.done():
        answer.set_result(None)


class SimTransport:
    """`ports.transport.Transport` of one process at one place."""

    def __init__(self, network: Network, process: Process, place: str) -> None:
        self._network, self._process, self._place = network, process, place

    async def connect(self, peer: str, kind: LinkKind) -> Link:
        """See Transport."""
        network, process, me = self._network, self._process, self._place
        trip = sum(network.trip(me, peer) + network.trip(peer, me) for _ in range(HANDSHAKE_TRIPS))
        await asyncio.sleep(trip / 2)
        await self._knock(peer)
        found = network.listener(peer)
        if found is None:
            raise TransientError(f"{peer} is not reached: connection refused")
        other, accept = found
        answer: asyncio.Future[object] = process.create_future()
        other.run_soon(_wake, answer)  # SSH greets in the process itself: one that stands still does not
        try:
            async with asyncio.timeout(network.connect_timeout_s):
                await answer
        except TimeoutError:
            raise TransientError(f"{peer} is not reached: timed out") from None
        await asyncio.sleep(trip / 2)
        if not other.is_alive or not network.passes(me, peer):
            raise TransientError(f"{peer} is not reached: lost in the handshake")
        if not process.is_alive:
            raise Killed  # whoever is wound up does not sleep
        near, far = network.pair(process, me, other, peer, kind)
        other.run_soon(accept, far)
        return near

    async def _knock(self, peer: str) -> None:
        """Wait until the other kernel answers, as TCP does: again after 1, 3, 7 seconds."""
        network, pause, left = self._network, AGAIN_S, self._network.connect_timeout_s
        while not network.passes(self._place, peer) or not network.is_host_up(peer):
            if left <= 0:
                raise TransientError(f"{peer} is not reached: timed out")
            await asyncio.sleep(min(pause, left))
            left, pause = left - pause, pause * 2

    async def listen(self, accept: Accept) -> str:
        """See Transport."""
        self._network.listen(self._place, self._process, accept)
        return f"{self._place}:0"

    async def close(self) -> None:
        """See Transport: the links go with the process."""
