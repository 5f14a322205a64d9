"""The demo in a world that only pretends: it must notice what is not as promised."""

import io
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from drsync.adapters.api_client.doc import Doc
from drsync.lab import demo, founding, layout, record, status
from drsync.lab.cluster import Cluster
from drsync.lab.configs import HTTP
from drsync.lab.demo import Demo
from drsync.lab.layout import LEDGER, PRODUCTION
from drsync.lab.narrator import Narrator
from drsync.lab.outcome import Outcome
from drsync.lab.record import ImportedVolume, Process
from tests.lab.conftest import start_waiting
from tests.lab.fake_world import FakeWorld


@pytest.fixture
async def world(running: Cluster, root: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeWorld]:
    world = FakeWorld(root.parent)
    runner = web.AppRunner(world.application())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port: int = runner.addresses[0][1]
    founding.make_keys(running.layout)
    volumes = (ImportedVolume(LEDGER, len(world.ledger.data), is_done=True),)
    record.save(
        running.layout.record,
        replace(running.record, ports={**running.record.ports, HTTP: port}, volumes=volumes),
    )

    def start(cluster: Cluster, name: str) -> Process:
        if name == PRODUCTION:
            world.connected.add(PRODUCTION)
        return start_waiting(cluster, name)

    monkeypatch.setattr(Cluster, "start", start)
    monkeypatch.setattr(demo, "RATE_SECONDS", 0.3)
    await world.serve_at(PRODUCTION)
    yield world
    await world.stop()
    await runner.cleanup()


async def tell(cluster: Cluster) -> tuple[Outcome, str]:
    stream = io.StringIO()
    outcome = await Demo(cluster, Narrator(stream), is_fresh=False).run()
    return outcome, stream.getvalue()


async def test_the_story_ends_well_and_everything_runs(world: FakeWorld, running: Cluster) -> None:
    before = running.alive()[PRODUCTION]
    outcome, text = await tell(running)
    assert outcome.is_good, outcome.broken
    assert [kind for kind, _ in world.asked] == ["drill", "failover", "switchover", "drill", "drill"]
    assert outcome.acknowledged > 15
    assert outcome.failover_s is not None
    assert 0 < outcome.failover_s < 10
    assert set(outcome.drills) == {"same_city", "remote"}
    assert running.is_running
    assert running.alive()[PRODUCTION] != before
    assert world.owner == PRODUCTION
    assert "all there" in text
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 100
    assert sorted(path.name for path in running.layout.reports.iterdir()) == ["drill-0f0f0f0f0f0f.html"]


async def test_a_lost_acknowledged_write_is_noticed(world: FakeWorld, running: Cluster) -> None:
    world.loses = range(5, 15)
    outcome, text = await tell(running)
    assert not outcome.is_good
    assert set(range(5, 15)) <= set(outcome.lost)
    assert "missing" in text
    assert outcome.to_json()["ok"] is False


async def test_content_that_differs_is_noticed(world: FakeWorld, running: Cluster) -> None:
    world.verdict, world.content = "failed", "different"
    outcome, _ = await tell(running)
    assert not outcome.is_good
    assert "content different" in outcome.broken[0]


async def test_a_refusal_ends_the_story_and_everything_runs_again(world: FakeWorld, running: Cluster) -> None:
    world.refuses = "failover"
    outcome, text = await tell(running)
    assert outcome.broken == ["acknowledged writes would be lost"]
    assert "acknowledged writes would be lost" in text
    assert running.is_running


async def test_a_story_that_broke_off_elsewhere_starts_at_production(
    world: FakeWorld, running: Cluster
) -> None:
    await world.serve_at("same_city")
    outcome, _ = await tell(running)
    assert outcome.is_good, outcome.broken
    assert world.asked[0][0] == "switchover"


async def test_status_has_the_promised_keys(world: FakeWorld, running: Cluster) -> None:
    shown = Doc(await status.lab_status(running))
    assert shown.flag("running")
    assert shown.doc("coordinator").text("url").startswith("http://127.0.0.1:")
    assert {key for key, _ in shown.doc("env").items()} == {"DRSYNC_COORDINATOR", "DRSYNC_TOKEN_FILE"}
    production = shown.doc("centers").doc(PRODUCTION)
    assert production.whole("pid") == running.alive()[PRODUCTION].pid
    assert [name for name, _ in production.doc("volumes").items()] == ["demo/ledger"]
    assert production.raw("trees") == {}
    group = shown.doc("groups").doc("demo")
    assert (group.text("owner"), group.whole("epoch"), group.flag("ready")) == (PRODUCTION, 1, True)
    assert group.doc("centers").doc("remote").number("rpo_actual_s") == 0.1
    assert world.asked == []


async def test_the_status_of_a_stopped_lab_is_known_without_a_coordinator(cluster: Cluster) -> None:
    shown = Doc(await status.lab_status(cluster))
    assert shown.raw("running") is False
    assert shown.raw("groups") == {}
    centers = dict(shown.table("centers"))
    assert set(centers) == set(layout.CENTER_NAMES)
    assert {center.text("process") for center in centers.values()} == {"stopped"}
