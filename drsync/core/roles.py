"""What a center's copy of a group may become, and by what (F.12).

Only the moves live here. Consistency and currency are separate facts (`model.copy`): a replica may be in
sync or far behind. A fork is kept aside and the copy goes on, so no move leads to `forked`; whoever finds it
so in a copy of another version leaves it to a person.
"""

from enum import StrEnum
from typing import Final

from drsync.core.machine import Machine, Move
from drsync.model.copy import CopyState


class RoleEvent(StrEnum):
    """What happens to a copy."""

    FOLLOWED = "follows an owner"
    PROMISED = "promised a higher epoch"
    OPENED = "opened by its charter"
    FROZE = "frozen for a switchover"
    ENDED = "term ended"
    FAILED = "disk cannot be trusted"


class RoleEffect(StrEnum):
    """What goes with it."""

    ADOPT = "adopt the owner's history, durably; keep a fork aside before cutting"
    PROMISE = "store the promise, then say it"
    START = "append the epoch's start; serve once everybody in sync has it"
    HOLD = "take no new writes; drain those that are in"
    STOP = "answer nothing any more"
    REMEMBER = "note the failure where a restart finds it"


_S, _E, _F = CopyState, RoleEvent, RoleEffect
_FAIL = {_E.FAILED: Move(_S.FAILED, (_F.REMEMBER,))}
_FOLLOW = {_E.FOLLOWED: Move(_S.REPLICA, (_F.ADOPT,))}
_OPEN = {_E.OPENED: Move(_S.OWNER, (_F.START,))}
_END = {_E.ENDED: Move(_S.REPLICA, (_F.STOP,))}

ROLES: Final = Machine[CopyState, RoleEvent, RoleEffect](
    "member roles",
    _S,
    _E,
    late={_E.ENDED, _E.FAILED},
    moves={
        _S.BLANK: {**_FAIL, **_FOLLOW, **_OPEN, _E.PROMISED: Move(_S.BLANK, (_F.PROMISE,))},
        _S.REPLICA: {**_FAIL, **_FOLLOW, **_OPEN, _E.PROMISED: Move(_S.SEALED, (_F.PROMISE,))},
        _S.SEALED: {**_FAIL, **_FOLLOW, **_OPEN, _E.PROMISED: Move(_S.SEALED, (_F.PROMISE,))},
        _S.OWNER: {
            **_FAIL,
            **_END,
            _E.FROZE: Move(_S.FROZEN, (_F.HOLD,)),
            _E.PROMISED: Move(_S.SEALED, (_F.STOP, _F.PROMISE)),
        },
        _S.FROZEN: {
            **_FAIL,
            **_END,
            _E.FROZE: Move(_S.FROZEN),
            _E.PROMISED: Move(_S.SEALED, (_F.STOP, _F.PROMISE)),
        },
        _S.FORKED: {**_FAIL},
        _S.FAILED: {},
    },
)


def may_become(old: CopyState, new: CopyState) -> bool:
    """Whether some event moves a copy so, or leaves it as it is."""
    return new is old or any(isinstance(cell, Move) and cell.to is new for cell in ROLES.cells[old].values())
