"""The resync session of both sides as tables: what a source and a target do at each event (F.10).

Only the order of things lives here; what they carry is `core.resync`. The two talk over one line in order,
and any of them may be cut off, killed or refused at any moment: the target stands at its last consistent
point until the one step that moves it to the end of the session.
"""

from enum import StrEnum
from typing import Final

from drsync.core.machine import Machine, Move


class SourceState(StrEnum):
    """How far the source is."""

    IDLE = "idle"
    OFFERED = "offered"
    DIGESTING = "digesting"
    COPYING = "copying"
    REDOING = "redoing"
    ENDING = "ending"
    KEPT = "kept"  # the line is gone; the pin stays, because the peer may have kept its stage


class SourceEvent(StrEnum):
    """What happens to a source."""

    START = "start"
    ACCEPTED = "accepted"
    DIGESTS_WANTED = "digests wanted"
    DIGESTED = "digested"
    COPIED = "last block read"
    OUTGROWN = "redo outgrows quota"
    REDONE = "redo sent"
    CONFIRMED = "end confirmed"
    REFUSED = "refused"
    CUT = "line lost"
    RESUMED = "peer kept its stage"
    STALLED = "no progress"
    DROPPED = "dropped"


class SourceEffect(StrEnum):
    """What a source does, in order."""

    MARK = "mark all records up to p0, durably, under a new generation"
    PIN = "pin the journal after p0"
    UNPIN = "give the pin back"
    OFFER = "send RESYNC_BEGIN"
    TELL_ROUND = "send RESYNC_ROUND with the new p0"
    EXCHANGE_DIGESTS = "exchange digests"
    SEND_BLOCKS = "send blocks as they are now"
    FIX_P1 = "p1 is the commit position"
    SEND_REDO = "send the records (p0, p1]"
    SEND_END = "send RESYNC_END with p1, its chain and the size of the stage"
    ADVANCE = "the peer's cursor is p1; clear the marks of this generation, durably"
    STREAM = "send the records after p1"
    CLOSE = "close the line"
    ALARM = "raise an alarm"


_S, _E, _F = SourceState, SourceEvent, SourceEffect
_NEW_ROUND = (_F.MARK, _F.PIN, _F.TELL_ROUND)
_OPENING = (_F.MARK, _F.PIN, _F.OFFER)
_DROP = Move(_S.IDLE, (_F.UNPIN,))
_ENDS = {  # every running session ends like this, whatever it was doing
    _E.REFUSED: Move(_S.IDLE, (_F.UNPIN, _F.ALARM)),
    _E.STALLED: Move(_S.IDLE, (_F.CLOSE, _F.UNPIN, _F.ALARM)),
    _E.DROPPED: _DROP,
}

SOURCE: Final = Machine[SourceState, SourceEvent, SourceEffect](
    "resync: source",
    _S,
    _E,
    late=set(_E) - {_E.START, _E.COPIED, _E.REDONE},
    moves={
        _S.IDLE: {_E.START: Move(_S.OFFERED, _OPENING)},
        _S.OFFERED: {
            **_ENDS,
            _E.ACCEPTED: Move(_S.COPYING, (_F.SEND_BLOCKS,)),
            _E.DIGESTS_WANTED: Move(_S.DIGESTING, (_F.EXCHANGE_DIGESTS,)),
            _E.OUTGROWN: _DROP,  # because nothing was done yet
            _E.CUT: _DROP,
        },
        _S.DIGESTING: {
            **_ENDS,
            _E.DIGESTED: Move(_S.COPYING, (_F.SEND_BLOCKS,)),
            _E.OUTGROWN: Move(_S.DIGESTING, _NEW_ROUND),
            _E.CUT: _DROP,  # because nothing is staged yet
        },
        _S.COPYING: {
            **_ENDS,
            _E.COPIED: Move(_S.REDOING, (_F.FIX_P1, _F.SEND_REDO)),
            _E.OUTGROWN: Move(_S.COPYING, (*_NEW_ROUND, _F.SEND_BLOCKS)),
            _E.CUT: Move(_S.KEPT),
        },
        _S.REDOING: {
            **_ENDS,
            _E.REDONE: Move(_S.ENDING, (_F.SEND_END,)),
            _E.OUTGROWN: Move(_S.COPYING, (*_NEW_ROUND, _F.SEND_BLOCKS)),
            _E.CUT: Move(_S.KEPT),
        },
        _S.ENDING: {
            **_ENDS,
            _E.CONFIRMED: Move(_S.IDLE, (_F.ADVANCE, _F.UNPIN, _F.STREAM)),
            _E.OUTGROWN: _DROP,  # because the peer may have switched: its next word tells where it stands
            _E.CUT: Move(_S.KEPT),
        },
        _S.KEPT: {
            **_ENDS,
            _E.START: Move(_S.OFFERED, (_F.UNPIN, *_OPENING)),
            _E.RESUMED: Move(_S.COPYING, (_F.SEND_BLOCKS,)),
            _E.CONFIRMED: Move(_S.IDLE, (_F.ADVANCE, _F.UNPIN, _F.STREAM)),
            _E.OUTGROWN: _DROP,
            _E.CUT: Move(_S.KEPT),
        },
    },
)


