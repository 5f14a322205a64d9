"""What an agent tells of trees, where they are owned and elsewhere."""

import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from drsync.adapters.metrics.catalog import FILES
from tests.agent.test_metrics import figures
from tests.engine.test_trees import ALL, SET, fill, level, root
from tests.engine.town import GROUP, Town, town

DOCS = '{fileset="docs",group="orders"}'


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Town]:
    roots = tuple((name, str(tmp_path / name / "tree")) for name in ALL)
    fill(roots)
    async with town(tmp_path, replace(GROUP, filesets=(replace(SET, roots=roots),))) as town_:
        await level(town_, "production", "same_city", "remote")
        yield town_


async def test_an_owner_tells_of_its_tree_and_of_the_others(place: Town) -> None:
    to_remote = '{fileset="docs",group="orders",peer="remote"}'

    def is_looked_at_and_level() -> bool:
        """The tree was looked at in this term, and the remote center has it."""
        now = figures(place, "production")
        is_known = f"drsync_fileset_looked_seconds{DOCS}" in now
        return is_known and now.get(f"drsync_fileset_lag_seconds{to_remote}") == 0

    await place.until(is_looked_at_and_level)
    found = figures(place, "production")
    assert {name.partition("{")[0] for name in found} >= {metric.name for metric in FILES}
    assert found[f"drsync_fileset_generation{DOCS}"] == found[f"drsync_fileset_known_generation{DOCS}"] >= 1
    assert found[f"drsync_fileset_entries{DOCS}"] >= 6
    assert found[f"drsync_fileset_bytes{DOCS}"] >= 300_000
    assert found[f"drsync_fileset_held{DOCS}"] == 0
    assert found[f"drsync_fileset_unseen_places{DOCS}"] == 0
    assert found[f"drsync_fileset_scan_seconds{DOCS}"] >= 0
    assert found[f"drsync_fileset_sent_bytes_total{to_remote}"] > 0


async def test_a_replica_tells_of_its_tree_alone(place: Town) -> None:
    found, owned = figures(place, "remote"), figures(place, "production")
    names = {name for name in found if name.startswith("drsync_fileset")}
    assert found[f"drsync_fileset_entries{DOCS}"] == owned[f"drsync_fileset_entries{DOCS}"]
    assert found[f"drsync_fileset_pending_entries{DOCS}"] == 0
    assert found[f"drsync_fileset_behind_seconds{DOCS}"] == 0
    assert found[f"drsync_fileset_forks_total{DOCS}"] == 0
    assert not [name for name in names if "lag_seconds" in name or "scan" in name or "sent" in name]


async def test_a_tree_that_stands_still_is_told(place: Town) -> None:
    shutil.rmtree(root(place, "production"))
    await place.until(lambda: figures(place, "production")[f"drsync_fileset_held{DOCS}"] == 1)
