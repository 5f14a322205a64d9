"""Three centers and a coordinator as real processes, for stories that need nothing less.

The lab's own pieces are used: directories, keys, configurations, processes. New here: a small group with
short times, wires that can be cut, and logs that are shown when a story fails.
"""

import asyncio
import json
import os
import re
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

from typing_extensions import override

from drsync.adapters.api_client.doc import Doc, Json
from drsync.adapters.api_client.failures import DONE
from drsync.lab import founding, ledger, ports, processes, record
from drsync.lab.cluster import Cluster
from drsync.lab.configs import PORTS, write_configs
from drsync.lab.importing import read_all
from drsync.lab.layout import (
    CENTER_NAMES,
    COORDINATOR,
    DISK,
    GROUP,
    LEDGER,
    PROCESSES,
    PRODUCTION,
    REMOTE,
    SAME_CITY,
    Layout,
)
from drsync.lab.ports import HOST
from drsync.lab.record import LabRecord, Process
from drsync.lab.status import group_of, owner_uri
from drsync.lab.writer import LedgerWriter
from tests.integration.proxy import Proxy, Wire
from tests.network import Network

MIB = 1 << 20
LEASE_S = 2.0
POLICY: Json = {"lease": "2s", "checkpoint": "500ms", "sync_timeout": "1s", "window": "600s"}
START_S = 30.0  # because four interpreters start at once, and other tests run beside us
SETTLE_S = 30.0
STORY_S = 55.0  # because pytest ends a test after 60 s, and then nothing would be shown
LOG_LINES = 40
POLL_S = 0.05
FORBIDDEN = re.compile(r"Traceback|error +\S*: ?bug|: bug: ")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def doc(self) -> Doc:
        """What it printed with ``--json``."""
        return Doc(json.loads(self.out))

    def well(self) -> "Ended":
        """Itself, if it ended well."""
        assert self.code == DONE, f"exit code {self.code}\n{self.out}\n{self.err}"
        return self


class Hosts(Cluster):
    """A lab whose processes run on hosts of their own, as far as the network can tell."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self.network = Network({name: f"10.77.1.{at}" for at, name in enumerate(PROCESSES, start=1)})

    @override
    def start(self, name: str) -> Process:
        with self.network.entered(name):
            return super().start(name)

    @property
    @override
    def url(self) -> str:
        """By its socket, since its loopback address is another host's."""
        return f"unix:{self.layout.coordinator_socket}"


