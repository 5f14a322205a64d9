"""A full disk loses nothing and needs nobody but who frees it: real journals on files that find no space."""

import errno
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from typing_extensions import override

from drsync.adapters.images.file_image import FileImage
from drsync.adapters.images.files import OsFiles as ImageFiles
from drsync.adapters.segments.files import OsFiles
from drsync.adapters.segments.journal import SegmentJournal
from drsync.adapters.segments.superblock import SuperblockFiles
from drsync.engine import fold
from drsync.engine.copy import GroupCopy
from drsync.model.charter import IntentKind
from drsync.model.copy import CopyState
from drsync.model.epoch import Epoch
from drsync.model.errors import NoSpaceError
from drsync.model.operation import OperationState
from drsync.ports.journal import Buffer
from tests.engine.test_town import Writer, content, is_serving
from tests.engine.town import VOLUME_BYTES, Town, town


class Disk:
    """What is full while told so."""

    def __init__(self) -> None:
        self.is_full = False
        self.is_once = False
        self.refused = 0

    def need_space(self) -> None:
        if self.is_full:
            self.refused += 1
            self.is_full = not self.is_once
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class FullFiles(OsFiles):
    """Of a journal or a superblock."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk

    @override
    def pwritev(self, fd: int, parts: Sequence[Buffer], offset: int, /) -> int:
        self.disk.need_space()
        return super().pwritev(fd, parts, offset)

    @override
    def allocate(self, fd: int, offset: int, length: int, /) -> None:
        self.disk.need_space()
        super().allocate(fd, offset, length)


class FullImageFiles(ImageFiles):
    """Of an image."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk

    @override
    def pwritev(self, fd: int, parts: Sequence[Buffer], offset: int, /) -> int:
        self.disk.need_space()
        return super().pwritev(fd, parts, offset)


def journal_on(disk: Disk, copy: GroupCopy) -> None:
    assert isinstance(copy.journal, SegmentJournal)
    copy.journal._files = FullFiles(disk)
    copy.journal._spares.close()  # so that there is no room beside
    copy.journal._spares._files = copy.journal._files


def images_on(disk: Disk, copy: GroupCopy) -> None:
    for view in copy.volumes.views.values():
        assert isinstance(view.image, FileImage)
        view.image._files = FullImageFiles(disk)


def superblock_on(disk: Disk, copy: GroupCopy) -> None:
    assert isinstance(copy._superblock, SuperblockFiles)
    copy._superblock._files = FullFiles(disk)


def logged(place: Town, center: str, event: str) -> int:
    return sum(line.startswith(f"{event}:") for line in place.nodes[center].lines)


@pytest.mark.parametrize("center", ["same_city", "remote"])
async def test_a_full_replica_says_so_and_follows_again_by_itself(tmp_path: Path, center: str) -> None:
    async with town(tmp_path) as place:
        writer, disk = Writer(place, "production"), Disk()
        copy = place.member(center).copy
        writer.write_many(1, 10)
        await place.until(lambda: copy.journal.durable_seq >= 10 and len(writer.acknowledged) == 10)
        journal_on(disk, copy)
        disk.is_full = True
        writer.write_many(11, 30)
        await place.until(lambda: len(writer.acknowledged) == 40)
        await place.until(lambda: "No space left" in copy.statement().no_space)
        assert copy.statement().state is CopyState.REPLICA
        if center == "same_city":
            assert place.is_in_sync("production"), (
                "it left the set before a write was acknowledged without it"
            )
        term = place.member("production").term
        assert term is not None
        await place.until(lambda: "no space" in term.plans[center])
        before = disk.refused
        await place.until(lambda: disk.refused > before)  # it looks for space by itself
        disk.is_full = False
        await place.until(lambda: copy.journal.tip.seq >= term.engine.log.appended)
        await place.until(lambda: not copy.statement().no_space)
        await place.until(lambda: place.is_in_sync("production", "same_city"))
        assert logged(place, center, "space_back") == 1
        writer.write(41)
        await place.until(lambda: len(writer.acknowledged) == 41)
        if center == "same_city":
            await place.nodes["production"].die()
            outcome = await place.run(IntentKind.FAILOVER, "same_city")
            assert outcome.state is OperationState.DONE, outcome.text
            await place.until(lambda: is_serving(place, "same_city"))
            assert [content(place, "same_city", n) for n in range(1, 42)] == list(range(1, 42))


async def test_images_without_space_wait_and_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fold, "IMAGES_RETRY_S", 0.2)
    async with town(tmp_path) as place:
        writer, disk = Writer(place, "production"), Disk()
        owner = place.member("production")
        images_on(disk, owner.copy)
        disk.is_full = True
        writer.write_many(1, 100)
        await place.until(lambda: "no space for image" in owner.statement().no_space)
        assert is_serving(place, "production"), "reads find what is newer in the journal"
        writer.write_many(101, 100)
        await place.until(lambda: len(writer.acknowledged) == 200)
        assert content(place, "production", 150) == 150
        disk.is_full = False
        await place.until(lambda: owner.copy.volumes.applied >= 200)
        await place.until(lambda: not owner.statement().no_space)
        assert content(place, "production", 150) == 150
        await place.until(lambda: logged(place, "production", "space_back") == 1)


