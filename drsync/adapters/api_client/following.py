"""Follows an operation of the coordinator to its end; it is the coordinator's, and goes on without us."""

import asyncio
from collections.abc import Callable

from drsync.adapters.api_client.client import ApiClient, quote
from drsync.adapters.api_client.doc import Doc
from drsync.adapters.api_client.failures import FAILED, REFUSED, error_for
from drsync.model.errors import DrsyncError, TransientError
from drsync.model.operation import OperationState

POLL_S = 10.0  # because a proxy may cut a request that is silent for longer
PATIENCE_S = 60.0  # because a coordinator that is restarted takes its operations up again within seconds
RETRY_S = 0.5


async def follow(
    client: ApiClient,
    identity: str,
    on_step: Callable[[Doc], None],
    on_waiting: Callable[[str], None] = lambda _: None,
    on_answer: Callable[[Doc], None] = lambda _: None,
) -> Doc:
    """The ended operation, whatever its outcome.

    Args:
        client: open connection to the coordinator.
        identity: of the operation.
        on_step: called with each step as it ends.
        on_answer: called with the operation as it stands, before its new steps.
        on_waiting: called with the reason while the coordinator is not reached, and with "" when it is again.

    Raises:
        TransientError: the coordinator was not reached for `PATIENCE_S`.
    """
    seen = 0
    while True:
        operation = await _patiently(client, identity, seen, on_waiting)
        on_answer(operation)
        for step in operation.docs("steps"):
            if step.whole("n") > seen:
                on_step(step)
                seen = step.whole("n")
        if operation.text("state") != OperationState.RUNNING:
            return operation


async def _patiently(client: ApiClient, identity: str, seen: int, on_waiting: Callable[[str], None]) -> Doc:
    loop = asyncio.get_running_loop()
    give_up = loop.time() + PATIENCE_S
    while True:
        try:
            operation = await client.get(f"/v1/operations/{quote(identity)}", {"after": seen}, wait_s=POLL_S)
        except TransientError as error:
            if loop.time() > give_up:
                raise
            on_waiting(f"the coordinator is not reached ({error}); asking again …")
            await asyncio.sleep(RETRY_S)
        else:
            on_waiting("")
            return operation


def failure(operation: Doc) -> DrsyncError | None:
    """The error that an ended operation stands for, if it did not end well."""
    state = operation.text("state", OperationState.DONE)
    if state == OperationState.DONE:
        return None
    error = operation.doc("error")
    usual = REFUSED if state == OperationState.REFUSED else FAILED
    message = error.text("message", f"the operation ended as {state}")
    return error_for(error.whole("exit", usual), message, error.text("code", state), error.text("remedy"))
