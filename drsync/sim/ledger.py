"""What applications were told, and what every log should hold: the memory that all checks compare with.

Outside of the code under test: filled by the simulated applications, asked by the invariants. A record is
named by its epoch and number; the history of an epoch says which records it continues.
"""

from bisect import bisect_right, insort
from dataclasses import dataclass, field

from drsync.model.epoch import TERM_BITS, Epoch
from drsync.model.position import History, Loss

LATE_MAX = 20  # because writes are answered about in the order of their records


class ViolationError(Exception):
    """A promise was broken.

    Attributes:
        invariant: its number, such as INV-01.
        text: what happened, in a sentence.
    """

    def __init__(self, invariant: str, text: str) -> None:
        super().__init__(f"{invariant}: {text}")
        self.invariant = invariant
        self.text = text


@dataclass(slots=True)
class Write:
    """One write of an application.

    Attributes:
        number: unique; also the content it writes (0 for zeros).
        content: what the slot holds after it.
        slot: where.
        center, epoch: whose export took it, in which epoch.
        seq: its last record.
        asked, answered: instants; None while it is not answered.
        is_durable: FUA, or covered by an answered FLUSH.
        was_read: a reader saw it, so that it may not vanish any more.
        is_relied_on: it is among the promised ones.
        is_lost: an opening lost it as stated.
    """

    number: int
    content: int
    slot: int
    center: str
    epoch: Epoch
    seq: int
    asked: float
    answered: float | None = None
    is_durable: bool = False
    was_read: bool = False
    is_relied_on: bool = False
    is_lost: bool = False

    @property
    def is_promised(self) -> bool:
        """Whether somebody relies on it."""
        return self.answered is not None or self.was_read


@dataclass(slots=True)
class EpochLog:
    """The writes of one epoch."""

    seqs: dict[int, list[int]] = field(default_factory=dict)  # slot -> record numbers, rising
    contents: dict[int, list[int]] = field(default_factory=dict)  # slot -> what they hold
    promised: list[int] = field(default_factory=list)  # numbers of records that somebody relies on, rising


