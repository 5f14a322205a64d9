"""Which records belong to a group's history, and which epoch comes next.

Only questions about epoch histories and runs live here. The one rule that everything hangs on: an epoch
ends at the *lowest* start of all later epochs, not at the start of the next one (P11).
"""

from collections.abc import Iterable
from dataclasses import replace

from drsync.model.copy import Statement
from drsync.model.epoch import ERA_MAX, NEVER, TERM_MAX, Epoch, era, generation, make, term
from drsync.model.position import EpochRun, EpochStart, History, Loss, Runs


def end_of(history: History, epoch: Epoch) -> int | None:
    """Last record an epoch may contribute: the lowest start of all later epochs; None while it is open."""
    return min((start.fork_seq for start in history if start.epoch > epoch), default=None)


def belongs(history: History, runs: Runs, first_seq: int) -> int:
    """Last record of a journal's log that belongs to the history.

    `first_seq` is the first record the journal still holds; what was trimmed before it is taken to
    belong, unless the first run shows that the fork lies even lower: then the result is below
    ``first_seq - 1`` and nothing that is held belongs.
    """
    last = first_seq - 1
    known = {start.epoch for start in history}
    for run in runs:
        limit = _limit(history, run, is_known=run.epoch in known)
        if run.last_seq > limit:
            return limit if limit < last else max(last, limit)
        last = run.last_seq
    return last


def fork_point(history: History, statement: Statement) -> int:
    """Last record of a member's log that belongs to the history.

    Where nothing is held (all was trimmed, and the newest segment is still empty) its tip speaks for the log.
    """
    runs, tip = statement.runs, statement.tip
    if not runs and tip.seq:
        runs = (EpochRun(tip.epoch, tip.seq, tip.seq, tip.chain),)
    return belongs(history, runs, statement.first_seq)


def _limit(history: History, run: EpochRun, *, is_known: bool) -> int:
    """Last record of a run that may belong."""
    end = end_of(history, run.epoch)
    highest = run.last_seq if is_known else run.first_seq - 1
    return highest if end is None else min(end, highest)


def is_loss_stated_after(history: History, epoch: Epoch) -> bool:
    """Whether an opening after `epoch` admitted a loss: then its records are never just dropped."""
    return any(start.loss is not Loss.NONE and start.epoch > epoch for start in history)


def append_start(history: History, start: EpochStart) -> History:
    """The history after one more opening, normalised.

    An earlier epoch that would start above the new fork has contributed nothing that is left. It is
    removed, which changes no answer of `belongs`; if it admitted a loss it stays, moved down to the new
    fork, because the admission decides whether returning records are kept.
    """
    assert all(old.epoch < start.epoch for old in history), "epochs only rise"
    kept = [
        _clamped(old, start) for old in history if old.fork_seq < start.fork_seq or old.loss is not Loss.NONE
    ]
    return (*kept, start)


def _clamped(old: EpochStart, new: EpochStart) -> EpochStart:
    if old.fork_seq <= new.fork_seq:
        return old
    return replace(old, fork_seq=new.fork_seq, fork_chain=new.fork_chain)


def mint(seen: Iterable[Epoch]) -> Epoch:
    """The epoch of a normal opening: above everything seen. The term rises, and carries into the era."""
    top = max(seen, default=NEVER)
    if term(top) < TERM_MAX:
        return make(generation(top), era(top), term(top) + 1)
    return mint_forced((top,))


def mint_forced(seen: Iterable[Epoch]) -> Epoch:
    """The epoch of a forced opening: the era rises, the term is 0."""
    top = max(seen, default=NEVER)
    assert era(top) < ERA_MAX, "65535 forced openings in one store generation"
    return make(generation(top), era(top) + 1, 0)


def mint_generation(seen: Iterable[Epoch], newest_generation: int) -> Epoch:
    """The first epoch of a new store generation: above everything an older store could still mint."""
    top = max(seen, default=NEVER)
    return make(max(generation(top), newest_generation) + 1, 0, 0)
