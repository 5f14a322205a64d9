from hypothesis import given
from hypothesis import strategies as st

from drsync.lab.ledger import RECORD_BYTES, compare, record, slot_of

RUN = b"r" * 16
SLOTS = 8


def written(numbers: range, run: bytes = RUN) -> bytearray:
    content = bytearray(SLOTS * RECORD_BYTES)
    for number in numbers:
        at = slot_of(number, SLOTS) * RECORD_BYTES
        content[at : at + RECORD_BYTES] = record(run, number)
    return content


@given(st.integers(0, 40), st.integers(0, 1))
def test_nothing_is_lost_when_every_acknowledged_write_or_a_later_one_is_there(last: int, extra: int) -> None:
    found = compare(bytes(written(range(1, last + 1 + extra))), RUN, last, last + extra)
    assert found.lost == ()
    assert found.slots == min(last, SLOTS)
    assert found.acknowledged == last


@given(st.integers(1, 40), st.integers(1, SLOTS))
def test_every_acknowledged_write_that_is_missing_is_named(last: int, missing: int) -> None:
    kept = max(0, last - missing)
    found = compare(bytes(written(range(1, kept + 1))), RUN, last, last)
    assert found.lost == tuple(range(kept + 1, last + 1))


@given(st.integers(0, RECORD_BYTES - 1))
def test_a_torn_write_is_a_lost_one(at: int) -> None:
    content = written(range(1, 6))
    content[slot_of(5, SLOTS) * RECORD_BYTES + at] ^= 1
    assert compare(bytes(content), RUN, 5, 5).lost == (5,)


def test_a_write_of_an_earlier_demo_does_not_count() -> None:
    assert compare(bytes(written(range(1, 4), b"o" * 16)), RUN, 3, 3).lost == (1, 2, 3)


def test_a_write_that_nobody_attempted_does_not_count() -> None:
    assert compare(bytes(written(range(1, 12))), RUN, 3, 4).lost == (1, 2, 3)
