"""Places where a drill's runbook left something, cleaned as soon as their center is there."""

from dataclasses import replace

from drsync.adapters.sqlite.evidence import SqliteEvidence
from drsync.adapters.sqlite.runs import SqliteRuns
from drsync.coordinator.journal import Journal
from drsync.coordinator.operations import Operations
from drsync.coordinator.sessions import SessionTable
from drsync.engine.procedure_steps import StepLog
from drsync.engine.procedure_world import ProcedureWorld
from drsync.engine.runbook_cleanup import prove_clean
from drsync.model.drill import Cleanup
from drsync.model.operation import Step
from drsync.ports.runs import Place

AGAIN_S = 10.0  # because what could not be removed now will seldom go within seconds


class LeftPlaces:
    """What nobody has proved to be clean, of runs that are over."""

    def __init__(
        self,
        world: ProcedureWorld,
        runs: SqliteRuns,
        sessions: SessionTable,
        evidence: SqliteEvidence,
        operations: Operations,
        journal: Journal,
    ) -> None:
        self._world = world
        self._runs = runs
        self._sessions = sessions
        self._evidence = evidence
        self._operations = operations
        self._journal = journal
        self._not_before: dict[Place, float] = {}

    async def clean(self) -> None:
        """Ask each center that is there, once in a while."""
        now = self._world.clock.now()
        for place in self._runs.owed():
            is_busy = self._operations.is_drilling(place.run) or self._operations.is_postponed(place.run)
            if is_busy or now < self._not_before.get(place, 0.0):
                continue
            if not self._sessions.is_connected(place.center):
                continue
            self._not_before[place] = now + AGAIN_S
            found = await prove_clean(self._world, self._runs, place, StepLog(self._world.clock, _nobody))
            if found.is_proved:
                self._tell(place, found)

    def _tell(self, place: Place, found: Cleanup) -> None:
        """Write the late proof into the drill's report. The verdict stays: it was not clean when it ended."""
        text = f"{place.scope} at {place.center}: {found.detail}"
        self._journal.event("place_cleaned", text, center=place.center)
        report = self._evidence.drill(place.run)
        if report is None:
            return
        late = replace(found, detail=f"{found.detail}, after the drill had ended")
        rest = tuple(c for c in report.cleanup if (c.center, c.view) != (place.center, place.scope))
        self._evidence.keep_drill(replace(report, cleanup=(*rest, late)))


def _nobody(_step: Step) -> None:
    """Nobody counts these steps."""
