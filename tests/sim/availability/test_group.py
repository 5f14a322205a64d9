"""What a group makes of single faults and of double ones, told as stories."""

from collections.abc import Callable
from typing import Protocol

import pytest

from drsync.sim.availability.faults import PRODUCTION, REMOTE, SAME_CITY, THIRD, Dice, Effect, history
from drsync.sim.availability.group import Group as Shipped
from drsync.sim.availability.ledger import Ledger
from drsync.sim.availability.rates import Rates, shipped
from drsync.sim.availability.topology import (
    ETCD,
    ETCD_WITNESS,
    SINGLE,
    THREE,
    TOPOLOGIES,
    TWO,
    WITNESS,
    Topology,
)
from drsync.sim.availability.whatif import altered

HOUR = 3600.0
DAY = 86400.0
NIGHT = Dice(0.0, 0.0, 0.0, coin=0.0, age=0.5)
"""A person who takes a silent city for a lost one."""
CITY_HOSTS = ((Effect.HOST, PRODUCTION), (Effect.HOST, SAME_CITY))


class Group(Protocol):
    owner: int
    ledger: Ledger


class Story(Protocol):
    group: Group
    outages: list[tuple[str, float]]
    planned: list[tuple[str, float]]
    lost: list[tuple[str, float]]

    def fault(
        self, name: str, day: float, seconds: float, *hits: tuple[Effect, int], dice: Dice = ...
    ) -> "Story": ...
    def run(self, years: float = 1.0) -> "Story": ...


Tell = Callable[[Topology, Rates], Story]


def test_nothing_fails_and_nothing_is_down(story: Tell, quiet: Rates) -> None:
    for topology in TOPOLOGIES:
        told = story(topology, quiet).run()
        assert (told.outages, told.planned, told.lost) == ([], [], [])


def test_an_agent_that_restarts_is_opened_again_before_anybody_is_called(story: Tell, quiet: Rates) -> None:
    told = story(THREE.automatic(), quiet).fault("agent_crash", 9, 2, (Effect.AGENT, PRODUCTION)).run()
    assert told.outages == [("software", 3.15)]  # restart, start, opening
    assert told.group.owner == PRODUCTION


def test_automatic_failover_takes_the_lease_and_an_opening(story: Tell, quiet: Rates) -> None:
    told = story(WITNESS.automatic(), quiet).fault("host_failure", 9, HOUR, (Effect.HOST, PRODUCTION)).run()
    assert told.outages == [("hosts", 10.15)]
    assert told.group.ledger.openings["automatic"] == 1
    assert told.lost == []


def test_a_failover_by_people_takes_alarm_answer_and_decision(story: Tell, quiet: Rates) -> None:
    told = story(WITNESS, quiet).fault("host_failure", 9, HOUR, (Effect.HOST, PRODUCTION)).run()
    assert told.outages == [("hosts", 15 + 5 * 60 + 10 * 60 + 0.15)]
    assert told.group.ledger.openings["asked"] == 1


def test_the_preferred_owner_gets_the_group_back_with_a_planned_pause(story: Tell, quiet: Rates) -> None:
    told = story(WITNESS.automatic(), quiet).fault("host_failure", 9, HOUR, (Effect.HOST, PRODUCTION)).run()
    assert told.planned == [("failback", 0.5)]
    assert told.group.owner == PRODUCTION


def test_a_silent_mate_holds_writes_for_the_sync_timeout(story: Tell, quiet: Rates) -> None:
    told = story(WITNESS, quiet).fault("host_failure", 9, HOUR, (Effect.HOST, SAME_CITY)).run()
    assert told.outages == [("hosts", 5.0)]


def test_a_silent_remote_center_is_not_noticed(story: Tell, quiet: Rates) -> None:
    told = story(THREE, quiet).fault("host_failure", 9, HOUR, (Effect.HOST, REMOTE)).run()
    assert told.outages == []


def test_a_lost_coordinator_is_not_noticed_in_company_and_stops_who_is_alone(
    story: Tell, quiet: Rates
) -> None:
    crash = (Effect.STORE, THIRD)
    assert story(WITNESS, quiet).fault("coordinator_host", 9, HOUR, crash).run().outages == []
    alone = story(SINGLE, quiet).fault("coordinator_host", 9, HOUR, (Effect.STORE, PRODUCTION)).run()
    assert alone.outages == [("coordinator", HOUR - 9.9)]  # the lease is used up first


def test_two_sites_stop_when_the_line_to_the_coordinator_is_cut(story: Tell, quiet: Rates) -> None:
    told = story(TWO, quiet).fault("line_equipment", 9, HOUR, (Effect.LINE, 1)).run()
    assert [cause for cause, _ in told.outages] == ["network"]


def test_a_lost_city_costs_what_the_remote_copy_lacked_and_a_decision(story: Tell, quiet: Rates) -> None:
    hits = (*CITY_HOSTS, (Effect.STORE, PRODUCTION), (Effect.STORE, SAME_CITY))
    for topology in (THREE, WITNESS, ETCD_WITNESS, THREE.automatic()):
        told = story(topology, quiet).fault("city_disaster", 9, 30 * DAY, *hits).run()
        assert told.lost == [("disasters", 1.0)]
        assert told.outages[0] == ("disasters", 15 + 5 * 60 + 45 * 60 + 0.15)


