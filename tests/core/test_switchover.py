"""A planned change of owner, read as recipes: nothing is lost, or it does not happen."""

from dataclasses import replace

import pytest

from drsync.core import switchover
from drsync.core.plan import (
    Act,
    CommitCharter,
    Done,
    FinishIntent,
    Freeze,
    OpenGroup,
    RecordIntent,
    Refuse,
    Release,
    Seal,
    Wait,
)
from drsync.model.charter import Intent, IntentKind
from drsync.model.copy import CopyState, Statement
from drsync.model.epoch import Epoch
from drsync.model.group import Mode
from drsync.model.position import Loss
from tests.core.logs import word, written
from tests.core.world import Request, World, commands, drained, names, observe, perform, planned, run, town

TO_B = Request(IntentKind.SWITCHOVER, "b")
TO_C = Request(IntentKind.SWITCHOVER, "c")
NEXT = Epoch(2)


def after(world: World, request: Request, count: int) -> World:
    """The world after so many commands."""
    return run(world, request, commands_max=count)[0]


def codes(world: World, request: Request, *reached: str) -> list[str]:
    step = planned(world, request, reached or ("a", "b", "c"))
    assert isinstance(step, Refuse), step
    return [reason.code for reason in step.reasons]


def says(
    world: World, center: str, *, state: CopyState | None = None, promised: Epoch | None = None
) -> World:
    """The world in which a member states something else."""
    said = world.words[center]
    promised = said.promised if promised is None else promised
    return world.says(replace(said, state=state or said.state, promised=promised))


def test_the_recipe() -> None:
    world, end = run(town(), TO_B)
    assert names(world) == [
        "RecordIntent",
        "Freeze a",
        "Seal b",
        "Seal a",
        "Seal c",
        "Release a",
        "CommitCharter",
        "OpenGroup b",
        "FinishIntent",
    ]
    assert end == Done("b owns the group in epoch 2")
    assert (world.charter.owner, world.charter.epoch, world.now) == ("b", 2, 100.0)
    assert world.charter.history[-1].loss is Loss.NONE


def test_every_round_is_one_step_and_looks_anew() -> None:
    charter = town().charter
    assert commands(town(), TO_B) == (RecordIntent(Intent("i1", IntentKind.SWITCHOVER, "b", 1, "ada", "")),)
    assert commands(after(town(), TO_B, 1), TO_B) == (Freeze("a"),)
    assert commands(after(town(), TO_B, 2), TO_B) == (Seal("b", NEXT),)
    assert commands(after(town(), TO_B, 3), TO_B) == (Seal("a", NEXT), Seal("c", NEXT))
    assert commands(after(town(), TO_B, 5), TO_B) == (Release("a", NEXT),)
    (commit,) = commands(after(town(), TO_B, 6), TO_B)
    assert isinstance(commit, CommitCharter)
    assert (commit.charter.owner, commit.charter.history[-1].fork_seq) == ("b", 4)
    assert commands(after(town(), TO_B, 7), TO_B) == (OpenGroup("b", commit.charter),)
    (finish,) = commands(after(town(), TO_B, 8), TO_B)
    assert finish == FinishIntent(3, replace(commit.charter, version=4, intent=None))
    assert charter == town().charter


def test_the_other_city_takes_over_with_every_record() -> None:
    world, _ = run(town(lengths=(4, 4, 2)), TO_C)
    assert (world.logs["c"], world.charter.owner) == (world.logs["a"], "c")


def test_a_strict_group_goes_on_waiting_for_who_was_in_sync() -> None:
    world, _ = run(town(mode=Mode.SYNC_STRICT), TO_B)
    assert world.charter.in_sync == {"a", "b"}
    world, _ = run(town(), TO_B)
    assert world.charter.in_sync == {"b"}


# --- it does not start


