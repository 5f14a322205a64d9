"""Whether a link's batches are compressed, and how hard: decided from what was measured. Only decisions here.

Compressing pays when the line holds us back, when the content shrinks, and when a processor does it faster
than the line carries the rest. All three are measured all the time: how long the oldest record has waited for
its acknowledgment, how small bodies became, how long that took. What a level brought is verified, because a
slow *receiver* looks like a slow line and is not helped by compression.
"""

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

LEVEL_MAX: Final = 6  # because level 7 and above take twice the time for two percent


@dataclass(frozen=True, slots=True)
class Level:
    """What a zstd level does to ordinary content on one core.

    Attributes:
        speed: bytes of input per second.
        gain: how much better its ratio is than that of level 1.
    """

    speed: float
    gain: float


LEVELS: Final = MappingProxyType(
    {
        1: Level(530e6, 1.0),
        2: Level(470e6, 1.02),
        3: Level(430e6, 1.05),
        4: Level(250e6, 1.06),
        5: Level(140e6, 1.09),
        6: Level(100e6, 1.11),
    }
)
"""Measured in 64 KiB blocks; `Sample.slowness` corrects it for the machine and its load."""

HELD_S: Final = 0.2  # because two continents apart are less; what waits longer waits in a queue
HELD_NEAR_S: Final = 0.5  # because for a peer that writes wait for, each millisecond of ours is one of theirs
HELD_SAMPLES: Final = 4  # because one pause of a process is no slow line
FAST_LINK: Final = 100e6  # bytes/s, because hashing and appending at the other end carry little more
GAIN_MIN: Final = 1.15  # because less is within what estimates err
WORTH_MIN: Final = 1.05  # because what brought less than this costs two processors for nothing
TRIAL_S: Final = 3.0  # because queues of the old kind have drained by then, and are out of what is measured
FULL_SHARE: Final = 0.85  # of what the line carried: it is still full, so what shrank was won
CALM_S: Final = 5.0  # because load that pauses for a moment comes back
CALM_SHARE: Final = 0.7  # of the line, because a queue forms above it
RETRY_LOW_S, RETRY_HIGH_S = 10.0, 320.0  # because what brought nothing may bring something for other content
SMOOTHING: Final = 0.3  # weight of a new body, because content changes from file to file
RATIO_GUESS: Final = 2.0  # because nothing was tried yet
HARD_PRESSURE: Final = 0.5  # of the target: from here on the strongest compression the line can use


