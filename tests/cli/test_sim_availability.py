import json
from collections.abc import Awaitable
from pathlib import Path
from typing import Protocol

import pytest

SHORT = ("sim", "availability", "--years", "3", "--repetitions", "2")
ONE = (*SHORT, "--topology", "three-centers-witness-automatic", "--no-what-ifs")


class Ended(Protocol):
    code: int
    out: str
    err: str


class Drsync(Protocol):
    def __call__(self, *words: str) -> Awaitable[Ended]: ...


async def test_tables_tell_topologies_causes_losses_and_changes(drsync: Drsync) -> None:
    told = await drsync(*SHORT)
    assert told.code == 0
    for text in (
        "3 centers + third place",
        "Minutes a year by cause",
        "writes lost",
        "no drills",
        "assumptions",
    ):
        assert text in told.out
    assert told.err == ""  # progress is for terminals


async def test_json_is_one_object(drsync: Drsync) -> None:
    told = await drsync(*ONE, "--json")
    report = json.loads(told.out)
    assert report["schema"] == "drsync.availability-study/1"
    assert [one["name"] for one in report["topologies"]] == ["three-centers-witness-automatic"]
    assert report["what_ifs"] == []


async def test_the_tables_come_in_chinese(drsync: Drsync) -> None:
    assert "可用性研究" in (await drsync(*ONE, "--lang", "zh")).out


async def test_a_picture_is_drawn_and_another_form_refused_before_anything_is_computed(
    drsync: Drsync, tmp_path: Path
) -> None:
    told = await drsync(*ONE, "--picture", str(tmp_path / "study.svg"))
    assert told.code == 0
    assert (tmp_path / "study.svg").read_text("utf-8").startswith("<svg")
    refused = await drsync("sim", "availability", "--picture", "study.png")
    assert refused.code == 2
    assert "ends with .svg" in refused.err


async def test_the_template_can_be_given_back(drsync: Drsync, tmp_path: Path) -> None:
    path = tmp_path / "rates.yaml"
    path.write_text((await drsync("sim", "availability", "--rates-template")).out)
    with_template = await drsync(*ONE, "--json", "--rates", str(path))
    assert json.loads(with_template.out) == json.loads((await drsync(*ONE, "--json")).out)


async def test_a_bad_table_is_told_in_one_go(drsync: Drsync, tmp_path: Path) -> None:
    path = tmp_path / "rates.yaml"
    path.write_text("faults:\n  disk: {per_year: often}\n  hosts: 3\n")
    told = await drsync("sim", "availability", "--rates", str(path))
    assert told.code == 2
    assert "2 mistakes" in told.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--topology", "three-centres-manual"), "Did you mean three-centers-manual?"),
        (("--detection", "5"), "lacks a unit"),
        (("--target", "100 %"), "below 100 %"),
    ],
)
async def test_wrong_options_are_explained(drsync: Drsync, words: tuple[str, ...], said: str) -> None:
    told = await drsync("sim", "availability", *words)
    assert told.code == 2
    assert said in told.err
