"""The shipped agents on simulated machines: they open, replicate, die, come back, move. In virtual time."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from drsync.model.charter import IntentKind
from drsync.model.operation import OperationState
from tests.sim.village import NAMES, Village, opened


@pytest.fixture
def village() -> Iterator[Village]:
    place = opened(1)
    yield place
    bugs = place.bugs
    place.close()
    assert not bugs


def written(village: Village, center: str, count: int) -> None:
    answers = village.write(center, count)
    village.run(2)
    assert answers.count == {0: count}, (answers.count, village.lines[-20:])


def tips(village: Village) -> set[object]:
    return {member.copy.journal.tip for agent in village.agents.values() for member in agent.members()}


def test_a_write_is_answered_and_reaches_every_center(village: Village) -> None:
    written(village, "production", 40)
    assert len(tips(village)) == 1
    assert village.read("production", 3) == bytes([36]) * 4096


def test_a_killed_owner_is_replaced_and_nothing_acknowledged_is_lost(village: Village) -> None:
    written(village, "production", 16)
    village.agents["production"].kill()
    village.run(3)
    assert village.procedure(IntentKind.OPEN, "same_city").state is OperationState.DONE
    village.run(2)
    assert [village.read("same_city", slot) for slot in range(16)] == [
        bytes([n + 1]) * 4096 for n in range(16)
    ]
    village.agents["production"].start()
    village.run(10)
    written(village, "same_city", 4)
    assert len(tips(village)) == 1


def test_an_owner_without_power_comes_back_with_its_copy(village: Village) -> None:
    written(village, "production", 16)
    agent = village.agents["production"]
    before = agent.members()[0].statement()
    agent.host.crash()
    village.run(2)
    agent.host.boot()
    agent.start()
    village.run(3)
    after = agent.members()[0].statement()
    assert after.incarnation == before.incarnation
    assert after.promised == before.promised
    assert after.appended >= before.durable
    assert after.unclean
    assert village.procedure(IntentKind.OPEN, "same_city").state is OperationState.DONE
    village.run(10)
    written(village, "same_city", 4)
    assert len(tips(village)) == 1


def test_a_volume_moves_while_it_is_used(village: Village) -> None:
    written(village, "production", 16)
    assert village.procedure(IntentKind.SWITCHOVER, "same_city").state is OperationState.DONE
    village.run(3)
    assert village.said("production", "dropped")
    written(village, "same_city", 4)


def test_an_agent_that_was_asked_to_stop_closes_its_copies(village: Village) -> None:
    agent = village.agents["remote"]
    agent.stop()
    village.run(2)
    assert not agent.members()
    agent.start()
    village.run(3)
    assert not agent.members()[0].copy.durable.unclean
    assert agent.starts == 2


def test_a_view_is_served_hashed_probed_and_closed(village: Village) -> None:
    written(village, "production", 16)
    village.run(2)
    view: dict[str, object] = {"id": "ef" * 16}
    opened = village.ask("same_city", "view.open", view)
    before = village.ask("same_city", "view.hash", view)
    assert village.ask("same_city", "view.probe", view)["ok"] is True
    assert village.ask("same_city", "view.hash", view) == before
    closed = village.ask("same_city", "view.close", view)
    assert isinstance(opened["volumes"], dict)
    assert "view-efefefefefef" in opened["volumes"]["disk"]
    assert closed["open"] == []


def test_a_process_that_dies_in_a_system_call_is_started_again(village: Village) -> None:
    agent = village.agents["same_city"]
    agent.host.disk.die_at(1, "after")
    village.write("production", 4)
    village.run(1)
    assert not agent.members()
    village.run(8)
    assert agent.starts == 2
    written(village, "production", 4)


def test_a_world_is_the_same_whatever_the_order_of_sets() -> None:
    """In two processes, because the order of sets of names is drawn once for each."""
    story = (
        "from tests.sim.village import long_story\n"
        "village = long_story(7)\n"
        "print('\\n'.join(village.lines))\n"
        "print(village.timeline.events, village.network.bytes)\n"
    )
    told = [
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", story],
            env={**os.environ, "PYTHONHASHSEED": number},
            capture_output=True,
            check=True,
            timeout=50,
        ).stdout
        for number in ("1", "2")
    ]
    assert told[0].splitlines() == told[1].splitlines()
    assert len(told[0].splitlines()) > len(NAMES)


def journal_of(village: Village, center: str) -> Path:
    """The segment that its copy appends to, which a start reads."""
    paths = [name for name, _ in village.agents[center].host.disk.files() if name.endswith(".seg")]
    return Path(max(paths))


def test_a_journal_found_damaged_at_a_start_is_mended_from_another_center(village: Village) -> None:
    written(village, "production", 16)
    village.run(3)  # until the superblock says that they are durable
    agent = village.agents["same_city"]
    agent.kill()
    path = journal_of(village, "same_city")
    agent.host.disk.flip(path, 4096 + 150)
    agent.start()
    village.run(1)
    assert village.said("same_city", "copy_failed"), "it says what is damaged"
    village.run(10)
    assert village.said("same_city", "journal_mended")
    written(village, "production", 4)
    village.run(5)
    assert len(tips(village)) == 1
    assert {member.copy.state.value for member in agent.members()} == {"replica"}


def test_a_damaged_copy_that_nobody_can_mend_stays_failed_and_as_it_is(village: Village) -> None:
    written(village, "production", 16)
    village.run(3)
    agent = village.agents["same_city"]
    for name in NAMES:
        village.agents[name].kill()
    path = journal_of(village, "same_city")
    agent.host.disk.flip(path, 4096 + 150)
    before = bytearray(agent.host.disk.file(path).size)
    agent.host.disk.file(path).read(0, memoryview(before))
    agent.start()
    village.run(30)
    after = bytearray(len(before))
    agent.host.disk.file(path).read(0, memoryview(after))
    assert after == before
    assert not agent.members()
    village.agents["production"].start()
    village.run(15)
    assert village.said("same_city", "journal_mended"), "it goes on asking"
