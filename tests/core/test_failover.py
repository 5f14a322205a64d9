"""Opening a group somewhere, read as recipes: what is done, in which order, and when the answer is no."""

from dataclasses import replace

import pytest

from drsync.core import eligibility, failover
from drsync.core.lease import LeaseBook
from drsync.core.loss import CenterNote, loss
from drsync.core.observation import Observation
from drsync.core.plan import (
    Act,
    CommitCharter,
    Done,
    FinishIntent,
    OpenGroup,
    Plan,
    Prepare,
    RecordIntent,
    Refuse,
    Release,
    Seal,
    VoidIntent,
    Wait,
)
from drsync.model.charter import Charter, Intent, IntentKind
from drsync.model.copy import CopyState
from drsync.model.epoch import NEVER, Epoch, make
from drsync.model.group import Mode
from drsync.model.position import Loss
from tests.core.groups import charter
from tests.core.logs import start, word, written
from tests.core.world import Request, World, commands, names, observe, perform, planned, run, town

OPEN, FAILOVER, SWITCHOVER = IntentKind.OPEN, IntentKind.FAILOVER, IntentKind.SWITCHOVER
TO_B, TO_C = Request(FAILOVER, "b"), Request(FAILOVER, "c")
ACCEPTED = Request(FAILOVER, "c", accept_loss=True)
NORMAL, FORCED = Epoch(2), make(0, 1, 0)


def do(world: World, request: Request, *reached: str) -> World:
    """Carry out the next plan."""
    for command in commands(world, request, reached):
        after = perform(world, command, reached)
        assert after is not None, command
        world = after
    return world


def refused(world: World, request: Request, *reached: str) -> Refuse:
    step = planned(world, request, reached)
    assert isinstance(step, Refuse), step
    return step


def committed(world: World, request: Request, *reached: str) -> Charter:
    """The charter after everything was done."""
    after, end = run(world, request, reached)
    assert isinstance(end, Done), end
    return after.charter


def test_the_mate_takes_over_when_the_owner_is_gone() -> None:
    world, end = run(town(), TO_B, ("b", "c"))
    assert names(world) == [
        "RecordIntent",
        "Seal b",
        "Seal c",
        "CommitCharter",
        "OpenGroup b",
        "FinishIntent",
    ]
    assert end == Done("b owns the group in epoch 2")
    assert world.charter.in_sync == {"b"}
    assert world.charter.history[-1].loss is Loss.NONE
    assert world.now == 108.0, "the lease of the former owner was waited for"


def test_step_by_step() -> None:
    """Every round looks anew; the order of the rounds is the argument for safety."""
    world, reached = town(), ("b", "c")
    assert commands(world, TO_B, reached) == (RecordIntent(Intent("i1", FAILOVER, "b", 1, "ada", "")),)
    world = do(world, TO_B, *reached)
    assert commands(world, TO_B, reached) == (Seal("b", NORMAL), Seal("c", NORMAL))
    world = do(world, TO_B, *reached)
    assert planned(world, TO_B, reached) == Wait("a holds its lease", 108.0)
    world = replace(world, now=108.0)
    (commit,) = commands(world, TO_B, reached)
    assert isinstance(commit, CommitCharter)
    assert (commit.expected_version, commit.charter.version, commit.charter.intent) == (
        2,
        3,
        world.charter.intent,
    )
    assert (commit.charter.owner, commit.charter.owner_session, commit.charter.epoch) == ("b", "b1", 2)
    world = do(world, TO_B, *reached)
    assert commands(world, TO_B, reached) == (OpenGroup("b", commit.charter),)
    world = do(world, TO_B, *reached)
    assert commands(world, TO_B, reached) == (
        FinishIntent(3, replace(commit.charter, version=4, intent=None)),
    )


def test_a_living_owner_gives_its_lease_back_before_another_is_named() -> None:
    world, _ = run(town(), TO_B)
    assert names(world) == [
        "RecordIntent",
        "Seal a",
        "Seal b",
        "Seal c",
        "Release a",
        "CommitCharter",
        "OpenGroup b",
        "FinishIntent",
    ]
    assert Release("a", NORMAL) in world.done
    assert world.now == 100.0


