"""What a replica says after records that are to be durable: one word where its disk is brief, else two."""

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from typing_extensions import override

from drsync.core.flush_habit import FORGOTTEN
from drsync.delta.batch import BatchBuilder
from drsync.engine.bulk import BulkChannel
from drsync.engine.copy import GroupCopy
from drsync.engine.receiver import Receiver
from drsync.model.copy import CopyState
from drsync.model.errors import FailedCopyError
from drsync.ports.journal import Buffer
from drsync.wire import data
from drsync.wire.frames import Frame, FrameType
from tests.engine.town import Town, town


class Line(BulkChannel):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.acks: list[data.Ack] = []

    @override
    def send(self, kind: FrameType, stream: int, parts: Sequence[Buffer], flags: int = 0) -> None:
        if kind is FrameType.ACK:
            self.acks.append(data.read_ack(b"".join(parts)))

    @override
    def close_stream(self, number: int) -> None:
        """Nothing else is on this line."""


def batches(copy: GroupCopy, *, is_flushed: bool) -> Frame:
    """The next record as its owner would send it."""
    epoch, tip = copy.durable.follow, copy.journal.tip
    builder = BatchBuilder()
    builder.reset(epoch, tip.seq + 1, tip.chain)
    builder.add_write(0, 0, memoryview(b"x" * 4096), 0)
    batch = builder.finish(1)
    head = data.BatchesHeader(epoch, 0, batch.last_seq if is_flushed else 0, batch.first_seq)
    return Frame(FrameType.BATCHES, 0, 1, 0, data.batches_header(head) + b"".join(batch.parts))


async def settle(place: Town, copy: GroupCopy) -> None:
    """Until it follows, and nobody syncs what is there."""
    await place.until(lambda: copy.durable.follow == copy.durable.promised > 0 and not copy._syncing.locked())


@pytest.mark.parametrize("is_brief", [True, False])
async def test_records_that_are_to_be_durable_are_synced_before_they_are_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_brief: bool
) -> None:
    async with town(tmp_path) as place:
        member = place.member("remote")
        copy, line = member.copy, Line()
        await settle(place, copy)
        receiver = Receiver(copy, copy.durable.follow, line, 1, member)
        journal = copy.journal
        if is_brief:
            monkeypatch.setattr(journal, "sync_at_once", journal.sync)
        receiver.frame_received(batches(copy, is_flushed=False))
        receiver.frames_ended()
        receiver.frame_received(batches(copy, is_flushed=True))
        receiver.frames_ended()
        tip = journal.tip.seq
        assert [ack.appended for ack in line.acks] == [tip - 1, tip]
        assert (line.acks[-1].durable == tip) is is_brief
        sync = Frame(FrameType.SYNC, 0, 1, 0, data.encode_sync(data.Sync(copy.durable.follow, tip)))
        if is_brief:
            receiver.frame_received(sync)
            receiver.frames_ended()
            assert line.acks[-1].durable == tip


async def test_a_replica_whose_sync_fails_at_once_has_failed_and_acknowledges_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> int:
        raise FailedCopyError("told to fail")

    async with town(tmp_path) as place:
        member = place.member("remote")
        copy, line = member.copy, Line()
        await settle(place, copy)
        receiver = Receiver(copy, copy.durable.follow, line, 1, member)
        monkeypatch.setattr(copy.journal, "sync_at_once", fail)
        receiver.frame_received(batches(copy, is_flushed=True))
        receiver.frames_ended()
        assert copy.state is CopyState.FAILED
        assert copy.is_failure_lasting
        assert line.acks == []


class Client:
    """Remembers what was answered."""

    def __init__(self) -> None:
        self.answered: list[bytes] = []

    def complete(self, cookies: list[bytes], error: int) -> None:
        self.answered += cookies if not error else []

    def resume(self) -> None:
        """No read waits."""


async def test_an_owner_whose_sync_fails_at_once_answers_no_flush_and_its_copy_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> int:
        raise FailedCopyError("told to fail")

    async with town(tmp_path) as place:
        member, client = place.member("production"), Client()
        await place.until(lambda: member.term is not None and member.term.engine.is_leased)
        await place.until(lambda: not member.copy._syncing.locked())
        device = member.device(member.copy.spec.volumes[0].name)
        assert device is not None
        monkeypatch.setattr(member.copy.journal, "sync_at_once", fail)
        device.write(0, memoryview(b"x" * 4096), b"write", fua=False)
        device.submit(client)
        device.flush(b"flush")
        device.submit(client)
        assert device.engine.is_closed
        assert member.copy.state is CopyState.FAILED
        assert member.copy.is_failure_lasting
        assert b"flush" not in client.answered


async def test_a_flush_that_comes_while_a_sync_is_under_way_asks_for_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with town(tmp_path) as place:
        member, client = place.member("production"), Client()
        await place.until(lambda: member.term is not None and member.term.engine.is_leased)
        device, journal = member.device(member.copy.spec.volumes[0].name), member.copy.journal
        assert device is not None
        began, may_end, in_vain, sync = threading.Event(), threading.Event(), list[bool](), journal.sync

        def slowly() -> int:
            in_vain.append(journal.tip.seq == journal.durable_seq)
            began.set()
            assert may_end.wait(10)
            return sync()

        monkeypatch.setattr(journal, "sync_at_once", lambda: None)
        monkeypatch.setattr(journal, "begin_sync", lambda _told: False)
        monkeypatch.setattr(journal, "sync", slowly)
        device.write(0, memoryview(b"x" * 4096), b"write", fua=False)
        device.flush(b"flush")
        device.submit(client)
        await place.until(began.is_set)
        device.flush(b"another")
        device.submit(client)
        may_end.set()
        await place.until(lambda: {b"flush", b"another"} <= set(client.answered))
        later = journal.tip.seq + 1
        await place.until(lambda: journal.tip.seq > later)  # marks of the group itself
        assert not any(in_vain)


async def test_while_others_append_what_will_be_flushed_a_brief_disk_syncs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with town(tmp_path) as place:
        member, client = place.member("production"), Client()
        await place.until(lambda: member.term is not None and len(member.term.engine.log.ack_set) > 1)
        device, journal = member.device(member.copy.spec.volumes[0].name), member.copy.journal
        assert device is not None
        monkeypatch.setattr(type(journal), "is_sync_brief", property(lambda _: True))
        monkeypatch.setattr(journal, "sync_at_once", journal.sync)
        log = device.engine.log
        for number in range(FORGOTTEN + 1):
            device.write(0, memoryview(b"x" * 4096), b"write", fua=False)
            device.submit(client)
            assert log.commit < log.appended, "nobody else has it yet"
            assert (log.durable == log.appended) is (number == FORGOTTEN)
            device.flush(b"flush")
            device.submit(client)
            await place.until(lambda: b"flush" in client.answered)
            client.answered.clear()
