"""Owner, mode, extended attributes and time of what a handle holds.

`where` is a handle of a file or directory that is open, or `handle_path` of one that was opened with O_PATH.
"""

import errno
import os

from drsync.adapters.tree.beneath import kind_of
from drsync.model.fileset import XATTRS_BYTES_MAX, Entry, FileKind

Where = int | str
Xattrs = tuple[tuple[bytes, bytes], ...]

ACLS = ("system.posix_acl_access", "system.posix_acl_default")
_SPACES = ("user.", "trusted.", "security.")
_OURS = ("trusted.drsync.", "user.drsync.")  # the mark of the root: each center has its own
_NOT_PORTABLE = ("security.evm", "security.ima")  # because they are signed with a key of this machine
TIME_TOLERANCE_NS = 2_000_000_000  # because the coarsest file systems keep even seconds
_NO_XATTRS = {errno.ENOTSUP, errno.ENOSYS}


class UnholdableError(Exception):
    """This file system, or this process, cannot hold what an entry asks for. The message is for people."""


def _is_carried(name: str) -> bool:
    if name in ACLS:
        return True
    return name.startswith(_SPACES) and not name.startswith(_OURS) and name not in _NOT_PORTABLE


def read_xattrs(where: Where) -> Xattrs:
    """Attributes of the set, sorted by name; none where the file system has none.

    Raises OSError (E2BIG) when they are more than an entry carries, InterruptedError when they
    change meanwhile.
    """
    try:
        names = os.listxattr(where)
    except OSError as error:
        if error.errno in _NO_XATTRS:
            return ()
        raise
    if not names:
        return ()
    try:
        found = [(os.fsencode(name), os.getxattr(where, name)) for name in names if _is_carried(name)]
    except OSError as error:
        if error.errno == errno.ENODATA:
            raise InterruptedError(errno.EINTR, "its attributes changed while they were read") from error
        raise
    if sum(len(name) + len(value) for name, value in found) > XATTRS_BYTES_MAX:
        raise OSError(errno.E2BIG, f"its extended attributes have more than {XATTRS_BYTES_MAX} bytes")
    return tuple(sorted(found))


def change(where: Where, entry: Entry) -> None:
    """Make owner, mode, attributes and time those of `entry`, in the order that keeps them.

    A change of owner clears setuid and capabilities, so it comes first; the time comes last. What can be kept
    is set even if something else can't. Raises UnholdableError.
    """
    reasons = [_change_owner(where, entry), _change_mode(where, entry), _change_xattrs(where, entry.xattrs)]
    if entry.kind is not FileKind.DIRECTORY:
        os.utime(where, ns=(entry.mtime_ns, entry.mtime_ns))
    reason = next(filter(None, reasons), "") or lacking(where, entry)
    if reason:
        raise UnholdableError(reason)


def _stat(where: Where) -> os.stat_result:
    return os.stat(where)  # a handle


def _change_owner(where: Where, entry: Entry) -> str:
    """What hinders it; empty when nothing does."""
    known = _stat(where)
    if (known.st_uid, known.st_gid) == (entry.uid, entry.gid):
        return ""
    try:
        os.chown(where, entry.uid, entry.gid)
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.EINVAL}:
            raise
        return f"its owner {entry.uid}:{entry.gid} cannot be set here"
    return ""


def _change_mode(where: Where, entry: Entry) -> str:
    if entry.kind is FileKind.SYMLINK or _stat(where).st_mode & 0o7777 == entry.mode:
        return ""
    try:
        os.chmod(where, entry.mode)  # a handle
    except PermissionError:
        return f"its mode {entry.mode:04o} cannot be set here"
    return ""


def _change_xattrs(where: Where, wanted: Xattrs) -> str:
    """Set what is wanted and take away what is not. Raises OSError when the disk is full or broken."""
    present = dict(read_xattrs(where))
    target = dict(wanted)
    for name in present.keys() - target.keys():
        os.removexattr(where, name)
    reasons = [_set_xattr(where, name, value) for name, value in wanted if present.get(name) != value]
    return next(filter(None, reasons), "")


def _set_xattr(where: Where, name: bytes, value: bytes) -> str:
    try:
        os.setxattr(where, name, value)
    except OSError as error:
        # ENOSPC is also what some file systems say of a value that is larger than they keep
        is_full = error.errno == errno.ENOSPC and not os.statvfs(where).f_bavail
        if is_full or error.errno in {errno.EIO, errno.EDQUOT, errno.EROFS}:
            raise
        return f"its attribute {name.decode('utf-8', 'backslashreplace')} cannot be kept here"
    return ""


def lacking(where: Where, entry: Entry) -> str:
    """What of the attributes of `entry` is not there; empty when all is."""
    return lacks(_stat(where), entry) or _lacks_xattrs(where, entry)


def lacks(known: os.stat_result, entry: Entry) -> str:
    """The part of it that `lstat` tells."""
    if (known.st_uid, known.st_gid) != (entry.uid, entry.gid):
        return f"its owner {entry.uid}:{entry.gid} cannot be set here"
    if entry.kind is not FileKind.SYMLINK and known.st_mode & 0o7777 != entry.mode:
        return f"its mode {entry.mode:04o} cannot be kept here"
    has_time = kind_of(known.st_mode) is not FileKind.DIRECTORY
    if has_time and abs(known.st_mtime_ns - entry.mtime_ns) >= TIME_TOLERANCE_NS:
        return "its time cannot be kept here"
    return ""


def _lacks_xattrs(where: Where, entry: Entry) -> str:
    if not entry.xattrs:
        return ""
    present = dict(read_xattrs(where))
    missing = [name for name, value in entry.xattrs if present.get(name) != value]
    return (
        f"its attribute {missing[0].decode('utf-8', 'backslashreplace')} cannot be kept here"
        if missing
        else ""
    )