def test_who_is_in_sync_is_sealed_before_the_others() -> None:
    """Where one of them refuses, nobody else was disturbed."""
    world = do(town(in_sync=("b", "c")), TO_C, "a", "b", "c")
    assert commands(world, TO_C) == (Seal("b", NORMAL), Seal("c", NORMAL), Seal("a", NORMAL))


def test_the_other_city_opens_with_the_tail_of_a_living_mate() -> None:
    """C holds two of four records; b gives it the rest, so nothing is lost."""
    world, end = run(town(), TO_C, ("b", "c"))
    assert names(world) == [
        "RecordIntent",
        "Seal b",
        "Seal c",
        "Prepare c",
        "CommitCharter",
        "OpenGroup c",
        "FinishIntent",
    ]
    assert Prepare("c", NORMAL, town().charter.history, ("b",)) in world.done
    assert isinstance(end, Done)
    assert (world.charter.history[-1].loss, world.logs["c"]) == (Loss.NONE, world.logs["b"])


def test_the_longest_tail_is_asked_for_first() -> None:
    world = do(town(lengths=(4, 3, 2)), TO_C, "a", "b", "c")
    world = do(world, TO_C, "a", "b", "c")
    assert commands(world, TO_C) == (Prepare("c", NORMAL, town().charter.history, ("a", "b")),)


def test_without_anybody_in_sync_it_says_no_with_numbers() -> None:
    (reason,) = refused(town(), TO_C, "c").reasons
    assert (reason.code, reason.override) == ("not_in_sync", "accept-loss")
    assert "not in the in-sync set (a, b)" in reason.sentence
    assert "2 records behind what the owner reported 2 s ago" in reason.sentence
    unheard = replace(town(), last_known=None)
    assert "stands at 2, and the owner was not heard of" in refused(unheard, TO_C, "c").reasons[0].sentence


def test_an_accepted_loss_opens_a_new_era_and_is_written_down() -> None:
    charter = committed(town(), ACCEPTED, "c")
    assert charter.epoch == FORCED
    assert charter.is_forced
    assert charter.history[-1].lost_at_least == 2
    assert charter.history[-1].fork_seq == 2
    assert charter.in_sync == {"c"}


def test_an_accepted_loss_that_need_not_be_is_none() -> None:
    charter = committed(town(), ACCEPTED, "b", "c")
    assert (charter.epoch, charter.history[-1].loss) == (NORMAL, Loss.NONE)


def test_what_was_promised_to_a_coordinator_that_died_is_used_again() -> None:
    world = do(town(), TO_B, "b", "c")
    world = do(world, TO_B, "b")  # c was out of reach
    assert commands(world, TO_B, ("b", "c")) == (Seal("c", NORMAL),)


def test_a_forced_opening_goes_on_with_the_era_that_was_promised() -> None:
    world = do(do(town(), ACCEPTED, "c"), ACCEPTED, "c")
    assert world.words["c"].promised == FORCED
    assert failover.next_epoch(observe(world, ACCEPTED, ("c",)), Loss.FORCED) == FORCED
    assert failover.next_epoch(observe(town(), ACCEPTED, ("c",)), Loss.FORCED) == FORCED
    ahead = replace(world, charter=replace(world.charter, epoch=FORCED))
    assert failover.next_epoch(observe(ahead, ACCEPTED, ("c",)), Loss.FORCED) == make(0, 2, 0)


def test_the_first_epoch_of_a_new_store_generation_is_of_that_generation() -> None:
    world = town()
    world = replace(world, charter=replace(world.charter, generation=3))
    assert failover.next_epoch(observe(world, TO_B), Loss.NONE) == make(3, 0, 1)


def test_a_newer_store_outranks_this_one() -> None:
    world = town()
    world = world.says(replace(world.words["c"], promised=make(1, 0, 0)))
    (reason,) = refused(world, TO_B, "a", "b", "c").reasons
    assert (reason.code, reason.override) == ("outranked", "")
    assert refused(world, replace(TO_B, accept_loss=True), "a", "b", "c").reasons == (reason,)


# --- unclean restarts


