"""What may be frozen without waiting for ourselves, and what a killed process may have left frozen. Blocking.

A file system is known by the device number of its superblock, as ``/proc/self/mountinfo`` has it (proc(5)).
Two mount points of one file system have the same, which `st_dev` does not promise for btrfs and overlays.
"""

import errno
import fcntl
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from drsync.adapters.hooks.kernel import processes
from drsync.adapters.hooks.quiet_guard import FITHAW
from drsync.adapters.hooks.quiet_guard import __file__ as guard_file
from drsync.adapters.hooks.removal import end_processes
from drsync.model.errors import RefusedError

DEPTH_MAX = 16  # because nobody stacks more devices, and a circle must end
SYSTEM = (Path("/"), Path("/var/log"))
"""Where what a frozen machine needs is written: logs of the service manager block whoever logs."""

_OCTAL = re.compile(r"\\([0-7]{3})")
Device = tuple[int, int]
"""Major and minor number."""


@dataclass(frozen=True, slots=True)
class Mounted:
    """A mount: its id, the device of its file system, what of it is mounted, where, and what it is."""

    id: int
    device: Device
    root: str
    place: str
    kind: str
    options: str


def mounted() -> list[Mounted]:
    """Every mount of this process's namespace, in the order of the kernel."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        fields, _, rest = line.partition(" - ")
        number, _, device, root, place = fields.split()[:5]
        major, _, minor = device.partition(":")
        kind, _, options = rest.split(" ", 2)
        found.append(
            Mounted(int(number), (int(major), int(minor)), _plain(root), _plain(place), kind, options)
        )
    return found


def _plain(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)


def require_freezable(mount: str, own: Iterable[Path]) -> tuple[str, int]:
    """What is mounted there, and may be frozen: the mount point without links, and its `st_dev`.

    Args:
        mount: a mount point.
        own: paths that this process must be able to write to.

    Raises:
        RefusedError: nothing is mounted there, or this process would wait for itself.
    """
    table = mounted()
    real = os.path.realpath(mount)
    there = [one for one in table if one.place == real]
    if not there or real == "/":
        raise RefusedError(
            f"nothing is mounted at {mount} on this host",
            code="not_mounted",
            remedy="Name the mount point itself, and mount it at every center that may own the group.",
        )
    device = there[-1].device
    for path in (*own, *SYSTEM, *_spoken_to()):
        if device in beneath(path, table):
            raise RefusedError(
                f"freezing {mount} would stop this agent: {path} lies on it",
                code="own_file_system",
                remedy="Keep state_dir, run_dir and logs of the agent on another file system.",
            )
    return real, Path(real).stat().st_dev


def beneath(path: Path, table: list[Mounted]) -> set[Device]:
    """File systems and block devices that a write to `path` goes through, as far as the kernel tells."""
    found: set[Device] = set()
    _go_down(path, table, found, DEPTH_MAX)
    return found


def _go_down(path: Path, table: list[Mounted], found: set[Device], depth: int) -> None:
    mount = _mount_of(path, table)
    if mount is None or depth == 0:
        return
    found.add(mount.device)
    if mount.kind == "overlay":
        upper = next((o for o in mount.options.split(",") if o.startswith("upperdir=")), "")
        if upper:
            _go_down(Path(upper.removeprefix("upperdir=")), table, found, depth - 1)
    for file in _backing(mount.device, found, depth):
        _go_down(file, table, found, depth - 1)


def _mount_of(path: Path, table: list[Mounted]) -> Mounted | None:
    """The mount that a path, or the nearest one above it that is there, lies on."""
    for one in (path, *path.parents):
        with suppress(OSError):
            fd = os.open(one, os.O_PATH | os.O_CLOEXEC)
            try:
                text = Path(f"/proc/self/fdinfo/{fd}").read_text()
            finally:
                os.close(fd)
            number = int(text.partition("mnt_id:")[2].split()[0])
            return next((mount for mount in table if mount.id == number), None)
    return None


def _backing(device: Device, found: set[Device], depth: int) -> Iterator[Path]:
    """Files below a block device: of a loop device, or of the devices that a mapped one stands on."""
    folder = Path(f"/sys/dev/block/{device[0]}:{device[1]}")
    with suppress(OSError):
        file = (folder / "loop/backing_file").read_text(errors="surrogateescape").strip()
        yield Path(file.removesuffix(" (deleted)"))
    if depth == 0:
        return
    for below in (*folder.glob("slaves/*/dev"), *folder.glob("../dev")):
        with suppress(OSError, ValueError):
            major, _, minor = below.read_text().strip().partition(":")
            deeper = (int(major), int(minor))
            if deeper not in found:
                found.add(deeper)
                yield from _backing(deeper, found, depth - 1)


def _spoken_to() -> Iterator[Path]:
    """Files that this process writes what it says to."""
    for number in (1, 2):
        with suppress(OSError):
            if stat.S_ISREG(os.fstat(number).st_mode):
                yield Path(f"/proc/self/fd/{number}").resolve()


# --- what may be left


@dataclass(frozen=True, slots=True)
class Record:
    """What a guard is about to freeze: durable before it begins, removed by it when nothing is frozen."""

    mark: str
    boot_id: str
    mounts: tuple[tuple[str, int], ...]

    def write(self, path: Path) -> None:
        """Durable on return. Raises OSError."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with path.open("w") as file:
            json.dump(asdict(self), file)
            file.flush()
            os.fsync(file.fileno())
        fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def thaw(mount: str, device: int) -> bool:
    """Thaw what is mounted there; whether it was frozen. Raises OSError: nobody can tell."""
    with suppress(FileNotFoundError):
        fd = os.open(mount, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if os.fstat(fd).st_dev != device:
                return False
            fcntl.ioctl(fd, FITHAW, 0)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOTTY):
                return False
            raise
        finally:
            os.close(fd)
        return True
    return False


def thaw_each(mounts: Iterable[tuple[str, int]]) -> tuple[list[str], list[str]]:
    """Thaw all of them, whatever becomes of one: those that were frozen, and what went wrong, for people."""
    thawed, errors = [], []
    for mount, device in mounts:
        try:
            if thaw(mount, device):
                thawed.append(mount)
        except OSError as error:
            errors.append(f"{mount}: {error}; see fsfreeze(8)")
    return thawed, errors


def thaw_left(folder: Path, boot_id: str) -> list[str]:
    """Thaw what a guard that was killed left frozen; what was done, for people. Its own agent is new.

    A guard that still lives is left alone: it thaws by itself. What steps before left running is killed.
    """
    done = []
    for path in sorted(folder.glob("*.json")):
        try:
            body = json.loads(path.read_text())
            record = Record(
                str(body["mark"]), str(body["boot_id"]), tuple((str(m), int(d)) for m, d in body["mounts"])
            )
            if record.boot_id == boot_id:
                if any(_is_guard(pid) for pid, _, _ in processes(record.mark)):
                    continue
                end_processes(record.mark)
                thawed, errors = thaw_each(reversed(record.mounts))
                done += [*(f"{mount} was thawed" for mount in thawed), *errors]
                if errors:
                    continue  # the next start tries again
            path.unlink(missing_ok=True)
        except (ValueError, KeyError, TypeError) as error:
            done.append(f"{path} cannot be read ({error}); see fsfreeze(8)")
        except OSError as error:
            done.append(f"{path}: {error}; see fsfreeze(8)")
    return done


def _is_guard(pid: int) -> bool:
    with suppress(OSError):
        return guard_file.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False