def test_an_owner_that_does_not_serve_cannot_be_switched() -> None:
    assert codes(town(), TO_B, "b", "c") == ["owner_not_serving"]
    assert codes(town().restarted("a"), TO_B) == ["owner_not_serving"]
    assert codes(says(town(), "a", promised=NEXT), TO_B) == ["owner_not_serving"]
    assert codes(town(is_new=True), TO_B) == ["owner_not_serving"]


def test_a_target_that_cannot_take_over_is_refused_before_anything_is_touched() -> None:
    assert codes(town(), Request(IntentKind.SWITCHOVER, "x")) == ["unknown_center"]
    assert codes(town(), TO_B, "a", "c") == ["not_reached"]
    for state in (CopyState.BLANK, CopyState.FORKED, CopyState.FAILED):
        assert codes(says(town(), "b", state=state), TO_B) == ["copy_failed"]
    stranger = town().says(replace(town().words["b"], follow=Epoch(0)))
    assert codes(stranger, TO_B) == ["not_following"]


def test_a_target_that_went_back_cannot_be_had_by_any_option() -> None:
    world = town().says(replace(town().words["b"], amnesic=True))
    step = planned(world, TO_B)
    assert isinstance(step, Refuse)
    assert [(reason.code, reason.override) for reason in step.reasons] == [("went_back", "")]


def test_a_target_too_far_behind_is_refused_with_both_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(planned(town(), TO_C), Act)
    monkeypatch.setattr(switchover, "LAG_MAX_RECORDS", 2)
    step = planned(town(), TO_C)
    assert isinstance(step, Refuse)
    assert "c is 2 records behind the owner; a switchover starts below 2." in step.reasons[0].sentence


def test_one_procedure_at_a_time() -> None:
    begun = after(town(), TO_B, 1)
    assert codes(begun, Request(IntentKind.SWITCHOVER, "c", "other")) == ["in_progress"]


def test_a_store_that_is_not_ready_plans_nothing() -> None:
    seen = replace(observe(town(), TO_B), store_ready="the store waits to hear from c")
    assert switchover.plan(seen) == Wait("the store waits to hear from c")


def test_there_is_nothing_to_do_where_the_target_serves() -> None:
    assert planned(town(), Request(IntentKind.SWITCHOVER, "a")) == Done("a owns the group in epoch 1")


# --- it ends in between


def test_an_intent_that_is_gone_was_given_up_or_completed() -> None:
    assert codes(town(), replace(TO_B, has_begun=True)) == ["aborted"]
    done, _ = run(town(), TO_B)
    assert planned(done, replace(TO_B, has_begun=True), ("a", "c")) == Done("b owns the group in epoch 2")


def test_draining_is_waited_for_until_the_pause_is_over() -> None:
    frozen = replace(after(town(), TO_C, 2), frozen_since=100.0).with_log("c", town().logs["c"])
    assert planned(frozen, TO_C) == Wait("c drains: 2 records to go", 110.0)
    assert planned(replace(frozen, frozen_since=None), TO_C) == Wait("c drains: 2 records to go", None)
    caught_up = drained(frozen, ("a", "b", "c"))
    assert commands(caught_up, TO_C) == (Seal("c", NEXT),)


@pytest.mark.parametrize(
    ("target", "is_drained"),
    [
        (word(written((1, 4)), "b", follow=1), True),
        (word(written((1, 3)), "b", follow=1), False),
        (word(written((1, 4)), "b", follow=1, durable=3), False),
        (word(written((1, 4)), "b", follow=0), False),
        (word(written((1, 3), (2, 1)), "b", follow=1), False),
    ],
)
def test_drained_means_the_very_same_records_and_durable(target: Statement, is_drained: bool) -> None:
    owner = word(written((1, 4)), "a", follow=1, commit=4)
    assert switchover.is_drained(owner, target) is is_drained
    assert not switchover.is_drained(replace(owner, commit=3), target)


@pytest.mark.parametrize("reached", [("b", "c"), ("a", "c")])
def test_somebody_is_silent_before_the_seal(reached: tuple[str, ...]) -> None:
    begun = after(town(), TO_B, 1)
    silent = "a" if "a" not in reached else "b"
    assert planned(begun, TO_B, reached) == Wait(f"{silent} cannot be reached", None)


