"""Disk images: the one a lab makes of files already on the machine, and what is learned of a given one.

A given image is only ever read.
"""

import errno
import os
import shutil
import sqlite3
import stat
import subprocess
import sysconfig
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from drsync.model.errors import PermanentError, UsageError

ALIGNMENT = 4096  # because volumes consist of such blocks
DEFAULT_BYTES = 256 << 20
DEFAULT_FILES_BYTES = 120 << 20  # because the rest of the image is left to the person who tries it
SHARE_BYTES = 40 << 20  # because no single folder should be all there is
FILES_MAX = 6000  # because thousands of small files take longer than their bytes
FILE_BYTES_MAX = 16 << 20
DATABASE = "ledger.db"  # because the shipped runbook sqlite-service looks for it there
DATABASE_ROWS = 100
COMMAND_SECONDS = 300.0
TOOL_PATH = (
    "/usr/local/sbin",
    "/usr/sbin",
    "/sbin",
)  # because people other than root do not have them in PATH
EXT_MAGIC_AT, EXT_MAGIC = 1024 + 56, b"\x53\xef"
QCOW_MAGIC = b"QFI\xfb"
FSCK_CLEAN = 0


@dataclass(frozen=True, slots=True)
class Image:
    """A disk image.

    Attributes:
        path: of the file or block device.
        size: bytes.
        data_bytes: bytes of it that are not holes.
        is_ext: an ext2/3/4 file system starts at its first byte.
        note: what its owner should know; may be empty.
    """

    path: Path
    size: int
    data_bytes: int
    is_ext: bool
    note: str = ""

    @property
    def volume_size(self) -> int:
        """Bytes of a volume for it."""
        return -(-self.size // ALIGNMENT) * ALIGNMENT


def look_at(path: Path) -> Image:
    """What is there to be imported.

    Raises:
        UsageError: there is nothing of that name, or it is no image.
    """
    try:
        with path.open("rb") as file:
            kind = os.fstat(file.fileno()).st_mode
            if not (stat.S_ISREG(kind) or stat.S_ISBLK(kind)):
                raise UsageError(f"{path} is no image file", remedy="Name a raw disk image.")
            size = file.seek(0, os.SEEK_END)
            if size == 0:
                raise UsageError(f"{path} is empty", remedy="Name a raw disk image.")
            data_bytes = sum(length for _, length in data_ranges(file.fileno(), size))
            file.seek(0)
            head = file.read(EXT_MAGIC_AT + len(EXT_MAGIC))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    note = "a qcow2 file: its bytes are protected as they are" if head.startswith(QCOW_MAGIC) else ""
    return Image(path, size, data_bytes, head[EXT_MAGIC_AT:] == EXT_MAGIC, note)


def data_ranges(handle: int, size: int) -> Iterator[tuple[int, int]]:
    """Offsets and lengths of what is not a hole, in order; everything where holes are not known."""
    at = 0
    while at < size:
        try:
            begin = os.lseek(handle, at, os.SEEK_DATA)
            end = os.lseek(handle, begin, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            begin, end = at, size
        yield begin, min(end, size) - begin
        at = end


def make_default(image: Path) -> int:
    """Make an ext4 image of files that are on this machine anyway; returns how many of them it holds.

    Beside them it holds a small SQLite database, so that a runbook has a service to start.

    Raises:
        PermanentError: mkfs.ext4 is missing or failed.
    """
    tree = image.with_name("tree")
    fresh = image.with_suffix(".new")
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    try:
        count = sum(_gather(source, tree / source.name, SHARE_BYTES, FILES_MAX // 3) for source in _sources())
        _make_database(tree / DATABASE)
        with fresh.open("wb") as file:
            file.truncate(DEFAULT_BYTES)
        options = ["-q", "-F", "-b", "4096", "-i", "16384", "-L", "drsync-lab", "-d", str(tree)]
        result = run_tool("mkfs.ext4", [*options, str(fresh)])
        if result.returncode:
            raise PermanentError(f"mkfs.ext4 failed: {result.stderr.strip()}")
        fresh.replace(image)
    finally:
        shutil.rmtree(tree, ignore_errors=True)
        fresh.unlink(missing_ok=True)
    return count


def _make_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as ledger, ledger:
        ledger.execute("CREATE TABLE entries (n INTEGER PRIMARY KEY, text TEXT NOT NULL)")
        rows = [(f"entry {number}",) for number in range(DATABASE_ROWS)]
        ledger.executemany("INSERT INTO entries (text) VALUES (?)", rows)


def _sources() -> Iterator[Path]:
    share = Path("/usr/share")
    yield from (Path(sysconfig.get_path("stdlib")), share / "doc", share / "man")


def _gather(source: Path, target: Path, bytes_max: int, files_max: int) -> int:
    """Copy plain files below `source` until there are enough; returns how many."""
    count = taken = 0
    for folder, folders, files in os.walk(source):
        folders[:] = sorted(name for name in folders if name not in {"site-packages", "__pycache__"})
        for name in sorted(files):
            path = Path(folder) / name
            size = _plain_size(path)
            if size is None or taken + size > bytes_max:
                continue
            goal = target / path.relative_to(source)
            goal.parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(path, goal)
            except OSError:
                continue  # unreadable or just gone: there are enough others
            count, taken = count + 1, taken + size
            if count == files_max:
                return count
    return count


def _plain_size(path: Path) -> int | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    is_wanted = stat.S_ISREG(status.st_mode) and status.st_size <= FILE_BYTES_MAX
    return status.st_size if is_wanted else None


def check_ext(path: Path) -> tuple[int, str]:
    """The exit code of ``e2fsck -fn``, which changes nothing, and its last words.

    Raises:
        PermanentError: there is no e2fsck here.
    """
    result = run_tool("e2fsck", ["-fn", str(path)])
    lines = [line for line in result.stdout.splitlines() if line.strip()]
    return result.returncode, lines[-1].strip() if lines else result.stderr.strip()


def has_tool(name: str) -> bool:
    """Whether a tool is installed."""
    return shutil.which(name, path=_tool_path()) is not None


def _tool_path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), *TOOL_PATH])


def run_tool(name: str, arguments: list[str]) -> "subprocess.CompletedProcess[str]":
    """Run a tool of e2fsprogs to its end.

    Raises:
        PermanentError: it is not installed, or did not end.
    """
    path = _tool_path()
    found = shutil.which(name, path=path)
    if found is None:
        raise PermanentError(f"{name} is not installed", remedy="apt-get install e2fsprogs")
    environment = {"PATH": path, "LC_ALL": "C", "E2FSPROGS_LIBMAGIC_SUPPRESS": "1"}
    try:
        return subprocess.run(
            [found, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=COMMAND_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PermanentError(f"{name} did not end within {COMMAND_SECONDS:.0f} s") from error
