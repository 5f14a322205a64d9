"""The store is lost: what a new generation begins with, when it is refused, and how the group opens in it."""

from dataclasses import replace

import pytest

from drsync.core import generation, ownership
from drsync.core.generation import Memory
from drsync.core.plan import Done, Refuse
from drsync.model.charter import Charter, Intent, IntentKind
from drsync.model.copy import Statement
from drsync.model.epoch import NEVER, Epoch, make
from drsync.model.position import Loss
from tests.core.groups import charter
from tests.core.logs import word as _word
from tests.core.world import Request, World, planned, run, town


def word(center: str) -> Statement:
    """A member that holds nothing yet."""
    return _word((), center)


INTENT = Intent("i1", IntentKind.FAILOVER, "b", 0, "ada", "the store burnt", accept_loss=True)
TO_B = Request(IntentKind.FAILOVER, "b", accept_loss=True)
LOST = "this charter store is an old copy"


def remembered(world: World, *reached: str) -> dict[str, Memory]:
    """What the members of a world would tell."""
    return {name: Memory(world.charter, world.words[name]) for name in reached}


def begun(world: World, *reached: str) -> World:
    """The same world with a new store."""
    first = generation.first_charter(remembered(world, *reached), None, INTENT)
    return replace(world, charter=first)


def test_the_newest_charter_that_anybody_remembers_is_what_it_begins_with() -> None:
    old = replace(charter(), version=40, generation=0)
    newer = replace(charter(), version=7, generation=1, in_sync=frozenset("b"))
    memories = {"b": Memory(old, word("b")), "c": Memory(newer, word("c"))}
    first = generation.first_charter(memories, None, INTENT)
    assert first.in_sync == {"b"}, "an older store's count of versions says nothing"
    assert (first.generation, first.version) == (2, 41), "and yet no version is used twice"
    assert first.intent == replace(INTENT, from_version=40)
    assert first.owner_session == "", "nobody holds the office"


def test_what_the_store_itself_holds_counts_as_a_memory() -> None:
    own = replace(charter(), version=9, in_sync=frozenset("a"))
    first = generation.first_charter({"b": Memory(charter(), word("b"))}, own, INTENT)
    assert (first.version, first.in_sync) == (10, frozenset("a"))


@pytest.mark.parametrize("promised", [make(3, 0, 0), make(3, 65535, 7)])
def test_it_outranks_what_any_store_made_a_member_promise(promised: Epoch) -> None:
    memories = {"b": Memory(charter(), replace(word("b"), promised=promised))}
    assert generation.first_charter(memories, None, INTENT).generation == 4


def test_a_store_that_may_act_is_not_replaced() -> None:
    (no,) = generation.objections({"b": Memory(charter(), word("b"))}, store_ready="")
    assert no.code == "store_usable"


def test_without_anybody_who_remembers_there_is_nothing_to_begin_with() -> None:
    (no,) = generation.objections({}, LOST)
    assert no.code == "nobody_remembers"


def test_while_an_owner_out_of_reach_is_confirmed_by_a_member_it_may_be_serving() -> None:
    known = charter(owner="a")
    memories = {"b": Memory(known, word("b"), 3.0), "c": Memory(known, word("c"))}
    (no,) = generation.objections(memories, LOST)
    assert (no.code, "3.0 s" in no.sentence) == ("bound", True)
    with_owner = {"a": Memory(known, word("a")), **memories}
    assert generation.objections(with_owner, LOST) == (), "one that is reached is sealed first"


def test_the_group_opens_with_a_loss_that_is_stated_even_at_a_member_that_was_in_sync() -> None:
    """Whether the lost store knew better, nobody knows."""
    world, end = run(begun(town(), "b", "c"), TO_B, ("b", "c"))
    assert isinstance(end, Done), end
    assert world.charter.epoch == make(1, 1, 0)
    assert world.charter.history[-1].loss is Loss.FORCED
    assert world.charter.history[-1].lost_at_least == 0
    assert world.charter.in_sync == {"b"}
    assert not generation.is_begun(world.charter)


def test_a_loss_that_nobody_accepted_keeps_the_new_generation_closed() -> None:
    world = begun(town(), "b", "c")
    world = replace(world, charter=replace(world.charter, intent=None))
    step = planned(world, replace(TO_B, accept_loss=False), ("b", "c"))
    assert isinstance(step, Refuse)
    assert [reason.code for reason in step.reasons] == ["new_generation"]


def test_a_group_that_was_never_opened_as_far_as_is_remembered_may_have_been() -> None:
    never = replace(charter(), epoch=NEVER, owner="", history=(), in_sync=frozenset())
    first = generation.first_charter({"b": Memory(never, word("b"))}, None, INTENT)
    assert generation.is_begun(first)


def _opened(known: Charter) -> ownership.InSync:
    return ownership.begin(known)


def test_an_owner_that_hears_of_a_new_generation_is_deposed_although_it_is_named() -> None:
    known = charter()
    first = generation.first_charter({"a": Memory(known, word("a"))}, None, INTENT)
    assert ownership.learned(_opened(known), first).is_deposed


def test_an_owner_of_a_new_generation_hears_nothing_from_the_old_store() -> None:
    """Even if that one has counted further."""
    new = replace(charter(), generation=1, version=5)
    old = replace(charter(), generation=0, version=50, owner="c")
    assert ownership.learned(_opened(new), old) == _opened(new)
