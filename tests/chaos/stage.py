"""Three centers and a coordinator as real processes, a proxy on each line, writing clients, and a judge."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from enum import StrEnum
from itertools import permutations
from pathlib import Path

from drsync.adapters.nbd.client import NbdClient
from drsync.lab.layout import CENTER_NAMES, COORDINATOR, DISK, GROUP, PROCESSES
from drsync.lab.ports import HOST
from drsync.lab.status import owner_uri
from tests.chaos import history, rig
from tests.chaos.crew import BLOCK, Crew, number_in
from tests.chaos.history import History
from tests.chaos.logs import owners_of, read_log
from tests.chaos.rig import Client, ClientProxy
from tests.integration.site import Site, is_level

DISK_BYTES = 4 << 20
SETTLE_S = 45.0
CATCH_UP_S = 15.0
READ_BYTES = 1 << 20

Pair = tuple[str, str]
"""Who dials, and whom."""


class Fault(StrEnum):
    """What can be done to a line, in the words of Toxiproxy."""

    CUT = "cut"
    SLOW = "slow"
    HALF_OPEN = "half-open"
    RESET = "reset"
    LIMITED = "limited"


TOXICS: dict[Fault, tuple[tuple[str, dict[str, int]], ...]] = {
    Fault.CUT: (),
    Fault.SLOW: (("latency", {"latency": 80, "jitter": 60}), ("bandwidth", {"rate": 150})),
    Fault.HALF_OPEN: (("timeout", {"timeout": 0}),),
    Fault.RESET: (("reset_peer", {"timeout": 100}),),
    Fault.LIMITED: (("limit_data", {"bytes": 50_000}),),
}


def lines(one: str, *others: str) -> list[Pair]:
    """Every line between `one` and `others` (all, if none is named), whoever dials."""
    partners = set(others or PROCESSES) - {one}
    return [
        pair
        for pair in permutations(PROCESSES, 2)
        if pair[0] != COORDINATOR and one in pair and partners & set(pair)
    ]


class Stage:
    """A site whose lines run through proxies."""

    def __init__(self, place: Site, client: Client, seed: int) -> None:
        self.place = place
        self.client = client
        self.dice = random.Random(seed)
        self.proxies: dict[Pair, ClientProxy] = {}
        self.killed: set[str] = set()
        self.findings: list[str] = []
        self.notes: list[str] = []
        self.crew = Crew(
            place.cluster.status, self._why, f"{GROUP}/{DISK}", DISK_BYTES // BLOCK, random.Random(seed)
        )

    async def _why(self) -> tuple[str, ...]:
        answer = await self.place.get(f"/v1/groups/{GROUP}/why")
        return tuple(f"{line.text('what')} ({line.text('who')})" for line in answer.docs("lines"))

    async def wire_up(self) -> None:
        """A proxy for each dialer and target."""
        known = self.place.cluster.record.ports
        for dialer, target in permutations(PROCESSES, 2):
            if dialer == COORDINATOR:
                continue  # it is dialed
            name, upstream = f"{dialer}-{target}", f"{HOST}:{known[target]}"
            proxy = await asyncio.to_thread(self._proxy, name, upstream)
            self.proxies[dialer, target] = proxy
            self.place.edit(dialer, f'"{upstream}"', f'"{proxy.listen}"')

    def _proxy(self, name: str, upstream: str) -> ClientProxy:
        left = self.client.get_proxy(name)
        if left is not None:
            left.destroy()
        return self.client.create(upstream=upstream, name=name)

    # --- disturbing

    async def disturb(self, fault: Fault, pairs: Iterable[Pair]) -> None:
        """Do something to lines, until `heal`."""
        await asyncio.to_thread(self._disturb, fault, list(pairs))

    def _disturb(self, fault: Fault, pairs: list[Pair]) -> None:
        for pair in pairs:
            proxy = self.proxies[pair]
            if fault is Fault.CUT:
                proxy.disable()
            for kind, attributes in TOXICS[fault]:
                for stream in ("upstream", "downstream"):
                    name = f"{kind}_{stream}"
                    if name not in proxy.toxics():
                        proxy.add_toxic(type=kind, stream=stream, name=name, attributes=attributes)

    async def heal(self, pairs: Iterable[Pair]) -> None:
        """Lines as they were."""
        await asyncio.to_thread(self._heal, list(pairs))

    def _heal(self, pairs: list[Pair]) -> None:
        for pair in pairs:
            proxy = self.proxies[pair]
            for name in proxy.toxics():
                proxy.destroy_toxic(name)
            proxy.enable()

    @asynccontextmanager
    async def disturbed(self, fault: Fault, pairs: Iterable[Pair]) -> AsyncIterator[None]:
        """For the length of a block."""
        chosen = list(pairs)
        await self.disturb(fault, chosen)
        try:
            yield
        finally:
            await self.heal(chosen)

    async def kill(self, name: str) -> None:
        """SIGKILL."""
        self.killed.add(name)
        await self.place.kill(name)

    def restart(self, name: str) -> None:
        """Start what was killed."""
        self.killed.discard(name)
        self.place.start(name)

    # --- observing

    async def until_said(self, words: Iterable[str], began: float, within_s: float) -> None:
        """The status turns red and names the trouble within `within_s` of `began`."""
        wanted = list(words)
        while time.monotonic() < began + within_s:
            if not history.silent(self.crew.samples, began, time.monotonic(), wanted, within_s):
                return
            await asyncio.sleep(0.05)
        self.findings += history.silent(self.crew.samples, began, time.monotonic(), wanted, within_s)

    async def level(self, owner: str) -> None:
        """Everybody is back on the live edge, and the status says that all is well."""
        await self.place.until(f"{owner} open and everybody level", lambda s: is_level(s, owner), SETTLE_S)

    async def hold(self, seconds: float) -> None:
        """Let a fault last: the time in which connections meet it."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            await asyncio.sleep(0.05)

    def require_alive(self) -> None:
        """Nobody ended by itself."""
        self.findings += history.dead(set(PROCESSES) - self.killed, set(self.place.cluster.alive()))

    async def judge(self, owner: str, *, is_drilled: bool = False) -> History:
        """Everything heals; then every check must hold with `owner` serving. Returns what was checked.

        `is_drilled` also has both others opened and compared; without it their logs alone are.
        """
        self.require_alive()
        await self.heal(self.proxies)
        for name in sorted(self.killed):
            self.restart(name)
        await self.level(owner)
        await self.crew.until_writing(5, CATCH_UP_S)
        self.crew.is_paused = True
        found = await self._history(owner)
        self.findings += history.check(found)
        self.require_alive()
        assert not self.findings, "\n".join(self.findings)
        if is_drilled:
            await self.place.require_equal_content(*(name for name in CENTER_NAMES if name != owner))
        return found

    async def _history(self, owner: str) -> History:
        group = (await self.place.charter()).doc("group")
        volume = next(v.whole("index") for v in group.docs("volumes") if v.text("name") == DISK)
        deadline = time.monotonic() + CATCH_UP_S
        while True:
            logs = {
                name: await asyncio.to_thread(read_log, self._journal(name), volume) for name in CENTER_NAMES
            }
            last = {log.entries[-1] if log.entries else None for log in logs.values()}
            if len(last) == 1 or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.05)
        self.findings += [] if len(last) == 1 else [f"not everywhere after {CATCH_UP_S:.0f} s: {last}"]
        owners = owners_of(await self.place.get(f"/v1/groups/{GROUP}/charter/history"))
        uri = owner_uri(await self.place.get("/v1/status"), DISK)
        return History(self.crew.attempts, owners, owner, logs, await read_slots(uri))

    def _journal(self, center: str) -> Path:
        (found,) = (self.place.layout.state(center) / "groups").glob("*/journal")
        return found


