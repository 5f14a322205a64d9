"""What a scan says, and what it leaves out and why."""

import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from drsync.adapters.tree import content
from drsync.adapters.tree.tree import LinuxTree
from drsync.adapters.tree.walk import Walk, topmost
from drsync.model.fileset import FileKind, block_bytes
from drsync.model.scan import Scan
from tests.adapters.tree.conftest import FILESET, mount, unmount

LOST_RACE = (InterruptedError, FileNotFoundError)


@pytest.fixture
def root(tree: LinuxTree, tmp_path: Path) -> Path:
    return tmp_path / "tree"


def paths(scan: Scan) -> list[bytes]:
    return [seen.path for seen in scan.seen]


def test_an_empty_tree_is_its_root(tree: LinuxTree) -> None:
    scan = tree.scan()
    assert paths(scan) == [b""]
    assert scan.seen[0].kind is FileKind.DIRECTORY


def test_names_come_sorted_and_ours_are_left_out(root: Path, tree: LinuxTree) -> None:
    for name in ("b", "a/x", "a-b", ".drsync/stage", ".drsync-fork-1/x", "a/.drsync"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).touch()
    assert paths(tree.scan()) == [b"", b"a", b"a-b", b"a/.drsync", b"a/x", b"b"]


def test_only_what_is_below_is_walked(root: Path, tree: LinuxTree) -> None:
    for name in ("a/x/1", "a/y/2", "b/3", "a-b/4"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    assert paths(tree.scan([b"a/x", b"a", b"gone"])) == [b"a", b"a/x", b"a/x/1", b"a/y", b"a/y/2"]
    assert topmost([b"b", b"a/b", b"a", b"a-b", b"a"]) == [b"a", b"a-b", b"b"]
    assert topmost([b"b", b""]) == [b""]


def test_the_first_name_in_byte_order_stands_for_an_inode(root: Path, tree: LinuxTree) -> None:
    (root / "m").write_text("linked")
    for name in ("a", "z"):
        os.link(root / "m", root / name)
    found = {seen.path: (seen.kind, seen.first_name, seen.nlink) for seen in tree.scan().seen}
    assert found[b"a"] == (FileKind.FILE, b"", 3)
    assert found[b"m"] == (FileKind.HARDLINK, b"a", 3)
    assert found[b"z"] == (FileKind.HARDLINK, b"a", 3)


def test_a_socket_is_skipped_with_its_reason(root: Path, tree: LinuxTree) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(root / "socket"))
        scan = tree.scan()
    assert [item.path for item in scan.skipped] == [b"socket"]
    assert "socket" in scan.skipped[0].reason


