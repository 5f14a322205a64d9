"""What records change, as ranges."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.delta import changes as module
from drsync.delta.changes import Changes

Change = tuple[int, int, int]
CHANGES = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 60), st.integers(1, 9)), max_size=60)


@given(CHANGES)
def test_ranges_are_exactly_the_bytes_that_were_changed(made: list[Change]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PENDING_MAX", 4)  # so that merging on the way is met
        changes = Changes()
        for volume, offset, length in made:
            changes.add(volume, offset, length)
    found = changes.ranges()

    bytes_changed = {(v, b) for v, offset, length in made for b in range(offset, offset + length)}
    assert {
        (v, b) for v, ranges in found.items() for o, n in ranges for b in range(o, o + n)
    } == bytes_changed
    for ranges in found.values():
        assert ranges
        assert all(a + n < b for (a, n), (b, _) in pairwise(ranges))
