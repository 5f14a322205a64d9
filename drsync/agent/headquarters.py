"""The agent's link to the coordinator: register, heartbeats, leases, the charter store."""

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from typing import Protocol

from drsync.agent.broken import BrokenCopy
from drsync.core.link import HEARTBEAT_MAX_S, heartbeat_s
from drsync.engine.member import Member
from drsync.engine.rpc import Endpoint
from drsync.model.charter import Charter
from drsync.model.errors import DrsyncError, TransientError
from drsync.ports.clock import Clock, Random
from drsync.ports.transport import Link, LinkKind, Transport
from drsync.wire import control

Json = dict[str, object]

COORDINATOR = "coordinator"
HEARTBEAT_TIMEOUT_S = 3.0  # because a later answer would not renew the lease in time anyway
RETRY_LOW_S, RETRY_HIGH_S = 0.2, 3.0  # because a restarted coordinator should hear its members soon


class Host(Protocol):
    """The agent, as this link needs it."""

    def members(self) -> list[Member]:
        """All groups with a copy here."""
        ...

    def broken(self) -> list[BrokenCopy]:
        """Copies that could not be opened."""
        ...

    async def adopt(self, charter: Charter) -> Member:
        """Create the copy when there is none, and remember the charter."""
        ...

    def report(self, member: Member) -> Json | None:
        """What the owner tells beside its statement; None at a replica."""
        ...

    def openings(self, member: Member) -> Json:
        """What people opened of the group here, and what ended; nothing while there is nothing to tell."""
        ...

    def silent_s(self) -> dict[str, float]:
        """For how long each other center was not heard: what the coordinator asks before it suspects one."""
        ...

    def registration(self) -> Json:
        """Who this process is, with its start token."""
        ...

    async def keep_token(self, token: int) -> None:
        """The store's next start token; durable on return. Raises FailedCopyError."""
        ...

    def log(self, event: str, reason: str) -> None:
        """A line for the night shift."""
        ...


