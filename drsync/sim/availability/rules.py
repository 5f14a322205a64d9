"""What the shipped decisions say in a situation of the study. Nothing is decided here.

The situation is turned into the charter, statements and observation that the decisions of `drsync.core` take,
with small numbers in place of positions: only their order matters to a decision. So few situations differ
that each is asked once and remembered.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from drsync.core import detection, eligibility, lease, ownership, store_trust, succession, switchover
from drsync.core.detection import Action, MemberSeen, OwnerSeen, Standing
from drsync.core.lease import LeaseBook
from drsync.core.observation import Observation
from drsync.core.store_trust import Heard
from drsync.model import epoch as epochs
from drsync.model.charter import Charter, IntentKind
from drsync.model.copy import CopyState, Statement
from drsync.model.group import GroupSpec
from drsync.model.position import EpochRun, EpochStart, Loss, Position
from drsync.sim.availability.faults import PLACES

_EPOCH = epochs.make(0, 0, 5)
_CHAIN = bytes(16)
_STEP = 10  # because positions of a situation need only be told apart
_ZERO = "0" * 32
_NOW = 1_000_000.0  # any instant will do


class Word(NamedTuple):
    """What a center that is heard says of its copy.

    `position`: seconds of writes that it holds; `is_useless`: it is lost, or not of the group's history.
    """

    position: float
    is_unclean: bool
    is_useless: bool


@dataclass(frozen=True, slots=True)
class Ruling:
    """What an opening would mean. `position` is None where it is refused whatever a person accepts."""

    loss: Loss
    is_refused: bool
    position: float | None


class Rules:
    """The decisions for one group."""

    def __init__(self, spec: GroupSpec) -> None:
        self.spec = spec
        self._rulings: dict[tuple[object, ...], tuple[Loss, bool, int | None]] = {}
        self._sets: dict[tuple[object, ...], frozenset[int] | None] = {}
        self._heirs: dict[tuple[object, ...], int | None] = {}
        self._company: dict[tuple[object, ...], bool] = {}
        self._members = {member.name for member in spec.members}
        self._mates = {
            PLACES.index(member.name): tuple(PLACES.index(name) for name in spec.mates(member.name))
            for member in spec.members
        }

    def mates(self, center: int) -> tuple[int, ...]:
        """Centers that may be in sync with it."""
        return self._mates[center]

    def opening(
        self, target: int, owner: int, in_sync: frozenset[int], heard: Mapping[int, Word], *, accept: bool
    ) -> Ruling:
        """May `target` open, and where would its log end: `core.eligibility.judge`."""
        levels = sorted({word.position for word in heard.values()})
        words = tuple(
            (center, levels.index(word.position), word.is_unclean, word.is_useless)
            for center, word in heard.items()
        )
        key = (target, owner, in_sync, words, accept)
        found = self._rulings.get(key)
        if found is None:
            found = self._rulings[key] = self._judge(target, owner, in_sync, words, accept=accept)
        loss, is_refused, level = found
        return Ruling(loss, is_refused, None if level is None else levels[level])

    def _judge(
        self,
        target: int,
        owner: int,
        in_sync: frozenset[int],
        words: tuple[tuple[int, int, bool, bool], ...],
        *,
        accept: bool,
    ) -> tuple[Loss, bool, int | None]:
        charter = self._charter(owner, in_sync)
        statements = _statements(words)
        kind = IntentKind.OPEN if target == owner else IntentKind.FAILOVER
        seen = Observation(
            charter, statements, 0.0, LeaseBook(), kind, PLACES[target], _ZERO, _ZERO, accept_loss=accept
        )
        verdict = eligibility.judge(seen)
        level = None if verdict.reasons and accept else verdict.position // _STEP - 1
        return verdict.loss, bool(verdict.reasons), level if level is None or level >= 0 else None

    def takes_over(
        self,
        owner: int,
        in_sync: frozenset[int],
        heard: Mapping[int, Word],
        blind: tuple[int, ...],
        *,
        is_bound: bool,
        may_answer: bool,
        is_quiet: bool,
    ) -> int | None:
        """Who takes over without a person from an owner that the coordinator has not heard for `detect_s`.

        `core.detection.detect` and `core.succession.successor`. None: nobody, or not yet.

        Args:
            owner: as the charter has it.
            in_sync: as the charter has it.
            heard: the members that are heard now.
            blind: those of them that have not heard the owner for that long either.
            is_bound: an in-sync member has lately confirmed to the owner that it may go on.
            may_answer: the owner's lease has not ended.
            is_quiet: the last automatic failover is too recent.
        """
        levels = sorted({word.position for word in heard.values()})
        words = tuple((center, levels.index(word[0]), *word[1:]) for center, word in heard.items())
        key = (owner, in_sync, words, blind, is_bound, may_answer, is_quiet)
        if key not in self._heirs:
            self._heirs[key] = self._detect(owner, in_sync, words, blind, (is_bound, may_answer, is_quiet))
        return self._heirs[key]

    def _detect(
        self,
        owner: int,
        in_sync: frozenset[int],
        words: tuple[tuple[int, int, bool, bool], ...],
        blind: tuple[int, ...],
        state: tuple[bool, bool, bool],
    ) -> int | None:
        is_bound, may_answer, is_quiet = state
        policy, name = self.spec.policy, PLACES[owner]
        book = LeaseBook(name, _NOW + 1 if may_answer else _NOW - 1)
        seen = Observation(
            self._charter(owner, in_sync),
            _statements(words),
            _NOW,
            book,
            IntentKind.FAILOVER,
            "",
            _ZERO,
            _ZERO,
        )
        members = [
            MemberSeen(
                PLACES[center],
                age_s=0.0,
                owner_silent_s=policy.detect_s if center in blind else 0.0,
                bound_s=1.0 if is_bound and center in in_sync else 0.0,
                is_in_sync=center in in_sync,
            )
            for center, *_ in words
            if center != owner
        ]
        target, nobody = succession.successor(seen)
        changed_at = _NOW - 1 if is_quiet else None
        standing = Standing(book, target=target, nobody=nobody, changed_at=changed_at)
        verdict = detection.detect(seen, OwnerSeen(silent_s=policy.detect_s), members, standing)
        return PLACES.index(verdict.target) if verdict.action is Action.FAIL_OVER else None

    def switches(self, target: int, owner: int, in_sync: frozenset[int]) -> bool:
        """Whether a switchover from a serving owner to a target that follows it starts: `core.switchover`."""
        key = ("switchover", target, owner, in_sync)
        if key not in self._company:
            charter = self._charter(owner, in_sync)
            source = replace(_statement(owner, _STEP), state=CopyState.OWNER)
            statements = {PLACES[owner]: source, PLACES[target]: _statement(target, _STEP)}
            kind = IntentKind.SWITCHOVER
            seen = Observation(charter, statements, 0.0, LeaseBook(), kind, PLACES[target], _ZERO, _ZERO)
            self._company[key] = not switchover.refusals(seen)
        return self._company[key]

    def shrink(self, owner: int, in_sync: frozenset[int], member: int) -> frozenset[int] | None:
        """The in-sync set without a silent member, if the mode allows that: `core.ownership.shrink`."""
        key = ("shrink", owner, in_sync, member)
        if key not in self._sets:
            state = ownership.begin(self._charter(owner, in_sync))
            self._sets[key] = _indices(ownership.shrink(state, PLACES[member])[1])
        return self._sets[key]

    def grow(self, owner: int, in_sync: frozenset[int], member: int) -> frozenset[int] | None:
        """The in-sync set with a member that has caught up: `core.ownership.grow`."""
        key = ("grow", owner, in_sync, member)
        if key not in self._sets:
            state = ownership.begin(self._charter(owner, in_sync))
            self._sets[key] = _indices(ownership.grow(state, PLACES[member], _STEP, _STEP)[1])
        return self._sets[key]

    def goes_on(self, owner: int, in_sync: frozenset[int], confirmers: tuple[int, ...]) -> bool:
        """Whether an owner may go on without the coordinator: `core.lease.may_go_on_without_store`."""
        key = ("failsafe", owner, in_sync, confirmers)
        if key not in self._company:
            mates = [PLACES[center] for center in self.mates(owner)]
            named = [PLACES[center] for center in in_sync]
            said = [PLACES[center] for center in confirmers]
            self._company[key] = lease.may_go_on_without_store(PLACES[owner], mates, said, named)
        return self._company[key]

    def may_commit(self, owner: int, target: int, in_sync: frozenset[int], until: float, now: float) -> bool:
        """Whether the charter may change to `target` while the owner's lease runs `until`: `core.lease`."""
        charter = self._charter(owner, in_sync)
        new = replace(charter, owner=PLACES[target], epoch=epochs.make(0, 0, 6))
        return LeaseBook(PLACES[owner], until).may_change_owner(charter, new, now)

    def store_waits(self, heard: tuple[int, ...]) -> bool:
        """Whether a store whose host rebooted still waits to hear of members: `core.store_trust.ready`."""
        key = ("store", heard)
        if key not in self._company:
            word = Heard(0, 1, _EPOCH)
            known = {PLACES[center]: word for center in heard}
            self._company[key] = bool(store_trust.ready("new", "", known, self._members, word))
        return self._company[key]

    def _charter(self, owner: int, in_sync: frozenset[int]) -> Charter:
        return Charter(
            group=self.spec,
            version=7,
            owner=PLACES[owner],
            owner_session=_session(owner),
            epoch=_EPOCH,
            in_sync=frozenset(PLACES[center] for center in in_sync),
            history=(EpochStart(_EPOCH, _ZERO, 0, _CHAIN),),
        )


def _indices(charter: Charter | None) -> frozenset[int] | None:
    return None if charter is None else frozenset(PLACES.index(name) for name in charter.in_sync)


def _session(center: int) -> str:
    return f"{center:032x}"


def _statements(words: tuple[tuple[int, int, bool, bool], ...]) -> dict[str, Statement]:
    return {
        PLACES[center]: _statement(center, _STEP * (level + 1), is_unclean=unclean, is_useless=useless)
        for center, level, unclean, useless in words
    }


def _statement(center: int, seq: int, *, is_unclean: bool = False, is_useless: bool = False) -> Statement:
    return Statement(
        center=PLACES[center],
        session=_session(center),
        incarnation=_ZERO,
        state=CopyState.FAILED if is_useless else CopyState.REPLICA,
        promised=_EPOCH,
        follow=_EPOCH,
        runs=(EpochRun(_EPOCH, 1, seq, _CHAIN),),
        appended=seq,
        durable=seq,
        applied=0,
        commit=seq,
        tip=Position(_EPOCH, seq, _CHAIN),
        unclean=is_unclean,
    )