class Site:
    """One lab directory and its processes; with `hosts` they run in network namespaces."""

    def __init__(self, root: Path, *, hosts: bool = False) -> None:
        self.layout = Layout(root)
        self.hosts = Hosts(self.layout) if hosts else None
        self.cluster = self.hosts or Cluster(self.layout)
        self.wires: dict[tuple[str, str], Proxy] = {}
        self.held = ExitStack()

    # --- making it

    def found(self) -> None:
        """Directories, keys, configurations; nothing runs yet."""
        self.layout.root.mkdir(mode=0o700, parents=True)
        known = LabRecord(f"test-{secrets.token_hex(4)}", ports.choose(PORTS, held=self.held))
        record.save(self.layout.record, known)
        founding.make_keys(self.layout)
        write_configs(self.layout, known)
        if self.hosts is not None:
            self.hosts.network.make()
            for process in PROCESSES:
                self._rehouse(process, self.hosts.network.addresses, known)

    def _rehouse(self, process: str, addresses: Mapping[str, str], known: LabRecord) -> None:
        """Everybody is found at a host's address in place of loopback."""
        path = self.layout.config(process)
        text = path.read_text()
        for target, address in addresses.items():
            text = text.replace(f'"{HOST}:{known.ports[target]}"', f'"{address}:{known.ports[target]}"')
        path.write_text(text)

    async def wire_up(self) -> None:
        """Put a proxy between any two processes that talk."""
        known = self.cluster.record.ports
        for dialer, target in permutations(PROCESSES, 2):
            if dialer == COORDINATOR:
                continue  # it is dialed
            wire = self.wires[dialer, target] = Proxy(known[target])
            await wire.start()
            self.edit(dialer, f'"{HOST}:{known[target]}"', f'"{HOST}:{wire.port}"')

    def edit(self, process: str, old: str, new: str) -> None:
        """Change a configuration; `old` must be there."""
        path = self.layout.config(process)
        text = path.read_text()
        assert old in text, f"{old} is not in {path}"
        path.write_text(text.replace(old, new))

    async def start_all(self) -> None:
        """Start what does not run, until every center is connected."""
        for name in PROCESSES:
            self.cluster.start(name)
        await self.until("every center connected", is_connected, START_S)

    async def protect(self, disk_bytes: int = 8 * MIB, ledger_bytes: int = 4 * MIB, **policy: object) -> None:
        """Create the group and wait until everybody follows."""
        await self.post("/v1/groups", group_document(disk_bytes, ledger_bytes, **policy))
        is_async = policy.get("mode") == "async"
        await self.until("the group open and level", lambda s: is_level(s, PRODUCTION, is_async=is_async))

    # --- processes

    async def kill(self, *names: str) -> None:
        """SIGKILL."""
        for name in names:
            self.cluster.signal(name, signal.SIGKILL)
        for name in names:
            await self.cluster.stop(name, is_kind=False)

    async def stop(self, name: str) -> None:
        """SIGTERM, and wait."""
        assert await self.cluster.stop(name), f"{name} did not end by itself"

    def start(self, *names: str) -> None:
        """Start again."""
        for name in names:
            self.cluster.start(name)

    async def close(self) -> None:
        """End every process that was started here, by its id."""
        for name in PROCESSES:
            await self.cluster.stop(name, is_kind=False)
        for wire in self.wires.values():
            await wire.stop()
        if self.hosts is not None:
            self.hosts.network.close()
        self.held.close()

    # --- wires

    def switch(self, wire: Wire, one: str, others: Iterable[str] = PROCESSES) -> None:
        """Change every wire between `one` and `others`."""
        for other in set(others) - {one}:
            for pair in ((one, other), (other, one)):
                if pair in self.wires:
                    self.wires[pair].switch(wire)

    def slow_down(self, seconds: float) -> None:
        """Talk between coordinator and agents takes longer, so that there is time between steps."""
        for (_, target), wire in self.wires.items():
            if target == COORDINATOR:
                wire.delay_s = seconds

    # --- asking

    async def get(self, path: str) -> Doc:
        async with self.cluster.api() as api:
            return await api.get(path)

    async def post(self, path: str, body: Json) -> Doc:
        async with self.cluster.api() as api:
            return await api.post(path, body)

    async def group(self) -> Doc:
        """The group as the coordinator sees it now."""
        return group_of(await self.get("/v1/status"))

    async def charter(self) -> Doc:
        """The charter in force."""
        return (await self.get(f"/v1/groups/{GROUP}/charter")).doc("charter")

    async def uri(self, volume: str = LEDGER) -> str:
        """Where a volume is served now; empty while it is not."""
        return owner_uri(await self.get("/v1/status"), volume)

    async def until(self, what: str, is_reached: Callable[[Doc], bool], seconds: float = SETTLE_S) -> Doc:
        """The first status that satisfies `is_reached`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while True:
            status = await self.cluster.status()
            if status is not None and is_reached(status):
                return status
            if loop.time() > deadline:
                shown = json.dumps(dict(status.items()), indent=1) if status else "no answer"
                raise AssertionError(f"not reached in {seconds:.0f} s: {what}\n{shown}")
            await asyncio.sleep(POLL_S)

    async def cli(self, *arguments: str, seconds: float = 60.0) -> Ended:
        """Run ``drsync ARGUMENTS`` to its end, as a person would."""
        environment = os.environ | {"DRSYNC_COORDINATOR": f"unix:{self.layout.coordinator_socket}"}
        environment.pop("DRSYNC_TOKEN_FILE", None)
        command = [sys.executable, "-P", "-m", "drsync.cli.main", *arguments]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *command, env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
        )
        try:
            async with asyncio.timeout(seconds):
                out, err = await process.communicate()
        except BaseException:
            if process.returncode is None:
                process.kill()
                await process.wait()
            raise
        assert process.returncode is not None
        return Ended(process.returncode, out.decode(), err.decode())

    # --- the application

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[LedgerWriter]:
        """An application that writes to the ledger all the time and follows its owner."""
        writer = LedgerWriter(self.uri)
        task = asyncio.create_task(writer.run())
        try:
            yield writer
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def require_ledger(self, writer: LedgerWriter) -> None:
        """Every acknowledged write is readable at the owner."""
        acknowledged = writer.acknowledged
        content = await read_all(await self.uri())
        found = ledger.compare(content, writer.run_id, acknowledged, writer.attempted)
        assert not found.lost, f"of {acknowledged} acknowledged writes these are lost: {found.lost[:20]}"

    async def require_equal_content(self, *centers: str) -> None:
        """A drill at each of these centers finds the owner's content at one position."""
        for center in centers:
            ended = (await self.cli("drill", "run", GROUP, "--at", center, "--json")).well()
            report = ended.doc.doc("result").doc("report")
            assert (report.text("verdict"), report.text("content")) == ("passed", "equal"), ended.out

    # --- evidence

    def log(self, process: str) -> str:
        """Everything a process said."""
        path = self.layout.log(process)
        return path.read_text(errors="replace") if path.exists() else ""

    def ends_of_logs(self) -> str:
        """The last lines of every process, for whoever reads why a story failed."""
        parts = []
        for name in PROCESSES:
            state = "runs" if name in self.cluster.alive() else "does not run"
            lines = processes.last_lines(self.layout.log(name), LOG_LINES)
            parts += [f"--- {name} ({state})", *lines]
        return "\n".join(parts)

    def require_no_bugs(self) -> None:
        """No process met a state that its author did not think of."""
        found = [
            f"{name}: {line}"
            for name in PROCESSES
            for line in self.log(name).splitlines()
            if FORBIDDEN.search(line)
        ]
        assert not found, "\n".join(found)


