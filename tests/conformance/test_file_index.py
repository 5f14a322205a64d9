"""Every index of a tree remembers the same, and a crash leaves all of a change or nothing of it."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drsync.adapters.memory.file_index import MemoryFileIndex
from drsync.adapters.sqlite.file_index import SqliteFileIndex
from drsync.delta.entries import digest_of
from drsync.model.epoch import Epoch
from drsync.model.errors import PermanentError, RefusedError, TransientError
from drsync.model.fileset import BEFORE_ALL, Entry, FileKind, Generation, GenerationStart, Signature
from drsync.model.scan import RootIdentity
from drsync.ports.file_index import FileIndex, IndexState, Known
from tests.delta.entry_examples import directory, entries, file, hardlink, tombstone

E1, E2 = Epoch(1), Epoch((1 << 64) - 1)
SIGNATURE = Signature(1, 5, 15 * 10**18 + 1, -3, (1 << 64) - 1, (1 << 64) - 2)
ROOT = directory(b"")


@pytest.fixture(params=["memory", "sqlite"])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FileIndex]:
    found: FileIndex = (
        MemoryFileIndex() if request.param == "memory" else SqliteFileIndex(tmp_path / "state" / "tree.db")
    )
    yield found
    found.close()


def known(*some: Entry) -> list[Known]:
    return [(entry, SIGNATURE) for entry in some]


def live(index: FileIndex) -> list[Entry]:
    return [entry for entry, _ in index.entries()]


def receive(index: FileIndex, target: Generation, *some: Entry, is_full: bool) -> None:
    index.begin_incoming(target, (GenerationStart(target.epoch, 0),), is_full=is_full)
    index.add_incoming(some)
    index.begin_applying(target)


def test_a_new_index_knows_nothing(index: FileIndex) -> None:
    assert index.state() == IndexState(digest=digest_of([]))
    assert index.state().held == BEFORE_ALL
    assert live(index) == []
    assert index.incoming() is None
    assert index.find(b"") is None


def test_a_cut_is_found_again_by_path(index: FileIndex) -> None:
    some = [ROOT, directory(b"b"), file(b"b/\xff"), file(b"b.c"), file(b"a", b"")]
    state = index.cut(Generation(E1, 1), known(*some))
    assert live(index) == sorted(some, key=lambda entry: entry.path)
    assert state == index.state()
    assert (state.held, state.lineage) == (Generation(E1, 1), (GenerationStart(E1, 0),))
    assert (state.entries, state.bytes, state.digest) == (5, 2, digest_of(some))
    assert index.find(b"b/\xff") == (file(b"b/\xff"), SIGNATURE)
    assert index.find(b"c") is None
    assert index.signatures() == dict.fromkeys((entry.path for entry in some), SIGNATURE)


def test_what_changed_since_a_generation_has_its_tombstones(index: FileIndex) -> None:
    index.cut(Generation(E1, 1), known(ROOT, file(b"a"), file(b"b")))
    index.cut(Generation(E1, 2), [(tombstone(b"a", 2), None), *known(file(b"c", b"new", 2))])
    assert list(index.changed_since(1)) == [tombstone(b"a", 2), file(b"c", b"new", 2)]
    assert list(index.changed_since(2)) == []
    assert len(list(index.changed_since(0))) == 4
    assert index.find(b"a") is None
    assert index.state().digest == digest_of([ROOT, file(b"b"), file(b"c", b"new")])


def test_hard_links_are_found_while_they_are_links(index: FileIndex) -> None:
    links = [hardlink(b"b", b"a"), hardlink(b"d/c", b"a")]
    index.cut(Generation(E1, 1), known(ROOT, file(b"a"), directory(b"d"), *links))
    assert index.hard_links() == known(*links)
    index.cut(
        Generation(E1, 2), [(tombstone(b"b", 2, FileKind.HARDLINK), None), *known(file(b"d/c", b"c", 2))]
    )
    assert index.hard_links() == []


def test_the_lineage_grows_with_each_epoch(index: FileIndex) -> None:
    index.cut(Generation(E1, 1), [])
    index.cut(Generation(E1, 2), [])
    index.cut(Generation(E2, 3), [])
    assert index.state().lineage == (GenerationStart(E1, 0), GenerationStart(E2, 2))


def test_a_block_is_found_in_the_files_that_have_it(index: FileIndex) -> None:
    block, alike = b"b" * 32, b"b" * 8 + b"o" * 24  # as far as an index may look they begin alike
    two = replace(file(b"two"), size=200_000, blocks=(b"x" * 32, block))
    index.cut(Generation(E1, 1), known(replace(file(b"one"), blocks=(block,)), two))
    assert set(index.where(block)) == {(b"one", 0), (b"two", 1)}
    assert index.where(alike) == []
    index.cut(Generation(E1, 2), known(replace(two, blocks=(alike, alike), generation=2)))
    assert index.where(block) == [(b"one", 0)]
    assert index.where(alike) == [(b"two", 0)]
    index.cut(Generation(E1, 3), [(tombstone(b"two", 3), None)])
    assert index.where(alike) == []


def test_four_places_are_enough(index: FileIndex) -> None:
    index.cut(Generation(E1, 1), known(*(file(b"%d" % n) for n in range(9))))
    assert len(index.where(file(b"").blocks[0])) == 4


def test_a_signature_can_be_refreshed(index: FileIndex) -> None:
    index.cut(Generation(E1, 1), [(file(b"a"), None), (file(b"b"), SIGNATURE)])
    assert index.signatures() == {b"a": None, b"b": SIGNATURE}
    newer = SIGNATURE._replace(ctime_ns=5)
    index.refresh([(b"a", newer), (b"nobody", newer)])
    assert index.find(b"a") == (file(b"a"), newer)
    assert index.find(b"nobody") is None


def test_the_root_and_a_persons_word_are_kept(index: FileIndex) -> None:
    root = RootIdentity("ab" * 16, "fe01", (1 << 64) - 1)
    index.set_root(root)
    index.approve(approved=True)
    assert (index.state().root, index.state().approved) == (root, True)
    index.approve(approved=False)
    assert not index.state().approved


def test_forgotten_tombstones_raise_the_horizon(index: FileIndex) -> None:
    index.cut(Generation(E1, 1), known(file(b"a"), file(b"b")))
    index.cut(Generation(E1, 2), [(tombstone(b"a", 2), None)])
    index.cut(Generation(E1, 3), [(tombstone(b"b", 3), None)])
    index.forget(2)
    assert list(index.changed_since(0)) == [tombstone(b"b", 3)]
    assert index.state().horizon == 2
    index.forget(1)
    assert index.state().horizon == 2


def test_an_incoming_generation_becomes_the_held_one(index: FileIndex) -> None:
    index.cut(Generation(E1, 1), known(ROOT, file(b"gone"), file(b"stays")))
    target = Generation(E1, 4)
    coming = [file(b"new", b"n", 3), tombstone(b"gone", 4), tombstone(b"never", 2)]
    receive(index, target, *coming, is_full=False)
    assert index.incoming() == (target, (GenerationStart(E1, 0),), False)
    assert list(index.incoming_entries()) == sorted(coming, key=lambda entry: entry.path)
    assert index.state().applying == target
    index.applied([(coming[0], SIGNATURE), (coming[1], SIGNATURE)])
    assert index.state().held == Generation(E1, 1)
    state = index.end_applying()
    assert (state.held, state.applying, index.incoming()) == (target, None, None)
    assert state.digest == digest_of([ROOT, file(b"new", b"n"), file(b"stays")])
    assert list(index.changed_since(1)) == sorted(coming, key=lambda entry: entry.path)
    assert list(index.incoming_entries()) == []


def test_what_a_full_index_does_not_name_is_forgotten(index: FileIndex) -> None:
    index.cut(Generation(E1, 7), known(replace(ROOT, generation=7), file(b"a", b"a", 7), file(b"b", b"b", 7)))
    index.cut(Generation(E1, 8), [(tombstone(b"b", 8), None)])
    receive(index, Generation(E2, 9), ROOT, file(b"a", b"a", 5), is_full=True)
    index.applied([(tombstone(b"x", 0), None)])
    state = index.end_applying()
    assert live(index) == [ROOT, file(b"a", b"a", 5)]  # the numbers are the owner's, too
    assert index.find(b"a") == (file(b"a", b"a", 5), SIGNATURE)
    assert list(index.changed_since(0)) == live(index)
    assert (state.entries, state.digest, state.horizon) == (2, digest_of(live(index)), 9)


def test_a_full_index_takes_away_what_was_not_removed_by_name(index: FileIndex) -> None:
    index.cut(Generation(E1, 1), known(ROOT, file(b"a"), file(b"b")))
    receive(index, Generation(E2, 2), ROOT, is_full=True)
    assert index.end_applying().digest == digest_of([ROOT])
    assert index.where(file(b"a").blocks[0]) == []


def test_a_newer_incoming_generation_replaces_an_older_one(index: FileIndex) -> None:
    index.begin_incoming(Generation(E1, 1), (), is_full=True)
    index.add_incoming([file(b"old")])
    index.begin_incoming(Generation(E1, 2), (), is_full=False)
    assert list(index.incoming_entries()) == []
    assert index.incoming() == (Generation(E1, 2), (), False)


def test_a_part_of_a_new_generation_is_never_applied_in_place_of_an_old_one(index: FileIndex) -> None:
    """The same generation comes again because the first could not be finished, and then the power fails."""
    index.cut(Generation(E1, 1), known(ROOT, file(b"a")))
    receive(index, Generation(E2, 2), ROOT, file(b"a"), is_full=True)
    index.begin_incoming(Generation(E2, 2), (), is_full=True)
    assert index.state().applying is None
    assert index.state().held == Generation(E1, 1)


def test_of_two_words_about_one_name_the_last_counts(index: FileIndex) -> None:
    """A directory makes room for a file: gone and put in one batch."""
    index.cut(Generation(E1, 1), known(directory(b"a")))
    receive(index, Generation(E1, 2), file(b"a", b"a", 2), is_full=False)
    index.applied([(tombstone(b"a", 0, FileKind.DIRECTORY), None), (file(b"a", b"a", 2), SIGNATURE)])
    assert index.end_applying().digest == digest_of([file(b"a", b"a")])


@given(st.lists(st.lists(entries(), max_size=6, unique_by=lambda entry: entry.path), max_size=4))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_both_indexes_agree(tmp_path: Path, cuts: list[list[Entry]]) -> None:
    shutil.rmtree(tmp_path / "agree", ignore_errors=True)
    indexes: list[FileIndex] = [MemoryFileIndex(), SqliteFileIndex(tmp_path / "agree" / "tree.db")]
    for number, changes in enumerate(cuts, start=1):
        for index in indexes:
            index.cut(Generation(E1, number), known(*(replace(e, generation=number) for e in changes)))
    one, other = indexes
    assert one.state() == other.state()
    assert live(one) == live(other)
    for number in range(len(cuts) + 1):
        assert list(one.changed_since(number)) == list(other.changed_since(number))
    assert one.state().digest == digest_of(live(other))
    blocks = {block for entry in live(one) for block in entry.blocks}
    assert all(sorted(one.where(block)) == sorted(other.where(block)) for block in blocks)
    other.close()


# --- of the file


def copied(index: SqliteFileIndex, to: Path) -> SqliteFileIndex:
    """What a power loss at this moment leaves: the files as they are, the log with them."""
    to.mkdir()
    for path in index.path.parent.iterdir():
        if not path.name.endswith("-shm"):
            shutil.copy(path, to / path.name)
    return SqliteFileIndex(to / index.path.name)


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[SqliteFileIndex]:
    index = SqliteFileIndex(tmp_path / "state" / "tree.db")
    yield index
    index.close()


def test_everything_is_there_after_a_crash_in_the_middle_of_applying(
    stored: SqliteFileIndex, tmp_path: Path
) -> None:
    stored.cut(Generation(E1, 1), known(ROOT, file(b"a")))
    receive(stored, Generation(E1, 2), file(b"b", b"b", 2), tombstone(b"a", 2), is_full=False)
    stored.applied([(file(b"b", b"b", 2), SIGNATURE)])
    again = copied(stored, tmp_path / "crashed")
    assert again.state() == stored.state()
    assert again.state().applying == Generation(E1, 2)
    assert again.incoming() == stored.incoming()
    assert live(again) == [ROOT, file(b"a"), file(b"b", b"b", 2)]
    again.applied([(tombstone(b"a", 2), None)])
    assert again.end_applying().digest == digest_of([ROOT, file(b"b", b"b")])
    again.close()


@pytest.mark.parametrize(
    "change",
    [
        lambda index: index.applied([*known(file(b"b")), (object(), None)]),
        lambda index: index.refresh([(b"a", SIGNATURE._replace(size=7)), (b"a", None)]),
    ],
)
def test_a_change_that_fails_half_way_changes_nothing(
    stored: SqliteFileIndex, tmp_path: Path, change: Callable[[SqliteFileIndex], None]
) -> None:
    stored.cut(Generation(E1, 1), known(ROOT, file(b"a")))
    before = stored.state()
    with pytest.raises((AttributeError, TypeError)):
        change(stored)
    for index in (stored, copied(stored, tmp_path / "after")):
        assert index.state() == before
        assert list(index.entries()) == known(ROOT, file(b"a"))
        index.cut(Generation(E1, 2), [])
    index.close()


def test_a_full_disk_changes_nothing(stored: SqliteFileIndex) -> None:
    stored.cut(Generation(E1, 1), known(ROOT))
    before = stored.state()
    [(pages,)] = stored._db.execute("PRAGMA page_count").fetchall()
    stored._db.execute(f"PRAGMA max_page_count = {pages}")
    many = [file(b"%05d" % number, b"x", 2) for number in range(2000)]
    with pytest.raises(TransientError, match="full"):
        stored.cut(Generation(E1, 2), known(*many))
    assert stored.state() == before
    stored._db.execute("PRAGMA max_page_count = 100000")
    assert stored.cut(Generation(E1, 2), known(*many)).entries == 2001


def test_a_second_process_is_refused(stored: SqliteFileIndex) -> None:
    with pytest.raises(RefusedError) as refused:
        SqliteFileIndex(stored.path)
    assert refused.value.code == "in_use"


def test_what_is_no_index_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_bytes(b"no database at all, but long enough to be looked at" * 30)
    with pytest.raises(PermanentError, match="cannot be used"):
        SqliteFileIndex(tmp_path / "text.db")
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE t (a)")
    other.close()
    with pytest.raises(PermanentError) as foreign:
        SqliteFileIndex(tmp_path / "other.db")
    assert foreign.value.code == "index_foreign"


def test_a_newer_schema_and_a_broken_state_are_told(tmp_path: Path) -> None:
    for change, code in (
        ("PRAGMA user_version = 9", "version"),
        ("UPDATE state SET body = '{}'", "index_damaged"),
    ):
        path = tmp_path / f"{code}.db"
        SqliteFileIndex(path).close()
        with sqlite3.connect(path) as raw:
            raw.execute(change)
        raw.close()
        with pytest.raises(PermanentError) as told:
            SqliteFileIndex(path)
        assert told.value.code == code


def test_what_is_in_doubt_stays_so_until_all_of_it_was_compared(index: FileIndex) -> None:
    index.cut(Generation(E1, 1), [(replace(file(b"a", b"a"), generation=1), None)])
    assert not index.state().followed
    index.doubt([b"a"])
    assert (index.find(b"a"), index.state().doubted) == (None, True)
    for number, is_full, digest, doubted in (
        (2, False, "", True),
        (3, True, digest_of([file(b"other", b"o")]), True),
        (4, True, digest_of([file(b"a", b"a")]), False),
        (5, False, "00" * 32, True),
    ):
        target = Generation(E1, number)
        index.begin_incoming(target, (GenerationStart(E1, 0),), is_full=is_full, digest=digest)
        index.add_incoming([replace(file(b"a", b"a"), generation=number)])
        index.begin_applying(target)
        index.applied([(replace(file(b"a", b"a"), generation=number), None)])
        assert index.end_applying().doubted is doubted, number
        assert index.state().followed
    index.begin_incoming(Generation(E1, 6), (GenerationStart(E1, 0),), is_full=True)
    state = index.cut(Generation(E2, 6), [])
    assert (state.doubted, state.followed, state.applying, index.incoming()) == (False, False, None, None)
