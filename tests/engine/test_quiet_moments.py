"""Hooks around a checkpoint in a town of three centers: claims have proofs, and procedures never wait."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import pytest

from drsync.adapters.hooks.kernel import processes
from drsync.agent.quiet_desk import QuietDesk
from drsync.agent.quiet_moment import Quarters
from drsync.config.options import HookOptions
from drsync.delta.marks import Checkpoint
from drsync.engine.member import Member
from drsync.model.charter import IntentKind
from drsync.model.consistency import Consistency, OnFailure, QuietStep, StepKind
from drsync.model.errors import MalformedError, RefusedError, TransientError
from tests.engine.town import GROUP, Body, Node, Town, town

PROGRAMS = {
    "well": "true",
    "badly": "echo no such table; exit 3",
    "slow": ": > {home}/runs; sleep 60",
    "mark": ": > {home}/went-on",
}


@dataclass
class Quiet:
    """A node with hooks; itself what `QuietDesk` knows of its agent."""

    node: Node
    home: Path
    desk: QuietDesk = field(init=False)
    bugs: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        place, folder = self.node.town, self.home / "bin"
        folder.mkdir(exist_ok=True)
        for name, text in PROGRAMS.items():
            (folder / name).write_text(f"#!/bin/sh\n{text.format(home=self.home)}\n")
            (folder / name).chmod(0o755)
        options = HookOptions((folder,), programs=tuple((name, (name,)) for name in PROGRAMS))
        quarters = Quarters(options, self.home / "hooks", self.home / "records", (self.home,), "this boot")
        self.desk = QuietDesk(self, quarters, place.clock, place.dice, self.node._spawn)
        self.node.running.append(place.tasks.create_task(self.desk.run()))

    def members(self) -> list[Member]:
        return [self.node.member_of()]

    def member(self, _group_id: str) -> Member:
        return self.node.member_of()

    def log_member(self, member: Member, event: str, reason: str) -> None:
        self.node.log_member(member, event, reason)

    def log(self, event: str, reason: str) -> None:
        self.node.lines.append(f"{event}: {reason}")

    def bug(self, where: str, error: Exception) -> None:
        self.bugs.append(f"{where}: {error!r}")

    def word_changed(self, member: Member) -> None:
        """Nobody waits."""

    async def ask(self, name: str = "point", **body: object) -> Body:
        answer = await self.desk.for_coordinator()["group.quiet"](
            "group.quiet", {"group": GROUP.id, "name": name, **body}
        )
        assert not self.bugs
        return answer


def steps(*names: str) -> tuple[QuietStep, ...]:
    return tuple(QuietStep(StepKind.PROGRAM, name) for name in names)


@asynccontextmanager
async def quiet(tmp_path: Path, **policy: object) -> AsyncIterator[tuple[Town, Quiet]]:
    wanted = replace(Consistency(timeout_s=20.0), **policy)  # type: ignore[arg-type]
    group = replace(GROUP, policy=replace(GROUP.policy, consistency=wanted))
    async with town(tmp_path / "town", group) as place:
        yield place, Quiet(place.nodes["production"], tmp_path)


def named(place: Town, center: str, name: str = "point") -> Checkpoint | None:
    """A point as a center has it."""
    return next((one for one in place.member(center).copy.points() if one.name == name), None)


def is_agreed(place: Town, center: str) -> bool:
    found = named(place, center)
    return found is not None and found.is_app_consistent


async def test_every_center_knows_that_the_application_agreed_also_after_a_restart(tmp_path: Path) -> None:
    async with quiet(tmp_path, before=steps("well"), after=steps("well")) as (place, production):
        answer = await production.ask()
        assert (answer["app"], answer["why"]) == (True, "")
        await place.until(lambda: all(is_agreed(place, center) for center in place.nodes))
        said = production.desk.about(production.member(""))
        assert said is not None
        assert (said["attempts"], said["failures"], said["newest_us"]) == (1, 0, answer["time_us"])

        await place.nodes["remote"].die()
        remote = place.start("remote")
        await remote.adopt(await place.charter())
        await place.until(lambda: is_agreed(place, "remote"))


@pytest.mark.parametrize("on_failure", OnFailure)
async def test_a_step_that_fails_is_told_and_the_policy_says_what_becomes_of_the_point(
    tmp_path: Path, on_failure: OnFailure
) -> None:
    wanted = {"before": steps("badly", "slow"), "on_failure": on_failure}
    async with quiet(tmp_path, **wanted) as (place, production):
        answer = await production.ask()
        assert answer["app"] is False
        assert answer["why"] == "program badly ended with exit code 3: no such table"
        assert not (tmp_path / "runs").exists(), "what comes after it was not begun"
        is_written = on_failure is OnFailure.CRASH_CONSISTENT
        assert bool(answer["seq"]) == is_written
        if is_written:
            await place.until(lambda: named(place, "production") is not None)
            assert not is_agreed(place, "production")
        assert "app_point_failed" in " ".join(place.nodes["production"].lines)


async def test_a_step_after_that_fails_takes_the_word_back(tmp_path: Path) -> None:
    async with quiet(tmp_path, before=steps("well"), after=steps("badly")) as (place, production):
        answer = await production.ask()
        assert (answer["app"], bool(answer["seq"])) == (False, True)
        await place.until(lambda: named(place, "remote") is not None)
        assert not is_agreed(place, "remote")


@pytest.mark.parametrize("kind", StepKind)
async def test_what_the_agent_does_not_allow_is_never_done(tmp_path: Path, kind: StepKind) -> None:
    before = (*steps("slow"), QuietStep(kind, "/srv/x" if kind is StepKind.FSFREEZE else "x"))
    async with quiet(tmp_path, before=before) as (_place, production):
        answer = await production.ask()
        assert "is not allowed here" in str(answer["why"])
        assert not (tmp_path / "runs").exists(), "not even what comes before it, and is allowed"


async def test_a_switchover_ends_a_hook_and_does_not_wait_for_it(tmp_path: Path) -> None:
    async with quiet(tmp_path, before=steps("slow")) as (place, production):
        asking = asyncio.create_task(production.ask())
        await place.until((tmp_path / "runs").exists)
        outcome = await place.run(IntentKind.SWITCHOVER, "same_city")
        assert outcome.state.value == "done"
        async with asyncio.timeout(10):
            answer = await asking
        assert (answer["app"], answer["seq"]) == (False, 0)
        assert "ended, because" in str(answer["why"])


async def test_a_guard_that_is_killed_lets_the_application_go_on_through_another(tmp_path: Path) -> None:
    async with quiet(tmp_path, before=steps("slow"), after=steps("mark")) as (place, production):
        asking = asyncio.create_task(production.ask())
        await place.until((tmp_path / "runs").exists)
        (mark,) = (path.stem for path in (tmp_path / "records").iterdir())
        (guard,) = [pid for pid, _, _ in processes(f"{mark}.") if b"quiet_guard.py" in command(pid)]
        os.kill(guard, signal.SIGKILL)
        answer = await asking
        assert (answer["app"], bool(answer["seq"])) == (False, True)
        assert "the guard was killed" in str(answer["why"])
        assert (tmp_path / "went-on").exists()
        assert list(processes(f"{mark}.")) == [], "what it had started is gone"
        assert list((tmp_path / "records").iterdir()) == []


def command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


async def test_an_owner_that_dies_before_the_end_leaves_a_point_as_after_a_crash(tmp_path: Path) -> None:
    async with quiet(tmp_path, before=steps("well"), after=steps("slow"), timeout_s=3.0) as (
        place,
        production,
    ):
        asking = asyncio.create_task(production.ask())
        await place.until((tmp_path / "runs").exists)
        await place.until(lambda: named(place, "same_city") is not None)
        asking.cancel()
        await place.nodes["production"].die()
        outcome = await place.run(IntentKind.FAILOVER, "same_city")
        assert outcome.state.value == "done", outcome
        for center in ("same_city", "remote"):
            assert named(place, center) is not None
            assert not is_agreed(place, center)


async def test_one_at_a_time_and_only_at_the_owner_and_only_with_hooks(tmp_path: Path) -> None:
    async with quiet(tmp_path, before=steps("slow")) as (place, production):
        with pytest.raises(MalformedError, match="timeout_s"):
            await production.ask(timeout_s=1e9)
        asking = asyncio.create_task(production.ask(timeout_s=0.5))
        await place.until((tmp_path / "runs").exists)
        with pytest.raises(TransientError, match="hooks of orders run just now"):
            await production.ask()
        assert "program slow took" in str((await asking)["why"])
        with pytest.raises(RefusedError, match="remote does not own orders"):
            await Quiet(place.nodes["remote"], tmp_path).ask()
    async with quiet(tmp_path / "again") as (_place, production):
        with pytest.raises(RefusedError, match="nothing makes the application of orders quiet"):
            await production.ask()


async def test_the_owner_makes_one_by_itself_and_not_again_before_it_is_due(tmp_path: Path) -> None:
    async with quiet(tmp_path, before=steps("well"), every_s=0.2) as (place, production):
        await place.until(lambda: production.desk._book(production.member("")).attempts >= 2)
        points = [one for one in place.member("production").copy.checkpoints if one.is_app_consistent]
        assert all(later.time_us - one.time_us >= 200_000 for one, later in pairwise(points))
        assert not production.bugs
