"""A copy whose process or machine dies in any call: what was stated durable is there when it comes back."""

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from drsync.sim.disk import Disk, Moment
from drsync.sim.killed import Killed
from tests.sim.copies import Copy, Stated, check, formatted, go_on, live

CALLS_LEAST = 100  # so that the tests do not pass by doing nothing
MOMENTS: tuple[Moment, ...] = ("before", "within")  # after one call is before the next
LOSSES = ((0.0, 1.0), (0.8, 1.0), (1.0, 1.0))


def boundaries() -> Iterator[int]:
    """Numbers of the calls of a life that change or sync something."""
    disk = formatted()
    disk.die_at(1_000_000)
    live(disk, Stated())
    assert disk.doom is not None
    count = 1_000_000 - disk.doom[0]
    assert count > CALLS_LEAST
    return iter(range(1, count + 1))


def died(at: int, moment: Moment) -> tuple[Disk, Stated]:
    """A disk whose process died in that call, and what it had stated."""
    disk, stated = formatted(), Stated()
    disk.die_at(at, moment)
    with pytest.raises(Killed):
        live(disk, stated)
    return disk, stated


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_process_that_dies_in_any_call_is_followed_by_one_that_goes_on(moment: Moment) -> None:
    """And when then the power goes, it is as though the first death had not been."""
    for at in boundaries():
        disk, stated = died(at, moment)
        copy = Copy(disk, stated)
        check(copy)
        go_on(copy)
        disk.loss = LOSSES[at % len(LOSSES)]
        disk.power_cut(random.Random(at))
        check(Copy(disk, stated))


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_power_cut_in_any_call_loses_nothing_that_was_durable(moment: Moment) -> None:
    for at in boundaries():
        disk, stated = died(at, moment)
        snapshot = disk.snapshot()
        for dice, loss in enumerate(LOSSES):
            disk.restore(snapshot)
            disk.loss = loss
            disk.power_cut(random.Random(at * 10 + dice))
            again = replace(stated, log=dict(stated.log), stored=list(stated.stored))
            copy = Copy(disk, again)
            check(copy)
            go_on(copy)
            disk.power_cut(random.Random(at))
            check(Copy(disk, again))
