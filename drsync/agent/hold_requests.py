"""The coordinator's requests about checkpoints on hold at this center's copies (`engine.holds`)."""

from collections.abc import Callable, Mapping
from typing import Annotated

from pydantic import Field

from drsync.agent.point_requests import Form, Json, Name, answered, read_form
from drsync.core.points import Reach, Wanted, choose
from drsync.engine.member import Member
from drsync.model.errors import RefusedError
from drsync.model.hold import ACTOR_MAX, NAME, NAME_MAX, REASON_MAX, Hold
from drsync.ports.clock import Clock
from drsync.ports.transport import Call


class AddForm(Form):
    """``hold.add``: keep the point that is meant by `point` (`time_us` if it is a time) as `name`."""

    name: Annotated[str, Field(pattern=NAME, max_length=NAME_MAX)]
    point: Name = ""
    time_us: Annotated[int, Field(ge=0, lt=1 << 63)] | None = None
    reason: Annotated[str, Field(max_length=REASON_MAX)] = ""
    actor: Annotated[str, Field(max_length=ACTOR_MAX)] = ""


class ReleaseForm(Form):
    """``hold.release``."""

    name: Name


class HoldRequests:
    """Handlers for the coordinator; `member` raises UsageError for a group that is not here."""

    def __init__(self, member: Callable[[str], Member], clock: Clock) -> None:
        self._member = member
        self._clock = clock

    def for_coordinator(self) -> Mapping[str, Call]:
        """What the coordinator may ask."""
        handlers = {"hold.list": self._list, "hold.add": self._add, "hold.release": self._release}
        return {method: answered(handler) for method, handler in handlers.items()}

    async def _list(self, body: Json) -> Json:
        copy = self._member(read_form(Form, body).group).copy
        journal = copy.journal
        return {
            "holds": [
                {**hold.fields(), "bytes": journal.held_bytes_after(hold.seq)} for hold in copy.durable.holds
            ]
        }

    async def _add(self, body: Json) -> Json:
        form = read_form(AddForm, body)
        member = self._member(form.group)
        copy = member.copy
        if member.is_owner:
            raise RefusedError(
                f"{copy.me.center} owns {copy.spec.name}: a hold there would fill its memory and stop writes",
                code="hold_at_owner",
                remedy="Put it on hold at a replica: --at CENTER; drsync points lists who has it.",
            )
        reach = Reach(
            copy.me.center, copy.points(), copy.volumes.reached, min(copy.commit, copy.journal.durable_seq)
        )
        wanted = Wanted(form.point, form.time_us)
        at = choose(wanted, reach, lambda seq: copy.journal.batch_end_at_or_below(seq).seq).at
        if at is None:
            raise RefusedError(
                f"{copy.me.center}: there is no checkpoint at {form.point or 'the newest record'}",
                code="no_such_point",
                remedy="drsync points lists them; drsync checkpoint makes one.",
            )
        hold = Hold(
            form.name,
            at.seq,
            at.time_us,
            at.name,
            at.is_app_consistent,
            form.reason,
            form.actor,
            self._clock.wall_us(),
        )
        return {"hold": (await copy.holds.add(hold)).fields()}

    async def _release(self, body: Json) -> Json:
        form = read_form(ReleaseForm, body)
        hold = await self._member(form.group).copy.holds.release(form.name)
        return {"hold": hold.fields()}


def lost(member: Member) -> Json:
    """For the heartbeat of a group: what had to be given up; nothing at all while there is nothing."""
    gone = member.copy.holds.lost
    return {"holds_lost": [{"id": one.id, "text": one.text} for one in gone]} if gone else {}
