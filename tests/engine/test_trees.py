"""Trees of a group in one process: real directories and indexes, real members, links in memory."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from drsync.engine.file_set import FileSet
from drsync.engine.file_source import Source
from drsync.model.charter import IntentKind
from drsync.model.errors import DrsyncError
from drsync.model.fileset import Entry, FileSetSpec
from drsync.model.operation import OperationState
from tests.adapters.tree.variety import grow
from tests.engine.town import CENTERS, GROUP, Town, town

SET = FileSetSpec("5e" * 16, "docs", 1)
ALL = [center.name for center in CENTERS]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Town]:
    roots = tuple((name, str(tmp_path / name / "tree")) for name in ALL)
    fill(roots)
    group = replace(GROUP, filesets=(replace(SET, roots=roots),))
    async with town(tmp_path, group) as town_:
        yield town_


def fill(roots: tuple[tuple[str, str], ...]) -> None:
    make(roots)
    first = Path(roots[0][1])
    (first / "a").mkdir()
    (first / "a" / "one.txt").write_text("one\n")
    (first / "two.bin").write_bytes(os.urandom(300_000))
    (first / "link").symlink_to("/etc/passwd")
    (first / b"\xff\xfe".decode("utf-8", "surrogateescape")).write_text("not text")
    os.link(first / "two.bin", first / "a" / "second name")


def root(place: Town, name: str) -> Path:
    return Path(place.group.filesets[0].root(name))


def files(place: Town, name: str) -> FileSet:
    trees = place.nodes[name].trees
    assert trees is not None
    return trees.find("docs")


async def level(place: Town, owner: str, *names: str, seconds: float = 15.0) -> None:
    """Wait until what is at the owner now is at the others."""
    trees = place.nodes[owner].trees
    assert trees is not None
    for tried in range(1, 1 + round(seconds / 0.05)):
        with contextlib.suppress(DrsyncError):
            await trees.settle("", 1.0)
            break
        assert tried < seconds / 0.05, files(place, owner).word()
        await asyncio.sleep(0.05)
    wanted = files(place, owner).state.held
    await place.until(lambda: all(files(place, name).state.held >= wanted for name in names), seconds)


def differences(one: Path, other: Path) -> str:
    if shutil.which("rsync") is None:
        pytest.skip("rsync is not installed")
    run = subprocess.run(
        ["rsync", "-naAHXc", "--delete", "--itemize-changes", "--exclude=/.drsync*", f"{one}/", f"{other}/"],
        check=True,
        capture_output=True,
        timeout=30,
    )
    return run.stdout.decode(errors="replace")


async def test_a_tree_is_seeded_and_followed(place: Town) -> None:
    await level(place, "production", "same_city", "remote")
    here = root(place, "production")
    for name in ("same_city", "remote"):
        assert differences(here, root(place, name)) == ""
    (here / "a" / "one.txt").write_text("another\n")
    (here / "new").mkdir()
    (here / "new" / "deep").write_text("deep")
    (here / "link").unlink()
    (here / "two.bin").rename(here / "moved.bin")
    await level(place, "production", "same_city", "remote")
    for name in ("same_city", "remote"):
        assert differences(here, root(place, name)) == ""


async def test_a_new_owner_goes_on_with_the_tree_and_the_old_one_keeps_its_late_edits_aside(
    place: Town,
) -> None:
    await level(place, "production", "same_city", "remote")
    await place.nodes["production"].die()
    outcome = await place.run(IntentKind.FAILOVER, "same_city", accept_loss=True)
    assert outcome.state is OperationState.DONE, outcome
    late = root(place, "production") / "a" / "one.txt"
    late.write_text("written after the failover\n")
    there = root(place, "same_city")
    (there / "fresh").write_text("by the new owner")
    await level(place, "same_city", "remote")
    assert differences(there, root(place, "remote")) == ""
    node = place.start("production")
    await node.adopt(await place.charter())
    await level(place, "same_city", "production")
    forks = list(root(place, "production").glob(".drsync-fork-*/a/one.txt"))
    assert [fork.read_text() for fork in forks] == ["written after the failover\n"]
    assert differences(there, root(place, "production")) == ""


async def test_a_switchover_takes_every_file_along(place: Town) -> None:
    await level(place, "production", "same_city", "remote")
    (root(place, "production") / "last").write_text("a moment before")
    outcome = await place.run(IntentKind.SWITCHOVER, "same_city")
    assert outcome.state is OperationState.DONE, outcome
    assert (root(place, "same_city") / "last").read_text() == "a moment before"


async def test_an_emptied_root_reaches_nobody_until_a_person_says_so(place: Town) -> None:
    await level(place, "production", "same_city")
    here = root(place, "production")
    shutil.rmtree(here)
    here.mkdir()
    await place.until(lambda: files(place, "production").hold != "")
    assert (root(place, "same_city") / "a" / "one.txt").exists()


async def test_a_file_that_keeps_changing_is_shipped_as_it_was_cut(
    place: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    await level(place, "production", "same_city", "remote")
    hot = root(place, "production") / "hot.log"
    to_come, turn = [b"%d" % number * 50_000 for number in range(10)], threading.Lock()
    as_cut: list[bytes] = []
    read = Source.block

    def rewritten_before_each_read(source: Source, entry: Entry, block: int) -> bytes | None:
        with turn:
            if to_come and entry.path == b"hot.log":
                hot.write_bytes(to_come[-1])
                del to_come[-1]
            data = read(source, entry, block)
            if entry.path == b"hot.log" and data is not None and data != hot.read_bytes():
                as_cut.append(data)
        return data

    monkeypatch.setattr(Source, "block", rewritten_before_each_read)
    hot.write_bytes(b"first" * 10_000)
    await place.until(lambda: not to_come, 15.0)
    await level(place, "production", "same_city", "remote")
    assert as_cut, "what was sent while it changed had been kept when it was cut"
    for name in ("same_city", "remote"):
        assert (root(place, name) / "hot.log").read_bytes() == hot.read_bytes() == b"0" * 50_000


@pytest.mark.timeout(300)
async def test_ten_thousand_names_of_every_kind_converge_exactly(tmp_path: Path) -> None:
    roots = tuple((name, str(tmp_path / name / "tree")) for name in ALL)
    make(roots)
    grow(tmp_path / "production" / "tree", 10_000)
    async with town(tmp_path, replace(GROUP, filesets=(replace(SET, roots=roots),))) as place:
        await level(place, "production", "same_city", "remote", seconds=200.0)
        assert files(place, "remote").state.entries > 10_000
        for name in ("same_city", "remote"):
            assert differences(root(place, "production"), root(place, name)) == ""


def make(roots: tuple[tuple[str, str], ...]) -> None:
    for _, directory in roots:
        Path(directory).mkdir(parents=True)
