"""Where the batches of one segment start, as arrays; and the runs of epochs of a whole journal. No I/O."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from drsync.adapters.segments.layout import OFFSET_CODE
from drsync.model.epoch import Epoch
from drsync.model.position import CHAIN_BYTES, EpochRun, Position, Runs


class BatchDirectory:
    """First record, byte offset and chain of each batch: 28 bytes a batch, no object."""

    __slots__ = ("chains", "first_seqs", "offsets")

    def __init__(
        self,
        first_seqs: "array[int] | None" = None,
        offsets: "array[int] | None" = None,
        chains: bytearray | None = None,
    ) -> None:
        self.first_seqs = array("Q") if first_seqs is None else first_seqs
        self.offsets = array(OFFSET_CODE) if offsets is None else offsets
        self.chains = bytearray() if chains is None else chains

    def __len__(self) -> int:
        return len(self.first_seqs)

    def add(self, first_seq: int, offset: int, chain: bytes) -> None:
        """Note a batch that follows all others."""
        self.first_seqs.append(first_seq)
        self.offsets.append(offset)
        self.chains += chain

    def index_of(self, seq: int) -> int:
        """The batch that holds record `seq`; -1 when it lies before the first."""
        return bisect_right(self.first_seqs, seq) - 1

    def index_starting(self, first_seq: int) -> int | None:
        """The batch whose first record is `first_seq`."""
        index = bisect_left(self.first_seqs, first_seq)
        if index < len(self.first_seqs) and self.first_seqs[index] == first_seq:
            return index
        return None

    def chain(self, index: int) -> bytes:
        """Chain at the end of a batch."""
        return bytes(self.chains[index * CHAIN_BYTES : (index + 1) * CHAIN_BYTES])

    def keep(self, count: int) -> None:
        """Forget all batches after the first `count`."""
        del self.first_seqs[count:]
        del self.offsets[count:]
        del self.chains[count * CHAIN_BYTES :]


@dataclass(slots=True)
class _Run:
    epoch: Epoch
    first_seq: int
    last: Position


class RunList:
    """The runs of a journal, kept current at the price of one comparison per batch."""

    __slots__ = ("_runs",)

    def __init__(self) -> None:
        self._runs: list[_Run] = []

    def note(self, first_seq: int, end: Position) -> None:
        """A batch was added that ends at `end`."""
        if self._runs and self._runs[-1].epoch == end.epoch:
            self._runs[-1].last = end
        else:
            self._runs.append(_Run(end.epoch, first_seq, end))

    def extend(self, runs: Iterable[EpochRun]) -> None:
        """Runs of the next segment."""
        for run in runs:
            self.note(run.first_seq, Position(run.epoch, run.last_seq, run.last_chain))

    def all(self) -> Runs:
        """Oldest first."""
        return tuple(EpochRun(r.epoch, r.first_seq, r.last.seq, r.last.chain) for r in self._runs)

    def between(self, first_seq: int, last: Position) -> Runs:
        """The runs of a stretch that ends with a batch at `last`."""
        found: list[EpochRun] = []
        for run in self._runs:
            if run.last.seq >= first_seq and run.first_seq <= last.seq:
                end = min(run.last, last, key=_seq)
                found.append(EpochRun(run.epoch, max(run.first_seq, first_seq), end.seq, end.chain))
        return tuple(found)

    def epoch_of(self, seq: int) -> Epoch:
        """The epoch of a held record."""
        runs = self._runs
        return runs[bisect_right(runs, seq, key=_first_seq) - 1].epoch

    def cut(self, end: Position) -> None:
        """Everything after the held position `end` is gone."""
        while self._runs and self._runs[-1].first_seq > end.seq:
            self._runs.pop()
        if self._runs:
            self._runs[-1].last = end

    def trim(self, first_seq: int) -> None:
        """Everything before `first_seq` is gone."""
        self._runs = [run for run in self._runs if run.last.seq >= first_seq]
        if self._runs:
            self._runs[0].first_seq = max(self._runs[0].first_seq, first_seq)


def _seq(position: Position) -> int:
    return position.seq


def _first_seq(run: _Run) -> int:
    return run.first_seq
