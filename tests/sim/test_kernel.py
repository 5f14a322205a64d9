"""Virtual time: processes that are killed, stopped and late; streams that break as TCP's do."""

import asyncio
import random

import pytest

from drsync.model.errors import TransientError
from drsync.ports.transport import LinkKind
from drsync.sim.network import Network
from drsync.sim.process import UNFINISHED, Life, Process
from drsync.sim.stream import SimLink
from drsync.sim.timeline import StandstillError, Timeline
from drsync.sim.transport import SimTransport

HOUR_S, A_WHILE_S, TICK_S = 3600, 5, 1
"""Of virtual time, which costs nothing."""


class Machine:
    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline

    def boottime(self) -> float:
        return self.timeline.now + 1000

    def instant_of(self, boottime: float) -> float:
        return boottime - 1000

    def thread_delay(self) -> float:
        return 0.25


class Line:
    """A handler that keeps what it is told."""

    def __init__(self) -> None:
        self.data = b""
        self.told: list[str] = []

    def data_received(self, data: bytes | memoryview) -> None:
        self.data += data

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")

    def connection_lost(self, reason: str) -> None:
        self.told.append(reason)


@pytest.fixture
def timeline() -> Timeline:
    return Timeline()


def process(timeline: Timeline, name: str = "agent") -> Process:
    return Process(Machine(timeline), name)


def test_hours_pass_in_no_time(timeline: Timeline) -> None:
    one = process(timeline)
    seen: list[float] = []

    async def sleeper() -> None:
        await asyncio.sleep(HOUR_S)
        seen.append(timeline.now)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.Event().wait()
        seen.append(timeline.now)
        seen.append(await asyncio.to_thread(lambda: timeline.now))

    one.spawn(sleeper())
    timeline.run(10_000)
    assert seen == [3600, 3605, 3605.25]
    assert timeline.now == 10_000


def test_a_killed_process_does_nothing_more(timeline: Timeline) -> None:
    one = process(timeline)
    seen: list[str] = []

    async def work() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(asyncio.sleep(HOUR_S))
            tasks.create_task(asyncio.to_thread(lambda: seen.append("written by a thread")))
            try:
                await asyncio.sleep(A_WHILE_S)
                seen.append("woke up")
            finally:
                if one.is_alive:
                    seen.append("said goodbye")

    task = one.create_task(work())
    timeline.at(0.1, one.kill)
    timeline.run(50)
    assert seen == []
    assert task.done()
    assert not UNFINISHED
    assert one.life is Life.DEAD


def test_a_stopped_process_is_late(timeline: Timeline) -> None:
    one = process(timeline)
    seen: list[float] = []

    async def ticks() -> None:
        while True:
            await asyncio.sleep(TICK_S)
            seen.append(timeline.now)

    one.spawn(ticks())
    timeline.at(2.5, one.stop)
    timeline.at(7.25, one.resume)
    timeline.run(8.5)
    assert seen == [1, 2, 7.25, 8.25]


def test_what_nobody_handles_is_a_trouble(timeline: Timeline) -> None:
    one = process(timeline)
    one.call_soon(lambda: 1 / 0)
    timeline.run(1)
    assert "ZeroDivisionError" in one.troubles[0]


