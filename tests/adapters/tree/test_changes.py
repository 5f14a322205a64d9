"""What is changed, what is refused, and what is there when it stops in the middle."""

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3

from drsync.adapters.tree import area, kernel, session
from drsync.adapters.tree.tree import LinuxTree
from drsync.model.fileset import Entry, FileKind, Signature
from drsync.ports.tree import PutOutcome, PutResult
from tests.adapters.tree.conftest import FILESET, mount, unmount
from tests.adapters.tree.rebuild import entries_of, key_of

DONE, UNEXPECTED, HELD = PutOutcome.DONE, PutOutcome.UNEXPECTED, PutOutcome.HELD
MTIME = 1_700_000_000_123_456_789


@pytest.fixture
def root(tree: LinuxTree, tmp_path: Path) -> Path:
    return tmp_path / "tree"


def an_entry(path: bytes, kind: FileKind = FileKind.FILE, data: bytes = b"", **more: object) -> Entry:
    entry = Entry(
        path,
        kind,
        mode=0o755 if kind is FileKind.DIRECTORY else 0o777 if kind is FileKind.SYMLINK else 0o640,
        uid=os.geteuid(),
        gid=os.getegid(),
        mtime_ns=MTIME,
        size=len(data),
        blocks=(blake3(data).digest(),) if data else (),
    )
    return replace(entry, **more)  # type: ignore[arg-type]  # fields by name


def stage(tree: LinuxTree, entry: Entry, data: bytes) -> str:
    staged = tree.stage(key_of(entry), entry.size)
    staged.write(0, data)
    staged.seal(entry)
    return key_of(entry)


def put(tree: LinuxTree, path: bytes, data: bytes, expected: Signature | None = None) -> PutResult:
    entry = an_entry(path, data=data)
    return tree.put_file(entry, stage(tree, entry, data), expected)


def trash_of(root: Path) -> list[str]:
    return sorted(item.name for item in next(root.parent.glob(".drsync-01234567-*")).iterdir())


def test_a_new_file_is_there_with_everything_and_nothing_else_is(root: Path, tree: LinuxTree) -> None:
    result = put(tree, b"file", b"content")
    assert result.outcome is DONE
    assert result.signature == tree.glance(b"file")
    known = (root / "file").stat()
    assert (stat.S_IMODE(known.st_mode), known.st_mtime_ns, known.st_size) == (0o640, MTIME, 7)
    assert [item.name for item in root.iterdir()] == ["file"]
    tree.finish([])
    assert trash_of(root) == []


def test_a_replaced_file_keeps_its_readers(root: Path, tree: LinuxTree) -> None:
    old = put(tree, b"file", b"old").signature
    with (root / "file").open("rb") as reader:
        assert put(tree, b"file", b"new!", old).outcome is DONE
        assert reader.read() == b"old"
    assert (root / "file").read_bytes() == b"new!"


@pytest.mark.parametrize("change", ["content", "mode", "time", "other", "gone"])
def test_what_somebody_changed_is_not_overwritten(root: Path, tree: LinuxTree, change: str) -> None:
    known = put(tree, b"file", b"ours").signature
    assert known is not None
    file = root / "file"
    if change == "content":
        file.write_bytes(b"mine")
        os.utime(file, ns=(MTIME, MTIME))  # the same size and time: the change time tells
    elif change == "mode":
        file.chmod(0o600)
    elif change == "time":
        os.utime(file)
    elif change == "other":
        file.unlink()
        file.mkdir()
    else:
        file.unlink()
    before = tree.glance(b"file")

    assert put(tree, b"file", b"newer", known).outcome is UNEXPECTED
    assert tree.glance(b"file") == before
    if change != "gone":
        assert tree.remove(b"file", known).outcome is UNEXPECTED
        assert tree.glance(b"file") == before


