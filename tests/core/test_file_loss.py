"""What a failover gives up of trees: always stated, refused only above the objective or when nobody knows."""

from dataclasses import replace

import pytest

from drsync.core.file_loss import FileLoss, files_lost, objections
from drsync.core.loss import loss
from drsync.core.observation import LastKnown, TreeKnown
from drsync.core.plan import Act, RecordIntent, Refuse
from drsync.model.charter import IntentKind
from drsync.model.epoch import Epoch
from drsync.model.fileset import FileSetSpec, FileSetWord, Generation
from drsync.model.group import Objectives
from drsync.model.position import Loss
from tests.core.world import Request, World, observe, planned, town

WWW, OTHER = FileSetSpec("f1", "www", 1), FileSetSpec("f2", "other", 2)
TO_B = Request(IntentKind.FAILOVER, "b")
ACCEPTED = Request(IntentKind.FAILOVER, "b", accept_loss=True)
LAGS = (("b", 1.5), ("c", 40.0))


def files(number: int, known: int = 0, *, pending: tuple[str, ...] = (), hold: str = "") -> FileSetWord:
    held = Generation(Epoch(1), number)
    newest = Generation(Epoch(1), max(known, number))
    return FileSetWord("f1", held, held, newest, pending=len(pending), pending_names=pending, hold=hold)


def world_with(
    b: FileSetWord | None,
    *,
    tree: TreeKnown | None = TreeKnown("www", 7, 0.5, LAGS),  # noqa: B008  # frozen
    rpo_s: float = 15,
    heard_at: float = 98.0,
) -> World:
    """a is at generation 7 of its tree; b stands where it says."""
    world = town()
    group = replace(world.charter.group, filesets=(WWW,), objectives=Objectives(rpo_s=rpo_s, rto_s=60))
    trees = (tree,) if tree is not None else ()
    last = LastKnown(4, 4, 1_000_000, heard_at, trees)
    world = replace(world, charter=replace(world.charter, group=group), last_known=last)
    return world if b is None else world.says(replace(world.words["b"], files=(b,)))


def said(world: World, request: Request = TO_B) -> FileLoss:
    (lost,) = files_lost(observe(world, request, ("b", "c")))
    return lost


def test_a_tree_that_has_every_known_generation_may_lack_what_was_not_cut_yet() -> None:
    world = world_with(files(7))
    assert said(world) == FileLoss("www", 7, 7, 2.5)  # 0.5 s since the last look, 2 s of silence
    assert planned(world, TO_B, ("b", "c")).__class__ is Act


def test_a_tree_that_is_behind_names_what_is_missing_and_goes_on_within_the_objective() -> None:
    lost = said(world_with(files(5, 7, pending=("a.txt", "b.txt"))))
    assert lost == FileLoss("www", 5, 7, 4.0, 2, ("a.txt", "b.txt"))
    step = planned(world_with(files(5)), TO_B, ("b", "c"))
    assert isinstance(step, Act)
    assert isinstance(step.commands[0], RecordIntent)


def test_other_members_know_of_generations_too() -> None:
    world = world_with(files(7))
    world = world.says(replace(world.words["c"], files=(files(6, 9),)))
    assert said(world).known == 9


def test_a_member_that_follows_another_epoch_does_not_count() -> None:
    world = world_with(files(7))
    world = world.says(replace(world.words["c"], files=(files(99),), follow=Epoch(0)))
    assert said(world).known == 7


def test_silence_counts_up_to_one_lease_since_no_owner_cuts_without_it() -> None:
    world = world_with(files(7), heard_at=0.0)
    assert said(world).seconds == 0.5 + world.charter.group.policy.lease_s


def test_a_lag_above_the_objective_is_refused_until_a_person_accepts_it() -> None:
    world = world_with(files(5), rpo_s=3)
    step = planned(world, TO_B, ("b", "c"))
    assert isinstance(step, Refuse)
    assert [(one.code, one.override) for one in step.reasons] == [("files_behind", "accept-loss")]
    assert "4.0 s" in step.reasons[0].sentence
    assert isinstance(planned(world, ACCEPTED, ("b", "c")), Act)


@pytest.mark.parametrize(
    ("b", "tree"),
    [
        (files(5), TreeKnown("www", 7, 0.5, (("c", 0.0),))),
        (files(7), TreeKnown("www", 7, None, LAGS)),
        (files(7), TreeKnown("others", 7, 0.5, LAGS)),
        (files(7), None),
        (None, TreeKnown("www", 7, 0.5, ())),
    ],
)
def test_a_lag_that_nobody_knows_is_refused(b: FileSetWord | None, tree: TreeKnown | None) -> None:
    world = world_with(b, tree=tree)
    assert said(world).seconds is None
    step = planned(world, TO_B, ("b", "c"))
    assert isinstance(step, Refuse)
    assert [one.code for one in step.reasons] == ["files_unknown"]
    assert isinstance(planned(world, ACCEPTED, ("b", "c")), Act)


def test_without_any_report_nothing_is_known() -> None:
    assert said(replace(world_with(files(7)), last_known=None)).seconds is None


def test_a_center_that_says_nothing_of_the_tree_holds_nothing() -> None:
    world = world_with(files(7))
    assert files_lost(observe(world, TO_B, ("c",))) == (FileLoss("www", 0, 7, 4.0),)


def test_a_tree_that_stands_still_says_why() -> None:
    assert said(world_with(files(5, hold="the root is missing"))).hold == "the root is missing"


def test_each_tree_has_its_own_statement() -> None:
    world = world_with(files(7))
    group = replace(world.charter.group, filesets=(WWW, OTHER))
    world = replace(world, charter=replace(world.charter, group=group))
    found = files_lost(observe(world, TO_B, ("b", "c")))
    assert [(lost.fileset, lost.held) for lost in found] == [("www", 7), ("other", 0)]


def test_where_the_owner_opens_again_its_tree_is_its_tree() -> None:
    request = Request(IntentKind.FAILOVER, "a")
    assert files_lost(observe(world_with(files(5)), request)) == ()


def test_a_group_that_was_never_opened_has_nothing_to_lose() -> None:
    assert files_lost(observe(town(is_new=True), TO_B)) == ()


def test_only_a_failover_is_refused_for_its_files() -> None:
    world = world_with(files(5), rpo_s=3)
    assert objections(observe(world, Request(IntentKind.OPEN, "b"))) == ()
    assert objections(observe(world_with(files(5)), TO_B)) == ()


def switching(world: World) -> list[str]:
    step = planned(world, Request(IntentKind.SWITCHOVER, "b"))
    return [one.code for one in step.reasons] if isinstance(step, Refuse) else []


def test_a_planned_change_is_not_begun_while_a_tree_stands_still_or_is_far_behind() -> None:
    assert switching(world_with(files(7))) == []
    assert switching(world_with(files(5))) == []
    assert switching(world_with(files(5), rpo_s=3)) == ["files_late"]
    assert switching(world_with(files(7, hold="no space"))) == ["files_held"]
    world = world_with(files(5), rpo_s=3)
    held = replace(world.words["a"], files=(files(7, hold="the root is missing"),))
    assert switching(world.says(held)) == ["files_held"]
    assert switching(replace(world_with(files(7)), last_known=None)) == [], "the owner itself will tell"


def test_the_loss_statement_holds_them() -> None:
    found = loss(observe(world_with(files(5)), TO_B, ("b", "c")))
    assert (found.loss, found.may_lose_acknowledged) == (Loss.NONE, False)
    assert [one.fileset for one in found.files] == ["www"]