class Headquarters:
    """Keeps the link for as long as `run` runs."""

    def __init__(
        self,
        host: Host,
        transport: Transport,
        clock: Clock,
        dice: Random,
        make_endpoint: Callable[[Link], Endpoint],
    ) -> None:
        self._host = host
        self._transport = transport
        self._clock = clock
        self._dice = dice
        self._make_endpoint = make_endpoint
        self._dialed: Endpoint | None = None
        self._endpoint: Endpoint | None = None
        self._link_made = asyncio.Event()
        self._soon = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None
        self._adopting: set[str] = set()
        self._gone_back: set[str] = set()
        self._refused: set[tuple[str, int]] = set()  # said once for each group and generation
        self._compared: set[str] = set()  # groups that the store knew, or was told of, when we registered
        self._token = 0
        self._answered_at = 0.0
        self._gave_up_because = ""
        self.rounds = 0  # dials and answered heartbeats; it stands still at most while `is_at_disk`
        self.is_at_disk = False
        self.trouble = "not connected yet"

    @property
    def is_connected(self) -> bool:
        """Whether the coordinator has registered us."""
        return self._endpoint is not None and not self.trouble

    def beat_soon(self) -> None:
        """Send a heartbeat now: something changed that the coordinator waits for."""
        self._soon.set()

    async def ask(self, method: str, body: Json, timeout_s: float) -> Json:
        """Ask the coordinator. Raises TransientError without a link."""
        if self._endpoint is None:
            raise TransientError(f"the coordinator is not reached: {self.trouble}")
        return await self._endpoint.call(method, body, timeout_s)

    async def run(self) -> None:
        """Dial, register, beat; again when the link is lost. Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            tasks.create_task(self._keep_link())
            tasks.create_task(self._keep_beating())

    async def _keep_link(self) -> None:
        delay = RETRY_LOW_S
        while True:
            self.rounds += 1
            try:
                endpoint = self._make_endpoint(await self._transport.connect(COORDINATOR, LinkKind.CONTROL))
                self._dialed, delay = endpoint, RETRY_LOW_S
                self._link_made.set()
                await endpoint.run()
            except DrsyncError as error:
                self.trouble, self._gave_up_because = self._gave_up_because or str(error), ""
            finally:
                self._dialed = self._endpoint = None
            self._host.log("coordinator_lost", self.trouble)
            await self._clock.sleep_until(self._clock.now() + self._dice.uniform(delay / 2, delay))
            delay = min(delay * 2, RETRY_HIGH_S)

    async def _keep_beating(self) -> None:
        while True:
            await self._link_made.wait()
            self._link_made.clear()
            endpoint = self._dialed
            if endpoint is not None:
                await self._serve(endpoint)

    async def _serve(self, endpoint: Endpoint) -> None:
        try:
            await self._register(endpoint)
            self._endpoint, self.trouble = endpoint, ""
            self._host.log("coordinator_found", "registered")
            while True:
                await self._beat(endpoint)
                self.rounds += 1
                await self._pause()
        except DrsyncError as error:
            if self._dialed is endpoint:  # else the link was lost first, and its own reason is the better one
                self.trouble = self._gave_up_because = str(error)
            endpoint.close(f"giving up this link: {error}")

    async def _register(self, endpoint: Endpoint) -> None:
        body = self._host.registration()
        settled = self._settled()
        groups: Json = {m.copy.spec.id: control.to_json(m.statement()) for m in settled}
        groups |= {b.charter.group.id: control.to_json(b.statement) for b in self._host.broken()}
        body["groups"] = groups
        body["charters"] = {
            charter.group.id: {
                "name": charter.group.name,
                "generation": charter.generation,
                "version": charter.version,
                "epoch": charter.epoch,
            }
            for charter in self._charters()
        }
        answer = await endpoint.call("register", body, HEARTBEAT_TIMEOUT_S)
        self._answered_at = self._clock.now()
        stated = answer.get("token")
        token = stated if isinstance(stated, int) else 0
        self.is_at_disk = True
        try:
            await self._host.keep_token(token)
        finally:
            self.is_at_disk = False
        back = answer.get("went_back")
        self._gone_back = {str(group_id) for group_id in back} if isinstance(back, list) else set()
        told = self._learn(answer, token)
        self._token, self._compared = token, told | set(groups) | self._gone_back
        self._compared |= {member.copy.spec.id for member in self._host.members() if member not in settled}
        for member in settled:
            if member.copy.spec.id not in told and member.copy.spec.id not in self._gone_back:
                member.checked(token)

    def _settled(self) -> list[Member]:
        """Those that can tell where they stand: not while one becomes the log of a source (decision 21)."""
        return [member for member in self._host.members() if not member.copy.is_switching]

    def _charters(self) -> list[Charter]:
        """The newest charters that were seen here: a store that lost its own learns from them."""
        seen = [member.charter for member in self._host.members()]
        return [charter for charter in seen if charter is not None] + [b.charter for b in self._host.broken()]

    async def _beat(self, endpoint: Endpoint) -> None:
        self._soon.clear()
        sent_at = self._clock.now()
        groups: Json = {}
        asked = {}
        for member in self._settled():
            asked[member.copy.spec.id] = member.term
            groups[member.copy.spec.id] = {
                "statement": control.to_json(member.statement()),
                "report": self._host.report(member),
                "beat": asdict(member.copy.beat()),
                "bound_s": member.bound_s(),
                "version": member.charter.version if member.charter else 0,
                "generation": member.charter.generation if member.charter else 0,
                **self._host.openings(member),
            }
        for broken in self._host.broken():
            groups[broken.charter.group.id] = {
                "statement": control.to_json(broken.statement),
                "report": None,
                "version": broken.charter.version,
                "generation": broken.charter.generation,
            }
        body: Json = {
            "sent_at": sent_at,
            "since_answer_s": sent_at - self._answered_at,
            "groups": groups,
            "silent_s": self._host.silent_s(),
        }
        answer = await endpoint.call("heartbeat", body, HEARTBEAT_TIMEOUT_S)
        self._answered_at = self._clock.now()
        leases = answer.get("leases")
        for member in self._host.members():
            grant = leases.get(member.copy.spec.id) if isinstance(leases, dict) else None
            is_same_term = asked.get(member.copy.spec.id) is member.term  # a lease is of one epoch
            if isinstance(grant, dict) and self._is_of_old_generation(member, grant):
                continue
            if is_same_term and isinstance(grant, dict) and grant.get("granted") is True:
                member.lease_granted(sent_at, float(grant["seconds"]))
            if member.copy.spec.id not in self._compared:
                # Younger than this registration: there is nothing that the copy could have forgotten.
                member.checked(self._token)
        self._learn(answer)

    def _is_of_old_generation(self, member: Member, grant: Json) -> bool:
        """Whether the store we reach is of an older generation than one we have seen: it grants nothing."""
        known = member.charter.generation if member.charter is not None else 0
        offered = grant.get("generation", 0)
        is_old = isinstance(offered, int) and offered < known
        if is_old and (member.copy.spec.id, known) not in self._refused:
            self._refused.add((member.copy.spec.id, known))
            text = f"it is of generation {offered}, and {known} was seen: it is refused"
            self._host.log("old_store", f"the store of {member.copy.spec.name}: {text}")
        return is_old

    def _learn(self, answer: Json, token: int | None = None) -> set[str]:
        """Have the charters remembered beside the heartbeats; the groups they are of.

        A group that is busy or whose disk is broken must not cost the other groups their leases. What is
        not remembered now is told again with the next heartbeat.
        """
        assert self._tasks is not None
        bodies = answer.get("charters")
        charters = (
            [control.from_json(Charter, b) for b in bodies.values()] if isinstance(bodies, dict) else []
        )
        for charter in charters:
            if charter.group.id not in self._adopting or token is not None:
                self._adopting.add(charter.group.id)
                self._tasks.create_task(self._adopt(charter, token))
        return {charter.group.id for charter in charters}

    async def _adopt(self, charter: Charter, token: int | None) -> None:
        """With `token`: only who knows the newest charter is checked against it (F.A 24)."""
        try:
            member = await self._host.adopt(charter)
            if charter.group.id in self._gone_back:
                await member.distrust()
                self._gone_back.discard(charter.group.id)
            if token is not None:
                member.checked(token)
        except (DrsyncError, OSError) as error:
            self._host.log("charter_not_adopted", f"{charter.group.name}: {error}")
        finally:
            self._adopting.discard(charter.group.id)

    async def _pause(self) -> None:
        leases = [m.copy.spec.policy.lease_s for m in self._host.members() if m.term is not None]
        interval = min([HEARTBEAT_MAX_S, *map(heartbeat_s, leases)])
        try:
            async with asyncio.timeout(self._clock.until_round(interval)):
                await self._soon.wait()
        except TimeoutError:
            return
