import json
from collections.abc import Awaitable
from typing import Protocol

import pytest

from drsync.sim import runner


class Ended(Protocol):
    code: int
    out: str
    err: str


class Drsync(Protocol):
    def __call__(self, *words: str) -> Awaitable[Ended]: ...


async def test_clean_seeds_end_with_zero_and_one_object(drsync: Drsync) -> None:
    told = await drsync("sim", "--seeds", "2", "--json")
    report = json.loads(told.out)
    assert told.code == 0
    assert report["seeds"] == 2
    assert report["events"] > 0
    assert report["failures"] == []


async def test_one_seed_is_replayed_alike(drsync: Drsync) -> None:
    runs = [json.loads((await drsync("sim", "--seed", "7", "--json")).out) for _ in range(2)]
    assert runs[0]["seeds"] == 1
    assert runs[0]["fingerprint"] == runs[1]["fingerprint"]


async def test_mutants_are_listed_and_a_mistyped_one_is_guessed(drsync: Drsync) -> None:
    listed = json.loads((await drsync("sim", "--list-mutants", "--json")).out)["mutants"]
    assert listed == runner.list_mutants()

    name = next(iter(listed))
    told = await drsync("sim", "--mutant", name[:-1] + "x")
    assert told.code == 2
    assert f"Did you mean {name}?" in told.err


async def test_a_broken_promise_ends_with_one_and_says_how_to_see_it_again(
    drsync: Drsync, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = runner.run_seeds(5, 1)
    failure = runner.Failure(
        seed=5,
        world="running",
        invariant="INV-01",
        evidence="lost 7",
        last=["  1.000  remote boots"],
        replay="drsync sim --seed 5",
    )
    monkeypatch.setattr(runner, "run_seeds", lambda *_, **__: {**report, "failures": [failure]})

    told = await drsync("sim", "--seed", "5")

    assert told.code == 1
    assert "seed 5 broke INV-01: lost 7\n    1.000  remote boots\n  again: drsync sim --seed 5\n" in told.out
