"""A whole tree, copied for a view."""

from pathlib import Path

import pytest

from drsync.adapters.tree import walk
from drsync.adapters.tree.tree import LinuxTree
from tests.adapters.tree.conftest import FILESET
from tests.adapters.tree.rebuild import comparable, entries_of
from tests.adapters.tree.test_round_trip import differences
from tests.adapters.tree.variety import grow


def test_a_clone_is_the_same_tree(disk: Path, request: pytest.FixtureRequest) -> None:
    grow(disk / "tree", files=50)
    tree = LinuxTree(str(disk / "tree"), FILESET)
    copied = tree.clone(str(disk / "view"))
    is_shared = "btrfs" in request.node.name or "xfs" in request.node.name
    assert (copied == 0) == is_shared
    assert comparable(entries_of(LinuxTree(str(disk / "view"), FILESET))) == comparable(entries_of(tree))
    assert differences(disk / "tree", disk / "view") == []


def test_a_tree_that_could_not_be_read_completely_is_not_cloned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tree/broken").mkdir(parents=True)

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(walk.Walk, "_names", fail)
    with pytest.raises(OSError, match="could not be read"):
        LinuxTree(str(tmp_path / "tree"), FILESET).clone(str(tmp_path / "view"))
    assert not (tmp_path / "view").exists()
