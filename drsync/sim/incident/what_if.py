"""One fact at a time changed, and what would have been decided then."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from drsync.core.lease import LeaseBook
from drsync.core.observation import Observation
from drsync.core.plan import Plan, Refuse
from drsync.model.charter import IntentKind
from drsync.model.position import Loss
from drsync.sim.incident.record import Kept
from drsync.sim.incident.rehearsal import Ending, rehearse


@dataclass(frozen=True, slots=True)
class Change:
    """The fact that is changed.

    Attributes:
        what: ``none``, ``answered``, ``silent``, ``loss_accepted``, ``loss_not_accepted``, ``lease_over``,
            ``lease_held`` or ``other_target``.
        center: whom it is about; may be empty.
        age_s: how old the word is that is believed for it.
    """

    what: str
    center: str = ""
    age_s: float | None = None


@dataclass(frozen=True, slots=True)
class Alternative:
    """What would have come out.

    Attributes:
        change: what was different.
        ending: where it ends; None if that cannot be told: the member never said a word.
        is_other: whether another center opens, with another loss, or none at all.
    """

    change: Change
    ending: Ending | None
    is_other: bool = False


def alternatives(kept: Kept) -> list[Alternative]:
    """As it was first, then each change."""
    real = rehearse(kept.seen)
    found = [Alternative(Change("none"), real)]
    for change, seen in _changes(kept):
        ending = rehearse(seen) if seen is not None else None
        is_other = ending is not None and _essence(ending) != _essence(real)
        found.append(Alternative(change, ending, is_other))
    return found


def _changes(kept: Kept) -> Iterator[tuple[Change, Observation | None]]:
    seen = kept.seen
    for name in seen.members:
        if name in seen.statements:
            rest = {other: word for other, word in seen.statements.items() if other != name}
            yield Change("silent", name), replace(seen, statements=rest)
        else:
            said = kept.silent.get(name)
            if said is None or said.statement is None:
                yield Change("answered", name), None
            else:
                words = {**seen.statements, name: said.statement}
                yield Change("answered", name, said.heard_s), replace(seen, statements=words)
    if seen.kind is IntentKind.FAILOVER:
        word = "loss_not_accepted" if seen.accept_loss else "loss_accepted"
        yield Change(word), _asked(seen, accept_loss=not seen.accept_loss)
    yield from _leases(seen)
    for name in seen.members:
        is_possible = name != seen.target and (name != seen.charter.owner or _is_failover(seen))
        if is_possible:
            yield Change("other_target", name), _asked(seen, target=name)


def _is_failover(seen: Observation) -> bool:
    return seen.kind is IntentKind.FAILOVER


def _leases(seen: Observation) -> Iterator[tuple[Change, Observation]]:
    owner, lease = seen.charter.owner, seen.lease
    if lease.holder not in ("", seen.target) and lease.until > seen.now:
        yield Change("lease_over", lease.holder), replace(seen, lease=replace(lease, until=seen.now))
    elif owner not in ("", seen.target):
        held = LeaseBook(owner, seen.now + seen.charter.group.policy.lease_s, lease.released)
        yield Change("lease_held", owner), replace(seen, lease=held)


def _asked(seen: Observation, *, target: str = "", accept_loss: bool | None = None) -> Observation:
    """As if something else had been asked for, from the beginning."""
    intent = seen.charter.intent
    charter = replace(seen.charter, intent=None) if intent and intent.id == seen.intent_id else seen.charter
    accepts = seen.accept_loss if accept_loss is None else accept_loss
    return replace(seen, charter=charter, target=target or seen.target, accept_loss=accepts, has_begun=False)


def _essence(ending: Ending) -> tuple[object, ...]:
    """What a person would call the decision: who opens with which loss, or why nobody does."""
    charter = ending.charter
    if charter is None:
        return (type(ending.plan), _codes(ending.plan))
    last = charter.history[-1] if charter.history else None
    return (charter.owner, last.loss if last else Loss.NONE, last.fork_seq if last else 0)


def _codes(plan: Plan) -> tuple[str, ...]:
    return tuple(reason.code for reason in plan.reasons) if isinstance(plan, Refuse) else ()
