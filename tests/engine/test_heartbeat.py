"""What a copy can show is never newer than what it holds, and labels run with a clock nobody corrects."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.delta.batch import BatchBuilder, Kind, peek
from drsync.delta.marks import beat_payload, read_beat, read_checkpoint
from drsync.engine.heartbeat import BEATS_MAX, BeatBook, Pulse
from drsync.engine.lag import Lag, LagLedger
from drsync.model.epoch import Epoch
from drsync.model.errors import MalformedError
from drsync.model.objectives import NO_BEAT, Beat
from drsync.model.position import NO_CHAIN

E = Epoch(7)


def _batch(payload: bytes) -> bytes:
    builder = BatchBuilder()
    builder.reset(E, 41, NO_CHAIN)
    builder.add_control(Kind.HEARTBEAT, payload)
    return b"".join(bytes(part) for part in builder.finish(5).parts)


def test_a_heartbeat_is_read_back_from_its_batch() -> None:
    raw = _batch(beat_payload(1_700_000_000_000_000, 3))
    assert read_beat(raw, 0, peek(raw)) == Beat(41, 1_700_000_000_000_000, E)
    assert read_checkpoint(raw, 0, peek(raw)) is None


@pytest.mark.parametrize("payload", [b"", b"[]", b"{}", b'{"time_us": -1}', b'{"time_us": 1e999}'])
def test_a_damaged_heartbeat_is_named(payload: bytes) -> None:
    raw = _batch(payload)
    with pytest.raises(MalformedError, match="heartbeat at record 41"):
        read_beat(raw, 0, peek(raw))


def test_labels_follow_the_steady_clock_and_never_start_below_the_log() -> None:
    pulse = Pulse(100.0, 5_000_000, 9_000_000)
    assert pulse.label(100.0) == 9_000_000
    assert pulse.label(101.5) == 10_500_000


def test_one_heartbeat_a_second_and_no_volley_after_a_pause() -> None:
    pulse = Pulse(100.0, 0, 0)
    due = [t for t in range(100, 104) if pulse.next_number(float(t))]
    assert due == [100, 101, 102, 103]
    assert pulse.next_number(103.5) == 0
    assert pulse.next_number(160.0) == 5
    assert pulse.next_number(160.0) == 0, "one late heartbeat, not one for each second of the pause"
    assert pulse.next_number(160.9) == 0
    assert pulse.next_number(161.0) == 6


def test_serving_is_counted_from_its_last_break() -> None:
    pulse = Pulse(0.0, 0, 0)
    assert pulse.serving_s(1.0) is None
    pulse.watch(1.0, is_serving=True)
    pulse.watch(2.0, is_serving=True)
    assert pulse.serving_s(4.0) == 3.0
    pulse.watch(5.0, is_serving=False)
    assert pulse.serving_s(5.0) is None
    assert pulse.served(6.0) == [(5.0, 4.0)], "until it was last seen to serve"
    pulse.watch(6.0, is_serving=True)
    assert pulse.serving_s(6.5) == 0.5


def test_a_copy_shows_the_newest_heartbeat_it_holds() -> None:
    book = BeatBook(Beat(5, 50, E))
    for seq in (10, 20, 30):
        book.note(Beat(seq, seq * 10, E))
    assert book.found(4) == NO_BEAT
    assert book.found(9).seq == 5
    assert book.found(29).seq == 20
    book.cut(20)
    assert book.found(99).seq == book.newest.seq == 20


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(0, 2000))
def test_what_is_shown_is_never_above_the_position(steps: list[int], position: int) -> None:
    book, seq = BeatBook(NO_BEAT), 0
    seqs = []
    for step in steps:
        seq += step
        seqs.append(seq)
        book.note(Beat(seq, seq, E))
    assert book.found(position).seq == max((s for s in seqs if s <= position), default=0)


def test_a_long_silence_costs_resolution_and_never_freshness() -> None:
    book = BeatBook(NO_BEAT)
    for seq in range(1, 3 * BEATS_MAX):
        book.note(Beat(seq, seq, E))
    assert book.found(1).seq == 1
    assert 0 < book.found(100).seq <= 100
    assert book.newest.seq == 3 * BEATS_MAX - 1


def test_a_peer_that_lacks_only_marks_lacks_nothing() -> None:
    ledger = LagLedger(10, 1.0)
    ledger.note(12, 100, 1.0)
    ledger.mark(13)
    ledger.note(13, 100, 2.0)
    assert ledger.lag(12, 13, 100, 2.5) == Lag(0, 0, 0.0)
    ledger.note(14, 600, 3.0)
    ledger.mark(15)
    assert ledger.lag(12, 15, 600, 9.0).records == 1
    ledger.forget(13)
    assert ledger.lag(13, 15, 600, 9.0) == Lag(1, 500, 7.0)
