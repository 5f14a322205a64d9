"""Grows a tree with everything that Linux lets a tree hold, the same one for the same seed.

    python tests/adapters/tree/variety.py DIRECTORY [FILES]

Without root, devices, foreign owners and trusted attributes are left out; where the file system has no
extended attributes or ACLs, those are.
"""
# Names are bytes here, which pathlib does not take.
# ruff: noqa: PTH101, PTH103, PTH120, PTH123, PTH211

import errno
import os
import random
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

ODD_TIMES_NS = (0, 1, -1_000_000_000, 999_999_999, 4_000_000_000_123_456_789, 1_600_000_000_000_000_001)
BLOCK = 128 * 1024
_CANNOT = {errno.ENOTSUP, errno.EPERM, errno.EINVAL, errno.ENOSPC, errno.E2BIG}


def acl(*entries: tuple[int, int, int]) -> bytes:
    """A POSIX ACL as `system.posix_acl_*` holds it: version 2, then (tag, permissions, id)."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


USER_OBJ, USER, GROUP_OBJ, MASK, OTHER, NOBODY = 0x01, 0x02, 0x04, 0x10, 0x20, 0xFFFFFFFF
SHARED_ACL = acl(
    (USER_OBJ, 6, NOBODY), (USER, 6, 1234), (GROUP_OBJ, 4, NOBODY), (MASK, 6, NOBODY), (OTHER, 4, NOBODY)
)


class Grower:
    """Makes a tree below `root`, step by step. `is_root` False leaves out what needs rights."""

    def __init__(self, root: Path, *, seed: int = 1, is_root: bool | None = None) -> None:
        self.base = os.fsencode(root)
        self.dice = random.Random(seed)
        self.is_root = os.geteuid() == 0 if is_root is None else is_root
        os.makedirs(self.base, exist_ok=True)

    def at(self, name: bytes) -> bytes:
        return self.base + b"/" + name

    def file(self, name: bytes, data: bytes, mode: int = 0o644) -> bytes:
        path = self.at(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
        os.chmod(path, mode)
        return path

    def xattr(self, path: bytes, name: str, value: bytes) -> None:
        try:
            os.setxattr(path, name, value, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _CANNOT:
                raise

    def plain(self, count: int) -> None:
        """Many small files in folders of a hundred, some empty, with old times."""
        for number in range(count):
            path = self.file(
                b"plain/%03d/file-%06d.txt" % (number // 100, number),
                self.dice.randbytes(self.dice.randrange(0, 3000)),
            )
            when = 1_600_000_000_000_000_000 + self.dice.randrange(10**17)
            os.utime(path, ns=(when, when))

    def names(self) -> None:
        for name in (
            b"-rf",
            b" ",
            b"new\nline",
            b"tab\t",
            b"\xff\xfe\x80",
            "Ünï—😀".encode(),
            b"*?[a]",
            b"a\\b",
            b"...",
        ):
            self.file(b"names/" + name, name)
        self.file(b"names/" + b"n" * 255, b"long")
        self.file(b"names/" + b"\xe4" * 255, b"long, not UTF-8")
        os.makedirs(self.at(b"\xc3\x28dir"), exist_ok=True)
        self.file(b"names/Case", b"upper")
        self.file(b"names/case", b"lower")
        self.deep(b"deep", 12)

    def deep(self, name: bytes, levels: int) -> None:
        """Folders in folders, made through handles because the path may be longer than one call takes."""
        handle = os.open(self.base, os.O_RDONLY)
        for component in [name] + [b"d" * 200] * levels:
            with suppress(FileExistsError):
                os.mkdir(component, dir_fd=handle)
            deeper = os.open(component, os.O_RDONLY, dir_fd=handle)
            os.close(handle)
            handle = deeper
        file = os.open(b"bottom", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=handle)
        os.write(file, b"deep down")
        os.close(file)
        os.close(handle)

    def sparse(self) -> None:
        for name, size, pieces in (
            (b"all-hole", 10 * BLOCK + 17, ()),
            (b"head", 64 * BLOCK, ((0, 5000),)),
            (b"tail", 3 * BLOCK, ((3 * BLOCK - 10, 10),)),
            (b"islands", 40 * BLOCK, tuple((number * 4 * BLOCK, 8192) for number in range(8))),
            (b"zeros", 0, ((0, 2 * BLOCK),)),
        ):
            path = self.file(b"sparse/" + name, b"")
            with open(path, "r+b") as file:
                file.truncate(size)
                for offset, length in pieces:
                    file.seek(offset)
                    file.write(bytes(length) if name == b"zeros" else self.dice.randbytes(length))

    def large(self) -> None:
        self.file(b"large/blocks", self.dice.randbytes(5 * BLOCK + 1))
        self.file(b"large/exact", self.dice.randbytes(2 * BLOCK))
        self.file(b"large/one-short", self.dice.randbytes(BLOCK - 1))

    def links(self) -> None:
        for number in range(5):
            first = self.file(b"links/z-first-%d" % number, b"linked %d" % number)
            for name in (b"links/a-%d" % number, b"links/sub/m-%d" % number):
                os.makedirs(os.path.dirname(self.at(name)), exist_ok=True)
                os.link(first, self.at(name))
        targets = (
            b"z-first-0",
            b"../plain",
            b"/etc/passwd",
            b"../../../../outside",
            b"dangling",
            b"\xff\n",
            b"x" * 900,
        )
        for number, target in enumerate(targets):
            os.symlink(target, self.at(b"links/symlink-%d" % number))
        os.symlink(b"loop", self.at(b"links/loop"))

    def special(self) -> None:
        os.makedirs(self.at(b"special"), exist_ok=True)
        os.mkfifo(self.at(b"special/fifo"), 0o640)
        if self.is_root:
            os.mknod(self.at(b"special/null"), 0o020666, os.makedev(1, 3))
            os.mknod(self.at(b"special/disk"), 0o060600, os.makedev(259, 70000))

    def modes(self) -> None:
        for mode in (0o000, 0o400, 0o4755, 0o2755, 0o6711, 0o1777, 0o777):
            if mode or self.is_root:
                self.file(b"modes/%04o" % mode, b"mode", mode)
        for mode in (0o1777, 0o2775, 0o500, 0o700):
            path = self.at(b"modes/dir-%04o" % mode)
            os.makedirs(path, exist_ok=True)
            os.chmod(path, mode)
        if self.is_root:
            for number, (uid, gid) in enumerate(((1, 1), (65534, 65534), (100_000, 0), (0, 4_000_000_000))):
                path = self.file(b"modes/owner-%d" % number, b"owned")
                os.chown(path, uid, gid)
                os.chmod(path, 0o6755)
            os.symlink(b"owned", self.at(b"modes/owned-link"))
            os.chown(self.at(b"modes/owned-link"), 77, 78, follow_symlinks=False)

    def attributes(self) -> None:
        for number in range(5):
            path = self.file(b"attributes/user-%d" % number, b"with attributes")
            self.xattr(path, "user.empty", b"")
            self.xattr(path, "user.bytes", bytes(range(256)) * (number + 1))
        self.xattr(self.file(b"attributes/acl", b"acl", 0o664), "system.posix_acl_access", SHARED_ACL)
        folder = self.at(b"attributes/folder")
        os.makedirs(folder, exist_ok=True)
        self.xattr(folder, "system.posix_acl_default", SHARED_ACL)
        self.xattr(folder, "user.on-a-folder", b"yes")
        self.file(b"attributes/folder/inherits", b"its access comes from the folder")
        if self.is_root:
            self.xattr(self.file(b"attributes/trusted", b""), "trusted.kept", b"for root")
            os.symlink(b"user-0", self.at(b"attributes/link"))
            self.xattr(self.at(b"attributes/link"), "trusted.on-a-link", b"yes")
            capability = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
            self.xattr(self.file(b"attributes/capable", b"", 0o755), "security.capability", capability)

    def times(self) -> None:
        for number, when in enumerate(ODD_TIMES_NS):
            path = self.file(b"times/%d" % number, b"time")
            os.utime(path, ns=(when, when))
        os.symlink(b"0", self.at(b"times/link"))
        os.utime(self.at(b"times/link"), ns=(5, 1_234_567_890_123_456_789), follow_symlinks=False)
        os.utime(self.at(b"times"), ns=(0, 1_111_111_111_111_111_111))

    def everything(self, files: int = 200) -> None:
        steps: tuple[Callable[[], None], ...] = (
            self.names,
            self.sparse,
            self.large,
            self.links,
            self.special,
            self.modes,
            self.attributes,
            self.times,
        )
        self.plain(files)
        for step in steps:
            step()


def grow(root: Path, files: int = 200, *, seed: int = 1) -> None:
    """A tree with `files` plain files and about a hundred odd ones."""
    Grower(root, seed=seed).everything(files)


if __name__ == "__main__":
    grow(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 10_000)
