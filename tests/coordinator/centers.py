"""Three agents as models in memory, registered at a real office with a real store."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, Request
from typing_extensions import override

from drsync.adapters.system.clock import SystemClock, SystemRandom
from drsync.coordinator.office import Office, Storage
from drsync.coordinator.sessions import AgentSession
from drsync.model.copy import CopyState, Statement
from drsync.model.errors import RefusedError, TransientError, UsageError
from drsync.wire import control
from tests.engine.fake_members import A, B, C, FakeMembers, Json, Member, level, spec

NAMES = (A, B, C)
WAIT_S = 20.0
BEAT_S = 0.02
HASTE = 5  # because the shortest lease is two seconds, and tests are many
DOCUMENT: Json = {
    "name": "orders",
    "preferred_owner": A,
    "members": [A, B, C],
    "volumes": [{"name": "data", "size": "1 MiB"}],
    "policy": {"lease": "2s"},
}
Client = TestClient[Request, Application]


class HastyClock(SystemClock):
    """The real clock, running `HASTE` times as fast."""

    @override
    def now(self) -> float:
        return super().now() * HASTE

    @override
    async def sleep_until(self, instant: float) -> None:
        rest = instant - self.now()
        while rest > 0:
            await asyncio.sleep(rest / HASTE)
            rest = instant - self.now()


def blank(name: str, session: str = "first") -> Member:
    return Member(Statement(name, f"{session}-{name}", f"store-{name}"))


class Centers(FakeMembers):
    """What agents do beside their logs: adopt, follow an owner, keep views."""

    def __init__(self) -> None:
        super().__init__({name: blank(name) for name in NAMES})
        self.views: dict[str, set[str]] = {name: set() for name in NAMES}
        self.hashes = {name: {"data": "blake3:00"} for name in NAMES}
        self.reaches_back = True
        self.knows_probe = True
        self.closes_views = True
        self.fails: set[str] = set()
        self.openings: dict[str, dict[str, Json]] = {name: {} for name in NAMES}
        self.ended: dict[str, list[Json]] = {name: [] for name in NAMES}
        self.forks: dict[str, list[Json]] = {name: [] for name in NAMES}
        self.holds: dict[str, dict[str, Json]] = {name: {} for name in NAMES}
        self.holds_lost: dict[str, list[Json]] = {name: [] for name in NAMES}
        self.proofs: dict[str, list[Json]] = {name: [] for name in NAMES}
        self.courses: dict[str, Json] = {}

    @override
    async def call(self, center: str, method: str, body: Json, timeout_s: float) -> Json:
        if center in self.deaf:
            raise TransientError(f"{center} is silent")
        if method in self.fails:
            raise RefusedError(f"{method} fails here", code="broken")
        if method == "group.adopt":
            return {"statement": control.to_json(self.members[center].word)}
        own = getattr(self, "_on_" + method.replace(".", "_"), None)
        if own is not None:
            answer: Json = own(center, body)
            return answer
        answer = await super().call(center, method, body, timeout_s)
        if method == "group.open":
            self._follow(self.members[center])
        return answer

    def _follow(self, owner: Member) -> None:
        for name, other in self.members.items():
            if other is not owner and name not in self.deaf:
                level(other, owner.word)
                epoch = owner.word.follow
                other.word = replace(other.word, state=CopyState.REPLICA, follow=epoch, promised=epoch)

    def _on_group_checkpoint(self, center: str, body: Json) -> Json:
        seq = self.members[center].word.appended
        view = str(body.get("view", ""))
        if body["hold"]:
            self.views[center].add(view)
        return {"seq": seq, "time_us": 5, "view": view or None}

    def _on_group_points(self, center: str, _body: Json) -> Json:
        return {"points": [{"seq": 1, "time_us": 5, "name": "old", "app": False}]}

    def _on_point_proofs(self, center: str, _body: Json) -> Json:
        return {"proofs": self.proofs[center]}

    def _on_opening_open(self, center: str, body: Json) -> Json:
        name = body["name"] or "point-7"
        if body["point"] == "old" and not self.reaches_back:
            raise RefusedError(f"{center}: no recovery point is called old", code="no_such_point")
        point = str(body["point"])
        seq = int(point) if point.isdecimal() else 1 if point == "old" else 7
        mark = {"point": "old" if seq == 1 else "", "is_point": True, "is_app_consistent": False}
        opening: Json = {
            "id": body["id"],
            "name": name,
            "group_id": body["group"],
            "center": center,
            "seq": seq,
            "time_us": 5,
            "fork": body.get("fork", ""),
            "quota_bytes": body.get("quota_bytes", 0),
            **mark,
            "opened_us": 10,
            "until_us": 1 << 60,
        }
        self.openings[center][str(body["id"])] = opening
        answer: Json = {"opening": opening, "volumes": {"data": f"nbd+unix:///data.at-7?socket=/{name}"}}
        return answer | {"asked_us": body.get("time_us") or 0, "next_us": 0, "left_out": []}

    def _on_opening_close(self, center: str, body: Json) -> Json:
        if body["name"] not in self.openings[center]:
            raise UsageError("there is none", code="unknown_opening")
        opening = self.openings[center].pop(str(body["name"]))
        self.ended[center].append({"id": opening["id"], "why": "closed", "text": body["text"], "at_us": 1})
        return {"opening": opening}

    def _on_group_pins(self, _center: str, _body: Json) -> Json:
        return {"pins": [{"kind": "window", "name": "", "seq": 3, "bytes": 64, "text": "images"}]}

    def _on_hold_list(self, center: str, _body: Json) -> Json:
        return {"holds": list(self.holds[center].values())}

    def _on_hold_add(self, center: str, body: Json) -> Json:
        name = str(body["name"])
        self.holds[center][name] = {"seq": 7, "time_us": 1, "point": body["point"], "bytes": 64, **body}
        return {"hold": self.holds[center][name]}

    def _on_hold_release(self, center: str, body: Json) -> Json:
        if body["name"] not in self.holds[center]:
            raise UsageError("there is none", code="unknown_hold")
        return {"hold": self.holds[center].pop(str(body["name"]))}

    def _on_fork_list(self, center: str, _body: Json) -> Json:
        return {"forks": [dict(fork) for fork in self.forks[center]]}

    def _on_fork_discard(self, center: str, body: Json) -> Json:
        self.forks[center] = [fork for fork in self.forks[center] if fork["name"] != body["name"]]
        return {}

    def _on_view_open(self, center: str, body: Json) -> Json:
        if body["seq"] == 1 and not self.reaches_back and not body["writable"]:
            raise RefusedError("the images are beyond it", code="no_such_point")
        self.views[center].add(str(body["id"]))
        return {"id": body["id"], "seq": body["seq"], "time_us": 5, "volumes": {"data": "nbd+unix:///x"}}

    def _on_view_probe(self, _center: str, _body: Json) -> Json:
        if not self.knows_probe:
            raise UsageError("no request is called view.probe here", code="unknown_method")
        return {"ok": True, "read_bytes": 4096, "filesystem": "ext4"}

    def _on_view_hash(self, center: str, body: Json) -> Json:
        assert body["id"] in self.views[center]
        return {"volumes": self.hashes[center], "bytes": 1 << 20}

    def _on_view_close(self, center: str, body: Json) -> Json:
        if not self.closes_views:
            raise TransientError("no answer")
        removed = [body["id"]] if body["id"] in self.views[center] else []
        self.views[center].discard(str(body["id"]))
        return {"removed": removed}


@dataclass
class FakeLine:
    """The coordinator's side of a link to one center."""

    center: str
    centers: Centers
    is_open: bool = True

    async def call(self, method: str, body: Json, timeout_s: float) -> Json:
        return await self.centers.call(self.center, method, body, timeout_s)

    def close(self, reason: str) -> None:
        self.is_open = False


