"""Who may confirm an owner without the store: copies that the store has compared, and younger ones."""

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from drsync.adapters.system.clock import SystemClock, SystemRandom
from drsync.agent.headquarters import Headquarters
from drsync.agent.service import rounds
from drsync.model.charter import Charter
from drsync.model.copy import Statement
from drsync.model.epoch import NEVER
from drsync.model.errors import TransientError
from drsync.model.objectives import Beat
from drsync.ports.transport import Link, LinkKind, Transport
from tests.engine.town import GROUP

if TYPE_CHECKING:
    from drsync.agent.broken import BrokenCopy
    from drsync.engine.member import Member
    from drsync.engine.rpc import Endpoint

Json = dict[str, object]
TOKEN = 7


@dataclass
class FakeMember:
    """A copy of a group, as far as heartbeats need one."""

    group_id: str
    tokens: list[int] = field(default_factory=list)
    charter: Charter | None = None
    term: None = None
    is_switching: bool = False

    @property
    def copy(self) -> SimpleNamespace:
        spec = SimpleNamespace(id=self.group_id, policy=GROUP.policy)
        return SimpleNamespace(spec=spec, beat=lambda: Beat(0, 0, NEVER), is_switching=self.is_switching)

    def statement(self) -> Statement:
        assert not self.is_switching
        return Statement("same_city", "session", "incarnation")

    def bound_s(self) -> float:
        return 0.0

    def checked(self, token: int) -> None:
        self.tokens.append(token)


@dataclass
class FakeHost:
    """An agent."""

    held: list[FakeMember]

    def members(self) -> "list[Member]":
        return cast("list[Member]", self.held)

    def broken(self) -> "list[BrokenCopy]":
        return []

    async def adopt(self, charter: Charter) -> "Member":
        raise TransientError(f"{charter.group.name} is adopted by nobody here")

    def report(self, member: "Member") -> Json | None:
        del member
        return None

    def openings(self, member: "Member") -> Json:
        return {}

    def silent_s(self) -> dict[str, float]:
        return {}

    def registration(self) -> Json:
        return {}

    async def keep_token(self, token: int) -> None:
        assert token == TOKEN

    def log(self, event: str, reason: str) -> None:
        """Nobody reads it."""


class FakeEndpoint:
    """A coordinator that remembers more of some groups than they state."""

    def __init__(self, went_back: list[str]) -> None:
        self.went_back = went_back

    async def call(self, method: str, body: Json, timeout_s: float) -> Json:
        del body, timeout_s
        return {"token": TOKEN, "went_back": self.went_back} if method == "register" else {}


class NoTransport:
    """Nothing is dialed."""

    async def connect(self, peer: str, kind: LinkKind) -> Link:
        raise TransientError(f"{peer} {kind}")

    async def listen(self, accept: object) -> str:
        raise AssertionError

    async def close(self) -> None:
        """Nothing to close."""


async def beaten(host: FakeHost, went_back: list[str], young: FakeMember) -> None:
    """Register, then let `young` appear, then send a heartbeat."""
    never: asyncio.Future[Endpoint] = asyncio.get_running_loop().create_future()
    headquarters = Headquarters(
        host, cast("Transport", NoTransport()), SystemClock(), SystemRandom(), lambda _link: never.result()
    )
    async with asyncio.TaskGroup() as tasks:
        headquarters._tasks = tasks
        endpoint = cast("Endpoint", FakeEndpoint(went_back))
        await headquarters._register(endpoint)
        host.held.append(young)
        await headquarters._beat(endpoint)


async def test_a_copy_of_a_younger_group_has_forgotten_nothing() -> None:
    young = FakeMember("01" * 16)
    await beaten(FakeHost([]), [], young)
    assert young.tokens == [TOKEN]


async def test_a_copy_that_was_compared_is_told_once() -> None:
    old = FakeMember("02" * 16)
    await beaten(FakeHost([old]), [], FakeMember("01" * 16))
    assert old.tokens == [TOKEN]


async def test_a_copy_that_went_back_or_was_lost_may_not_confirm() -> None:
    """The lost one comes again as a blank copy of a group that the store remembers."""
    old, again = FakeMember("02" * 16), FakeMember("03" * 16)
    await beaten(FakeHost([old]), [old.group_id, again.group_id], again)
    assert (old.tokens, again.tokens) == ([], [])


async def test_a_copy_in_a_switch_says_nothing_and_counts_as_compared_with_nothing() -> None:
    """Until the next registration it confirms nothing: what it would state then was not looked at."""
    old = FakeMember("02" * 16, is_switching=True)
    young = FakeMember("01" * 16)
    await beaten(FakeHost([old]), [], young)
    assert (old.tokens, young.tokens) == ([], [TOKEN])


async def test_a_disk_that_hangs_is_no_loop_that_hangs() -> None:
    """A restart mends no disk: the service manager must not take it for a daemon that stands still."""
    host, gate = FakeHost([]), asyncio.Event()

    async def slow(token: int) -> None:
        await gate.wait()

    host.keep_token = slow  # type: ignore[method-assign]
    never: asyncio.Future[Endpoint] = asyncio.get_running_loop().create_future()
    headquarters = Headquarters(
        host, cast("Transport", NoTransport()), SystemClock(), SystemRandom(), lambda _link: never.result()
    )
    assert "link to the coordinator" in rounds(headquarters, [])
    async with asyncio.TaskGroup() as tasks:
        headquarters._tasks = tasks
        registering = tasks.create_task(headquarters._register(cast("Endpoint", FakeEndpoint([]))))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not registering.done()
        assert rounds(headquarters, []) == {}
        gate.set()
    assert "link to the coordinator" in rounds(headquarters, [])
