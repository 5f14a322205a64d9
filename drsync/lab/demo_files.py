"""The part of the demo that is about files: a person edits a tree while centers come and go.

Without a tree in the lab every part of it does nothing.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from drsync.adapters.api_client.doc import Doc
from drsync.config.quantities import format_size
from drsync.lab import trees
from drsync.lab.cluster import Cluster
from drsync.lab.editor import FOLDER, Editor
from drsync.lab.images import has_tool
from drsync.lab.layout import CENTER_NAMES, GROUP, PRODUCTION
from drsync.lab.narrator import Narrator, show_seconds
from drsync.lab.outcome import Outcome
from drsync.lab.status import group_of
from drsync.model.errors import DrsyncError, TransientError

SEED_SECONDS = 300.0  # because a person may have named a large tree
FOLLOW_SECONDS = 30.0
POLL_S = 0.02
LATE_NAME = "late-edit.txt"
LATE_TEXT = "written at the old owner after it was lost\n"
SHOWN = 3

Status = Callable[[], Awaitable[Doc]]


class DemoFiles:
    """The tree of the lab in the demo. One use."""

    def __init__(self, cluster: Cluster, tell: Narrator, outcome: Outcome) -> None:
        self._cluster = cluster
        self._tell = tell
        self._outcome = outcome
        known = cluster.record.trees
        self._name = known[0].name if known else ""
        self._trees = [tree.name for tree in known]
        self.editor = Editor(Path())
        self._late: Path | None = None

    @property
    def is_there(self) -> bool:
        """Whether the lab has a tree."""
        return bool(self._name)

    async def begin(self, owner: str) -> None:
        """Wait until every center has the tree, measure how fast it follows, and begin to edit."""
        if not self.is_there:
            return
        self.editor.root = self._root(owner)
        with self._tell.waiting("files on their way to both other centers"):
            await self._marked(owner, SEED_SECONDS)
        took = await self._marked(owner, FOLLOW_SECONDS)
        known = self._cluster.record.trees[0]
        times = ", ".join(f"at {center} {show_seconds(seconds)}" for center, seconds in took.items())
        self._tell.check(
            f"files “{self._name}”: {known.names:,} names, {format_size(known.bytes)} at all three; "
            f"a new file is {times} after it was saved",
            is_good=True,
        )
        self._outcome.follow_s = took
        self.editor.go()

    async def lost(self) -> None:
        """The owner was killed; its directory goes on to be edited, since nothing fences it."""
        if not self.is_there:
            return
        await self.editor.rest()
        folder = self.editor.root / FOLDER
        await asyncio.to_thread(lambda: (folder / LATE_NAME).write_text(LATE_TEXT, "ascii"))
        self._late = self.editor.root
        self._tell.say(f"somebody still edits the dead center's directory: {FOLDER}/{LATE_NAME}")

    async def failed_over(self, owner: str, died_at: float, aim_s: float) -> None:
        """The new owner's tree shows the work up to shortly before the end."""
        if not self.is_there:
            return
        root = self._root(owner)
        seen = await asyncio.to_thread(lambda: self.editor.look(root, died_at - aim_s, died_at))
        self._outcome.files_age_s = seen.age_s
        if seen.age_s is None:
            what = (
                f"{len(seen.wrong)} files at {owner} are as they never were: {', '.join(seen.wrong[:SHOWN])}"
            )
            self._proved(what, is_kept=False)
        else:
            age = show_seconds(seen.age_s)
            what = f"{self.editor.edits} edits of files: all but those of the last {age} are at {owner}"
            self._proved(f"{what} (RPO target {aim_s:.0f} s)", is_kept=seen.age_s <= aim_s)
        self.editor.start_anew(root)
        self.editor.go()

    async def returned(self, seconds: float) -> None:
        """The old owner is a replica: its late edit was put aside, and not lost."""
        if self._late is None:
            return
        root, deadline = self._late, time.monotonic() + seconds
        found = await asyncio.to_thread(_kept_aside, root)
        while not found and time.monotonic() < deadline:
            await asyncio.sleep(POLL_S * 5)
            found = await asyncio.to_thread(_kept_aside, root)
        self._outcome.forks = [str(path) for path in found]
        where = str(found[0].relative_to(root)) if found else "nowhere"
        is_kept = bool(found) and not (root / FOLDER / LATE_NAME).exists()
        self._proved(f"the late edit at {PRODUCTION} was kept aside: {where}", is_kept=is_kept)

    async def pause(self, owner: str) -> None:
        """For a planned change people stop what edits files, and all get them; volumes need no such thing."""
        if self.is_there:
            await self.editor.rest()
            with self._tell.waiting("the last edits are on their way"):
                await self._marked(owner, FOLLOW_SECONDS)

    async def moved(self, owner: str) -> None:
        """The tree is edited at its new owner."""
        if self.is_there:
            self.editor.root = self._root(owner)
            self.editor.go()

    async def compare(self, owner: str) -> None:
        """All three trees, name by name with content."""
        if not self.is_there:
            return
        await self.editor.rest()
        with self._tell.waiting("comparing every file of three trees"):
            await self._marked(owner, FOLLOW_SECONDS)
            for name in self._trees:
                await self._compare(owner, name)

    async def _compare(self, owner: str, name: str) -> None:
        layout = self._cluster.layout
        for center in CENTER_NAMES:
            if center == owner:
                continue
            one, other = layout.tree(owner, name), layout.tree(center, name)
            found = await asyncio.to_thread(trees.compare, one, other)
            deadline = time.monotonic() + FOLLOW_SECONDS / 3
            while found.differs and time.monotonic() < deadline:
                found = await asyncio.to_thread(trees.compare, one, other)
            with_rsync = ", and rsync -naAHXc finds nothing to do" if has_tool("rsync") else ""
            words = f"files “{name}” at {center}: {found.names:,} names, {format_size(found.bytes)}"
            if found.differs:
                first = "; ".join(found.differs[:SHOWN])
                self._proved(f"{words}: {len(found.differs)} differ: {first}", is_kept=False)
            else:
                self._proved(f"{words} equal {owner}'s{with_rsync}", is_kept=True)
            equal = self._outcome.trees.get(center, True) and not found.differs
            self._outcome.trees[center] = equal

    async def _marked(self, owner: str, seconds: float) -> dict[str, float]:
        """Save a file at the owner; how long until each other center has it."""
        text = secrets.token_hex(16)
        source = self._root(owner) / FOLDER / "mark.txt"
        await asyncio.to_thread(_save, source, text)
        began = time.monotonic()
        took: dict[str, float] = {}
        others = [center for center in CENTER_NAMES if center != owner]
        while len(took) < len(others):
            for center in others:
                path = self._root(center) / FOLDER / "mark.txt"
                if center not in took and await asyncio.to_thread(_holds, path, text):
                    took[center] = time.monotonic() - began
            if time.monotonic() - began > seconds:
                raise await self._late_files(set(others) - set(took), seconds)
            await asyncio.sleep(POLL_S)
        return took

    async def _late_files(self, centers: set[str], seconds: float) -> DrsyncError:
        status = await self._cluster.status()
        group = group_of(status) if status is not None else Doc()
        said = [f"{name}: {group.doc('centers').doc(name).doc('files').items()}" for name in sorted(centers)]
        return TransientError(
            f"files are not at {', '.join(sorted(centers))} after {seconds:.0f} s ({'; '.join(said)})",
            remedy=f"See drsync files show {GROUP}.",
        )

    def _root(self, center: str) -> Path:
        return self._cluster.layout.tree(center, self._name)

    def _proved(self, text: str, *, is_kept: bool) -> None:
        self._tell.check(text, is_good=is_kept)
        if not is_kept:
            self._outcome.broken.append(text)


def _save(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, "ascii")


def _holds(path: Path, text: str) -> bool:
    try:
        return path.read_text("ascii") == text
    except (OSError, UnicodeDecodeError):
        return False


def _kept_aside(root: Path) -> list[Path]:
    return [
        path
        for fork in sorted(root.glob(".drsync-fork-*"))
        for path in sorted(fork.rglob(LATE_NAME))
        if path.read_text("ascii") == LATE_TEXT
    ]