def test_etcd_without_a_third_place_needs_a_new_store_when_the_city_is_lost(
    story: Tell, quiet: Rates
) -> None:
    hits = (*CITY_HOSTS, (Effect.STORE, PRODUCTION), (Effect.STORE, SAME_CITY))
    told = story(ETCD, quiet).fault("city_disaster", 9, 30 * DAY, *hits).run()
    assert told.outages[0] == ("disasters", 15 + 5 * 60 + 45 * 60 + HOUR + 0.15)


def test_one_host_of_one_center_takes_what_was_never_flushed_and_nothing_else(
    story: Tell, quiet: Rates
) -> None:
    told = story(SINGLE, quiet).fault("host_reboot", 9, 300, (Effect.HOST, PRODUCTION)).run()
    assert told.lost == []
    [lost] = told.group.ledger.losses
    assert lost.is_unflushed
    assert lost.seconds == pytest.approx(0.3)


def test_a_crashed_host_is_completed_by_its_mate(story: Tell, quiet: Rates) -> None:
    told = story(WITNESS, quiet).fault("host_reboot", 9, 60, (Effect.HOST, PRODUCTION)).run()
    assert told.group.ledger.losses == []


def test_the_only_copy_lost_comes_from_a_backup(story: Tell, quiet: Rates) -> None:
    told = story(SINGLE, quiet).fault("disk", 9, HOUR, (Effect.DISK, PRODUCTION)).run()
    assert told.lost == [("disks", DAY / 2)]


def test_a_person_may_take_a_silent_city_for_a_lost_one(story: Tell, quiet: Rates) -> None:
    told = story(THREE, quiet).fault("line_equipment", 9, 3 * HOUR, (Effect.LINE, 1), dice=NIGHT).run()
    [(cause, seconds)] = told.lost
    assert cause == "people"
    assert seconds == pytest.approx(3 * HOUR + 1.0, abs=0.5)  # what the city wrote until they met


def test_an_unnoticed_fault_makes_a_failover_wait_and_a_drill_finds_it(story: Tell, quiet: Rates) -> None:
    def told(*drill: float) -> Story:
        one = story(WITNESS.automatic(), quiet).fault("latent_fault", 5, 60, (Effect.LATENT, SAME_CITY))
        for day in drill:
            one.fault("drill", day, 60, (Effect.DRILL, SAME_CITY))
        return one.fault("host_failure", 9, 9 * HOUR, (Effect.HOST, PRODUCTION)).run()

    assert dict(told().outages)["latent"] > 600
    assert told(7.0).outages == [("hosts", 10.15)]


def test_maintenance_of_the_owner_is_a_planned_pause(story: Tell, quiet: Rates) -> None:
    hit = (Effect.MAINTENANCE, PRODUCTION)
    told = story(WITNESS, quiet).fault("maintenance", 9, 1800, hit).run()
    assert told.planned == [("maintenance", 0.5), ("failback", 0.5)]
    assert told.outages == []
    alone = story(SINGLE, quiet).fault("maintenance", 9, 1800, hit).run()
    assert [cause for cause, _ in alone.planned] == ["maintenance"]


def test_without_somebody_who_accepts_a_loss_no_flushed_write_is_lost(quiet: Rates) -> None:
    """The promise of the protocol, in a bad world: what is lost needs a decision, a backup or a mistake."""
    rates = altered(shipped(), "people.decide_loss.mean", 400 * DAY)
    rates = altered(rates, "chances.force_by_mistake.value", 0.0)
    for name in ("disk", "center_destroyed", "city_disaster"):
        rates = altered(rates, f"faults.{name}.per_year", 0.0)
    for name in ("host_reboot", "agent_hang", "center_power", "line_same_city"):
        rates = altered(rates, f"faults.{name}.per_year", 6.0)
    for topology in (WITNESS.automatic(), WITNESS, ETCD.automatic()):
        group = Shipped(topology, rates)
        group.run(history(rates, 20, 7, 0), 20, 0.9999, lambda _: None)
        assert [loss for loss in group.ledger.losses if not loss.is_unflushed] == []
        assert group.ledger.openings["asked"] + group.ledger.openings.get("automatic", 0) > 50


SINGLE_FAULTS = [
    ("agent_hang", ((Effect.AGENT, PRODUCTION),)),
    ("host_failure", ((Effect.HOST, PRODUCTION),)),
    ("disk", ((Effect.DISK, PRODUCTION),)),
    ("disk", ((Effect.DISK, SAME_CITY),)),
    ("center_power", ((Effect.HOST, PRODUCTION), (Effect.STORE, PRODUCTION))),
    ("center_destroyed", ((Effect.DISK, PRODUCTION), (Effect.STORE, PRODUCTION))),
    ("center_network", ((Effect.CUT, PRODUCTION),)),
    ("center_network", ((Effect.CUT, REMOTE),)),
    ("line_equipment", ((Effect.LINE, 0),)),
    ("line_equipment", ((Effect.LINE, 1),)),
    ("line_equipment", ((Effect.LINE, 2),)),
    ("coordinator_host", ((Effect.STORE, REMOTE),)),
    ("coordinator_host", ((Effect.STORE, THIRD),)),
]


@pytest.mark.parametrize(("name", "hits"), SINGLE_FAULTS)
def test_no_single_fault_loses_a_write_where_three_centers_are(
    story: Tell, quiet: Rates, name: str, hits: tuple[tuple[Effect, int], ...]
) -> None:
    for topology in (one for one in TOPOLOGIES if len(one.centers) > 2):
        for seconds in (60.0, HOUR, 3 * DAY):
            told = story(topology, quiet).fault(name, 9, seconds, *hits).run()
            assert told.group.ledger.losses == [], topology.name
