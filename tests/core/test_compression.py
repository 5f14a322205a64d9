"""When batches are compressed, and how hard: stories of lines, processors and content as plain numbers."""

from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest

from drsync.core.compression import (
    CALM_S,
    FAST_LINK,
    LEVELS,
    RETRY_HIGH_S,
    RETRY_LOW_S,
    SKIP_MAX,
    Advice,
    Memory,
    Sample,
    advise,
    best_level,
)

TICK_S = 0.05


@dataclass
class Line:
    """A line of `rate` bytes/s; the application wants `demand`, the peer takes `receiver`."""

    rate: float
    demand: float
    ratio: float = 4.0
    receiver: float = 400e6
    slowness: float = 1.0
    is_waited_for: bool = False
    delay_s: float = 0.0
    now: float = 100.0
    advice: Advice = field(default_factory=Advice)

    def run(self, seconds: float) -> Advice:
        for _ in range(int(seconds / TICK_S)):
            self.tick()
        return self.advice

    def tick(self) -> None:
        level = self.advice.level
        shrink = 1.0 + (self.ratio - 1.0) * LEVELS[level].gain if level else 1.0
        speed = LEVELS[level].speed / self.slowness if level else 1e12
        can = min(self.rate * shrink, speed, self.receiver)
        raw = min(can, self.demand) if not self.delay_s else can
        self.delay_s = max(0.0, self.delay_s + TICK_S * (self.demand / can - 1))
        self.now += TICK_S
        sample = Sample(
            now=self.now,
            raw=raw,
            wire=raw / shrink,
            demand=self.demand,
            delay_s=self.delay_s,
            is_waited_for=self.is_waited_for,
            ratio=self.ratio if level else None,
            slowness=self.slowness,
        )
        self.advice = advise(self.advice, sample)


def test_a_line_that_keeps_up_is_never_compressed() -> None:
    for demand in (1e6, 50e6, 300e6):
        assert Line(rate=400e6, demand=demand, receiver=500e6).run(20.0).level == 0


def test_loopback_whose_receiver_is_the_bottleneck_is_left_alone() -> None:
    advice = Line(rate=2e9, demand=400e6, receiver=200e6).run(20.0)
    assert advice.level == 0
    assert advice.line >= FAST_LINK


def test_a_slow_line_is_compressed_and_then_keeps_up() -> None:
    line = Line(rate=10e6, demand=30e6)
    assert line.run(1.0).level >= 1
    assert line.run(30.0).level >= 1, line.advice
    assert line.delay_s == 0.0


def test_the_level_grows_with_what_the_line_lacks() -> None:
    little = Line(rate=10e6, demand=14e6).run(20.0)
    much = Line(rate=10e6, demand=200e6).run(20.0)
    assert 1 == little.level < much.level


def test_a_busy_machine_gets_a_lower_level_than_an_idle_one() -> None:
    sample = Sample(0.0, 0.0, 0.0, demand=500e6, delay_s=1.0, ratio=3.0)
    assert best_level(30e6, replace(sample, slowness=4.0)) < best_level(30e6, sample)


def test_pressing_lag_takes_the_strongest_that_the_line_can_use() -> None:
    calm = Sample(0.0, 0.0, 0.0, demand=5e6, delay_s=1.0, ratio=3.0, pressure=0.1)
    assert best_level(10e6, calm) == 1
    assert best_level(10e6, replace(calm, pressure=0.6)) == 6


def test_content_that_does_not_shrink_is_tried_ever_more_seldom() -> None:
    line = Line(rate=10e6, demand=30e6, ratio=1.0)
    starts, was = [], 0
    for _ in range(int(700 / TICK_S)):
        line.tick()
        if line.advice.level and not was:
            starts.append(line.now)
        was = line.advice.level
    pauses = [later - sooner for sooner, later in pairwise(starts)]
    assert pauses[0] >= RETRY_LOW_S
    assert pauses == sorted(pauses)
    assert len(starts) <= 8
    assert pauses[-1] <= RETRY_HIGH_S + 5.0


def test_a_slow_receiver_is_not_mistaken_for_a_slow_line_for_long() -> None:
    line = Line(rate=2e9, demand=300e6, receiver=50e6)
    compressed = 0.0
    for _ in range(int(120 / TICK_S)):
        line.tick()
        compressed += TICK_S if line.advice.level else 0.0
    assert compressed < 15.0
    assert line.advice.failures >= 2


def test_a_peer_that_writes_wait_for_may_be_late_a_little_without_being_compressed() -> None:
    sample = Sample(0.0, 2e6, 2e6, demand=2e6, delay_s=0.3, is_waited_for=True)
    near, far = Advice(), Advice()
    for n in range(1, 40):
        near = advise(near, replace(sample, now=n * TICK_S))
        far = advise(far, replace(sample, now=n * TICK_S, is_waited_for=False))
    assert near.level == 0
    assert far.level >= 1


def test_calm_switches_it_off_and_not_at_once() -> None:
    line = Line(rate=10e6, demand=30e6)
    line.run(5.0)
    line.demand = 2e6
    assert line.run(CALM_S / 2).level >= 1
    assert line.run(CALM_S * 2).level == 0


def test_what_did_not_shrink_is_passed_over_and_tried_again() -> None:
    memory, tries = Memory(), 0
    for _ in range(1000):
        if memory.is_worth_a_try():
            tries += 1
            memory.tried(1000, 1000, 1, 0.0)
    assert tries < 10 + 1000 // SKIP_MAX
    while not memory.is_worth_a_try():
        pass
    memory.tried(1000, 200, 1, 0.0)
    assert memory.is_worth_a_try(), "what shrinks again is tried again at once"


@pytest.mark.parametrize("level", LEVELS)
def test_ratio_and_time_are_remembered_as_if_at_level_one(level: int) -> None:
    known, memory = LEVELS[level], Memory()
    for _ in range(50):
        memory.tried(1_000_000, int(1_000_000 / (3.0 * known.gain)), level, 2_000_000 / known.speed)
    assert memory.ratio == pytest.approx(3.0, rel=0.01)
    assert memory.slowness == pytest.approx(2.0, rel=0.01)