@dataclass(frozen=True, slots=True)
class Sample:
    """What happens on one peer's stream, as measured lately.

    Attributes:
        now: instant, seconds.
        raw: bytes of batches acknowledged per second.
        wire: the same as they were sent.
        demand: bytes of batches appended per second.
        delay_s: how long the oldest unacknowledged record has waited; 0 when there is none.
        is_waited_for: writes wait for this peer.
        pressure: lag as a share of what it may be; 0 when there is no target.
        ratio: raw to compressed at level 1, of what was tried lately; None when nothing was.
        slowness: time that compressing took, as a multiple of `LEVELS`.
    """

    now: float
    raw: float
    wire: float
    demand: float
    delay_s: float
    is_waited_for: bool = False
    pressure: float = 0.0
    ratio: float | None = None
    slowness: float = 1.0


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do from now on, and what it rests on.

    Attributes:
        level: zstd level; 0 sends as is.
        words: why, for people.
        line: what the line carries, bytes/s, while it held us back; 0 when it never did.
        held: samples in a row in which it did.
        before: bytes of batches per second before compression was switched on.
        rate: bytes of batches per second while it is on.
        since: when it was switched on.
        calm_since: since when the line has had room to spare.
        blocked_until: not to be tried before.
        failures: tries that brought nothing, in a row.
    """

    level: int = 0
    words: str = "the line keeps up"
    line: float = 0.0
    held: int = 0
    before: float = 0.0
    rate: float = 0.0
    since: float = 0.0
    calm_since: float = 0.0
    blocked_until: float = 0.0
    failures: int = 0


def advise(last: Advice, sample: Sample) -> Advice:
    """The next advice."""
    is_held = sample.delay_s >= (HELD_NEAR_S if sample.is_waited_for else HELD_S)
    line = sample.wire if is_held else max(last.line, sample.wire) if last.line else 0.0
    is_calm = not is_held and sample.demand < CALM_SHARE * line
    measured = replace(
        last,
        line=line,
        held=last.held + 1 if is_held else 0,
        rate=sample.raw if is_held else last.rate,
        calm_since=last.calm_since if is_calm else sample.now,
    )
    return _go_on(measured, sample) if last.level else _consider(measured, sample)


def _consider(now: Advice, sample: Sample) -> Advice:
    """Off: is there a reason to switch it on?"""
    if now.held < HELD_SAMPLES or not now.line:
        calm = sample.now >= now.blocked_until and not now.held
        return replace(now, words="the line keeps up") if calm else now
    if sample.now < now.blocked_until:
        return now
    if now.line >= FAST_LINK:
        return replace(now, words=f"the line carries {now.line / 1e6:.0f} MB/s")
    hopeful = replace(sample, ratio=max(sample.ratio or 0.0, RATIO_GUESS))  # because content changes
    level = best_level(now.line, hopeful)
    if throughput(level, now.line, hopeful) < GAIN_MIN * now.line:
        return _give_up(now, sample, "no processor has time for it")
    words = _words(level, now.line)
    return replace(now, level=level, words=words, before=now.line, rate=0.0, since=sample.now)


def _go_on(now: Advice, sample: Sample) -> Advice:
    """On: does it still pay?"""
    is_tried = now.held >= HELD_SAMPLES and sample.now - now.since >= TRIAL_S
    is_won = sample.raw > WORTH_MIN * sample.wire and sample.wire >= FULL_SHARE * now.before
    if is_tried and now.rate < WORTH_MIN * now.before and not is_won:
        return _give_up(now, sample, "compressing brought nothing")
    if sample.now - now.calm_since >= CALM_S:
        return replace(now, level=0, words="the line keeps up", failures=0)
    level = best_level(now.line, sample)
    return replace(now, level=level, words=_words(level, now.line), failures=0 if is_tried else now.failures)


def _give_up(now: Advice, sample: Sample, words: str) -> Advice:
    wait = min(RETRY_LOW_S * 2**now.failures, RETRY_HIGH_S)
    return replace(
        now, level=0, words=words, blocked_until=sample.now + wait, failures=min(now.failures + 1, 16)
    )


def _words(level: int, line: float) -> str:
    return f"zstd {level}, the line carries {line / 1e6:.1f} MB/s"


def throughput(level: int, line: float, sample: Sample) -> float:
    """Bytes of batches per second at that level: the processor or the line, whichever is slower."""
    known = LEVELS[level]
    ratio = max(1.0, (sample.ratio or RATIO_GUESS) * known.gain)
    return min(known.speed / max(sample.slowness, 0.1), line * ratio)


def best_level(line: float, sample: Sample) -> int:
    """The lowest level that carries the demand with room; if none does or lag presses: the fastest."""
    rates = {level: throughput(level, line, sample) for level in LEVELS}
    fastest = max(LEVELS, key=lambda level: (rates[level], -level))
    if sample.pressure >= HARD_PRESSURE:
        return fastest
    enough = sample.demand / CALM_SHARE
    return next((level for level in LEVELS if rates[level] >= enough), fastest)


# --- bodies that nobody waits for

BULK_LEVEL: Final = (
    2  # because level 3 takes half as much again for half a percent, and level 1 saves nothing
)


CROWDED: Final = 3.0  # times as slow as `LEVELS`, because three bodies at once on two processors make two
SLOW_LINE: Final = 10e6  # bytes/s, because below this level 6 keeps up even on crowded processors


def bulk_level(advice: Advice, slowness: float = 1.0) -> int:
    """For what goes as fast as it can, and whose bytes count: never off, harder where the line is slow.

    `slowness`: as in `Sample`. Where processors are crowded, who waits for them looks like a slow line; a
    higher level would take more of what is short.
    """
    if slowness >= CROWDED and advice.line >= SLOW_LINE:
        return BULK_LEVEL
    return max(BULK_LEVEL, advice.level)


# --- what is not worth trying

RATIO_MIN: Final = 1.1  # because less than a tenth saved does not pay for unpacking it
SKIP_MAX: Final = 64  # bodies, because a frame in 64 costs nothing and content changes


@dataclass(slots=True)
class Memory:
    """Which content shrank lately, so that what does not is not tried again and again.

    Attributes:
        ratio: raw to compressed at level 1, smoothed; None before the first try.
        slowness: measured time as a multiple of `LEVELS`, smoothed.
    """

    ratio: float | None = None
    slowness: float = 1.0
    _misses: int = 0
    _skip: int = 0

    def is_worth_a_try(self) -> bool:
        """Whether the next body should be tried; counts it as passed over if not."""
        if self._skip:
            self._skip -= 1
            return False
        return True

    def tried(self, raw: int, packed: int, level: int, seconds: float) -> None:
        """A body of `raw` bytes became `packed` bytes; `seconds` is 0 when the time is not known."""
        known = LEVELS[level]
        ratio = max(1.0, raw / max(packed, 1) / known.gain)
        self.ratio = ratio if self.ratio is None else self.ratio + SMOOTHING * (ratio - self.ratio)
        if seconds > 0:
            self.slowness += SMOOTHING * (seconds / (raw / known.speed) - self.slowness)
        if raw < RATIO_MIN * packed:
            self._skip = min(1 << self._misses, SKIP_MAX)
            self._misses = min(self._misses + 1, 16)
        else:
            self._misses = 0
