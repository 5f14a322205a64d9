"""Small promises: a donor does not flood its link, clients that left are forgotten, and the like."""

import gc
from pathlib import Path

import pytest
from typing_extensions import override

from drsync.delta.batch import BatchBuilder
from drsync.engine.bulk import BulkChannel
from drsync.engine.receiver import Donor
from drsync.model.copy import CopyState
from drsync.model.epoch import Epoch
from drsync.model.errors import FailedCopyError, RefusedError
from drsync.wire.frames import Frame, FrameType
from drsync.wire.stream import Attach, Fetch, encode_attach, encode_fetch, read_attach, session_bytes
from tests.engine.test_owner import Bench, Client
from tests.engine.town import GROUP, town

MIB = 1 << 20


class Line(BulkChannel):
    """A channel that asks for a pause after each `patience` frames."""

    def __init__(self, patience: int) -> None:
        self.frames: list[FrameType] = []
        self.patience = patience
        self.donor: Donor | None = None

    @override
    def send(self, kind: FrameType, stream: int, parts: object, flags: int = 0) -> None:
        self.frames.append(kind)
        if len(self.frames) % self.patience == 0 and self.donor is not None:
            self.donor.pause()

    @override
    def close_stream(self, number: int) -> None:
        """Nothing else is on this line."""


async def test_a_donor_sends_what_the_link_takes_and_goes_on_when_it_may(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        copy = place.member("production").copy
        builder = BatchBuilder()
        for _ in range(5):
            builder.reset(Epoch(1), copy.journal.tip.seq + 1, copy.journal.tip.chain)
            builder.add_write(0, 0, memoryview(bytes(MIB - 4096)), 0)
            batch = builder.finish(1)
            copy.journal.append(batch.parts, batch.first_seq, batch.end)
        last = copy.journal.tip.seq
        line = Line(patience=2)
        line.donor = Donor(copy, line, 1)
        wanted = Fetch(bytes.fromhex(GROUP.id), last - 5, last)
        line.donor.frame_received(Frame(FrameType.FETCH, 0, 1, 0, encode_fetch(wanted)))
        assert line.frames == [FrameType.BATCHES] * 2
        line.donor.resume()
        assert len(line.frames) == 4
        line.donor.resume()
        assert line.frames == [*[FrameType.BATCHES] * 5, FrameType.FETCHED]
        line.donor.resume()
        assert len(line.frames) == 6


def test_clients_that_left_while_their_reads_waited_are_forgotten(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "j")
    bench.engine.lease_until = 0.0
    for _ in range(100):
        bench.device.park(Client())
    stays = Client()
    bench.device.park(stays)
    bench.device.park(stays)
    gc.collect()
    assert len(bench.engine._parked) == 1
    bench.engine.lease_until = 200.0
    bench.engine.settle()
    assert stays.resumed == 1


def test_attach_names_the_process_it_is_meant_for() -> None:
    attach = Attach(Epoch(7), b"g" * 16, bytes(range(16)))
    assert read_attach(encode_attach(attach)) == attach
    assert read_attach(encode_attach(attach)[:24]) == attach._replace(session=b"")
    assert session_bytes("ab" * 16) == b"\xab" * 16
    assert session_bytes("no session") == b""


async def test_a_new_process_takes_no_stream_that_was_meant_for_the_one_before(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        member = place.member("remote")
        charter = await place.charter()
        attach = Attach(charter.epoch, bytes.fromhex(GROUP.id), b"x" * 16)
        line = Line(patience=99)
        assert member.accept_stream("production", attach, line, 9) is None
        ours = attach._replace(session=session_bytes(member.copy.me.session))
        assert member.accept_stream("production", ours, line, 9) is not None


async def test_a_log_that_cannot_be_cut_is_a_failed_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with town(tmp_path) as place:
        copy = place.member("remote").copy

        def broken(after_seq: int) -> None:
            raise FailedCopyError(f"cut after {after_seq}: I/O error")

        builder = BatchBuilder()
        builder.reset(Epoch(1), copy.journal.tip.seq + 1, copy.journal.tip.chain)
        builder.add_write(0, 0, memoryview(bytes(4096)), 0)
        end = copy.journal.tip.seq
        batch = builder.finish(1)
        copy.journal.append(batch.parts, batch.first_seq, batch.end)
        monkeypatch.setattr(copy.journal, "cut", broken)
        with pytest.raises(FailedCopyError):
            await copy.cut(end, "")
        assert copy.state is CopyState.FAILED


async def test_a_late_word_to_freeze_does_not_hold_an_owner_of_a_later_epoch(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        member = place.member("production")
        assert member.term is not None
        epoch = member.term.charter.epoch
        for late in (Epoch(epoch - 1), Epoch(epoch + 1)):
            with pytest.raises(RefusedError, match="in epoch"):
                member.freeze(late)
        assert member.copy.state is CopyState.OWNER
        assert member.freeze(epoch).state is CopyState.FROZEN
