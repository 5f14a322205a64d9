"""What one tree says of itself is enough to make the same tree somewhere else."""

import shutil
import subprocess
from pathlib import Path

import pytest

from drsync.adapters.tree.tree import LinuxTree
from drsync.ports.tree import Tree
from tests.adapters.tree.conftest import FILESET
from tests.adapters.tree.rebuild import apply, comparable, entries_of
from tests.adapters.tree.variety import grow


def differences(source: Path, target: Path) -> list[str]:
    """What rsync would still change, by content, links, owners, ACLs, attributes and times."""
    if shutil.which("rsync") is None:
        pytest.skip("rsync is not installed")
    done = subprocess.run(
        ["rsync", "-naAHXc", "--delete", "--itemize-changes", f"{source}/", f"{target}/"],
        capture_output=True,
        check=True,
    )
    return done.stdout.decode(errors="backslashreplace").splitlines()


def pair(folder: Path) -> tuple[LinuxTree, LinuxTree]:
    made = []
    for name in ("source", "target"):
        (folder / name).mkdir(exist_ok=True)
        tree: Tree = LinuxTree(str(folder / name), FILESET)
        assert isinstance(tree, LinuxTree)
        made.append(tree)
    return made[0], made[1]


def test_a_rebuilt_tree_is_the_same_to_rsync(disk: Path) -> None:
    source, target = pair(disk)
    grow(disk / "source")
    source.mark(FILESET)
    target.mark(FILESET)

    assert apply(source, target) == {}

    assert comparable(entries_of(source)) == comparable(entries_of(target))
    assert differences(disk / "source", disk / "target") == []


def test_applying_the_same_again_changes_nothing(tmp_path: Path) -> None:
    source, target = pair(tmp_path)
    grow(tmp_path / "source", files=20)
    apply(source, target)
    before = target.scan().seen

    assert apply(source, target) == {}

    kinds = [(seen.path, seen.kind, seen.mtime_ns) for seen in target.scan().seen]
    assert kinds == [(seen.path, seen.kind, seen.mtime_ns) for seen in before]
