"""Applications of the simulated world: they write values that nobody wrote before, flush, and read.

An application lives where the volume is served, and goes on at every place that serves it: if two places do,
it writes at both, which is what an invariant is there to notice.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from drsync.core.extents import GRANULE
from drsync.engine.owner import OwnerDevice
from drsync.model.epoch import Epoch
from drsync.ports.volume import BlockDevice
from drsync.sim.character import GRANULES
from drsync.sim.ledger import Ledger, Write
from drsync.sim.process import Process
from drsync.sim.timeline import Timeline

SLOT = 512  # bytes, because a sector is the least that a disk writes at once
ZERO_RATE = 0.05  # of the writes
FUA_RATE = 0.05
FAR_RATE = 0.2  # of the reads, from anywhere
FLUSH_RATE = 0.1  # of all operations
READ_RATE = 0.25
READ_MAX = 4  # slots, because a read may reach from written ranges into others
BATCH_MAX = 4  # writes that are submitted together
PENDING_MAX = 64  # because a queue has a depth


@dataclass(slots=True)
class Export:
    """A volume served somewhere, as an application sees it."""

    center: str
    process: Process
    device: OwnerDevice
    epoch: Epoch

    @property
    def is_over(self) -> bool:
        """Whether connections to it are dropped."""
        return not self.process.is_alive or self.device.engine.is_closed


@dataclass(slots=True)
class _Asked:
    """What an answer belongs to."""

    export: Export
    writes: list[Write]
    flush_upto: int = 0  # a FLUSH: records that had been answered when it was asked
    is_fua: bool = False


AtAnswer = Callable[[Export, int, bool], None]
"""Told of each answer as it is given: where, the last record it covers, whether that was to be durable."""


class Application:
    """Uses one volume.

    Attributes:
        rate: operations a second.
        exports: where the volume is served, as far as it knows.
        failed: answers with an error.
        places: numbers of the slots that it writes to, over the whole volume.
        is_fsync: whether each answer promises that the write is durable.
        at_answer: who looks at the moment of each answer. Must not raise: it runs inside the owner's process.
    """

    def __init__(self, timeline: Timeline, dice: random.Random, ledger: Ledger, slots: int) -> None:
        self.rate = 20.0
        self.exports: list[Export] = []
        self.failed = 0
        self.is_resting = False
        self.is_fsync = False
        self.at_answer: list[AtAnswer] = []
        self._timeline = timeline
        self._dice = dice
        self._ledger = ledger
        self.places = places(slots)
        self._numbers = 0
        self._asked: dict[bytes, _Asked] = {}
        self._cookies = 0

    @property
    def waiting(self) -> int:
        """Requests without an answer."""
        return len(self._asked)

    def start(self) -> None:
        """Begin, and go on for ever."""
        self._timeline.after(self._dice.expovariate(self.rate), self._next)

    def served(self, center: str, process: Process, device: BlockDevice) -> Export:
        """The volume is served at a center from now on."""
        assert isinstance(device, OwnerDevice)
        epoch = device.engine.log.epoch
        self.exports = [found for found in self.exports if not found.is_over]
        export = Export(center, process, device, epoch)
        self.exports.append(export)
        return export

    def _next(self) -> None:
        self._timeline.after(self._dice.expovariate(self.rate), self._next)
        self.exports = [found for found in self.exports if not found.is_over]
        if self.is_resting or not self.exports or len(self._asked) > PENDING_MAX:
            self._forget_the_dead()
            return
        export = self._dice.choice(self.exports)
        export.process.run_soon(self._operate, export)

    def _forget_the_dead(self) -> None:
        for cookie in [one for one, asked in self._asked.items() if asked.export.is_over]:
            del self._asked[cookie]

    def _operate(self, export: Export) -> None:
        """Inside the agent's process, as a connection would be."""
        if export.is_over:
            return
        what = self._dice.random()
        if what < READ_RATE:
            self._read(export)
        elif what < READ_RATE + FLUSH_RATE:
            self._flush(export)
        else:
            self._write(export)

    def _cookie(self, asked: _Asked) -> bytes:
        self._cookies += 1
        cookie = self._cookies.to_bytes(8, "big")
        self._asked[cookie] = asked
        return cookie

    def _write(self, export: Export) -> None:
        dice, device = self._dice, export.device
        log = device.engine.log
        is_fua = dice.random() < FUA_RATE
        before = log.appended
        drafts: list[Write] = []
        cookies: list[bytes] = []
        for _ in range(dice.randint(1, BATCH_MAX)):
            self._numbers += 1
            slot = self.places[_often_low(dice.randrange(len(self.places)), len(self.places))]
            is_zero = dice.random() < ZERO_RATE
            content = 0 if is_zero else self._numbers
            now = self._timeline.now
            write = Write(self._numbers, content, slot, export.center, export.epoch, 0, now)
            cookie = self._cookie(_Asked(export, [write], is_fua=is_fua))
            cookies.append(cookie)
            drafts.append(write)
            if is_zero:
                device.zero(slot * SLOT, SLOT, cookie, fua=is_fua, is_trim=bool(dice.getrandbits(1)))
            else:
                device.write(slot * SLOT, memoryview(pattern(content)), cookie, fua=is_fua)
        if not device.engine.is_frozen:
            self._number(drafts, before)
        device.submit(self)
        if log.appended == before:  # frozen, or it failed: the connection will be dropped
            for cookie in cookies:
                self._asked.pop(cookie, None)

    def _number(self, drafts: list[Write], before: int) -> None:
        """The log gives each write the next number, in order."""
        for write in drafts:
            before += 1
            write.seq = before
            self._ledger.appended(write)

    def _flush(self, export: Export) -> None:
        upto = export.device.engine.log.commit
        export.device.flush(self._cookie(_Asked(export, [], flush_upto=upto)))
        export.device.submit(self)

    def _read(self, export: Export) -> None:
        device = export.device
        room = device.size // SLOT  # all of it: what nobody wrote is zeros
        is_far = self._dice.random() < FAR_RATE
        slot = self._dice.randrange(room) if is_far else self._dice.choice(self.places)
        target = bytearray(SLOT * min(self._dice.randint(1, READ_MAX), room - slot))
        if device.read_into(slot * SLOT, memoryview(target)) == 0:
            commit = device.engine.log.commit
            now = self._timeline.now
            for at in range(0, len(target), SLOT):
                value = value_of(target[at : at + SLOT])
                self._ledger.was_read(export.epoch, commit, slot + at // SLOT, value, export.center, now)

    # --- Completion

    def complete(self, cookies: list[bytes], error: int) -> None:
        """See Completion."""
        for cookie in cookies:
            asked = self._asked.pop(cookie, None)
            if asked is None or not asked.export.process.is_alive:
                continue
            if error:
                self.failed += 1
                continue
            for write in asked.writes:
                write.is_durable = asked.is_fua or self.is_fsync
                self._ledger.answered(write, self._timeline.now)
                self._tell(asked.export, write.seq, is_durable=asked.is_fua)
            if asked.flush_upto:
                self._ledger.flushed(asked.export.epoch, asked.flush_upto)
                self._tell(asked.export, asked.flush_upto, is_durable=True)

    def _tell(self, export: Export, seq: int, *, is_durable: bool) -> None:
        for tell in self.at_answer:
            tell(export, seq, is_durable)

    def resume(self) -> None:
        """See Completion: it never parks reads."""


def places(count: int) -> tuple[int, ...]:
    """So many slots, in order, spread over the granules of the volume."""
    found = (divmod(number * GRANULES, count) for number in range(count))
    return tuple(granule * (GRANULE // SLOT) + within // GRANULES for granule, within in found)


def _often_low(number: int, count: int) -> int:
    """The first places are written most, so that some granules differ while others do not."""
    return number * number // count


def pattern(content: int) -> bytes:
    """A slot that holds a value."""
    return content.to_bytes(8, "big") * (SLOT // 8)


def value_of(slot: bytes | bytearray) -> int:
    """The value of a slot; -1 when it holds parts of several."""
    head = bytes(slot[:8])
    return int.from_bytes(head, "big") if bytes(slot) == head * (SLOT // 8) else -1
