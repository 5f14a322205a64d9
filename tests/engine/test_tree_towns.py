"""Stories of trees in a town: owners that come back, centers that lost files, streams that come at once."""

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from drsync.adapters.tree.tree import LinuxTree
from drsync.engine import file_sets, file_sink
from drsync.engine.bulk import BulkChannel
from drsync.engine.file_sink import Sink
from drsync.model.charter import IntentKind
from drsync.model.errors import DrsyncError
from drsync.model.fileset import FileSetSpec
from drsync.model.operation import OperationState
from tests.engine.test_tree_kills import build, change, contents
from tests.engine.test_trees import ALL, differences, files, level
from tests.engine.town import GROUP, Town, town
from tests.engine.tree_rig import Channel, names


def set_aside(root: Path) -> set[str]:
    return {path.read_text() for path in root.glob(".drsync-fork-*/**/*") if path.is_file()}


def make_roots(directory: Path, *made: str) -> tuple[tuple[str, str], ...]:
    for center in made:
        (directory / center / "tree").mkdir(parents=True)
    return tuple((center, str(directory / center / "tree")) for center in ALL)


def is_now(what: Callable[[], bool]) -> bool:
    """Names may go while they are looked at."""
    try:
        return what()
    except OSError:
        return False


def hold_of(place: Town, center: str) -> str:
    trees = place.nodes[center].trees
    assert trees is not None
    return trees.find("docs").hold


async def test_streams_that_come_at_once_never_work_on_a_tree_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "production" / "tree"
    root.mkdir(parents=True)
    (root / "one").write_text("one")
    group = replace(GROUP, filesets=(FileSetSpec("5e" * 16, "docs", 1, (("production", str(root)),)),))
    async with town(tmp_path, group) as place:
        trees = place.nodes["remote"].trees
        assert trees is not None
        docs = trees.find("docs")
        await place.until(lambda: docs.held.number > 0)
        epoch = place.member("remote").copy.durable.follow
        running: list[Sink] = []
        most = 0

        async def run(self: Sink) -> None:
            nonlocal most
            running.append(self)
            most = max(most, len(running))
            while not self.is_lost:
                await asyncio.sleep(0)
            await asyncio.sleep(0.01)  # it finishes what it does in a thread
            running.remove(self)

        monkeypatch.setattr(Sink, "run", run)
        channel = cast("BulkChannel", Channel())
        sinks = [trees.accept("production", docs.spec.id, epoch, channel, number) for number in range(5)]
        assert None not in sinks
        await place.until(lambda: len(running) == 1 and sum(not s.is_lost for s in sinks if s) == 1)
        assert most == 1


async def test_an_old_owner_with_changes_that_nobody_saw_becomes_a_replica_and_loses_no_content(
    tmp_path: Path,
) -> None:
    roots = make_roots(tmp_path, *ALL)
    here, there = Path(roots[0][1]), Path(roots[1][1])
    build(here)
    policy = replace(GROUP.policy, lease_s=8.0, freeze_timeout_s=30.0)  # so that it cuts within its lease
    group = replace(GROUP, filesets=(FileSetSpec("5e" * 16, "docs", 1, roots),), policy=policy)
    async with town(tmp_path, group) as place:
        await level(place, "production", "same_city", "remote")
        place.cut_off("production")
        change(here)
        mine = {"new/one": "mine, new", "moved/b": "mine, edited", "dir": "mine, another kind"}
        (here / "new").mkdir()
        for name, text in mine.items():
            (here / name).write_text(text)
        # It still has its lease: it cuts generations that nobody gets.
        await place.until(lambda: files(place, "production").held > files(place, "remote").held)
        await place.nodes["production"].die()
        outcome = await place.run(IntentKind.FAILOVER, "same_city", accept_loss=True)
        assert outcome.state is OperationState.DONE, outcome
        (there / "kept" / "a").write_text("by the new owner")
        (there / "new").write_text("a file where the other made a directory")
        await level(place, "same_city", "remote")
        place.cuts.clear()
        node = place.start("production")
        await node.adopt(await place.charter())
        await level(place, "same_city", "production")
        assert differences(there, here) == ""
        assert set(mine.values()) <= set_aside(here)