class Wires:
    """Two processes and a stream between them."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self.network = Network(timeline, random.Random(1))
        self.one, self.other = process(timeline, "one"), process(timeline, "other")
        self.near: SimLink | None = None
        self.far: SimLink | None = None
        self.here, self.there = Line(), Line()
        self.error: Exception | None = None
        self.network.listen("other", self.other, self._accept)  # type: ignore[arg-type]  # our own links

    def _accept(self, link: SimLink) -> None:
        self.far = link
        link.set_handler(self.there)

    def dial(self) -> None:
        self.one.spawn(self._dial())

    async def _dial(self) -> None:
        try:
            link = await SimTransport(self.network, self.one, "one").connect("other", LinkKind.BULK)
        except TransientError as error:
            self.error = error
            return
        assert isinstance(link, SimLink)
        self.near = link
        link.set_handler(self.here)


@pytest.fixture
def wires(timeline: Timeline) -> Wires:
    found = Wires(timeline)
    found.dial()
    timeline.run(1)
    return found


def test_bytes_arrive_in_order_and_a_goodbye_comes_last(wires: Wires) -> None:
    assert wires.near is not None
    wires.network.line("one", "other").jitter = 1.0
    for number in range(50):
        wires.near.write(b"%02d" % number)
    wires.near.close("done")
    wires.timeline.run(10)
    assert wires.there.data == b"".join(b"%02d" % n for n in range(50))
    assert wires.there.told == ["closed by the other side"]
    assert wires.here.told == ["done"]


def test_a_cut_line_is_silent_and_delivers_after_it_is_mended(wires: Wires) -> None:
    assert wires.near is not None
    assert wires.far is not None
    wires.network.cut("one", "other")
    wires.near.write(b"late")
    wires.far.write(b"the other way")
    wires.timeline.run(60)
    assert wires.there.data == b""
    assert wires.here.data == b"the other way"
    wires.network.mend("one", "other")
    wires.timeline.run(70)
    assert wires.there.data == b"late"


def test_a_stream_that_a_firewall_forgot_is_silent_for_good_and_a_new_one_is_not(wires: Wires) -> None:
    forgotten = wires.near
    assert forgotten is not None
    wires.network.forget_streams("other", "one", LinkKind.CONTROL)
    forgotten.write(b"another kind, ")
    wires.timeline.run(2)
    wires.network.forget_streams("other", "one", LinkKind.BULK)
    forgotten.write(b"never")
    wires.dial()
    wires.timeline.run(60)
    assert (wires.here.told, wires.there.told) == ([], [])
    assert wires.near is not None
    wires.near.write(b"heard")
    wires.timeline.run(70)
    assert wires.there.data == b"another kind, heard"


def test_a_dead_process_is_noticed_unless_its_machine_is_dark(wires: Wires) -> None:
    assert wires.near is not None
    wires.other.kill()
    wires.timeline.run(2)
    assert wires.here.told == ["closed by the other side"]


def test_a_dark_machine_says_nothing_until_it_is_back(wires: Wires) -> None:
    assert wires.near is not None
    dark = {"other"}
    wires.network.is_host_up = lambda place: place not in dark
    wires.other.kill()
    wires.near.write(b"is anybody there")
    wires.timeline.run(30)
    assert wires.here.told == []
    dark.clear()
    wires.near.write(b"hello")
    wires.timeline.run(40)
    assert wires.here.told == ["connection reset by peer"]


def test_nobody_there_is_refused_and_a_black_hole_times_out(wires: Wires) -> None:
    wires.other.kill()
    wires.dial()
    wires.timeline.run(3)
    assert "refused" in str(wires.error)
    wires.network.cut("other", "one")
    wires.dial()
    wires.timeline.run(20)
    assert "timed out" in str(wires.error)


def test_a_slow_line_asks_its_writer_to_pause(wires: Wires) -> None:
    assert wires.near is not None
    wires.network.line("one", "other").rate = 100_000
    for _ in range(40):
        wires.near.write(bytes(10_000))
    assert wires.here.told == ["pause"]
    wires.timeline.run(3)
    assert len(wires.there.data) < 300_000
    wires.timeline.run(10)
    assert wires.here.told == ["pause", "resume"]
    assert len(wires.there.data) == 400_000


def test_what_a_cut_holds_back_is_not_overtaken(wires: Wires) -> None:
    assert wires.near is not None
    wires.network.line("one", "other").rate = 10.0
    for number in range(10):
        wires.near.write(b"%010d" % number)  # each takes a second
    wires.timeline.run(3.5)
    wires.network.cut("one", "other")
    wires.timeline.run(5.5)
    wires.network.mend("one", "other")
    wires.timeline.run(60)
    assert wires.there.data == b"".join(b"%010d" % number for number in range(10))


def test_what_the_dead_had_sent_arrives_when_the_line_is_mended(wires: Wires) -> None:
    assert wires.near is not None
    wires.network.cut("one", "other")
    wires.near.write(b"last words")
    wires.one.kill()
    wires.timeline.run(30)
    assert wires.there.data == b""
    wires.network.mend("one", "other")
    wires.timeline.run(40)
    assert wires.there.data == b"last words"
    assert wires.there.told == ["closed by the other side"]


def test_what_is_in_the_buffers_of_a_machine_goes_with_its_power(wires: Wires) -> None:
    assert wires.near is not None
    wires.network.line("one", "other").rate = 10.0
    for number in range(10):
        wires.near.write(b"%010d" % number)
    wires.timeline.run(4.5)
    wires.network.is_host_up = lambda place: place != "one"
    wires.one.kill()
    wires.timeline.run(60)
    assert 0 < len(wires.there.data) < 50
    assert wires.there.told == []


def test_whoever_stands_still_takes_nothing_and_its_peer_is_asked_to_pause(wires: Wires) -> None:
    assert wires.near is not None
    wires.other.stop()
    for _ in range(40):
        wires.near.write(bytes(10_000))
    wires.timeline.run(20)
    assert wires.here.told == ["pause"]
    wires.other.resume()
    wires.timeline.run(30)
    assert wires.here.told == ["pause", "resume"]


def test_whoever_stands_still_is_not_reached(wires: Wires) -> None:
    wires.other.stop()
    wires.dial()
    wires.timeline.run(30)
    assert "timed out" in str(wires.error)


def test_a_task_that_fails_unheard_is_a_trouble(timeline: Timeline) -> None:
    async def fails() -> None:
        raise KeyError

    async def hears() -> None:
        with pytest.raises(KeyError):
            await asyncio.ensure_future(fails())

    heard, unheard = process(timeline), process(timeline)
    heard.spawn(hears())
    unheard.spawn(fails())
    timeline.run(A_WHILE_S)
    assert heard.troubles == []
    assert "KeyError" in unheard.troubles[0]


def test_a_loop_that_never_waits_does_not_hold_up_the_world(timeline: Timeline) -> None:
    async def spins() -> None:
        while True:
            await asyncio.sleep(0)

    process(timeline).spawn(spins())
    with pytest.raises(StandstillError):
        timeline.run(TICK_S)
