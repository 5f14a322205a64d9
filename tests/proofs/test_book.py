"""What the judge of the database proofs takes for a loss."""

import pytest

from tests.proofs.book import Book, Entry


def book() -> Book:
    """Two clients; the second asked for its last row after everything else was acknowledged."""
    entries = [Entry(0, 1, 1.0, 2.0), Entry(1, 1, 1.5, 2.5), Entry(0, 2, 2.1, 3.0), Entry(1, 2, 4.0, 5.0)]
    return Book(entries, {(0, 3)})


def test_all_rows_and_those_that_were_never_answered_are_a_prefix() -> None:
    for pending in ([], [(0, 3)]):
        rows = {entry.row for entry in book().entries} | set(pending)
        book().require_prefix(rows)
        assert not book().lost(rows)


def test_missing_the_newest_is_a_loss_and_a_prefix() -> None:
    rows = {(0, 1), (1, 1)}
    book().require_prefix(rows)
    assert [entry.row for entry in book().lost(rows)] == [(0, 2), (1, 2)]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ({(0, 1), (1, 1), (1, 2)}, "later commits are there"),
        ({(0, 1), (1, 1), (0, 2), (0, 4)}, "nobody wrote"),
        ({(0, 1), (1, 1), (0, 3)}, "gaps"),
    ],
)
def test_what_no_instant_leaves_behind_is_found(rows: set[tuple[int, int]], words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        book().require_prefix(rows)
