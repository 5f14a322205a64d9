"""What a copy may become (F.12), and what it never becomes."""

import pytest

from drsync.core.machine import Move, WrongEventError
from drsync.core.roles import ROLES, RoleEffect, RoleEvent, may_become
from drsync.model.copy import CopyState

MOVES = [(state, event, cell) for state, cells in ROLES.cells.items() for event, cell in cells.items()]


def test_every_event_has_its_cell_in_every_state() -> None:
    assert {(state, event) for state, event, _ in MOVES} == {(s, e) for s in CopyState for e in RoleEvent}


def test_a_frozen_owner_never_goes_on() -> None:
    assert not may_become(CopyState.FROZEN, CopyState.OWNER)
    with pytest.raises(WrongEventError):
        ROLES.step(CopyState.FROZEN, RoleEvent.OPENED)


@pytest.mark.parametrize("new", CopyState)
def test_nothing_leads_back_from_a_failed_copy(new: CopyState) -> None:
    assert may_become(CopyState.FAILED, new) == (new is CopyState.FAILED)


def test_whoever_owns_answers_nothing_before_it_promises_more() -> None:
    for state in (CopyState.OWNER, CopyState.FROZEN):
        move = ROLES.step(state, RoleEvent.PROMISED)
        assert move is not None
        assert move.effects == (RoleEffect.STOP, RoleEffect.PROMISE)


def test_no_move_leads_to_a_fork() -> None:
    assert not any(isinstance(cell, Move) and cell.to is CopyState.FORKED for _, _, cell in MOVES)