def unclean(*centers: str, durable: int = 2) -> World:
    world = town(in_sync=("a", "b"))
    for center in centers:
        world = world.with_log(center, world.logs[center], durable=durable).restarted(center, is_clean=False)
    return world


def test_an_unclean_mate_alone_does_not_open() -> None:
    (reason,) = refused(unclean("b"), TO_B, "b", "c").reasons
    assert (reason.code, reason.override) == ("unclean", "accept-loss")
    assert "a cannot be asked" in reason.sentence


def test_an_unclean_mate_opens_with_the_tail_of_a_clean_one() -> None:
    world = unclean("b").restarted("a")
    charter = committed(world, TO_B, "a", "b")
    assert (charter.history[-1].loss, charter.history[-1].fork_seq) == (Loss.NONE, 4)


def test_when_all_restarted_uncleanly_and_all_answer_the_longest_opens() -> None:
    """What was never flushed may be gone: that is stated, and nobody has to accept it."""
    world = unclean("b").with_log("a", town().logs["a"], durable=3).restarted("a", is_clean=False)
    charter = committed(world, TO_B, "a", "b")
    assert (charter.history[-1].loss, charter.history[-1].fork_seq) == (Loss.VOLATILE, 3)
    assert charter.epoch == NORMAL
    refused(world, TO_B, "b", "c")


def test_after_a_power_cut_in_the_city_the_other_city_gives_its_tail() -> None:
    world = unclean("a", "b", durable=1)
    charter = committed(world, TO_B, "a", "b", "c")
    assert (charter.history[-1].loss, charter.history[-1].fork_seq) == (Loss.VOLATILE, 2)


# --- who cannot be opened


def test_a_silent_target_is_no_candidate() -> None:
    assert [reason.code for reason in refused(town(), TO_B, "a", "c").reasons] == ["not_reached"]
    recorded = do(town(), TO_B, "a", "b")
    assert planned(recorded, TO_B, ("a",)) == Wait("b cannot be reached")


def test_a_stranger_is_no_candidate() -> None:
    (reason,) = refused(town(), Request(FAILOVER, "x"), "a", "b").reasons
    assert (reason.code, "a, b, c" in reason.remedy) == ("unknown_center", True)


@pytest.mark.parametrize("state", [CopyState.BLANK, CopyState.FORKED, CopyState.FAILED])
def test_a_useless_copy_is_no_candidate_and_no_donor(state: CopyState) -> None:
    world = town()
    world = world.says(replace(world.words["b"], state=state))
    (reason,) = refused(world, TO_B, "b", "c").reasons
    assert (reason.code, state.value in reason.sentence) == ("copy_failed", True)
    assert [reason.code for reason in refused(world, TO_C, "b", "c").reasons] == ["not_in_sync"]


def test_a_full_disk_is_no_candidate_and_a_good_donor() -> None:
    world = town()
    world = world.says(replace(world.words["b"], no_space="no space for the journal in /b"))
    (reason,) = refused(world, TO_B, "b", "c").reasons
    assert (reason.code, reason.override, "/b" in reason.sentence) == ("no_space", "", True)
    assert "b" in eligibility.voices(observe(world, TO_C, ("b", "c")))


def test_a_copy_that_follows_an_unknown_epoch_shows_that_the_store_is_old() -> None:
    world = town()
    world = world.says(replace(world.words["b"], follow=Epoch(7), promised=Epoch(7)))
    for request in (TO_B, replace(TO_B, accept_loss=True)):
        assert [reason.code for reason in refused(world, request, "b", "c").reasons] == ["moved_on"]


def test_an_image_with_foreign_records_has_to_resync_first() -> None:
    log = written((1, 4), (9, 2))
    world = town().with_log("b", log)
    assert isinstance(planned(world, TO_B, ("b", "c")), Act), "the log alone can be cut"
    world = world.says(replace(world.words["b"], applied=5))
    (reason,) = refused(world, replace(TO_B, accept_loss=True), "b", "c").reasons
    assert (reason.code, reason.override) == ("needs_resync", "")
    assert "up to 5; only those up to 4" in reason.sentence


