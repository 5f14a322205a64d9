"""Which point is meant, and what is said when there is none."""

import pytest

from drsync.core.points import Chosen, Reach, Wanted, choose
from drsync.delta.marks import Checkpoint
from drsync.model.errors import RefusedError

POINTS = (
    Checkpoint(10, 1_000),
    Checkpoint(20, 2_000, "before-upgrade", is_app_consistent=True),
    Checkpoint(30, 3_000, "14:03"),
    Checkpoint(40, 4_000, "before-upgrade"),
)
REACH = Reach("remote", POINTS, 10, 47)


def found(text: str, time_us: int | None = None) -> Chosen:
    return choose(Wanted(text, time_us), REACH, lambda seq: seq - seq % 5)


@pytest.mark.parametrize(
    ("text", "time_us", "seq"),
    [
        ("", None, 40),
        ("latest", None, 40),
        ("before-upgrade", None, 40),
        ("20", None, 20),
        ("then", 2_000, 20),
        ("then", 2_999, 20),
        ("then", 9_000, 40),
        ("14:03", 1_000, 30),
    ],
)
def test_a_point_is_found_by_name_record_or_time(text: str, time_us: int | None, seq: int) -> None:
    chosen = found(text, time_us)
    assert (chosen.seq, chosen.at) == (seq, POINTS[seq // 10 - 1])


def test_a_time_between_two_points_means_the_one_before_and_the_next_is_told() -> None:
    assert found("then", 2_999).next_us == 3_000
    assert found("then", 2_000).next_us == 0
    assert found("then", 9_000).next_us == 0


def test_a_record_between_two_points_is_opened_at_the_end_of_a_batch() -> None:
    chosen = found("33")
    assert (chosen.seq, chosen.at, chosen.before) == (30, POINTS[2], POINTS[2])
    chosen = found("46")
    assert (chosen.seq, chosen.at, chosen.before) == (45, None, POINTS[3])


@pytest.mark.parametrize(
    ("text", "time_us", "words"),
    [
        ("9", None, "record 9 is out of reach"),
        ("48", None, "records 10 to 47"),
        ("then", 999, "before the oldest"),
        ("before-upgrad", None, "did you mean before-upgrade?"),
        ("nothing", None, "no recovery point is called nothing"),
    ],
)
def test_what_cannot_be_opened_is_refused_with_what_can(text: str, time_us: int | None, words: str) -> None:
    with pytest.raises(RefusedError, match="remote: ") as refused:
        found(text, time_us)
    assert words in str(refused.value)


def test_a_batch_that_begins_before_what_the_images_hold_is_out_of_reach() -> None:
    with pytest.raises(RefusedError, match="inside the batch"):
        choose(Wanted("12"), REACH, lambda _seq: 8)


def test_a_center_without_points_opens_the_newest_end_of_a_batch() -> None:
    """An owner's images follow its log closely: its last checkpoint may be in them already."""
    chosen = choose(Wanted("latest"), Reach("production", (), 40, 47), lambda seq: seq - seq % 5)
    assert chosen == Chosen(45, None, None)


@pytest.mark.parametrize(("low", "high"), [(0, 0), (46, 47)])
def test_a_center_that_holds_nothing_says_so(low: int, high: int) -> None:
    with pytest.raises(RefusedError, match="there is nothing yet"):
        choose(Wanted("latest"), Reach("remote", (), low, high), lambda seq: seq - seq % 5)
