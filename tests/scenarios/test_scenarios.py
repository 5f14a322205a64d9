"""Transcripts of the stories. To write them anew: DRSYNC_WRITE_SCENARIOS=1; then read the difference."""

import os
from pathlib import Path

import pytest

from tests.scenarios.stories import STORIES

HERE = Path(__file__).parent


@pytest.mark.parametrize("name", sorted(STORIES))
def test_a_story_is_told_as_it_was(name: str) -> None:
    told = STORIES[name].transcript()
    path = HERE / f"{name}.txt"
    if os.environ.get("DRSYNC_WRITE_SCENARIOS"):
        path.write_text(told, encoding="utf-8")
    assert told == path.read_text(encoding="utf-8")
