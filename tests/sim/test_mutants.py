"""Every wrong rule and every wrong way of an engine is caught in the running daemons, within 200 seeds.

A seed shows harm under the mistake, and nothing under the shipped rules. When the dice of the world change,
`drsync sim --world running --seeds 200 --mutant NAME` finds another seed.
"""

import pytest

from drsync.sim import engine_mistakes, mutants
from drsync.sim.ledger import ViolationError
from drsync.sim.miniature.runner import list_mutants
from drsync.sim.run import Run

SEEDS_MAX = 200  # because a mistake that needs more shows a world that is too kind
BROKEN_S = 16.0  # because each of these shows itself in that time; longer runs begin alike

CAUGHT_AT: dict[str, tuple[int, str]] = {
    "switch_without_seal": (77, "INV-07"),
    "reopen_same_epoch": (64, "INV-10"),
    "no_in_sync_check": (56, "INV-01"),
    "no_donation": (22, "INV-01"),
    "no_seal": (30, "INV-03"),
    "failsafe_alone": (52, "INV-14"),
    "failsafe_mates_only": (39, "INV-14"),
    "bind_forgotten": (34, "INV-14"),
    "bind_ignored": (34, "INV-14"),
    "apply_beyond_durable": (12, "INV-05"),
    "apply_early": (24, "INV-05"),
    "flush_appended": (37, "INV-05"),
    "ack_before_shrink": (9, "INV-05"),
    "grow_late": (80, "INV-05"),
    "unknown_cas_assumed": (54, "INV-05"),
    "old_store_accepted": (11, "INV-23"),
    "barrier_before_prefix": (37, "INV-05"),
    "applied_leads": (50, "INV-15"),
    "owner_reopens_without_cas": (94, "INV-02"),
    "neither_route": (26, "INV-13"),
    "promote_gray": (41, "P01"),
    "async_promoted": (49, "P01"),
    "restored_store_accepted": (11, "INV-23"),
    "drill_writes_leak": (36, "INV-09"),
    "rpo_underreports": (26, "INV-23"),
    "superblock_not_durable": (0, "INV-15"),
    "ack_by_hello": (3, "INV-05"),
    "loss_forgotten": (27, "INV-07"),
    "failsafe_any_company": (39, "INV-14"),
    "resync_marks_cleared_at_start": (115, "INV-11"),
    "resync_trim_before_marks": (0, "INV-11"),
    "resync_p1_at_start": (37, "INV-09"),
    "resync_redo_not_applied": (1, "INV-15"),
    "unsynced_cursor": (0, "INV-11"),
}
"""A seed that shows each, and the invariant that is broken then."""

ONLY_IN_MINIATURE = {
    "promote_unclean_silently",
    "stale_plan_cuts",
    "volatile_while_silent",
    "restored_confirms",
    "unchecked_confirms",
    "promised_confirms",
    "truncate_after_forced",
    "r8_after_volatile",
    "history_next",
    "no_truncation",
    "ack_old_session",
    "promise_ignored",
    "store_start_trusted",
    "era_plus_one",
    "amnesia_trusted",
    "memory_members_only",
    "thaw_by_timer",
}
"""No seed below 200 shows these in the running daemons so far; the rules in miniature show each."""

NOT_YET = {
    "retry_failed_fsync",
    "truncate_corruption",
}
"""No seed shows harm: the next opening finds the damage and refuses the copy."""

TOO_RARE = {"no_anti_flap"}
"""No seed below 200 shows these since other faults break into scenes: a second loss within `anti_flap` of the
first needs half a minute in which nothing else happens. tests/sim/test_lost_owner.py plays it."""

NOT_SEARCHED = {
    "commit_before_append",
    "lease_forgotten",
    "wall_clock_lease",
    "resync_no_pin",
    "resync_switch_unrecorded",
    "resync_base_believed",
    "resync_third_forgotten",
    "cursors_kept_over_fork",
    "resync_size_only",
    "resync_no_zeroing",
}
"""Not all 200 seeds were tried with these since the volume has granules and journals are outgrown: the first
three were caught before, by seeds that have another scene now."""

_clean: dict[int, bool] = {}


def is_clean(seed: int) -> bool:
    """Whether the shipped rules keep every promise on a seed. Each is run once."""
    if seed not in _clean:
        _clean[seed] = disturbed(seed) is None
    return _clean[seed]


def disturbed(seed: int) -> ViolationError | None:
    """The first broken promise while things break; healing would tell no more here."""
    run = Run(seed, broken_s=BROKEN_S)
    try:
        run._begin()
        run._break()
    except ViolationError as found:
        return found
    finally:
        run.world.end()
    return None


@pytest.mark.parametrize("name", CAUGHT_AT)
def test_a_mistake_is_caught_where_the_shipped_rules_stand(name: str) -> None:
    seed, invariant = CAUGHT_AT[name]
    assert seed < SEEDS_MAX
    with mutants.in_force(name):
        found = disturbed(seed)
    assert found is not None
    assert found.invariant == invariant
    assert is_clean(seed)


def test_no_mistake_is_forgotten() -> None:
    assert {*CAUGHT_AT, *ONLY_IN_MINIATURE, *NOT_YET, *TOO_RARE, *NOT_SEARCHED} == set(
        mutants.running_mutants()
    )
    assert not set(CAUGHT_AT) & (ONLY_IN_MINIATURE | NOT_YET | TOO_RARE | NOT_SEARCHED)
    assert set(list_mutants()) >= ONLY_IN_MINIATURE


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
