"""A journal that its disk has changed is mended from another center; where none has it, the copy says so."""

import errno
from pathlib import Path

import pytest

from drsync.adapters.memory.journal import MemoryJournal
from drsync.adapters.segments.journal import SegmentJournal
from drsync.delta.batch import BatchBuilder, split
from drsync.engine import mending
from drsync.engine.sound import sound_batches
from drsync.model.copy import CopyState
from drsync.model.errors import DamagedError, FailedCopyError, MalformedError
from drsync.model.position import Position
from drsync.ports.journal import Journal
from tests.engine.test_damaged_journal import damage
from tests.engine.test_owner import IDENTITY, SEGMENT_BYTES
from tests.engine.test_town import BLOCK, Writer
from tests.engine.town import Town, town

NUMBER = 7


def block(number: int) -> bytes:
    return number.to_bytes(8, "big") * (BLOCK // 8)


async def written(place: Town, *others: str) -> Writer:
    """Some blocks, which all of these have."""
    writer = Writer(place, "production")
    writer.write_many(1, 20)
    await place.until(lambda: len(writer.acknowledged) == 20)
    tip = place.member("production").copy.journal.tip.seq
    await place.until(lambda: all(place.member(name).copy.journal.tip.seq >= tip for name in others))
    return writer


def said(place: Town, center: str, event: str) -> bool:
    return any(line.startswith(f"{event}:") for line in place.nodes[center].lines)


def is_folded(place: Town, center: str, seq: int) -> bool:
    return place.member(center).copy.volumes.applied >= seq


async def read(place: Town, center: str, number: int) -> tuple[int, bytes]:
    """What is answered in the end to a client that waits as long as it is told to."""
    device = place.member(center).device("disk")
    assert device is not None
    target, answers = bytearray(BLOCK), [errno.EAGAIN]

    def is_answered() -> bool:
        answers.append(device.read_into(number * BLOCK, memoryview(target)))
        return answers[-1] != errno.EAGAIN

    await place.until(is_answered)
    return answers[-1], bytes(target)


async def test_an_owner_that_reads_a_damaged_place_answers_when_it_is_mended(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        async with place.member(
            "production"
        ).folder.lock:  # nothing is folded, so that it is read from the journal
            await written(place, "same_city")
            damage(tmp_path / "production", block(NUMBER))
            device = place.member("production").device("disk")
            assert device is not None
            assert device.read_into(NUMBER * BLOCK, memoryview(bytearray(BLOCK))) == errno.EAGAIN
        assert await read(place, "production", NUMBER) == (0, block(NUMBER))
        await place.until(lambda: said(place, "production", "journal_mended"))
        assert place.member("production").copy.state is CopyState.OWNER
        assert await read(place, "production", 1) == (0, block(1))


async def test_an_owner_folds_only_what_is_mended(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        member = place.member("production")
        async with member.folder.lock:
            await written(place, "same_city")
            seq = member.copy.journal.tip.seq
            damage(tmp_path / "production", block(NUMBER))
        await place.until(lambda: is_folded(place, "production", seq))
        await place.until(lambda: said(place, "production", "journal_mended"))
        content = bytearray(BLOCK)
        member.copy.volumes.views[0].image.read_into(NUMBER * BLOCK, memoryview(content))
        assert content == block(NUMBER)


@pytest.mark.parametrize("what", [block(NUMBER), b"DRJ1"])
async def test_a_replica_mends_its_journal_before_it_folds_or_opens(tmp_path: Path, what: bytes) -> None:
    async with town(tmp_path) as place:
        remote = place.member("remote")
        async with remote.folder.lock:
            await written(place, "remote")
            damage(tmp_path / "remote", what)
        await remote.folder.index_through(remote.copy.journal.tip.seq, remote.copy.commit)
        await place.until(lambda: said(place, "remote", "journal_mended"))
        assert remote.copy.state is CopyState.REPLICA


async def test_what_nobody_else_has_ends_the_copy_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mending, "PATIENCE_S", 0.0)
    async with town(tmp_path) as place:
        remote = place.member("remote")
        async with remote.folder.lock:
            await written(place, "remote")
            place.cut_off("remote")
            damage(tmp_path / "remote", b"DRJ1")
        monkeypatch.setattr(mending, "FETCH_TIMEOUT_S", 0.05)
        monkeypatch.setattr("drsync.engine.peers.BULK_WAIT_S", 0.05)
        with pytest.raises(FailedCopyError):
            await remote.folder.index_through(remote.copy.journal.tip.seq, remote.copy.commit)
        assert remote.copy.state is CopyState.FAILED
        assert "damaged" in remote.copy.failure or "magic" in remote.copy.failure


# --- a journal


def filled(journal: Journal) -> list[bytes]:
    """Three batches; what they are."""
    builder, batches = BatchBuilder(), list[bytes]()
    for number in range(1, 4):
        builder.reset(1, journal.tip.seq + 1, journal.tip.chain)  # type: ignore[arg-type] # an epoch
        builder.add_write(0, 0, memoryview(block(number)), 0)
        batch = builder.finish(number)
        journal.append(batch.parts, batch.first_seq, batch.end)
        batches.append(b"".join(batch.parts))
    journal.sync()
    return batches


def test_a_segment_takes_a_damaged_batch_again_and_no_other(tmp_path: Path) -> None:
    journal = SegmentJournal(tmp_path, IDENTITY, 0, segment_bytes=SEGMENT_BYTES)
    first, second, third = filled(journal)
    damage(tmp_path, block(2))
    assert sound_batches(journal, 0, 1 << 20) == (first, 1), "what is before it is well"
    with pytest.raises(DamagedError, match="record 2") as raised:
        sound_batches(journal, 1, 1 << 20)
    place = journal.place_of(raised.value.locator + 300)
    assert (place.first_seq, place.last_seq) == (2, 2)
    other = BatchBuilder()
    other.reset(1, 2, journal.position_at(1).chain)  # type: ignore[arg-type, union-attr] # an epoch, which is held
    other.add_write(0, 0, memoryview(block(9)), 0)
    for wrong in (b"".join(other.finish(2).parts), second[:-8], second + bytes(8), b"", bytes(200)):
        with pytest.raises(MalformedError):
            journal.mend(wrong)
    with pytest.raises(DamagedError):
        sound_batches(journal, 1, 1 << 20)
    assert journal.mend(second) == place
    assert sound_batches(journal, 0, 1 << 20) == (first + second + third, 3)
    journal.close()
    again = SegmentJournal(tmp_path, IDENTITY, 3, segment_bytes=SEGMENT_BYTES)
    assert again.tip.seq == 3, "it opens below the durable position"
    again.close()


def test_a_journal_in_memory_does_the_same() -> None:
    journal = MemoryJournal()
    _, second, third = filled(journal)
    assert journal.mend(second) == journal.place_of(next(journal.places(1)).locator + 10)
    with pytest.raises(MalformedError):
        journal.mend(second.replace(block(2), block(3)))
    ((_, header),) = split(third)
    assert Position(header.epoch, header.last_seq, header.chain) == journal.tip