@asynccontextmanager
async def site(
    home: Path,
    *,
    wired: bool = False,
    hosts: bool = False,
    seconds: float = STORY_S,
    configure: Callable[[Site], None] = lambda _place: None,
) -> AsyncIterator[Site]:
    """A site whose four processes run; no group yet. Ends after `seconds` at the latest.

    `configure` may change configurations before anything is started.
    """
    place = Site(home / "s", hosts=hosts)
    try:
        place.found()
        configure(place)
        async with asyncio.timeout(seconds):
            if wired:
                await place.wire_up()
            await place.start_all()
            yield place
            place.require_no_bugs()
    except BaseException as error:
        error.add_note(place.ends_of_logs())
        raise
    finally:
        await place.close()


def group_document(disk_bytes: int, ledger_bytes: int, **policy: object) -> Json:
    """A small group with short times."""
    return {
        "name": GROUP,
        "preferred_owner": PRODUCTION,
        "members": list(CENTER_NAMES),
        "volumes": [{"name": DISK, "size": disk_bytes}, {"name": LEDGER, "size": ledger_bytes}],
        "objectives": {"rpo": "15s", "rto": "60s"},
        "policy": POLICY | dict(policy),
    }


def is_connected(status: Doc, *names: str) -> bool:
    """These centers, or all, are connected."""
    return all(status.doc("centers").doc(name).flag("connected") for name in names or CENTER_NAMES)


def is_served(status: Doc, owner: str) -> bool:
    """`owner` owns the group, nothing is in progress, and its volumes can be opened."""
    group = group_of(status)
    is_owner = group.text("owner") == owner and not group.has("intent")
    return is_owner and bool(owner_uri(status, LEDGER))


def is_level(status: Doc, owner: str, *, is_async: bool = False) -> bool:
    """`owner` serves, its mate is in sync, the remote center follows closely."""
    group = group_of(status)
    mates = {PRODUCTION, SAME_CITY} if owner != REMOTE and not is_async else {owner}
    centers = dict(group.table("centers"))
    followers = [center for name, center in centers.items() if name != owner]
    return (
        is_served(status, owner)
        and is_connected(status)
        and set(group.texts("in_sync")) == mates
        and all(center.text("state") == "replica" for center in followers)
        and all(center.number("rpo_actual_s", 99.0) < 2.0 for center in followers)
    )
