"""Lines are cut, slowed, made half-open, reset and limited under load; then every write is accounted for."""

import time
from pathlib import Path

import pytest

from drsync.lab.layout import COORDINATOR, GROUP, PRODUCTION, REMOTE, SAME_CITY
from tests.chaos.campaign import play, schedule
from tests.chaos.stage import Fault, lines, stage
from tests.integration.site import is_connected, is_served

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

NOTICED_S = 12.0  # because sync_timeout, lease and heartbeats are seconds; the rest is a busy machine
MET_S = 1.5  # because connections are made anew within this, and reset or limited again
WRITES = 20
SEED = 8


async def test_the_line_inside_the_city_is_disturbed_in_every_way(home: Path) -> None:
    """The owner waits for its mate for a second, leaves it out of the set, and writes go on."""
    async with stage(home) as on:
        for fault in (Fault.CUT, Fault.HALF_OPEN, Fault.LIMITED, Fault.RESET):
            await on.level(PRODUCTION)
            began = time.monotonic()
            async with on.disturbed(fault, lines(PRODUCTION, SAME_CITY)):
                if fault in (Fault.CUT, Fault.HALF_OPEN):
                    await on.until_said([SAME_CITY], began, NOTICED_S)
                else:
                    await on.hold(MET_S)
                await on.crew.until_writing(WRITES, NOTICED_S)
        await on.judge(PRODUCTION)


async def test_a_slow_line_to_the_remote_center_costs_lag_and_no_write(home: Path) -> None:
    async with stage(home) as on:
        async with on.disturbed(Fault.SLOW, lines(REMOTE)):
            took = await on.crew.until_writing(5 * WRITES, NOTICED_S)
            status = await on.place.until(
                "the remote center behind",
                lambda s: s.doc("groups").doc(GROUP).doc("centers").doc(REMOTE).number("lag_records") > 0,
            )
            assert is_served(status, PRODUCTION)
            assert took < NOTICED_S
        await on.level(PRODUCTION)
        began = time.monotonic()
        async with on.disturbed(Fault.CUT, lines(REMOTE)):
            await on.until_said([REMOTE], began, NOTICED_S)
            await on.crew.until_writing(WRITES, NOTICED_S)
        await on.judge(PRODUCTION)


async def test_without_the_coordinator_the_city_goes_on_in_company(home: Path) -> None:
    async with stage(home) as on:
        for fault in (Fault.HALF_OPEN, Fault.CUT):
            await on.level(PRODUCTION)
            began = time.monotonic()
            async with on.disturbed(fault, lines(PRODUCTION, COORDINATOR)):
                await on.until_said([PRODUCTION], began, NOTICED_S)
                await on.crew.until_writing(WRITES, NOTICED_S)
        async with on.disturbed(Fault.SLOW, lines(COORDINATOR)):
            await on.crew.until_writing(WRITES, NOTICED_S)
        await on.judge(PRODUCTION)


async def test_the_owner_dies_while_other_lines_are_bad(home: Path) -> None:
    async with stage(home) as on:
        await on.disturb(Fault.SLOW, lines(SAME_CITY, COORDINATOR))
        await on.disturb(Fault.CUT, lines(SAME_CITY, REMOTE))
        began = time.monotonic()
        await on.kill(PRODUCTION)
        await on.until_said([PRODUCTION], began, NOTICED_S)
        (await on.place.cli("failover", GROUP, "--to", SAME_CITY)).well()
        await on.crew.until_writing(WRITES, NOTICED_S)
        on.restart(PRODUCTION)
        await on.place.until("the old owner back", lambda s: is_connected(s, PRODUCTION))
        await on.crew.until_writing(WRITES, NOTICED_S)
        await on.judge(SAME_CITY)


async def test_an_owner_that_is_cut_off_alive_writes_nothing_more(home: Path) -> None:
    """Its clients go on asking it: what it acknowledged is in the new owner's log, before all the rest."""
    async with stage(home) as on:
        await on.disturb(Fault.HALF_OPEN, lines(PRODUCTION))
        (await on.place.cli("failover", GROUP, "--to", SAME_CITY)).well()
        await on.crew.until_writing(WRITES, NOTICED_S)
        await on.heal(lines(PRODUCTION))
        found = await on.judge(SAME_CITY, is_drilled=True)
        assert {attempt.center for attempt in found.attempts if attempt.acknowledged} == {
            PRODUCTION,
            SAME_CITY,
        }


async def test_a_seeded_schedule_breaks_no_promise(home: Path) -> None:
    """One seed with a moved owner; ``make chaos ARGS='--seeds 20'`` plays more."""
    async with stage(home, seed=SEED) as on:
        await on.judge(await play(on, schedule(SEED, steps=3)))


def test_a_seed_always_means_the_same() -> None:
    assert schedule(7) == schedule(7)
    assert schedule(7) != schedule(8)
