"""Sessions of resync: the tables are total, and each word does what it may and nothing else."""

from dataclasses import replace
from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.core import dirty as marks
from drsync.core import resync_source, resync_target
from drsync.core.compare import (
    ConnectPlan,
    Corrupt,
    DirtyResync,
    ExportFork,
    FreezeBoth,
    Quarantine,
    RefuseUnrelated,
    Seed,
    StepDown,
    Stream,
    Truncate,
)
from drsync.core.dirty import DirtySet, Marks
from drsync.core.extents import NOTHING, Extents, Run, union
from drsync.core.machine import Machine, Move, Nothing, WrongEventError
from drsync.core.resync import EndWord, How, Room, Route, Staging, plan, route, staging
from drsync.core.resync_source import IDLE_SOURCE, ROUNDS_MAX, Ground, Source
from drsync.core.resync_tables import (
    SOURCE,
    TARGET,
    SourceEffect,
    SourceEvent,
    SourceState,
    TargetEffect,
    TargetEvent,
    TargetState,
)
from drsync.core.resync_target import Target
from drsync.core.safety import Reason
from drsync.model.epoch import Epoch

A: Extents = (Run(0, 1, 3),)
B: Extents = (Run(0, 5, 6),)
AB = union(A, B)
GROUND = Ground(commit=20, cursor=10, trimmed=0, changed=A, now=1.0)


# --- the tables


@pytest.mark.parametrize(
    ("machine", "states", "events"),
    [(SOURCE, SourceState, SourceEvent), (TARGET, TargetState, TargetEvent)],
)
def test_every_event_has_its_cell_in_every_state(
    machine: Machine[StrEnum, StrEnum, StrEnum], states: type[StrEnum], events: type[StrEnum]
) -> None:
    assert set(machine.cells) == set(states)
    for state in states:
        assert set(machine.cells[state]) == set(events)
        for event in events:
            if machine.cells[state][event] is Nothing.WRONG:
                with pytest.raises(WrongEventError, match=str(event)):
                    machine.step(state, event)
            else:
                move = machine.step(state, event)
                assert move is None or isinstance(move, Move)


def reachable(machine: Machine[StrEnum, StrEnum, StrEnum], begin: StrEnum) -> set[StrEnum]:
    found, todo = {begin}, [begin]
    while todo:
        cells = machine.cells[todo.pop()].values()
        new = {cell.to for cell in cells if isinstance(cell, Move)} - found
        found |= new
        todo += new
    return found


def test_every_state_is_reached_and_every_session_can_end() -> None:
    for machine, states, idle in (
        (SOURCE, SourceState, SourceState.IDLE),
        (TARGET, TargetState, TargetState.IDLE),
    ):
        assert reachable(machine, idle) == set(states)  # type: ignore[arg-type]  # one test for both
        for state in states:
            assert idle in reachable(machine, state)  # type: ignore[arg-type]  # one test for both


def test_every_end_of_a_source_gives_its_pin_back() -> None:
    for state, cells in SOURCE.cells.items():
        for cell in cells.values():
            if isinstance(cell, Move) and cell.to is SourceState.IDLE and state is not SourceState.IDLE:
                assert SourceEffect.UNPIN in cell.effects


def test_the_order_of_effects_is_the_argument_for_crashes() -> None:
    for cells in SOURCE.cells.values():
        for cell in cells.values():
            effects = cell.effects if isinstance(cell, Move) else ()
            if SourceEffect.PIN in effects:
                assert effects.index(SourceEffect.MARK) < effects.index(SourceEffect.PIN)
            if SourceEffect.ADVANCE in effects:
                assert effects.index(SourceEffect.ADVANCE) < effects.index(SourceEffect.UNPIN)
    switch = TARGET.step(TargetState.REDOING, TargetEvent.END)
    assert switch is not None
    assert switch.effects == (
        TargetEffect.SYNC_STAGE,
        TargetEffect.MARK_OTHERS,
        TargetEffect.RECORD_SWITCH,
        TargetEffect.SWITCH,
    )


def test_what_was_decided_durably_is_not_taken_back() -> None:
    for event, cell in TARGET.cells[TargetState.SWITCHING].items():
        is_done = event is TargetEvent.SWITCHED
        assert not isinstance(cell, Move) or cell.to is (
            TargetState.IDLE if is_done else TargetState.SWITCHING
        )


