"""Syncs from the event loop: only where they are brief, and failing like any other."""

from typing import TYPE_CHECKING

import pytest

from drsync.core.brevity import KNOWN_CALLS, LONG_S
from drsync.model.errors import FailedCopyError

if TYPE_CHECKING:
    from drsync.adapters.segments.journal import SegmentJournal
    from tests.adapters.segments.conftest import Add, Open, Trouble


def known(journal: "SegmentJournal", add: "Add") -> None:
    """Sync until it is known how long that takes."""
    for _ in range(8 * KNOWN_CALLS):
        add(journal, b"x")
        journal.sync()


def test_where_the_disk_is_brief_no_thread_is_needed(
    reopen: "Open", trouble: "type[Trouble]", add: "Add"
) -> None:
    journal = reopen(files=trouble())
    add(journal, b"a")
    assert journal.sync_at_once() is None
    assert journal.durable_seq == 0
    known(journal, add)
    add(journal, b"b")
    assert journal.sync_at_once() == journal.durable_seq == journal.tip.seq


def test_a_slow_sync_is_followed_by_syncs_in_threads(
    reopen: "Open", trouble: "type[Trouble]", add: "Add"
) -> None:
    files = trouble()
    journal = reopen(files=files)
    known(journal, add)
    files.sync_s = LONG_S
    add(journal, b"b")
    assert journal.sync_at_once() == journal.tip.seq
    add(journal, b"c")
    assert journal.sync_at_once() is None


def test_an_error_fails_the_journal_and_is_not_tried_again(
    reopen: "Open", trouble: "type[Trouble]", add: "Add"
) -> None:
    files = trouble()
    journal = reopen(files=files)
    known(journal, add)
    add(journal, b"b")
    before = journal.durable_seq
    files.at = len(files.calls)
    with pytest.raises(FailedCopyError, match="told to fail in fdatasync"):
        journal.sync_at_once()
    files.at, calls = -1, len(files.calls)
    for sync in (journal.sync_at_once, journal.sync):
        with pytest.raises(FailedCopyError):
            sync()
    assert (journal.durable_seq, len(files.calls)) == (before, calls)


def test_more_than_data_is_left_to_a_thread(reopen: "Open", trouble: "type[Trouble]", add: "Add") -> None:
    journal = reopen(files=trouble())
    known(journal, add)
    add(journal, bytes(journal.held_bytes))  # a segment of its own: names are to be synced, too
    assert journal.sync_at_once() is None
    assert journal.sync() == journal.tip.seq
