"""A lab's trees: copied exactly and only so much, compared name by name; edits whose age can be told."""

import asyncio
import os
import shutil
import time
from pathlib import Path

import pytest

from drsync.lab import editor, trees
from drsync.lab.editor import FOLDER, Editor
from drsync.model.errors import PermanentError, UsageError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    made = tmp_path / "source"
    (made / "deep" / "deeper").mkdir(parents=True)
    (made / "file").write_text("content\n")
    os.link(made / "file", made / "same")
    (made / "deep" / "link").symlink_to("../file")
    (made / "deep" / "deeper" / "sparse").write_bytes(b"")
    with (made / "deep" / "deeper" / "sparse").open("r+b") as file:
        file.truncate(1 << 20)
        file.seek(1 << 19)
        file.write(b"in the middle")
    os.mkfifo(made / "pipe")
    os.utime(made / "file", ns=(1, 1_600_000_000_000_000_001))
    (made / os.fsdecode(b"n\xff")).write_text("not UTF-8\n")
    return made


def quiet(_count: int) -> None:
    """Nobody looks."""


def test_a_copy_is_as_its_source_but_for_what_cannot_be_copied(source: Path, tmp_path: Path) -> None:
    done = trees.copy(source, tmp_path / "copy", quiet, is_limited=False)
    assert (done.names, done.note) == (7, "1 that cannot be copied left out")
    (source / "pipe").unlink()
    os.utime(source, ns=(1, (tmp_path / "copy").stat().st_mtime_ns))
    assert trees.compare(source, tmp_path / "copy").differs == ()
    first, second = (tmp_path / "copy" / name for name in ("file", "same"))
    assert first.samefile(second)
    assert (tmp_path / "copy/deep/deeper/sparse").stat().st_blocks < 1024


def test_a_copy_that_was_broken_off_goes_on(source: Path, tmp_path: Path) -> None:
    trees.copy(source, tmp_path / "copy", quiet, is_limited=False)
    (tmp_path / "copy/file").write_text("half")
    (tmp_path / "copy/deep/link").unlink()
    trees.copy(source, tmp_path / "copy", quiet, is_limited=False)
    assert (tmp_path / "copy/file").read_text() == "content\n"
    assert (tmp_path / "copy/deep/link").is_symlink()


def test_only_so_much_is_taken_of_what_nobody_chose(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees, "DEFAULT_NAMES", 3)
    done = trees.copy(source, tmp_path / "copy", quiet, is_limited=True)
    assert done.names == 3
    assert "3 names of it" in done.note


def test_a_copy_that_cannot_be_written_says_so(source: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").write_text("a file is in the way")
    with pytest.raises(PermanentError, match="cannot copy"):
        trees.copy(source, tmp_path / "copy", quiet, is_limited=False)


def test_each_difference_is_named(source: Path, tmp_path: Path) -> None:
    (source / "pipe").unlink()
    trees.copy(source, tmp_path / "copy", quiet, is_limited=False)
    (tmp_path / "copy/extra").write_text("x")
    (tmp_path / "copy/deep/link").unlink()
    shutil.copy2(tmp_path / "copy/same", tmp_path / "copy/other")
    (tmp_path / "copy/other").replace(tmp_path / "copy/same")
    (tmp_path / "copy/same").write_text("CONTENT\n")
    (tmp_path / "copy/.drsync-fork-2").mkdir()
    found = trees.compare(source, tmp_path / "copy").differs
    assert "extra should not be there" in found
    assert "deep/link is missing" in found
    assert [words for words in found if words.startswith("same: other") and "content" in words]
    assert not [words for words in found if ".drsync" in words], "forks are no part of the tree"


def test_trees_are_called_as_their_directories() -> None:
    paths = [trees.DEFAULT_SOURCE, Path("/srv/my files"), Path("/home/my files"), Path("/…")]
    assert trees.tree_names(paths) == ["documents", "my-files", "my-files-2", "files"]


def test_what_is_no_directory_is_no_tree(source: Path) -> None:
    assert trees.require_tree(source) == source
    with pytest.raises(UsageError):
        trees.require_tree(source / "file")
    assert trees.size_of(source) > 1 << 20


def test_the_age_of_what_is_missing_is_told(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    work = Editor(one)
    for _ in range(60):
        work.edit()
    shutil.copytree(one, other)
    copied_at = time.monotonic()
    for _ in range(10):
        work.edit()
    until = time.monotonic()
    assert work.look(one, 0.0, until).age_s == 0.0
    seen = work.look(other, 0.0, until)
    assert seen.age_s is not None
    assert until - copied_at >= seen.age_s > 0.0
    assert work.look(other, until, until).wrong, "older than it may be"
    next((other / FOLDER).iterdir()).write_text("nobody wrote this")
    assert work.look(other, 0.0, until).age_s is None
    work.start_anew(other)
    assert work.look(other, 0.0, until).names == 0


async def test_an_editor_works_when_it_is_told_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(editor, "PERIOD_S", 0.001)
    work = Editor(tmp_path)
    task = asyncio.create_task(work.run())
    await work.rest()
    assert work.edits == 0
    work.go()
    while work.edits < 3:
        await asyncio.sleep(0)
    await work.rest()
    work.root = tmp_path / "gone"
    work.go()
    await work.rest()  # a tree that is away for a moment ends nothing
    assert not task.done()
    task.cancel()