# --- how a peer catches up

CLEAN = DirtySet()
MARKED = marks.mark(CLEAN, 10, 20, A, trimmed=0)
ROT = marks.mark_different(CLEAN, B)
LOST = marks.unknown(3)


@pytest.mark.parametrize(
    ("found", "dirty", "trimmed", "how"),
    [
        (RefuseUnrelated("a", "b"), CLEAN, 0, How.NOT),
        (StepDown(Epoch(9)), CLEAN, 0, How.NOT),
        (FreezeBoth(Epoch(1), "twice"), CLEAN, 0, How.NOT),
        (Corrupt(10), CLEAN, 0, How.DIGEST),
        (Seed(is_streamable=True), CLEAN, 0, How.STREAM),
        (Seed(is_streamable=False), CLEAN, 0, How.DIGEST),
        (Stream(10), CLEAN, 0, How.STREAM),
        (Stream(25), MARKED, 20, How.STREAM),  # it has all that is marked
        (Stream(15), MARKED, 12, How.DIRTY),
        (Stream(15), ROT, 12, How.DIRTY),
        (Stream(15), LOST, 12, How.DIGEST),
        (DirtyResync(10), MARKED, 15, How.DIRTY),
        (DirtyResync(9), MARKED, 15, How.DIGEST),  # marks began later (P25)
        (DirtyResync(10), MARKED, 21, How.DIGEST),  # neither journal nor marks
        (DirtyResync(10), CLEAN, 15, How.DIGEST),  # it went back behind what it had confirmed
        (DirtyResync(10), LOST, 15, How.DIGEST),
        (Truncate(10, None, 1, Stream(10)), CLEAN, 0, How.STREAM),
        (ExportFork(10, None, 1, False, DirtyResync(10)), MARKED, 15, How.DIRTY),
        (Quarantine("new", ExportFork(9, None, 1, False, DirtyResync(9))), MARKED, 15, How.DIGEST),
    ],
)
def test_how_a_peer_catches_up(found: ConnectPlan, dirty: DirtySet, trimmed: int, how: How) -> None:
    assert plan(found, dirty, trimmed) is how


def test_nothing_is_streamed_onto_a_half_written_copy() -> None:
    assert plan(Stream(10), CLEAN, 5, is_consistent=False) is How.DIRTY
    assert plan(Quarantine("new", Stream(10)), CLEAN, 15, is_consistent=False) is How.DIGEST


@given(
    st.integers(1, 9), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.booleans(), st.booleans()
)
def test_no_record_is_neither_sent_nor_marked(
    seq: int, cursor: int, trimmed: int, through: int, is_known: bool, has_session: bool
) -> None:
    """P21: whatever the state, a record that a peer lacks has its way there."""
    dirty = marks.mark(CLEAN, min(cursor, through), through, A, 0) if is_known else LOST
    pin = max(trimmed, dirty.through) if has_session else None
    found = route(seq, cursor, trimmed, dirty, pin)
    match found:
        case Route.CONFIRMED:
            assert seq <= cursor
        case Route.LOG:
            assert seq > trimmed
            assert pin is None or seq <= pin
        case Route.REDO:
            assert seq > trimmed
            assert pin is not None
            assert seq > pin
        case Route.MARKED:
            assert dirty.is_known
            assert dirty.since <= cursor < seq <= dirty.through
        case Route.EVERYTHING:
            assert not is_known or trimmed > max(cursor, dirty.through)


def test_routes_by_example() -> None:
    assert route(11, 10, 0, CLEAN, None) is Route.LOG
    assert route(21, 10, 15, MARKED, 20) is Route.REDO
    assert route(20, 10, 15, MARKED, 20) is Route.MARKED
    assert route(15, 9, 12, MARKED, None) is Route.LOG
    assert route(12, 9, 12, MARKED, None) is Route.EVERYTHING
    assert route(21, 10, 15, LOST, 20) is Route.REDO
    assert route(20, 10, 15, LOST, 20) is Route.EVERYTHING


# --- a session


def start(dirty: DirtySet = MARKED, ground: Ground = GROUND) -> tuple[Source, DirtySet]:
    return resync_source.start(IDLE_SOURCE, "s1", dirty, ground, by_digest=False)


