"""Two copies meet: one plan for every pair, and following it makes the member a prefix of the owner.

Every small story of openings, losses and writes is told, and every log that a member may be left with is
compared with the present owner's. The oracle looks at full lists of records.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from drsync.core.compare import (
    ConnectPlan,
    Corrupt,
    DirtyResync,
    ExportFork,
    FreezeBoth,
    Identity,
    OwnerView,
    Quarantine,
    RefuseUnrelated,
    Seed,
    StepDown,
    Stream,
    Truncate,
    compare,
    fork_point,
    may_cut,
)
from drsync.model.copy import CopyState, Statement
from drsync.model.epoch import Epoch
from drsync.model.position import Loss
from tests.core.logs import Log, Story, chain_of, shared, start, stories, tip_of, word, written

STORIES = stories(openings=3, records=4)
LOSSY = stories(openings=2, records=4, losses=(Loss.VOLATILE,))
SHORT = stories(openings=2, records=4)
VERSION = 9


def owner_of(story: Story, said: Statement, first_seq: int = 1) -> OwnerView:
    """What the present owner of the story knows when it meets `said`."""
    fork, log = fork_point(story.history, said), story.log
    chain = chain_of(log[:fork]) if first_seq - 1 <= fork <= len(log) else None
    return OwnerView("c", "g", story.history, story.epoch, tip_of(log), 0, first_seq, VERSION, chain)


def met(story: Story, said: Statement, first_seq: int = 1) -> ConnectPlan:
    """The plan when a member that followed the group to its epoch connects."""
    known = next((h for h in story.histories if h[-1].epoch == said.follow), ())
    return compare(owner_of(story, said, first_seq), said, Identity("c", "g", known))


@dataclass
class Outcome:
    """What is left at a member that carried out a plan."""

    log: Log
    dropped: Log = ()
    exported: Log = ()
    is_resent: bool = False  # the blocks of the image are sent again


def follow(plan: ConnectPlan, log: Log) -> Outcome:
    """Carry out a plan; the journal of the owner is complete, or blocks are resent."""
    match plan:
        case Quarantine(then=then):
            return follow(then, log)
        case Stream(from_seq):
            assert from_seq == len(log), "streaming continues the log"
            return Outcome(log)
        case DirtyResync(from_seq):
            assert from_seq == len(log)
            return Outcome(log, is_resent=True)
        case Truncate(to, chain, _, then):
            assert chain in {None, chain_of(log[:to])}
            return replace(follow(then, log[:to]), dropped=log[to:])
        case ExportFork(after, chain, _, _, then):
            assert chain in {None, chain_of(log[:after])}
            return replace(follow(then, log[:after]), exported=log[after:])
        case _:
            raise AssertionError(plan)


def meetings(story: Story) -> Iterator[tuple[Log, Statement]]:
    """Every member that may connect, with what it may have trimmed, applied and heard committed."""
    for n, log in story.member_logs():
        if not log:
            continue
        truth = shared(log, story.log)
        for known in {0, truth, min(truth + 1, len(log)), len(log)}:
            for trimmed in {0, min(known, len(log) - 1)}:
                for applied in {trimmed, known}:
                    follows = story.starts[n].epoch
                    yield log, word(log, follow=follows, trimmed=trimmed, applied=applied, commit=known)


def test_the_fork_point_is_where_two_full_logs_part() -> None:
    for story in STORIES:
        for log, said in meetings(story):
            assert fork_point(story.history, said) == shared(log, story.log)


def test_a_journal_that_holds_no_record_any_more_is_judged_by_its_tip() -> None:
    """A crash at the very start of a segment leaves it empty, and all before it may be trimmed."""
    for story in STORIES:
        for n, log in story.member_logs():
            said = word(
                log, follow=story.starts[n].epoch, trimmed=len(log), applied=len(log), commit=len(log)
            )
            fork = fork_point(story.history, said)
            assert fork == shared(log, story.log)
            if 0 < fork < len(log):
                assert isinstance(met(story, said), ExportFork)


@pytest.mark.parametrize(
    ("told", "seen"),
    [(STORIES, {"Stream", "Truncate", "ExportFork"}), (LOSSY, {"Stream", "ExportFork"})],
    ids=["none or forced", "always volatile"],
)
def test_every_member_becomes_a_prefix_of_the_owner(told: list[Story], seen: set[str]) -> None:
    """And nothing is dropped that may have been acknowledged, that was applied or heard committed."""
    plans = Counter[str]()
    for story in told:
        for log, said in meetings(story):
            plan = met(story, said)
            plans[type(plan).__name__] += 1
            after = follow(plan, log)
            assert after.log == story.log[: len(after.log)]
            assert after.log + after.dropped + after.exported == log
            assert len(after.log) == shared(log, story.log), "no more is cut than must be"
            assert not any(story.was_maybe_acknowledged(rec) for rec in after.dropped)
            assert not after.dropped or max(said.applied, said.commit) <= len(after.log)
            assert said.applied <= len(after.log) or after.is_resent, "the image holds foreign records"
    assert set(plans) == seen
    assert min(plans.values()) > 100


def test_a_short_journal_resends_blocks_instead_of_records() -> None:
    """R7: the same cuts, then blocks where the owner's journal does not reach back to the fork."""
    for story in SHORT:
        for first_seq in range(2, len(story.log) + 2):
            for log, said in meetings(story):
                fork = shared(log, story.log)
                short, full = met(story, said, first_seq), met(story, said)
                after = follow(short, log)
                assert type(short) is type(full) or isinstance(short, DirtyResync)
                assert (after.log, after.dropped) == (follow(full, log).log, follow(full, log).dropped)
                assert after.is_resent or fork >= first_seq - 1


