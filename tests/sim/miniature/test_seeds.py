"""The shipped decisions survive what breaks every wrong one."""

import os
import subprocess
import sys

import pytest

from drsync.sim.miniature.runner import list_mutants, run_seeds

CHUNK = 50
SEEDS_MAX = 200  # because a wrong rule that needs more shows a world that is too kind

CAUGHT_AT = {
    "thaw_by_timer": 32,
    "switch_without_seal": 156,
    "reopen_same_epoch": 5,
    "promote_unclean_silently": 9,
    "no_in_sync_check": 10,
    "no_donation": 4,
    "no_seal": 5,
    "failsafe_alone": 10,
    "failsafe_any_company": 10,
    "failsafe_mates_only": 113,
    "bind_ignored": 34,
    "truncate_after_forced": 11,
    "loss_forgotten": 9,
    "history_next": 190,
    "no_truncation": 4,
    "stale_plan_cuts": 141,
    "apply_beyond_durable": 9,
    "apply_early": 10,
    "commit_before_append": 147,
    "flush_appended": 11,
    "ack_old_session": 163,
    "ack_before_shrink": 91,
    "grow_late": 63,
    "unknown_cas_assumed": 5,
    "promise_ignored": 23,
    "old_store_accepted": 0,
    "era_plus_one": 43,
    "amnesia_trusted": 41,
    "memory_members_only": 41,
    "bind_forgotten": 55,
    "r8_after_volatile": 11,
    "lease_forgotten": 109,
    "volatile_while_silent": 147,
    "restored_confirms": 174,
    "store_start_trusted": 0,
    "unchecked_confirms": 174,
    "promised_confirms": 129,
    "resync_no_pin": 3,
    "resync_trim_first": 0,
    "resync_trim_unconverted": 0,
    "resync_stall_for_dead": 0,
    "resync_clear_at_start": 0,
    "resync_old_marks_only": 0,
    "resync_clear_at_send": 0,
    "resync_no_redo": 0,
    "resync_in_place": 0,
    "resync_clear_unreached": 0,
    "resync_neither_route": 23,
    "resync_clear_by_third_party": 2,
    "resync_gossip_without_position": 1,
    "resync_gossip_of_old_store": 52,
    "resync_half_round": 0,
    "resync_no_multipass_restart": 3,
    "resync_wrong_generation_clear": 144,
    "resync_early_end": 0,
    "resync_unknown_is_clean": 0,
    "resync_inconsistent_only_copy": 0,
    "resync_switch_marks_nobody": 3,
    "resync_latched": 4,
}
"""A seed that shows each wrong rule. When the world's dice change, `drsync sim --mutant` finds new ones."""

STANDSTILL = "did not converge after healing"
SHOWN_BY_STANDSTILL = {"promise_ignored", "resync_latched"}
"""Not by harm: with honest clocks the lease has stopped the old owner before the new one opens; and a session
that hangs for ever only keeps its peer from catching up."""


@pytest.mark.timeout(180)  # because the machines that run this are shared
@pytest.mark.parametrize("first", range(0, 300, CHUNK))
def test_three_hundred_seeds_break_no_promise(first: int) -> None:
    report = run_seeds(first, CHUNK)
    assert report["failures"] == []
    assert report["acknowledged"] > CHUNK
    assert report["openings"] > CHUNK


@pytest.mark.parametrize("name", CAUGHT_AT)
def test_every_wrong_rule_is_caught(name: str) -> None:
    report = run_seeds(CAUGHT_AT[name], 1, name)
    assert [found["seed"] for found in report["failures"]] == [CAUGHT_AT[name]]
    is_harmless = report["failures"][0]["invariant"] == STANDSTILL
    assert is_harmless == (name in SHOWN_BY_STANDSTILL)
    assert report["failures"][0]["replay"] == f"drsync sim --seed {CAUGHT_AT[name]} --mutant {name}"


@pytest.mark.parametrize("first", sorted(set(CAUGHT_AT.values())))
def test_what_breaks_a_wrong_rule_does_not_break_the_shipped_ones(first: int) -> None:
    assert run_seeds(first, 1)["failures"] == []


def test_no_wrong_rule_is_forgotten_and_none_needs_many_seeds() -> None:
    assert set(list_mutants()) == set(CAUGHT_AT)
    assert max(CAUGHT_AT.values()) < SEEDS_MAX


def test_a_seed_is_the_same_in_every_process() -> None:
    script = "from drsync.sim.miniature.runner import run_seeds; print(run_seeds(20, 6))"
    answers = [
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "4711")
    ]
    assert answers[0] == answers[1]
    assert b"'seeds': 6" in answers[0]


def test_a_report_says_what_was_done_and_how_fast() -> None:
    ticks = iter((10.0, 12.0))
    report = run_seeds(0, 2, clock=lambda: next(ticks))
    assert (report["seeds"], report["mutant"]) == (2, "")
    assert report["events_per_s"] == report["events"] / 2
    assert run_seeds(0, 3, "resync_no_redo")["seeds"] == 1
    assert run_seeds(0, 3, "resync_no_redo", failures_max=2)["seeds"] == 2


def test_an_unknown_mutant_is_an_error() -> None:
    with pytest.raises(KeyError):
        run_seeds(0, 1, "no_such_rule")
