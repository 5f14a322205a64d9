"""INV-07: the charter store is one register, whoever asks it and however the asking ends.

Remembers what agents and the coordinator's procedures asked of their `CharterStore` and what they were told.
Whether all of it fits one order is for `sim.linear`.
"""

from collections.abc import Awaitable, Hashable
from typing import TYPE_CHECKING

from drsync.agent.agent import Agent
from drsync.coordinator.office import Office
from drsync.model.charter import Charter
from drsync.ports.charter_store import CasOutcome, CasResult
from drsync.sim.linear import EMPTY, Call, Result, State, TooLargeError, contradiction
from drsync.sim.process import Process
from drsync.wire import control

if TYPE_CHECKING:
    from drsync.sim.timeline import Timeline

Json = dict[str, object]
CALLS_MAX = 3000  # because a register that is asked more often is not remembered whole

OUTCOMES = {CasOutcome.DONE: Result.DONE, CasOutcome.LOST: Result.LOST, CasOutcome.UNKNOWN: Result.UNKNOWN}


class Register:
    """What was asked of the charter of one group.

    Attributes:
        calls: oldest first.
        undecided: why a history could not be checked; empty when all were.
    """

    def __init__(self, timeline: "Timeline") -> None:
        self.calls: list[Call] = []
        self.undecided = ""
        self._wrong: Call | None = None
        self._timeline = timeline
        self._start = EMPTY
        self._since = -1.0  # when this store was begun; what was asked before may be told of another
        self._of_agents: set[tuple[int, Hashable]] = set()

    # --- who asks

    def attend_agent(self, process: Process, agent: Agent) -> None:
        """Listen to what an agent asks the coordinator."""
        ask = agent.headquarters.ask

        async def asking(method: str, body: Json, timeout_s: float) -> Json:
            if method == "charter.cas":
                return await self._agent_changes(process.name, ask(method, body, timeout_s), body)
            return await ask(method, body, timeout_s)

        vars(agent.headquarters).update(ask=asking)

    async def _agent_changes(self, caller: str, asking: Awaitable[Json], body: Json) -> Json:
        wanted = control.from_json(Charter, body["charter"])
        call = self.asked(caller, wanted)
        self._of_agents.add((wanted.version, value_of(wanted)))
        answer = await asking  # an error leaves the outcome unknown
        current = answer.get("current")
        outcome = CasOutcome(str(answer.get("outcome")))
        self.answered(
            call, CasResult(outcome, control.from_json(Charter, current) if current is not None else None)
        )
        return answer

    def attend_office(self, process: Process, office: Office) -> None:
        """Listen to what procedures ask the store beside them; what agents ask comes by the same way."""
        store = office.store
        change, read, begin = store.compare_and_set, store.read, store.begin_generation

        async def changing(expected_version: int, charter: Charter) -> CasResult:
            if (charter.version, value_of(charter)) in self._of_agents:
                return await change(expected_version, charter)
            call = self.asked(process.name, charter)
            result = await change(expected_version, charter)
            self.answered(call, result)
            return result

        async def reading(group_id: str) -> Charter | None:
            asked = self._timeline.now
            charter = await read(group_id)
            version, value = state_of(charter)
            now = self._timeline.now
            self._keep(Call(process.name, asked, Result.READ, now, version=version, value=value))
            return charter

        async def beginning(expected: Charter | None, charter: Charter) -> CasResult:
            call = self.asked(process.name, charter)
            call.expected = expected.version if expected is not None else 0
            result = await begin(expected, charter)
            self.answered(call, result)
            return result

        vars(store).update(compare_and_set=changing, read=reading, begin_generation=beginning)

    # --- what is remembered

    def asked(self, caller: str, wanted: Charter) -> Call:
        """Somebody wants to change the charter."""
        call = Call(
            caller,
            self._timeline.now,
            expected=wanted.version - 1,
            version=wanted.version,
            value=value_of(wanted),
        )
        self._keep(call)
        return call

    def answered(self, call: Call, result: CasResult) -> None:
        """And was told this. An answer that was under way when the store was changed says nothing of it."""
        if call.asked <= self._since:
            return
        call.result = OUTCOMES[result.outcome]
        if call.result is not Result.UNKNOWN:
            call.answered = self._timeline.now
        if call.result is Result.LOST and result.current is not None:
            call.seen = state_of(result.current)

    def _keep(self, call: Call) -> None:
        if len(self.calls) < CALLS_MAX:
            self.calls.append(call)
        else:
            self.undecided = f"the charter was asked for more than {CALLS_MAX} times"

    # --- questions

    def contradiction(self) -> Call | None:
        """A call that fits no order of all; None if all fit, or if that cannot be told (`undecided`)."""
        if self._wrong is not None or self.undecided:
            return self._wrong
        try:
            return contradiction(self.calls, self._start)
        except TooLargeError as error:
            self.undecided = f"the charter's history has too many orders: {error}"
            return None

    def forget(self, charter: Charter | None) -> None:
        """The store was taken away or put back to what it was: it begins anew with this charter."""
        self._wrong = self.contradiction()
        self._start, self._since = state_of(charter), self._timeline.now
        self.calls = [call for call in self.calls if call.result is Result.UNKNOWN]


def value_of(charter: Charter) -> Hashable:
    """What tells one charter from another of the same version."""
    intent = charter.intent.id if charter.intent is not None else ""
    in_sync = tuple(sorted(charter.in_sync))
    starts = len(charter.history)
    return charter.generation, charter.epoch, charter.owner, charter.owner_session, in_sync, starts, intent


def state_of(charter: Charter | None) -> State:
    """The register that holds it."""
    return EMPTY if charter is None else (charter.version, value_of(charter))
