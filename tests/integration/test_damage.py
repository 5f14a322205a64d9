"""Damaged bytes in a journal: what nobody was promised is cut off, the rest is never papered over."""

import hashlib
from pathlib import Path

import pytest

from drsync.adapters.segments.files import OsFiles
from drsync.adapters.segments.opening import segment_paths
from drsync.adapters.segments.scan import Found, Scan, reader
from drsync.adapters.segments.segment import read_header
from drsync.adapters.segments.superblock import SuperblockFiles
from drsync.engine.durable import Durable
from drsync.lab.layout import GROUP, PRODUCTION, REMOTE, SAME_CITY
from drsync.lab.status import group_of
from tests.integration.proxy import Wire
from tests.integration.site import Site, is_connected, is_level, is_served, site

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]

STORY_S = 80.0
SOME = 60


class CopyFiles:
    """The files of a center's copy, looked at while its agent does not run."""

    def __init__(self, place: Site, center: str) -> None:
        (self.folder,) = (place.layout.state(center) / "groups").iterdir()
        self.segment = segment_paths(self.folder / "journal")[-1]
        raw = SuperblockFiles(self.folder).load()
        assert raw is not None
        self.durable_hint = Durable.decode(raw).durable_hint

    def batches(self) -> list[Found]:
        """All good batches of the last segment."""
        with self.segment.open("rb") as file:
            header = read_header(OsFiles(), file.fileno())
            return list(Scan(reader(OsFiles(), file.fileno()), header.prior))

    def garble(self, batch: Found) -> None:
        """Change one byte in the middle of a batch."""
        at = batch.offset + batch.length // 2
        with self.segment.open("r+b") as file:
            file.seek(at)
            byte = file.read(1)
            file.seek(at)
            file.write(bytes([byte[0] ^ 0xFF]))

    def digests(self) -> dict[str, str]:
        """What is in the journal, file by file."""
        paths = sorted((self.folder / "journal").iterdir())
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if path.is_file()}


@pytest.mark.parametrize("center", [SAME_CITY, REMOTE])
async def test_a_torn_tail_is_cut_off_and_sent_again(home: Path, center: str) -> None:
    async with site(home, seconds=STORY_S) as place:
        await place.protect()
        async with place.writing() as writer:
            await place.until("the application writes", lambda _status: writer.acknowledged > SOME)
            await place.kill(center)
            # Else what is level below may be what the coordinator knew before.
            await place.until("its end is noticed", lambda s: not is_connected(s, center))
            files = CopyFiles(place, center)
            torn = [batch for batch in files.batches() if batch.first_seq > files.durable_hint]
            assert torn, "nothing above the durable position; nothing to tear"
            files.garble(torn[len(torn) // 2])
            place.start(center)
            await place.until("level again", lambda s: is_level(s, PRODUCTION))
            await place.require_ledger(writer)
        await place.require_equal_content(center)


async def test_damage_below_the_durable_position_fails_that_copy_alone_until_others_are_reached(
    home: Path,
) -> None:
    async with site(home, wired=True, seconds=STORY_S) as place:
        await place.protect()
        async with place.writing() as writer:
            await place.until("the application writes", lambda _status: writer.acknowledged > SOME)
            await place.stop(SAME_CITY)
            files = CopyFiles(place, SAME_CITY)
            durable = [batch for batch in files.batches() if batch.end.seq <= files.durable_hint]
            files.garble(durable[len(durable) // 2])
            before = files.digests()

            place.switch(Wire.REFUSE, SAME_CITY, [PRODUCTION, REMOTE])
            place.start(SAME_CITY)
            await place.until(
                "the damage is shown",
                lambda s: group_of(s).doc("centers").doc(SAME_CITY).text("state") == "failed",
            )
            shown = (await place.cli("status")).well()
            assert "failed" in shown.out, shown.out
            why = (await place.cli("why", GROUP)).well()
            assert SAME_CITY in why.out, why.out
            assert "failed" in why.out, why.out
            assert files.digests() == before, "nothing of a damaged copy is overwritten"

            count = writer.acknowledged
            await place.until("the owner goes on", lambda _status: writer.acknowledged > count + SOME)
            refused = await place.cli("switchover", GROUP, "--to", SAME_CITY)
            assert refused.code == 3, refused
            assert is_served(await place.get("/v1/status"), PRODUCTION)
            await place.require_ledger(writer)
            assert files.digests() == before, "nothing of a damaged copy is overwritten"

            place.switch(Wire.PASS, SAME_CITY)
            await place.until("it is mended, and level", lambda s: is_level(s, PRODUCTION))
            await place.require_ledger(writer)
        await place.require_equal_content(SAME_CITY)