async def read_slots(uri: str) -> dict[int, int]:
    """Slot -> write, as the owner serves it."""
    client = await NbdClient.connect(uri, connect_seconds=5.0, request_seconds=10.0)
    try:
        content = b"".join([await client.read(at, READ_BYTES) for at in range(0, client.size, READ_BYTES)])
    finally:
        await client.close()
    return {at // BLOCK: number_in(content[at : at + BLOCK]) for at in range(0, len(content), BLOCK)}


def _nothing(_place: Site) -> None:
    """Nothing to prepare."""


@asynccontextmanager
async def stage(
    home: Path, *, seed: int = 0, seconds: float = 110.0, prepare: Callable[[Site], None] = _nothing
) -> AsyncIterator[Stage]:
    """A stage on which everybody writes, follows and is in sync. Shows the logs when the story fails.

    `prepare` is called when the directories are there and nothing runs yet.
    """
    place = Site(home / "s")
    place.found()
    prepare(place)
    with rig.server(seed) as url:
        made = Stage(place, rig.client_of(url), seed)
        try:
            async with asyncio.timeout(seconds):
                await made.wire_up()
                await place.start_all()
                await place.protect(disk_bytes=DISK_BYTES)
                async with _running(made.crew.run()):
                    await made.crew.until_writing(20, 15.0)
                    yield made
                place.require_no_bugs()
        except BaseException as error:
            error.add_note("\n".join(made.findings))
            error.add_note(place.ends_of_logs())
            raise
        finally:
            await place.close()
            for proxy in made.proxies.values():
                proxy.destroy()


@asynccontextmanager
async def _running(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
        assert not task.done(), "the clients stopped"
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() and task.exception() is not None:
            task.result()
