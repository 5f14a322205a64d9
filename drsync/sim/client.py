"""Applications of the simulated world: they write values that nobody wrote before, flush, and read.

An application lives where the volumes are served, and goes on at every place that serves them: if two places
do, it writes at both, which is what an invariant is there to notice. It uses all volumes of the group as one
row of slots, so that writes of one volume follow those of another.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from drsync.core.extents import GRANULE
from drsync.engine.overlay import VolumeView
from drsync.engine.owner import OwnerDevice, OwnerEngine
from drsync.model.epoch import Epoch
from drsync.ports.volume import BlockDevice
from drsync.sim.character import GRANULES, GROUP_BYTES, VOLUMES
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
    """The volumes served somewhere, as an application sees them.

    Attributes:
        device: the first volume; whatever is asked of it about the group may be asked of any.
        devices: all of them, by their index.
    """

    center: str
    process: Process
    device: OwnerDevice
    epoch: Epoch
    devices: dict[int, OwnerDevice] = field(default_factory=dict)

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
    """Uses the volumes of a group.

    Attributes:
        rate: operations a second.
        exports: where the volume is served, as far as it knows.
        failed: answers with an error.
        places: numbers of the slots that it writes to, over all volumes.
        hot: so many places are written to; 0: all of them.
        cold: so many of the first places are left alone meanwhile.
        is_fsync: whether each answer promises that the write is durable.
        at_answer: who looks at the moment of each answer. Must not raise: it runs inside the owner's process.
    """

    def __init__(self, timeline: Timeline, dice: random.Random, ledger: Ledger, slots: int) -> None:
        self.rate = 20.0
        self.exports: list[Export] = []
        self.failed = 0
        self.is_resting = False
        self.is_fsync = False
        self.hot = 0
        self.cold = 0
        self.at_answer: list[AtAnswer] = []
        self._timeline = timeline
        self._dice = dice
        self._ledger = ledger
        self.places = places(slots)
        self._numbers = 0
        self._to_clear: list[int] = []
        self._asked: dict[bytes, _Asked] = {}
        self._late: dict[OwnerEngine, list[list[Write]]] = {}  # what waits for its owner to take writes
        self._cookies = 0

    @property
    def waiting(self) -> int:
        """Requests without an answer."""
        return len(self._asked)

    @property
    def is_clearing(self) -> bool:
        """Whether some of what was to be cleared is not yet."""
        return bool(self._to_clear)

    def clear(self, first: int, count: int) -> None:
        """Trim these places next, as whoever deletes files does: zeros in all of them."""
        self._to_clear += self.places[first : first + count]

    def start(self) -> None:
        """Begin, and go on for ever."""
        self._timeline.after(self._dice.expovariate(self.rate), self._next)

    def served(self, center: str, process: Process, device: BlockDevice) -> Export:
        """A volume is served at a center from now on; the first of them makes the export."""
        assert isinstance(device, OwnerDevice)
        epoch = device.engine.log.epoch
        self.exports = [found for found in self.exports if not found.is_over]
        known = [found for found in self.exports if found.device.engine is device.engine]
        export = known[0] if known else Export(center, process, device, epoch)
        export.devices[device.volume] = device
        if not known:
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
            is_zero, slot = self._next_place()
            content = 0 if is_zero else self._numbers
            now = self._timeline.now
            write = Write(self._numbers, content, slot, export.center, export.epoch, 0, now)
            cookie = self._cookie(_Asked(export, [write], is_fua=is_fua))
            cookies.append(cookie)
            drafts.append(write)
            index, offset = place_of(slot)
            volume = export.devices[index]
            if is_zero:
                volume.zero(offset, SLOT, cookie, fua=is_fua, is_trim=bool(dice.getrandbits(1)))
            else:
                volume.write(offset, memoryview(pattern(content)), cookie, fua=is_fua)
        engine = device.engine
        if engine.gate.is_open:
            self._number(drafts, before)
        elif not engine.is_frozen:
            self._late.setdefault(engine, []).append(drafts)  # it waits, and is appended when the gate opens
            engine.on_late = partial(self._came_late, engine)
            device.submit(self)
            return
        device.submit(self)
        if log.appended == before:  # frozen, or it failed: the connection will be dropped
            for cookie in cookies:
                self._asked.pop(cookie, None)

    def _came_late(self, engine: OwnerEngine, before: int) -> None:
        self._number(self._late[engine].pop(0), before)

    def _number(self, drafts: list[Write], before: int) -> None:
        """The log gives each write the next number, in order."""
        for write in drafts:
            before += 1
            write.seq = before
            self._ledger.appended(write)

    def _next_place(self) -> tuple[bool, int]:
        """Whether zeros are written next, and where."""
        if self._to_clear:
            return True, self._to_clear.pop()
        count = min(self.hot or len(self.places), len(self.places) - self.cold)
        slot = self.places[self.cold + _often_low(self._dice.randrange(count), count)]
        return self._dice.random() < ZERO_RATE, slot

    def _flush(self, export: Export) -> None:
        upto = export.device.engine.log.commit
        export.device.flush(self._cookie(_Asked(export, [], flush_upto=upto)))
        export.device.submit(self)

    def _read(self, export: Export) -> None:
        is_far = self._dice.random() < FAR_RATE  # anywhere: what nobody wrote is zeros
        slot = self._dice.randrange(GROUP_BYTES // SLOT) if is_far else self._dice.choice(self.places)
        index, offset = place_of(slot)
        device = export.devices[index]
        target = bytearray(min(self._dice.randint(1, READ_MAX) * SLOT, device.size - offset))
        if device.read_into(offset, memoryview(target)) == 0:
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
    """So many slots, in order, spread over the granules of all volumes."""
    found = (divmod(number * GRANULES, count) for number in range(count))
    return tuple(granule * (GRANULE // SLOT) + within // GRANULES for granule, within in found)


def place_of(slot: int) -> tuple[int, int]:
    """The volume, by its index, and the offset in it, of a slot of the row of all volumes."""
    offset = slot * SLOT
    for volume in VOLUMES:
        if offset < volume.size:
            return volume.index, offset
        offset -= volume.size
    raise IndexError(f"there is no slot {slot}")


def first_slot(volume: int) -> int:
    """The first slot of a volume in the row."""
    return sum(one.size for one in VOLUMES if one.index < volume) // SLOT


def content_of(views: Mapping[int, VolumeView]) -> bytearray:
    """What all volumes hold, in a row."""
    found, at = bytearray(GROUP_BYTES), 0
    for volume in VOLUMES:
        views[volume.index].read_into(0, memoryview(found)[at : at + volume.size])
        at += volume.size
    return found


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
