"""INV-22: queues, links, tasks and tables stay bounded, and what was needed is given back."""

from collections import Counter
from typing import TYPE_CHECKING

from drsync.engine.bulk import STREAMS_MAX, BulkChannel
from drsync.sim.character import NAMES
from drsync.sim.ledger import ViolationError

if TYPE_CHECKING:
    from drsync.sim.process import Process
    from drsync.sim.world import World

TASKS_MAX = 120  # of a process, because it has about thirty and each request of a peer adds one
LINKS_MAX = 16  # open at one end of a pair, because each redial may leave one that nobody told of for 15 s
LINKS_USUAL = 9  # of a center: the coordinator's, and two to and from each peer, even if few were up at first
QUEUE_MAX = 1 << 20  # bytes on their way in one stream, because flow control stops whoever sends at a quarter


class Limits:
    """Of all processes.

    Attributes:
        most_tasks, most_links, most_queued: the highest ever seen.
    """

    def __init__(self, world: "World") -> None:
        self._world = world
        self.most_tasks = 0
        self.most_links = 0
        self.most_queued = 0
        self._usual: dict[str, tuple[int, int]] = {}

    def look(self) -> None:
        """Count everything. Raises ViolationError."""
        for name in self._world.places:
            process = self._process(name)
            if process is not None and process.is_alive:
                tasks = process.task_count
                self.most_tasks = max(self.most_tasks, tasks)
                if tasks > TASKS_MAX:
                    raise ViolationError("INV-22", f"{process.name} has {tasks} tasks")
        self._look_at_links()
        for name in NAMES:
            for member in self._world.agents[name].members():
                term = member.term
                if term is not None:
                    sizes = (len(term.attachments), len(term.plans), len(term.engine.feeds))
                    if max(sizes) > len(NAMES):
                        raise ViolationError("INV-22", f"{name} keeps {sizes} attachments, plans and feeds")

    def _look_at_links(self) -> None:
        links: Counter[tuple[str, str]] = Counter()
        for link in self._world.network.open_links():
            links[link.me, link.peer] += 1
            self.most_queued = max(self.most_queued, link.queued)
            if link.queued > QUEUE_MAX:
                raise ViolationError(
                    "INV-22",
                    f"{link.queued} bytes wait in a {link.kind.value} link from {link.me} to {link.peer}",
                )
            if isinstance(link.handler, BulkChannel) and link.handler.stream_count > STREAMS_MAX:
                raise ViolationError("INV-22", f"{link.handler.stream_count} streams in a link at {link.me}")
        for (me, peer), count in sorted(links.items()):
            self.most_links = max(self.most_links, count)
            if count > LINKS_MAX:
                raise ViolationError("INV-22", f"{me} has {count} links to {peer}")

    # --- leaks

    def remember(self) -> None:
        """The world is as it usually is: so much is needed."""
        for name in self._world.places:
            self._usual[name] = self._needed(name)

    def look_for_leaks(self) -> None:
        """The world is as it usually is again: no more may be needed. Raises ViolationError."""
        for name, (tasks, links) in self._usual.items():
            now_tasks, now_links = self._needed(name)
            if now_tasks > 2 * tasks + LINKS_MAX or now_links > 2 * max(links, LINKS_USUAL):
                raise ViolationError(
                    "INV-22",
                    f"{name} needed {tasks} tasks and {links} links at first, "
                    f"{now_tasks} and {now_links} at the end",
                )

    def _needed(self, name: str) -> tuple[int, int]:
        process = self._process(name)
        tasks = process.task_count if process is not None and process.is_alive else 0
        return tasks, sum(link.me == name for link in self._world.network.open_links())

    def _process(self, name: str) -> "Process | None":
        world = self._world
        return world.agents[name].process if name in world.agents else world.coordinator.process
