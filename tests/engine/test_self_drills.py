"""Points are proved in the background: beside replication, never in the way, and only what was read."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import pytest

from drsync.adapters.metrics.catalog import POINTS_FAILING, PROOFS, SELF_DRILL_FAILURES, SELF_DRILLS
from drsync.adapters.nbd.client import NbdClient
from drsync.agent import self_drills
from drsync.agent.proof_book import ProofBook
from drsync.agent.self_drill_bench import Bench, Finding, Setting
from drsync.agent.self_drill_metrics import about_proofs
from drsync.agent.self_drills import Kit, Means, SelfDrills
from drsync.core import self_drill
from drsync.engine.member import Member
from drsync.engine.pins import pins_of
from drsync.model.charter import IntentKind
from drsync.model.errors import DrsyncError
from drsync.model.operation import OperationState
from drsync.model.point_proof import Outcome, PointProof
from drsync.model.self_drill import Check, SelfDrill
from tests.engine.test_town import Writer, is_serving
from tests.engine.town import GROUP, Node, Town, town

BLOCK, MIB = 4096, 1 << 20
QUICK = SelfDrill(every_s=0.2, share=1.0, rate=1 << 30)
SLOW = replace(QUICK, rate=256)  # bytes a second: one grain takes minutes, and less than `max_time_s`


@dataclass
class Drilled:
    """A node whose points are proved; itself what `SelfDrills` knows of its agent."""

    node: Node
    bench: "FakeBench | None" = None
    drills: SelfDrills = field(init=False)
    bugs: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        node, place = self.node, self.node.town
        kit = Kit(lambda _group: ProofBook(node.directory), cast("Bench | None", self.bench))
        means = Means(kit, node.store, node.front, place.clock, place.dice, node._spawn)
        self.drills = SelfDrills(self, means)
        node.drills = self.drills
        node.running.append(place.tasks.create_task(self.drills.run()))

    def members(self) -> list[Member]:
        return [self.node.member_of()]

    def log_member(self, member: Member, event: str, reason: str) -> None:
        self.node.log_member(member, event, reason)

    def proofs_changed(self) -> None:
        """Nobody waits."""

    def bug(self, where: str, error: Exception) -> None:
        self.bugs.append(f"{where}: {error!r}")

    @property
    def member(self) -> Member:
        return self.node.member_of()

    def proof(self, seq: int) -> PointProof | None:
        assert not self.bugs
        return next((one for one in self.drills.proofs(self.member) if one.position.seq == seq), None)

    @property
    def is_reading(self) -> bool:
        return bool(self.member.views.background())


@dataclass
class FakeBench:
    """Runs Python instead of programs."""

    work: Callable[[NbdClient], Awaitable[Finding]]
    seconds: list[float] = field(default_factory=list)

    async def program(self, setting: Setting, argv: Sequence[str]) -> Finding:
        assert (argv, setting.facts["DRSYNC_CENTER"]) == (("check",), "remote")
        began = asyncio.get_running_loop().time()
        client = await NbdClient.connect(setting.uris["disk"])
        try:
            return await self.work(client)
        finally:
            self.seconds.append(asyncio.get_running_loop().time() - began)
            await client.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was ended is taken up again soon."""
    monkeypatch.setattr(self_drill, "OBSTACLE_WAIT_S", 0.1)


@asynccontextmanager
async def drilled(
    tmp_path: Path, policy: SelfDrill, bench: FakeBench | None = None
) -> AsyncIterator[tuple[Town, dict[str, Drilled]]]:
    group = replace(GROUP, policy=replace(GROUP.policy, self_drill=policy))
    async with town(tmp_path, group) as place:
        yield (
            place,
            {
                name: Drilled(place.nodes[name], bench if name == "remote" else None)
                for name in ("same_city", "remote", "production")
            },
        )


async def named_point(place: Town, owner: str, number: int, name: str) -> int:
    """Write something, and a checkpoint of that name above it."""
    writer = Writer(place, owner)
    writer.write(number)
    await place.until(lambda: len(writer.acknowledged) == 1)
    term = place.member(owner).term
    assert term is not None
    return term.checkpoint(name, is_app_consistent=False).seq


async def test_two_centers_prove_a_point_by_reading_it_and_find_the_same_content(tmp_path: Path) -> None:
    async with drilled(tmp_path, QUICK) as (place, centers):
        seq = await named_point(place, "production", 7, "before")
        later = await named_point(place, "production", 8, "after")
        both = [centers["same_city"], centers["remote"]]
        await place.until(lambda: all(one.proof(seq) and one.proof(later) for one in both))
        here, there = (one.proof(seq) for one in both)
        assert here is not None
        assert there is not None
        assert (here.outcome, here.by, here.check) == (Outcome.PROVED, "self-drill", "hash")
        assert here.digest == there.digest != ""
        other = both[0].proof(later)
        assert other is not None
        assert other.digest != here.digest
        assert not centers["production"].drills.proofs(centers["production"].member), "an owner serves"
        assert "it owns the group" in centers["production"].drills.course(centers["production"].member).why
        told = list(about_proofs(both[0].drills, both[0].members(), place.clock))
        assert {reading.metric for reading in told} == set(PROOFS)
        figures = {reading.metric: reading.value for reading in told}
        assert figures[SELF_DRILLS] >= 2
        assert figures[SELF_DRILL_FAILURES] == figures[POINTS_FAILING] == 0
        again = ProofBook(both[0].node.directory)
        assert again.load() == ""
        assert here in again.proofs, "a restart finds it"


