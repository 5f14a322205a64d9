"""The coordinator's requests about recovery points that people open, about pins and about forks."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from drsync.agent.opening_desk import OpeningDesk, Order
from drsync.agent.self_drills import SelfDrills
from drsync.core.points import Wanted
from drsync.engine.member import Member
from drsync.engine.pins import pins_of
from drsync.model.errors import MalformedError
from drsync.model.opening import LIFETIME_MAX_S, LIFETIME_S, NAME_MAX
from drsync.ports.transport import Call

Json = dict[str, object]
Handler = Callable[[Json], Awaitable[Json]]
Name = Annotated[str, Field(max_length=255)]
OPENING_NAME = r"[A-Za-z0-9][A-Za-z0-9._:-]*"
PROOFS_TOLD = 256  # because an answer has a limit of 256 KiB, and one takes some 400 bytes
SIZE_MAX = 1 << 62  # because sizes travel as signed 64-bit numbers


class Form(BaseModel):
    """Base: a newer coordinator may say more."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    group: Name


class OpenForm(Form):
    """``opening.open``."""

    id: Annotated[str, Field(pattern=r"^open-[0-9a-f]{10}$")]
    point: Name = ""
    time_us: Annotated[int, Field(ge=0, lt=1 << 63)] | None = None
    name: Annotated[str, Field(pattern=rf"^({OPENING_NAME})?$", max_length=NAME_MAX)] = ""
    quota_bytes: Annotated[int, Field(ge=0, le=SIZE_MAX)] = 0
    lifetime_s: Annotated[float, Field(gt=0, le=LIFETIME_MAX_S)] = LIFETIME_S
    fork: Name = ""


class CloseForm(Form):
    """``opening.close``. `text`: who closed it, and why."""

    name: Name
    text: Annotated[str, Field(max_length=4000)] = ""


class ForkForm(Form):
    """``fork.discard``."""

    name: Name


F = TypeVar("F", bound=Form)


class PointRequests:
    """Handlers for the coordinator; `member` raises UsageError for a group that is not here."""

    def __init__(
        self, member: Callable[[str], Member], desk: OpeningDesk, drills: SelfDrills | None = None
    ) -> None:
        self._member = member
        self._desk = desk
        self._drills = drills

    def for_coordinator(self) -> Mapping[str, Call]:
        """What the coordinator may ask."""
        handlers: dict[str, Handler] = {
            "opening.open": self._open,
            "opening.close": self._close,
            "group.pins": self._pins,
            "point.proofs": self._proofs,
            "fork.list": self._forks,
            "fork.discard": self._discard,
        }
        return {method: answered(handler) for method, handler in handlers.items()}

    async def _open(self, body: Json) -> Json:
        form = read_form(OpenForm, body)
        wanted = Wanted(form.point, form.time_us)
        order = Order(form.id, wanted, form.name, form.quota_bytes, form.lifetime_s, form.fork)
        return await self._desk.open(self._member(form.group), order)

    async def _close(self, body: Json) -> Json:
        form = read_form(CloseForm, body)
        return await self._desk.close(self._member(form.group), form.name, form.text)

    async def _pins(self, body: Json) -> Json:
        member = self._member(read_form(Form, body).group)
        found = []
        for pin in pins_of(member):
            opening = self._desk.find(pin.view)
            more: Json = {} if opening is None else {"name": opening.name, "until_us": opening.until_us}
            found.append({**pin.fields(), **more})
        return {"pins": found}

    async def _proofs(self, body: Json) -> Json:
        member = self._member(read_form(Form, body).group)
        known = self._drills.proofs(member) if self._drills is not None else []
        return {"proofs": [proof.fields() for proof in known[-PROOFS_TOLD:]]}

    async def _forks(self, body: Json) -> Json:
        return await self._desk.forks(self._member(read_form(Form, body).group))

    async def _discard(self, body: Json) -> Json:
        form = read_form(ForkForm, body)
        return await self._desk.discard(self._member(form.group), form.name)


def answered(handler: Handler) -> Call:
    """`handler` as the transport calls it."""

    async def answer(method: str, body: Json) -> Json:
        del method
        return await handler(body)

    return answer


def read_form(form: type[F], body: Json) -> F:
    """`body` as a form. Raises MalformedError: names the fields that are wrong."""
    try:
        return form.model_validate(body)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}"
            for one in error.errors(include_url=False, include_input=False)
        )
        raise MalformedError(wrong) from error