def test_what_somebody_makes_in_the_last_moment_comes_back(
    root: Path, tree: LinuxTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = put(tree, b"file", b"ours").signature
    assert known is not None
    exchange, move_out = area.Area.exchange, area.Area.move_out

    def save(*_: object) -> None:
        (root / "saved").write_bytes(b"saved by an editor")
        (root / "saved").rename(root / "file")

    def late_exchange(self: area.Area, name: bytes, directory: int, target: bytes) -> bytes:
        save()
        return exchange(self, name, directory, target)

    def late_move_out(self: area.Area, directory: int, target: bytes) -> bytes:
        save()
        return move_out(self, directory, target)

    with monkeypatch.context() as patched:
        patched.setattr(area.Area, "exchange", late_exchange)
        assert put(tree, b"file", b"newer", known).outcome is UNEXPECTED
    assert (root / "file").read_bytes() == b"saved by an editor"
    assert key_of(an_entry(b"file", data=b"newer")) in tree.staged()

    known = tree.glance(b"file")
    assert known is not None
    with monkeypatch.context() as patched:
        patched.setattr(area.Area, "move_out", late_move_out)
        assert tree.remove(b"file", known).outcome is UNEXPECTED
    assert (root / "file").read_bytes() == b"saved by an editor"


def test_kinds_change_into_each_other(root: Path, tree: LinuxTree) -> None:
    file = an_entry(b"x", data=b"file")
    others = [
        an_entry(b"x", FileKind.DIRECTORY),
        an_entry(b"x", FileKind.SYMLINK, target=b"/etc/passwd"),
        an_entry(b"x", FileKind.FIFO),
    ]
    known: Signature | None = None
    for entry in others:
        known = tree.put_file(file, stage(tree, file, b"file"), known).signature
        assert known is not None
        assert known.kind == FileKind.FILE
        result = tree.put(entry, known)
        assert result.outcome is DONE
        assert entries_of(tree)[b"x"].kind is entry.kind
        known = result.signature
    tree.finish([])
    assert trash_of(root) == []


def test_a_directory_that_is_not_empty_is_neither_removed_nor_replaced(root: Path, tree: LinuxTree) -> None:
    known = tree.put(an_entry(b"folder", FileKind.DIRECTORY), None).signature
    assert known is not None
    (root / "folder/file").write_text("kept")
    assert tree.remove(b"folder", known).outcome is UNEXPECTED
    assert put(tree, b"folder", b"file now", known).outcome is UNEXPECTED
    assert (root / "folder/file").read_text() == "kept"
    (root / "folder/file").unlink()
    assert put(tree, b"folder", b"file now", known).outcome is DONE


def test_a_name_without_its_directory_is_unexpected(root: Path, tree: LinuxTree) -> None:
    assert put(tree, b"missing/file", b"x").outcome is UNEXPECTED
    (root / "link").symlink_to(root.parent)
    assert put(tree, b"link/file", b"x").outcome is UNEXPECTED
    assert not (root.parent / "file").exists()


def test_links_are_made_from_the_first_name_and_follow_it(root: Path, tree: LinuxTree) -> None:
    first = put(tree, b"a", b"one").signature
    link = an_entry(b"b", FileKind.HARDLINK, target=b"a")
    linked = tree.put(link, None)
    assert linked.outcome is DONE
    assert (root / "b").stat().st_nlink == 2

    assert put(tree, b"a", b"two", first).outcome is DONE  # the change time of `a` is newer than `first`
    assert (root / "b").read_bytes() == b"one"
    assert tree.put(link, linked.signature).outcome is DONE
    assert (root / "b").read_bytes() == b"two"
    assert tree.put(link, None).outcome is DONE
    assert tree.put(replace(link, path=b"c", target=b"none"), None).outcome is UNEXPECTED


def test_attributes_change_in_place(root: Path, tree: LinuxTree) -> None:
    entry = an_entry(b"file", data=b"content", xattrs=((b"user.one", b"1"), (b"user.two", b"2")))
    known = tree.put_file(entry, stage(tree, entry, b"content"), None).signature
    ino = (root / "file").stat().st_ino
    changed = replace(entry, mode=0o4711, mtime_ns=5, xattrs=((b"user.two", b"3"),))
    assert tree.put(changed, known).outcome is DONE
    assert (root / "file").stat().st_ino == ino
    assert entries_of(tree)[b"file"] == changed
    tree.finish([])


def test_directories_keep_the_time_of_their_entry(root: Path, tree: LinuxTree) -> None:
    folder = an_entry(b"folder", FileKind.DIRECTORY)
    tree.put(folder, None)
    put(tree, b"folder/file", b"x")
    tree.finish([folder])
    assert (root / "folder").stat().st_mtime_ns == MTIME
    put(tree, b"folder/other", b"x")
    tree.finish([])  # its entry did not change, and so its time does not
    assert (root / "folder").stat().st_mtime_ns == MTIME


@pytest.mark.parametrize(
    ("number", "word"), [(errno.EINVAL, "does not take its name"), (errno.ENAMETOOLONG, "too long")]
)
def test_names_that_the_target_cannot_hold_are_held(
    root: Path, tree: LinuxTree, monkeypatch: pytest.MonkeyPatch, number: int, word: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    tree.staged()
    with monkeypatch.context() as patched:
        patched.setattr(kernel, "rename", refuse)
        patched.setattr(area.Area, "_probe", lambda _: True)
        result = put(tree, b"a:b?", b"x")
    assert (result.outcome, word in result.reason) == (HELD, True)
    assert put(tree, b"n" * 256, b"x").outcome is HELD
    assert list(root.iterdir()) == []


def test_attributes_that_the_target_cannot_hold_are_held(
    root: Path, tree: LinuxTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = an_entry(b"file", data=b"x")
    known = tree.put_file(plain, stage(tree, plain, b"x"), None).signature
    entry = replace(plain, xattrs=((b"user.kept", b"1"),))

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(os, "setxattr", refuse)
    result = tree.put_file(entry, stage(tree, entry, b"x"), known)
    assert result == PutResult(HELD, "its attribute user.kept cannot be kept here")
    assert "user.kept" in tree.put(entry, known).reason
    assert entries_of(tree)[b"file"] == plain


def test_owners_and_devices_need_rights(root: Path, tree: LinuxTree, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    monkeypatch.setattr(os, "mknod", refuse)
    owned = an_entry(b"file", data=b"x", uid=12345)
    result = tree.put_file(owned, stage(tree, owned, b"x"), None)
    assert result == PutResult(HELD, f"its owner 12345:{os.getegid()} cannot be set here")
    link = an_entry(b"link", FileKind.SYMLINK, target=b"x", uid=12345)
    assert tree.put(link, None).outcome is HELD
    assert tree.put(an_entry(b"null", FileKind.CHARACTER, device=(1 << 20) + 3), None).outcome is HELD
    assert list(root.iterdir()) == []
    tree.finish([])
    assert [name.partition("-")[0] for name in trash_of(root)] == [key_of(owned)]  # staged, nothing else


def test_a_full_disk_is_an_error_and_loses_nothing(
    root: Path, tree: LinuxTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = put(tree, b"file", b"old").signature
    entry = an_entry(b"file", data=b"newer")
    key = stage(tree, entry, b"newer")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(kernel, "rename", full)
        with pytest.raises(OSError, match="No space"):
            tree.put_file(entry, key, known)
    assert (root / "file").read_bytes() == b"old"
    assert key in tree.staged()
    assert tree.put_file(entry, key, known).outcome is DONE


def test_staged_files_are_found_again_after_a_crash(root: Path, tree: LinuxTree) -> None:
    entry = an_entry(b"file", data=b"content")
    key = stage(tree, entry, b"content")
    tree.stage("abcd", 10).write(0, b"half")

    after = LinuxTree(str(root), FILESET)
    assert after.staged() == {key}
    assert after.put_file(entry, key, None).outcome is DONE
    assert after.put_file(entry, key, None).outcome is DONE  # the crash was before anybody wrote it down
    assert after.put_file(replace(entry, mode=0o600), key, None).outcome is UNEXPECTED
    after.finish([])
    assert trash_of(root) == ["abcd.part"]
    after.sweep(())
    assert trash_of(root) == []
    after.close()


def test_an_exchanged_file_is_not_taken_for_a_staged_one(root: Path, tree: LinuxTree) -> None:
    known = put(tree, b"file", b"old").signature
    entry = an_entry(b"file", data=b"newer")
    key = stage(tree, entry, b"newer")
    assert tree.put_file(entry, key, known).outcome is DONE
    assert len(trash_of(root)) == 1  # the old one, under the name that the new one had

    after = LinuxTree(str(root), FILESET)
    assert after.staged() == frozenset()
    after.finish([])
    assert trash_of(root) == []


def test_pieces_come_from_a_file_that_is_there(root: Path, tree: LinuxTree, disk: Path) -> None:
    (disk / "there").mkdir()
    there = LinuxTree(str(disk / "there"), FILESET)
    data = os.urandom(300_000)
    (disk / "there/old").write_bytes(data)
    entry = an_entry(b"new", data=data[4096:] + b"tail")
    staged = there.stage("abcd", entry.size)
    assert staged.copy_from(b"old", 4096, 0, 131_072) == blake3(data[4096 : 4096 + 131_072]).digest()
    rest = len(data) - 4096 - 131_072
    assert staged.copy_from(b"old", 4096 + 131_072, 131_072, rest + 999) == blake3(data[-rest:]).digest()
    staged.write(entry.size - 4, b"tail")
    with pytest.raises(FileNotFoundError):
        staged.copy_from(b"gone", 0, 0, 1)
    staged.seal(entry)
    assert there.put_file(entry, "abcd", None).outcome is DONE
    assert there.read(b"new", 0, 1 << 20) == data[4096:] + b"tail"
    there.close()


def test_holes_stay_holes(root: Path, tree: LinuxTree) -> None:
    size = 4 << 20
    entry = an_entry(b"sparse", size=size, holes=((0, size - 4096),))
    staged = tree.stage("abcd", size)
    staged.write(0, bytes(1 << 20))
    staged.write(size - 4096, b"x" * 4096)
    staged.seal(entry)
    tree.put_file(entry, "abcd", None)
    assert (root / "sparse").stat().st_blocks * 512 < 64 * 1024
    assert tree.read(b"sparse", size - 4096, 8192) == b"x" * 4096


def test_without_a_place_beside_the_root_the_area_is_in_it(
    root: Path, tree: LinuxTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(area, "_open_beside", lambda *_: None)
    put(tree, b"file", b"x")
    assert (root / ".drsync").stat().st_mode & 0o777 == 0o700
    assert [seen.path for seen in tree.scan().seen] == [b"", b"file"]
    tree.close()
    (root / ".drsync").chmod(0o755)
    with pytest.raises(PermissionError):
        tree.staged()


def test_file_systems_without_exchange_get_links_and_renames(
    root: Path, tree: LinuxTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacking(*_: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(kernel, "rename", lacking)
    known = put(tree, b"file", b"old").signature
    assert put(tree, b"file", b"other").outcome is UNEXPECTED
    known = put(tree, b"file", b"newer", known).signature
    assert (root / "file").read_bytes() == b"newer"
    result = tree.put(an_entry(b"file", FileKind.DIRECTORY), known)
    assert result.outcome is DONE
    assert tree.put(an_entry(b"folder", FileKind.DIRECTORY), None).outcome is DONE
    tree.finish([])
    assert trash_of(root) == [
        f"{key_of(an_entry(b'file', data=b'other'))}-{number}" for number in inodes(root)
    ]


def inodes(root: Path) -> list[int]:
    return [item.inode() for item in os.scandir(next(root.parent.glob(".drsync-01234567-*")))]


def test_a_directory_with_content_becomes_a_link(root: Path, tree: LinuxTree) -> None:
    known = tree.put(an_entry(b"x", FileKind.DIRECTORY), None).signature
    child = put(tree, b"x/child", b"1").signature
    assert child is not None
    assert tree.remove(b"x/child", child).outcome is DONE
    assert tree.put(an_entry(b"x", FileKind.SYMLINK, target=b"/"), known).outcome is DONE
    tree.finish([])
    assert (root / "x").is_symlink()


def test_names_are_set_aside_and_the_rest_stays(root: Path, tree: LinuxTree) -> None:
    for name in ("a/changed", "a/same", "new/one", "new/two"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(name)
    paths = [b"a", b"a/changed", b"new", b"new/one", b"new/two", b"gone/never"]
    assert tree.set_aside(paths, "1.2.3") == 5
    fork = root / ".drsync-fork-1.2.3"
    assert sorted(item.relative_to(fork).as_posix() for item in fork.rglob("*")) == [
        "a",
        "a/changed",
        "new",
        "new/one",
        "new/two",
    ]
    assert [seen.path for seen in tree.scan().seen] == [b"", b"a", b"a/same"]
    (root / "a/changed").write_text("again")
    assert tree.set_aside([b"a/changed"], "1.2.3") == 1
    assert (fork / "a/changed~1").read_text() == "again"
    assert fork.stat().st_mode & 0o777 == 0o700


def test_sealed_files_are_durable_before_they_move(
    root: Path, tree: LinuxTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    def noting(name: str, call: Callable[..., object]) -> Callable[..., object]:  # type: ignore[explicit-any]  # any call
        def noted(*arguments: object) -> object:
            order.append(name)
            return call(*arguments)

        return noted

    monkeypatch.setattr(os, "fsync", noting("fsync", os.fsync))
    monkeypatch.setattr(kernel, "rename", noting("rename", kernel.rename))
    monkeypatch.setattr(kernel, "sync_file_system", noting("syncfs", kernel.sync_file_system))
    put(tree, b"one", b"1")
    assert order == ["fsync", "fsync", "rename"]
    order.clear()
    entries = [an_entry(f"{number}".encode(), data=b"%d" % number) for number in range(40)]
    keys = [stage(tree, entry, entry.path) for entry in entries]
    for entry, key in zip(entries, keys, strict=True):
        assert tree.put_file(entry, key, None).outcome is DONE
    assert order == ["syncfs"] + ["rename"] * 40
    assert session.SYNCED_ONE_BY_ONE_MAX < 40


def test_asking_what_is_staged_keeps_nobody_from_unmounting(tmp_path: Path) -> None:
    root = tmp_path / "mounted"
    root.mkdir()
    mount("-t", "tmpfs", "none", root)
    tree = LinuxTree(str(root), FILESET)
    put(tree, b"file", b"x")
    tree.finish([])
    assert tree.staged() == frozenset()
    tree.sync()
    tree.sweep(())
    unmount(root)


def test_a_root_that_was_swapped_during_a_change_is_told(root: Path, tree: LinuxTree) -> None:
    put(tree, b"file", b"x")
    root.rename(root.with_name("away"))
    root.mkdir()
    with pytest.raises(FileNotFoundError):
        tree.finish([])
    assert list(root.iterdir()) == []
