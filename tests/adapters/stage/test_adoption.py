"""The staged redo becomes the journal, whatever dies meanwhile; forks stay where people look for them."""

import random

import pytest

from drsync.agent.copy_store import FileCopyStore
from drsync.ports.copy_store import Adoption
from drsync.sim.disk import Disk, Moment
from drsync.sim.killed import Killed
from tests.adapters.stage.rig import GROUP, P0, SESSION, batch, store_on
from tests.sim.copies import formatted

FORK = "fork-1-1"
REDO = batch(P0)
MOMENTS: tuple[Moment, ...] = ("before", "after")
LOSSES = (None, (0.0, 0.0), (0.0, 1.0), (1.0, 1.0))


def prepared() -> Disk:
    """A copy with a journal, a fork in it, and a whole stage."""
    disk = formatted()
    store = store_on(disk)
    store.superblock()
    journal = store.journal(GROUP, "", 0)
    for _ in range(2):
        own = batch(journal.tip, 1)
        journal.append(own.parts, own.first_seq, own.end)
    journal.sync()
    journal.export_tail(1, FORK)
    journal.close()
    stage = store.new_stage(GROUP, SESSION)
    stage.redo().append(REDO.parts, REDO.first_seq, REDO.end)
    stage.sync()
    stage.close()
    return disk


def check(store: FileCopyStore) -> None:
    """The journal is the redo, with the forks."""
    assert store.adoption() is not Adoption.IMPOSSIBLE
    store.adopt_journal()
    journal = store.journal(GROUP, "", REDO.end.seq)
    assert journal.tip == REDO.end
    assert journal.first_seq == P0.seq + 1
    journal.close()
    assert store.files is not None
    assert store.files.names(store.directory / "journal" / "forks") == [FORK]
    store.drop_stage()
    assert sorted(store.files.names(store.directory)) == ["journal"]
    assert store.files.names(store.directory / "journal" / "forks") == [FORK]


def test_a_redo_becomes_the_journal() -> None:
    store = store_on(prepared())
    assert store.adoption() is Adoption.NOT_BEGUN
    check(store)
    assert store.adoption() is Adoption.DONE


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_adoption_that_died_in_any_call_is_done_again(moment: Moment) -> None:
    number = 0
    while True:
        number += 1
        disk = prepared()
        store = store_on(disk)
        disk.die_at(number, moment)
        try:
            store.adopt_journal()
            store.drop_stage()
        except Killed:
            pass
        else:
            break
        snapshot = disk.snapshot()
        for dice, loss in enumerate(LOSSES):
            disk.restore(snapshot)
            if loss is not None:
                disk.loss = loss
                disk.power_cut(random.Random(number * 10 + dice))
            check(store_on(disk))
    assert number > 15


def test_the_only_journal_is_never_removed_nor_forks() -> None:
    disk = prepared()
    store = store_on(disk)
    assert store.files is not None
    store.files.rename(store.directory / "journal", store.directory / "journal.old")
    store.drop_stage()
    assert "journal.old" in store.files.names(store.directory)
    store.files.make_directory(store.directory / "journal")
    store.drop_stage()
    assert FORK in store.files.names(store.directory / "journal.old" / "forks")


def test_what_cannot_be_is_refused_with_everything_in_place() -> None:
    disk = prepared()
    store = store_on(disk)
    store.drop_stage()
    assert store.files is not None
    store.files.rename(store.directory / "journal", store.directory / "elsewhere")
    assert store.adoption() is Adoption.IMPOSSIBLE
