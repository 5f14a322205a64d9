"""Taking away what was made, whoever made it and however far it got; and the proof that it is gone.

It goes by what the kernel says, not by what a list says: removing a thing twice, or one that was never made,
does nothing and is well done.
"""

import asyncio
import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from drsync.adapters.hooks.kernel import Trace, mark_of, mounts, processes, traces
from drsync.adapters.hooks.programs import run_tool
from drsync.model.errors import DrsyncError

ROUNDS_MIN = 8  # because each round removes one layer: process, mount, loop, fuse, directory
PATIENCE_S = 4.0  # because a loop device is let go when its last reader is, and a busy machine takes its time
DISKS = frozenset(("mount", "loop", "fuse"))
"""Kinds of traces that a server of a disk must outlive."""

SERVER_ROUNDS = 2  # because the server of a disk must answer until what was mounted is written back
TOOL_S = 15.0  # because an unmount writes back, and a server that is gone answers with an error at once
KILL_ROUNDS_MAX = 10  # because who forks faster than we look is no step of a checkpoint
SETTLE_S = 0.1  # because a killed process and a detached loop are gone within milliseconds


HOME = "home"
"""Below an item's directory: where programs may leave files."""

TREE, FUSE = "tree", "fuse"
MOUNT_POINTS = (TREE, FUSE)
"""Below an item's directory: where something may be mounted."""


@dataclass(frozen=True, slots=True)
class Removal:
    """What was removed, and what the kernel still knows."""

    removed: tuple[str, ...]
    left: tuple[str, ...]


async def remove(folder: Path, tag: str, grace_s: float = 0.0, *, is_copy: bool = False) -> Removal:
    """Remove everything whose name begins with `tag`, and look again until nothing is left or nothing helps.

    Args:
        folder: directory of the agent's item directories.
        tag: beginning of the names.
        grace_s: how long processes have after SIGTERM.
        is_copy: what is mounted is a drill's own copy: it may be torn off. Without this a mount that somebody
            uses stays, and so does what serves it, because what is not written back yet would be lost.
    """
    removed: dict[str, None] = {}
    left = await asyncio.to_thread(traces, folder, tag)
    await _end_kindly([trace for trace in left if trace.kind == "process"], folder, tag, grace_s)
    loop = asyncio.get_running_loop()
    until = loop.time() + PATIENCE_S
    for attempt in count():
        left = await asyncio.to_thread(traces, folder, tag)
        if not left or (attempt >= ROUNDS_MIN and loop.time() >= until):
            break
        is_served = any(trace.kind in DISKS for trace in left)
        for trace in left:
            if trace.kind == "server" and (attempt < SERVER_ROUNDS or (is_served and not is_copy)):
                continue  # it ends by itself when nothing is mounted from it any more
            await _take(trace, tag, is_torn=is_copy and attempt >= ROUNDS_MIN // 2)
            removed[str(trace)] = None
        await asyncio.sleep(SETTLE_S if attempt else 0)
    names = [str(trace) for trace in left]
    return Removal(tuple(name for name in removed if name not in names), tuple(names))


def end_processes(tag: str) -> None:
    """SIGKILL to every process whose mark begins with `tag`, but for servers of disks. Blocking.

    By the mark and not by a group: a number may belong to others by now, and who wants to leaves a group.
    Looked for again until nobody new is found: what is begun while we look may stand before where we are in
    the list, or have no environment yet.
    """
    ended: set[int] = set()
    for number in range(KILL_ROUNDS_MAX):
        found = {pid for pid, _, is_server in processes(tag) if not is_server} - ended
        if number and not found:
            return
        for pid in found:
            _signal(pid, tag, signal.SIGKILL)
        ended |= found


async def _end_kindly(running: list[Trace], folder: Path, tag: str, grace_s: float) -> None:
    if not running or grace_s <= 0:
        return
    for trace in running:
        _signal(trace.pid, tag, signal.SIGTERM)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + grace_s
    while loop.time() < deadline:
        left = await asyncio.to_thread(traces, folder, tag)
        if not any(trace.kind == "process" for trace in left):
            return
        await asyncio.sleep(SETTLE_S)


async def _take(trace: Trace, tag: str, *, is_torn: bool) -> None:
    """Remove one thing; what does not work now is seen in the next round."""
    lazily = ("-l",) if is_torn else ()
    with suppress(DrsyncError, OSError):
        match trace.kind:
            case "process" | "server":
                _signal(trace.pid, tag, signal.SIGKILL)
            case "mount" | "fuse":
                await run_tool("umount", *lazily, trace.name, seconds=TOOL_S)
            case "loop":
                await run_tool("losetup", "-d", trace.name, seconds=TOOL_S)
            case "netns":
                await run_tool("ip", "netns", "delete", trace.name, seconds=TOOL_S)
            case _:
                await asyncio.to_thread(_remove_directory, Path(trace.name))


def _signal(pid: int, tag: str, number: signal.Signals) -> None:
    """To exactly the process that bears the tag: the handle is taken first, so the id cannot change hands."""
    with suppress(ProcessLookupError, PermissionError):
        handle = os.pidfd_open(pid)
        try:
            if mark_of(pid).startswith(tag):
                signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)


def _remove_directory(path: Path) -> None:
    """An item's directory. Places where something may be mounted are only removed when they are empty.

    What is mounted there is the data that all this is about: nothing in it is ever deleted. That holds for
    what a program mounted in its own place as well, so nothing is touched before the kernel knows no mount.
    """
    if any(place == str(path) or place.startswith(f"{path}/") for place, _ in mounts()):
        return
    _empty(path / HOME)
    for name in MOUNT_POINTS:
        with suppress(FileNotFoundError):
            (path / name).rmdir()
    for log in path.glob("*.log"):
        log.unlink()
    path.rmdir()


def _empty(home: Path) -> None:
    """What programs left in the place they were given; not into another file system, not through a link."""
    if home.is_symlink() or not home.exists():
        home.unlink(missing_ok=True)
        return
    device = home.lstat().st_dev
    for root, directories, files in os.walk(home, topdown=False):
        if Path(root).lstat().st_dev != device:
            continue
        for name in files:
            (Path(root) / name).unlink()
        for name in directories:
            inner = Path(root) / name
            if inner.is_symlink():
                inner.unlink()
            elif inner.lstat().st_dev == device:
                inner.rmdir()
    home.rmdir()
