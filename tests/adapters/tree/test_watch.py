"""Hints: what changed is named, and what may have been missed is never passed over in silence."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from drsync.adapters.tree.watch import InotifyWatch
from drsync.ports.tree import TreeWatch
from tests.adapters.tree.conftest import mount, unmount


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "watched"
    (made / "a/b").mkdir(parents=True)
    (made / "c").mkdir()
    return made


@pytest.fixture
def watch(root: Path) -> Iterator[InotifyWatch]:
    made = InotifyWatch(str(root))
    yield made
    made.close()


def test_it_is_quiet_when_nothing_happens(watch: TreeWatch) -> None:
    assert watch.take() == frozenset()


def test_each_kind_of_change_names_its_directory(root: Path, watch: InotifyWatch) -> None:
    (root / "a/file").write_text("new")
    assert watch.take() == frozenset({b"a"})
    (root / "a/file").chmod(0o600)
    assert watch.take() == frozenset({b"a"})
    (root / "a/file").rename(root / "c/file")
    assert watch.take() == frozenset({b"a", b"c"})
    os.setxattr(root / "c/file", "user.word", b"1")
    assert watch.take() == frozenset({b"c"})
    (root / "c/file").unlink()
    assert watch.take() == frozenset({b"c"})


def test_files_made_at_once_in_new_directories_are_not_missed(root: Path, watch: InotifyWatch) -> None:
    for number in range(50):
        (root / f"new-{number}/inner/most").mkdir(parents=True)
        (root / f"new-{number}/inner/most/file").write_text("made before the watch")

    hints = watch.take()
    assert hints is not None
    for number in range(50):
        assert any(f"new-{number}/inner/most/file".encode().startswith(hint) for hint in hints if hint)

    (root / "new-7/inner/most/later").write_text("now watched")
    assert watch.take() == frozenset({b"new-7/inner/most"})


def test_a_moved_directory_tells_with_its_new_name(root: Path, watch: InotifyWatch) -> None:
    (root / "a").rename(root / "c/moved")
    hints = watch.take()
    assert hints is not None
    assert hints >= {b"", b"c", b"c/moved"}

    (root / "c/moved/b/file").write_text("x")
    assert watch.take() == frozenset({b"c/moved/b"})


def test_a_directory_that_left_the_tree_tells_nothing_more(
    root: Path, watch: InotifyWatch, tmp_path: Path
) -> None:
    (root / "a").rename(tmp_path / "outside")
    assert watch.take() == frozenset({b""})
    (tmp_path / "outside/b/file").write_text("not ours")
    assert watch.take() == frozenset()


def test_our_own_area_is_not_a_change(root: Path, watch: InotifyWatch) -> None:
    (root / ".drsync").mkdir()
    (root / ".drsync/part").write_text("x")
    assert watch.take() == frozenset()


def test_after_an_overflow_everything_is_looked_at_and_watched_again(root: Path, watch: InotifyWatch) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 50_000:
        pytest.skip("the queue of this machine is too long to fill in a test")
    one, other = root / "a/one", root / "a/other"
    one.touch()
    for _ in range(limit // 2 + 10):
        one.rename(other)
        other.rename(one)
    (root / "lost").mkdir()

    assert watch.take() is None

    (root / "lost/file").write_text("seen all the same")
    assert watch.take() == frozenset({b"lost"})


def test_more_directories_than_watches_means_to_look_everywhere(root: Path) -> None:
    watch = InotifyWatch(str(root), watches_max=3)
    assert watch.take() is None
    assert not watch.is_complete
    watch.close()


def test_no_root_means_to_look_everywhere_until_it_is_back(root: Path, watch: InotifyWatch) -> None:
    root.rename(root.with_name("away"))
    assert watch.take() is None
    assert watch.take() is None
    root.with_name("away").rename(root)
    assert watch.take() is None
    (root / "a/file").write_text("x")
    assert watch.take() == frozenset({b"a"})


def test_an_unmounted_root_is_never_silence(tmp_path: Path) -> None:
    root = tmp_path / "mounted"
    root.mkdir()
    mount("-t", "tmpfs", "none", root)
    watch = InotifyWatch(str(root))
    unmount(root)
    assert watch.take() is None
    watch.close()
