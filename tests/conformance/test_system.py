"""The real clock and dice keep the promises of their ports."""

import re

from drsync.adapters.system.clock import SystemClock, SystemRandom, boot_id


async def test_a_sleeper_wakes_at_the_instant_or_later() -> None:
    clock = SystemClock()
    instant = clock.now() + 0.01
    await clock.sleep_until(instant)
    assert clock.now() >= instant
    await clock.sleep_until(0)


def test_the_two_kinds_of_time_go_on() -> None:
    clock = SystemClock()
    assert clock.now() <= clock.now()
    assert clock.wall_us() > 1_700_000_000_000_000


def test_dice() -> None:
    dice = SystemRandom()
    assert re.fullmatch("[0-9a-f]{32}", dice.hex128())
    assert dice.hex128() != dice.hex128()
    assert all(2.0 <= dice.uniform(2.0, 3.0) < 3.0 for _ in range(100))


def test_the_boot_id_stays_the_same_until_the_next_boot() -> None:
    assert re.fullmatch("[0-9a-f]{32}", boot_id())
    assert boot_id() == boot_id()