async def test_a_promise_that_finds_no_space_is_not_made(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        disk, remote = Disk(), place.member("remote")
        promised = remote.copy.durable.promised
        superblock_on(disk, remote.copy)
        disk.is_full = True
        with pytest.raises(NoSpaceError):
            await remote.seal(Epoch(promised + 1))
        assert remote.statement().promised == promised
        disk.is_full = False
        assert (await remote.seal(Epoch(promised + 1))).promised == promised + 1
        assert remote.copy.state is not CopyState.FAILED


async def test_a_full_owner_stops_and_opens_again_when_there_is_space(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        writer, disk = Writer(place, "production"), Disk()
        owner = place.member("production")
        writer.write_many(1, 20)
        await place.until(lambda: len(writer.acknowledged) == 20)
        journal_on(disk, owner.copy)
        disk.is_full = True
        writer.write(21)
        await place.until(lambda: owner.term is None)
        assert owner.copy.state is CopyState.REPLICA
        assert "No space left" in owner.statement().no_space
        assert len(writer.acknowledged) == 20, "what was not written is not acknowledged"

        epoch = (await place.charter()).epoch
        outcome = await place.run(IntentKind.OPEN, "production")
        assert [reason.code for reason in outcome.reasons] == ["no_space"]
        disk.is_full = False
        await place.until(lambda: not owner.statement().no_space)
        outcome = await place.run(IntentKind.OPEN, "production")
        assert outcome.state is OperationState.DONE, outcome.text
        assert (await place.charter()).epoch > epoch
        await place.until(lambda: is_serving(place, "production"))
        assert [content(place, "production", n) for n in range(1, 21)] == list(range(1, 21))
        again = Writer(place, "production")
        again.write(22)
        await place.until(lambda: len(again.acknowledged) == 1)


async def test_nothing_is_appended_after_a_batch_that_found_no_space(tmp_path: Path) -> None:
    """Space may come back in the middle of a large write: the rest must not stand without its beginning."""
    async with town(tmp_path) as place:
        writer, disk = Writer(place, "production"), Disk()
        owner = place.member("production")
        writer.write_many(1, 5)
        await place.until(lambda: len(writer.acknowledged) == 5)
        journal_on(disk, owner.copy)
        before = owner.copy.journal.tip
        disk.is_full = disk.is_once = True
        writer.device.write(0, memoryview(os.urandom(VOLUME_BYTES)), b"large", fua=False)
        writer.device.submit(writer)
        assert (disk.refused, disk.is_full) == (1, False)
        assert owner.copy.journal.tip == before
        writer.write(6)
        assert owner.copy.journal.tip == before
        await place.until(lambda: owner.term is None and not owner.statement().no_space)
        assert (await place.run(IntentKind.OPEN, "production")).state is OperationState.DONE
        await place.until(lambda: is_serving(place, "production"))
        assert b"large" not in writer.acknowledged
        assert [content(place, "production", n) for n in range(1, 6)] == list(range(1, 6))


async def test_a_full_candidate_is_not_opened(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        writer, disk = Writer(place, "production"), Disk()
        mate = place.member("same_city").copy
        writer.write_many(1, 10)
        await place.until(lambda: len(writer.acknowledged) == 10)
        journal_on(disk, mate)
        disk.is_full = True
        writer.write(11)
        await place.until(lambda: len(writer.acknowledged) == 11 and bool(mate.space.journal))
        outcome = await place.run(IntentKind.FAILOVER, "same_city")
        assert outcome.state is OperationState.REFUSED
        assert [reason.code for reason in outcome.reasons] == ["no_space"]
        assert is_serving(place, "production"), "who cannot open must not stop who serves"
        disk.is_full = False
        await place.until(lambda: place.is_in_sync("production", "same_city"))


async def test_a_candidate_that_has_no_space_for_the_missing_tail_is_not_opened(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        writer, disk = Writer(place, "production"), Disk()
        remote = place.member("remote")
        place.cuts |= {frozenset(("production", "remote"))}
        writer.write_many(1, 40)
        await place.until(lambda: len(writer.acknowledged) == 40)
        await place.nodes["production"].die()
        place.cuts.clear()
        journal_on(disk, remote.copy)
        disk.is_full = True
        outcome = await place.run(IntentKind.FAILOVER, "remote")
        assert outcome.state is not OperationState.DONE
        assert (await place.charter()).owner == "production"
        assert remote.copy.state is not CopyState.FAILED
        disk.is_full = False
        await place.until(lambda: not remote.statement().no_space)
        outcome = await place.run(IntentKind.FAILOVER, "remote")
        assert outcome.state is OperationState.DONE, outcome.text
        await place.until(lambda: is_serving(place, "remote"))
        assert all(content(place, "remote", number) == number for number in range(1, 41))
