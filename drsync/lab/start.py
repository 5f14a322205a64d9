"""`lab up`: from nothing, or from a stopped lab, to three centers that protect real data."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from drsync.adapters.api_client.doc import Doc, Json
from drsync.config.quantities import format_size
from drsync.lab import founding, images, record, trees
from drsync.lab.cluster import Cluster, locked
from drsync.lab.configs import shipped_policy
from drsync.lab.images import Image
from drsync.lab.importing import import_image
from drsync.lab.layout import (
    CENTER_NAMES,
    CENTERS,
    COORDINATOR,
    GROUP,
    PROCESSES,
    PRODUCTION,
    REMOTE,
    SAME_CITY,
    Layout,
)
from drsync.lab.narrator import Narrator
from drsync.lab.record import ImportedVolume, LabRecord, ProtectedTree
from drsync.lab.status import group_of, owner_uri
from drsync.model.errors import TransientError

SERVED_SECONDS = 60.0  # because three copies are made, and a journal that was long is read again
READY_SECONDS = 20.0  # because a replica that was away longer should not hold the person up
RPO_S, RTO_S = 15, 60


@dataclass(frozen=True, slots=True)
class Brought:
    """What `bring_up` did.

    Attributes:
        was_running: something ran before, so the lab belongs to another command.
        is_fresh: everything was imported just now, and nobody else can have written to it.
    """

    was_running: bool
    is_fresh: bool


async def bring_up(
    cluster: Cluster, chosen: Sequence[Image], chosen_trees: Sequence[Path] | None, tell: Narrator
) -> Brought:
    """Start what does not run, protect images and trees, and fill what is not filled yet.

    Raises:
        DrsyncError: it did not work; what this call started is stopped again.
    """
    layout = cluster.layout
    with locked(layout.starting, is_patient=False), ExitStack() as held:
        known = await _found(layout, chosen, chosen_trees, tell)
        before = set(cluster.alive())
        if before == set(PROCESSES):
            tell.say("already running; nothing was started")
        else:
            known = known if before else founding.prepare(layout, known, held)
        for tree in known.trees:
            for name in CENTER_NAMES:
                layout.tree(name, tree.name).mkdir(parents=True, exist_ok=True)
        is_fresh = not any(volume.is_begun for volume in known.volumes)
        try:
            await _start(cluster, before, tell)
            await _protect(cluster, tell)
            await _fill_all(cluster, tell)
        except BaseException:
            for name in set(PROCESSES) - before:
                await cluster.stop(name)
            raise
    return Brought(bool(before), is_fresh)


async def _fill_all(cluster: Cluster, tell: Narrator) -> None:
    """Volumes and trees at the same time."""
    copying = asyncio.ensure_future(_copy_trees(cluster, tell))
    try:
        await _fill(cluster, tell)
        await copying
    finally:
        copying.cancel()
        await asyncio.wait([copying])


async def _copy_trees(cluster: Cluster, tell: Narrator) -> None:
    """Fill the trees at production; the others get them from there."""
    for tree in cluster.record.trees:
        if tree.is_done:
            continue
        began, target = tell.seconds, cluster.layout.tree(PRODUCTION, tree.name)
        done = await asyncio.to_thread(
            trees.copy, Path(tree.source), target, lambda _: None, is_limited=tree.is_limited
        )
        cluster.remember(_with(replace(tree, is_done=True, names=done.names, bytes=done.bytes)))
        note = f" ({done.note})" if done.note else ""
        tell.check(
            f"files {tree.name}: {done.names:,} names, {format_size(done.bytes)}, a copy of "
            f"{tree.source}{note} in {tell.seconds - began:.1f} s; on their way to {SAME_CITY} and {REMOTE}",
            is_good=True,
        )


def _with(tree: ProtectedTree) -> Callable[[LabRecord], LabRecord]:
    return lambda known: known.with_tree(tree)


async def _found(
    layout: Layout, chosen: Sequence[Image], chosen_trees: Sequence[Path] | None, tell: Narrator
) -> LabRecord:
    known = record.load(layout.record)
    if known is not None:
        founding.require_same(layout, known, chosen)
        founding.require_same_trees(layout, known, chosen_trees or ())
        return known
    for image in chosen:
        tell.say(
            f"{image.path}: {format_size(image.size)}, {format_size(image.data_bytes)} of data; only read"
        )
        if image.note:
            tell.say(f"{image.path.name} is {image.note}", "yellow")
    if chosen:
        return founding.found(layout, list(chosen), chosen_trees)
    with tell.waiting("making an ext4 image of files on this machine"):
        known = await asyncio.to_thread(founding.found, layout, [], chosen_trees)
    image = images.look_at(layout.image)
    tell.say(
        f"made an ext4 image of files on this machine: {format_size(image.size)}, "
        f"{format_size(image.data_bytes)} of data"
    )
    return known


async def _start(cluster: Cluster, before: set[str], tell: Narrator) -> None:
    for name in PROCESSES:
        cluster.start(name)
    alive, sites = cluster.alive(), {center.name: center.site for center in CENTERS}

    def heard(name: str) -> None:
        if name in before:
            return
        pid = alive[name].pid if name in alive else 0
        word = f"answers at {cluster.url}" if name == COORDINATOR else f"in {sites[name]}, connected"
        tell.check(f"{name:12} {word} (process {pid})", is_good=True)

    with tell.waiting("starting a coordinator and three agents"):
        await cluster.wait_connected(heard)


async def _protect(cluster: Cluster, tell: Narrator) -> None:
    """Create the group unless there is one, and wait until it is served somewhere."""
    known = cluster.record
    is_new = False
    async with cluster.api() as client:
        if not group_of(await client.get("/v1/status")):
            await client.post("/v1/groups", group_document(cluster.layout, known))
            is_new = True

    def is_served(status: Doc) -> bool:
        group = group_of(status)
        if is_new and (group.text("owner") != PRODUCTION or SAME_CITY not in group.texts("in_sync")):
            return False
        return all(owner_uri(status, volume.name) for volume in known.volumes)

    with tell.waiting(f"waiting until group {GROUP} is served"):
        status = await cluster.wait_for(f"group {GROUP} served by its owner", is_served, SERVED_SECONDS)
        status = await _when_ready(cluster, status)
    group = group_of(status)
    in_sync = ", ".join(group.texts("in_sync"))
    tell.check(f"group {GROUP}: owned by {group.text('owner')}; in sync: {in_sync}", is_good=True)
    if not group.flag("ready"):
        tell.say(f"not ready yet: {group.text('waiting')} (drsync why {GROUP})", "yellow")


async def _when_ready(cluster: Cluster, status: Doc) -> Doc:
    """The status once the group is as it should be, or after a while as it is: it is served anyway."""
    try:
        return await cluster.wait_for(
            f"group {GROUP} ready", lambda found: group_of(found).flag("ready"), READY_SECONDS
        )
    except TransientError:
        return await cluster.status() or status


async def _fill(cluster: Cluster, tell: Narrator) -> None:
    """Import every image that is not imported yet."""
    for volume in cluster.record.volumes:
        if not volume.is_done:
            await _import(cluster, volume, tell)


async def _import(cluster: Cluster, volume: ImportedVolume, tell: Narrator) -> None:
    image = images.look_at(Path(volume.source))
    status = await cluster.wait_for(
        f"{volume.name} served", lambda found: bool(owner_uri(found, volume.name)), SERVED_SECONDS
    )
    cluster.remember(lambda known: known.with_volume(replace(volume, is_begun=True)))
    began = tell.seconds
    with tell.progress(f"filling {volume.name}", image.data_bytes) as advance:
        done = await import_image(
            image, owner_uri(status, volume.name), advance, may_hold_data=volume.is_begun
        )
    took = max(tell.seconds - began, 1e-3)
    fsck = None
    if image.is_ext and images.has_tool("e2fsck"):
        fsck, _ = await asyncio.to_thread(images.check_ext, image.path)
    complete = replace(volume, is_begun=True, is_done=True, content=done.content, fsck=fsck)
    cluster.remember(lambda known: known.with_volume(complete))
    tell.check(
        f"volume {volume.name}: {format_size(done.written)} written through NBD in {took:.1f} s "
        f"({format_size(int(done.written / took))}/s), durable at {PRODUCTION} and {SAME_CITY}",
        is_good=True,
    )
    if done.has_changed:
        tell.say(f"{image.path} was written to meanwhile: the copy may be a mixture", "yellow")


def group_document(layout: Layout, known: LabRecord) -> Json:
    """The group as `drsync group apply` would send it."""
    return {
        "name": GROUP,
        "preferred_owner": PRODUCTION,
        "members": list(CENTER_NAMES),
        "volumes": [{"name": volume.name, "size": volume.size} for volume in known.volumes],
        "filesets": [
            {"name": tree.name, "roots": {name: str(layout.tree(name, tree.name)) for name in CENTER_NAMES}}
            for tree in known.trees
        ],
        "objectives": {"rpo": f"{RPO_S}s", "rto": f"{RTO_S}s"},
        "policy": shipped_policy() | {"lease": "3s", "checkpoint": "1s", "sync_timeout": "2s"},
    }