def copying() -> tuple[Source, DirtySet, Target]:
    source, dirty = start()
    target = resync_target.begun(Target(), source)
    return resync_source.accepted(source, target.session), dirty, target


def staged(target: Target, blocks: Extents) -> Target:
    return resync_target.staged(target, "s1", blocks)


def ending() -> tuple[Source, DirtySet, Target, EndWord]:
    """A session up to its end, with redo 21..25."""
    source, dirty, target = copying()
    blocks, source = resync_source.sent(source, 9, 2.0)
    source = resync_source.copied(source, 25)
    target = resync_target.redo(staged(target, blocks), "s1", 21, 25)
    source, word = resync_source.redone(source)
    return source, dirty, target, word


def test_a_session_from_begin_to_end() -> None:
    source, dirty = start()
    assert (source.pin, source.todo, dirty.through, source.is_at_limit) == (20, A, 20, False)
    source, dirty, target, word = ending()
    assert word == EndWord("s1", 1, 25, 2)
    target = resync_target.end(target, word)
    assert (target.state, target.is_consistent) == (TargetState.SWITCHING, True)
    target = resync_target.switched(target)
    assert target == Target(switched=word)
    source, dirty, is_done = resync_source.confirmed(source, dirty, word)
    assert (source, is_done, dirty.is_clean, dirty.since) == (IDLE_SOURCE, True, True, 25)
    assert source.pin is None


def test_the_cursor_of_a_session_that_never_ends_is_not_moved() -> None:
    source, dirty, _, _ = ending()
    assert resync_source.stop(source, SourceEvent.STALLED) == IDLE_SOURCE
    assert not dirty.is_clean


@pytest.mark.parametrize("word", [EndWord("s0", 1, 25, 2), EndWord("s1", 0, 25, 2), EndWord("s1", 1, 24, 2)])
def test_a_late_confirmation_clears_nothing(word: EndWord) -> None:
    source, dirty, _, _ = ending()
    assert resync_source.confirmed(source, dirty, word) == (source, dirty, False)


def test_a_confirmation_before_the_end_was_sent_is_late() -> None:
    source, dirty, _ = copying()
    word = EndWord("s1", 1, 0, 2)
    assert resync_source.confirmed(source, dirty, word) == (source, dirty, False)


def test_a_session_that_runs_is_not_started_again() -> None:
    source, dirty = start()
    with pytest.raises(WrongEventError):
        resync_source.start(source, "s2", dirty, GROUND, by_digest=False)


def test_what_is_unknown_is_compared_first() -> None:
    source, dirty = resync_source.start(IDLE_SOURCE, "s1", CLEAN, GROUND, by_digest=True)
    assert (source.todo, source.by_digest, dirty.is_known) == (NOTHING, True, False)
    source = resync_source.accepted(source, "s1")
    assert source.state is SourceState.DIGESTING
    assert resync_source.digested(source, "s0", B, 2.0) == source
    again, dirty = resync_source.outgrown(source, dirty, replace(GROUND, commit=30, changed=A))
    assert (again.todo, again.whole, again.p0) == (A, NOTHING, 30)
    source = resync_source.digested(again, "s1", B, 2.0)
    assert (source.todo, source.fresh, source.whole, source.moved_at) == (AB, AB, AB, 2.0)
    assert resync_source.digested(source, "s1", B, 3.0) == source  # it comes twice


def test_marks_that_became_unknown_are_compared_though_nobody_asked() -> None:
    source, _ = start(ground=replace(GROUND, trimmed=21))
    assert source.by_digest


def test_an_answer_to_another_session_is_late() -> None:
    source, _ = start()
    assert resync_source.accepted(source, "s0") == source
    copies = resync_source.accepted(source, "s1")
    assert resync_source.accepted(copies, "s1") == copies


