"""Who counts as connected: whoever answers, not whoever has an open link."""

import pytest

from drsync.coordinator.sessions import AgentSession, Json, SessionTable
from drsync.model.errors import TransientError


class Scripted:
    """A link that fails as told."""

    def __init__(self) -> None:
        self.error: TransientError | None = None
        self.is_open = True

    async def call(self, method: str, body: Json, timeout_s: float) -> Json:
        if self.error is not None:
            raise self.error
        return {"method": method, "body": body, "timeout": timeout_s}

    def close(self, reason: str) -> None:
        self.is_open = not reason


@pytest.fixture
def line() -> Scripted:
    return Scripted()


@pytest.fixture
def table(line: Scripted) -> SessionTable:
    table = SessionTable()
    table.enter(AgentSession("production", "1" * 32, line, "", "", 0, 0.0))
    return table


async def test_who_leaves_a_question_unanswered_is_not_waited_for_until_it_is_heard_again(
    table: SessionTable, line: Scripted
) -> None:
    assert table.is_connected("production")
    line.error = TransientError("no answer", code="timeout")
    with pytest.raises(TransientError):
        await table.call("production", "group.statement", {}, 1.0)
    assert not table.is_connected("production")

    agent = table.agent("production")
    assert agent is not None
    agent.heard(5.0)
    assert table.is_connected("production")


async def test_an_answer_is_an_answer_even_when_it_is_an_error(table: SessionTable, line: Scripted) -> None:
    line.error = TransientError("the disk is busy")
    with pytest.raises(TransientError):
        await table.call("production", "group.seal", {}, 1.0)
    assert table.is_connected("production")


async def test_a_late_answer_counts_as_well(table: SessionTable, line: Scripted) -> None:
    line.error = TransientError("no answer", code="timeout")
    with pytest.raises(TransientError):
        await table.call("production", "group.statement", {}, 1.0)
    line.error = None
    await table.call("production", "group.statement", {}, 1.0)
    assert table.is_connected("production")


def test_a_report_is_never_taken_for_younger_than_it_is() -> None:
    agent = AgentSession("production", "1" * 32, Scripted(), "", "", 0, 0.0, answered_at=100.0)
    # It was made 1 s after our answer came, and was on its way for 4 s: nobody here knows when it was sent.
    assert agent.made_at(1.0, 105.0) == pytest.approx(100.99)
    assert agent.made_at(900.0, 105.0) == 105.0
