"""Retention: how far images go, how much journal is given back, and what is sacrificed for space (F.8).

Decisions only: from what a copy holds and who needs it, an ordered list of actions. The order is the point:
marks are durable before records go, images never pass a pin, and a peer that stays away costs bytes up to the
quota and then a resync, never the writes of the others (P36).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from drsync.core import group_log
from drsync.model.group import WhenFull


class PinKind(StrEnum):
    """Who holds images or journal back."""

    VIEW = "view"  # drills and points opened by people
    CHECKPOINT = "checkpoint"  # named, on hold
    LEGAL = "legal"  # nobody and nothing gives it up


@dataclass(frozen=True, slots=True)
class Pin:
    """Something at `seq` has to stay readable: neither images nor trimming pass it.

    Attributes:
        kind: who asked.
        name: which one.
        seq: last record that may be in the images.
        quota_bytes: what it may hold back; more, and it is given up first (INV-16). None: no bound.
        base: it reads records after this one from the journal, as a view that was opened when the images
            stood there; None: those after `seq`.
    """

    kind: PinKind
    name: str
    seq: int
    quota_bytes: int | None = None
    base: int | None = None

    @property
    def floor(self) -> int:
        """Records up to here may go."""
        return self.seq if self.base is None else min(self.base, self.seq)


@dataclass(frozen=True, slots=True)
class Needed:
    """What one other member still needs of this journal.

    Attributes:
        center: which one.
        cursor: what it confirmed, itself.
        through: its marks stand for records up to here.
        pin: p0 of a running resync; None without one.
    """

    center: str
    cursor: int
    through: int = 0
    pin: int | None = None

    @property
    def floor(self) -> int:
        """Records up to here may go: they are confirmed or marked, and no session sends them again."""
        floor = max(self.cursor, self.through)
        return floor if self.pin is None else min(floor, self.pin)


@dataclass(frozen=True, slots=True)
class Segment:
    """A sealed piece of the journal, oldest first; it goes as a whole.

    Attributes:
        last_seq: of its records.
        size: bytes.
        age_s: of its newest record, by the labels of the log itself: seconds before its newest.
    """

    last_seq: int
    size: int
    age_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Policy of a group for one copy. Bytes and seconds."""

    soft_bytes: int
    hard_bytes: int
    window_s: float = 0.0
    floor_s: float = 0.0
    when_full: WhenFull = WhenFull.DROP_HISTORY


@dataclass(frozen=True, slots=True)
class Kept:
    """What a copy holds, and for whom.

    Attributes:
        is_owner: its images follow the tip; a replica's trail the window.
        commit, durable: positions.
        applied: the images hold everything up to here.
        segments: sealed ones, oldest first.
        open_bytes: of the segment that is written to, which never goes.
        needs: the other members.
        pins: views, checkpoints, holds.
        window_s: what the window was shrunk to; None: the policy's.
        window_seq: the newest point that is older than the policy's window: images stop there, so that the
            oldest second of the window can be opened; None: they stop between segments.
        may_trail: the index of what is above the images has room: they trail the farthest member, so that
            any fork is undone by cutting the journal alone.
    """

    is_owner: bool
    commit: int
    durable: int
    applied: int
    segments: tuple[Segment, ...] = ()
    open_bytes: int = 0
    needs: tuple[Needed, ...] = ()
    pins: tuple[Pin, ...] = ()
    window_s: float | None = None
    may_trail: bool = True
    window_seq: int | None = None

    @property
    def held_bytes(self) -> int:
        """What the journal occupies."""
        return self.open_bytes + sum(segment.size for segment in self.segments)


class Level(StrEnum):
    """How full the journal is."""

    SOFT = "soft"
    HARD = "hard"