def test_a_pause_that_is_too_long_is_ended_by_opening_the_old_owner_higher() -> None:
    """A frozen owner never thaws by itself: it opens again, in an epoch above all promises."""
    frozen = replace(after(town(), TO_C, 2), frozen_since=100.0, now=110.0)
    (step,) = commands(frozen, TO_C)
    assert step == RecordIntent(Intent("i1", IntentKind.OPEN, "a", 2, "ada", ""))
    recorded = perform(frozen, step)
    assert recorded is not None
    world, end = run(recorded, Request(IntentKind.OPEN, "a", has_begun=True))
    assert names(world) == ["Seal a", "Seal b", "Seal c", "CommitCharter", "OpenGroup a", "FinishIntent"]
    assert isinstance(end, Done)
    assert (world.charter.owner, world.charter.epoch, world.words["a"].state) == ("a", 2, CopyState.OWNER)


def test_whoever_asked_for_the_switchover_hears_that_it_was_given_up() -> None:
    frozen = replace(after(town(), TO_C, 2), frozen_since=100.0, now=110.0)
    for _ in range(6):
        step = planned(frozen, TO_C)
        if isinstance(step, Refuse):
            break
        assert isinstance(step, Act)
        for command in step.commands:
            done = perform(frozen, command)
            assert done is not None
            frozen = done
    step = planned(frozen, replace(TO_C, has_begun=True))
    assert isinstance(step, Refuse)
    assert "The way to c was given up; a is the owner in epoch 2." in step.reasons[0].sentence


@pytest.mark.parametrize("mishap", ["restarted", "promised more", "no owner"])
def test_an_owner_that_is_not_the_one_it_was_opens_again(mishap: str) -> None:
    begun = after(town(), TO_B, 1)
    if mishap == "restarted":
        begun = begun.restarted("a")
    elif mishap == "promised more":
        begun = says(begun, "a", promised=Epoch(5))
    else:
        begun = says(begun, "a", state=CopyState.REPLICA)
    (step,) = commands(begun, TO_B)
    assert isinstance(step, RecordIntent)
    assert (step.intent.kind, step.intent.target, step.intent.id) == (IntentKind.OPEN, "a", "i1")


def test_once_the_target_is_sealed_it_is_an_opening_like_any_other() -> None:
    """The owner may even be silent then: its lease is waited for."""
    sealed = after(town(), TO_B, 3)
    world, end = run(sealed, replace(TO_B, has_begun=True), ("b", "c"))
    assert isinstance(end, Done)
    assert names(world) == ["Seal c", "CommitCharter", "OpenGroup b", "FinishIntent"]
    assert world.now == 108.0


def test_a_sealed_target_that_may_not_open_gives_way_to_the_old_owner() -> None:
    sealed = after(town(), TO_B, 3)
    sealed = sealed.says(replace(sealed.words["b"], amnesic=True))
    (step,) = commands(sealed, TO_B)
    assert isinstance(step, RecordIntent)
    assert step.intent.target == "a"


def test_a_target_that_restarts_after_the_commit_opens_in_another_epoch() -> None:
    committed = after(town(), TO_B, 7)
    world, end = run(committed.restarted("b"), replace(TO_B, has_begun=True))
    assert isinstance(end, Done)
    assert (world.charter.owner, world.charter.epoch) == ("b", 3)
    assert [opening.epoch for opening in world.opened] == [1, 3]


def test_an_abort_goes_on_to_where_it_was_going() -> None:
    """Also when the charter already names another owner than the one that is opened again."""
    intent = Intent("i1", IntentKind.OPEN, "b", 1, "ada", "")
    world = town().restarted("a")
    world = replace(world, charter=replace(world.charter, intent=intent, version=2))
    step = switchover.abort(observe(world, TO_C))
    assert step == Act((Seal("a", NEXT), Seal("b", NEXT), Seal("c", NEXT)))