def test_a_journal_trimmed_beyond_the_fork_has_to_resync_first() -> None:
    """The group gave up records 3 and 4; b has not even the journal of them any more."""
    world, _ = run(town(), ACCEPTED, ("c",))
    world = world.says(word(town().logs["b"], "b", trimmed=3, promised=1, follow=1))
    (reason,) = refused(world, Request(FAILOVER, "b", "i2", accept_loss=True), "b").reasons
    assert reason.code == "needs_resync"
    assert "up to 3; only those up to 2" in reason.sentence


def test_foreign_records_in_the_log_are_cut_before_the_commit() -> None:
    world = town().with_log("b", written((1, 4), (9, 2)))
    after, _ = run(world, TO_B, ("b", "c"))
    assert names(after).index("Prepare b") < names(after).index("CommitCharter")
    assert after.logs["b"] == written((1, 4))


def test_a_copy_that_went_back_opens_only_by_name() -> None:
    world = town()
    world = world.says(replace(world.words["b"], amnesic=True))
    (reason,) = refused(world, TO_B, "a", "b", "c").reasons
    assert (reason.code, reason.override) == ("went_back", "accept-loss")
    assert committed(world, replace(TO_B, accept_loss=True), "b").is_forced


def test_a_member_that_went_back_does_not_vouch_for_others() -> None:
    world = town()
    world = world.says(replace(world.words["b"], amnesic=True))
    assert refused(world, TO_C, "b", "c").reasons[0].code == "not_in_sync"


def test_a_donor_whose_journal_starts_too_late_is_named() -> None:
    world = town()
    short = word(world.logs["b"], "b", trimmed=3, promised=1, follow=1, session="b1")
    (reason,) = refused(world.says(short), TO_C, "b", "c").reasons
    assert (reason.code, reason.override) == ("left_behind", "accept-loss")
    assert "b holds 2 records that c lacks" in reason.sentence
    assert committed(world.says(short), ACCEPTED, "b", "c").history[-1].lost_at_least == 2


def test_the_volatile_rule_needs_an_answer_from_all_of_them() -> None:
    (reason,) = refused(unclean("a", "b"), TO_C, "b", "c").reasons
    assert reason.code == "not_in_sync"


# --- first opening, reopening


def test_a_new_group_opens_at_a_blank_copy() -> None:
    world, end = run(town(is_new=True), Request(OPEN, "a"))
    assert names(world) == ["RecordIntent", "Seal a", "CommitCharter", "OpenGroup a", "FinishIntent"]
    assert end == Done("a owns the group in epoch 1")
    assert world.charter.history[-1].fork_seq == 0
    assert world.charter.in_sync == {"a"}


@pytest.mark.parametrize("is_unclean", [False, True])
def test_an_owner_that_dies_before_anything_of_a_first_epoch_is_durable_opens_again(is_unclean: bool) -> None:
    """Its promise shows that it is the same disk; whoever was answered lost what was never flushed."""
    died, _ = run(town(is_new=True), Request(OPEN, "a"), commands_max=3)
    assert (died.charter.epoch, died.words["a"].promised) == (1, 1)
    back = died.restarted("a")
    back = back.says(replace(back.words["a"], state=CopyState.BLANK, unclean=is_unclean))
    after, end = run(back, Request(OPEN, "a"))
    assert isinstance(end, Done), end
    assert (after.charter.epoch, after.charter.owner) == (2, "a")
    assert after.charter.history[-1].loss is (Loss.VOLATILE if is_unclean else Loss.NONE)


def test_an_owner_of_a_first_epoch_with_an_empty_disk_does_not_open() -> None:
    died, _ = run(town(is_new=True), Request(OPEN, "a"), commands_max=3)
    back = died.restarted("a")
    back = back.says(replace(back.words["a"], state=CopyState.BLANK, promised=NEVER))
    assert [reason.code for reason in refused(back, Request(OPEN, "a"), "a", "b", "c").reasons] == [
        "copy_failed"
    ]


def test_a_restarted_owner_needs_a_new_epoch_and_no_wait() -> None:
    """It holds the lease itself: nobody else could answer."""
    world, _ = run(town().restarted("a"), Request(OPEN, "a"))
    assert names(world)[-3:] == ["CommitCharter", "OpenGroup a", "FinishIntent"]
    assert (world.now, world.charter.epoch, world.charter.owner_session) == (100.0, 2, "a1'")


