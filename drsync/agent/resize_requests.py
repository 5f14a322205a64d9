"""The coordinator's question before and after a volume grows: what this center says to it (decision 26)."""

from collections.abc import Callable, Mapping
from typing import Annotated

from pydantic import Field, ValidationError

from drsync.agent.point_requests import Form
from drsync.core.resize import Why
from drsync.engine.member import Member
from drsync.engine.threads import in_thread
from drsync.model.copy import CopyState
from drsync.model.errors import MalformedError, UsageError
from drsync.ports.transport import Call

Json = dict[str, object]


class ExamineForm(Form):
    """``volume.examine``. `volume`: its index in the group."""

    volume: Annotated[int, Field(ge=0, le=0xFFFF)]


class ResizeRequests:
    """Handlers; `member` raises UsageError for a group that is not here, and FailedCopyError."""

    def __init__(self, member: Callable[[str], Member]) -> None:
        self._member = member

    def for_coordinator(self) -> Mapping[str, Call]:
        """What the coordinator may ask."""
        return {"volume.examine": self._examine}

    async def _examine(self, method: str, body: Json) -> Json:
        """How large a volume is at the end of this log, since which record, and what stands in the way.

        Changes nothing. Raises UsageError: there is no volume of that index; MalformedError.
        """
        del method
        try:
            form = ExamineForm.model_validate(body)
        except ValidationError as error:
            raise MalformedError(f"volume.examine: {error.errors(include_url=False)[0]['msg']}") from error
        member, index = self._member(form.group), form.volume
        copy, term = member.copy, member.term
        if index not in copy.sizes.first:
            raise UsageError(f"{copy.spec.name} has no volume {index} here", code="unknown_volume")
        free = await in_thread(copy.files.free_bytes)
        record = max((one.seq for one in copy.sizes.resizes if one.volume == index), default=0)
        commit = copy.commit if term is None else max(copy.commit, term.engine.log.commit)
        answer: Json = {
            "size": copy.sizes.newest[index],
            "record": record,
            "committed": record <= commit,
            "resizes": len(copy.sizes.resizes),
            "free": free,
        }
        if copy.state is CopyState.FAILED:
            answer |= {"why": Why.BROKEN.value, "text": copy.failure}
        elif member.resyncs.words:
            answer |= {"why": Why.RESYNCING.value, "text": f"it is brought level: {member.resyncs.words}"}
        return answer