@dataclass
class World:
    """A coordinator and its centers; `beat` keeps the heartbeats going."""

    root: Path
    tasks: asyncio.TaskGroup
    centers: Centers = field(default_factory=Centers)
    lines: dict[str, FakeLine] = field(default_factory=dict)
    running: list["asyncio.Task[None]"] = field(default_factory=list)
    held_beats: dict[str, int] = field(default_factory=dict)
    lost_at: dict[str, float] = field(default_factory=dict)
    still_hears: set[tuple[str, str]] = field(default_factory=set)
    consistency: Json | None = None
    bound: set[str] = field(default_factory=set)
    is_serving: bool = True
    office: Office = field(init=False)
    client: Client = field(init=False)

    async def start(self) -> None:
        """A coordinator process starts; the agents come back to it."""
        self.office = Office(
            storage=Storage.in_directories(self.root, self.root / "run", "boot"),
            cluster_id="c" * 32,
            centers=spec().members,
            clock=HastyClock(),
            random=SystemRandom(),
            spawn=self._spawn,
        )
        self.client = TestClient(TestServer(self.office.api.application("secret")))
        await self.client.start_server()
        self.client.session.headers["Authorization"] = "Bearer secret"
        _ = self._spawn(self.office.supervision.run())
        _ = self._spawn(self.office.objectives.run())
        for name in NAMES:
            if name not in self.centers.deaf:
                await self.connect(name)
        _ = self._spawn(self._beats())

    def _spawn(self, work: object) -> "asyncio.Task[None]":
        task: asyncio.Task[None] = self.tasks.create_task(work)  # type: ignore[arg-type]
        self.running.append(task)
        return task

    async def die(self) -> None:
        """SIGKILL: no task gets to say goodbye properly, nothing is flushed."""
        for task in self.running:
            task.cancel()
        await asyncio.gather(*self.running, return_exceptions=True)
        self.running.clear()
        await self.client.close()
        self.office._storage.database.close()

    async def connect(self, name: str, session: str = "") -> None:
        """The agent of a center registers; with a session: as a new process, its copy not served."""
        member = self.centers.members[name]
        if session:
            member.word = replace(member.word, session=f"{session}-{name}", state=CopyState.REPLICA)
        line = self.lines[name] = FakeLine(name, self.centers)
        handlers = self.office.desk.handlers(name, lambda: line)
        groups = {c.group.id: control.to_json(member.word) for c in self.office.store.all()}
        body: Json = {"center": name, "session": member.word.session, "groups": groups, "software": "test"}
        await handlers["register"]("register", body)

    def lose(self, name: str) -> None:
        """A center is gone."""
        self.silence(name)
        self.lines[name].is_open = False
        self.office.desk.lost(name, self.lines[name], "killed")

    def silence(self, name: str) -> None:
        """A center is not heard any more, by anybody; its links stay open, as those of a stopped process."""
        self.centers.deaf.add(name)
        self.lost_at[name] = self.now()

    def now(self) -> float:
        """The coordinator's clock."""
        return self.office.supervision.lookout._clock.now()

    def silences_of(self, name: str) -> Json:
        """Whom a center has not heard for how long."""
        now = self.now()
        return {
            other: now - self.lost_at.get(other, now) if self._is_lost_by(other, name) else 0.1
            for other in NAMES
            if other != name
        }

    def _is_lost_by(self, other: str, name: str) -> bool:
        return other in self.centers.deaf and (name, other) not in self.still_hears

    async def beat(self, name: str) -> Json:
        """One heartbeat."""
        member, line = self.centers.members[name], self.lines[name]
        groups: Json = {}
        for charter in self.office.store.all():
            report: Json | None = None
            if member.word.state is CopyState.OWNER:
                peer = {"connected": True, "rpo_s": 0.5}
                report = {
                    "epoch": member.word.follow,
                    "commit": member.word.commit,
                    "serving": self.is_serving,
                    "now_us": int(self.office.orders._clock.now() * 1e6),
                    "serving_s": 0.1 if self.is_serving else None,
                    "peers": {other: peer for other in NAMES if other != name},
                    "nbd": {"data": "nbd+unix:///data"},
                    "consistency": self.consistency,
                }
            word = control.to_json(member.word)
            groups[charter.group.id] = {
                "statement": word,
                "report": report,
                "version": charter.version,
                "beat": self.beats_of(name),
                "bound_s": 2.0 if name in self.bound else 0.0,
                "openings": list(self.centers.openings[name].values()),
                "ended": self.centers.ended[name],
                "holds_lost": self.centers.holds_lost[name],
                "self_drill": self.centers.courses.get(name),
            }
        handlers = self.office.desk.handlers(name, lambda: line)
        body: Json = {"sent_at": 0.0, "groups": groups, "silent_s": self.silences_of(name)}
        return await handlers["heartbeat"]("heartbeat", body)

    def beats_of(self, name: str) -> Json:
        """The newest heartbeat record in a copy: of just now, unless a test holds it back."""
        word = self.centers.members[name].word
        fresh_us = int(self.office.orders._clock.now() * 1e6)
        time_us = self.held_beats.get(name, fresh_us)
        return {"seq": word.appended if time_us else 0, "time_us": time_us, "epoch": word.follow}

    async def _beats(self) -> None:
        while True:
            for name in NAMES:
                if name not in self.centers.deaf and self.lines[name].is_open:
                    await self.beat(name)
            await asyncio.sleep(BEAT_S)

    async def get(self, path: str, status: int = 200) -> Json:
        answer = await self.client.get(path)
        body: Json = await answer.json()
        assert answer.status == status, body
        return body

    async def post(self, path: str, body: Json, status: int = 202) -> Json:
        answer = await self.client.post(path, json=body)
        found: Json = await answer.json()
        assert answer.status == status, found
        return found

    async def operate(self, path: str, body: Json) -> Json:
        """Ask for an operation and follow it to its end."""
        started = await self.post(path, body)
        return await self.follow(str(started["operation"]))

    async def follow(self, operation: str) -> Json:
        seen = 0
        while True:
            found = await self.get(f"/v1/operations/{operation}?after={seen}&wait_s=10")
            if found["state"] != "running":
                return found
            steps = found["steps"]
            assert isinstance(steps, list)
            seen = len(steps)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not holds():
                await asyncio.sleep(BEAT_S)

    async def group(self) -> Json:
        status = await self.get("/v1/status")
        groups = status["groups"]
        assert isinstance(groups, dict)
        found: Json = groups["orders"]
        return found

    async def protect(self) -> None:
        """Make the group and wait until it is served."""
        await self.post("/v1/groups", DOCUMENT, 201)
        await self.until(lambda: self.owner() == A and self.office.store.all()[0].intent is None)

    def owner(self) -> str:
        """Who serves."""
        owners = [n for n, m in self.centers.members.items() if m.word.state is CopyState.OWNER]
        return owners[0] if len(owners) == 1 else ""

    def session(self, name: str) -> AgentSession:
        found = self.office.sessions.agent(name)
        assert found is not None
        return found