@pytest.mark.parametrize(
    ("mode", "kind", "in_sync"),
    [
        (Mode.SYNC, OPEN, {"a"}),
        (Mode.ASYNC, OPEN, {"a"}),
        (Mode.SYNC_STRICT, OPEN, {"a", "b"}),
        (Mode.SYNC_STRICT, FAILOVER, {"a"}),
    ],
)
def test_only_a_person_lets_a_strict_group_go_on_with_fewer(
    mode: Mode, kind: IntentKind, in_sync: set[str]
) -> None:
    charter = committed(town(mode=mode).restarted("a"), Request(kind, "a"), "a", "b", "c")
    assert charter.in_sync == in_sync


def test_a_target_that_restarts_after_the_commit_gets_another_epoch() -> None:
    world, reached = town(), ("b", "c")
    died, _ = run(world, TO_B, reached, commands_max=4)
    assert died.charter.owner == "b"
    after, end = run(died.restarted("b"), TO_B, reached)
    assert isinstance(end, Done)
    assert (after.charter.epoch, [opening.epoch for opening in after.opened]) == (3, [1, 3])


# --- several procedures


@pytest.mark.parametrize(("kind", "is_free"), [(OPEN, True), (SWITCHOVER, True), (FAILOVER, False)])
def test_a_failover_takes_over_from_a_smaller_procedure_only(kind: IntentKind, is_free: bool) -> None:
    begun = do(town(), Request(kind, "b", "other"), "a", "b", "c")
    step = planned(begun, TO_C)
    assert isinstance(step, Act) is is_free
    if isinstance(step, Refuse):
        assert [reason.code for reason in step.reasons] == ["in_progress"]
        assert "failover to b, asked for by ada" in step.reasons[0].sentence


def test_an_opening_waits_behind_another_one() -> None:
    begun = do(town().restarted("a"), Request(OPEN, "a", "other"), "a", "b", "c")
    assert [reason.code for reason in refused(begun, Request(OPEN, "b"), "a", "b").reasons] == ["in_progress"]


def test_accepting_the_loss_later_is_recorded_first() -> None:
    begun = do(town(), TO_B, "b", "c")
    (again,) = commands(begun, replace(TO_B, accept_loss=True), ("b", "c"))
    assert isinstance(again, RecordIntent)
    assert (again.intent.accept_loss, again.intent.from_version) == (True, 2)


def test_an_intent_that_is_gone_was_given_up() -> None:
    step = refused(town(), replace(TO_B, has_begun=True), "a", "b", "c")
    assert [reason.code for reason in step.reasons] == ["aborted"]
    assert "a is the owner in epoch 1" in step.reasons[0].sentence


def test_an_intent_that_is_gone_from_a_charter_of_the_target_was_completed() -> None:
    after, _ = run(town(), TO_B, ("b", "c"))
    assert planned(after, replace(TO_B, has_begun=True), ("c",)) == Done("b owns the group in epoch 2")


def test_giving_up_takes_the_intent_back_and_nothing_else() -> None:
    begun = do(town(), TO_B, "b", "c")
    step = failover.give_up(observe(begun, TO_B, ()))
    assert step == Act((VoidIntent(2, replace(town().charter, version=3)),))
    assert failover.give_up(observe(town(), TO_B)) == Done("there is no intent to take back")


def test_a_store_that_is_not_ready_plans_nothing() -> None:
    seen = replace(observe(town(), TO_B), store_ready="the store waits to hear from c")
    assert failover.plan(seen) == Wait("the store waits to hear from c")


@pytest.mark.parametrize("request_", [Request(OPEN, "a"), Request(FAILOVER, "a")])
def test_there_is_nothing_to_do_where_the_target_serves(request_: Request) -> None:
    step: Plan = planned(town(), request_)
    assert step == Done("a owns the group in epoch 1")


def test_a_lease_whose_holder_promised_nothing_is_waited_for() -> None:
    """A former holder that is reached but refuses to promise is not asked to give its lease back."""
    world = do(do(town(), TO_B, "b", "c"), TO_B, "b", "c")
    world = replace(world, book=LeaseBook("x", 120.0))
    assert planned(world, TO_B, ("b", "c")) == Wait("x holds its lease", 120.0)


