"""Where a procedure would have come to, had everything it asked for succeeded: the rules played to the end.

It starts from one observation. Commands have the effect they have when nothing goes wrong, and time passes
only where the rules wait for an instant that they know.
"""

from dataclasses import dataclass, replace

from drsync.core import eligibility
from drsync.core.observation import Observation
from drsync.core.plan import (
    Command,
    CommitCharter,
    Done,
    Freeze,
    OpenGroup,
    Plan,
    Prepare,
    RecordIntent,
    Refuse,
    Release,
    Seal,
    Wait,
)
from drsync.core.procedure import Way
from drsync.model.charter import Charter
from drsync.model.copy import CopyState, Statement
from drsync.model.position import NO_CHAIN, Position, Runs
from drsync.sim.incident.replay import answer

ROUNDS_MAX = 60  # because the longest way, a switchover that is given up, takes some twenty


@dataclass(frozen=True, slots=True)
class Ending:
    """How it ends.

    Attributes:
        plan: the last answer: an `Act` that commits or opens, `Refuse`, `Done`, or a `Wait` without an end.
        charter: the one that is committed; None if none is.
        waited_s: time that passed, for leases.
    """

    plan: Plan
    charter: Charter | None = None
    waited_s: float = 0.0


def rehearse(seen: Observation) -> Ending:
    """Play the procedure that `seen` is about until its commit point, or until it ends before that."""
    waited_s = 0.0
    plan = answer(Way.FORWARD, seen)
    for _ in range(ROUNDS_MAX):
        if isinstance(plan, Refuse | Done):
            break
        if isinstance(plan, Wait):
            if plan.until is None or plan.until <= seen.now:
                break
            waited_s += plan.until - seen.now
            seen = replace(seen, now=plan.until)
        else:
            for command in plan.commands:
                if isinstance(command, CommitCharter):
                    return Ending(plan, command.charter, waited_s)
                if isinstance(command, OpenGroup):
                    return Ending(plan, seen.charter, waited_s)
                seen = performed(seen, command)
        plan = answer(Way.FORWARD, seen)
    return Ending(plan, None, waited_s)


def performed(seen: Observation, command: Command) -> Observation:
    """What is seen after a command succeeded."""
    match command:
        case RecordIntent():
            charter = replace(seen.charter, version=seen.charter.version + 1, intent=command.intent)
            return replace(seen, charter=charter, has_begun=True, begun_epoch=seen.charter.epoch)
        case Seal():
            return _sealed(seen, command)
        case Freeze():
            return _frozen(seen, command.center)
        case Release():
            word = replace(seen.statements[command.center], state=CopyState.SEALED)
            lease = seen.lease.release(command.center, command.epoch)
            return replace(_with(seen, word), lease=lease)
        case Prepare():
            return _with(seen, _prepared(seen, command))
        case _:
            return replace(seen, charter=command.charter)


def _with(seen: Observation, word: Statement) -> Observation:
    return replace(seen, statements={**seen.statements, word.center: word})


def _sealed(seen: Observation, command: Seal) -> Observation:
    word = seen.statements[command.center]
    is_frozen = word.state is CopyState.FROZEN
    is_blank = word.state is CopyState.BLANK
    state = word.state if is_frozen or is_blank else CopyState.SEALED
    lease = seen.lease if is_frozen else seen.lease.release(command.center, command.epoch)
    return replace(_with(seen, replace(word, promised=command.epoch, state=state)), lease=lease)


def _frozen(seen: Observation, owner: str) -> Observation:
    """The owner holds its writes and the target has received them; it commits when all in sync are there."""
    word = seen.statements[owner]
    commit = word.appended if seen.charter.in_sync <= set(seen.statements) else word.commit
    word = replace(word, state=CopyState.FROZEN, durable=word.appended, commit=commit)
    seen = replace(_with(seen, word), frozen_since=seen.now)
    target = seen.candidate
    return seen if target is None else _with(seen, _copied(target, word, word.appended))


def _prepared(seen: Observation, command: Prepare) -> Statement:
    """The candidate holds what belongs to the history, of its own log and of the longest donor's."""
    target = seen.statements[command.center]
    source = seen.statements.get(command.donors[0], target) if command.donors else target
    return _copied(target, source, eligibility.belongs(seen.charter, source))


def _copied(target: Statement, source: Statement, seq: int) -> Statement:
    runs = _until(source.runs, seq)
    tip = source.tip
    if tip.seq != seq:
        tip = Position(runs[-1].epoch if runs else source.tip.epoch, seq, NO_CHAIN)
    return replace(
        target,
        runs=runs,
        first_seq=source.first_seq,
        appended=seq,
        durable=seq,
        applied=min(target.applied, seq),
        commit=min(max(target.commit, source.commit), seq),
        tip=tip,
    )


def _until(runs: Runs, seq: int) -> Runs:
    """The runs up to a record; the chain of one that is cut is not known."""
    return tuple(
        run if run.last_seq <= seq else run._replace(last_seq=seq, last_chain=NO_CHAIN)
        for run in runs
        if run.first_seq <= seq
    )
