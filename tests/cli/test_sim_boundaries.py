import json
from collections.abc import Awaitable
from typing import Protocol

WORDS = ("sim", "boundaries")
AT = "remote:call:2:after:power"


class Ended(Protocol):
    code: int
    out: str
    err: str


class Drsync(Protocol):
    def __call__(self, *words: str) -> Awaitable[Ended]: ...


async def test_a_walk_counts_how_procedures_ended(drsync: Drsync) -> None:
    told = await drsync(*WORDS, "--procedure", "drill", "--sample", "2")
    assert told.code == 0
    assert "Every promise was kept" in told.out
    assert told.err == ""  # progress is for terminals


async def test_a_walk_in_json(drsync: Drsync) -> None:
    told = await drsync(*WORDS, "--procedure", "drill", "--sample", "1", "--double", "--json")
    report = json.loads(told.out)
    (drill,) = report["procedures"]
    assert report["schema"] == "drsync.boundaries/1"
    assert drill["boundaries"] > drill["runs"] == 1
    assert sum(drill["endings"].values()) == 1


async def test_one_boundary_is_replayed_line_by_line(drsync: Drsync) -> None:
    told = await drsync(*WORDS, "--procedure", "drill", "--at", AT)
    assert told.code == 0
    assert f"death: {AT}" in told.out
    assert "it ended: done" in told.out or "it ended: again" in told.out


async def test_a_boundary_that_is_never_reached_is_a_failure(drsync: Drsync) -> None:
    told = await drsync(*WORDS, "--procedure", "drill", "--at", "remote:call:9999:after:kill")
    assert told.code == 1
    assert "nobody died" in told.out


async def test_what_is_not_known_is_refused_with_a_remedy(drsync: Drsync) -> None:
    for words, text in (
        (("--procedure", "switchovr"), "Did you mean switchover?"),
        (("--procedure", "drill", "--at", "nowhere:call:1:after:kill"), "there is no nowhere"),
        (("--at", AT), "--at needs one --procedure"),
        (("--mutant", "ack_befor_shrink"), "there is no mutant"),
    ):
        told = await drsync(*WORDS, *words)
        assert told.code == 2
        assert text in told.err