class TargetState(StrEnum):
    """How far the target is. It stands at its last consistent point in all of them."""

    IDLE = "idle"
    STAGING = "staging"
    REDOING = "redoing"
    SWITCHING = "switching"  # it is durably decided: after a crash the switch is done again
    KEPT = "kept"  # the line is gone; what is staged stays


class TargetEvent(StrEnum):
    """What happens to a target."""

    BEGIN = "begin"
    ROUND = "round"
    BLOCKS = "blocks"
    REDO = "redo"
    END = "whole end"
    BAD_END = "end before all is there"
    RESUME = "resume"
    ASKED = "resume of a session that was switched"
    SWITCHED = "switched"
    CUT = "line lost"
    RESTARTED = "restarted"
    GIVEN_UP = "given up"


class TargetEffect(StrEnum):
    """What a target does, in order."""

    OPEN_STAGE = "open an empty stage for the session"
    DROP_STAGE = "drop the stage"
    ACCEPT = "say that it begins"
    REFUSE = "refuse, with the reason"
    STAGE = "put aside, behind the last consistent point"
    FORGET_REDO = "forget the redo of the round before"
    SYNC_STAGE = "make the stage durable"
    TELL_STAGE = "tell what is staged durably"
    RECORD_SWITCH = "record, durably, that the stage is to be switched to p1"
    SWITCH = "switch: the stage becomes the image, the position p1"
    MARK_OTHERS = "mark what was switched for every other member below p1, durably"
    CONFIRM = "confirm the session, its generation and p1"


_T, _V, _G = TargetState, TargetEvent, TargetEffect
_REFUSED = Move(_T.IDLE, (_G.DROP_STAGE, _G.REFUSE))
_AGAIN = Move(_T.STAGING, (_G.DROP_STAGE, _G.OPEN_STAGE, _G.ACCEPT))
_SWITCH = Move(_T.SWITCHING, (_G.SYNC_STAGE, _G.MARK_OTHERS, _G.RECORD_SWITCH, _G.SWITCH))
_STOPS = {
    _V.BEGIN: _AGAIN,
    _V.BAD_END: _REFUSED,
    _V.GIVEN_UP: _REFUSED,
    _V.CUT: Move(_T.KEPT),
    _V.RESTARTED: Move(_T.KEPT),
}

TARGET: Final = Machine[TargetState, TargetEvent, TargetEffect](
    "resync: target",
    _T,
    _V,
    late=set(_V) - {_V.SWITCHED},
    moves={
        _T.IDLE: {
            _V.BEGIN: Move(_T.STAGING, (_G.OPEN_STAGE, _G.ACCEPT)),
            _V.RESUME: Move(_T.IDLE, (_G.REFUSE,)),
            _V.ASKED: Move(_T.IDLE, (_G.CONFIRM,)),
        },
        _T.STAGING: {
            **_STOPS,
            _V.ROUND: Move(_T.STAGING, (_G.FORGET_REDO, _G.SYNC_STAGE)),
            _V.BLOCKS: Move(_T.STAGING, (_G.STAGE,)),
            _V.REDO: Move(_T.REDOING, (_G.STAGE,)),
            _V.END: _SWITCH,
        },
        _T.REDOING: {
            **_STOPS,
            _V.ROUND: Move(_T.STAGING, (_G.FORGET_REDO, _G.SYNC_STAGE)),
            _V.REDO: Move(_T.REDOING, (_G.STAGE,)),
            _V.BLOCKS: _REFUSED,  # because blocks after redo would be older than it
            _V.END: _SWITCH,
        },
        _T.SWITCHING: {
            _V.SWITCHED: Move(_T.IDLE, (_G.DROP_STAGE, _G.CONFIRM)),
            _V.RESTARTED: Move(_T.SWITCHING, (_G.SWITCH,)),
        },
        _T.KEPT: {
            _V.BEGIN: _AGAIN,
            _V.RESUME: Move(_T.STAGING, (_G.FORGET_REDO, _G.SYNC_STAGE, _G.TELL_STAGE)),
            _V.GIVEN_UP: Move(_T.IDLE, (_G.DROP_STAGE,)),
        },
    },
)
