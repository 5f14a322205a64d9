"""What a runbook does next: order, retries, halting, undoing; and the same after a crash at any moment."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.core.runbook import (
    AT_ONCE_MAX,
    Begin,
    End,
    Ending,
    Hold,
    Mark,
    Phase,
    TakeBack,
    began,
    decide,
    ended,
    longest_budget,
    recovered,
    stages,
    undo_order,
)
from drsync.model.operation import StepOutcome
from drsync.model.runbook import (
    ALL_MODES,
    Action,
    Attempt,
    Do,
    Need,
    OnFailure,
    Part,
    Runbook,
    RunbookStep,
    RunMode,
)

DRILL, FAILOVER = RunMode.DRILL, RunMode.FAILOVER


def step(name: str, *needs: str, action: Action = Action.TCP, **fields: object) -> RunbookStep:
    edges = tuple(Need(need.removesuffix("?"), need.endswith("?")) for need in needs)
    made = RunbookStep(name, Do(action), ALL_MODES, edges)
    return replace(made, **fields)  # type: ignore[arg-type]


def book(*steps: RunbookStep) -> Runbook:
    return Runbook("test", "1", steps, 60.0)


@dataclass
class Player:
    """Performs a runbook in memory. `fails`: steps whose action fails that many times first."""

    book: Runbook
    mode: RunMode
    fails: dict[str, int] = field(default_factory=dict)
    fails_undo: set[str] = field(default_factory=set)
    marks: dict[str, Mark] = field(default_factory=dict)
    kept: list[Attempt] = field(default_factory=list)
    story: list[str] = field(default_factory=list)
    made: set[str] = field(default_factory=set)
    now: float = 0.0
    is_given_up: bool = False

    def play(self, moves: int = 10_000) -> End | None:
        """Until it is over, or dies after so many moves: what has begun then is half done."""
        while True:
            todo = decide(self.book, self.mode, self.marks, self.now, is_given_up=self.is_given_up)
            assert todo
            for move in todo:
                if isinstance(move, End):
                    return move
                if isinstance(move, Hold):
                    assert move.until is not None, "nothing runs here while it is asked"
                    self.now = move.until
                    continue
                self.begin(move)
                moves -= 1
                if moves <= 0:
                    return None
                self.finish(move)

    def begin(self, move: Begin | TakeBack) -> None:
        part = Part.DO if isinstance(move, Begin) else Part.UNDO
        self.marks = began(self.marks, move.step, part, self.now)
        self.kept.append(Attempt(move.step.id, part, 1, 0))
        if part is Part.DO and move.step.makes:
            self.made.add(move.step.id)

    def finish(self, move: Begin | TakeBack) -> None:
        name, part = move.step.id, Part.DO if isinstance(move, Begin) else Part.UNDO
        is_good = name not in self.fails_undo
        if isinstance(move, Begin):
            is_good = self.fails.get(name, 0) <= 0
            self.fails[name] = self.fails.get(name, 0) - 1
        elif is_good:
            self.made.discard(name)
        self.story.append(f"{'' if part is Part.DO else 'undo '}{name}{'' if is_good else ' fails'}")
        self.marks = ended(self.marks, move.step, part, self.now, is_good=is_good)
        self.kept[-1] = replace(self.kept[-1], outcome=StepOutcome.DONE if is_good else StepOutcome.FAILED)

    def rise_again(self) -> None:
        """A new coordinator reads what was kept."""
        self.marks = recovered(self.book, self.mode, self.kept, self.now)
        self.is_given_up = self.mode is DRILL


SERVICE = book(
    step("open", action=Action.OPEN),
    step("tree", "open", action=Action.MOUNT),
    step("net", action=Action.NETNS),
    step("serve", "tree", "net", action=Action.SERVICE_START),
    step("query", "serve", retries=2, retry_wait_s=5.0),
)


def test_a_drill_goes_forth_and_all_the_way_back() -> None:
    player = Player(SERVICE, DRILL)
    assert player.play() == End(Ending.DONE)
    assert player.story == [
        "open", "net", "tree", "serve", "query", "undo serve", "undo net", "undo tree", "undo open",
    ]  # fmt: skip


def test_a_change_of_owner_leaves_what_it_made() -> None:
    player = Player(SERVICE, FAILOVER)
    assert player.play() == End(Ending.DONE)
    assert "serve" in player.made


def test_a_step_is_tried_again_after_its_wait() -> None:
    player = Player(SERVICE, FAILOVER, fails={"query": 2})
    assert player.play() == End(Ending.DONE)
    assert player.now == 10.0
    assert player.story[-3:] == ["query fails", "query fails", "query"]


@pytest.mark.parametrize(
    ("on_failure", "story", "ending"),
    [
        (OnFailure.HALT, ["a", "b fails"], Ending.FAILED),
        (OnFailure.CONTINUE, ["a", "b fails", "c"], Ending.DONE),
        (OnFailure.UNDO, ["a", "b fails", "undo a"], Ending.FAILED),
    ],
)
def test_what_a_failure_means(on_failure: OnFailure, story: list[str], ending: Ending) -> None:
    a = step("a", undo=Do(Action.COMMAND))
    plan = book(a, step("b", "a", on_failure=on_failure), step("c", "b"))
    player = Player(plan, FAILOVER, fails={"b": 1})
    end = player.play()
    assert end is not None
    assert (player.story, end.ending) == (story, ending)


def test_a_failed_drill_is_taken_back_whatever_the_step_says() -> None:
    player = Player(SERVICE, DRILL, fails={"serve": 1})
    assert player.play() == End(Ending.FAILED, ("serve",))
    assert player.made == set(), "also what the failed step may have left"


def test_an_undo_that_fails_is_named_and_the_others_go_on() -> None:
    player = Player(SERVICE, DRILL, fails_undo={"tree"})
    assert player.play() == End(Ending.FAILED, ("tree",))
    assert player.made == {"tree"}


def test_an_optional_need_counts_only_where_the_other_takes_part() -> None:
    fence = step("fence", modes=frozenset((FAILOVER,)))
    plan = book(step("promote", "fence?"), fence)
    assert [[one.id for one in stage] for stage in stages(plan, DRILL)] == [["promote"]]
    assert [[one.id for one in stage] for stage in stages(plan, FAILOVER)] == [["fence"], ["promote"]]


def test_no_more_than_a_person_can_follow_run_at_once() -> None:
    plan = book(*(step(f"s{n}") for n in range(AT_ONCE_MAX + 3)))
    assert len(decide(plan, FAILOVER, {}, 0.0)) == AT_ONCE_MAX


def test_half_of_something_is_not_undone() -> None:
    failed = Mark(Phase.FAILED, 1, has_failed=True)
    marks = {"open": Mark(Phase.DONE), "tree": failed, "net": Mark(Phase.BEGUN, 1)}
    assert decide(SERVICE, DRILL, marks, 0.0) == [Hold()]


def test_the_longest_path_is_what_counts() -> None:
    steps = [step("a", budget_s=5.0), step("b", "a", budget_s=7.0), step("c", budget_s=11.0)]
    assert longest_budget(steps) == (12.0, ("a", "b"))
    assert [one.id for one in undo_order(SERVICE, DRILL)] == ["serve", "tree", "net", "open"]


def test_what_stands_on_a_step_by_way_of_a_probe_is_undone_before_it() -> None:
    """A disk is not unmounted below a service because only a probe lies between them."""
    serve = step("serve", "fsck", action=Action.SERVICE_START)
    plan = book(step("tree", action=Action.MOUNT), step("fsck", "tree"), serve)
    marks = {one.id: Mark(Phase.DONE) for one in plan.steps}
    assert decide(plan, DRILL, marks, 0.0) == [TakeBack(serve)]


def test_a_run_that_was_on_its_way_back_when_it_died_does_not_end_as_done() -> None:
    """The failure was final although a further try was left: that is remembered."""
    plan = book(step("tree", action=Action.MOUNT), step("no", "tree", retries=3, on_failure=OnFailure.UNDO))
    kept = [
        Attempt("tree", Part.DO, 1, 0, StepOutcome.DONE),
        Attempt("no", Part.DO, 1, 0, StepOutcome.FAILED, is_final=True),
        Attempt("tree", Part.UNDO, 1, 0, StepOutcome.DONE),
    ]
    assert decide(plan, FAILOVER, recovered(plan, FAILOVER, kept, 0.0), 0.0) == [End(Ending.FAILED, ("no",))]


def test_what_was_under_way_when_a_run_that_had_failed_died_is_taken_back_too() -> None:
    plan = book(step("no", on_failure=OnFailure.UNDO), step("tree", action=Action.MOUNT))
    kept = [Attempt("tree", Part.DO, 1, 0), Attempt("no", Part.DO, 1, 0, StepOutcome.FAILED)]
    marks = recovered(plan, FAILOVER, kept, 0.0)
    assert decide(plan, FAILOVER, marks, 0.0) == [TakeBack(plan.step("tree"))]


@st.composite
def plans(draw: st.DrawFn) -> Runbook:
    """Graphs of up to eight steps of all kinds."""
    steps = []
    for n in range(draw(st.integers(1, 8))):
        needs = draw(st.sets(st.integers(0, n - 1), max_size=3)) if n else set()
        steps.append(
            step(
                f"s{n}",
                *(f"s{need}" for need in sorted(needs)),
                action=draw(st.sampled_from([Action.TCP, Action.NETNS, Action.MOUNT])),
                retries=draw(st.integers(0, 2)),
                on_failure=draw(st.sampled_from(OnFailure)),
                undo=draw(st.sampled_from([None, Do(Action.COMMAND)])),
            )
        )
    return book(*steps)


@given(
    plan=plans(),
    mode=st.sampled_from([DRILL, FAILOVER]),
    fails=st.dictionaries(st.sampled_from([f"s{n}" for n in range(8)]), st.integers(0, 4), max_size=3),
    deaths=st.lists(st.integers(1, 6), max_size=4),
)
def test_killed_at_any_moment_it_ends_and_keeps_its_order(
    plan: Runbook, mode: RunMode, fails: dict[str, int], deaths: list[int]
) -> None:
    player = Player(plan, mode, fails=dict(fails))
    for moves in deaths:
        if player.play(moves) is not None:
            break
        player.rise_again()
    end = player.play()
    assert end is not None
    done = [line for line in player.story if " " not in line]
    for one in plan.steps:
        for need in one.needs:
            if one.id in player.story:
                before = player.story[: player.story.index(one.id)]
                assert need.id in before or f"{need.id} fails" in before
    if mode is DRILL:
        assert player.made == set(), "a drill leaves nothing, wherever it was killed"
    if end.ending is Ending.DONE and mode is FAILOVER:
        named = {one.id for one in plan.steps if one.on_failure is not OnFailure.CONTINUE}
        assert named <= set(done), "what matters was done"
