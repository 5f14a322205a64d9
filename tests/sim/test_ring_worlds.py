"""Worlds in which the kernel syncs beside the loops, at one instant or another before they are told."""

import pytest

from drsync.adapters.segments.files import Ended, Wait
from drsync.sim.disk_files import DiskFiles
from drsync.sim.runner import Kind, run_seeds
from drsync.sim.world import RINGS_FROM

SEEDS, BROKEN_S = 24, 4.5


@pytest.mark.timeout(240)  # because the machines that run this are shared
def test_syncs_beside_the_loop_keep_every_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    begin, begun = DiskFiles.begin_fdatasync, [0, 0]

    def count(files: DiskFiles, fd: int, ended: Ended, /) -> Wait | None:
        wait = begin(files, fd, ended)
        begun[wait is not None] += 1
        return wait

    monkeypatch.setattr(DiskFiles, "begin_fdatasync", count)
    report = run_seeds(RINGS_FROM, SEEDS, kind=Kind.RUNNING, broken_s=BROKEN_S)
    assert report["failures"] == []
    assert min(begun) > SEEDS, "syncs with and without a ring"
