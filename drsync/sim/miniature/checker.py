"""What must never happen, checked while it would: the invariants of ownership and of logs.

Only memory of what clients were told and comparisons with it live here. A checker knows more than any
member: it sees all of them at once.
"""

from dataclasses import dataclass

from drsync.model.epoch import TERM_BITS, Epoch
from drsync.model.position import History, Loss
from drsync.sim.miniature.member import Member, Rec


class ViolationError(Exception):
    """An invariant was broken. `invariant` is a short sentence, `evidence` the rest."""

    def __init__(self, invariant: str, *evidence: object) -> None:
        super().__init__(invariant, *evidence)
        self.invariant = invariant
        self.evidence = evidence


@dataclass
class Acknowledged:
    """A record that was committed, under which epoch, and under which a FLUSH covered it."""

    rec: Rec
    epoch: Epoch
    flushed: Epoch | None = None


class Checker:
    """Remembers what clients were told."""

    def __init__(self) -> None:
        self.acknowledged: list[Acknowledged] = []
        self.contents: dict[tuple[Epoch, int], int] = {}
        self.top = Epoch(0)
        self.openings = self.forced = 0

    def committed(self, owner: Member, recs: list[Rec], others_serving: list[Member]) -> None:
        """The owner acknowledges records: nobody else serves, nothing else stands at their positions."""
        for other in others_serving:
            if era_of(other.epoch) == era_of(owner.epoch):
                raise ViolationError("two owners serve", owner.name, owner.epoch, other.name, other.epoch)
        for rec in recs:
            if self.contents.setdefault((rec.epoch, rec.seq), rec.value) != rec.value:
                raise ViolationError("two contents acknowledged at one position", rec)
            self.acknowledged.append(Acknowledged(rec, owner.epoch))
            self.top = max(self.top, owner.epoch)

    def flushed(self, owner: Member, upto: int) -> None:
        """A FLUSH was answered for everything up to `upto`."""
        recs = owner.disk.log.recs
        for entry in self.acknowledged:
            if entry.flushed is None and entry.rec.seq <= upto and recs[entry.rec.seq - 1] == entry.rec:
                entry.flushed = owner.epoch

    def was_read(self, owner: Member, rec: Rec) -> None:
        """A client read the newest committed record."""
        if self.contents.get((rec.epoch, rec.seq)) != rec.value:
            raise ViolationError("read of an uncommitted value", owner.name)
        if self.top > owner.epoch and era_of(self.top) == era_of(owner.epoch):
            raise ViolationError("stale read", owner.name, owner.epoch, self.top)

    def cut(self, member: Member, gone: list[Rec], history: History, *, is_kept_aside: bool) -> None:
        """A member cut its log."""
        if not is_kept_aside and any(self.contents.get((rec.epoch, rec.seq)) == rec.value for rec in gone):
            raise ViolationError("acknowledged records truncated, not exported", member.name)
        stated = any(start.loss is not Loss.NONE and start.epoch > gone[0].epoch for start in history)
        applied = member.disk.image[0] >= gone[0].seq or member.disk.known >= gone[0].seq
        if applied and not stated:
            raise ViolationError("committed records cut without any stated loss", member.name)

    def opened(self, owner: Member, others_in_sync: list[Member]) -> None:
        """Every write acknowledged under an earlier epoch is here or covered by a loss statement.

        `others_in_sync`: who else was in the in-sync set that this epoch was opened from.
        """
        self.openings += 1
        recs, history = owner.disk.log.recs, owner.disk.history
        lost = 0
        for entry in self.acknowledged:
            at = entry.rec.seq
            if entry.epoch >= owner.epoch or (len(recs) >= at and recs[at - 1] == entry.rec):
                continue
            lost += 1
            self._is_covered(owner, entry, history)
            self._was_nowhere(owner, entry, others_in_sync)
        if history[-1].lost_at_least > lost:
            raise ViolationError("loss statement says more than was lost", owner.name, history[-1], lost)

    def _is_covered(self, owner: Member, entry: Acknowledged, history: History) -> None:
        kinds = covering(history, entry.epoch, entry.rec.seq, len(owner.disk.log))
        was_flushed = entry.flushed is not None and entry.flushed < owner.epoch
        if not kinds or (was_flushed and Loss.FORCED not in kinds):
            text = "acknowledged write lost (flushed)" if was_flushed else "acknowledged write lost"
            raise ViolationError(text, owner.name, entry.rec, entry.epoch, owner.epoch)

    def _was_nowhere(self, owner: Member, entry: Acknowledged, others: list[Member]) -> None:
        """A volatile loss was admitted only where no in-sync member had kept its tail."""
        start = owner.disk.history[-1]
        if start.loss is not Loss.VOLATILE or entry.rec.seq <= start.fork_seq or entry.epoch >= start.epoch:
            return
        for other in others:
            disk = other.disk
            is_clean = not (disk.unclean or disk.amnesic or other.is_host_down)
            if is_clean and entry.rec in disk.log.recs[entry.rec.seq - 1 : entry.rec.seq]:
                raise ViolationError(
                    "loss admitted although an in-sync member has it", owner.name, other.name, entry
                )

    def image(self, member: Member) -> None:
        """An image is a prefix of its log."""
        applied, chain = member.disk.image
        if applied > len(member.disk.log) or member.disk.log.chain_at(applied) != chain:
            raise ViolationError("image is not a prefix of the log", member.name)


def era_of(epoch: Epoch) -> int:
    """Generation and era: after a forced opening an isolated owner of an earlier one is no violation."""
    return epoch >> TERM_BITS


def covering(history: History, epoch: Epoch, seq: int, length: int) -> set[Loss]:
    """The admissions in a history that cover the loss of record `seq`, acknowledged under `epoch`."""
    low = length + 1
    is_foreign = all(start.epoch != epoch for start in history)
    kinds: set[Loss] = set()
    for start in reversed(history):
        low = min(low, start.fork_seq)
        if start.epoch <= epoch or start.loss is Loss.NONE:
            continue
        if low < seq or (is_foreign and start.loss is Loss.FORCED):
            kinds.add(start.loss)
    return kinds
