"""Syncs from the event loop: only where they are brief, and failing like any other."""

from typing import TYPE_CHECKING

import pytest

from drsync.adapters.segments.files import OsFiles
from drsync.core.brevity import KNOWN_CALLS
from drsync.model.errors import FailedCopyError

if TYPE_CHECKING:
    from tests.adapters.segments.conftest import Add, Open, Trouble


@pytest.fixture
def brief(trouble: "type[Trouble]", monkeypatch: pytest.MonkeyPatch) -> "type[Trouble]":
    monkeypatch.setattr(trouble, "is_sync_brief", True)
    return trouble


def test_where_the_disk_is_brief_no_thread_is_needed(
    reopen: "Open", brief: "type[Trouble]", add: "Add", monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = reopen(files=brief())
    add(journal, b"a")
    journal.sync()
    add(journal, b"b")
    assert journal.sync_at_once() == journal.durable_seq == journal.tip.seq
    monkeypatch.setattr(brief, "is_sync_brief", False)
    add(journal, b"c")
    assert journal.sync_at_once() is None
    assert journal.durable_seq < journal.tip.seq


def test_a_real_disk_is_known_after_some_syncs(reopen: "Open", add: "Add") -> None:
    files = OsFiles()
    journal = reopen(files=files)
    assert not files.is_sync_brief
    for _ in range(KNOWN_CALLS):
        add(journal, b"x")
        journal.sync()
    add(journal, b"y")
    assert (journal.sync_at_once() is not None) is files.is_sync_brief


def test_an_error_fails_the_journal_and_is_not_tried_again(
    reopen: "Open", brief: "type[Trouble]", add: "Add"
) -> None:
    files = brief()
    journal = reopen(files=files)
    add(journal, b"a")
    journal.sync()
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


def test_more_than_data_is_left_to_a_thread(reopen: "Open", brief: "type[Trouble]", add: "Add") -> None:
    journal = reopen(files=brief())
    add(journal, b"a")
    assert journal.sync_at_once() is None  # the name of the first segment
    journal.sync()
    add(journal, bytes(journal.held_bytes))  # a segment of its own: names are to be synced, too
    assert journal.sync_at_once() is None
    assert journal.sync() == journal.tip.seq
