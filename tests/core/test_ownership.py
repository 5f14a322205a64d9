"""The in-sync set while changes are under way: every outcome, every late landing, every reading back.

The search below plays an owner, its store and the wire between them to the end: all orders of asking,
landing, answering, getting lost and reading back.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from drsync.core.ownership import (
    CasKind,
    CasView,
    InSync,
    accepts,
    begin,
    grow,
    learned,
    may_open,
    may_seal,
    outcome,
    shrink,
)
from drsync.model.charter import Charter, Intent, IntentKind
from drsync.model.copy import Statement
from drsync.model.epoch import Epoch
from drsync.model.group import Mode
from drsync.model.position import Loss
from tests.core.groups import A, B, C, D, charter
from tests.core.logs import start, word

MEMBERS = (A, B, C, D)  # b and d are mates of the owner a; c is in the other city
INTENT = Intent("i", IntentKind.SWITCHOVER, "b", 1, "ada", "maintenance")
VERSION_MAX = 5


def owned(in_sync: str, mode: Mode = Mode.SYNC, intent: Intent | None = None) -> Charter:
    return charter(owner="a", epoch=3, in_sync=in_sync, mode=mode, members=MEMBERS, intent=intent)


@dataclass(frozen=True)
class Scene:
    """A store, an owner, and requests on the wire: each may still land, once."""

    store: Charter
    owner: InSync
    wire: frozenset[Charter] = frozenset()
    is_waiting: bool = False  # the owner waits for the answer to its last request


def landed(store: Charter, wanted: Charter) -> Charter:
    """Compare-and-set."""
    return wanted if wanted.version == store.version + 1 else store


def answered(scene: Scene, kind: CasKind, current: Charter | None) -> Scene:
    return replace(scene, owner=outcome(scene.owner, CasView(kind, current)), is_waiting=False)


def next_scenes(scene: Scene) -> Iterator[Scene]:
    yield from others_at_the_store(scene)
    for wanted in scene.wire:
        store = landed(scene.store, wanted)
        yield replace(scene, store=store, wire=scene.wire - {wanted})
    pending = scene.owner.pending
    if scene.is_waiting:
        assert pending is not None
        store = landed(scene.store, pending)
        kind = CasKind.DONE if store is pending else CasKind.LOST
        for told in (store, None):
            yield answered(replace(scene, store=store), kind, told)
            yield answered(replace(scene, store=store), CasKind.UNKNOWN, told)
        yield answered(replace(scene, wire=scene.wire | {pending}), CasKind.UNKNOWN, None)
        return
    yield replace(scene, owner=learned(scene.owner, scene.store))
    if pending is not None:
        yield replace(scene, is_waiting=True)  # ask again
    for member in "bd":
        for state, asked in (shrink(scene.owner, member), grow(scene.owner, member, 7, 7)):
            assert (asked is None) == (state is scene.owner)
            if asked is not None:
                yield replace(scene, owner=state, is_waiting=True)


def others_at_the_store(scene: Scene) -> Iterator[Scene]:
    """A coordinator records an intent, takes it back, or gives the group to b in a higher epoch."""
    store = scene.store
    bumped = replace(store, version=store.version + 1)
    yield replace(scene, store=replace(bumped, intent=None if store.intent else INTENT))
    opened = replace(bumped, owner="b", epoch=Epoch(store.epoch + 1), in_sync=frozenset("b"))
    yield replace(scene, store=opened)


def everything_from(first: Scene) -> set[Scene]:
    seen, ahead = {first}, [first]
    while ahead:
        for scene in next_scenes(ahead.pop()):
            if scene not in seen and scene.store.version <= VERSION_MAX:
                seen.add(scene)
                ahead.append(scene)
    return seen


@pytest.fixture(scope="module")
def scenes() -> set[Scene]:
    return everything_from(Scene(owned("ab"), begin(owned("ab"))))


def test_commits_always_wait_for_the_in_sync_set_of_the_charter_in_force(scenes: set[Scene]) -> None:
    """As long as the charter gives the group to this owner: whoever takes over relies on that set."""
    assert len(scenes) > 1000
    for scene in scenes:
        if scene.store.epoch == 3:
            assert scene.owner.ack_set >= scene.store.in_sync


def test_commits_also_wait_for_whoever_a_change_on_the_wire_would_let_in(scenes: set[Scene]) -> None:
    for scene in scenes:
        for wanted in scene.wire:
            if scene.store.epoch == 3 and landed(scene.store, wanted) is wanted:
                assert scene.owner.ack_set >= wanted.in_sync


def test_an_owner_is_deposed_exactly_when_it_read_of_another(scenes: set[Scene]) -> None:
    for scene in scenes:
        assert not scene.owner.is_deposed or scene.store.epoch > 3
        if learned(scene.owner, scene.store).charter == scene.store:
            assert learned(scene.owner, scene.store).is_deposed == (scene.store.epoch > 3)


def test_the_wire_played_every_trick(scenes: set[Scene]) -> None:
    """The search is worth something only if late landings and refusals happened in it."""
    assert any(scene.wire and scene.owner.pending is None for scene in scenes), "superseded, still under way"
    assert any(scene.store == scene.owner.pending for scene in scenes), "landed, and the owner does not know"
    assert any(
        scene.owner.pending and scene.owner.is_deposed is False and scene.store.epoch > 3 for scene in scenes
    )
    assert {frozenset("a"), frozenset("ab"), frozenset("ad"), frozenset("abd")} <= {
        scene.store.in_sync for scene in scenes
    }


@pytest.mark.parametrize("mode", [Mode.SYNC_STRICT, Mode.ASYNC])
@pytest.mark.parametrize("member", ["a", "b", "c"])
def test_only_plain_sync_groups_shrink(mode: Mode, member: str) -> None:
    state = begin(owned("abc", mode))
    assert shrink(state, member) == (state, None)


@pytest.mark.parametrize("member", ["a", "c", "stranger"])
def test_neither_the_owner_nor_who_is_not_in_sync_can_be_dropped(member: str) -> None:
    state = begin(owned("ab"))
    assert shrink(state, member) == (state, None)


def test_a_member_is_dropped_in_the_charter_first() -> None:
    state, asked = shrink(begin(owned("ab")), "b")
    assert asked == replace(owned("a"), version=2)
    assert state.ack_set == {"a", "b"}
    assert outcome(state, CasView(CasKind.DONE)).ack_set == {"a"}


def test_a_group_may_shrink_while_a_procedure_is_in_progress() -> None:
    """Else a silent member would stop all writes for as long as somebody tries something."""
    assert shrink(begin(owned("ab", intent=INTENT)), "b")[1] is not None


def test_a_member_is_waited_for_before_the_charter_is_asked() -> None:
    state, asked = grow(begin(owned("a")), "b", 7, 7)
    assert asked == replace(owned("ab"), version=2)
    assert state.ack_set == {"a", "b"}
    assert outcome(state, CasView(CasKind.LOST)).ack_set == {"a", "b"}


@pytest.mark.parametrize(
    ("before", "member", "appended"),
    [
        (owned("a"), "b", 6),
        (owned("a"), "c", 7),
        (owned("a"), "a", 7),
        (owned("ab"), "b", 7),
        (owned("a", Mode.ASYNC), "b", 7),
        (owned("a", intent=INTENT), "b", 7),
    ],
    ids=["behind", "other city", "the owner", "in already", "asynchronous", "procedure in progress"],
)
def test_who_is_not_let_in(before: Charter, member: str, appended: int) -> None:
    state = begin(before)
    assert grow(state, member, appended, 7) == (state, None)


def test_strict_groups_let_members_in() -> None:
    assert grow(begin(owned("a", Mode.SYNC_STRICT)), "b", 7, 7)[1] is not None


def test_one_change_at_a_time() -> None:
    state, _ = shrink(begin(owned("ab")), "b")
    assert shrink(state, "b") == (state, None)
    assert grow(state, "d", 7, 7) == (state, None)


def test_a_deposed_owner_asks_for_nothing() -> None:
    state = learned(begin(owned("ab")), replace(owned("b"), version=2, owner="b", epoch=Epoch(4)))
    assert state.is_deposed
    assert shrink(state, "b") == (state, None)
    assert grow(state, "d", 7, 7) == (state, None)
    assert learned(state, replace(owned("ab"), version=3)).is_deposed, "once is for good"


def test_an_answer_to_nothing_says_nothing() -> None:
    state = begin(owned("ab"))
    assert outcome(state, CasView(CasKind.DONE)) == state
    assert outcome(state, CasView(CasKind.UNKNOWN)) == state


def test_lost_settles_nothing_while_the_version_is_the_one_expected() -> None:
    state, _ = shrink(begin(owned("ab")), "b")
    assert outcome(state, CasView(CasKind.LOST, owned("ab"))) == state
    newer = replace(owned("ab", intent=INTENT), version=2)
    assert outcome(state, CasView(CasKind.LOST, newer)) == InSync(newer)


@pytest.mark.parametrize(("promised", "epoch", "may"), [(3, 2, False), (3, 3, True), (3, 4, True)])
def test_no_record_below_the_promise(promised: int, epoch: int, may: bool) -> None:
    assert accepts(Epoch(promised), Epoch(epoch)) is may


@pytest.mark.parametrize(
    ("promised", "epoch", "bound_until", "bound_epoch", "now", "may"),
    [
        (3, 4, 0.0, 0, 100.0, True),
        (3, 3, 0.0, 0, 100.0, True),
        (3, 2, 0.0, 0, 100.0, False),
        (3, 4, 110.0, 3, 100.0, False),
        (3, 4, 110.0, 3, 110.0, True),
        (3, 4, 110.0, 4, 100.0, True),
        (5, 4, 110.0, 4, 120.0, False),
    ],
)
def test_no_promise_below_another_or_against_a_confirmation(
    promised: int, epoch: int, bound_until: float, bound_epoch: int, now: float, may: bool
) -> None:
    assert may_seal(Epoch(promised), Epoch(epoch), bound_until, Epoch(bound_epoch), now) is may


GRANTED = charter(owner="a", session="a1", epoch=4, history=(start(4, 0),))
FORCED = replace(GRANTED, history=(start(4, 0, Loss.FORCED),))
READY = replace(word((), "a", promised=4, follow=3), session="a1")


@pytest.mark.parametrize(
    ("granted", "said", "may"),
    [
        (GRANTED, READY, True),
        (GRANTED, replace(READY, center="b"), False),
        (GRANTED, replace(READY, session="a2"), False),
        (GRANTED, replace(READY, promised=Epoch(3)), False),
        (GRANTED, replace(READY, promised=Epoch(5)), False),
        (GRANTED, replace(READY, follow=Epoch(4)), False),
        (GRANTED, replace(READY, follow=Epoch(5)), False),
        (GRANTED, replace(READY, amnesic=True), False),
        (FORCED, replace(READY, amnesic=True), True),
        (GRANTED, replace(READY, unclean=True), True),
    ],
    ids=[
        "granted",
        "another center",
        "another process",
        "promised less",
        "promised more",
        "opened before",
        "moved on",
        "went back",
        "went back, and a person accepted that",
        "unclean: the judge has decided",
    ],
)
def test_an_epoch_is_opened_once_by_the_process_it_was_granted_to(
    granted: Charter, said: Statement, may: bool
) -> None:
    assert may_open(granted, said) is may
