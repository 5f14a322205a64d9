"""Hundreds of worlds of running daemons keep every promise, and each is the same whenever it is run."""

import os
import subprocess
import sys

import pytest

from drsync.sim.run import Run
from drsync.sim.runner import Kind, list_mutants, run_seed, run_seeds, worlds_of

SEEDS, CHUNK = 300, 20
BROKEN_S = 4.5  # because half a minute under faults is for machines that have the night
SCRIPT = """
from drsync.sim.runner import Kind, run_seeds
print(run_seeds({first}, {count}, kind=Kind.RUNNING, broken_s=4.0, failures_max=100)["fingerprint"])
"""


@pytest.mark.timeout(240)  # because the machines that run this are shared
@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_three_hundred_worlds_keep_every_promise(first: int) -> None:
    report = run_seeds(first, CHUNK, kind=Kind.RUNNING, broken_s=BROKEN_S)
    assert report["failures"] == []
    assert report["acknowledged"] > CHUNK
    assert report["openings"] > CHUNK
    assert report["faults"] > CHUNK // 2


@pytest.mark.timeout(120)
def test_a_seed_is_the_same_in_every_process() -> None:
    answers = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT.format(first=40, count=4)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "4711")
    ]
    assert answers[0] == answers[1]
    assert len(answers[0]) > len(b"0")


def test_side_by_side_is_the_same_as_one_after_the_other() -> None:
    alone = run_seeds(50, 2, kind=Kind.MINIATURE)
    together = run_seeds(50, 2, kind=Kind.MINIATURE, jobs=2)
    assert alone == together


def test_a_longer_run_begins_as_the_shorter_one() -> None:
    short, long = (Run(3, broken_s=seconds, keeps_all=True).execute() for seconds in (1.0, 2.0))
    calm = next(at for at, line in enumerate(short.lines) if "calm" in line)
    assert calm
    assert short.lines[:calm] == long.lines[:calm]


def test_a_broken_promise_is_a_failure_with_its_last_events_and_a_command() -> None:
    report = run_seeds(0, 200, "reopen_same_epoch", Kind.RUNNING, broken_s=BROKEN_S)
    [failure] = report["failures"]
    assert failure["world"] == "running"
    assert failure["last"]
    assert (
        failure["replay"] == f"drsync sim --seed {failure['seed']} --world running --mutant reopen_same_epoch"
    )


def test_a_mutant_is_run_where_it_can_be_seen() -> None:
    assert worlds_of("resync_no_redo", Kind.BOTH) == (Kind.MINIATURE,)
    assert worlds_of("no_in_sync_check", Kind.BOTH) == (Kind.RUNNING, Kind.MINIATURE)
    assert worlds_of(None, Kind.BOTH) == (Kind.RUNNING, Kind.MINIATURE)
    assert set(list_mutants()) >= {"resync_no_redo", "no_in_sync_check"}
    with pytest.raises(KeyError):
        run_seed(0, "no_such_rule")
    with pytest.raises(KeyError):
        run_seeds(0, 1, "no_such_rule")
