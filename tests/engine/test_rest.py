"""An idle owner rests, and whatever happens is noticed as punctually as without it."""

import asyncio
from pathlib import Path

from drsync.adapters.system.clock import SystemClock
from drsync.engine.rest import LEASE_S, NEWS_RECORDS, REST_S, TICK_S, Rest, is_news
from drsync.wire.stream import ToldCursor
from tests.engine.test_town import Writer
from tests.engine.town import town

LONG_S = 60.0


async def test_a_rest_ends_one_tick_after_the_first_stir_and_tells_when_that_was() -> None:
    clock, woken = SystemClock(), list[float]()
    rest = Rest(clock, woken.append)
    began = clock.now()
    sleeping = asyncio.create_task(rest.until(began + LONG_S))
    await asyncio.sleep(0)
    assert rest.is_deep
    rest.stir()
    rest.stir()
    assert len(woken) == 1
    await sleeping
    assert woken[0] + TICK_S <= clock.now() < began + LONG_S


async def test_a_tick_is_no_rest() -> None:
    clock, woken = SystemClock(), list[float]()
    rest = Rest(clock, woken.append)
    sleeping = asyncio.create_task(rest.until(clock.now() + TICK_S))
    await asyncio.sleep(0)
    assert not rest.is_deep
    rest.stir()
    await sleeping
    assert not woken


async def test_a_write_after_a_rest_is_late_from_its_own_moment_on(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        term = place.member("production").term
        assert term is not None
        await place.until(lambda: term._rest.is_deep)
        began, before = place.clock.now(), term._ledger._before
        term._ledger._before = (began - REST_S, before[1])
        Writer(place, "production").write(1)
        lag = term.lag("remote").seconds
        assert lag is not None
        assert 0.0 <= lag <= place.clock.now() - began
        assert not term._rest.is_deep
        await place.until(lambda: term._rest.is_deep and term.confirmed("remote") == term.engine.log.appended)


async def test_nobody_rests_while_a_member_is_behind_or_the_lease_is_short(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        term = place.member("production").term
        assert term is not None
        await place.until(lambda: term._rest.is_deep)
        group, now, engine = term.charter.group, place.clock.now(), term.engine
        assert term._watched.is_calm(group, now)
        assert not term._watched.is_calm(group, engine.lease_until - LEASE_S)
        feed = term.attachments["remote"].feed
        feed.durable -= 1
        assert not term._watched.is_calm(group, now)
        feed.durable += 1
        assert term._watched.is_calm(group, now)
        engine.freeze()
        assert not term._rest.is_deep
        assert not term._watched.is_calm(group, now)


def test_that_marks_were_added_is_no_news_and_everything_else_is() -> None:
    said = {"a": ToldCursor("store", 100, is_fresh=True)}
    assert not is_news(said, said)
    assert not is_news(said, {"a": ToldCursor("store", 100 + NEWS_RECORDS, is_fresh=True)})
    assert is_news(said, {"a": ToldCursor("store", 101 + NEWS_RECORDS, is_fresh=True)})
    assert is_news(said, {"a": ToldCursor("store", 99, is_fresh=True)})
    assert is_news(said, {"a": ToldCursor("other", 100, is_fresh=True)})
    assert is_news(said, {"a": ToldCursor("store", 100, is_fresh=False)})
    assert is_news({}, said)


async def test_an_owner_that_was_suspended_while_it_rested_did_not_serve_meanwhile(tmp_path: Path) -> None:
    """The lease is renewed before the next tick: the clock of the rest stood still as well."""
    async with town(tmp_path) as place:
        term = place.member("production").term
        assert term is not None
        await place.until(lambda: term._rest.is_deep)
        engine, pulse, now = term.engine, term.pulse, place.clock.now()
        engine.lease_until = now - LONG_S
        assert pulse.serving_s(now) is not None
        term.renew(now, 1.0)
        assert engine.is_leased
        assert pulse.serving_s(now) is None
        await place.until(lambda: pulse.serving_s(place.clock.now()) is not None)
        assert pulse.served(now)


async def test_a_write_after_a_suspended_rest_does_not_find_its_peers_silent(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        term = place.member("production").term
        assert term is not None
        await place.until(lambda: term._rest.is_deep)
        attachment = term.attachments["remote"]
        attachment._heard_at -= LONG_S
        place.cuts.add(frozenset(("production", "remote")))
        Writer(place, "production").write(1)
        assert attachment.feed.unacknowledged_bytes
        attachment.tick(term.engine.log.commit, place.clock.now())
        for _ in range(10):
            await asyncio.sleep(0)
        assert not attachment.is_lost
