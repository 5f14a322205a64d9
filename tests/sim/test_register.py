"""Whether the charter store was one register is judged by what was asked of this store, not of another."""

import pytest

from drsync.ports.charter_store import CasOutcome, CasResult
from drsync.sim.invariants.register import Register
from drsync.sim.linear import Call
from drsync.sim.timeline import Timeline

DONE = CasResult(CasOutcome.DONE, None)


@pytest.fixture
def register() -> Register:
    return Register(Timeline())


def late(register: Register) -> Call:
    call = Call("an agent", register._timeline.now, expected=8, version=9, value="nine")
    register.calls.append(call)
    register._timeline.run(1.0)
    return call


def test_a_change_that_fits_no_version_is_noticed(register: Register) -> None:
    register.answered(late(register), DONE)
    assert register.contradiction() is not None


def test_an_answer_of_a_store_that_was_lost_meanwhile_is_no_contradiction(register: Register) -> None:
    call = late(register)
    register.forget(None)
    register.answered(call, DONE)
    assert register.contradiction() is None
