"""Trees of a lab: copied from what is on the machine, and compared name by name. Sources are only read."""

import errno
import fcntl
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import blake3

from drsync.lab.images import data_ranges, has_tool, run_tool
from drsync.model.errors import PermanentError, UsageError

DEFAULT_SOURCE = Path("/usr/share/doc")
DEFAULT_NAME = "documents"
DEFAULT_BYTES = 48 << 20  # because three copies of it are made while a person waits
DEFAULT_NAMES = 5000
NAME_MAX = 32  # because names of file sets end there
CHUNK = 1 << 20
FICLONE = 0x40049409  # ioctl_ficlone(2): share the blocks of a file where the file system can
PRIVATE = ".drsync"
"""Names at a root that begin so are drsync's own and not part of the set: forks, content on its way."""
RSYNC = ["-naAHXc", "--delete", "--itemize-changes", "--exclude=/.drsync*"]

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Copied:
    """What became of a copy: names and bytes of it; what was left out, in words."""

    names: int
    bytes: int
    note: str = ""


def tree_names(sources: Sequence[Path]) -> list[str]:
    """A name for the file set of each tree, after its directory."""
    names: list[str] = []
    for source in sources:
        if source == DEFAULT_SOURCE:
            stem = DEFAULT_NAME
        else:
            stem = re.sub(r"[^A-Za-z0-9_-]+", "-", source.name).strip("-_")[:NAME_MAX] or "files"
        name, n = stem, 2
        while name in names:
            tail = f"-{n}"
            name, n = stem[: NAME_MAX - len(tail)] + tail, n + 1
        names.append(name)
    return names


def require_tree(path: Path) -> Path:
    """A directory that can be read.

    Raises:
        UsageError: it is none.
    """
    if not path.is_dir() or not os.access(path, os.R_OK | os.X_OK):
        raise UsageError(f"{path} is no directory that can be read", remedy="Name a directory with --files.")
    return path


def size_of(source: Path) -> int:
    """Bytes of the plain files below a directory."""
    return sum(status.st_size for _, status in _below(source) if stat.S_ISREG(status.st_mode))


def copy(source: Path, target: Path, advance: Advance, *, is_limited: bool) -> Copied:
    """Copy a tree, names, links, modes, times and attributes included; goes on with one that was begun.

    Args:
        source: only read.
        target: is made; what is in it and is as in the source stays.
        advance: told bytes as they are there.
        is_limited: stop at `DEFAULT_BYTES` and `DEFAULT_NAMES`.

    Raises:
        PermanentError: the copy cannot be written.
    """
    copier = _Copier(source, target, advance)
    try:
        return copier.run(is_limited=is_limited)
    except OSError as error:
        raise PermanentError(f"cannot copy {source} to {target}: {error}") from error


class _Copier:
    """One copy. One use."""

    def __init__(self, source: Path, target: Path, advance: Advance) -> None:
        self._source = source
        self._target = target
        self._advance = advance
        self._names = self._bytes = self._skipped = 0
        self._links: dict[tuple[int, int], Path] = {}

    def run(self, *, is_limited: bool) -> Copied:
        self._target.mkdir(parents=True, exist_ok=True)
        folders = [(self._source, self._target)]
        is_cut = False
        for path, status in _below(self._source):
            size = status.st_size if stat.S_ISREG(status.st_mode) else 0
            if is_limited and (self._bytes + size > DEFAULT_BYTES or self._names >= DEFAULT_NAMES):
                is_cut = True
                continue
            goal = self._target / path.relative_to(self._source)
            if not goal.parent.is_dir():
                continue  # below a directory that was left out
            if stat.S_ISDIR(status.st_mode):
                folders.append((path, goal))
            if self._make(path, goal, status):
                self._names, self._bytes = self._names + 1, self._bytes + size
        for path, goal in reversed(folders):  # because making a name in a directory changes its time
            _dress(path, goal)
        notes = [f"the first {DEFAULT_BYTES >> 20} MiB or {DEFAULT_NAMES} names of it"] if is_cut else []
        notes += [f"{self._skipped} that cannot be copied left out"] if self._skipped else []
        return Copied(self._names, self._bytes, "; ".join(notes))

    def _make(self, path: Path, goal: Path, status: os.stat_result) -> bool:
        mode = status.st_mode
        try:
            if stat.S_ISDIR(mode):
                goal.mkdir(parents=True, exist_ok=True)
            elif stat.S_ISLNK(mode):
                if not os.path.lexists(goal):
                    goal.symlink_to(path.readlink())
                _dress(path, goal)
            elif stat.S_ISREG(mode):
                self._file(path, goal, status)
            else:
                self._skipped += 1
                return False
        except PermissionError:
            self._skipped += 1
            return False
        return True

    def _file(self, path: Path, goal: Path, status: os.stat_result) -> None:
        key = (status.st_dev, status.st_ino)
        first = self._links.setdefault(key, goal)
        if first != goal:
            if not os.path.lexists(goal):
                os.link(first, goal)
            return
        if not _is_there(goal, status):
            _content(path, goal, status.st_size)
            _dress(path, goal)
        self._advance(status.st_size)


