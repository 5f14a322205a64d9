"""What a target goes on with, and what it begins anew."""

from dataclasses import replace

import pytest

from drsync.core import resync_target
from drsync.core.extents import Run
from drsync.core.resync_source import Source
from drsync.core.resync_tables import TargetEvent, TargetState
from drsync.core.resync_target import Target

SOURCE = Source(session="5e", generation=3, rounds=1, p0=40)


def kept() -> Target:
    """A target whose line was cut in the middle of the redo."""
    target = resync_target.begun(Target(), SOURCE)
    target = resync_target.staged(target, "5e", (Run(0, 1, 3),))
    target = resync_target.redo(target, "5e", 41, 44)
    return resync_target.halted(target, TargetEvent.CUT)


def test_what_was_kept_goes_on_without_its_redo() -> None:
    going = resync_target.again(kept(), SOURCE)
    assert going is not None
    assert going.state is TargetState.STAGING
    assert (going.redo, going.staged) == (40, (Run(0, 1, 3),))


@pytest.mark.parametrize(
    "other",
    [
        replace(SOURCE, session="5f"),
        replace(SOURCE, generation=4),
        replace(SOURCE, rounds=2),
        replace(SOURCE, p0=41),
    ],
)
def test_what_another_session_or_round_put_aside_is_of_no_use(other: Source) -> None:
    assert resync_target.again(kept(), other) is None


def test_a_target_that_runs_or_kept_nothing_has_nothing_to_go_on_with() -> None:
    assert resync_target.again(resync_target.begun(Target(), SOURCE), SOURCE) is None
    assert resync_target.again(Target(), Source()) is None
