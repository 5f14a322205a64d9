"""What an owner says when a log cannot be joined to its own: the reason that is true, and what helps."""

import pytest

from drsync.core import compare
from drsync.engine.attach import follow_plan
from drsync.model.errors import RefusedError
from drsync.model.position import Loss
from tests.core.logs import Story, chain_of, word, written
from tests.core.test_compare import owner_of

FORCED = Story().opened(1, 0, Loss.NONE, 3).opened(2, 2, Loss.FORCED, 2)
FOUND = word(written((1, 3)), follow=1, commit=3, applied=3)


def test_an_image_ahead_of_what_is_left_is_not_blamed_on_the_journal() -> None:
    plan = compare.ExportFork(2, chain_of(written((1, 2))), 9, False, compare.DirtyResync(2))
    with pytest.raises(
        RefusedError, match="b holds records after 2 in its image that the group gave up"
    ) as said:
        follow_plan(plan, FOUND, owner_of(FORCED, FOUND))
    assert said.value.code == "needs_resync"
    assert "quota" not in said.value.remedy


def test_a_gap_that_was_trimmed_away_is() -> None:
    with pytest.raises(RefusedError, match="the journal, which starts at 4, no longer holds") as said:
        follow_plan(compare.DirtyResync(2), FOUND, owner_of(FORCED, FOUND, 4))
    assert said.value.code == "needs_resync"
    assert "quota" in said.value.remedy
