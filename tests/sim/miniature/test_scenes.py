"""Scenes are played, in some worlds, and leave the others as they are."""

import pytest

from drsync.sim.miniature import scenes
from drsync.sim.miniature.rules import Rules
from drsync.sim.miniature.runner import run_seeds
from drsync.sim.miniature.simulation import Simulation
from drsync.sim.miniature.world import FAULTS, World

UNSAFE = {
    "acknowledged write lost",
    "acknowledged write lost (flushed)",
    "two owners serve",
    "stale read",
    "two contents acknowledged at one position",
    "loss admitted although an in-sync member has it",
}


def scene_of(seed: int) -> tuple[World, bool]:
    """A world with the scene of its seed begun, and whether there is one."""
    world = World(seed, Rules())
    return world, next(scenes.begin(world, seed), "none") != "none"


def test_some_worlds_have_a_scene_and_the_others_have_none() -> None:
    played = sum(scene_of(seed)[1] for seed in range(200))
    rate = scenes.SCENE_RATE + (1 - scenes.SCENE_RATE) * scenes.RARE_RATE
    assert 200 * rate / 2 < played < 200 * rate * 1.5


def test_no_world_takes_both_members_and_store_back_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "SCENE_RATE", 1.0)
    both = [list(FAULTS).index(kind) for kind in ("restore", "old_store")]
    for seed in range(50):
        world, _ = scene_of(seed)
        assert min(world.weights[kind] for kind in both) == 0


@pytest.mark.parametrize(
    ("name", "mutant"),
    [
        ("old_charter", "store_start_trusted"),
        ("forgotten_promise", "restored_confirms"),
        ("forgotten_promise", "unchecked_confirms"),
        ("split_pair", "failsafe_any_company"),
        ("company_leaves", "bind_ignored"),
        ("company_leaves", "bind_forgotten"),
        ("company_restarts", "bind_forgotten"),
        ("strict_pair", "failsafe_mates_only"),
        ("silent_keeper", "volatile_while_silent"),
        ("out_of_sight", "switch_without_seal"),
    ],
)
def test_a_scene_shows_its_wrong_rule_and_the_shipped_rules_stand(
    monkeypatch: pytest.MonkeyPatch, name: str, mutant: str
) -> None:
    monkeypatch.setattr(scenes, "SCENE_RATE", 1.0)
    monkeypatch.setattr(scenes, "SCENES", {name: (scenes.SCENES | scenes.RARE)[name]})
    found = run_seeds(0, 60, mutant, failures_max=4)["failures"]
    harm = [failure["seed"] for failure in found if failure["invariant"] in UNSAFE]
    assert harm
    for seed in harm:
        assert run_seeds(seed, 1)["failures"] == []


def test_a_scene_that_finds_no_settled_group_is_given_up() -> None:
    simulation = Simulation(0, Rules())
    for member in simulation.world.members.values():
        member.step_down()
    steps = list(scenes.SCENES["old_charter"](simulation.world, simulation.world.dice))
    assert steps == [None] * scenes.PATIENCE
