"""The coordinator's file: exclusive, recognised, never silently replaced by an older one."""

import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.adapters.sqlite.charters import SqliteCharterStore
from drsync.adapters.sqlite.database import Database
from drsync.adapters.sqlite.evidence import SqliteEvidence
from drsync.adapters.sqlite.mark import FileMarkNote
from drsync.adapters.sqlite.members import MemberMemory
from drsync.core.store_trust import TokenWord
from drsync.model.charter import CHARTER_BYTES_MAX, Charter
from drsync.model.drill import Cleanup, Content, DrillPoint, DrillReport, OpenView, Verdict, VolumeFinding
from drsync.model.epoch import Epoch
from drsync.model.errors import PermanentError, RefusedError, TransientError
from drsync.model.operation import (
    Event,
    Fault,
    Operation,
    OperationKind,
    OperationState,
    Step,
    StepOutcome,
)
from drsync.model.position import NO_CHAIN, EpochStart
from drsync.ports.charter_store import CasOutcome
from tests.engine.fake_members import GROUP, A, FakeClock, FakeRandom, served, spec


class Dice(FakeRandom):
    """Every process throws its own."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.n = seed * 1000


def start(tmp_path: Path, process: int, boot: str = "boot-1") -> tuple[Database, SqliteCharterStore]:
    database = Database(tmp_path / "coordinator.db")
    return database, SqliteCharterStore(
        database, FileMarkNote(tmp_path / "run", boot), FakeClock(), Dice(process)
    )


def copy_of(tmp_path: Path, name: str) -> Path:
    """A backup as `cp` makes it: the database with its write-ahead log."""
    kept = tmp_path / name
    kept.mkdir()
    for path in tmp_path.glob("coordinator.db*"):
        shutil.copy(path, kept)
    return kept


def put_back(tmp_path: Path, kept: Path) -> None:
    for path in tmp_path.glob("coordinator.db*"):
        path.unlink()
    for path in kept.iterdir():
        shutil.copy(path, tmp_path)


async def test_the_same_store_is_recognised_after_a_restart(tmp_path: Path) -> None:
    database, store = start(tmp_path, 1)
    assert not store.is_same_store, "a new store has to hear from everybody"
    await store.compare_and_set(0, Charter(spec()))
    database.close()
    database, store = start(tmp_path, 2)
    assert store.is_same_store
    database.close()


async def test_a_restored_old_file_is_not_trusted(tmp_path: Path) -> None:
    """The copy was taken while the very process ran that was used last: only the count tells."""
    database, store = start(tmp_path, 1)
    await store.compare_and_set(0, Charter(spec()))
    kept = copy_of(tmp_path, "backup")
    await store.compare_and_set(1, replace(Charter(spec()), version=2, owner=A))
    database.close()
    put_back(tmp_path, kept)

    database, store = start(tmp_path, 2)
    assert not store.is_same_store
    database.close()


async def test_a_file_of_an_earlier_process_is_not_trusted(tmp_path: Path) -> None:
    database, _ = start(tmp_path, 1)
    database.close()
    kept = copy_of(tmp_path, "backup")
    database, _ = start(tmp_path, 2)
    database.close()
    put_back(tmp_path, kept)
    database, store = start(tmp_path, 3)
    assert not store.is_same_store
    database.close()


async def test_after_a_boot_nothing_is_taken_for_granted(tmp_path: Path) -> None:
    database, _ = start(tmp_path, 1)
    database.close()
    database, store = start(tmp_path, 2, boot="boot-2")
    assert not store.is_same_store
    database.close()


async def test_a_mark_lost_between_commit_and_note_makes_no_good_store_look_old(tmp_path: Path) -> None:
    database, store = start(tmp_path, 1)
    note = (tmp_path / "run" / "store-mark").read_text()
    await store.compare_and_set(0, Charter(spec()))
    (tmp_path / "run" / "store-mark").write_text(note)
    database.close()
    database, store = start(tmp_path, 2)
    assert store.is_same_store
    database.close()


def test_a_snapshot_is_a_file_of_its_own_with_all_that_was_committed(tmp_path: Path) -> None:
    database = Database(tmp_path / "coordinator.db")
    database.set_meta("key", "value")
    (tmp_path / "copy.db").write_bytes(database.snapshot())
    database.set_meta("key", "later")
    database.close()
    copy = Database(tmp_path / "copy.db")
    assert copy.get_meta("key") == "value"
    copy.close()


def test_a_full_disk_leaves_nothing_half_done(tmp_path: Path) -> None:
    database = Database(tmp_path / "coordinator.db")
    database.set_meta("key", "value")
    database._connection.execute("PRAGMA max_page_count = 60")

    def change() -> None:
        with database.transaction():
            database.set_meta("key", "half")
            database.set_meta("large", "x" * (1 << 20))

    with pytest.raises(TransientError, match="full"):
        change()
    assert database.get_meta("key") == "value"
    database.set_meta("key", "goes on")
    database.close()


def test_a_second_coordinator_is_refused(tmp_path: Path) -> None:
    database = Database(tmp_path / "coordinator.db")
    with pytest.raises(RefusedError, match="used by another process"):
        Database(tmp_path / "coordinator.db")
    database.close()


def test_a_foreign_or_broken_file_is_never_overwritten(tmp_path: Path) -> None:
    foreign = sqlite3.connect(tmp_path / "foreign.db")
    foreign.execute("CREATE TABLE mine (x)")
    foreign.commit()
    foreign.close()
    with pytest.raises(PermanentError, match="another program"):
        Database(tmp_path / "foreign.db")
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"certainly not SQLite" * 1000)
    with pytest.raises(PermanentError, match="cannot be used"):
        Database(broken)
    assert broken.read_bytes().startswith(b"certainly not")


def test_a_file_of_a_newer_drsync_is_left_alone(tmp_path: Path) -> None:
    Database(tmp_path / "c.db").close()
    raw = sqlite3.connect(tmp_path / "c.db")
    raw.execute("PRAGMA user_version = 99")
    raw.commit()
    raw.close()
    with pytest.raises(PermanentError, match="schema 99"):
        Database(tmp_path / "c.db")


def test_a_file_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    Database(tmp_path / "c.db").close()
    assert (tmp_path / "c.db").stat().st_mode & 0o777 == 0o600


async def test_a_failed_commit_is_an_unknown_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database, store = start(tmp_path, 1)

    def broken(*_: object) -> None:
        raise TransientError("disk full")

    monkeypatch.setattr(store, "_swap", broken)
    result = await store.compare_and_set(0, Charter(spec()))
    assert result.outcome is CasOutcome.UNKNOWN
    database.close()


async def test_a_charter_that_is_too_large_is_lost_not_cut(tmp_path: Path) -> None:
    database, store = start(tmp_path, 1)
    entry = EpochStart(Epoch(1), "u" * 200, 0, NO_CHAIN)
    charter = Charter(spec(), history=(entry,) * (CHARTER_BYTES_MAX // 200))
    result = await store.compare_and_set(0, charter)
    assert result.outcome is CasOutcome.LOST
    assert await store.read(GROUP) is None
    database.close()


def test_an_aborted_transaction_leaves_nothing(tmp_path: Path) -> None:
    database = Database(tmp_path / "c.db")

    def twice() -> None:
        with database.transaction():
            database.set_meta("a", "1")
            database.execute("INSERT INTO meta VALUES ('a', '2')")

    with pytest.raises(sqlite3.IntegrityError):
        twice()
    assert database.get_meta("a") is None
    database.close()


# --- members


def test_tokens_tell_who_went_back(tmp_path: Path) -> None:
    database = Database(tmp_path / "c.db")
    memory = MemberMemory(database, FakeClock())
    assert memory.exchange(A, 0) == (TokenWord.NEXT, 1)
    assert memory.exchange(A, 1) == (TokenWord.NEXT, 2)
    assert memory.exchange(A, 1) == (TokenWord.REPEAT, 2), "the answer was lost: the same again"
    assert memory.exchange(A, 0) == (TokenWord.MEMBER_WENT_BACK, 3)
    assert memory.exchange(A, 9) == (TokenWord.STORE_WENT_BACK, 9)
    database.close()


def test_a_younger_copy_is_noticed_across_a_restart_of_the_store(tmp_path: Path) -> None:
    _, members = served()
    word = members[A].word
    database = Database(tmp_path / "c.db")
    memory = MemberMemory(database, FakeClock())
    assert memory.hear(GROUP, word)
    memory.follow(GROUP, replace(word, durable=90, appended=90))
    memory.flush()
    database.close()

    database = Database(tmp_path / "c.db")
    memory = MemberMemory(database, FakeClock())
    assert not memory.hear(GROUP, replace(word, durable=89, session="new"))
    assert memory.hear(GROUP, replace(word, durable=90, session="new"))
    assert not memory.hear(GROUP, replace(word, durable=0, incarnation="formatted")), (
        "a wiped store is younger"
    )
    database.close()


def test_what_a_member_states_when_it_registers_outlives_a_coordinator_that_dies(tmp_path: Path) -> None:
    """Its start token may be one behind, as if an answer had got lost: then positions must tell."""
    _, members = served()
    word = replace(members[A].word, durable=50)
    database = Database(tmp_path / "c.db")
    memory = MemberMemory(database, FakeClock())
    assert memory.hear(GROUP, word)
    assert memory.hear(GROUP, replace(word, durable=90, appended=90)), "the same process, on a new link"
    database.close()
    database = Database(tmp_path / "c.db")
    assert not MemberMemory(database, FakeClock()).hear(GROUP, replace(word, session="restored"))
    database.close()


# --- evidence

texts = st.text(max_size=20)
steps = st.builds(
    Step,
    n=st.just(1),
    name=texts,
    center=texts,
    started_us=st.integers(0, 2**60),
    seconds=st.floats(0, 1e6),
    outcome=st.sampled_from(StepOutcome),
    detail=texts,
)
operations = st.builds(
    Operation,
    id=st.text("0123456789abcdef", min_size=32, max_size=32),
    kind=st.sampled_from(OperationKind),
    group=texts,
    target=texts,
    actor=texts,
    reason=texts,
    started_us=st.integers(0, 2**60),
    ended_us=st.integers(1, 2**60),
    state=st.sampled_from(OperationState),
    loss=st.none() | st.dictionaries(texts, st.integers() | texts, max_size=3),
    result=st.dictionaries(texts, st.booleans() | texts, max_size=3),
    error=st.none() | st.builds(Fault, code=texts, message=texts, remedy=texts, exit=st.integers(1, 5)),
    steps=st.tuples(steps) | st.just(()),
)


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> SqliteEvidence:
    return SqliteEvidence(Database(tmp_path_factory.mktemp("evidence") / "c.db"), FakeClock())


@given(operations)
def test_operations_come_back_as_they_were(evidence: SqliteEvidence, operation: Operation) -> None:
    if evidence.operation(operation.id) is not None:
        return
    evidence.begin(operation)
    for step in operation.steps:
        evidence.step(operation.id, step)
    assert [o.id for o in evidence.unfinished()] == [operation.id]
    evidence.end(replace(operation, state=OperationState.DONE))
    assert evidence.operation(operation.id) == replace(operation, state=OperationState.DONE)


def test_events_are_numbered_and_found_by_group(evidence: SqliteEvidence) -> None:
    first = evidence.record(Event("opened", "one", "orders", A, Epoch(2**64 - 1)))
    evidence.record(Event("opened", "two", "other"))
    last = evidence.record(Event("lost", "three", "orders"))
    assert evidence.events("orders", 0, 10) == [first, last]
    assert evidence.events("orders", first.n, 10) == [last]
    assert evidence.events("", -1, 1) == [last]


def test_a_view_stays_on_record_until_it_is_proved_gone(evidence: SqliteEvidence) -> None:
    view = OpenView("d", GROUP, A, "v")
    evidence.open_view(view)
    assert evidence.open_views() == [view]
    evidence.close_view(view)
    assert evidence.open_views() == []


def test_a_drill_report_comes_back_as_it_was(evidence: SqliteEvidence) -> None:
    step = Step(1, "view.open", A, 1, 0.5, StepOutcome.DONE, "x")
    finding = VolumeFinding("data", "blake3:aa", "blake3:aa", Content.EQUAL, "ext4")
    report = DrillReport(
        "d", "orders", "remote", A, Epoch(7), 40, DrillPoint(40, 5, "n"), "ops", "why", 1, 9, 0.1, 0.2, 0.3,
        ("view.open",), 1.0, 15.0, 300.0, Verdict.PASSED, Content.EQUAL, (), (finding,),
        (Cleanup(A, "v", is_proved=True),), (step,),
    )  # fmt: skip
    evidence.keep_drill(report)
    assert evidence.drill("d") == report
    assert evidence.last_drill("orders") == report
    assert evidence.drills(10) == [report]
