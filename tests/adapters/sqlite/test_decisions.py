"""Decisions are kept in bounds, and openings never push out what is known of a failover."""

from pathlib import Path

import pytest

from drsync.adapters.sqlite import decisions
from drsync.adapters.sqlite.database import Database
from drsync.adapters.sqlite.decisions import SqliteDecisions


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "coordinator.db")


def test_what_was_kept_comes_back_in_order(database: Database) -> None:
    shelf = SqliteDecisions(database)
    first = shelf.keep("one", is_move=True, at_us=5, body="{}")
    shelf.keep("two", is_move=True, at_us=6, body='{"b":1}')
    shelf.keep("one", is_move=True, at_us=7, body='{"a":2}')
    shelf.again(first, 3, 9)
    found = list(SqliteDecisions(database).of("one"))
    assert [(kept.at_us, kept.last_us, kept.times, kept.body) for kept in found] == [
        (5, 9, 3, "{}"),
        (7, 7, 1, '{"a":2}'),
    ]
    database.close()


def test_the_oldest_make_room_and_openings_do_not_displace_failovers(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decisions, "BYTES_MAX", {True: 1000, False: 500})
    shelf = SqliteDecisions(database)
    shelf.keep("failover", is_move=True, at_us=1, body="f" * 400)
    for number in range(50):
        shelf.keep("open", is_move=False, at_us=number, body="o" * 100)
    assert len(list(shelf.of("failover"))) == 1
    assert [kept.at_us for kept in shelf.of("open")] == [45, 46, 47, 48, 49]
    shelf.keep("another", is_move=True, at_us=2, body="a" * 700)
    assert list(shelf.of("failover")) == []
    assert len(list(shelf.of("another"))) == 1
    again = SqliteDecisions(database)
    again.keep("open", is_move=False, at_us=50, body="o" * 100)
    assert [kept.at_us for kept in again.of("open")] == [46, 47, 48, 49, 50], "a restart knows the sizes"
    database.close()


def test_a_commit_that_failed_does_not_count(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes are counted when they are on disk: a full disk for a while must not cost what is kept later."""
    monkeypatch.setattr(decisions, "BYTES_MAX", {True: 300, False: 300})
    shelf = SqliteDecisions(database)
    with monkeypatch.context() as broken:
        broken.setattr(database, "insert", _full)
        for _ in range(5):
            with pytest.raises(OSError, match="full"):
                shelf.keep("one", is_move=True, at_us=1, body="x" * 100)
    for number in range(3):
        shelf.keep("one", is_move=True, at_us=number, body="x" * 100)
    assert len(list(shelf.of("one"))) == 3
    shelf.keep("large", is_move=True, at_us=9, body="x" * 301)
    assert list(shelf.of("large")) == [], "larger than all that may be kept"
    shelf.keep("one", is_move=True, at_us=10, body="x")
    assert len(list(shelf.of("one"))) == 1
    database.close()


def _full(*_: object) -> int:
    raise OSError("full")
