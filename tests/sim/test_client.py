"""Applications of the simulated world: unique values, answers as they are given, nothing kept of the dead."""

import random
from collections.abc import Iterator

import pytest

from drsync.sim.client import PENDING_MAX, SLOT, Application, pattern, value_of
from drsync.sim.ledger import Ledger
from drsync.sim.run import Run
from drsync.sim.timeline import Timeline
from drsync.sim.world import World

SEED = 11


@pytest.fixture
def world() -> Iterator[World]:
    made = World(SEED, {})
    made.application.rate = 60.0
    made.begin()
    made.timeline.run(4.0)
    yield made
    made.end()


def test_a_slot_tells_whether_it_was_torn() -> None:
    assert value_of(pattern(7)) == 7
    assert value_of(pattern(7)[:8] + pattern(8)[8:]) == -1
    assert value_of(bytes(SLOT)) == 0


def test_every_write_has_a_value_of_its_own(world: World) -> None:
    contents = [write.content for write in world.ledger.writes if write.content]
    assert len(contents) > 50
    assert len(set(contents)) == len(contents)


def test_an_answer_is_told_to_whoever_looks(world: World) -> None:
    told: list[tuple[str, int, bool]] = []
    world.application.at_answer.append(lambda export, seq, sure: told.append((export.center, seq, sure)))
    before = world.ledger.acknowledged
    world.timeline.run(world.timeline.now + 3)
    assert len([one for one in told if not one[2]]) <= world.ledger.acknowledged - before <= len(told)
    assert {center for center, _, _ in told} == {"production"}
    assert any(sure for _, _, sure in told)


def test_what_was_flushed_is_durable_in_the_ledger(world: World) -> None:
    answered = [write for write in world.ledger.writes if write.answered is not None]
    assert any(write.is_durable for write in answered)
    assert world.ledger.broken is None


def test_nothing_is_asked_of_an_owner_that_ended(world: World) -> None:
    agent = world.agents["production"]
    agent.kill()
    writes = len(world.ledger.writes)
    world.timeline.run(world.timeline.now + 0.5)
    assert len(world.ledger.writes) == writes
    assert world.application.exports == []
    assert world.application.waiting <= PENDING_MAX


def test_an_application_without_a_volume_waits() -> None:
    timeline = Timeline()
    application = Application(timeline, random.Random(1), Ledger(), 4)
    application.start()
    timeline.run(5.0)
    assert application.waiting == 0


@pytest.mark.parametrize("seed", [2, 16])
def test_inv_24_wall_clocks_decide_nothing(seed: int) -> None:
    """The same seed with wall clocks that jump all the time gives the same owners, epochs and answers."""
    stories = []
    for jumps_s in (0, 3000):
        run = Run(seed, broken_s=10.0)
        for number, host in enumerate(run.world.hosts.values()):
            host.wall_step_us = int(jumps_s * 1e6) * (1 + number)
        outcome = run.execute()
        assert outcome.failure is None
        ledger = run.world.ledger
        stories.append((list(ledger.owners.items()), ledger.acknowledged, outcome.openings, outcome.lost))
    assert stories[0] == stories[1]
