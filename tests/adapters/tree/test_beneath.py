"""Nothing is followed out of the tree: not by a link that lies there, not by one that appears meanwhile."""

import errno
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest

from drsync.adapters.tree import kernel
from drsync.adapters.tree.beneath import Beneath
from drsync.adapters.tree.tree import LinuxTree
from drsync.model.fileset import Entry, FileKind
from drsync.ports.tree import PutOutcome
from tests.adapters.tree.conftest import FILESET, mount, unmount
from tests.adapters.tree.rebuild import key_of

ROUNDS = 300  # because the window of a race is hit some times in a hundred


@pytest.fixture(params=["openat2", "walk"])
def way(request: pytest.FixtureRequest) -> bool:
    """Whether openat2 is used, or what stands in for it."""
    return str(request.param) == "openat2"


@pytest.fixture
def beneath(tmp_path: Path, way: bool) -> Iterator[Beneath]:
    root = tmp_path / "root"
    (root / "in/side").mkdir(parents=True)
    (root / "in/side/file").write_text("inside")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_text("outside")
    made = Beneath(os.open(root, os.O_RDONLY | os.O_DIRECTORY), has_open_beneath=way)
    yield made
    made.close()


def test_this_kernel_opens_beneath() -> None:
    assert kernel.has_open_beneath()


def test_a_file_is_opened_by_its_path(beneath: Beneath) -> None:
    with beneath.holding(b"in/side/file", os.O_RDONLY) as handle:
        assert os.read(handle, 100) == b"inside"


@pytest.mark.parametrize("target", ["../outside", "/etc", "in/side", ".", "/proc/self/cwd"])
def test_no_symbolic_link_is_followed(beneath: Beneath, tmp_path: Path, target: str) -> None:
    (tmp_path / "root/link").symlink_to(target)
    for path in (b"link/file", b"link"):
        with pytest.raises(OSError) as caught:  # noqa: PT011 — the number is what matters
            beneath.open(path, os.O_RDONLY)
        assert caught.value.errno in {errno.ELOOP, errno.ENOTDIR}
    assert beneath.look(b"link/file") is None


@pytest.mark.parametrize("path", [b"../outside/file", b"in/../../outside/file", b"..", b"/etc/passwd"])
def test_no_path_leads_out(beneath: Beneath, path: bytes) -> None:
    with pytest.raises(OSError) as caught:  # noqa: PT011 — the number is what matters
        beneath.open(path, os.O_RDONLY)
    assert caught.value.errno == errno.EXDEV


@pytest.mark.parametrize("path", [b"", b"a/..", b"..", b"a/.", b"a/", b"a\0b", b".drsync/x", b".drsync-set"])
def test_what_is_no_name_of_a_set_is_refused(beneath: Beneath, path: bytes) -> None:
    with pytest.raises(ValueError, match="not a name of a file set"), beneath.parent(path):
        pass


def test_another_file_system_is_not_entered(beneath: Beneath, tmp_path: Path) -> None:
    mount("-t", "tmpfs", "none", tmp_path / "root/in/side")
    try:
        with pytest.raises(OSError) as caught:  # noqa: PT011 — the number is what matters
            beneath.open(b"in/side/x", os.O_RDONLY)
        assert caught.value.errno == errno.EXDEV
    finally:
        unmount(tmp_path / "root/in/side")


def test_a_path_of_four_thousand_bytes_is_opened(beneath: Beneath, tmp_path: Path) -> None:
    parts = [b"d" * 200] * 20
    handle = os.open(tmp_path / "root", os.O_RDONLY)
    for part in parts:
        os.mkdir(part, dir_fd=handle)
        deeper = os.open(part, os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = deeper
    os.close(handle)
    path = b"/".join(parts)
    assert len(path) > 4000
    with beneath.holding(path, os.O_RDONLY | os.O_DIRECTORY) as bottom:
        assert not any(True for _ in os.scandir(bottom))


class Racer:
    """Flips ``root/door`` between a directory and a link to the outside, until it is told to stop."""

    def __init__(self, root: Path, outside: Path) -> None:
        self._door, self._spare, self._link = root / "door", root / "spare", root / "link"
        self._link.symlink_to(outside)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.flips = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        root = os.open(self._door.parent, os.O_RDONLY)
        while not self._over.is_set():
            kernel.rename(root, b"door", root, b"link", kernel.RENAME_EXCHANGE)
            self.flips += 1
        os.close(root)


def state_of(folder: Path) -> list[tuple[str, int, int, int, bytes]]:
    return [
        (item.name, known.st_mode, known.st_uid, known.st_mtime_ns, item.read_bytes())
        for item in sorted(folder.iterdir())
        for known in [item.lstat()]
    ]


def test_a_racer_at_the_door_gets_nothing_touched_outside(
    tmp_path: Path, way: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # hundreds of rounds, and nothing here is about a disk
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "door").mkdir(parents=True)
    outside.mkdir()
    for name in ("kept", "file"):
        (outside / name).write_text("not part of the set")
        (root / "door" / name).write_text("inside")
    before = state_of(outside)
    foreign = {item.stat().st_ino for item in (outside, *outside.iterdir())}
    tree = LinuxTree(str(root), FILESET, has_open_beneath=way)
    file = Entry(b"door/file", FileKind.FILE, mode=0o600, uid=os.geteuid(), gid=os.getegid(), size=3)
    outcomes = set()

    with Racer(root, outside) as racer:
        for number in range(ROUNDS):
            entry = replace(file, mtime_ns=number)
            staged = tree.stage(key_of(entry), 3)
            staged.write(0, b"new")
            staged.seal(entry)
            outcomes.add(tree.put_file(entry, key_of(entry), tree.glance(b"door/file")).outcome)
            folder = Entry(b"door/folder", FileKind.DIRECTORY, mode=0o700, uid=file.uid, gid=file.gid)
            outcomes.add(tree.put(folder, tree.glance(b"door/folder")).outcome)
            known = tree.glance(b"door/kept")
            if known is not None:
                outcomes.add(tree.put(replace(file, path=b"door/kept"), known).outcome)
            found = tree.glance(b"door/file")
            if found is not None:
                outcomes.add(tree.remove(b"door/file", found).outcome)
            assert not foreign & {seen.signature.ino for seen in tree.scan().seen}
    tree.finish([])

    assert racer.flips > ROUNDS
    assert {PutOutcome.DONE, PutOutcome.UNEXPECTED} <= outcomes
    assert state_of(outside) == before
