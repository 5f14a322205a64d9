"""A served volume as a file, and its file system as a directory: nbdfuse, a loop device, mount.

Each piece is made below the item's directory, whose name was registered before, so that `removal` finds it.
"""

import asyncio
import os
from pathlib import Path

from drsync.adapters.hooks.kernel import SERVER
from drsync.adapters.hooks.programs import end_group, environment, run_tool, start, tool
from drsync.adapters.hooks.removal import FUSE, HOME, TREE
from drsync.model.errors import TransientError

CONNECTIONS = "4"  # because several requests at once hide the round trip, and each is one more socket
POLL_S = 0.02
LOG_CHARS = 2000
OPTIONS = "nosuid,nodev,noexec"
"""What is mounted is data of somebody else's machine: nothing in it may act here."""


async def attach(place: Path, tag: str, uri: str, seconds: float, *, read_only: bool) -> Path:
    """Show the volume at `uri` as a file. Returns the file.

    Raises:
        TransientError: it did not appear in time.
        UsageError: nbdfuse is not installed.
    """
    await asyncio.to_thread(_make, place)
    file = place / FUSE / "nbd"
    argv = [tool("nbdfuse"), *(["-r"] if read_only else []), "-C", CONNECTIONS, str(file), uri]
    path = place / "nbdfuse.log"
    log = await asyncio.to_thread(os.open, path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        process = await start(argv, environment(f"{tag}{SERVER}", place / HOME), place / HOME, log)
    finally:
        os.close(log)
    deadline = asyncio.get_running_loop().time() + seconds
    while not await asyncio.to_thread(file.exists):
        is_late = asyncio.get_running_loop().time() > deadline
        if process.returncode is not None or is_late:
            await end_group(process)
            said = (await asyncio.to_thread(path.read_text, errors="replace"))[-LOG_CHARS:].strip()
            raise TransientError(f"nbdfuse shows nothing of {uri}: {said or 'it said nothing'}")
        await asyncio.sleep(POLL_S)
    return file


async def mount(place: Path, file: Path, filesystem: str, seconds: float, *, read_only: bool) -> Path:
    """Mount the file system in `file`. Returns the directory. Raises TransientError, UsageError."""
    tree = place / TREE
    write = ["-r"] if read_only else []
    device = (await run_tool("losetup", "-f", "--show", *write, str(file), seconds=seconds)).strip()
    options = f"{OPTIONS},ro" if read_only else OPTIONS
    await run_tool("mount", "-t", filesystem, "-o", options, device, str(tree), seconds=seconds)
    return tree


def _make(place: Path) -> None:
    for path in (place, place / HOME, place / FUSE, place / TREE):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
