import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.model.epoch import Epoch
from drsync.model.errors import MalformedError
from drsync.wire import data, stream

U64 = st.integers(0, 2**64 - 1)
EPOCHS = U64.map(Epoch)


@given(EPOCHS, st.lists(U64, min_size=3, max_size=3).map(sorted), st.binary(min_size=16, max_size=16))
def test_acknowledgments_come_back(epoch: Epoch, marks: list[int], chain: bytes) -> None:
    applied, durable, appended = marks
    ack = data.Ack(epoch, appended, durable, applied, chain)
    assert data.read_ack(data.encode_ack(ack)) == ack
    assert data.read_ack(data.encode_ack(ack) + b"later versions say more") == ack


@given(EPOCHS, U64, U64, U64, st.binary(max_size=64))
def test_batches_stay_opaque_behind_their_header(
    epoch: Epoch, commit: int, sync_seq: int, first_seq: int, batches: bytes
) -> None:
    header = data.BatchesHeader(epoch, commit, sync_seq, first_seq)
    read, rest = data.read_batches(data.batches_header(header) + batches)
    assert (read, bytes(rest)) == (header, batches)


@given(EPOCHS, U64, st.binary(min_size=16, max_size=16))
def test_steering_bodies_come_back(epoch: Epoch, seq: int, group: bytes) -> None:
    assert data.read_commit(data.encode_commit(data.Commit(epoch, seq))) == (epoch, seq)
    assert data.read_sync(data.encode_sync(data.Sync(epoch, seq))) == (epoch, seq)
    assert stream.read_attach(stream.encode_attach(stream.Attach(epoch, group))) == (epoch, group, b"")
    assert stream.read_reject(stream.encode_reject(stream.Reject(epoch, epoch))) == (epoch, epoch)
    assert stream.read_retain(stream.encode_retain(stream.Retain(epoch, seq))) == (epoch, seq)
    told = {"remote": stream.ToldCursor("5e55", seq, is_fresh=True)}
    assert stream.read_cursors(stream.encode_cursors(stream.Cursors(epoch, told))) == (epoch, told)
    assert stream.read_fetch(stream.encode_fetch(stream.Fetch(group, seq, seq))) == (group, seq, seq)
    assert stream.read_fetched(stream.encode_fetched(stream.Fetched(seq))) == (seq,)


def test_an_acknowledgment_that_contradicts_itself_is_malformed() -> None:
    lie = data.encode_ack(data.Ack(Epoch(1), 5, 6, 4, bytes(16)))
    with pytest.raises(MalformedError, match="durable 6 <= appended 5"):
        data.read_ack(lie)


@pytest.mark.parametrize(
    "told",
    [
        b"",
        b"[]",
        b'{"c":5}',
        b'{"c":["i"]}',
        b'{"c":["i",-1,true]}',
        b'{"c":["i",1.0,true]}',
        b'{"c":[1,1,true]}',
    ],
)
def test_cursors_that_make_no_sense_are_malformed(told: bytes) -> None:
    with pytest.raises(MalformedError, match="CURSORS"):
        stream.read_cursors(bytes(8) + told)


READERS = [
    data.read_ack,
    data.read_batches,
    data.read_commit,
    data.read_sync,
    stream.read_attach,
    stream.read_reject,
    stream.read_retain,
    stream.read_cursors,
    stream.read_fetch,
    stream.read_fetched,
]


@pytest.mark.parametrize("read", READERS)
@given(body=st.binary(max_size=80))
def test_random_bodies_are_read_or_malformed(read: "object", body: bytes) -> None:
    assert callable(read)
    try:
        read(body)
    except MalformedError as error:
        assert str(error)  # noqa: PT017  # random bytes may be right