def _below(source: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Everything below a directory, in order, parents first; what vanishes meanwhile is left out."""
    for folder, folders, files in os.walk(source):
        folders.sort()
        for name in sorted([*folders, *files]):
            path = Path(folder, name)
            try:
                yield path, path.lstat()
            except FileNotFoundError:
                continue


def _is_there(goal: Path, status: os.stat_result) -> bool:
    try:
        known = goal.lstat()
    except FileNotFoundError:
        return False
    return (known.st_size, known.st_mtime_ns) == (status.st_size, status.st_mtime_ns)


def _content(path: Path, goal: Path, size: int) -> None:
    """Share the blocks where that is possible, else copy them; holes stay holes."""
    with path.open("rb") as source, goal.open("wb") as target:
        try:
            fcntl.ioctl(target.fileno(), FICLONE, source.fileno())
        except OSError as error:
            if error.errno not in {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY}:
                raise
        else:
            return
        for begin, length in data_ranges(source.fileno(), size):
            at, end = begin, begin + length
            while at < end and (data := os.pread(source.fileno(), min(CHUNK, end - at), at)):
                os.pwrite(target.fileno(), data, at)
                at += len(data)
        target.truncate(size)


def _dress(path: Path, goal: Path) -> None:
    """Owner, mode, times and attributes as the source has them; the owner only where that is allowed."""
    status = path.lstat()
    if os.geteuid() == 0:
        os.chown(goal, status.st_uid, status.st_gid, follow_symlinks=False)
    shutil.copystat(path, goal, follow_symlinks=False)


# --- comparing


@dataclass(frozen=True, slots=True)
class Difference:
    """Two trees side by side: how many names and bytes the first has, and what differs, in words."""

    names: int
    bytes: int
    differs: tuple[str, ...]


def compare(one: Path, other: Path) -> Difference:
    """Compare names, kinds, modes, owners, times, links and content; with rsync as well where it is."""
    mine, theirs = _picture(one), _picture(other)
    differs = [_words(name, mine, theirs) for name in sorted(mine.keys() | theirs.keys())]
    found = [words for words in differs if words]
    if not found and has_tool("rsync"):
        told = run_tool("rsync", [*RSYNC, f"{one}/", f"{other}/"])
        lines = [line for line in told.stdout.splitlines() if line.strip()]
        found += [f"rsync: {line}" for line in lines]
        if told.returncode:
            found.append(f"rsync ended with {told.returncode}: {told.stderr.strip()}")
    sizes = [facts[3] for facts in mine.values() if isinstance(facts[3], int)]
    return Difference(len(mine), sum(sizes), tuple(found))


Facts = tuple[object, ...]


def _picture(root: Path) -> dict[str, Facts]:
    found: dict[str, Facts] = {}
    for path, status in _below(root):
        name = str(path.relative_to(root))
        if not name.startswith(PRIVATE):
            found[name] = _facts(path, status)
    return found


def _facts(path: Path, status: os.stat_result) -> Facts:
    """Kind and mode, owner, time, size, content or target. Times of directories change with their content."""
    kind = stat.S_IFMT(status.st_mode)
    content: object = None
    size: int | None = None
    if kind == stat.S_IFREG:
        size = status.st_size
        content = blake3.blake3().update_mmap(path).digest() if size else b""
    elif kind == stat.S_IFLNK:
        content = str(path.readlink())
    owner = (status.st_uid, status.st_gid)
    return (status.st_mode, owner, status.st_mtime_ns, size, content)


def _words(name: str, mine: dict[str, Facts], theirs: dict[str, Facts]) -> str:
    shown = os.fsencode(name).decode(errors="backslashreplace")
    if name not in theirs:
        return f"{shown} is missing"
    if name not in mine:
        return f"{shown} should not be there"
    pairs = zip(("mode", "owner", "time", "size", "content"), mine[name], theirs[name], strict=True)
    wrong = [what for what, here, there in pairs if here != there]
    return f"{shown}: other {', '.join(wrong)}" if wrong else ""
