"""Who holds images or journal back at a copy: what the night shift asks when a disk fills up.

Bytes are what would stay on disk for that pin alone. Space comes back in whole segments, so that several
pins may hold the same ones.
"""

from dataclasses import asdict, dataclass

from drsync.engine.member import Member
from drsync.engine.term import OwnerTerm
from drsync.model.copy import CopyState
from drsync.model.hold import Hold
from drsync.model.opening import Json

OPENING, DRILL, SELF_DRILL, VIEW = "opening", "drill", "self-drill", "view"
_VIEWS = (("open-", OPENING), ("drill-", DRILL), ("self-", SELF_DRILL))
MEMBER, WINDOW, HOLD = "member", "window", "hold"


@dataclass(frozen=True, slots=True)
class PinWord:
    """One pin.

    Attributes:
        kind: an opening, the view of a drill, a self-drill or another, a checkpoint on hold, a member, or
            the window of points.
        name: of the view, the hold or the center.
        view: id of the view; empty for other kinds.
        seq: images (of a view) or trimming (of a member) do not pass this record.
        since_us: wall clock label; 0: not known.
        bytes: of journal on disk that stay for it.
        text: what it does, in words.
    """

    kind: str
    name: str
    seq: int
    bytes: int
    text: str = ""
    view: str = ""
    since_us: int = 0

    def fields(self) -> Json:
        """JSON form."""
        return asdict(self)


def pins_of(member: Member) -> list[PinWord]:
    """All of a copy, the one that holds most first."""
    copy, journal = member.copy, member.copy.journal
    found = [_of_view(member, view_id) for view_id in member.views.ids()]
    found += [_of_hold(member, hold) for hold in copy.durable.holds]
    if member.term is not None:
        found += _of_members(member, member.term)
    elif copy.state is not CopyState.BLANK:
        found += _of_holders(member)
    applied = copy.volumes.applied
    text = f"images are at record {applied}; what is newer is read from the journal"
    found.append(PinWord(WINDOW, "", applied, journal.held_bytes_after(applied), text))
    return sorted(found, key=lambda pin: (-pin.bytes, pin.kind, pin.name))


def _of_view(member: Member, view_id: str) -> PinWord:
    view = member.views.find(view_id)
    assert view is not None
    kind = next((kind for start, kind in _VIEWS if view_id.startswith(start)), VIEW)
    held = member.copy.journal.held_bytes_after(view.base_seq)
    text = f"images stay at or before record {view.seq}, the journal from {view.base_seq + 1} on"
    return PinWord(kind, view_id, view.seq, held, text, view_id, view.since_us)


def _of_hold(member: Member, hold: Hold) -> PinWord:
    held = member.copy.journal.held_bytes_after(hold.seq)
    said = f" ({hold.actor}: {hold.reason})" if hold.actor else f" ({hold.reason})"
    text = f"images stay at or before record {hold.seq}, the journal after it{said}"
    return PinWord(HOLD, hold.name, hold.seq, held, text, since_us=hold.since_us)


def _of_holders(member: Member) -> list[PinWord]:
    """What a replica keeps for the others, who may have to be brought level from here."""
    found = []
    for holder in member.keeper.holders():
        floor = max(holder.cursor, holder.through)
        text = f"has records up to {holder.cursor}, as the owner says"
        if holder.through > holder.cursor:
            text += f"; what it lacks up to {holder.through} is marked"
        held = member.copy.journal.held_bytes_after(floor)
        found.append(PinWord(MEMBER, holder.center, floor, held, text))
    return found


def _of_members(member: Member, term: OwnerTerm) -> list[PinWord]:
    journal, own = member.copy.journal, member.copy.me.center
    found = []
    for name in sorted(center.name for center in member.copy.spec.members if center.name != own):
        cursor, lag = term.confirmed(name), term.lag(name)
        attachment = term.attachments.get(name)
        is_there = attachment is not None and not attachment.is_lost
        behind = "" if lag.seconds is None else f", {lag.seconds:.1f} s behind"
        text = (
            f"has records up to {cursor}{behind}"
            if is_there
            else f"does not follow; it had records up to {cursor}"
        )
        found.append(PinWord(MEMBER, name, cursor, journal.held_bytes_after(cursor), text))
    return found
