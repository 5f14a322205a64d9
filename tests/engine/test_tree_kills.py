"""A replica is killed at every point of a change: it goes on, and nothing that anybody wrote is lost."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest

from drsync.adapters.sqlite.file_index import SqliteFileIndex
from drsync.adapters.tree.fork import Fork
from drsync.adapters.tree.tree import LinuxTree
from tests.engine.tree_rig import FIRST, SECOND, Owner, Rig, names

POINTS = (
    (LinuxTree, "put_file"),
    (LinuxTree, "put"),
    (LinuxTree, "remove"),
    (LinuxTree, "finish"),
    (LinuxTree, "sweep"),
    (Fork, "take"),
    (SqliteFileIndex, "begin_applying"),
    (SqliteFileIndex, "applied"),
    (SqliteFileIndex, "end_applying"),
    (SqliteFileIndex, "doubt"),
)


P = ParamSpec("P")
R = TypeVar("R")


class KilledError(Exception):
    """The process is no more: whatever it would still do raises this again."""


class Killer:
    """Counts calls that change something, and lets none happen from the one that is numbered `at`."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int) -> None:
        self.calls = 0
        self.is_dead = False
        for place, name in POINTS:
            patch.setattr(place, name, self._wrapped(getattr(place, name), at))

    def _wrapped(self, call: Callable[P, R], at: int) -> Callable[P, R]:
        def wrapped(*args: P.args, **names: P.kwargs) -> R:
            self.calls += 1
            if self.is_dead or self.calls == at:
                self.is_dead = True
                raise KilledError
            return call(*args, **names)

        return wrapped


def build(root: Path) -> Owner:
    for name in ("dir", "gone/deep", "links", "kept"):
        (root / name).mkdir(parents=True)
    for name in ("dir/x", "dir/y", "file", "gone/deep/z", "kept/a", "kept/b", "links/one"):
        (root / name).write_text(f"first {name}")
    (root / "links" / "two").hardlink_to(root / "links" / "one")
    (root / "links" / "soft").symlink_to("one")
    return Owner(root, FIRST)


def change(root: Path) -> None:
    """Kinds change, links are regrouped, a directory goes, another moves."""
    shutil.rmtree(root / "dir")
    (root / "dir").write_text("a file now")
    (root / "file").unlink()
    (root / "file").mkdir()
    (root / "file" / "inside").write_text("a directory now")
    shutil.rmtree(root / "gone")
    (root / "links" / "one").unlink()
    (root / "links" / "three").hardlink_to(root / "links" / "two")
    (root / "links" / "soft").unlink()
    (root / "links" / "soft").symlink_to("three")
    (root / "links" / "hard soft").hardlink_to(root / "links" / "soft")
    (root / "kept").rename(root / "moved")
    (root / "moved" / "a").write_text("second")
    (root / "moved").chmod(0o750)


def edit(root: Path) -> dict[str, str]:
    """What somebody did at the replica; content by name, for what must be found again."""
    mine = {
        "file": "mine, in a file",
        "gone/deep/mine": "mine, where nothing will be",
        "kept/b": "mine, edited",
    }
    for name, text in mine.items():
        (root / name).write_text(text)
    (root / "dir" / "x").unlink()
    return mine


def contents(root: Path) -> dict[str, str]:
    found = {}
    for name in names(root):
        path = root / name
        if path.is_symlink():
            found[name] = str(path.readlink())
        else:
            found[name] = path.read_text() if path.is_file() else "/"
    return found


async def story(tmp_path: Path, at: int, *, is_edited: bool) -> bool:
    """Whether the process was killed at all."""
    owner = build(tmp_path / "production")
    owner.cut()
    rig = Rig(tmp_path / "remote")
    await rig.take(owner)
    mine = edit(rig.root) if is_edited else {}
    change(owner.root)
    owner.cut(SECOND)
    with pytest.MonkeyPatch.context() as patch:
        killer = Killer(patch, at)
        with suppress(KilledError, ExceptionGroup):
            await rig.take(owner, base=1)
    await rig.restart()
    for _ in range(3):
        if rig.files.held.number < 2:
            await rig.take(owner, base=1)
    assert contents(rig.root) == contents(owner.root), (at, rig.files.hold)
    here = rig.root / "links"
    assert (here / "two").stat().st_ino == (here / "three").stat().st_ino, at
    assert (here / "soft").lstat().st_ino == (here / "hard soft").lstat().st_ino, at
    kept = {path.read_text() for path in rig.root.glob(".drsync-fork-*/**/*") if path.is_file()}
    assert set(mine.values()) <= kept, (at, kept)
    assert list(area(rig).iterdir()) == [], at
    rig.files.close()
    return killer.is_dead


def area(rig: Rig) -> Path:
    return next(rig.root.parent.glob(".drsync-5e*"))


@pytest.mark.parametrize("is_edited", [False, True])
async def test_killed_at_every_point(tmp_path: Path, is_edited: bool) -> None:
    for at in range(1, 200):
        if not await story(tmp_path / f"{at}", at, is_edited=is_edited):
            break
    assert 15 < at < 199
