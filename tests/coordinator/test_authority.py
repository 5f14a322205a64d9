"""What the coordinator's memory of members is for: a restored snapshot is not taken for a good copy."""

from dataclasses import replace
from pathlib import Path

from drsync.adapters.sqlite.charters import SqliteCharterStore
from drsync.adapters.sqlite.database import Database
from drsync.adapters.sqlite.mark import FileMarkNote
from drsync.adapters.sqlite.members import MemberMemory
from drsync.adapters.system.clock import SystemClock, SystemRandom
from drsync.coordinator.authority import Authority
from drsync.coordinator.forms import OwnerReport, SeenCharter
from drsync.coordinator.sessions import AgentSession, SessionTable
from drsync.model.charter import Charter
from drsync.model.copy import CopyState, Statement
from drsync.model.epoch import Epoch, make
from tests.engine.town import GROUP


def _untold(*_: str) -> None:
    """Events are not looked at here."""


async def test_an_in_sync_member_restored_from_a_snapshot_counts_only_when_it_has_caught_up(
    tmp_path: Path,
) -> None:
    clock = SystemClock()
    database = Database(tmp_path / "c.db")
    store = SqliteCharterStore(database, FileMarkNote(tmp_path / "run", "boot"), clock, SystemRandom())
    sessions = SessionTable()
    authority = Authority(store, MemberMemory(database, clock), sessions, clock, _untold)
    charter = Charter(GROUP, 1, 0, "production", "s", Epoch(1), frozenset(("production", "same_city")))
    await store.compare_and_set(0, charter)
    word = Statement("same_city", "s1", "i", CopyState.REPLICA, Epoch(1), Epoch(1), appended=900, durable=900)
    assert not authority.register(GROUP.id, word, is_back=False)
    sessions.hear_report(GROUP.id, "production", OwnerReport(epoch=1, commit=400, tip=400), clock.now())
    restored = replace(word, session="s2", appended=400, durable=400)
    assert authority.register(GROUP.id, restored, is_back=False)
    assert authority.heard(GROUP.id, restored).amnesic, "it was in the set before it went back"
    level = replace(restored, appended=900, durable=900)
    assert authority.heard(GROUP.id, level).amnesic, "it may have acknowledged more than it ever stated"
    sessions.hear_report(GROUP.id, "production", OwnerReport(epoch=1, commit=950, tip=990), clock.now())
    assert authority.heard(GROUP.id, level).amnesic
    assert not authority.heard(GROUP.id, replace(level, appended=960, durable=950)).amnesic


async def test_a_start_token_that_went_back_is_believed_whatever_was_kept_of_positions(
    tmp_path: Path,
) -> None:
    """The coordinator died, and keeps no position for each record: what it has left does not show the gap."""
    authority = await _authority(tmp_path)
    word = Statement("same_city", "s1", "i", CopyState.REPLICA, Epoch(1), Epoch(1), appended=400, durable=400)
    assert authority.register(GROUP.id, word, is_back=True), "it has to be told, so that it knows itself"
    assert authority.heard(GROUP.id, word).amnesic
    opened = replace(word, promised=Epoch(2), follow=Epoch(2))
    charter = Charter(GROUP, 2, 0, "same_city", "s1", Epoch(2), frozenset(("same_city",)))
    await authority._store.compare_and_set(1, charter)
    assert not authority.heard(GROUP.id, opened).amnesic, "whoever opens had its loss admitted"


async def test_a_member_with_an_emptied_store_is_no_good_copy_until_it_is_refilled(tmp_path: Path) -> None:
    """It is still in the set, its new store is blank, and the owner may be dead."""
    authority = await _authority(tmp_path)
    word = Statement("same_city", "s1", "i", CopyState.REPLICA, Epoch(1), Epoch(1), appended=900, durable=900)
    assert not authority.register(GROUP.id, word, is_back=False)

    assert authority.register_missing(GROUP.id, "same_city")
    refilling = replace(word, session="s2", incarnation="j", appended=400, durable=400)
    assert authority.heard(GROUP.id, refilling).amnesic
    assert authority.heard(GROUP.id, replace(refilling, amnesic=True)).amnesic, "it knows it itself"
    assert not authority.heard(GROUP.id, replace(refilling, appended=900, durable=900)).amnesic


async def test_a_member_that_was_let_in_after_it_had_gone_back_counts(tmp_path: Path) -> None:
    """Its owner may die before it reports that."""
    authority = await _authority(tmp_path)
    alone = Charter(GROUP, 2, 0, "production", "s", Epoch(1), frozenset(("production",)))
    await authority._store.compare_and_set(1, alone)
    word = Statement("same_city", "s1", "i", CopyState.REPLICA, Epoch(1), Epoch(1), appended=400, durable=400)
    assert authority.register(GROUP.id, word, is_back=True)
    assert authority.heard(GROUP.id, word).amnesic
    pair = replace(alone, version=3, in_sync=frozenset(("production", "same_city")))
    await authority._store.compare_and_set(2, pair)
    assert not authority.heard(GROUP.id, word).amnesic