# --- the loss statement


def test_the_loss_is_stated_with_what_each_center_knows() -> None:
    said = loss(observe(town(), ACCEPTED, ("c",)))
    assert (said.loss, said.position, said.records_at_least) == (Loss.FORCED, 2, 2)
    assert (said.bytes_lost, said.from_us, said.until_us, said.may_lose_acknowledged) == (
        None,
        None,
        1_000_000,
        True,
    )
    assert said.centers == (
        CenterNote("a", "not reached; 2 s ago it had committed up to 4"),
        CenterNote("b", "not reached"),
        CenterNote("c", "replica, stands at 2, not in sync"),
    )


def test_no_loss_is_no_loss() -> None:
    said = loss(observe(town(), TO_B, ("b", "c")))
    assert (said.loss, said.records_at_least, said.bytes_lost) == (Loss.NONE, 0, 0)
    assert (said.from_us, said.until_us, said.may_lose_acknowledged) == (None, None, False)


def test_a_complete_copy_that_nobody_vouches_for_loses_nothing_older_than_the_last_report() -> None:
    said = loss(observe(town(lengths=(4, 4, 4)), ACCEPTED, ("c",)))
    assert (said.records_at_least, said.from_us, said.until_us) == (0, 1_000_000, None)
    assert said.may_lose_acknowledged


def test_without_a_report_of_the_owner_nothing_is_known_of_when() -> None:
    said = loss(observe(replace(town(), last_known=None), ACCEPTED, ("c",)))
    assert (said.records_at_least, said.from_us, said.until_us) == (0, None, None)
    assert said.centers[0] == CenterNote("a", "not reached")


def test_flags_are_named_in_the_loss_statement() -> None:
    world = unclean("a", "b")
    world = world.says(replace(world.words["c"], amnesic=True))
    notes = {note.center: note.text for note in loss(observe(world, TO_B)).centers}
    assert notes["b"] == "replica, stands at 2, in sync, restarted uncleanly"
    assert notes["c"] == "replica, stands at 2, not in sync, went back"


def test_a_commit_heard_on_a_fork_is_not_counted_as_lost() -> None:
    """A member of an older epoch may have heard of commits that the group gave up since."""
    charter = committed(town(), ACCEPTED, "c")
    world = replace(town(), charter=charter, last_known=None)
    world = world.says(replace(world.words["b"], commit=4))
    said = loss(observe(world, Request(FAILOVER, "b", accept_loss=True), ("b",)))
    assert (said.loss, said.position, said.records_at_least) == (Loss.FORCED, 2, 0)


def test_a_copy_of_a_given_up_branch_that_holds_no_record_any_more_is_no_candidate() -> None:
    """Its journal was trimmed to nothing, its image is full of records that the group has given up."""
    history = (start(1, 0), start(1 << 32, 2, Loss.FORCED))
    now = charter(owner="c", session="c1", epoch=1 << 32, in_sync="c", history=history)
    branch = written((1, 4))
    emptied = word(branch, "b", trimmed=4, applied=4, commit=4, promised=1, follow=1)
    kept = word(branch[:2], "c", promised=1 << 32, follow=1 << 32)
    seen = Observation(
        charter=now,
        statements={"b": emptied, "c": kept},
        now=100.0,
        lease=LeaseBook(),
        kind=IntentKind.FAILOVER,
        target="b",
        intent_id="i1",
        uuid="u1",
    )

    step = failover.plan(seen)

    assert isinstance(step, Refuse)
    assert [reason.code for reason in step.reasons] == ["needs_resync"]


def test_a_failover_to_the_owner_itself_that_was_given_up_is_not_reported_as_done() -> None:
    """The owner's process died, a person failed over to the same center, and that was voided."""
    world = town().restarted("a")
    request = Request(FAILOVER, "a", has_begun=True)
    seen = replace(observe(world, request), begun_epoch=world.charter.epoch)
    assert not failover.is_finished(seen)
    step = failover.plan(seen)
    assert isinstance(step, Refuse)

    finished = replace(seen, charter=replace(world.charter, epoch=Epoch(2)))
    assert failover.is_finished(finished)
