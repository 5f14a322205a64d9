"""Memory is lent again only when nobody can still send it."""

from hypothesis import given
from hypothesis import strategies as st

from drsync.adapters.nbd.replies import KEPT_BYTES_MAX, ReplyPool


def test_memory_is_lent_again_when_the_last_view_is_gone() -> None:
    pool = ReplyPool()
    first = pool.lend(100_000)
    memory = first.obj
    rest = memoryview(first)[50_000:]
    del first

    assert pool.lend(100_000).obj is not memory, "a transport still holds the second half"
    del rest
    assert pool.lend(90_000).obj is memory


@given(st.lists(st.tuples(st.integers(65_536, 6 << 20), st.booleans()), max_size=20))
def test_no_two_replies_share_memory_and_little_is_kept(steps: list[tuple[int, bool]]) -> None:
    pool = ReplyPool()
    unsent: list[memoryview] = []
    for length, is_sent in steps:
        view = pool.lend(length)
        assert len(view) == length
        assert all(view.obj is not other.obj for other in unsent)
        unsent.append(view[length // 2 :])
        del view
        if is_sent:
            unsent.pop(0)
        assert pool.kept_bytes <= KEPT_BYTES_MAX
