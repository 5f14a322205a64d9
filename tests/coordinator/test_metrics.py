"""The coordinator's status as figures."""

from prometheus_client import generate_latest

from drsync.adapters.metrics.catalog import COORDINATOR
from drsync.adapters.metrics.reading import make_registry
from drsync.coordinator import metrics
from tests.coordinator.centers import World
from tests.engine.fake_members import A, C, Json


def figures(status: Json, running: list[str]) -> dict[str, float]:
    registry, collector = make_registry(COORDINATOR)
    collector.add(lambda: metrics.about_status(status))
    collector.add(lambda: metrics.about_operations(running))
    lines = [line for line in generate_latest(registry).decode().splitlines() if line.startswith("drsync_")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


async def test_groups_centers_and_targets(world: World) -> None:
    await world.protect()
    found = figures(await world.get("/v1/status"), ["drill"])
    assert found[f'drsync_group_owned_by{{center="{A}",group="orders"}}'] == 1
    assert found[f'drsync_group_owned_by{{center="{C}",group="orders"}}'] == 0
    assert found[f'drsync_agent_connected{{center="{A}"}}'] == 1
    assert found['drsync_rpo_target_seconds{group="orders"}'] > 0
    assert found['drsync_error_budget_seconds{group="orders"}'] > 0
    assert found['drsync_operations_running{kind="drill"}'] == 1
    assert found['drsync_operations_running{kind="failover"}'] == 0
    assert 'drsync_group_ready{group="orders"}' in found


async def test_a_center_that_is_gone_is_seen(world: World) -> None:
    await world.protect()
    world.lose(C)
    found = figures(await world.get("/v1/status"), [])
    assert found[f'drsync_agent_connected{{center="{C}"}}'] == 0


def test_what_is_not_known_is_not_told() -> None:
    copy: Json = {"rpo_actual_s": None, "rpo_proved_s": None}
    group: Json = {"ready": False, "owner": "a", "centers": {"a": copy}, "last_drill": None}
    found = figures({"centers": {}, "groups": {"g": group}}, [])
    names = {name.partition("{")[0] for name in found}
    assert names == {"drsync_group_ready", "drsync_group_owned_by", "drsync_operations_running"}


def test_trees_are_told_where_they_are_known() -> None:
    moving: Json = {"hold": "", "rpo_s": 0.25}
    still: Json = {"hold": "its root is not there", "rpo_s": None}
    centers: Json = {
        "a": {"heard_s": 0.1, "files": {"docs": moving}},
        "b": {"heard_s": 0.1, "files": {"docs": still}},
        "c": {"heard_s": None, "files": {"docs": {"hold": "", "rpo_s": None}}},
    }
    found = figures({"groups": {"g": {"owner": "a", "centers": centers}}}, [])
    told = {name: value for name, value in found.items() if name.startswith("drsync_fileset")}
    assert told == {
        'drsync_fileset_held_at{center="a",fileset="docs",group="g"}': 0,
        'drsync_fileset_held_at{center="b",fileset="docs",group="g"}': 1,
        'drsync_fileset_rpo_seconds{center="a",fileset="docs",group="g"}': 0.25,
    }


def test_a_drill_is_told_with_its_instant() -> None:
    drill: Json = {"verdict": "passed", "ended_us": 5_000_000, "rto_s": 2.5}
    found = figures({"groups": {"g": {"last_drill": drill}}}, [])
    assert found['drsync_last_drill_passed{group="g"}'] == 1
    assert found['drsync_last_drill_timestamp_seconds{group="g"}'] == 5
    assert found['drsync_last_drill_rto_seconds{group="g"}'] == 2.5


def test_how_two_centers_could_be_made_level_is_one_of_the_ways() -> None:
    pair: Json = {"centers": ["remote", "production"], "resyncable": "dirty"}
    found = figures({"groups": {"g": {"star": [pair]}}}, [])
    start = 'drsync_group_resyncable{center="production",group="g",how='
    told = {name: value for name, value in found.items() if name.startswith(start)}
    assert sorted(told.values()) == [0, 0, 0, 1]
    assert told[f'{start}"dirty",other="remote"}}'] == 1