class Ledger:
    """Of one group.

    Attributes:
        writes: all, in the order in which they were asked for.
        epochs: what was opened.
        acknowledged: how many were answered.
        broken: the first promise that was broken; None so far.
    """

    def __init__(self) -> None:
        self.writes: list[Write] = []
        self.epochs: dict[Epoch, EpochLog] = {}
        self.histories: dict[Epoch, History] = {}
        self.owners: dict[Epoch, str] = {}  # epoch -> the process that answers in it
        self.acknowledged = 0
        self.openings = 0
        self.lost = 0  # promised writes that a loss statement covered
        self.top = Epoch(0)
        self.broken: ViolationError | None = None
        self._promised: list[Write] = []
        self._volatile: list[Write] = []  # promised, and nobody asked for it to be durable
        self._by_content: dict[int, Write] = {}
        self._excused: dict[str, float] = {}

    # --- what happened

    def opened(self, epoch: Epoch, history: History, process: str) -> None:
        """A process opened an epoch."""
        known = self.owners.get(epoch)
        if known is not None:
            if known != process:
                self.note("INV-02", f"{process} and {known} opened the same epoch {epoch:x}")
            return
        self.openings += 1
        self.owners[epoch] = process
        self.histories[epoch] = history
        self.epochs[epoch] = EpochLog()
        self.top = max(self.top, epoch)
        for write in self._promised:
            if write.epoch < epoch:
                self._must_be_there(write, epoch, history)

    def appended(self, write: Write) -> None:
        """An owner took a write into its log."""
        self.writes.append(write)
        if write.content:
            self._by_content[write.content] = write
        log = self.epochs[write.epoch]
        log.seqs.setdefault(write.slot, []).append(write.seq)
        log.contents.setdefault(write.slot, []).append(write.content)

    def answered(self, write: Write, now: float) -> None:
        """The application was told that its write is done."""
        if write.answered is not None:
            self.note("INV-02", f"write {write.number} was answered twice")
        write.answered = now
        self.acknowledged += 1
        self._promise(write)

    def _promise(self, write: Write) -> None:
        if write.is_relied_on:
            return
        write.is_relied_on = True
        self._promised.append(write)
        insort(self.epochs[write.epoch].promised, write.seq)
        if not write.is_durable:
            self._volatile.append(write)
        for epoch in sorted(self.histories):
            if epoch > write.epoch:
                self._must_be_there(write, epoch, self.histories[epoch])

    def flushed(self, epoch: Epoch, upto: int) -> None:
        """Everything up to a record of an epoch was promised to be durable."""
        history = self.histories[epoch]
        left: list[Write] = []
        for write in self._volatile:
            if write.seq <= upto and holds(history, write.epoch, write.seq):
                write.is_durable = True
            else:
                left.append(write)
        self._volatile = left

    def suspended(self, center: str, until: float) -> None:
        """A machine whose clock stood still may answer old reads until then (INV-14 admits that)."""
        self._excused[center] = max(until, self._excused.get(center, 0.0))

    def was_read(  # one fact in each
        self, epoch: Epoch, commit: int, slot: int, content: int, center: str, now: float
    ) -> None:
        """A reader was given what a slot holds."""
        expected = self.content(self.histories[epoch], commit, slot)
        if content != expected:
            self.note(
                "INV-14",
                f"{center} in epoch {epoch:x} read {content} from slot {slot}, "
                f"but record {commit} left {expected} there",
            )
        relied_on = self.top_promised(self.histories[epoch])
        if commit < relied_on:
            self.note(
                "INV-14",
                f"{center} reads up to record {commit} of epoch {epoch:x}, but relied on is {relied_on}",
            )
        is_excused = now <= self.excused(center)
        if self.top > epoch and era_of(self.top) == era_of(epoch) and not is_excused:
            newest = max((w.number for w in self._promised if w.epoch > epoch), default=0)
            if newest:
                self.note(
                    "INV-14", f"{center} answers reads in epoch {epoch:x} after {self.top:x} took writes"
                )
        found = self._by_content.get(content)
        if found is not None and not found.is_promised:
            found.was_read = True
            self._promise(found)

    # --- questions

    def content(self, history: History, seq: int, slot: int) -> int:
        """What a slot holds after record `seq` of a log with this history."""
        for start in reversed(history):
            log = self.epochs.get(start.epoch)
            numbers = log.seqs.get(slot, []) if log is not None else []
            at = bisect_right(numbers, seq)
            if log is not None and at and numbers[at - 1] > start.fork_seq:
                return log.contents[slot][at - 1]
            seq = min(seq, start.fork_seq)
        return 0

    def lineage(self, follow: Epoch, history: History) -> History:
        """The history of a log that follows an epoch, as it was when that epoch was opened if it was."""
        return self.histories.get(follow) or tuple(start for start in history if start.epoch <= follow)

    def excused(self, center: str) -> float:
        """Until when a center's clock is not to be trusted; -1 if it is."""
        return self._excused.get(center, -1.0)

    def top_promised(self, history: History) -> int:
        """The highest record of a log with this history that somebody relies on; 0 if there is none."""
        end: int | None = None
        for start in reversed(history):
            log = self.epochs.get(start.epoch)
            numbers = log.promised if log is not None else []
            at = len(numbers) if end is None else bisect_right(numbers, end)
            if at:
                return numbers[at - 1]
            end = start.fork_seq if end is None else min(end, start.fork_seq)
        return 0

    def promised_after(self, history: History, seq: int) -> list[Write]:
        """Writes above record `seq` of a log with this history that somebody relies on, newest first."""
        found: list[Write] = []
        below = 0
        for write in reversed(self._promised):
            if holds(history, write.epoch, write.seq):
                if write.seq > seq:
                    found.append(write)
                else:
                    below += 1
                    if below > LATE_MAX:
                        break
        return found

    def relied_on(self, seq: int) -> list[Write]:
        """All writes with a record number above `seq` that somebody relies on."""
        return [write for write in self._promised if write.seq > seq]

    def last_promised(self) -> Write | None:
        """The newest write that somebody relies on."""
        return self._promised[-1] if self._promised else None

    def _must_be_there(self, write: Write, epoch: Epoch, history: History) -> None:
        if holds(history, write.epoch, write.seq):
            return
        last = self._last_that_held(write, epoch)
        kinds = covering(history, write.epoch, write.seq, after=last)
        if Loss.FORCED in kinds or (Loss.VOLATILE in kinds and not write.is_durable):
            self.lost += not write.is_lost  # every later opening lacks it as well
            write.is_lost = True
            return
        if era_of(epoch) != era_of(write.epoch) and self._is_isolated(write, epoch, last):
            return
        what = "durable write" if write.is_durable else "write"
        self.note(
            "INV-01",
            f"acknowledged {what} {write.number} (record {write.seq} of epoch {write.epoch:x} at "
            f"{write.center}) is not in the log of epoch {epoch:x}, and no loss was stated",
        )

    def note(self, invariant: str, text: str) -> None:
        """Keep it: whoever tells the ledger runs inside the code under test, which must not handle it."""
        if self.broken is None:
            self.broken = ViolationError(invariant, text)

    def _last_that_held(self, write: Write, epoch: Epoch) -> Epoch:
        """The last epoch opened before this one that had it: what was stated before says nothing of it."""
        for one in sorted(self.histories, reverse=True):
            if write.epoch < one < epoch and holds(self.histories[one], write.epoch, write.seq):
                return one
        return write.epoch

    def _is_isolated(self, write: Write, epoch: Epoch, last: Epoch) -> bool:
        """Whether an owner cut off by a forced opening went on within its lease (F.A 3 admits that)."""
        return write.epoch < epoch and any(
            start.loss is Loss.FORCED and start.epoch > last for start in self.histories[epoch]
        )


def era_of(epoch: Epoch) -> int:
    """Generation and era of an epoch."""
    return epoch >> TERM_BITS


def holds(history: History, epoch: Epoch, seq: int) -> bool:
    """Whether a log with this history has record `seq` of `epoch`: its own reckoning, not the shipped one."""
    if all(start.epoch != epoch for start in history):
        return False
    return all(start.fork_seq >= seq for start in history if start.epoch > epoch)


def covering(history: History, epoch: Epoch, seq: int, after: Epoch | None = None) -> set[Loss]:
    """The admissions in a history that cover the loss of record `seq`, written in `epoch`.

    `after`: the last epoch that is known to have had it; only what was stated later counts.
    """
    is_foreign = all(start.epoch != epoch for start in history)
    kinds: set[Loss] = set()
    low: int | None = None
    for start in reversed(history):
        low = start.fork_seq if low is None else min(low, start.fork_seq)
        if start.epoch <= (epoch if after is None else after) or start.loss is Loss.NONE:
            continue
        if low < seq or (is_foreign and start.loss is Loss.FORCED):
            kinds.add(start.loss)
    return kinds
