"""Whether two centers could be made level without the third: every case, and the stories."""

from dataclasses import replace
from itertools import product

import pytest

from drsync.core import failback, reprotect, star
from drsync.core.reprotect import Rejoin
from drsync.core.star import Means, Resyncable
from drsync.model.charter import IntentKind
from drsync.model.copy import CopyState, Statement
from drsync.model.epoch import Epoch
from drsync.model.group import Mode
from tests.core.groups import charter
from tests.core.world import Request, World, observe, town

WITH_DIGEST = Means(has_digest=True)


def away() -> World:
    """b owns the group since a was lost; a is back and follows."""
    world = town()
    owned = charter(owner="b", session="b1", epoch=1, in_sync=("a", "b"), history=world.charter.history)
    words = dict(world.words)
    words["a"] = replace(words["a"], state=CopyState.REPLICA)
    words["b"] = replace(words["b"], state=CopyState.OWNER)
    return replace(world, charter=owned, words=words)


def way(source: Statement, target: Statement, means: Means = Means()) -> Resyncable:  # noqa: B008  # a value
    return star.ray(town().charter, source, target, means).how


# --- the star


def test_every_combination_has_one_answer_and_never_a_better_one_than_its_means() -> None:
    world = town()
    for source_state, target_state, first_seq, applied, dirty_from, has_digest in product(
        CopyState, CopyState, (1, 3, 4), (0, 2, 9), (None, 1, 3), (True, False)
    ):
        source = replace(world.words["a"], state=source_state, first_seq=first_seq)
        target = replace(world.words["c"], state=target_state, applied=applied)
        found = star.ray(world.charter, source, target, Means(dirty_from, 4096, has_digest))
        held = 0 if target_state is CopyState.BLANK else 2
        if found.how is Resyncable.STREAM:
            assert first_seq <= held + 1
        if found.how is Resyncable.DIRTY:
            assert dirty_from is not None
            assert dirty_from <= held
        if found.how is Resyncable.DIGEST:
            assert has_digest
        assert bool(found.reason) is (found.how is not Resyncable.STREAM)
        assert applied <= held or found.how in {Resyncable.DIGEST, Resyncable.IMPOSSIBLE}


def test_a_journal_that_reaches_back_streams() -> None:
    world = town()
    assert way(world.words["a"], world.words["c"]) is Resyncable.STREAM
    assert star.ray(world.charter, world.words["a"], world.words["c"], Means()).lacks == 2


def test_a_trimmed_journal_needs_a_dirty_set_or_digests() -> None:
    """P30: worse than "full copy" only where nobody noted what was trimmed."""
    world = town()
    trimmed = replace(world.words["a"], first_seq=4)
    assert way(trimmed, world.words["c"], Means(dirty_from=2, dirty_bytes=4096)) is Resyncable.DIRTY
    assert way(trimmed, world.words["c"], Means(dirty_from=3)) is Resyncable.IMPOSSIBLE
    assert way(trimmed, world.words["c"], WITH_DIGEST) is Resyncable.DIGEST
    assert way(trimmed, world.words["c"]) is Resyncable.IMPOSSIBLE


def test_who_is_behind_brings_nobody_level_and_the_pair_takes_the_better_way() -> None:
    world = town()
    assert way(world.words["c"], world.words["a"]) is Resyncable.IMPOSSIBLE
    found = star.pair(world.charter, world.words["c"], world.words["a"])
    assert (found.best.source, found.best.how, found.is_alarming) == ("a", Resyncable.STREAM, False)


@pytest.mark.parametrize("how", list(Resyncable))
def test_the_alarm_is_for_what_is_worse_than_dirty(how: Resyncable) -> None:
    world = town()
    trimmed = replace(world.words["b"], first_seq=1 if how is Resyncable.STREAM else 4)
    means = Means(2 if how is Resyncable.DIRTY else None, has_digest=how is Resyncable.DIGEST)
    found = star.pair(world.charter, trimmed, world.words["c"], (means, Means()))
    assert found.best.how is how
    assert found.is_alarming is (how in {Resyncable.DIGEST, Resyncable.IMPOSSIBLE})


