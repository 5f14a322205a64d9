"""Trees of the centers in a story: made, compared, and put on small file systems of their own."""

import asyncio
import subprocess
from collections.abc import Iterable
from pathlib import Path

from drsync.adapters.api_client.doc import Doc
from drsync.lab import trees
from drsync.lab.layout import CENTER_NAMES, GROUP, PRODUCTION
from drsync.lab.status import group_of
from tests.integration.disks import run
from tests.integration.site import POLL_S, Site, group_document

WWW = "www"
MIB = 1 << 20
MEET_S = 25.0


def roots(place: Site, name: str = WWW) -> dict[str, Path]:
    """Where the tree is, by center."""
    return {center: place.layout.tree(center, name) for center in CENTER_NAMES}


def make_roots(place: Site, *names: str) -> None:
    for name in names or (WWW,):
        for root in roots(place, name).values():
            root.mkdir(parents=True, exist_ok=True)


async def protect(place: Site, *names: str, is_level_now: bool = True, **objectives: str) -> None:
    """The usual small group with these trees."""
    filesets = [
        {"name": name, "roots": {center: str(root) for center, root in roots(place, name).items()}}
        for name in names or (WWW,)
    ]
    document = group_document(MIB, MIB) | {"filesets": filesets}
    document["objectives"] = {"rpo": "15s", "rto": "60s"} | objectives
    await place.post("/v1/groups", document)
    if is_level_now:
        await place.until("the group open and level", lambda s: has_volumes(s, PRODUCTION))


def has_volumes(status: Doc, owner: str) -> bool:
    """Volumes are level; the trees may be on their way."""
    group = group_of(status)
    is_there = group.text("owner") == owner and not group.has("intent")
    followers = [center for name, center in group.table("centers") if name != owner]
    level = all(one.text("state") == "replica" and not one.whole("lag_records") for one in followers)
    return is_there and level and len(group.texts("in_sync")) == 2


def tree(status: Doc, center: str, name: str = WWW) -> Doc:
    """What the status says of a tree at a center."""
    return group_of(status).doc("centers").doc(center).doc("files").doc(name)


async def meet(place: Site, owner: str, names: Iterable[str] = CENTER_NAMES, name: str = WWW) -> None:
    """Until these centers' trees are the owner's, name by name and by rsync."""
    places = roots(place, name)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + MEET_S
    for center in names:
        if center == owner:
            continue
        while (found := await asyncio.to_thread(trees.compare, places[owner], places[center])).differs:
            if loop.time() > deadline:
                status = await place.cluster.status() or Doc()
                said = {one: dict(tree(status, one, name).items()) for one in CENTER_NAMES}
                raise AssertionError(f"{center} differs from {owner}: {found.differs[:10]}\n{said}")
            await asyncio.sleep(POLL_S)


async def why(place: Site) -> str:
    """What the group waits for, in words."""
    answer = await place.get(f"/v1/groups/{GROUP}/why")
    return "\n".join(f"{line.text('what')} | {line.text('remedy')}" for line in answer.docs("lines"))


async def until_why(place: Site, words: str, seconds: float = 20.0) -> Doc:
    """Until `drsync why` says so; the group is not ready then."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while words not in (said := await why(place)):
        assert loop.time() < deadline, f"nobody says {words!r}, but: {said or 'nothing'}"
        await asyncio.sleep(POLL_S)
    status = await place.get("/v1/status")
    assert not group_of(status).flag("ready")
    return status


async def until_ready(place: Site) -> None:
    await place.until("the group ready", lambda s: group_of(s).flag("ready"))


def mount_tmpfs(root: Path, size: str) -> None:
    """A small file system of its own at `root`."""
    run("mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", root)


def mount_disk(root: Path, image: Path, block: int = 4096) -> None:
    """A disk of its own, made if it is not there. With blocks of 1024 it takes no longer symbolic link."""
    is_new = not image.exists()
    if is_new:
        with image.open("wb") as file:
            file.truncate(16 * MIB)
        run("mkfs.ext4", "-q", "-b", str(block), image)
    run("mount", "-o", "loop", image, root)
    if is_new:
        (root / "lost+found").rmdir()


def unmount(root: Path) -> str:
    """As a person does it; why not, if it does not work now."""
    ended = subprocess.run(["umount", root], capture_output=True, text=True, check=False, timeout=20)
    return ended.stderr


async def unmounted(root: Path) -> None:
    """Nothing of ours holds a disk for longer than a look takes."""
    why_not = "not tried"
    for _ in range(100):
        why_not = await asyncio.to_thread(unmount, root)
        if not why_not:
            return
        await asyncio.sleep(POLL_S)
    raise AssertionError(why_not)


def resize_tmpfs(root: Path, size: str) -> None:
    run("mount", "-o", f"remount,size={size}", root)


def unmount_all(folder: Path) -> None:
    """Whatever is still mounted below; the last mounted first."""
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    for place in reversed([line.split()[1] for line in mounts]):
        if Path(place).is_relative_to(folder):
            subprocess.run(["umount", "-l", place], check=False, timeout=20)
