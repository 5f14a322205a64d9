"""What an agent does for runbooks: nothing by default; once under one name; and away again."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from drsync.adapters.hooks.inventory import Inventory
from drsync.adapters.hooks.kernel import processes, traces
from drsync.agent.hooks import HookDesk
from drsync.config.options import HookOptions
from drsync.lab.runbooks import why_no_mounts
from drsync.model.errors import DrsyncError, MalformedError, RefusedError, TransientError

Json = dict[str, object]
NEEDS_ROOT = pytest.mark.skipif(bool(why_no_mounts()), reason=f"makes networks: {why_no_mounts()}")
DRILL, GROUP = "drill-1", "group-1"


@dataclass
class FakeExports:
    """Serves nothing; `ground` changes when the agent or the epoch does."""

    ground: str = "first"
    asked: int = 0
    answers: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.answers.set()

    async def uri(self, group_id: str, volume: str, view_id: str) -> str:
        self.asked += 1
        await self.answers.wait()
        return "nbd+unix:///x?socket=/nowhere"

    def basis(self, group_id: str, view_id: str) -> str:
        return self.ground


@dataclass
class Machine:
    """A desk in a folder of its own."""

    root: Path
    tasks: asyncio.TaskGroup
    exports: FakeExports = field(default_factory=FakeExports)
    said: list[str] = field(default_factory=list)
    view: str = "drill-1-copy"
    timeout_s: float = 20.0
    desk: HookDesk = field(init=False)

    def __post_init__(self) -> None:
        self.programs.mkdir(mode=0o755)
        (self.root / "hooks").mkdir()
        self.start(HookOptions((self.programs,), mounts=True))

    @property
    def programs(self) -> Path:
        return self.root / "programs"

    @property
    def inventory(self) -> Inventory:
        return Inventory(self.root / "inventory", str(self.root))

    def start(self, options: HookOptions) -> None:
        """A new process of the agent."""
        self.desk = HookDesk(
            options, self.inventory, self.root / "hooks", self.exports, self.spawn,
            lambda event, reason: self.said.append(f"{event}: {reason}"),
        )  # fmt: skip

    def spawn(self, work: Coroutine[None, None, None]) -> object:
        return self.tasks.create_task(work)

    def program(self, name: str, text: str) -> None:
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    async def ask(self, method: str, item: str = "it", scope: str = DRILL, **values: object) -> Json:
        usual: Json = {"netns": "", "env": {}, "codes": [0], "expect": "", "lifetime": 60.0, "grace": 1.0}
        body: Json = {
            "scope": scope, "item": item, "group": "1", "view": self.view, "is_drill": scope == DRILL,
            "timeout_s": self.timeout_s, "with": usual | values,
        }  # fmt: skip
        return await self.desk.for_coordinator()[method](method, body)

    def running(self, item: str = "it", scope: str = DRILL) -> list[int]:
        return [pid for pid, _, _ in processes(self.inventory.tag(scope, item))]

    def commands(self) -> list[bytes]:
        return [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in self.running()]


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    async with asyncio.TaskGroup() as tasks:
        made = Machine(tmp_path, tasks)
        yield made
        for scope in (DRILL, GROUP):
            await made.desk.for_coordinator()["inventory.clean"]("inventory.clean", {"scope": scope})


async def test_nothing_is_allowed_by_default(machine: Machine) -> None:
    machine.start(HookOptions())
    for method in ("probe.command", "service.start", "volume.mount", "volume.attach", "netns.create"):
        with pytest.raises(RefusedError) as caught:
            await machine.ask(method, run=["/bin/true"], volume="data", filesystem="ext4")
        assert caught.value.code == "hook_not_allowed", method


async def test_a_service_of_one_name_is_started_once(machine: Machine) -> None:
    machine.program("serve", "echo ready; exec sleep 60")
    first = await machine.ask("service.start", run=["serve"])
    assert machine.running() != []
    assert (await machine.ask("service.start", run=["serve"]))["outputs"] == first["outputs"]

    machine.exports.ground = "another epoch"
    second = await machine.ask("service.start", run=["serve"])
    assert second["outputs"] != first["outputs"], "what it stood on is gone"
    assert len(machine.running()) == 1

    stopped = await machine.ask("service.stop", "stop", service="it")
    assert (stopped["ok"], stopped["evidence"]) == (True, "ready\n")
    assert machine.running() == []
    assert machine.inventory.items() == []
    again = await machine.ask("service.stop", "stop", service="it")
    assert (again["ok"], again["detail"]) == (True, "it did not run")


async def test_another_program_under_the_same_name_takes_the_place_of_the_first(machine: Machine) -> None:
    """A mended runbook is run again in the same epoch: what it says now is what has to run."""
    machine.program("serve", "exec sleep $1")
    first = await machine.ask("service.start", run=["serve", "61"])
    second = await machine.ask("service.start", run=["serve", "62"])
    assert second["outputs"] != first["outputs"]
    assert machine.commands() == [b"sleep\x0062\x00"]


async def test_a_service_that_ends_at_once_says_why_and_is_on_the_list(machine: Machine) -> None:
    machine.program("serve", "echo no database; exit 3")
    with pytest.raises(TransientError, match="exit code 3: no database"):
        await machine.ask("service.start", run=["serve"])
    assert [item.is_ready for item in machine.inventory.items()] == [False]
    answer = await machine.desk.for_coordinator()["inventory.remove"]("", {"scope": DRILL, "item": "it"})
    assert answer["left"] == []
    assert machine.inventory.items() == []


async def test_a_forgotten_drill_ends_by_itself(machine: Machine) -> None:
    machine.program("serve", "exec sleep 60")
    await machine.ask("service.start", run=["serve"], lifetime=0.5)
    async with asyncio.timeout(10.0):
        while machine.running():
            await asyncio.sleep(0.05)
    assert any(said.startswith("service_expired") for said in machine.said)


@pytest.mark.parametrize("how", ["exec sleep 60", "exec sleep 60 >/dev/null 2>&1"])
async def test_who_leaves_the_group_of_a_forgotten_drill_ends_as_well(machine: Machine, how: str) -> None:
    """A service that makes itself a daemon is still one of the drill."""
    machine.program("daemon", how)
    machine.program("serve", f"setsid {machine.programs}/daemon & sleep 0.4; echo off")
    await machine.ask("service.start", run=["serve"], lifetime=0.6)
    assert machine.running() != []
    async with asyncio.timeout(10.0):
        while machine.running():
            await asyncio.sleep(0.05)


async def test_a_drill_without_an_open_copy_attaches_nothing(machine: Machine) -> None:
    """The volume of the group itself is in use: mounted a second time, its file system would be destroyed."""
    machine.view = ""
    for method in ("volume.attach", "volume.mount"):
        with pytest.raises(RefusedError, match="only its own copy"):
            await machine.ask(method, volume="data", filesystem="ext4", read_only=False)
    assert machine.exports.asked == 0


@pytest.mark.parametrize("method", ["inventory.remove", "inventory.clean"])
async def test_nothing_is_made_any_more_after_the_proof_that_nothing_is_left(
    machine: Machine, method: str
) -> None:
    """One step hangs and a second try waits behind it; their coordinator has given up both."""

    async def is_given_up() -> bool:
        try:
            await machine.ask("volume.attach", volume="data", read_only=False)
        except TransientError as error:
            return error.code == "given_up"
        return False

    machine.exports.answers.clear()
    async with asyncio.TaskGroup() as tasks, asyncio.timeout(10.0):
        tries = [tasks.create_task(is_given_up()) for _ in range(2)]
        while not machine.exports.asked:
            await asyncio.sleep(0)
        answer = await machine.desk.for_coordinator()[method](method, {"scope": DRILL, "item": "it"})
        assert answer["left"] == []
        assert all(one.done() and one.result() for one in tries)
        machine.exports.answers.set()
    assert (machine.exports.asked, machine.inventory.items()) == (1, [])


async def test_a_step_ends_before_its_coordinator_gives_up(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drsync.agent.hook_steps.LATE_S", 0.0)
    machine.exports.answers.clear()
    machine.timeout_s = 0.05
    with pytest.raises(TransientError, match="given up"):
        await machine.ask("volume.attach", volume="data", read_only=False)
    machine.exports.answers.set()


async def test_after_a_crash_drills_are_swept_and_services_of_groups_stay(machine: Machine) -> None:
    machine.program("serve", "exec sleep 60")
    await machine.ask("service.start", run=["serve"])
    await machine.ask("service.start", scope=GROUP, run=["serve"])
    machine.start(HookOptions())
    await machine.desk.sweep()
    assert machine.running() == []
    assert len(machine.running(scope=GROUP)) == 1
    assert [item.scope for item in machine.inventory.items()] == [GROUP]


async def test_a_probe_is_judged_by_code_and_words(machine: Machine) -> None:
    machine.program("ask", "echo 7 rows; exit $1")
    good = await machine.ask("probe.command", run=["ask", "2"], codes=[0, 2], expect="7 rows")
    assert (good["ok"], good["evidence"]) == (True, "7 rows\n")
    bad = await machine.ask("probe.command", run=["ask", "0"], expect="8 rows")
    assert (bad["ok"], bad["detail"]) == (False, "ask ended with exit code 0, but did not print '8 rows'")
    assert (await machine.ask("probe.command", run=["ask", "1"]))["ok"] is False
    assert traces(machine.root / "hooks", machine.inventory.tag(DRILL, "it")) == []


@NEEDS_ROOT
async def test_a_network_is_only_that_of_the_run(machine: Machine) -> None:
    machine.program("links", "ip -o link | grep -c .")
    made = await machine.ask("netns.create", "net")
    outputs = made["outputs"]
    assert isinstance(outputs, dict)
    inside = await machine.ask("probe.command", run=["links"], netns=outputs["name"])
    assert inside["evidence"] == "1\n", "nothing but the loopback"
    tcp = await machine.ask("probe.tcp", host="127.0.0.1", port=9, netns=outputs["name"])
    assert tcp["ok"] is False
    with pytest.raises(RefusedError):
        await machine.ask("probe.command", scope=GROUP, run=["links"], netns=outputs["name"])
    listed = await machine.desk.for_coordinator()["inventory.list"]("", {"scope": DRILL})
    assert [item["kernel"] for item in listed["items"]] == [[f"netns {outputs['name']}"]]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "values",
    [
        {"run": "a b"}, {"run": []}, {"run": [1]}, {"run": ["serve"], "env": {"LD_PRELOAD": "/x"}},
        {"run": ["serve"], "env": {"GCONV_PATH": "/x"}}, {"run": ["serve"], "env": {"OPENSSL_CONF": "/x"}},
        {"run": ["serve"], "env": {"A=B": "x"}}, {"run": ["serve", "a\0b"]},
        {"run": ["serve"], "env": {"A": "\0"}},
        {"run": ["serve"], "env": ["A"]}, {"run": ["serve"], "codes": "0"},
    ],
)  # fmt: skip
async def test_what_the_coordinator_sends_is_checked_again(machine: Machine, values: Json) -> None:
    machine.program("serve", "true")
    with pytest.raises(DrsyncError):
        await machine.ask("probe.command", "it", DRILL, **values)


@pytest.mark.parametrize(
    "body",
    [{}, {"timeout_s": 1.0, "with": []}, {"timeout_s": True, "with": {}}, {"timeout_s": 1e9, "with": {}}],
)
async def test_a_body_of_another_shape_is_malformed(machine: Machine, body: Json) -> None:
    with pytest.raises(MalformedError):
        await machine.desk.for_coordinator()["probe.command"]("probe.command", {"scope": DRILL, **body})
    for scope in ("", "../x", "A"):
        with pytest.raises(MalformedError):
            await machine.desk.for_coordinator()["inventory.clean"]("", {"scope": scope})
