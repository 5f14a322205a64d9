"""Real centers for a benchmark: the lab's processes, keys and configurations, with groups of its own."""

import secrets
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from drsync.adapters.api_client.doc import Doc
from drsync.lab import founding, ports, record
from drsync.lab.cluster import Cluster
from drsync.lab.configs import PORTS
from drsync.lab.layout import CENTER_NAMES, COORDINATOR, PROCESSES, Layout
from drsync.lab.record import LabRecord

READY_S = 60.0
WINDOW = "2s"  # because replicas then bring their images forward meanwhile, as they do in the long run


@dataclass(frozen=True)
class Group:
    """A group to be measured; the first member owns it."""

    name: str
    members: tuple[str, ...]
    mode: str
    volumes: int
    size_mib: int
    durability: str = "append"
    more: dict[str, object] = field(default_factory=dict)

    @property
    def volume_names(self) -> list[str]:
        return [f"v{n}" for n in range(self.volumes)]

    def document(self) -> dict[str, object]:
        """As `drsync group apply` would send it."""
        return {
            "name": self.name,
            "preferred_owner": self.members[0],
            "members": list(self.members),
            "volumes": [{"name": name, "size": f"{self.size_mib} MiB"} for name in self.volume_names],
            "policy": {
                "mode": self.mode,
                "durability": self.durability,
                "lease": "10s",
                "checkpoint": "1s",
                "window": WINDOW,
                **self.more,
            },
        }


class Centers:
    """A running cluster."""

    def __init__(self, cluster: Cluster, names: Sequence[str]) -> None:
        self._cluster = cluster
        self.names = tuple(names)

    @property
    def cluster(self) -> Cluster:
        """To start and stop single processes."""
        return self._cluster

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by name, the coordinator first."""
        alive = self._cluster.alive()
        return {name: alive[name].pid for name in self.names}

    @property
    def url(self) -> str:
        """Where the coordinator answers."""
        return self._cluster.url

    async def status(self) -> Doc:
        """What the coordinator says."""
        async with self._cluster.api() as client:
            return await client.get("/v1/status")

    async def serve(self, group: Group) -> list[str]:
        """Make a group and wait until its members follow as its mode says; addresses of its volumes."""
        await self.apply(group.document())
        return await self.wait_ready(group)

    async def apply(self, document: dict[str, object]) -> None:
        """Make a group; nothing is waited for."""
        async with self._cluster.api() as client:
            await client.post("/v1/groups", document)

    async def wait_ready(self, group: Group) -> list[str]:
        """Until the group is served and everybody has everything; addresses of its volumes."""
        owner, others = group.members[0], group.members[1:]
        keys = [f"{group.name}/{name}" for name in group.volume_names]

        def is_ready(status: Doc) -> bool:
            known = status.doc("groups").doc(group.name)
            served = status.doc("centers").doc(owner).doc("volumes")
            members = [known.doc("centers").doc(name) for name in others]
            near = {"same_city"} & set(others) if group.mode == "sync" else set()
            return (
                known.text("owner") == owner
                and near <= set(known.texts("in_sync"))
                and all(served.text(key) for key in keys)
                and all(
                    m.flag("connected") and m.has("lag_records") and not m.whole("lag_records")
                    for m in members
                )
            )

        what = f"group {group.name} served by {owner} and followed by {', '.join(others) or 'nobody'}"
        status = await self._cluster.wait_for(what, is_ready, READY_S, self.names)
        served = status.doc("centers").doc(owner).doc("volumes")
        return [served.text(key) for key in keys]


def has_everything(member: Doc) -> bool:
    """Whether a member is connected and not behind."""
    return member.flag("connected") and member.has("lag_records") and not member.whole("lag_records")


@asynccontextmanager
async def centers(
    parent: Path | None,
    names: Sequence[str] = CENTER_NAMES,
    before: Callable[[Cluster], Awaitable[None]] | None = None,
) -> AsyncIterator[Centers]:
    """Start a coordinator and these agents in a new directory; stop and remove everything at the end.

    `before` may change the configurations before anything starts.
    """
    with tempfile.TemporaryDirectory(prefix="drsync-bench-", dir=parent) as folder:
        cluster = Cluster(Layout(Path(folder)))
        made = LabRecord(cluster=f"bench-{secrets.token_hex(4)}", ports=ports.choose(PORTS))
        record.save(cluster.layout.record, made)
        founding.prepare(cluster.layout, made)
        if before is not None:
            await before(cluster)
        chosen = [name for name in PROCESSES if name == COORDINATOR or name in names]
        try:
            for name in chosen:
                cluster.start(name)

            def all_connected(status: Doc) -> bool:
                return all(status.doc("centers").doc(name).flag("connected") for name in names)

            await cluster.wait_for(f"connected: {', '.join(names)}", all_connected, READY_S, tuple(chosen))
            yield Centers(cluster, chosen)
        finally:
            await cluster.stop_all()
