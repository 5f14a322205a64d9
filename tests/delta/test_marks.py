"""What checkpoints carry: everything comes back, and a peer's nonsense is refused, not followed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.delta.batch import BatchBuilder, EncodedBatch, Kind, peek
from drsync.delta.marks import Checkpoint, TreeMark, checkpoint_payload, read_checkpoint
from drsync.model.epoch import Epoch
from drsync.model.errors import MalformedError
from drsync.model.fileset import Generation
from drsync.model.position import NO_CHAIN

NUMBERS = st.integers(0, 2**63)
TREES = st.builds(
    TreeMark,
    NUMBERS,
    st.builds(lambda epoch, number: Generation(Epoch(epoch), number), NUMBERS, NUMBERS),
    st.text("0123456789abcdef", max_size=64),
)
RATIOS = st.none() | st.floats(0.001, 1e6)


def batch(payload: bytes, kind: Kind = Kind.CHECKPOINT) -> EncodedBatch:
    builder = BatchBuilder()
    builder.reset(Epoch(1), 7, NO_CHAIN)
    builder.add_control(kind, payload)
    return builder.finish(5)


def read(payload: bytes) -> Checkpoint | None:
    raw = b"".join(batch(payload).parts)
    return read_checkpoint(raw, 0, peek(raw))


@given(
    st.text(max_size=128), st.booleans(), st.lists(TREES, max_size=3).map(tuple), RATIOS, st.integers(0, 6)
)
def test_what_is_written_is_read(
    name: str, is_app: bool, trees: tuple[TreeMark, ...], ratio: float | None, confirms: int
) -> None:
    payload = checkpoint_payload(name, is_app_consistent=is_app, trees=trees, ratio=ratio, confirms=confirms)
    assert read(payload) == Checkpoint(7, 5, name, is_app, trees, ratio, confirms)


def test_without_trees_and_ratio_the_bytes_are_the_old_ones() -> None:
    assert checkpoint_payload("noon", is_app_consistent=True) == b'{"app": true, "name": "noon"}'
    with_ratio = checkpoint_payload("noon", is_app_consistent=True, ratio=1.25)
    assert with_ratio == b'{"app": true, "name": "noon", "ratio": 1.25}'


def test_what_a_newer_version_adds_is_passed_over() -> None:
    assert read(b'{"app": false, "name": "", "sampled": 3}') == Checkpoint(7, 5)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"[" * 4000,
        b'{"app": true}',
        b'{"app": false, "name": "", "confirms": 7}',
        b'{"app": false, "name": "", "confirms": -1}',
        b'{"app": false, "name": "", "confirms": true}',
        b'{"app": false, "name": "", "confirms": "6"}',
        b'{"app": true, "name": "", "ratio": "2"}',
        b'{"app": true, "name": "", "ratio": true}',
        b'{"app": true, "name": "", "ratio": 0}',
        b'{"app": true, "name": "", "ratio": -1.5}',
        b'{"app": true, "name": "", "ratio": NaN}',
        b'{"app": true, "name": "", "ratio": Infinity}',
        b'{"app": true, "name": "", "ratio": 1' + b"0" * 400 + b"}",
        b'{"app": true, "name": "", "trees": [[Infinity, 1, 1, ""]]}',
    ],
)
def test_nonsense_is_refused(payload: bytes) -> None:
    with pytest.raises(MalformedError, match="checkpoint at record 7"):
        read(payload)


def test_another_mark_is_no_checkpoint() -> None:
    raw = b"".join(batch(b"{}", Kind.HEARTBEAT).parts)
    assert read_checkpoint(raw, 0, peek(raw)) is None
