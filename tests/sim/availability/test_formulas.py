"""The simulation against formulas on paper."""

from itertools import pairwise

import pytest

from drsync.sim.availability.faults import YEAR_S, Effect, history
from drsync.sim.availability.group import Group
from drsync.sim.availability.network import Network
from drsync.sim.availability.rates import Rates
from drsync.sim.availability.statistics import estimate
from drsync.sim.availability.topology import SINGLE, WITNESS, Topology
from drsync.sim.availability.whatif import altered

YEARS = 100.0
REPETITIONS = 6
HOUR = 3600.0


def unavailable(topology: Topology, rates: Rates, years: float = YEARS) -> list[float]:
    runs = [
        Group(topology, rates).run(history(rates, years, 3, one), years, 0.9999, lambda _: None)
        for one in range(REPETITIONS)
    ]
    return [1 - run.available for run in runs]


def test_one_repairable_component_is_up_mtbf_of_mtbf_and_mttr(quiet: Rates) -> None:
    """MTBF / (MTBF + MTTR), with the restart of the agent added to the repair."""
    rates = altered(
        altered(quiet, "faults.host_failure.per_year", 4.0), "faults.host_failure.repair", 20 * HOUR
    )
    people = altered(rates, "people.decide_loss.mean", 1e9)
    mtbf = YEAR_S / 4
    mttr = 20 * HOUR + people.steps.start.lasts + people.steps.open.lasts
    found = estimate(unavailable(SINGLE, people))
    assert found.low <= mttr / (mtbf + mttr) <= found.high
    assert found.mean == pytest.approx(mttr / (mtbf + mttr), rel=0.05)


def test_two_centers_of_which_the_last_owner_must_return(quiet: Rates) -> None:
    """Nearly 2 (MTTR / MTBF)²: the second to go held writes that the first one lacks, so it is waited for.

    Of the other pairs of two in parallel it differs by that factor of two. To second order, from the Markov
    chain of both hosts: 2a of the time one is gone, then the owner goes with rate 1/MTBF and stays for MTTR.
    """
    rates = altered(quiet, "faults.host_failure.per_year", 12.0)
    rates = altered(
        altered(rates, "faults.host_failure.repair", 20 * HOUR), "faults.host_failure.spread", 1.0
    )
    for path, value in (
        ("people.decide_loss.mean", 1e9),
        ("model.lease", 0.001),
        ("model.sync_timeout", 0.001),
    ):
        rates = altered(rates, path, value)
    rates = altered(rates, "model.anti_flap", 0.0)
    ratio = 20 * HOUR / (YEAR_S / 12)
    found = estimate(unavailable(WITNESS.automatic(0.001), rates))
    assert found.mean == pytest.approx(2 * ratio**2, rel=0.25)


def test_a_line_of_two_paths_is_down_when_both_are(quiet: Rates) -> None:
    """(MTTR / (MTBF + MTTR))² of the time."""
    rates = altered(quiet, "faults.line_long.per_year", 20.0)
    rates = altered(rates, "faults.line_long.repair", 100 * HOUR)
    down = since = 0.0
    network = Network(rates.model.paths)
    for event in history(rates, 400, 5, 0):
        if network.is_line_down(1):
            down += event.at - since
        since = event.at
        for effect, where in event.fault.hits:
            if effect is Effect.PATH:
                network.change(effect, where, 1 if event.begins else -1)
    mtbf, mttr = YEAR_S / 20, 100 * HOUR
    assert down / (400 * YEAR_S) == pytest.approx((mttr / (mtbf + mttr)) ** 2, rel=0.1)


def test_detection_that_is_quicker_is_never_worse(quiet: Rates) -> None:
    """On the same faults, repetition by repetition, down to the lease, which is waited for anyway."""
    rates = altered(altered(quiet, "faults.host_failure.per_year", 12.0), "faults.host_failure.repair", HOUR)
    by_detection = [
        unavailable(WITNESS.automatic(seconds), rates, 10.0) for seconds in (3.0, 8.0, 15.0, 60.0, 300.0)
    ]
    for quicker, slower in pairwise(by_detection):
        assert all(one <= other + 1e-12 for one, other in zip(quicker, slower, strict=True))
    assert sum(by_detection[0]) < sum(by_detection[-1])