async def test_a_promotion_ends_what_is_read_and_does_not_wait_for_it(tmp_path: Path) -> None:
    async with drilled(tmp_path, SLOW) as (place, centers):
        seq = await named_point(place, "production", 1, "before")
        one = centers["same_city"]
        await place.until(lambda: one.is_reading)
        assert "self-drill" in {pin.kind for pin in pins_of(one.member)}
        await place.nodes["production"].die()
        seen: list[bool] = []
        seal = one.member.seal

        async def watched(epoch: object) -> object:
            coming = asyncio.ensure_future(seal(epoch))  # type: ignore[arg-type]
            await asyncio.sleep(0)  # its first step, up to where it waits for anything
            seen.append(one.is_reading)
            return await coming

        one.member.seal = watched  # type: ignore[assignment, method-assign]
        outcome = await place.run(IntentKind.FAILOVER, "same_city")
        assert outcome.state is OperationState.DONE, outcome
        assert seen[0] is False, "it was given up in the turn in which the seal arrived"
        await place.until(lambda: is_serving(place, "same_city"))
        assert not one.is_reading
        assert one.proof(seq) is None, "what was not read to its end proves nothing"
        await place.until(lambda: "it owns the group" in one.drills.course(one.member).why)


async def test_a_program_reads_slowly_and_writes_where_nobody_sees_it(tmp_path: Path) -> None:
    async def work(client: NbdClient) -> Finding:
        head = await client.read(7 * BLOCK, BLOCK)
        await client.write(7 * BLOCK, bytes(BLOCK))
        assert await client.read(7 * BLOCK, BLOCK) == bytes(BLOCK)
        for _ in range(4):
            await client.read(0, MIB)
        return Finding(Outcome.PROVED, f"number {int.from_bytes(head[:8], 'big')}")

    policy = replace(QUICK, check=Check.PROGRAM, program=("check",), rate=8 * MIB)
    async with drilled(tmp_path, policy, FakeBench(work)) as (place, centers):
        seq = await named_point(place, "production", 7, "before")
        one = centers["remote"]
        await place.until(lambda: one.proof(seq) is not None)
        found = one.proof(seq)
        assert found is not None
        assert (found.outcome, found.text, found.check) == (Outcome.PROVED, "number 7", "program")
        assert one.bench is not None
        assert max(one.bench.seconds) > 0.2, "4 MiB at 8 MiB/s, with a moment's debt"
        await place.until(lambda: not list((place.sockets / "remote" / "nbd").glob("self-*")))
        assert one.member.copy.volumes.applied == 0, "and no image was touched"


async def test_a_program_that_could_not_keep_its_writes_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(self_drills, "QUOTA_BYTES", 64 << 10)

    async def work(client: NbdClient) -> Finding:
        with pytest.raises(DrsyncError, match="ENOSPC"):
            await client.write(0, bytes([1]) * MIB)
        return Finding(Outcome.FAILED, "the disk is full")

    policy = replace(QUICK, check=Check.PROGRAM, program=("check",))
    async with drilled(tmp_path, policy, FakeBench(work)) as (place, centers):
        seq = await named_point(place, "production", 7, "before")
        await place.until(lambda: centers["remote"].proof(seq) is not None)
        found = centers["remote"].proof(seq)
        assert found is not None
        assert found.outcome is Outcome.UNKNOWN
        assert "could not be kept" in found.text


async def test_a_check_whose_time_is_over_is_not_known_and_holds_nothing(tmp_path: Path) -> None:
    async with drilled(tmp_path, replace(QUICK, rate=1, max_time_s=0.3)) as (place, centers):
        seq = await named_point(place, "production", 1, "before")
        one = centers["remote"]
        await place.until(lambda: one.proof(seq) is not None)
        found = one.proof(seq)
        assert found is not None
        assert found.outcome is Outcome.UNKNOWN
        assert "is stored, which is not read in" in found.text


async def test_a_restart_in_the_middle_leaves_no_mark_and_no_pin(tmp_path: Path) -> None:
    async with drilled(tmp_path, SLOW) as (place, centers):
        seq = await named_point(place, "production", 1, "before")
        one = centers["remote"]
        await place.until(lambda: one.is_reading)
        await one.node.die()
        node = place.start("remote")
        await node.adopt(await place.charter())
        assert node.member_of().views.ids() == []
        again = Drilled(node)
        assert again.proof(seq) is None
        await place.until(lambda: again.is_reading)


async def test_proofs_die_with_the_records_that_a_forced_failover_gave_up(tmp_path: Path) -> None:
    async with drilled(tmp_path, QUICK) as (place, centers):
        shared = await named_point(place, "production", 1, "shared")
        one = centers["same_city"]
        await place.until(
            lambda: one.proof(shared) is not None and centers["remote"].proof(shared) is not None
        )
        for other in ("production", "same_city"):
            place.cuts.add(frozenset(("remote", other)))
        lost = await named_point(place, "production", 2, "lost")
        await place.until(lambda: one.proof(lost) is not None)
        await place.nodes["production"].die()
        place.cut_off("same_city")
        outcome = await place.run(IntentKind.FAILOVER, "remote", accept_loss=True)
        assert outcome.state is OperationState.DONE, outcome
        await place.until(lambda: is_serving(place, "remote"))
        writer = Writer(place, "remote")
        writer.write_many(1, 20)
        place.cuts.clear()
        for link in place.links:
            link.close("the lines are back")
        await place.until(lambda: len(writer.acknowledged) == 20)
        copy, epoch = one.member.copy, (await place.charter()).epoch
        await place.until(lambda: copy.durable.follow == epoch and copy.journal.tip.seq > lost, 20.0)
        assert one.proof(shared) is not None
        assert one.proof(lost) is None, "another record bears its number now"
