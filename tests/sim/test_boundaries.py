"""Whoever dies at any step of any procedure: it ends, the group is served, and nothing acknowledged is lost.

Here are some boundaries of each procedure, always the same; `drsync sim boundaries --all` tries every one.
"""

import asyncio
from collections.abc import Callable

import pytest

from drsync.engine.copy import GroupCopy
from drsync.engine.durable import Durable
from drsync.sim.boundaries import deaths, walk
from drsync.sim.boundaries.deaths import Death, Kind, Moment, Way
from drsync.sim.boundaries.procedures import PROCEDURES
from drsync.sim.boundaries.trial import Ending

SINGLE = 8  # of each procedure, because all of them take an hour
DOUBLE = 2
WRONG = 25  # at most, because each is noticed in one of the first


@pytest.mark.parametrize("name", PROCEDURES)
def test_one_death(name: str) -> None:
    report = walk.walk(name, SINGLE)
    assert report["failures"] == []
    assert report["runs"] >= SINGLE - 2


@pytest.mark.parametrize("name", PROCEDURES)
def test_two_deaths(name: str) -> None:
    report = walk.walk(name, DOUBLE, is_double=True)
    assert report["failures"] == []
    assert report["runs"] >= 1


def test_a_switchover_ends_wherever_the_coordinator_is_killed() -> None:
    steps = walk.count("switchover")
    assert steps.commands >= 8
    for number in range(1, steps.commands + 1):
        death = Death("coordinator", Kind.COMMAND, number, Moment.AFTER, Way.KILL)
        outcome = walk.run("switchover", (death,))
        assert outcome.failure is None
        assert outcome.ending is Ending.DONE, death


def test_a_boundary_is_the_same_in_every_run() -> None:
    at = (deaths.parse("same_city:call:9:within:power"),)
    assert walk.run("switchover", at).fingerprint == walk.run("switchover", at).fingerprint


def test_the_scenes_are_what_they_are_called() -> None:
    tail, fork = walk.run("tail", (), keeps_all=True), walk.run("fork", (), keeps_all=True)
    assert any("log_cut" in line for line in tail.lines)
    assert tail.lost == 0
    assert any("kept as fork" in line for line in fork.lines)
    assert fork.lost > 0


@pytest.mark.parametrize(
    "text",
    [
        "production:call:1:before:kill",
        "remote:call:12:within:power",
        "coordinator:command:3:after:kill",
        "same_city:call:4:after:city",
    ],
)
def test_a_death_is_written_as_it_is_read(text: str) -> None:
    assert str(deaths.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "production:call:1:before",
        "nowhere:call:1:before:kill",
        "production:command:1:after:kill",
        "coordinator:call:1:after:kill",
        "production:call:0:after:kill",
        "production:call:1:never:kill",
    ],
)
def test_what_is_no_boundary_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # each has words of its own
        deaths.parse(text)


@pytest.mark.parametrize("number", [1, 7, 100, 902])
def test_a_sample_meets_every_moment_and_way(number: int) -> None:
    found = walk.boundaries(deaths.Steps({"production": ["pwritev", "fsync"] * 40}, 8, 20))
    chosen = walk.sample(found, number)
    assert len(chosen) <= number
    assert len(chosen) == len(set(chosen))
    if number >= 100:
        assert {(death.moment, death.way) for (death,) in chosen} == {
            (moment, way) for moment in Moment for way in (Way.KILL, Way.POWER)
        }


# --- wrong ways: boundaries that cannot fail would prove nothing


def broken_by(name: str, mutant: str | None = None) -> set[str]:
    """The invariants that a walk breaks."""
    report = walk.walk(name, WRONG, mutant=mutant, failures_max=1)
    return {failure["invariant"] for failure in report["failures"]}


@pytest.mark.parametrize(
    ("mutant", "name", "invariant"),
    [
        ("superblock_not_durable", "opening", "INV-15"),
        ("no_truncation", "tail", "INV-10"),
        ("applied_leads", "isolated", "INV-09"),
    ],
)
def test_a_wrong_rule_is_noticed(mutant: str, name: str, invariant: str) -> None:
    assert broken_by(name, mutant) == {invariant}


def test_a_promise_that_is_stated_before_it_is_durable_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = GroupCopy.store

    async def hasty(self: GroupCopy, change: Callable[[Durable], Durable]) -> None:
        self.durable = change(self.durable)
        later.append(asyncio.get_running_loop().create_task(shipped(self, change)))

    later: list[asyncio.Task[None]] = []
    monkeypatch.setattr(GroupCopy, "store", hasty)
    early = [Death("production", Kind.CALL, number, Moment.BEFORE, Way.KILL) for number in range(1, 11)]
    failures = (walk.run("switchover", (death,)).failure for death in early)
    assert "INV-03" in next(str(failure) for failure in failures if failure is not None)