@dataclass(frozen=True, slots=True)
class Alarm:
    """The journal is over a quota, also after all that may go has gone: tell people."""

    level: Level
    left_bytes: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Release a pin: it holds more than its quota, or nothing else was left."""

    kind: PinKind
    name: str


@dataclass(frozen=True, slots=True)
class ShrinkWindow:
    """Older points can be opened no more; at the earliest those older than `to_s` go."""

    to_s: float


@dataclass(frozen=True, slots=True)
class Convert:
    """OR the extents of the member's records up to `through` into its dirty set, durably.

    `is_round`: its resync makes a new round from there (`resync_source.outgrown`).
    """

    center: str
    through: int
    is_round: bool


@dataclass(frozen=True, slots=True)
class Fold:
    """Bring the images forward to `to`, durably."""

    to: int


@dataclass(frozen=True, slots=True)
class Trim:
    """Give back all segments that end at or before `to`."""

    to: int


@dataclass(frozen=True, slots=True)
class Stall:
    """Take no writes until there is space: what is left is held by policy, or by a legal hold."""

    over_bytes: int


Action = Alarm | GiveUp | ShrinkWindow | Convert | Fold | Trim | Stall


def fold_bound(kept: Kept, limits: Limits) -> int:
    """Records up to here may be in the images (INV-13, F.A 11)."""
    bound = min([_ripe(kept, limits), *(pin.seq for pin in kept.pins)])
    return min(bound, *(need.floor for need in kept.needs)) if kept.may_trail and kept.needs else bound


def trim_bound(kept: Kept, limits: Limits) -> int:
    """Records up to here may go: they are in the images, and nobody needs them from here."""
    return min(_bound_without_members(kept, limits), kept.commit, *(need.floor for need in kept.needs))


def _bound_without_members(kept: Kept, limits: Limits) -> int:
    return min([_ripe(kept, limits), *(pin.floor for pin in kept.pins)])


def _ripe(kept: Kept, limits: Limits) -> int:
    """Committed, durable, and at a replica older than the window."""
    bound = group_log.apply_bound(kept.commit, kept.durable)
    return bound if kept.is_owner else min(bound, _window_bound(kept, limits))


def _window_bound(kept: Kept, limits: Limits) -> int:
    """The last record older than the window; what is newer stays in the journal of a replica."""
    if kept.window_seq is not None and kept.window_s is None:
        return max(kept.applied, kept.window_seq)
    window_s = limits.window_s if kept.window_s is None else kept.window_s
    old = [segment.last_seq for segment in kept.segments if segment.age_s >= window_s]
    return max(kept.applied, kept.window_seq or 0, *old)


def plan(kept: Kept, limits: Limits) -> tuple[Action, ...]:
    """What is done now, in this order. Empty when there is nothing to do."""
    actions: list[Action] = []
    kept = _give_up_greedy_pins(kept, limits, actions)
    left = _left(kept, limits)
    if left > limits.soft_bytes:
        actions.append(Alarm(Level.HARD if left > limits.hard_bytes else Level.SOFT, left))
    while _left(kept, limits) > limits.hard_bytes:
        tries = (sacrifice(kept, limits, actions) for sacrifice in SACRIFICES)
        smaller = next((found for found in tries if found is not None), None)
        if smaller is None:
            break
        kept = smaller
    over = _left(kept, limits) - limits.hard_bytes
    _give_back(kept, limits, actions)
    if over > 0 and kept.is_owner and kept.pins:  # else waiting would help nobody (P36)
        actions.append(Stall(over))
    return tuple(actions)


def room(kept: Kept, limits: Limits) -> int | None:
    """Bytes that may still be written before the quota is passed by what nobody may give up.

    None: no bound, since something else would go first (P36), or the policy lets holds go. 0: writes wait.
    Everything above the oldest hold stays, at an owner and at a replica.
    """
    held = [pin.floor for pin in kept.pins if pin.kind is not PinKind.VIEW]
    if not held or limits.when_full is not WhenFull.STALL:
        return None
    return max(0, limits.hard_bytes - held_after(kept, min(*held, kept.commit, kept.durable)))


def _left(kept: Kept, limits: Limits) -> int:
    """Bytes held once everything that may go has gone."""
    return held_after(kept, trim_bound(kept, limits))


def held_after(kept: Kept, bound: int) -> int:
    """Bytes of the journal after it was trimmed to `bound`."""
    return kept.open_bytes + sum(segment.size for segment in kept.segments if segment.last_seq > bound)


def _give_up_greedy_pins(kept: Kept, limits: Limits, actions: list[Action]) -> Kept:
    """Pins that hold back more than their own quota, whoever else holds the same."""
    free = held_after(kept, _bound_without_members(replace(kept, pins=()), limits))
    stay = []
    for pin in kept.pins:
        alone = replace(kept, pins=(pin,))
        held = held_after(kept, _bound_without_members(alone, limits)) - free
        if pin.quota_bytes is not None and held > pin.quota_bytes:
            actions.append(GiveUp(pin.kind, pin.name))
        else:
            stay.append(pin)
    return replace(kept, pins=tuple(stay))


def _shrink_window(kept: Kept, limits: Limits, actions: list[Action]) -> Kept | None:
    """(1) Points are given up, oldest first, as far as it helps and down to the floor."""
    if held_after(kept, _bound_without_members(kept, limits)) <= limits.hard_bytes:
        return None  # it is a member that holds the rest
    window_s = limits.window_s if kept.window_s is None else kept.window_s
    inside = [s.age_s for s in kept.segments if limits.floor_s <= s.age_s < window_s]
    if kept.is_owner or not inside:
        return None
    to_s = max(inside)
    smaller = replace(kept, window_s=to_s)
    if actions and isinstance(actions[-1], ShrinkWindow):
        actions.pop()
    actions.append(ShrinkWindow(to_s))
    return smaller


def _convert_farthest(kept: Kept, limits: Limits, actions: list[Action]) -> Kept | None:
    """(2) The member that holds most back catches up by blocks from now on."""
    bound = _bound_without_members(kept, limits)
    holding = [need for need in kept.needs if need.floor < bound]
    if not holding:
        return None
    farthest = min(holding, key=lambda need: (need.floor, need.center))
    enough = next((s.last_seq for s in kept.segments if held_after(kept, s.last_seq) <= limits.hard_bytes), 0)
    is_round = farthest.pin is not None
    # A round moves p0 to the newest commit, because each one sends its blocks again.
    through = kept.commit if is_round else min(bound, enough or bound)
    converted = replace(farthest, through=through, pin=through if is_round else None)
    actions.append(Convert(farthest.center, through, is_round))
    return replace(kept, needs=tuple(converted if n is farthest else n for n in kept.needs))


def _last_resort(kept: Kept, limits: Limits, actions: list[Action]) -> Kept | None:
    """(3) Views, then held checkpoints where the policy says so; a legal hold never."""
    order = [PinKind.VIEW]
    if limits.when_full is WhenFull.DROP_HISTORY:
        order.append(PinKind.CHECKPOINT)
    for kind in order:
        held = [pin for pin in kept.pins if pin.kind is kind]
        if held:
            oldest = min(held, key=lambda pin: (pin.seq, pin.name))
            actions.append(GiveUp(kind, oldest.name))
            return replace(kept, pins=tuple(pin for pin in kept.pins if pin != oldest))
    return None


SACRIFICES = (_shrink_window, _convert_farthest, _last_resort)
"""In this order, each until it has nothing left; what was given up may let an earlier one go on."""


def _give_back(kept: Kept, limits: Limits, actions: list[Action]) -> None:
    fold, trim = fold_bound(kept, limits), trim_bound(kept, limits)
    if fold > kept.applied:
        actions.append(Fold(fold))
    if any(segment.last_seq <= trim for segment in kept.segments):
        actions.append(Trim(trim))


# --- cursors of others, told by others


@dataclass(frozen=True, slots=True)
class Cursor:
    """What a member confirmed, as whoever tells it knows: a position of one incarnation, nothing vaguer.

    Attributes:
        incarnation: of the member's store.
        seq: it holds our log durably up to here.
    """

    incarnation: str
    seq: int


def heard(known: Mapping[str, Cursor], told: Iterable[tuple[str, Cursor]], me: str) -> dict[str, Cursor]:
    """Cursors after gossip: the higher of both, for the incarnation that is known (P23).

    Nobody tells a center about itself, and another incarnation is believed only to its own member's word.
    """
    merged = dict(known)
    for center, cursor in told:
        mine = merged.get(center)
        if center != me and (
            mine is None or (mine.incarnation == cursor.incarnation and mine.seq < cursor.seq)
        ):
            merged[center] = cursor
    return merged
