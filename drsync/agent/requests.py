"""The requests an agent answers: who may ask what, and what is read from their bodies.

The coordinator may change a group; another center may only ask what an owner or a candidate needs.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from drsync.core.sizes import RESIZES_MAX, Resize
from drsync.engine.member import Member
from drsync.engine.resync_ask import Mode
from drsync.engine.resync_target import Asked
from drsync.model.charter import Charter
from drsync.model.copy import Statement
from drsync.model.epoch import EPOCH_MAX, Epoch
from drsync.model.errors import MalformedError, RefusedError, UsageError
from drsync.ports.transport import Call
from drsync.wire import control

Json = dict[str, object]
Handler = Callable[[Json], Awaitable[Json]]


class Groups(Protocol):
    """The members of this agent."""

    def member(self, group_id: str) -> Member:
        """The member of a group. Raises UsageError when there is none, FailedCopyError when it is broken."""
        ...

    def statement(self, group_id: str) -> Statement:
        """What is said of a copy, also of a broken one.

        Raises:
            UsageError: there is none.
            TransientError: it becomes the log of a source just now: nobody can say where it stands.
        """
        ...

    def remembered(self, group_id: str) -> tuple[Charter, float]:
        """The newest charter seen here, also with a broken copy, and for how long a confirmation binds it.

        Raises:
            UsageError: there is no copy here.
        """
        ...

    async def adopt(self, charter: Charter) -> Member:
        """The member, created when this center has no copy yet."""
        ...


class ViewDesk(Protocol):
    """Opens and closes isolated views."""

    async def checkpoint(self, member: Member, name: str, view_id: str | None, center: str) -> Json:
        """Write a named checkpoint; with `view_id` keep a view of it, for a drill at `center`."""
        ...

    async def open_view(self, member: Member, view_id: str, seq: int | None) -> Json:
        """Serve a recovery point; the newest when `seq` is None."""
        ...

    async def hash_view(self, member: Member, view_id: str) -> Json:
        """Content hashes of a view."""
        ...

    async def probe_view(self, member: Member, view_id: str) -> Json:
        """Read the served view through its socket, as an application would."""
        ...

    async def close_view(self, member: Member, view_id: str) -> Json:
        """Give a view up; what was removed."""
        ...


class Requests:
    """Handlers for the coordinator and for peers."""

    def __init__(self, groups: Groups, views: ViewDesk) -> None:
        self._groups = groups
        self._views = views

    def for_coordinator(self) -> Mapping[str, Call]:
        """What the coordinator may ask."""
        return _calls(
            {
                "group.adopt": self._adopt,
                "group.remembered": self._remembered,
                "group.statement": self._statement,
                "group.seal": self._seal,
                "group.freeze": self._freeze,
                "group.release": self._release,
                "group.prepare": self._prepare,
                "group.open": self._open,
                "group.checkpoint": self._checkpoint,
                "group.points": self._points,
                "files.approve": self._approve,
                "view.open": self._view_open,
                "view.hash": self._view_hash,
                "view.probe": self._view_probe,
                "view.close": self._view_close,
            }
        )

    def for_peer(self, peer: str) -> Mapping[str, Call]:
        """What the center `peer` may ask."""
        return _calls(
            {
                "group.statement": self._statement,
                "group.attach": lambda body: self._attach(peer, body),
                "group.follow": lambda body: self._follow(peer, body),
                "group.resync": lambda body: self._resync(peer, body),
                "group.confirm": lambda body: self._confirm(peer, body),
                "group.absolve": lambda body: self._absolve(peer, body),
            }
        )

    # --- the coordinator

    async def _adopt(self, body: Json) -> Json:
        member = await self._groups.adopt(_charter(body))
        return _stated(member)

    async def _statement(self, body: Json) -> Json:
        return {"statement": control.to_json(self._groups.statement(_text(body, "group")))}

    async def _remembered(self, body: Json) -> Json:
        """For a new store generation: the newest charter seen here, and whether a confirmation binds us."""
        charter, bound_s = self._groups.remembered(_text(body, "group"))
        return {
            "statement": control.to_json(self._groups.statement(charter.group.id)),
            "charter": control.to_json(charter),
            "bound_s": bound_s,
        }

    async def _seal(self, body: Json) -> Json:
        member = self._member(body)
        await member.seal(_epoch(body))
        return _stated(member)

    async def _freeze(self, body: Json) -> Json:
        member = self._member(body)
        if "target" in body and not member.trees.is_empty and member.term is not None:
            # Before any write is held: an application waits for its volume, never for files on their way.
            await member.trees.settle(_text(body, "target"), FREEZE_SETTLE_S)
        member.freeze(_epoch(body))
        return _stated(member)

    async def _approve(self, body: Json) -> Json:
        member = self._member(body)
        await member.trees.approve(_text(body, "fileset"))
        return _stated(member)

    async def _release(self, body: Json) -> Json:
        member = self._member(body)
        await member.release(_epoch(body))
        return _stated(member)

    async def _prepare(self, body: Json) -> Json:
        member = self._member(body)
        donors = body.get("donors")
        if not isinstance(donors, list):
            raise MalformedError("donors: a list was expected")
        history = control.history_from_json(body.get("history"))
        await member.prepare(_epoch(body), history, tuple(str(donor) for donor in donors))
        return _stated(member)

    async def _open(self, body: Json) -> Json:
        charter = _charter(body)
        member = self._groups.member(charter.group.id)
        await member.open(charter)
        return _stated(member)

    async def _checkpoint(self, body: Json) -> Json:
        view_id = _text(body, "view") if body.get("hold") is True else None
        center = _text(body, "for") if "for" in body else ""
        return await self._views.checkpoint(self._member(body), _text(body, "name"), view_id, center)

    async def _points(self, body: Json) -> Json:
        copy = self._member(body).copy
        points, held = copy.points(), {hold.seq for hold in copy.durable.holds}
        shown = [*(p for p in points[:-POINTS_MAX] if p.seq in held), *points[-POINTS_MAX:]]
        return {
            "points": [
                {"seq": p.seq, "time_us": p.time_us, "name": p.name, "app": p.is_app_consistent}
                | ({} if p.ratio is None else {"ratio": p.ratio})
                | ({"held": True} if p.seq in held else {})
                for p in shown
            ]
        }

    async def _view_open(self, body: Json) -> Json:
        seq = _whole(body, "seq") if body.get("seq") is not None else None
        return await self._views.open_view(self._member(body), _text(body, "id"), seq)

    async def _view_hash(self, body: Json) -> Json:
        return await self._views.hash_view(self._member(body), _text(body, "id"))

    async def _view_probe(self, body: Json) -> Json:
        return await self._views.probe_view(self._member(body), _text(body, "id"))

    async def _view_close(self, body: Json) -> Json:
        return await self._views.close_view(self._member(body), _text(body, "id"))

    # --- other centers

    async def _attach(self, peer: str, body: Json) -> Json:
        charter = _charter(body)
        if charter.owner != peer:
            raise RefusedError(f"{peer} is not the owner in the charter it shows", code="not_owner")
        member = await self._groups.adopt(charter)
        return await member.attach(peer, charter)

    async def _follow(self, peer: str, body: Json) -> Json:
        member = self._owned_by(peer, body)
        raw = _chain(body)
        fork = _text(body, "fork")
        if fork and not all(c.isalnum() or c in "-." for c in fork):
            raise MalformedError("fork: letters, digits, '-' and '.' only")
        await member.follow(_epoch(body), _whole(body, "version"), _whole(body, "after_seq"), raw, fork)
        return _stated(member)

    async def _resync(self, peer: str, body: Json) -> Json:
        member = self._owned_by(peer, body)
        mode = _text(body, "mode")
        if mode not in set(Mode):
            raise MalformedError(f"mode: one of {', '.join(Mode)} was expected")
        asked = Asked(
            peer,
            _epoch(body),
            _whole(body, "version"),
            _text(body, "session"),
            _whole(body, "generation"),
            Mode(mode),
            _whole(body, "fork"),
            _chain(body),
            _resizes(body),
        )
        return (await member.resync(asked)).to_json()

    async def _confirm(self, peer: str, body: Json) -> Json:
        seconds = body.get("seconds")
        if not isinstance(seconds, int | float) or not seconds > 0:
            raise MalformedError("seconds: a positive number was expected")
        return {"confirmed": await self._member(body).confirm(peer, _epoch(body), float(seconds))}

    async def _absolve(self, peer: str, body: Json) -> Json:
        member = self._owned_by(peer, body)
        await member.absolve(_epoch(body))
        return _stated(member)

    # --- bodies

    def _member(self, body: Json) -> Member:
        return self._groups.member(_text(body, "group"))

    def _owned_by(self, peer: str, body: Json) -> Member:
        member = self._member(body)
        if member.charter is None or member.charter.owner != peer:
            raise RefusedError(
                f"{peer} does not own {member.copy.spec.name} as far as is known here", code="not_owner"
            )
        return member


FREEZE_SETTLE_S = 2.0  # because the coordinator waits 3 s for the answer, and asks again
POINTS_MAX = 2000  # because an answer has a limit of 256 KiB and a point takes about 100 bytes


def _calls(handlers: Mapping[str, Handler]) -> Mapping[str, Call]:
    def call(handler: Handler) -> Call:
        async def answer(method: str, body: Json) -> Json:
            del method
            return await handler(body)

        return answer

    return {method: call(handler) for method, handler in handlers.items()}


def _stated(member: Member) -> Json:
    member.copy.require_settled()
    return {"statement": control.to_json(member.statement())}


def _text(body: Json, key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str) or len(value) > TEXT_MAX:
        raise MalformedError(f"{key}: a text of at most {TEXT_MAX} characters was expected")
    return value


TEXT_MAX = 255  # because ids, names and chains are shorter


def _whole(body: Json, key: str) -> int:
    value = body.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= EPOCH_MAX:
        raise MalformedError(f"{key}: a whole number from 0 was expected")
    return value


def _chain(body: Json) -> bytes:
    try:
        return bytes.fromhex(_text(body, "chain"))
    except ValueError as error:
        raise MalformedError(f"chain: {error}") from error


def _resizes(body: Json) -> tuple[Resize, ...]:
    """RESIZE records as lists of volume, record and size; none of an owner that knows of none."""
    listed = body.get("resizes", [])
    if not isinstance(listed, list) or len(listed) > RESIZES_MAX:
        raise MalformedError(f"resizes: a list of at most {RESIZES_MAX} was expected")
    found = []
    for one in listed:
        if not isinstance(one, list) or len(one) != len(Resize._fields):
            raise MalformedError("resizes: volume, record and size were expected")
        fields = dict(zip(Resize._fields, one, strict=True))
        found.append(Resize(*(_whole(fields, name) for name in Resize._fields)))
    return tuple(found)


def _epoch(body: Json) -> Epoch:
    return Epoch(_whole(body, "epoch"))


def _charter(body: Json) -> Charter:
    return control.from_json(Charter, body.get("charter"))


def unknown_group(group_id: str, center: str) -> UsageError:
    """The error for a group that has no copy here."""
    return UsageError(f"{center} holds no copy of group {group_id[:32]}", code="unknown_group")
