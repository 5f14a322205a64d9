"""The door that agents come through: every control link they open is served until it ends."""

from collections.abc import Callable, Coroutine

from drsync import __version__
from drsync.coordinator.agents import AgentDesk
from drsync.coordinator.journal import Journal
from drsync.engine.rpc import Endpoint, Me
from drsync.model.errors import DrsyncError
from drsync.ports.clock import Clock
from drsync.ports.transport import Link, LinkKind

COORDINATOR = "coordinator"
"""The name that the coordinator's key is pinned under."""


class Door:
    """One per process; `accept` is what a transport's `listen` calls."""

    def __init__(
        self,
        *,
        desk: AgentDesk,
        journal: Journal,
        cluster_id: str,
        session: str,
        clock: Clock,
        spawn: Callable[[Coroutine[None, None, None]], object],
    ) -> None:
        """Open it.

        Args:
            desk: answers those who come.
            journal: is told of bugs.
            cluster_id: whose agents are let in.
            session: of this process, another one for each.
            clock: time.
            spawn: starts a task that lives as long as the process.
        """
        self._desk = desk
        self._journal = journal
        self._clock = clock
        self._spawn = spawn
        self._me = Me(cluster_id, COORDINATOR, session, "", __version__)

    def accept(self, link: Link) -> None:
        """An agent dialed."""
        if link.kind is not LinkKind.CONTROL:
            link.close("the coordinator takes control links only")
            return
        work = self._serve(link)
        try:
            self._spawn(work)
        except RuntimeError:  # as an asyncio.TaskGroup says that ends: the process is about to
            work.close()
            link.close("the coordinator is stopping")

    async def _serve(self, link: Link) -> None:
        line: list[Endpoint] = []
        handlers = self._desk.handlers(link.peer, lambda: line[0])
        endpoint = Endpoint(link, self._clock, handlers, self._me, on_bug=self._journal.bug)
        line.append(endpoint)
        try:
            await endpoint.run()
        except DrsyncError as error:
            self._desk.lost(link.peer, endpoint, str(error))
        except Exception as error:  # noqa: BLE001  # a bug costs this link, not the coordinator
            self._journal.bug(f"link of {link.peer}", error)
            self._desk.lost(link.peer, endpoint, "a bug")
