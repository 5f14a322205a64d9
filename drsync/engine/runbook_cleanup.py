"""The proof that a drill left nothing at a center: its agent removes by name and asks the kernel."""

from drsync.engine.procedure_steps import StepLog
from drsync.engine.procedure_world import Json, ProcedureWorld
from drsync.engine.runbook_performer import REMOVE_TIMEOUT_S, cleaned
from drsync.model.drill import Cleanup
from drsync.model.errors import DrsyncError
from drsync.ports.runs import Place, Runs


async def prove_clean(world: ProcedureWorld, runs: Runs, place: Place, log: StepLog) -> Cleanup:
    """Remove what is left there; proved only by the agent's word that the kernel knows nothing of it."""
    body: Json = {"scope": place.scope}
    try:
        with log.step("inventory.clean", place.center) as note:
            answer = await world.members.call(place.center, "inventory.clean", body, REMOVE_TIMEOUT_S)
            note.detail = cleaned(answer)
            if answer.get("left"):
                note.fail(note.detail)
                return Cleanup(place.center, place.scope, is_proved=False, detail=note.detail)
    except DrsyncError as error:
        return Cleanup(place.center, place.scope, is_proved=False, detail=str(error))
    runs.settle(place)
    return Cleanup(place.center, place.scope, is_proved=True, detail=note.detail)
