"""Who is connected and what they last said. Facts and when they were heard; no decisions."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from drsync.coordinator.forms import OwnerReport
from drsync.core.lease import DRIFT
from drsync.model.copy import Statement
from drsync.model.errors import TransientError
from drsync.model.objectives import NO_BEAT, Beat

Json = dict[str, object]

TIMEOUT = "timeout"
"""The code of the error for a question without an answer (`engine.rpc`)."""


class Line(Protocol):
    """A control link to an agent, as `engine.rpc.Endpoint` is one."""

    @property
    def is_open(self) -> bool:
        """Whether asking makes sense."""
        ...

    async def call(self, method: str, body: Json, timeout_s: float) -> Json:
        """Ask and return the answer."""
        ...

    def close(self, reason: str) -> None:
        """End the link."""
        ...


@dataclass(slots=True)
class AgentSession:
    """A registered agent. `since_us` is a label, `heard_at` an instant of the coordinator's clock.

    `answered_at`: when it was last answered, before it made what it says next.
    `is_silent`: it left a question unanswered, and nothing was heard of it since. Nobody waits for it again.
    """

    center: str
    session: str
    line: Line
    software: str
    address: str
    since_us: int
    heard_at: float
    is_silent: bool = False
    answered_at: float = 0.0

    def made_at(self, since_answer_s: float, now: float) -> float:
        """When at the earliest it made what is heard now, by its word of how long after our last answer.

        It counted from when the answer came, which was later than we gave it: so this is never too late.
        """
        return min(now, self.answered_at + since_answer_s * (1 - DRIFT))

    def heard(self, now: float) -> None:
        """It said something."""
        self.heard_at, self.is_silent = now, False


@dataclass(frozen=True, slots=True)
class Word:
    """A member's statement and when it was heard."""

    statement: Statement
    heard_at: float


@dataclass(frozen=True, slots=True)
class Silences:
    """Whom an agent had not heard for how long when it last said so, and for how long it was bound by group.

    Attributes:
        silent_s: by center.
        bound_s: by group id: a confirmation to an owner that goes on without the store.
        heard_at: when it was heard.
    """

    silent_s: Mapping[str, float]
    bound_s: Mapping[str, float]
    heard_at: float


@dataclass(frozen=True, slots=True)
class OwnerWord:
    """An owner's report, who gave it, when it was heard, and when at the earliest it was made."""

    center: str
    report: OwnerReport
    heard_at: float
    made_at: float


class SessionTable:
    """All agents. Implements `engine.procedure_world.Members`."""

    def __init__(self) -> None:
        self._agents: dict[str, AgentSession] = {}
        self._gone_us: dict[str, int] = {}
        self._words: dict[tuple[str, str], Word] = {}
        self._reports: dict[str, OwnerWord] = {}
        self._beats: dict[tuple[str, str], Beat] = {}
        self._silences: dict[str, Silences] = {}

    # --- connections

    def enter(self, agent: AgentSession) -> None:
        """An agent registered; an older link of the same center is closed."""
        before = self._agents.get(agent.center)
        self._agents[agent.center] = agent
        if before is not None and before.line is not agent.line:
            before.line.close("the center registered again")

    def leave(self, center: str, line: Line, at_us: int) -> bool:
        """A link ended; whether that disconnects the center."""
        agent = self._agents.get(center)
        if agent is None or agent.line is not line:
            return False
        del self._agents[center]
        self._gone_us[center] = at_us
        return True

    def agent(self, center: str) -> AgentSession | None:
        """The agent of a center, if it is connected."""
        agent = self._agents.get(center)
        return agent if agent is not None and agent.line.is_open else None

    def gone_us(self, center: str) -> int:
        """Label of when the center was lost; 0 when it was never connected."""
        return self._gone_us.get(center, 0)

    def is_connected(self, center: str) -> bool:
        """See Members. A link that is open in name only does not count."""
        agent = self.agent(center)
        return agent is not None and not agent.is_silent

    async def call(self, center: str, method: str, body: Json, timeout_s: float) -> Json:
        """See Members."""
        agent = self.agent(center)
        if agent is None:
            raise TransientError(f"{center} is not connected", remedy=f"Start the agent of {center}.")
        try:
            answer = await agent.line.call(method, body, timeout_s)
        except TransientError as error:
            agent.is_silent = agent.is_silent or error.code == TIMEOUT
            raise
        agent.is_silent = False
        return answer

    def agents(self) -> Iterator[AgentSession]:
        """All connected agents."""
        return iter([agent for agent in self._agents.values() if agent.line.is_open])

    # --- words

    def hear(self, group_id: str, statement: Statement, now: float) -> None:
        """A member said where it stands."""
        self._words[group_id, statement.center] = Word(statement, now)

    def hear_report(
        self, group_id: str, center: str, report: OwnerReport, now: float, made_at: float | None = None
    ) -> None:
        """An owner reported what was so at `made_at`. The word of a higher epoch is not displaced."""
        known = self._reports.get(group_id)
        if known is None or known.center == center or known.report.epoch <= report.epoch:
            self._reports[group_id] = OwnerWord(center, report, now, now if made_at is None else made_at)

    def hear_beat(self, group_id: str, center: str, beat: Beat) -> None:
        """A member told the newest heartbeat record that its copy could show."""
        self._beats[group_id, center] = beat

    def hear_silences(self, center: str, silences: Silences) -> None:
        """An agent told whom it does not hear."""
        self._silences[center] = silences

    def silences(self, center: str) -> Silences | None:
        """What an agent last told of that."""
        return self._silences.get(center)

    def beat(self, group_id: str, center: str) -> Beat:
        """What a member last told of that; `NO_BEAT` when nothing."""
        return self._beats.get((group_id, center), NO_BEAT)

    def word(self, group_id: str, center: str) -> Word | None:
        """What a member last said."""
        return self._words.get((group_id, center))

    def report(self, group_id: str) -> OwnerWord | None:
        """What an owner of the group last reported."""
        return self._reports.get(group_id)
