"""An agent whose disk is full in the middle of a switch tries again, and calls no copy failed for it."""

import random
from dataclasses import replace
from pathlib import Path

from drsync.agent.broken import may_be_created_again
from drsync.agent.copy_store import FileCopyStore
from drsync.engine.durable import Durable
from drsync.engine.switch import Switch
from drsync.model.errors import FailedCopyError, NoSpaceError
from tests.engine.switch_rig import NEW, P0, P1, SESSION, F, charter, logs


def test_a_full_disk_in_a_switch_is_no_reason_to_give_the_copy_up(tmp_path: Path) -> None:
    _, theirs = logs(random.Random(5))
    store = FileCopyStore(tmp_path, "cluster", "remote")
    settled = Durable("1" * 32, "boot", charter=charter(theirs))
    store.superblock().store(settled.encode())
    assert not may_be_created_again(store, NoSpaceError("full"))
    word = Switch(SESSION, 3, NEW, theirs.at(P0), theirs.at(P1), 1, F)
    store.superblock().store(replace(settled, switch=word).encode())
    assert may_be_created_again(store, NoSpaceError("full"))
    assert not may_be_created_again(store, FailedCopyError("rotten"))
