"""One question to all members of a group; who does not answer says why in its place."""

from drsync.coordinator.sessions import SessionTable
from drsync.model.charter import Charter
from drsync.model.errors import DrsyncError

Json = dict[str, object]

TIMEOUT_S = 5.0  # because the answers are in the agents' memory, or a few reads away


async def ask_everywhere(sessions: SessionTable, charter: Charter, method: str, key: str) -> dict[str, Json]:
    """Answers by center: ``{key: [...]}``, with ``error`` when it could not be asked."""
    found: dict[str, Json] = {}
    for member in charter.group.members:
        body: Json = {"group": charter.group.id}
        try:
            answer = await sessions.call(member.name, method, body, TIMEOUT_S)
            found[member.name] = {key: listed(answer, key)}
        except DrsyncError as error:
            found[member.name] = {key: [], "error": str(error)}
    return found


def listed(answer: Json, key: str) -> list[Json]:
    """The objects in a list of an answer."""
    listed = answer.get(key)
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