def test_a_redo_that_outgrows_its_quota_begins_a_new_round() -> None:
    source, dirty, target = copying()
    blocks, source = resync_source.sent(source, 1, 2.0)
    target = staged(target, blocks)
    source, dirty = resync_source.outgrown(source, dirty, replace(GROUND, commit=40, changed=B))
    assert (source.p0, source.generation, source.rounds) == (40, 2, 1)
    assert source.todo == union((Run(0, 2, 3),), B)
    assert (source.whole, dirty.runs, dirty.through) == (AB, AB, 40)
    assert resync_target.next_round(target, replace(source, session="s0")) == target
    target = resync_target.next_round(target, source)
    assert (target.p0, target.redo, target.staged, target.fresh) == (40, 40, blocks, NOTHING)
    _, source = resync_source.sent(source, 9, 3.0)
    assert resync_source.copied(source, 40).p1 == 40


def test_a_round_before_the_stage_or_after_the_end_drops_the_session() -> None:
    ground = replace(GROUND, commit=40, changed=B)
    for source, dirty in (start(), ending()[:2]):
        dropped, after = resync_source.outgrown(source, dirty, ground)
        assert (dropped, after.runs, after.through) == (IDLE_SOURCE, AB, 40)
    source, dirty, target, word = ending()
    _, dirty = resync_source.outgrown(source, dirty, ground)
    assert marks.ended(dirty, word.generation, word.p1).runs == B
    assert resync_target.next_round(resync_target.end(target, word), source).state is TargetState.SWITCHING


def test_writes_that_always_outrun_the_line_end_the_session() -> None:
    source, dirty, _ = copying()
    for number in range(ROUNDS_MAX):
        source, dirty = resync_source.outgrown(source, dirty, replace(GROUND, commit=30 + number, changed=B))
        assert source.rounds == number + 1
    assert source.is_at_limit
    source, dirty = resync_source.outgrown(source, dirty, replace(GROUND, commit=90, changed=B))
    assert (source, dirty.through) == (IDLE_SOURCE, 90)


@pytest.mark.parametrize(("now", "stalled"), [(61.0, False), (61.1, True)])
def test_a_session_without_progress_is_noticed(now: float, stalled: bool) -> None:
    source, _ = start()
    assert resync_source.is_stalled(source, now) == stalled
    assert not resync_source.is_stalled(IDLE_SOURCE, now)


def test_a_stop_that_comes_late_stops_nothing() -> None:
    assert resync_source.stop(IDLE_SOURCE, SourceEvent.CUT) == IDLE_SOURCE


# --- the target


@pytest.mark.parametrize("lack", ["blocks", "redo", "generation"])
def test_an_end_before_all_is_there_switches_nothing(lack: str) -> None:
    """P24: the old point stays, and the source is told."""
    _, _, target, word = ending()
    match lack:
        case "blocks":
            target = replace(target, staged=B)
        case "redo":
            target = replace(target, redo=24)
        case _:
            target = replace(target, generation=7)
    assert resync_target.end(target, word) == Target()


def test_words_of_another_session_touch_no_stage() -> None:
    _, _, target, word = ending()
    assert resync_target.end(target, replace(word, session="s0")) == target
    assert resync_target.staged(target, "s0", A) == target
    assert resync_target.redo(target, "s0", 26, 27) == target


def test_redo_counts_only_where_it_continues() -> None:
    _, _, target = copying()
    assert resync_target.redo(target, "s1", 22, 25) == target
    assert resync_target.redo(target, "s1", 21, 25).redo == 25
    switching = replace(target, state=TargetState.SWITCHING)
    assert resync_target.redo(switching, "s1", 21, 25) == switching


def test_blocks_after_redo_end_the_session() -> None:
    _, _, target, _ = ending()
    assert staged(target, A) == Target()


def test_a_target_that_switches_does_that_first() -> None:
    source, _, target, word = ending()
    target = resync_target.end(target, word)
    assert resync_target.begun(target, source) == target
    assert resync_target.end(target, word) == target
    assert staged(target, A) == target
    assert resync_target.halted(target, TargetEvent.GIVEN_UP) == target
    assert resync_target.halted(target, TargetEvent.RESTARTED) == target


def test_a_session_goes_on_with_what_arrived() -> None:
    source, _, target = copying()
    blocks, source = resync_source.sent(source, 2, 2.0)
    target = staged(target, (Run(0, 1, 2),))  # the other was lost with the line
    source = resync_source.stop(source, SourceEvent.CUT)
    target = resync_target.halted(target, TargetEvent.CUT)
    assert (source.state, target.state, source.pin) == (SourceState.KEPT, TargetState.KEPT, 20)
    source, target, word = resync_target.resume(source, target)
    assert (source.state, source.todo, target.state, word) == (
        SourceState.COPYING,
        (Run(0, 2, 3),),
        TargetState.STAGING,
        None,
    )
    assert blocks == A


