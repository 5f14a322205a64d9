"""Transcripts of the stories. To write them anew: DRSYNC_WRITE_SCENARIOS=1; then read the difference."""

import os
import re
from pathlib import Path

import pytest

from tests.scenarios.stories import STORIES

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
WALK = ROOT / "docs" / "failure-walk.md"
LINK = re.compile(r"\]\(\.\./tests/scenarios/([\w-]+)\.txt\)")


def _told(name: str) -> object:
    wanting = STORIES[name].wanting
    marks = [pytest.mark.xfail(strict=True, reason=wanting)] if wanting else []
    return pytest.param(name, marks=marks)


@pytest.mark.parametrize("name", [_told(name) for name in sorted(STORIES)])
def test_a_story_is_told_as_it_was(name: str) -> None:
    told = STORIES[name].transcript()
    path = HERE / f"{name}.txt"
    if os.environ.get("DRSYNC_WRITE_SCENARIOS"):
        path.write_text(told, encoding="utf-8")
    assert told == path.read_text(encoding="utf-8")


def test_every_transcript_has_its_story() -> None:
    kept = {path.stem for path in HERE.glob("*.txt")}
    assert kept == {name for name, story in STORIES.items() if not story.wanting}


def test_no_story_of_others_is_silently_missing() -> None:
    """P43 to P58 are about files, which other tests tell."""
    listed = set(
        re.findall(r"^\| \[?(P\d\d)", (HERE / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    )
    wanted = {f"P{number:02}" for number in (*range(1, 43), *range(59, 76))}
    assert listed == wanted


def test_what_is_listed_as_told_is_told() -> None:
    text = (HERE / "README.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"^\| \[(P\d\d)\]\(\1\.txt\)", text, re.MULTILINE))
    assert linked == {name for name in STORIES if name.startswith("P")}


def test_every_heading_of_the_failure_walk_names_a_scenario_that_exists() -> None:
    for heading, body in _sections(WALK.read_text(encoding="utf-8")):
        names = LINK.findall(body)
        assert names, f"{heading}: no scenario stands behind it"
        assert not set(names) - set(STORIES), heading


def test_every_scenario_is_mentioned() -> None:
    texts = WALK.read_text(encoding="utf-8") + (HERE / "README.md").read_text(encoding="utf-8")
    for name in STORIES:
        assert f"{name}.txt" in texts


def _sections(text: str) -> list[tuple[str, str]]:
    """Each heading of the third level and what stands under it."""
    parts = re.split(r"^(#{2,3} .*)$", text, flags=re.MULTILINE)
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    return [(heading, body) for heading, body in pairs if heading.startswith("### ")]
