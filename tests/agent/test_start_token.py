"""The start token: what a restored snapshot takes back."""

import random
from pathlib import Path

import pytest

from drsync.agent.start_token import StartToken
from drsync.model.errors import FailedCopyError
from drsync.sim.agent import STATE_DIR, install
from drsync.sim.disk import Disk
from drsync.sim.disk_files import DiskFiles


def test_a_token_survives_a_restart(tmp_path: Path) -> None:
    assert StartToken(tmp_path).value == 0
    StartToken(tmp_path).keep(7)
    assert StartToken(tmp_path).value == 7


def test_a_damaged_token_is_no_fresh_start(tmp_path: Path) -> None:
    (tmp_path / "start-token").write_text("seven", encoding="ascii")
    with pytest.raises(FailedCopyError, match="start-token"):
        StartToken(tmp_path)


def test_a_directory_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    token = StartToken(tmp_path / "gone")
    with pytest.raises(FailedCopyError, match="cannot write"):
        token.keep(1)


@pytest.mark.parametrize("seed", range(20))
def test_after_a_power_cut_there_is_the_token_kept_last(seed: int) -> None:
    disk = Disk()
    install(disk)
    token = StartToken(STATE_DIR, DiskFiles(disk))
    token.keep(7)
    token.keep(8)
    disk.power_cut(random.Random(seed))
    assert StartToken(STATE_DIR, DiskFiles(disk)).value == 8
