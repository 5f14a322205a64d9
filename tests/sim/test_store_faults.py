"""The store is put back or lost, the city is lost for ever: the world goes on with what is left."""

from collections.abc import Callable

import pytest

from drsync.sim import store_faults
from drsync.sim.run import Run
from drsync.sim.world import World

SEEDS = (4, 12)


def healed(run: Run, *faults: Callable[[World], str]) -> World:
    """The world after these faults, a second apart, and after people have mended it."""
    for name in run.world.character.weights:
        run.world.character.weights[name] = 0
    run._begin()
    for fault in faults:
        assert fault(run.world), fault
        run._pass(1.0)
    run._heal()
    run.world.end()
    return run.world


@pytest.mark.parametrize("seed", SEEDS)
def test_a_lost_store_is_begun_anew(seed: int) -> None:
    world = healed(Run(seed), store_faults.lose)
    assert world.charter is not None
    assert world.charter.generation == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_a_store_that_was_put_back_is_used_again_only_if_it_is_the_newest(seed: int) -> None:
    world = healed(Run(seed), store_faults.back_up, store_faults.lose, store_faults.restore)
    assert world.charter is not None
    assert world.charter.epoch > world.ledger.histories[min(world.ledger.histories)][-1].epoch or (
        world.charter.generation == 0
    )


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("is_store_in_city", [False, True])
def test_the_city_is_lost_for_ever_and_the_remote_center_serves(seed: int, *, is_store_in_city: bool) -> None:
    run = Run(seed)
    object.__setattr__(run.world.character, "is_store_in_city", is_store_in_city)
    world = healed(run, store_faults.lose_city)
    assert world.charter is not None
    assert world.charter.owner == "remote"
    assert world.charter.is_forced, "what it lost is stated"
    assert (world.charter.generation > 0) is is_store_in_city
