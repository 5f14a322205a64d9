"""Any tree becomes any other one, and says the same of itself afterwards; a crash anywhere loses neither."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drsync.adapters.tree import area, kernel
from drsync.adapters.tree.tree import LinuxTree
from drsync.model.fileset import Entry, FileKind
from tests.adapters.tree.conftest import FILESET
from tests.adapters.tree.rebuild import apply, comparable, entries_of, stage

NAMES = st.sampled_from([b"a", b"b", b"-", b"\xff\xfe", b"a b", b"\n", "é".encode(), b"n" * 255])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(b"/".join)
FILES = st.tuples(st.just("file"), st.binary(max_size=40), st.sampled_from([0o600, 0o644, 0o4755]))
LINKS = st.tuples(st.just("link"), st.sampled_from([b"a", b"/etc/passwd", b"../.."]), st.just(0))
HARD = st.tuples(st.just("hard"), NAMES, st.just(0))
FOLDERS = st.tuples(st.just("folder"), st.just(b""), st.sampled_from([0o700, 0o755, 0o2750]))
FIFOS = st.tuples(st.just("fifo"), st.just(b""), st.just(0))
FAST = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # because nothing here is about a disk
Thing = tuple[str, bytes, int]
TREES = st.dictionaries(PATHS, st.one_of(FILES, LINKS, HARD, FOLDERS, FIFOS), max_size=8)


def make(root: Path, things: Mapping[bytes, Thing]) -> None:
    """Whatever of it can be made: a path below a file cannot."""
    for name, (what, data, mode) in things.items():
        path = os.fsencode(root) + b"/" + name
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120 — bytes
            match what:
                case "file":
                    with open(path, "xb") as file:  # noqa: PTH123 — bytes
                        file.write(data)
                    os.chmod(path, mode)  # noqa: PTH101 — bytes
                case "link":
                    os.symlink(data, path)  # noqa: PTH211 — bytes
                case "hard":
                    os.link(os.fsencode(root) + b"/" + data, path, follow_symlinks=False)
                case "folder":
                    os.mkdir(path, mode)  # noqa: PTH102 — bytes
                case _:
                    os.mkfifo(path)
        except OSError:
            continue


@settings(max_examples=60, deadline=None)
@given(first=TREES, second=TREES)
def test_any_tree_becomes_any_other(first: Mapping[bytes, Thing], second: Mapping[bytes, Thing]) -> None:
    with tempfile.TemporaryDirectory(dir=FAST) as folder:
        trees = []
        for name, things in (("source", second), ("target", first)):
            (Path(folder) / name).mkdir()
            make(Path(folder) / name, things)
            trees.append(LinuxTree(str(Path(folder) / name), FILESET))
        source, target = trees

        assert apply(source, target) == {}

        assert comparable(entries_of(source)) == comparable(entries_of(target))


class Crashed(BaseException):
    pass


@pytest.mark.parametrize("has_exchange", [True, False])
def test_a_crash_at_any_step_leaves_the_old_or_the_new_and_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_exchange: bool
) -> None:
    """Stops before each call that moves a name, then goes on with what a new process finds."""
    source_root = tmp_path / "source"
    source_root.mkdir()
    (source_root / "file").write_bytes(b"new")
    source = LinuxTree(str(source_root), FILESET)
    entry = entries_of(source)[b"file"]
    monkeypatch.setattr(area.Area, "_probe", lambda _: has_exchange)
    real = {name: getattr(os, name) for name in ("rename", "link", "replace", "unlink")}
    real_rename = kernel.rename
    crashes = 0
    for step in range(20):
        root = tmp_path / f"target-{step}"
        root.mkdir()
        (root / "file").write_bytes(b"old")
        before = LinuxTree(str(root), f"{step:032x}"[::-1])
        expected = before.glance(b"file")
        key = stage(source, before, entry)
        before.sync()
        left = [step]

        def count(left: list[int] = left) -> None:
            if not left[0]:
                raise Crashed
            left[0] -= 1

        with monkeypatch.context() as patched:
            for name, call in real.items():

                def counted(*args: object, call: object = call, **more: object) -> object:
                    count()
                    assert callable(call)
                    return call(*args, **more)

                patched.setattr(os, name, counted)

            def renamed(*args: object) -> None:
                count()
                if not has_exchange:
                    raise OSError(22, "Invalid argument")
                real_rename(*args)  # type: ignore[arg-type]  # handed on

            patched.setattr(kernel, "rename", renamed)
            try:
                before.put_file(entry, key, expected)
                before.finish([])
            except Crashed:
                crashes += 1
        before.close()

        assert (root / "file").read_bytes() in {b"old", b"new"}
        after = LinuxTree(str(root), f"{step:032x}"[::-1])
        assert after.put_file(entry, key, expected).outcome.value == "done"
        after.finish([])
        assert (root / "file").read_bytes() == b"new"
        assert after.staged() == frozenset()
        after.close()
        if left[0]:
            break
    assert crashes >= 2


def test_a_sealed_file_that_differs_from_its_entry_is_not_put(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    tree = LinuxTree(str(tmp_path / "tree"), FILESET)
    entry = Entry(b"file", FileKind.FILE, mode=0o600, uid=os.geteuid(), gid=os.getegid(), mtime_ns=10**18)
    staged = tree.stage("ab", 0)
    staged.seal(entry)
    sealed = next(item for item in next(tmp_path.glob(".drsync-01234567-*")).iterdir())
    sealed.chmod(0o666)
    assert "mode" in tree.put_file(entry, "ab", None).reason
    tree.close()
