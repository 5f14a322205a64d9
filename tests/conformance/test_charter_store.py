"""Every charter store keeps the same word: one winner per version, and no change the guard forbids."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from drsync.adapters.memory.charter_store import MemoryCharterStore
from drsync.adapters.sqlite.charters import SqliteCharterStore
from drsync.adapters.sqlite.database import Database
from drsync.adapters.sqlite.mark import FileMarkNote
from drsync.model.charter import Charter, Intent, IntentKind
from drsync.model.epoch import make
from drsync.model.position import NO_CHAIN, EpochStart, Loss
from drsync.ports.charter_store import CasOutcome
from tests.engine.fake_members import GROUP, A, B, FakeClock, FakeRandom, spec

Store = MemoryCharterStore | SqliteCharterStore


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "memory":
        yield MemoryCharterStore()
        return
    database = Database(tmp_path / "state" / "coordinator.db")
    yield SqliteCharterStore(database, FileMarkNote(tmp_path / "run", "boot"), FakeClock(), FakeRandom())
    database.close()


def following(charter: Charter, owner: str) -> Charter:
    return replace(charter, version=charter.version + 1, owner=owner)


async def test_an_unknown_group_has_no_charter(store: Store) -> None:
    assert await store.read(GROUP) is None


async def test_what_was_set_is_read_back_whole(store: Store) -> None:
    intent = Intent("i" * 32, IntentKind.FAILOVER, B, 1, "ops", "fire", accept_loss=True, started_us=7)
    start = EpochStart(make(1, 2, 3), "u", 40, NO_CHAIN, Loss.FORCED, 5)
    charter = Charter(spec(), 1, 1, A, "s", make(1, 2, 3), frozenset((A, B)), (start,), intent)
    assert (await store.compare_and_set(0, charter)).outcome is CasOutcome.DONE
    assert await store.read(GROUP) == charter


async def test_the_largest_epoch_survives(store: Store) -> None:
    charter = Charter(spec(), epoch=make(0xFFFF, 0xFFFF, 0xFFFFFFFF))
    await store.compare_and_set(0, charter)
    assert await store.read(GROUP) == charter


async def test_of_two_changes_of_one_version_the_second_loses_and_hears_the_first(store: Store) -> None:
    first = Charter(spec())
    await store.compare_and_set(0, first)
    assert (await store.compare_and_set(1, following(first, A))).outcome is CasOutcome.DONE
    late = await store.compare_and_set(1, following(first, B))
    assert late.outcome is CasOutcome.LOST
    assert late.current == following(first, A)
    assert late.reason


async def test_a_group_is_made_once(store: Store) -> None:
    await store.compare_and_set(0, Charter(spec()))
    assert (await store.compare_and_set(0, Charter(spec(), owner=B))).outcome is CasOutcome.LOST


async def test_what_the_guard_forbids_is_not_done(store: Store) -> None:
    first = Charter(spec())
    await store.compare_and_set(0, first)
    store.guard = lambda _current, new: "lease" if new.owner == B else None
    refused = await store.compare_and_set(1, following(first, B))
    assert (refused.outcome, refused.current, refused.reason) == (CasOutcome.LOST, first, "lease")
    assert (await store.compare_and_set(1, following(first, A))).outcome is CasOutcome.DONE


async def test_every_version_is_kept(store: Store) -> None:
    charter = Charter(spec())
    await store.compare_and_set(0, charter)
    await store.compare_and_set(1, following(charter, A))
    assert len(store.history(GROUP)) == 2