async def test_a_center_that_was_never_seeded_owns_nothing_and_takes_nothing_from_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its root was not mounted: it could never follow. Empty as it is, it empties nobody."""
    monkeypatch.setattr(file_sets, "RETRY_HIGH_S", 0.2)
    roots = make_roots(tmp_path, "production", "remote")
    here = Path(roots[0][1])
    build(here)
    group = replace(GROUP, filesets=(FileSetSpec("5e" * 16, "docs", 1, roots),))
    async with town(tmp_path, group) as place:
        await level(place, "production", "remote")
        remote = Path(roots[2][1])
        before = contents(remote)
        await place.nodes["production"].die()
        outcome = await place.run(IntentKind.FAILOVER, "same_city", accept_loss=True)
        assert outcome.state is OperationState.DONE, outcome
        await place.until(lambda: "No such" in hold_of(place, "same_city"))
        make_roots(tmp_path, "same_city")
        await place.until(lambda: "approve" in hold_of(place, "remote"))
        assert contents(remote) == before


async def test_a_replica_looks_at_its_own_tree_and_asks_for_what_vanished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing changes at the owner, so that only a look of its own can tell."""
    monkeypatch.setattr(file_sink, "CHECK_S", 0.1)
    root = tmp_path / "production" / "tree"
    root.mkdir(parents=True)
    build(root)
    group = replace(GROUP, filesets=(FileSetSpec("5e" * 16, "docs", 1, (("production", str(root)),)),))
    async with town(tmp_path, group) as place:
        await level(place, "production", "same_city", "remote")
        remote = tmp_path / "remote" / "trees" / "docs"
        shutil.rmtree(remote / "kept")
        (remote / "file").write_text("edited at the replica")
        await place.until(lambda: is_now(lambda: contents(remote) == contents(root)))


async def test_a_view_whose_copy_failed_can_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "production" / "tree"
    root.mkdir(parents=True)
    (root / "one").write_text("one")
    group = replace(GROUP, filesets=(FileSetSpec("5e" * 16, "docs", 1, (("production", str(root)),)),))
    clone = LinuxTree.clone

    def fill_the_disk(self: LinuxTree, to: str) -> int:
        clone(self, to)
        raise OSError(28, "No space left on device")

    async with town(tmp_path, group) as place:
        await level(place, "production", "remote")
        trees = place.nodes["remote"].trees
        assert trees is not None
        wanted = {1: (trees.find("docs").held, "")}
        monkeypatch.setattr(LinuxTree, "clone", fill_the_disk)
        with pytest.raises(DrsyncError, match="No space left"):
            await trees.clone("a view", wanted, 1.0)
        monkeypatch.undo()
        place_of = await trees.clone("a view", wanted, 1.0)
        assert (Path(place_of["docs"]) / "one").read_text() == "one"


async def test_a_takeover_with_lost_files_waits_for_a_persons_word_and_only_for_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_sets, "RETRY_HIGH_S", 0.2)
    roots = make_roots(tmp_path, *ALL)
    here, there, remote = (Path(root) for _, root in roots)
    (here / "many").mkdir()
    for number in range(150):
        (here / "many" / f"{number}").touch()
    (here / "kept").touch()
    group = replace(GROUP, filesets=(FileSetSpec("5e" * 16, "docs", 1, roots),))
    async with town(tmp_path, group) as place:
        await level(place, "production", "same_city", "remote")
        await place.nodes["production"].die()
        shutil.rmtree(there / "many")
        outcome = await place.run(IntentKind.FAILOVER, "same_city", accept_loss=True)
        assert outcome.state is OperationState.DONE, outcome
        await place.until(lambda: "approve" in hold_of(place, "same_city"))
        assert len(names(remote)) == 152
        trees = place.nodes["same_city"].trees
        assert trees is not None
        await trees.approve("docs")
        await place.until(lambda: is_now(lambda: names(remote) == ["kept"]))