def test_a_member_that_promised_more_ends_the_owner_before_anything_is_cut() -> None:
    for story in SHORT:
        for _, said in meetings(story):
            for promised in (story.epoch, story.epoch + 1):
                plan = met(story, replace(said, promised=Epoch(promised)))
                assert isinstance(plan, StepDown) == (promised > story.epoch)


def test_another_store_or_a_restored_one_is_quarantined_and_then_treated_alike() -> None:
    for story in LOSSY:
        for _, said in meetings(story):
            plain = met(story, said)
            view = replace(owner_of(story, said), incarnations={"b": "another"})
            renewed = compare(view, said, Identity("c", "g"))
            restored = met(story, replace(said, amnesic=True))
            assert isinstance(renewed, Quarantine)
            assert isinstance(restored, Quarantine)
            assert renewed.then == restored.then == plain
            assert (renewed.reason, restored.reason) == (
                "b has another store than before",
                "b has gone back in time",
            )


STORY = Story().opened(1, 0, Loss.NONE, 3).opened(2, 2, Loss.NONE, 2)
FORCED = Story().opened(1, 0, Loss.NONE, 3).opened(2, 2, Loss.FORCED, 2)
BEHIND, LEVEL, BEYOND = written((1, 2)), STORY.log, written((1, 3))
NEW = chain_of(written((1, 2)))


@pytest.mark.parametrize(
    ("rule", "story", "said", "first_seq", "plan"),
    [
        ("R2", STORY, word((), state=CopyState.BLANK), 1, Seed(is_streamable=True)),
        ("R2", STORY, word((), state=CopyState.BLANK), 2, Seed(is_streamable=False)),
        ("R2", STORY, word((), follow=1), 1, Seed(is_streamable=True)),
        ("R6", STORY, word(BEHIND, follow=1), 1, Stream(2)),
        ("R6", STORY, word(LEVEL, follow=2), 1, Stream(4)),
        ("R6", STORY, word(BEHIND, follow=1), 3, Stream(2)),
        ("R7", STORY, word(BEHIND, follow=1), 4, DirtyResync(2)),
        ("R8", STORY, word(BEYOND, follow=1, commit=2), 1, Truncate(2, NEW, VERSION, Stream(2))),
        ("R8", STORY, word(BEYOND, follow=1), 4, Truncate(2, None, VERSION, DirtyResync(2))),
        ("R9", FORCED, word(BEYOND, follow=1), 1, ExportFork(2, NEW, VERSION, True, Stream(2))),
        ("R9", STORY, word(BEYOND, follow=1, commit=3), 1, ExportFork(2, NEW, VERSION, True, Stream(2))),
        (
            "R9",
            FORCED,
            word(BEYOND, follow=1, commit=3, applied=3),
            1,
            ExportFork(2, NEW, VERSION, False, DirtyResync(2)),
        ),
    ],
)
def test_the_table(rule: str, story: Story, said: Statement, first_seq: int, plan: ConnectPlan) -> None:
    assert met(story, said, first_seq) == plan, rule


