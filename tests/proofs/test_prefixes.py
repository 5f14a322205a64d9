"""Every prefix of the log is a disk whose power was cut: ext4 recovers by its own journal, all is well."""

import asyncio
import random
import shutil
from collections.abc import Iterable
from pathlib import Path

import blake3
import pytest

from drsync.lab.importing import export_volume
from drsync.lab.layout import DISK, GROUP, REMOTE
from tests.integration import disks
from tests.integration.site import MIB, POLL_S, SETTLE_S, Site, site
from tests.proofs import repository, twin
from tests.proofs.repository import Repository
from tests.proofs.twin import Batch, Twin

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(disks.why_not() != "", reason=f"no block device here: {disks.why_not()}"),
]

DISK_BYTES = 64 * MIB
SAMPLES = 12
OPENED_EVERY = 6  # of them, because each takes two commands
MADE, LAST = "made", "last"


@pytest.mark.parametrize(
    "seconds",
    [
        pytest.param(7.0, marks=pytest.mark.timeout(120)),
        pytest.param(60.0, marks=[pytest.mark.proofs, pytest.mark.timeout(600)]),
    ],
)
async def test_every_prefix_is_a_file_system_that_recovers_by_itself(home: Path, seconds: float) -> None:
    async with site(home, seconds=100 + 5 * seconds) as place:
        await place.protect(DISK_BYTES)
        with disks.block_device(home / "disk", await place.uri(DISK)) as device:
            await asyncio.to_thread(device.make_file_system)
            (await place.cli("checkpoint", GROUP, "--name", MADE)).well()
            application = Repository(device.tree)
            await asyncio.to_thread(application.run, seconds)
            await asyncio.to_thread(device.detach)
        points, made = await checkpoints(place)
        (index,) = [
            volume.whole("index")
            for volume in (await place.charter()).doc("group").docs("volumes")
            if volume.text("name") == DISK
        ]
        chosen = sample(points, made)
        shown = {
            seq: await shown_at(place, seq, home / "shown.img") for seq in sorted(chosen)[::OPENED_EVERY]
        }
        await place.stop(REMOTE)
        (journal,) = place.layout.state(REMOTE).glob("groups/*/journal")
        logged = await asyncio.to_thread(lambda: list(twin.batches(journal)))

        chosen |= sample([batch.last_seq for batch in logged], made)
        numbers = await asyncio.to_thread(
            judge_all, Twin(home / "twin.img", index, DISK_BYTES), logged, chosen, shown
        )
        assert numbers == sorted(numbers), "later prefixes hold more"
        assert len(set(numbers)) > SAMPLES, f"prefixes that hardly differ prove little: {numbers}"
        assert numbers[-1] == application.done, "the last one holds everything"


def sample(records: list[int], above: int) -> set[int]:
    """Some of them, and the last one. Those before there was a file system are left out."""
    eligible = [seq for seq in records if seq > above]
    assert len(eligible) >= SAMPLES // 2, f"only {len(eligible)} prefixes"
    return {*random.Random(len(eligible)).sample(eligible, min(SAMPLES, len(eligible))), eligible[-1]}


async def checkpoints(place: Site) -> tuple[list[int], int]:
    """Records at which the remote center can open, and that from which on there is a file system."""
    (await place.cli("checkpoint", GROUP, "--name", LAST)).well()
    known: dict[str, list[int]] = {}
    async with asyncio.timeout(SETTLE_S):
        while LAST not in known:
            held = (await place.get(f"/v1/groups/{GROUP}/points")).doc("centers").doc(REMOTE)
            known.clear()
            for point in held.docs("points"):
                known.setdefault(point.text("name"), []).append(point.whole("seq"))
            await asyncio.sleep(POLL_S)
    return [seq for named in known.values() for seq in named], known[MADE][0]


async def shown_at(place: Site, seq: int, image: Path) -> str:
    """What `drsync open` shows of the disk at a record: a content hash."""
    opened = (await place.cli("open", GROUP, "--at", REMOTE, "--point", str(seq), "--json")).well().doc
    content = await export_volume(opened.doc("volumes").text(DISK), image, lambda _bytes: None)
    (await place.cli("close", GROUP, opened.text("name"), "--at", REMOTE)).well()
    return content


def judge_all(disk: Twin, logged: Iterable[Batch], chosen: set[int], shown: dict[int, str]) -> list[int]:
    """How many steps of the application are durable in each of these prefixes; and what was shown is so."""
    numbers = []
    for batch in logged:
        disk.take(batch)
        if batch.last_seq in chosen:
            numbers.append(judge(disk.image.parent, disk))
        if batch.last_seq in shown:
            content = f"blake3:{blake3.blake3(disk.image.read_bytes()).hexdigest()}"
            assert content == shown[batch.last_seq], (
                f"record {batch.last_seq} was opened with another content"
            )
    assert len(numbers) == len(chosen), "a checkpoint lies inside of a batch"
    return numbers


def judge(home: Path, disk: Twin) -> int:
    """The kernel replays the journal of the file system on a copy, and nothing else has to be done to it."""
    copy = home / f"copy-{disk.seq}.img"  # its own: the last loop device may still be there
    shutil.copyfile(disk.image, copy)
    try:
        with disks.mounted(copy, home / "copy") as tree:
            assert tree.is_mount(), "nothing was mounted"
            number = repository.require_state(tree)
        disks.run("e2fsck", "-fn", copy)
    except AssertionError as error:
        error.add_note(f"in the prefix that ends with record {disk.seq}")
        raise
    copy.unlink()
    return number