def test_a_block_of_an_earlier_round_is_not_taken_for_one_of_this() -> None:
    source, dirty, target = copying()
    _, source = resync_source.sent(source, 2, 2.0)
    target = staged(target, A)
    source, _ = resync_source.outgrown(source, dirty, replace(GROUND, commit=40, changed=A))
    target = resync_target.next_round(target, source)
    _, source = resync_source.sent(source, 2, 2.0)  # and the line is lost
    source = resync_source.stop(source, SourceEvent.CUT)
    source, _, _ = resync_target.resume(source, resync_target.halted(target, TargetEvent.CUT))
    assert source.todo == A


@pytest.mark.parametrize("differs", ["session", "round", "nothing is kept", "source does not wait"])
def test_what_does_not_fit_is_dropped_on_both_sides_without_harm(differs: str) -> None:
    source, _, target = copying()
    kept = resync_source.stop(source, SourceEvent.CUT)
    target = resync_target.halted(target, TargetEvent.CUT)
    match differs:
        case "session":
            target = replace(target, session="s0")
        case "round":
            target = replace(target, rounds=1)
        case "nothing is kept":
            target = Target()
        case _:
            kept = IDLE_SOURCE
    assert resync_target.resume(kept, target) == (IDLE_SOURCE, Target(), None)


def test_a_session_that_was_switched_is_confirmed_once_more() -> None:
    source, dirty, target, word = ending()
    kept = resync_source.stop(source, SourceEvent.CUT)
    target = resync_target.switched(resync_target.end(target, word))
    assert resync_target.resume(kept, target) == (kept, target, word)
    assert resync_source.confirmed(kept, dirty, word)[2]
    busy = replace(target, state=TargetState.STAGING)
    assert resync_target.resume(kept, busy)[2] is None


# --- space

OTHERS_WELL = {"C": True}


@pytest.mark.parametrize(
    ("room", "others", "where"),
    [
        (Room(10, 10), {}, Staging.STAGE),
        (Room(11, 10, has_snapshot=True), {}, Staging.SNAPSHOT),
        (Room(11, 10, is_accepted=True), OTHERS_WELL, Staging.IN_PLACE),
        (Room(11, 10), OTHERS_WELL, "stage_too_large"),
        (Room(11, 10, is_accepted=True), {"C": False}, "only_other_copy"),
        (Room(11, 10, is_accepted=True), {}, "only_other_copy"),
    ],
)
def test_the_only_other_good_copy_is_never_made_inconsistent(
    room: Room, others: dict[str, bool], where: Staging | str
) -> None:
    found = staging(room, "B", others)
    assert (found.code if isinstance(found, Reason) else found) == where


def test_a_copy_written_in_place_stays_inconsistent_until_a_switch() -> None:
    source, _ = start()
    target = staged(resync_target.begun(Target(), source, in_place=True), A)
    assert not target.is_consistent
    stopped = resync_target.halted(resync_target.halted(target, TargetEvent.CUT), TargetEvent.GIVEN_UP)
    assert (stopped.is_consistent, stopped.touched, stopped.state) == (False, A, TargetState.IDLE)
    again = resync_target.begun(stopped, source)
    assert (again.is_consistent, again.touched) == (False, A)
    again = staged(again, B)
    assert again.touched == AB
    done = resync_target.switched(replace(again, state=TargetState.SWITCHING, end=EndWord("s1", 1, 25, 1)))
    assert (done.is_consistent, done.touched) == (True, NOTHING)


def test_a_stop_of_an_idle_target_changes_nothing() -> None:
    assert resync_target.halted(Target(), TargetEvent.CUT) == Target()


def test_marks_of_both_buffers_are_sent() -> None:
    dirty = DirtySet(4, 10, Marks(A, 12), Marks(B, 15))
    source, after = start(dirty, replace(GROUND, changed=NOTHING))
    assert (source.todo, source.generation, after.live.is_empty) == (AB, 5, True)
