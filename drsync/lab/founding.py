"""Making the directory of a lab: what is protected, keys, ports and configurations. Starts nothing."""

import re
import secrets
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from drsync.adapters.ssh.keys import generate_keypair, public_key
from drsync.config.quantities import format_size
from drsync.lab import images, ports, record, trees
from drsync.lab.configs import PORTS, make_token, write_configs
from drsync.lab.images import Image
from drsync.lab.layout import DISK, LEDGER, LEDGER_BYTES, PROCESSES, Layout
from drsync.lab.record import ImportedVolume, LabRecord, ProtectedTree
from drsync.model.errors import RefusedError, UsageError

COPIES = 7  # because three centers hold a journal and an image each, and a check makes one copy more
NAME_MAX = 32  # because names of volumes end there
MARGIN_BYTES = 1 << 30  # because journals of the ledger, logs and reports need some room as well


def found(layout: Layout, given: Sequence[Image], given_trees: Sequence[Path] | None = ()) -> LabRecord:
    """A new lab that protects the given images and trees, or those that it makes by itself.

    `given_trees`: None for no trees at all.

    Raises:
        RefusedError: the disk is too small for it.
        PermanentError: no image can be made here.
    """
    chosen = _trees(given_trees)
    files_bytes = sum(trees.DEFAULT_BYTES if t.is_limited else trees.size_of(Path(t.source)) for t in chosen)
    image_bytes = sum(image.data_bytes for image in given) or images.DEFAULT_FILES_BYTES
    require_room(layout, image_bytes + files_bytes)
    if not given:
        if not layout.image.exists():
            images.make_default(layout.image)
        given = [images.look_at(layout.image)]
    volumes = [
        ImportedVolume(name, image.volume_size, str(image.path), image.data_bytes)
        for name, image in zip(volume_names([image.path for image in given]), given, strict=True)
    ]
    made = LabRecord(
        cluster=f"lab-{secrets.token_hex(4)}",
        ports=ports.choose(PORTS),
        volumes=(*volumes, ImportedVolume(LEDGER, LEDGER_BYTES, is_done=True)),
        trees=chosen,
    )
    record.save(layout.record, made)
    return made


def require_same(layout: Layout, known: LabRecord, given: Sequence[Image]) -> None:
    """Images that are named again are those that the lab protects.

    Raises:
        UsageError: the lab protects something else.
    """
    sources = [volume.source for volume in known.volumes if volume.source]
    if given and [str(image.path) for image in given] != sources:
        raise UsageError(
            f"the lab in {layout.root} protects {', '.join(sources)}",
            remedy="Use another --dir for another lab, or leave --image out.",
        )


def require_same_trees(layout: Layout, known: LabRecord, given: Sequence[Path]) -> None:
    """Directories that are named again are those that the lab protects.

    Raises:
        UsageError: the lab protects something else.
    """
    sources = [tree.source for tree in known.trees]
    if given and [str(path) for path in given] != sources:
        raise UsageError(
            f"the files in {layout.root} are a copy of {', '.join(sources) or 'nothing'}",
            remedy="Use another --dir for another lab, or leave --files out.",
        )


def _trees(given: Sequence[Path] | None) -> tuple[ProtectedTree, ...]:
    """What was named, or what is on every machine, so much of it as a person waits for."""
    if given is None or (not given and not trees.DEFAULT_SOURCE.is_dir()):
        return ()
    sources = [*given] or [trees.DEFAULT_SOURCE]
    names = trees.tree_names(sources)
    return tuple(
        ProtectedTree(name, str(path), is_limited=not given)
        for name, path in zip(names, sources, strict=True)
    )


def require_room(layout: Layout, data_bytes: int) -> None:
    """The disk has room for all copies of so many bytes.

    Raises:
        RefusedError: it has not.
    """
    free = shutil.disk_usage(layout.root).free
    needed = data_bytes * COPIES + MARGIN_BYTES
    if needed > free:
        raise RefusedError(
            f"{format_size(data_bytes)} of data need {format_size(needed)} in {layout.root} (three journals, "
            f"three images and a copy for the check); {format_size(free)} are free",
            code="no_room",
            remedy="Make room, name a directory on another disk with --dir, or take a smaller image.",
        )


def prepare(layout: Layout, known: LabRecord, held: ExitStack | None = None) -> LabRecord:
    """Keys, token, free ports and configurations: what the processes need to start. `held` keeps the ports.

    Raises:
        ConfigError: a path cannot be used.
        TransientError: no ports are free.
    """
    ready = replace(known, ports=ports.choose(PORTS, known.ports, held), run_root=str(layout.run_root))
    make_keys(layout)
    write_configs(layout, ready)
    record.save(layout.record, ready)
    return ready


def make_keys(layout: Layout) -> None:
    """Keys of every process, and the token; those that are there stay."""
    layout.keys.mkdir(mode=0o700, exist_ok=True)
    make_token(layout.token)
    for process in PROCESSES:
        for path in (layout.host_key(process), layout.client_key(process)):
            public = public_key(path) if path.exists() else generate_keypair(path)
            path.with_name(f"{path.name}.pub").write_text(f"{public} {path.name}\n", encoding="ascii")


def volume_names(sources: Sequence[Path]) -> list[str]:
    """A name for the volume of each image: of one alone ``disk``, of several what their files are called."""
    if len(sources) == 1:
        return [DISK]
    names: list[str] = []
    for source in sources:
        stem = re.sub(r"[^A-Za-z0-9_-]+", "-", source.name.split(".")[0]).strip("-_")[:NAME_MAX] or DISK
        name, n = stem, 2
        while name in {*names, LEDGER}:
            tail = f"-{n}"
            name, n = stem[: NAME_MAX - len(tail)] + tail, n + 1
        names.append(name)
    return names
