"""What is made is named before it is made, and gone is what the kernel does not know."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from drsync.adapters.hooks.inventory import Inventory
from drsync.adapters.hooks.kernel import SERVER, VARIABLE, traces
from drsync.adapters.hooks.removal import remove
from drsync.lab.runbooks import why_no_mounts
from drsync.model.errors import MalformedError, RefusedError
from tests.integration import disks

NEEDS_ROOT = pytest.mark.skipif(bool(why_no_mounts()), reason=f"mounts: {why_no_mounts()}")


def is_there(path: str) -> bool:
    return Path(path).exists()


def waiting(home: Path, mark: str) -> "subprocess.Popen[bytes]":
    """A process that bears a mark and waits."""
    code = [sys.executable, "-c", "input()"]
    return subprocess.Popen(code, stdin=subprocess.PIPE, cwd=home, env={VARIABLE: mark})


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    return Inventory(tmp_path / "inventory", str(tmp_path))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    made = tmp_path / "hooks"
    made.mkdir()
    yield made
    disks.release_all(made)


def test_an_item_is_on_disk_before_it_is_made(inventory: Inventory, tmp_path: Path) -> None:
    item = inventory.register("drill-1", "tree", "mount", "s/1", is_drill=True)
    again = Inventory(tmp_path / "inventory", str(tmp_path))
    assert again.items() == [item]
    assert not item.is_ready
    done = again.ready(item, {"path": "/x"})
    assert inventory.find("drill-1", "tree") == done
    assert inventory.find("drill-2", "tree") is None
    inventory.forget(done)
    assert again.items() == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"scope": "drill-1"}', '{"colour": "blue"}', "\\ud800"])
def test_one_file_that_cannot_be_read_hides_no_other(inventory: Inventory, tmp_path: Path, text: str) -> None:
    item = inventory.register("drill-1", "tree", "mount", "s/1", is_drill=True)
    (tmp_path / "inventory" / "0123456789ab-x.json").write_text(text)
    assert inventory.items() == [item]
    inventory.forget(item)
    assert inventory.items("drill-1") == []


def test_no_name_begins_with_another(inventory: Inventory) -> None:
    """Otherwise removing `tree` would remove `tree-2`."""
    one, two = inventory.tag("drill-1", "tree"), inventory.tag("drill-1", "tree-2")
    assert not two.startswith(one)
    assert inventory.tag("drill-2", "tree")[:12] != one[:12]
    for word in ("", "..", "a/b", "A", "x" * 80):
        with pytest.raises(MalformedError):
            inventory.tag("drill-1", word)


def test_there_is_an_end_to_it(inventory: Inventory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drsync.adapters.hooks.inventory.ITEMS_MAX", 5)
    for n in range(5):
        inventory.register("drill-1", f"s{n}", "netns", "", is_drill=True)
    with pytest.raises(RefusedError):
        inventory.register("drill-1", "more", "netns", "", is_drill=True)


async def test_processes_and_directories_go_also_those_of_nobody(inventory: Inventory, folder: Path) -> None:
    """As after SIGKILL of the agent: nothing is a child of ours, nothing is on our list."""
    tag, other = inventory.tag("drill-1", "serve"), inventory.tag("drill-2", "serve")
    home = folder / f"{tag}d" / "home"
    (home / "cache").mkdir(parents=True)
    (home / "cache" / "file").write_text("x")
    (home / "link").symlink_to("/etc")
    running = [waiting(folder, f"{mark}run") for mark in (tag, other)]
    try:
        assert {trace.kind for trace in traces(folder, tag)} == {"process", "directory"}
        gone = await remove(folder, tag)
        assert gone.left == ()
        assert len(gone.removed) == 2
        assert not (folder / f"{tag}d").exists()
        assert is_there("/etc/passwd")
        assert running[0].wait(5) == -9
        assert running[1].poll() is None, "another's is left alone"
        assert (await remove(folder, tag)).removed == (), "twice is once"
    finally:
        for process in running:
            process.kill()
            process.communicate()


@NEEDS_ROOT
async def test_what_is_mounted_is_never_deleted(inventory: Inventory, folder: Path, tmp_path: Path) -> None:
    """The mount is kept busy by somebody else, so that it does not go at once."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "ledger.db").write_text("everything")
    tag = inventory.tag("group-1", "tree")
    tree = folder / f"{tag}d" / "tree"
    tree.mkdir(parents=True)
    disks.run("mount", "--bind", data, tree)
    with waiting(tree, "nobody") as busy, waiting(folder, f"{tag}{SERVER}") as server:
        gone = await remove(folder, tag)
        assert any(name.startswith("mount ") for name in gone.left), "somebody uses it"
        assert server.poll() is None, "what serves it must be there as long as that"
        torn = await remove(folder, tag, is_copy=True)
        assert server.wait(5) == -9
        busy.kill()
    assert (data / "ledger.db").read_text() == "everything"
    assert torn.left == ()


async def test_what_does_not_go_is_said(inventory: Inventory, folder: Path) -> None:
    """A program wrote where something should have been mounted: that is nobody's to delete."""
    tag = inventory.tag("group-1", "tree")
    tree = folder / f"{tag}d" / "tree"
    tree.mkdir(parents=True)
    (tree / "precious").write_text("x")
    gone = await remove(folder, tag)
    assert gone.left == (f"directory {folder}/{tag}d",)
    assert (tree / "precious").exists()


@NEEDS_ROOT
@pytest.mark.parametrize("where", ["home", "home/data"])
@pytest.mark.parametrize("scope", ["group-1", "drill-1"])
async def test_what_a_program_mounted_in_its_own_place_is_not_deleted(
    inventory: Inventory, folder: Path, tmp_path: Path, where: str, scope: str
) -> None:
    """A probe that shows itself the real data and dies: the data is of the same file system, and busy."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "ledger.db").write_text("everything")
    tag = inventory.tag(scope, "ask")
    place = folder / f"{tag}probe" / where
    place.mkdir(parents=True)
    disks.run("mount", "--bind", data, place)
    with waiting(place, "nobody") as busy:
        await remove(folder, tag, is_copy=scope == "drill-1")
        assert (data / "ledger.db").read_text() == "everything"
        busy.kill()
    gone = await remove(folder, tag)
    assert gone.left == ()
    assert (data / "ledger.db").read_text() == "everything"


@NEEDS_ROOT
async def test_a_folder_behind_a_symbolic_link_is_the_one_the_kernel_names(
    inventory: Inventory, folder: Path, tmp_path: Path
) -> None:
    """As /var/run is."""
    (tmp_path / "run").symlink_to(folder)
    tag = inventory.tag("drill-1", "tree")
    tree = folder / f"{tag}d" / "tree"
    tree.mkdir(parents=True)
    disks.run("mount", "-t", "tmpfs", "none", tree)
    assert "mount" in {trace.kind for trace in traces(tmp_path / "run", tag)}
    assert (await remove(tmp_path / "run", tag)).left == ()


@NEEDS_ROOT
async def test_networks_go(inventory: Inventory, folder: Path) -> None:
    tag = inventory.tag("drill-1", "net")
    disks.run("ip", "netns", "add", f"drsync-{tag}ns")
    assert [trace.kind for trace in traces(folder, tag)] == ["netns"]
    gone = await remove(folder, tag)
    assert (len(gone.removed), gone.left) == (1, ())
