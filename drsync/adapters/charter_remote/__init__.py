"""The charter store as an agent sees it: through its control link to the coordinator."""

from collections.abc import Awaitable, Callable

from drsync.model.charter import Charter
from drsync.model.errors import DrsyncError, TransientError
from drsync.ports.charter_store import CasOutcome, CasResult
from drsync.wire import control

READ_TIMEOUT_S = 3.0  # because a store that does not answer in this time counts as unreachable
CAS_TIMEOUT_S = 3.0

Ask = Callable[[str, dict[str, object], float], Awaitable[dict[str, object]]]
"""Asks the coordinator: method, body, timeout in seconds. Raises TransientError without a link."""


class RemoteCharterStore:
    """Implements `ports.charter_store.CharterStore`."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def read(self, group_id: str) -> Charter | None:
        """See CharterStore."""
        answer = await self._ask("charter.read", {"group": group_id}, READ_TIMEOUT_S)
        return _charter(answer.get("charter"))

    async def compare_and_set(self, expected_version: int, charter: Charter) -> CasResult:
        """See CharterStore: anything but a clear answer is UNKNOWN."""
        body: dict[str, object] = {"expected": expected_version, "charter": control.to_json(charter)}
        try:
            answer = await self._ask("charter.cas", body, CAS_TIMEOUT_S)
            outcome = CasOutcome(str(answer.get("outcome")))
            return CasResult(outcome, _charter(answer.get("current")), str(answer.get("reason", "")))
        except TransientError as error:
            return CasResult(CasOutcome.UNKNOWN, None, str(error))
        except (DrsyncError, ValueError) as error:
            return CasResult(CasOutcome.UNKNOWN, None, f"unclear answer: {error}")


def _charter(body: object) -> Charter | None:
    return None if body is None else control.from_json(Charter, body)
