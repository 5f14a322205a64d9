"""Images are brought forward at once while little is written, and in longer steps while much is."""

from drsync.core.fold_pace import AHEAD_BYTES_MAX, AHEAD_SHARE, BUSY_RECORDS, LATE_S, FoldPace

QUOTA = 64 << 30
ROUND_S = 0.5


def rounds(pace: FoldPace, records: list[int], ahead: int = 0, quota: int = QUOTA) -> list[bool]:
    """Whether each round was due, with so many records since the one before."""
    found, tip = list[bool](), 0
    for number, count in enumerate(records):
        tip += count
        found.append(pace.is_due(100 + number * ROUND_S, tip, lambda: ahead, quota))
    return found


def test_while_little_is_written_each_round_is_due() -> None:
    assert all(rounds(FoldPace(), [BUSY_RECORDS - 1] * 20))


def test_while_much_is_written_steps_are_longer_and_never_end() -> None:
    found = rounds(FoldPace(), [BUSY_RECORDS] * 33)
    step = int(LATE_S / ROUND_S)
    assert [number for number, is_due in enumerate(found) if is_due] == list(range(0, 33, step))


def test_the_first_quiet_round_after_a_burst_is_due() -> None:
    assert rounds(FoldPace(), [1, 10_000, 10_000, 3]) == [True, False, False, True]


def test_much_that_waits_is_due_whatever_is_written() -> None:
    assert all(rounds(FoldPace(), [10_000] * 20, AHEAD_BYTES_MAX))
    assert all(rounds(FoldPace(), [10_000] * 20, 1 << 20, AHEAD_SHARE << 20))
    assert not all(rounds(FoldPace(), [10_000] * 20, AHEAD_BYTES_MAX - 1))


def test_a_log_that_was_cut_is_quiet() -> None:
    pace = FoldPace()
    assert rounds(pace, [10_000, 10_000]) == [True, False]
    assert pace.is_due(101.0, 5, lambda: 0, QUOTA)
