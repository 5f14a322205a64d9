"""Waiting awake: a loop that expects more at once asks its sockets for a moment before it sleeps.

Works with loops that tell the descriptor of their epoll instance: an epoll instance is itself a file that is
readable while it has events (epoll(7)). Of uvloop that is not part of the promised interface; where it is
missing nothing is waited for awake, and everything else is as ever.
"""

import asyncio
import os
import select
import time

from drsync.core.busy_poll import BusyPoll
from drsync.ports.attention import Heard, unheard


class _Ear:
    """One kind of peer."""

    __slots__ = ("_attention", "heard", "pace")

    def __init__(self, attention: "Attention") -> None:
        self._attention = attention
        self.heard = 0
        self.pace = BusyPoll()

    def __call__(self, count: int, /) -> None:
        """See `drsync.ports.attention.Heard`."""
        self.heard += count
        self._attention.turn()


class Attention:
    """Of one running loop.

    Args:
        seconds: how long to wait awake at most; 0: never.
    """

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self._ears: list[_Ear] = []
        self._due: list[_Ear] = []
        self._is_set = False
        self._events = select.poll()
        backend = getattr(self._loop, "_get_backend_id", None)
        self.is_possible = seconds > 0 and backend is not None and len(os.sched_getaffinity(0)) > 1
        if backend is not None and self.is_possible:
            self._events.register(backend(), select.POLLIN)

    def ear(self) -> Heard:
        """For one kind of peer: those who send alike, and wait alike."""
        if not self.is_possible:
            return unheard
        self._ears.append(_Ear(self))
        return self._ears[-1]

    def turn(self) -> None:
        """Something is heard in this turn of the loop."""
        if not self._is_set:
            self._is_set = True
            self._loop.call_soon(self._judge)

    def _judge(self) -> None:
        due = self._due
        for ear in self._ears:
            if ear.heard:
                if ear.pace.is_due(ear.heard):
                    due.append(ear)
                ear.heard = 0
        if due:  # one turn later: what was heard has set other things going, which come first
            self._loop.call_soon(self._watch)
        else:
            self._is_set = False

    def _watch(self) -> None:
        poll, clock, give_way = self._events.poll, time.perf_counter, os.sched_yield
        until = clock() + self._seconds
        while not (events := poll(0)) and clock() < until:
            give_way()  # a client on our processor is the one we wait for
        for ear in self._due:
            ear.pace.ended(is_rewarded=bool(events))
        self._due.clear()
        self._is_set = False
