"""Which decision a procedure asks for: the one on its way, and the one on the way back.

Only the choice lives here; the decisions have files of their own. It is the one entrance to them, so that
what was asked in the field can be asked again afterwards, of this version or a later one.
"""

from enum import StrEnum

from drsync.core import failover, switchover
from drsync.core.observation import Observation
from drsync.core.plan import Done, Plan, Refuse
from drsync.model.charter import IntentKind
from drsync.model.copy import CopyState


class Way(StrEnum):
    """In which direction a procedure goes."""

    FORWARD = "forward"
    BACK = "back"


def decide(way: Way, seen: Observation) -> Plan:
    """The next step of the procedure that `seen` is about."""
    return forward(seen) if way is Way.FORWARD else back(seen)


def forward(seen: Observation) -> Plan:
    """The next step towards what was asked for."""
    if seen.kind is IntentKind.SWITCHOVER:
        return switchover.plan(seen)
    return failover.plan(seen)


def back(seen: Observation) -> Plan:
    """The way back: void the intent if the owner serves or cannot be asked, else let it open again."""
    if not seen.is_recorded:
        return Done("nothing is left of it")
    charter = seen.charter
    word = seen.statements.get(charter.owner)
    is_serving = word is not None and word.state is CopyState.OWNER and word.promised == charter.epoch
    if word is None or is_serving:
        return failover.give_up(seen)
    step = switchover.abort(seen)
    return failover.give_up(seen) if isinstance(step, Refuse) else step
