"""How the demo's promises are checked: with the application's own ledger, with e2fsck, with hashes."""

import asyncio

from drsync.adapters.api_client.doc import Doc
from drsync.config.quantities import format_size
from drsync.lab import images
from drsync.lab.cluster import Cluster
from drsync.lab.importing import export_volume, read_all
from drsync.lab.ledger import compare
from drsync.lab.narrator import Narrator
from drsync.lab.outcome import Outcome
from drsync.lab.record import ImportedVolume
from drsync.lab.status import group_of, owner_uri
from drsync.lab.writer import LedgerWriter

LOST_SHOWN = 5


class Proofs:
    """Says what holds and keeps what does not."""

    def __init__(self, cluster: Cluster, tell: Narrator, outcome: Outcome, *, is_fresh: bool) -> None:
        self._cluster = cluster
        self._tell = tell
        self._outcome = outcome
        self._is_fresh = is_fresh

    def promise(self, text: str, *, is_kept: bool) -> None:
        """Something that was promised."""
        self._tell.check(text, is_good=is_kept)
        if not is_kept:
            self._outcome.broken.append(text)

    async def ledger(self, writer: LedgerWriter, uri: str) -> None:
        """Every acknowledged write of the application is at the owner."""
        acknowledged = writer.acknowledged
        content = await read_all(uri)
        found = compare(content, writer.run_id, acknowledged, writer.attempted)
        self._outcome.lost += found.lost
        which = (
            f"{len(found.lost)} of them missing, first number {found.lost[0]}" if found.lost else "all there"
        )
        older = (
            "" if found.slots == acknowledged else f", the newest {found.slots:,} of them still to be read"
        )
        self.promise(
            f"the application's ledger: {acknowledged:,} writes were acknowledged{older}: {which}",
            is_kept=not found.lost,
        )

    def imported_content(self, drill: Doc) -> None:
        """The volumes still hold what was imported, bit by bit, unless somebody wrote to them."""
        sources = {volume.text("name"): volume.text("source_hash") for volume in drill.docs("volumes")}
        for volume in self._imported():
            if not volume.content or not sources.get(volume.name):
                continue
            if sources[volume.name] == volume.content:
                self._tell.check(
                    f"volume {volume.name} equals its image, {volume.content[:19]}…", is_good=True
                )
            elif self._is_fresh:
                self.promise(f"volume {volume.name} equals its image", is_kept=False)
            else:
                self._tell.say(f"volume {volume.name} was written to since its import")

    async def file_systems(self, status: Doc) -> None:
        """What the new owner serves is a clean file system wherever the image was one."""
        owner = group_of(status).text("owner")
        for volume in self._imported():
            if volume.fsck is None:
                continue
            copy = self._cluster.layout.scratch / f"{volume.name}.img"
            copy.parent.mkdir(exist_ok=True)
            try:
                with self._tell.progress(f"reading {volume.name}", volume.size) as advance:
                    content = await export_volume(owner_uri(status, volume.name), copy, advance)
                code, words = await asyncio.to_thread(images.check_ext, copy)  # the application goes on
            finally:
                copy.unlink(missing_ok=True)
            self._outcome.fsck[volume.name] = words
            self._judge(volume, owner, content, code, words)

    def _judge(self, volume: ImportedVolume, owner: str, content: str, code: int, words: str) -> None:
        short = words.rpartition(": ")[2]  # without the name of the copy
        if code == images.FSCK_CLEAN:
            self.promise(f"e2fsck -fn on a copy read from {owner}: clean ({short})", is_kept=True)
        else:
            verdict = f"e2fsck -fn on a copy read from {owner} ended with {code}"
            same = ", as it did on the image itself" if code == volume.fsck else f": {short}"
            self.promise(verdict + same, is_kept=code == volume.fsck)
        if volume.content and content == volume.content:
            text = f"all {format_size(volume.size)} of {volume.name} equal the image, byte for byte"
            self.promise(text, is_kept=True)
        elif volume.content and self._is_fresh:
            self.promise(f"{volume.name} equals the image, byte for byte", is_kept=False)

    def _imported(self) -> list[ImportedVolume]:
        return [volume for volume in self._cluster.record.volumes if volume.source]