async def test_another_incarnation_that_is_behind_has_gone_back(tmp_path: Path) -> None:
    authority = await _authority(tmp_path)
    word = Statement("same_city", "s1", "i", CopyState.REPLICA, Epoch(1), Epoch(1), appended=900, durable=900)
    assert not authority.register(GROUP.id, word, is_back=False)
    younger = replace(word, session="s2", incarnation="j", appended=400, durable=400)
    assert authority.register(GROUP.id, younger, is_back=False)


async def test_a_center_that_never_had_a_copy_has_not_lost_one(tmp_path: Path) -> None:
    authority = await _authority(tmp_path)
    assert not authority.register_missing(GROUP.id, "same_city")


async def test_an_old_store_hands_out_no_start_tokens(tmp_path: Path) -> None:
    """Else the newest store, once put back, would find tokens that it never gave, and distrust itself."""
    authority = await _authority(tmp_path)
    assert authority.check_token("remote", 0) == (1, False)
    authority.remembered("remote", {GROUP.id: SeenCharter(name=GROUP.name, version=7, epoch=2)})
    assert authority.check_token("remote", 1) == (1, False)
    assert authority.check_token("same_city", 0) == (1, False)  # has not seen more than this store holds


async def test_an_epoch_of_the_lost_store_does_not_make_the_new_one_old(tmp_path: Path) -> None:
    """It was owner, out of reach, when the others' generation was begun from what they remembered."""
    authority = await _authority(tmp_path, generation=1)
    forced = make(0, 1, 0)
    authority.heard_charter(GROUP.id, "remote", 1, forced, 1)
    assert not authority.store_ready(GROUP.id)
    authority.heard_charter(GROUP.id, "remote", 1, make(1, 0, 1), 1)
    assert "old copy" in authority.store_ready(GROUP.id), (
        "an epoch of this generation that the store does not know"
    )


async def _authority(directory: Path, generation: int = 0) -> Authority:
    clock = SystemClock()
    database = Database(directory / "c.db")
    store = SqliteCharterStore(database, FileMarkNote(directory / "run", "boot"), clock, SystemRandom())
    authority = Authority(store, MemberMemory(database, clock), SessionTable(), clock, _untold)
    charter = Charter(GROUP, 1, 0, "production", "s", Epoch(1), frozenset(("production", "same_city")))
    charter = replace(charter, generation=generation)
    await store.compare_and_set(0, charter)
    return authority


async def test_a_report_of_an_epoch_that_is_over_says_nothing_of_what_would_be_lost(tmp_path: Path) -> None:
    """The old owner may have heard of commits that a forced failover gave up."""
    clock = SystemClock()
    database = Database(tmp_path / "c.db")
    store = SqliteCharterStore(database, FileMarkNote(tmp_path / "run", "boot"), clock, SystemRandom())
    sessions = SessionTable()
    authority = Authority(store, MemberMemory(database, clock), sessions, clock, _untold)
    charter = Charter(GROUP, 1, 0, "production", "s", Epoch(1), frozenset(("production",)))
    await store.compare_and_set(0, charter)
    sessions.hear_report(GROUP.id, "production", OwnerReport(epoch=1, commit=900, tip=950), clock.now())
    known = authority.last_known(GROUP.id)
    assert known is not None
    assert (known.commit, known.tip) == (900, 950)

    store.guard = lambda _current, _new: None  # leases and trust are not what this is about
    await store.compare_and_set(1, replace(charter, version=2, epoch=Epoch(2)))
    assert authority.last_known(GROUP.id) is None, "the same center in another epoch"
    await store.compare_and_set(2, replace(charter, version=3, owner="same_city", epoch=Epoch(3)))
    assert authority.last_known(GROUP.id) is None, "another center"


class _Line:
    """To an agent that nobody asks anything."""

    is_open = True

    async def call(self, method: str, body: dict[str, object], timeout_s: float) -> dict[str, object]:
        raise AssertionError(method)

    def close(self, reason: str) -> None:
        raise AssertionError(reason)


async def test_a_strict_group_that_comes_home_takes_its_mate_in(tmp_path: Path) -> None:
    """The far center stays in the set, since strict groups let nobody go; the mate joins all the same."""
    authority = await _authority(tmp_path)
    owner = AgentSession("production", "s1", _Line(), "test", "", 0, 0.0)
    home = Charter(
        GROUP, 5, owner="production", owner_session="s1", in_sync=frozenset(("production", "remote"))
    )
    whole = replace(home, version=6, in_sync=frozenset(("production", "remote", "same_city")))
    assert authority.refusal(owner, home, whole) is None
    alone = replace(home, in_sync=frozenset(("production",)))
    far = replace(alone, version=6, in_sync=frozenset(("production", "remote")))
    assert authority.refusal(owner, alone, far) is not None