@pytest.mark.parametrize("how", [("-t", "tmpfs", "none"), ("--bind", "elsewhere")])
def test_what_is_mounted_in_the_tree_is_no_part_of_it(
    root: Path, tree: LinuxTree, tmp_path: Path, how: tuple[str, ...]
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/file").touch()
    (root / "mounted").mkdir()
    mount(*(str(tmp_path / word) if word == "elsewhere" else word for word in how), root / "mounted")
    try:
        scan = tree.scan()
    finally:
        unmount(root / "mounted")
    assert paths(scan) == [b""]
    assert [item.path for item in scan.skipped] == [b"mounted"]
    assert "mounted" in scan.skipped[0].reason


def test_a_directory_that_cannot_be_read_makes_the_scan_partial(
    root: Path, tree: LinuxTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "broken").mkdir()
    (root / "broken/hidden").touch()
    (root / "whole").mkdir()
    names = Walk._names

    def fail(walk: Walk, handle: int, path: bytes) -> None:
        if path == b"broken":
            raise OSError(5, "Input/output error")
        names(walk, handle, path)

    monkeypatch.setattr(Walk, "_names", fail)
    scan = tree.scan()
    assert b"whole" in paths(scan)
    assert paths(scan).count(b"broken") == 1
    assert [(item.path, item.reason) for item in scan.unseen] == [(b"broken", "Input/output error")]


def test_a_directory_that_may_not_be_read_makes_the_scan_partial(tmp_path: Path) -> None:
    """Played by a child without root's rights."""
    root = tmp_path / "tree"
    (root / "closed").mkdir(parents=True)
    (root / "closed").chmod(0)
    program = (
        "import os, sys; from drsync.adapters.tree.tree import LinuxTree; "
        "os.geteuid() or (os.setgroups([]), os.setgid(65534), os.setuid(65534)); "
        f"s = LinuxTree(sys.argv[1], {FILESET!r}).scan(); print([u.path for u in s.unseen], len(s.seen))"
    )
    base = tmp_path
    while base != Path("/tmp") and base.parent != base:
        with suppress(PermissionError):  # not ours: then it lets us in already
            base.chmod(base.stat().st_mode | 0o055)
        base = base.parent
    root.chmod(0o755)
    done = subprocess.run([sys.executable, "-c", program, root], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "[b'closed'] 2"


def test_the_identity_tells_mark_device_and_inode(root: Path, tree: LinuxTree) -> None:
    assert tree.identity().mark == ""
    tree.mark(FILESET)
    identity = tree.identity()
    assert (identity.mark, identity.ino) == (FILESET, root.stat().st_ino)
    assert tree.entry(tree.scan().seen[0]).xattrs == ()


def test_a_root_that_is_missing_or_a_link_or_a_file_is_no_tree(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(FileNotFoundError):
        LinuxTree(str(tmp_path / "missing"), FILESET).scan()
    for name in ("file", "link"):
        with pytest.raises(NotADirectoryError):
            LinuxTree(str(tmp_path / name), FILESET).identity()


def test_another_root_at_the_same_path_is_never_an_empty_scan(root: Path, tree: LinuxTree) -> None:
    (root / "file").touch()
    tree.mark(FILESET)
    root.rename(root.with_name("away"))
    root.mkdir()

    with pytest.raises(FileNotFoundError):
        tree.scan()
    assert tree.identity().mark == ""
    with pytest.raises(FileNotFoundError):
        tree.glance(b"file")
    with pytest.raises(FileNotFoundError):
        tree.stage("aa", 1)

    root.rmdir()
    root.with_name("away").rename(root)
    assert b"file" in paths(tree.scan())


def test_an_unmounted_root_is_missing_or_foreign_never_emptied(tmp_path: Path) -> None:
    root = tmp_path / "mounted"
    root.mkdir()
    mount("-t", "tmpfs", "none", root)
    (root / "file").touch()
    tree = LinuxTree(str(root), FILESET)
    tree.mark(FILESET)
    before = tree.identity()
    assert b"file" in paths(tree.scan())

    unmount(root)  # nothing keeps it busy between two looks

    assert tree.identity() != before
    with pytest.raises(FileNotFoundError):
        tree.scan()


def test_a_root_that_goes_during_the_scan_is_noticed(
    root: Path, tree: LinuxTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "file").touch()
    run = Walk.run

    def swap(walk: Walk, below: tuple[bytes, ...] = ()) -> Scan:
        found = run(walk, below)
        root.rename(root.with_name("away"))
        root.mkdir()
        return found

    monkeypatch.setattr(Walk, "run", swap)
    with pytest.raises(FileNotFoundError):
        tree.scan()


def test_began_is_the_clock_that_files_get_their_times_from(root: Path, tree: LinuxTree) -> None:
    (root / "before").touch()
    began = tree.scan().began_ns
    (root / "after").touch()
    assert (root / "before").stat().st_ctime_ns - 20_000_000 <= began <= (root / "after").stat().st_ctime_ns


def test_a_file_that_changes_while_it_is_read_is_busy(
    root: Path, tree: LinuxTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "log").write_bytes(b"line\n")
    seen = tree.scan().seen[1]
    hash_blocks = content.hash_blocks

    def append(handle: int, size: int, holes: content.Holes) -> tuple[bytes, ...]:
        blocks = hash_blocks(handle, size, holes)
        with (root / "log").open("ab") as log:
            log.write(b"another\n")
        return blocks

    with monkeypatch.context() as patched:
        patched.setattr(content, "hash_blocks", append)
        with pytest.raises(InterruptedError):
            tree.entry(seen)
    assert tree.entry(seen).size == 13  # newer than the scan, and whole


def test_another_thing_under_the_name_is_busy_or_gone(root: Path, tree: LinuxTree) -> None:
    (root / "name").write_text("file")
    seen = tree.scan().seen[1]
    (root / "name").unlink()
    with pytest.raises(FileNotFoundError):
        tree.entry(seen)
    os.mkfifo(root / "name")
    with pytest.raises(LOST_RACE):
        tree.entry(seen)
    (root / "name").unlink()
    (root / "name").symlink_to("/etc/passwd")
    with pytest.raises(LOST_RACE):
        tree.entry(seen)
    with pytest.raises(LOST_RACE):
        tree.read(b"name", 0, 10)


def test_holes_are_found_and_hash_as_zeros(root: Path, tree: LinuxTree) -> None:
    size = 9 * block_bytes(1)
    with (root / "sparse").open("wb") as file:
        file.truncate(size)
        file.seek(4 * block_bytes(1))
        file.write(b"data")
    (root / "full").write_bytes((root / "sparse").read_bytes())
    sparse, full = (tree.entry(seen) for seen in reversed(tree.scan().seen[1:]))
    assert sparse.holes
    assert sparse.holes[0][0] == 0
    assert not full.holes
    assert sparse.blocks == full.blocks


def test_five_hundred_files_are_scanned_in_a_moment(root: Path, tree: LinuxTree) -> None:
    """The bound is loose because the machine is shared; docs/files.md has the measured figures."""
    for folder in range(5):
        (root / str(folder)).mkdir()
        for number in range(100):
            (root / str(folder) / f"file-{number}").touch()
    durations = []
    for _ in range(3):
        began = time.perf_counter()
        assert len(tree.scan().seen) == 506
        durations.append(time.perf_counter() - began)
    assert min(durations) < 0.2
