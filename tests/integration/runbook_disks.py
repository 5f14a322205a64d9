"""A disk with an ext4 file system that holds an SQLite database, written to the served volume of a site."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from drsync.adapters.hooks.inventory import Inventory
from drsync.adapters.hooks.kernel import namespaces
from drsync.lab.layout import CENTER_NAMES, DISK
from tests.integration import disks
from tests.integration.site import MIB, Site

ROWS = 500
DISK_BYTES = 24 * MIB
SCOPES: set[str] = set()
"""What agents were asked to make things for; the names follow from it and from their state directory."""


def make_image(folder: Path) -> Path:
    """An image of the file system; no mount is needed to make it."""
    content = folder / "content"
    content.mkdir()
    with closing(sqlite3.connect(content / "ledger.db")) as ledger, ledger:
        ledger.execute("CREATE TABLE entries (n INTEGER PRIMARY KEY, text TEXT NOT NULL)")
        ledger.executemany("INSERT INTO entries (text) VALUES (?)", [(f"entry {n}",) for n in range(ROWS)])
    image = folder / "disk.img"
    with image.open("wb") as file:
        file.truncate(DISK_BYTES)
    disks.run("mkfs.ext4", "-q", "-F", "-E", "root_owner=0:0", "-d", content, image)
    return image


async def fill(place: Site, folder: Path) -> None:
    """Write the image to the disk that the site serves."""
    uri = await place.uri(DISK)
    image = await asyncio.to_thread(make_image, folder)
    # In a thread, because the wires between the processes may be proxies in this one.
    await asyncio.to_thread(disks.run, "nbdcopy", "--flush", image, uri)


def networks(place: Site) -> list[str]:
    """Networks whose names the site's agents can have given; others make some, too."""
    prefixes = []
    for center in CENTER_NAMES:
        state = place.layout.state(center)
        known = Inventory(state / "inventory", str(state))
        prefixes += [f"drsync-{known.tag_of(scope)}" for scope in SCOPES]
    return [name for name in namespaces() if name.startswith(tuple(prefixes))]


def traces(place: Site) -> list[str]:
    """What the kernel knows of the site's agents: mounts, loop devices, namespaces, processes."""
    root = str(place.layout.root)
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    found = [f"mount {mount}" for mount in mounts if mount.startswith(root)]
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        file = path.read_text().strip()
        if file.startswith(root):
            found.append(f"loop {path.parent.parent.name} of {file}")
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            try:
                words = (path / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if any(word.endswith(("ledger-service", "nbdfuse")) for word in words) and root in " ".join(
                words
            ):
                found.append(f"process {path.name}: {' '.join(words)}")
    folders = [folder for folder in place.layout.run_root.glob("*/hooks/*") if folder.exists()]
    found += [f"network {name}" for name in networks(place)]
    return found + [f"folder {folder}" for folder in folders]