def test_all_pairs_of_a_well_group_stream_and_an_unknown_center_alarms() -> None:
    world = town()
    found = star.readiness(world.charter, world.words)
    assert set(found) == {("a", "b"), ("a", "c"), ("b", "c")}
    assert not any(pair.is_alarming for pair in found.values())
    without = {name: word for name, word in world.words.items() if name != "c"}
    assert star.readiness(world.charter, without)["b", "c"].is_alarming


# --- what is left to do


def steps(world: World, *heard: str) -> list[tuple[str, Rejoin]]:
    found = reprotect.plan(world.charter, world.words, frozenset(heard))
    return [(task.center, task.step) for task in found]


def test_every_member_has_exactly_one_step() -> None:
    world = away()
    for state, follow, first_seq, in_sync, is_heard in product(
        CopyState, (0, 1), (1, 4), ({"b"}, {"a", "b"}), (True, False)
    ):
        words = dict(world.words)
        words["a"] = replace(words["a"], state=state, follow=Epoch(follow), first_seq=first_seq)
        other = replace(world, words=words, charter=replace(world.charter, in_sync=frozenset(in_sync)))
        heard = frozenset({"a", "b", "c"} if is_heard else {"b", "c"})
        found = reprotect.plan(other.charter, other.words, heard)
        assert len([task for task in found if task.center == "a"]) <= 1
        assert all(task.step is not Rejoin.NONE for task in found)
        assert all(reprotect.WORDS[task.step] for task in found)


def test_a_protected_group_needs_nothing() -> None:
    assert steps(away(), "a", "b", "c") == []
    assert reprotect.plan(charter(), {}, frozenset()) == ()


def test_the_mate_comes_before_the_other_city() -> None:
    world = away()
    assert steps(world, "b") == [("a", Rejoin.START), ("c", Rejoin.START)]
    alone = replace(world, charter=replace(world.charter, in_sync=frozenset("b")))
    assert steps(alone, "a", "b") == [("a", Rejoin.JOIN), ("c", Rejoin.START)]


@pytest.mark.parametrize(
    ("change", "step"),
    [
        ({"state": CopyState.FAILED}, Rejoin.REPAIR),
        ({"state": CopyState.FORKED}, Rejoin.RESOLVE),
        ({"follow": 0}, Rejoin.ATTACH),
        ({"applied": 9}, Rejoin.REBUILD),
    ],
)
def test_each_trouble_has_its_step(change: dict[str, object], step: Rejoin) -> None:
    world = away()
    troubled = world.says(replace(world.words["c"], **change))  # type: ignore[arg-type]
    assert steps(troubled, "a", "b", "c") == [("c", step)]


def test_a_member_whose_word_is_newer_than_the_owners_needs_nothing() -> None:
    world = away()
    older = world.with_log("b", world.logs["b"][:3])
    assert steps(older, "a", "b", "c") == []


def test_an_asynchronous_group_has_nobody_to_join() -> None:
    world = away()
    group = replace(world.charter.group, policy=replace(world.charter.group.policy, mode=Mode.ASYNC))
    alone = replace(world, charter=replace(world.charter, in_sync=frozenset("b"), group=group))
    assert steps(alone, "a", "b", "c") == []


# --- going back


def why_not(world: World, *reached: str) -> list[str]:
    seen = observe(world, Request(IntentKind.SWITCHOVER, ""), reached or ("a", "b", "c"))
    return [reason.code for reason in failback.objections(seen)]


def test_a_group_at_home_need_not_go_back() -> None:
    assert not failback.is_away(observe(town(), Request(IntentKind.SWITCHOVER, "")))
    assert why_not(town()) == []


def test_a_group_goes_back_when_the_preferred_owner_is_in_sync() -> None:
    assert why_not(away()) == []


def test_it_does_not_before_that() -> None:
    world = away()
    alone = replace(world, charter=replace(world.charter, in_sync=frozenset("b")))
    assert why_not(alone) == ["not_yet_in_sync"]
    assert why_not(world, "b", "c") == ["not_reached"]
    failed = world.says(replace(world.words["a"], state=CopyState.FAILED))
    assert why_not(failed) == ["copy_failed"]
