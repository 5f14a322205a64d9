"""A loop that waits awake, for a moment, for what its sockets bring."""

import asyncio
import os
import select
import socket
import time
from collections.abc import Callable, Coroutine

import pytest
import uvloop
from typing_extensions import override

from drsync.adapters.system.attention import Attention
from drsync.core.busy_poll import LONE_BYTES, RESTS_MAX
from drsync.ports.attention import unheard

LONG_S = 20.0  # nobody waits so long: it ends because something comes


def run(story: Callable[[], Coroutine[object, object, None]]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(story())


class Polls:
    """Counts the questions to the epoll instance, and who gave the processor away."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = 0
        self.yielded: list[Callable[[], object]] = []
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
        monkeypatch.setattr(os, "sched_yield", self._give_way)
        real = select.poll

        def poll() -> "Polls._Counted":
            return self._Counted(self, real())

        monkeypatch.setattr(select, "poll", poll)

    def _give_way(self) -> None:
        if self.yielded:
            self.yielded.pop(0)()

    class _Counted:
        def __init__(self, polls: "Polls", real: select.poll) -> None:
            self._polls = polls
            self.register = real.register
            self._poll = real.poll

        def poll(self, timeout: float) -> list[tuple[int, int]]:
            self._polls.asked += 1
            return self._poll(timeout)


async def turns(count: int = 8) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class Receiver(asyncio.Protocol):
    def __init__(self, received: list[bytes]) -> None:
        self._received = received

    @override
    def data_received(self, data: bytes) -> None:
        self._received.append(data)


def test_what_comes_to_any_socket_of_the_loop_ends_the_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        ours, theirs = socket.socketpair()
        received: list[bytes] = []
        transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
            lambda: Receiver(received), ours
        )
        await turns()
        polls = Polls(monkeypatch)
        heard = Attention(LONG_S).ear()
        polls.yielded = [lambda: None, lambda: None, lambda: theirs.sendall(b"next")]
        heard(100)
        while not received:
            await asyncio.sleep(0)
        assert received == [b"next"]
        assert polls.asked == 4
        transport.close()
        theirs.close()

    run(story)


def test_what_a_thread_has_done_ends_the_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        polls = Polls(monkeypatch)
        told = asyncio.Event()
        heard = Attention(LONG_S).ear()
        polls.yielded = [lambda: None, lambda: loop.call_soon_threadsafe(told.set)]
        heard(100)
        await told.wait()
        assert polls.asked >= 3

    run(story)


def test_what_was_begun_in_this_turn_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        polls = Polls(monkeypatch)
        heard = Attention(0.000001).ear()
        asked: list[int] = []
        heard(100)
        loop.call_soon(lambda: loop.call_soon(lambda: asked.append(polls.asked)))
        loop.call_soon(lambda: asked.append(polls.asked))
        await turns()
        assert asked[0] == 0
        assert polls.asked > 0

    run(story)


def test_where_nothing_comes_the_moment_ends_and_is_seldom_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story() -> None:
        polls = Polls(monkeypatch)
        now = iter(range(10**9))
        monkeypatch.setattr(time, "perf_counter", lambda: next(now))
        heard = Attention(3).ear()
        for _ in range(4 * RESTS_MAX):
            heard(100)
            await turns(4)
        assert 0 < polls.asked < 100

    run(story)


def test_clients_and_peers_are_learned_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        polls = Polls(monkeypatch)
        now = iter(range(10**9))
        monkeypatch.setattr(time, "perf_counter", lambda: next(now))
        attention = Attention(2)
        clients, peers = attention.ear(), attention.ear()
        for _ in range(RESTS_MAX):
            clients(100)
            await turns(4)
        polls.asked = 0
        clients(100)
        await turns(4)
        assert not polls.asked
        peers(100)
        await turns(4)
        assert polls.asked

    run(story)


def test_much_at_once_is_not_waited_after(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        polls = Polls(monkeypatch)
        heard = Attention(LONG_S).ear()
        heard(LONE_BYTES)
        heard(1)
        await turns()
        assert not polls.asked

    run(story)


@pytest.mark.parametrize(
    ("seconds", "processors", "make_loop"),
    [
        (0.0, {0, 1}, uvloop.new_event_loop),
        (0.1, {0}, uvloop.new_event_loop),
        (0.1, {0, 1}, asyncio.new_event_loop),
    ],
    ids=["turned off", "one processor", "a loop that does not tell its descriptor"],
)
def test_nobody_is_waited_for_awake_where_that_cannot_pay(
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    processors: set[int],
    make_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: processors)

    async def story() -> None:
        assert Attention(seconds).ear() is unheard

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(story())
