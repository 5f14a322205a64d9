"""A removal that is seen in parts is one removal: held as a whole, passing as a whole when approved."""

from dataclasses import replace
from pathlib import Path

import pytest

from drsync.core import file_halts
from drsync.engine import file_source
from drsync.model.fileset import FileSetSpec
from tests.engine.test_trees import SET, files, level, root
from tests.engine.town import CENTERS, GROUP, town

ALL = [center.name for center in CENTERS]


def many(folder: Path) -> list[Path]:
    return sorted(folder.glob("name-*"))


def planted(folder: Path) -> tuple[tuple[str, str], ...]:
    roots = tuple((name, str(folder / name / "tree")) for name in ALL)
    for _, place in roots:
        Path(place).mkdir(parents=True)
    for number in range(100):
        (Path(roots[0][1]) / f"name-{number:02}").write_text("x")
    return roots


async def test_a_third_of_the_names_in_a_few_seconds_is_held_however_it_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_halts, "CHANGES_FREE", 10)
    monkeypatch.setattr(file_source, "MASS_S", 60.0)
    roots = planted(tmp_path)
    spec: FileSetSpec = replace(SET, roots=roots)
    async with town(tmp_path, replace(GROUP, filesets=(spec,))) as place_:
        here, there = root(place_, "production"), root(place_, "remote")
        await level(place_, "production", "same_city", "remote")
        for path in many(here)[:25]:
            path.unlink()
        await level(place_, "production", "same_city", "remote")
        assert len(many(there)) == 75, "a quarter passes"
        for path in many(here)[:15]:
            path.unlink()
        await place_.until(lambda: "40 of 101" in files(place_, "production").hold, 15.0)
        assert len(many(there)) == 75, "and two fifths do not, even in two parts"

        trees = place_.nodes["production"].trees
        assert trees is not None
        await trees.approve("docs")
        await place_.until(lambda: len(many(there)) == 60, 15.0)
        for path in many(here)[:5]:
            path.unlink()
        await level(place_, "production", "same_city", "remote")
        assert len(many(there)) == 55, "what was approved counts no more"
