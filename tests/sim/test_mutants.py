"""Wrong rules and wrong ways of engines are caught in the running daemons, within 200 seeds but for one.

A seed shows harm under the mistake, and nothing under the shipped rules. When the dice of the world change,
`scripts/find-mutant-seeds` finds others.
"""

import pytest

from drsync.sim import engine_mistakes, mutants, resync_mistakes
from drsync.sim.miniature.runner import list_mutants
from tests.sim.mutant_seeds import SEEDS_MAX, disturbed, is_clean, read_table

CAUGHT_AT = read_table()
"""A seed that shows each, and the invariant that is broken then."""

SECOND_GUARD: dict[str, str] = {
    "truncate_after_forced": "what a member knows to be committed is kept aside whatever was stated",
    "r8_after_volatile": "likewise",
    "stale_plan_cuts": "a plan is refused before that when it is not of the epoch that was learnt last",
    "promise_ignored": "the receiver of an epoch ends with it: it is not asked about later records",
    "thaw_by_timer": "the old owner is sealed, or its lease is over, before anybody else opens",
    "resync_base_believed": "only the term that began a session goes on with it, before it streams anything; "
    "a promise, an opening, a follow and a start drop what was put aside for another log",
    "resync_size_only": "what is put aside is always part of what a session sends: as much is the same",
}
"""No seed shows these in the running daemons, since something else stops the same harm. The rules in
miniature show each."""

HIDDEN_BY: dict[str, tuple[str, int, str]] = {
    "resync_size_only": ("resync_one_too_far", 42, "INV-15"),
}
"""Of some of them: the guard as a mistake of its own (`resync_mistakes.GUARDS`), a seed on which that alone
does no harm, and what both together break."""

NOT_SHOWN: frozenset[str] = frozenset()
"""No seed that was tried shows these in the running daemons, and nobody knows yet why: wanted are scenes. The
rules in miniature show those that are rules."""

FURTHER: dict[str, int] = {"resync_switch_unrecorded": 400}
"""These need more seeds than others: nothing is read back at the end of a session any more, so that few
deaths fall into its switch. Wanted is a scene that dies there."""

CAUGHT_MIN = 50  # because fewer mean that the world has become kinder


@pytest.mark.parametrize("name", CAUGHT_AT)
def test_a_mistake_is_caught_where_the_shipped_rules_stand(name: str) -> None:
    seed, invariant, _ = CAUGHT_AT[name]
    assert seed < FURTHER.get(name, SEEDS_MAX)
    with mutants.in_force(name):
        found = disturbed(seed)
    assert found is not None
    assert found.invariant == invariant
    assert is_clean(seed)


@pytest.mark.parametrize("name", HIDDEN_BY)
def test_what_a_second_guard_hides_is_seen_without_it(name: str) -> None:
    guard, seed, invariant = HIDDEN_BY[name]
    with engine_mistakes.spoiled(resync_mistakes.GUARDS[guard]):
        assert disturbed(seed) is None
        with mutants.in_force(name):
            found = disturbed(seed)
    assert found is not None
    assert found.invariant == invariant


def test_no_mistake_is_forgotten() -> None:
    left = set(NOT_SHOWN) | set(SECOND_GUARD)
    assert {*CAUGHT_AT, *left} == set(mutants.running_mutants())
    assert not set(CAUGHT_AT) & left
    assert len(CAUGHT_AT) >= CAUGHT_MIN
    of_rules = {name for name in left if name not in mutants.ENGINES}
    assert set(list_mutants()) >= of_rules


def test_what_was_shipped_is_back_in_its_place_afterwards() -> None:
    places = [place for found in mutants.PLACES.values() for place in found]
    before = [vars(mutants._holder(place))[place.name] for place in places]
    for name in mutants.running_mutants():
        with mutants.in_force(name):
            pass
    assert [vars(mutants._holder(place))[place.name] for place in places] == before


def test_every_mistake_of_an_engine_names_what_is_there() -> None:
    for mistake in mutants.ENGINES.values():
        with engine_mistakes.spoiled(mistake):
            assert mistake.flaw


def test_an_unknown_mistake_is_an_error() -> None:
    with pytest.raises(KeyError), mutants.in_force("no_such_rule"):
        pass
