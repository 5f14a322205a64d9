"""One flipped bit: on a wire, in an image, in a journal. It is found and named, and reaches nobody else.

tests/integration/test_damage.py has what a restart finds in a journal.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from drsync.adapters.segments.opening import segment_paths
from drsync.lab.importing import connected
from drsync.lab.layout import DISK, GROUP, PRODUCTION, REMOTE, SAME_CITY
from drsync.lab.status import group_of
from drsync.lab.writer import LedgerWriter
from tests.integration.proxy import Proxy, Wire
from tests.integration.site import MIB, POLL_S, SETTLE_S, Site, is_level, site

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]

STORY_S = 80.0
DISK_BYTES = 8 * MIB
BLOCK = 4096
SEGMENT_BYTES = 64 * MIB
BLOCKS = 100
VICTIM = 50
SOME = 40


def block(number: int) -> bytes:
    return number.to_bytes(8, "big") * (BLOCK // 8)


async def write_blocks(place: Site) -> None:
    """Blocks whose contents are found again in files."""
    async with connected(await place.uri(DISK)) as client:
        for number in range(1, BLOCKS):
            await client.write(number * BLOCK, block(number))
        await client.flush()


async def fill_segments(place: Site) -> int:
    """Write so much that what was written before lies in a full segment of each journal; the last record."""
    async with connected(await place.uri(DISK)) as client:
        for number in range(SEGMENT_BYTES // MIB + 2):
            await client.write(DISK_BYTES // 2, number.to_bytes(8, "big") * (MIB // 8))
        await client.flush()
    return (await place.cli("checkpoint", GROUP, "--json")).well().doc.whole("seq")


def flip(path: Path) -> None:
    """Change one bit of block VICTIM, wherever in this file it lies."""
    at = path.read_bytes().find(block(VICTIM))
    assert at > 0, f"{path} does not hold the block"
    with path.open("r+b", buffering=0) as file:
        file.seek(at + BLOCK // 2)
        byte = file.read(1)
        file.seek(at + BLOCK // 2)
        file.write(bytes([byte[0] ^ 1]))


def journal(place: Site, center: str) -> Path:
    """The first segment of a center."""
    (folder,) = (place.layout.state(center) / "groups").iterdir()
    return segment_paths(folder / "journal")[0]


async def until(what: str, is_so: Callable[[], bool]) -> None:
    """Something that no status tells."""
    try:
        async with asyncio.timeout(SETTLE_S):
            while not is_so():
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise AssertionError(f"not reached: {what}") from None


async def flipped(wire: Proxy) -> None:
    """One bit of what goes over it next, whichever way."""
    wire.flips = 1
    await until("something went over the wire", lambda: not wire.flips)


async def until_written(writer: LedgerWriter, count: int) -> None:
    await until(f"{count} writes acknowledged", lambda: writer.acknowledged >= count)


async def test_on_a_wire_it_ends_the_link_and_is_sent_again(home: Path) -> None:
    async with site(home, wired=True, seconds=STORY_S) as place:
        await place.protect()
        async with place.writing() as writer:
            for pair in ((SAME_CITY, PRODUCTION), (PRODUCTION, SAME_CITY), (PRODUCTION, REMOTE)):
                await flipped(place.wires[pair])
                await until_written(writer, writer.acknowledged + SOME)
            await place.until("level again", lambda s: is_level(s, PRODUCTION))
            await place.require_ledger(writer)
        assert "the link to same_city is lost: MAC verification failed" in place.log(PRODUCTION)
        await place.require_equal_content(SAME_CITY, REMOTE)


async def test_in_an_image_it_is_found_by_the_next_drill_there(home: Path) -> None:
    async with site(home, seconds=STORY_S) as place:
        await place.protect(DISK_BYTES, window="2s")
        await write_blocks(place)
        written = await fill_segments(place)
        async with place.writing() as writer:
            images = place.layout.state(REMOTE).rglob("*.img")
            (image,) = [path for path in images if path.stat().st_size == DISK_BYTES]
            await place.until(
                "the image holds it, and is what is read",
                lambda s: group_of(s).doc("centers").doc(REMOTE).whole("applied") >= written,
            )
            flip(image)
            before = writer.acknowledged
            found = await place.cli("drill", "run", GROUP, "--at", REMOTE, "--json")
            assert found.code == 1, found
            report = found.doc.doc("result").doc("report")
            assert (report.text("verdict"), report.text("content")) == ("failed", "different")
            assert f"The content of {DISK} differs" in found.err, found.err
            shown = (await place.cli("status")).well().out
            assert "last drill failed" in shown, shown
            await until_written(writer, before + SOME)
        await place.require_equal_content(SAME_CITY)


@pytest.mark.parametrize("segment", ["newest", "full"])
async def test_in_a_replicas_journal_the_next_drill_there_finds_it_and_it_is_mended(
    home: Path, segment: str
) -> None:
    """The newest segment is read when it is opened. A full one has an index, and is read when asked for."""
    async with site(home, seconds=STORY_S) as place:
        await place.protect(DISK_BYTES)
        await write_blocks(place)
        if segment == "full":
            await fill_segments(place)
        await place.until("level", lambda s: is_level(s, PRODUCTION))
        await place.require_equal_content(REMOTE)
        flip(journal(place, REMOTE))
        found = await place.cli("drill", "run", GROUP, "--at", REMOTE)
        assert found.code == 1, found
        assert "4096 bytes of payload" in found.err, found.err
        await until("it is mended", lambda: "journal mended" in place.log(REMOTE))
        assert "journal damaged" in place.log(REMOTE)
        (await place.cli("journal", "check", str(place.layout.state(REMOTE)))).well()
        (await place.cli("drill", "run", GROUP, "--at", REMOTE)).well()
        await place.require_equal_content(SAME_CITY, REMOTE)


async def test_in_the_owners_journal_it_is_sent_to_nobody_and_mended_from_another_center(home: Path) -> None:
    """The remote center was away, so that the record is read from the disk when it comes back."""
    async with site(home, wired=True, seconds=STORY_S) as place:
        await place.protect()
        place.switch(Wire.DROP, REMOTE, [PRODUCTION, SAME_CITY])
        await write_blocks(place)
        async with place.writing() as writer:
            await until_written(writer, SOME)
            flip(journal(place, PRODUCTION))
            place.switch(Wire.PASS, REMOTE, [PRODUCTION, SAME_CITY])
            await until("it is mended", lambda: "journal mended" in place.log(PRODUCTION))
            assert "payload_hash does not match" in place.log(PRODUCTION)
            assert "payload_hash does not match" not in place.log(REMOTE), "it was sent to nobody"
            before = writer.acknowledged
            await until_written(writer, before + SOME)
            await place.until("level", lambda s: is_level(s, PRODUCTION))
            await place.require_ledger(writer)
        (await place.cli("journal", "check", str(place.layout.state(PRODUCTION)))).well()
        await place.require_equal_content(SAME_CITY, REMOTE)
        async with connected(await place.uri(DISK)) as client:
            for number in range(1, BLOCKS):
                assert await client.read(number * BLOCK, BLOCK) == block(number)


async def test_in_the_owners_journal_where_nobody_else_has_it_the_owner_says_so(home: Path) -> None:
    """Only the remote center is behind, and the mate is away: nobody can give the record."""
    async with site(home, wired=True, seconds=STORY_S) as place:
        await place.protect()
        place.switch(Wire.DROP, REMOTE, [PRODUCTION, SAME_CITY])
        place.switch(Wire.DROP, SAME_CITY, [PRODUCTION, REMOTE])
        await write_blocks(place)
        flip(journal(place, PRODUCTION))
        place.switch(Wire.PASS, REMOTE, [PRODUCTION, SAME_CITY])
        await until("it is noticed", lambda: "journal damaged" in place.log(PRODUCTION))
        await place.until(
            "the owner's copy has failed, visibly",
            lambda s: group_of(s).doc("centers").doc(PRODUCTION).text("state") == "failed",
        )
        assert "copy failed" in place.log(PRODUCTION)
        assert "payload_hash does not match" not in place.log(REMOTE), "it was sent to nobody"