@pytest.mark.parametrize("identity", [Identity("other", "g"), Identity("c", "other")])
def test_copies_of_different_groups_or_clusters_never_touch_each_other(identity: Identity) -> None:
    said = word(BEYOND, follow=1, promised=99)
    plan = compare(owner_of(STORY, said), said, identity)
    assert plan == RefuseUnrelated("c/g", f"{identity.cluster}/{identity.group}")


def test_an_epoch_opened_twice_freezes_both() -> None:
    said = word(LEVEL, follow=2)
    theirs = (STORY.history[0], replace(STORY.history[1], uuid="another"))
    plan = compare(owner_of(STORY, said), said, Identity("c", "g", theirs))
    assert isinstance(plan, FreezeBoth)
    assert (plan.epoch, "twice" in plan.reason) == (2, True)


def test_a_member_that_holds_more_of_the_present_epoch_than_its_owner_freezes_both() -> None:
    said = word(written((1, 2), (2, 3)), follow=2)
    plan = compare(owner_of(STORY, said), said, Identity("c", "g", STORY.history))
    assert plan == FreezeBoth(Epoch(2), "the member holds records up to 5, the owner only to 4")


def test_an_epoch_the_member_never_heard_of_is_no_contradiction() -> None:
    said = word(BEHIND, follow=1)
    plan = compare(owner_of(STORY, said), said, Identity("c", "g", (start(1, 0), start(7, 1))))
    assert isinstance(plan, FreezeBoth | Stream)
    assert plan == Stream(2)


@pytest.mark.parametrize("log", [BEHIND, LEVEL, BEYOND], ids=["behind", "level", "beyond"])
def test_another_chain_at_the_fork_is_corruption_not_a_fork(log: Log) -> None:
    said = word(log, follow=1)
    fork = fork_point(STORY.history, said)
    wrong = replace(owner_of(STORY, said), chain_at_fork=b"?" * 16)
    plan = compare(wrong, said, Identity("c", "g"))
    if log is BEYOND:  # the statement tells no chain inside a run: the member checks before it cuts
        assert plan == Truncate(fork, b"?" * 16, VERSION, Stream(fork))
    else:
        assert plan == Corrupt(fork)


def test_another_chain_at_the_end_of_an_inner_run_is_corruption() -> None:
    story = STORY.opened(3, 2, Loss.NONE, 1)
    said = word(STORY.log, follow=2)
    assert compare(
        replace(owner_of(story, said), chain_at_fork=b"?" * 16), said, Identity("c", "g")
    ) == Corrupt(2)


def test_where_the_owner_has_no_batch_end_the_copies_cannot_be_equal() -> None:
    said = word(BEHIND, follow=1)
    plan = compare(replace(owner_of(STORY, said), chain_at_fork=None), said, Identity("c", "g"))
    assert plan == Corrupt(2)


def test_two_logs_that_share_nothing_part_at_the_beginning() -> None:
    story = Story().opened(1, 0, Loss.NONE, 2).opened(2, 0, Loss.FORCED, 1)
    said = word(written((1, 2)), follow=1)
    assert met(story, said) == ExportFork(0, bytes(16), VERSION, True, Stream(0))
    assert compare(
        replace(owner_of(story, said), chain_at_fork=b"?" * 16), said, Identity("c", "g")
    ) == Corrupt(0)


@pytest.mark.parametrize(
    ("version", "epoch", "known", "promised", "follows", "allowed"),
    [
        (5, 2, 5, 2, 2, True),
        (6, 3, 5, 2, 2, True),
        (4, 2, 5, 2, 2, False),
        (5, 2, 5, 3, 2, False),
        (5, 2, 5, 2, 3, False),
        (9, 1, 0, 0, 2, False),
    ],
)
def test_a_plan_of_an_older_charter_cuts_nothing(
    version: int, epoch: int, known: int, promised: int, follows: int, allowed: bool
) -> None:
    assert may_cut(version, Epoch(epoch), known, Epoch(promised), Epoch(follows)) is allowed
