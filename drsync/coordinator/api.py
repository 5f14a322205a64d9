"""The HTTP interface for people and tools: paths, methods, bodies. What they mean is elsewhere.

JSON in and out. Errors are ``{"error": {"code", "message", "remedy", "exit"}}``; `exit` is the exit code of a
command that gets this answer.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass

from aiohttp import web
from aiohttp.typedefs import Middleware

from drsync.adapters.sqlite.charters import SqliteCharterStore
from drsync.adapters.sqlite.evidence import SqliteEvidence
from drsync.coordinator import forms
from drsync.coordinator.everywhere import ask_everywhere
from drsync.coordinator.export import Export, Wanted
from drsync.coordinator.forks import Forks
from drsync.coordinator.groups import Groups
from drsync.coordinator.holds import Holds
from drsync.coordinator.objectives import Objectives
from drsync.coordinator.objectives_view import availability_report, compliance_report
from drsync.coordinator.openings import Openings
from drsync.coordinator.operations import Operations
from drsync.coordinator.orders import Orders
from drsync.coordinator.pages import asks_for_password, home, may_pass
from drsync.coordinator.resizes import Resizes
from drsync.coordinator.sessions import SessionTable
from drsync.coordinator.status import Picture
from drsync.model import epoch as epochs
from drsync.model.charter import Charter
from drsync.model.errors import DrsyncError, RefusedError, TransientError, UsageError
from drsync.model.operation import Event, Operation, OperationState
from drsync.report.drill import drill_json, drill_page, drill_summary
from drsync.wire import control

Json = dict[str, object]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

BODY_BYTES_MAX = 1 << 20  # because a group document is written by hand
WAIT_S_MAX = 60.0  # because proxies cut what is silent for longer
LIST_MAX = 1000  # because an answer is built in memory
LIST_USUAL = 100
REPORT_USUAL_S = 30 * 86400  # because budgets are agreed by the month
REPORT_MAX_S = 800 * 86400  # because nothing older is kept
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}

STATUS_OF_EXIT = {1: 500, 2: 400, 3: 409, 4: 503}
"""HTTP statuses by exit code; what counts is the body."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the interface speaks for."""

    store: SqliteCharterStore
    evidence: SqliteEvidence
    sessions: SessionTable
    operations: Operations
    groups: Groups
    picture: Picture
    objectives: Objectives
    export: Export
    orders: Orders
    openings: Openings
    forks: Forks
    holds: Holds
    resizes: Resizes


class Api:
    """Handlers over the coordinator's parts."""

    def __init__(self, parts: Parts) -> None:
        self._store = parts.store
        self._evidence = parts.evidence
        self._sessions = parts.sessions
        self._operations = parts.operations
        self._groups = parts.groups
        self._picture = parts.picture
        self._objectives = parts.objectives
        self._exports = parts.export
        self._orders = parts.orders
        self._openings = parts.openings
        self._forks = parts.forks
        self._holds = parts.holds
        self._resizes = parts.resizes

    def application(self, token: str) -> web.Application:
        """The application. Requests over TCP must bear `token`; the unix socket is guarded by its mode."""
        app = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[errors, _guard(token)])
        group = "/v1/groups/{group}"
        app.add_routes(
            [
                web.get("/", self._home),
                web.get("/v1/status", self._status),
                web.get("/v1/groups", self._list_groups),
                web.post("/v1/groups", self._apply),
                web.get(group, self._show_group),
                web.get(f"{group}/why", self._why),
                web.get(f"{group}/points", self._points),
                web.post(f"{group}/checkpoint", self._checkpoint),
                web.get(f"{group}/pins", self._pins),
                web.get(f"{group}/openings", self._list_openings),
                web.post(f"{group}/openings", self._open),
                web.post(f"{group}/openings/{{name}}/close", self._close),
                web.get(f"{group}/forks", self._list_forks),
                web.post(f"{group}/forks/{{name}}/discard", self._discard_fork),
                web.get(f"{group}/holds", self._list_holds),
                web.post(f"{group}/holds", self._hold),
                web.post(f"{group}/holds/{{name}}/release", self._release),
                web.post(f"{group}/filesets/{{fileset}}/approve", self._approve),
                web.post(f"{group}/volumes/{{volume}}/resize", self._resize),
                web.get(f"{group}/charter", self._charter),
                web.get(f"{group}/charter/history", self._history),
                web.post(f"{group}/switchover", self._switchover),
                web.post(f"{group}/failover", self._failover),
                web.post(f"{group}/drill", self._drill),
                web.get("/v1/operations", self._list_operations),
                web.get("/v1/operations/{id}", self._operation),
                web.get("/v1/drills", self._list_drills),
                web.get("/v1/drills/{id}", self._show_drill),
                web.get("/v1/drills/{id}/report.html", self._report),
                web.get("/v1/events", self._events),
                web.get("/v1/export", self._export),
                web.get("/v1/reports/availability", self._availability),
                web.get("/v1/reports/compliance", self._compliance),
            ]
        )
        return app

    # --- looking

    async def _home(self, _request: web.Request) -> web.Response:
        return _page(home(self._picture.status(), self._evidence.events("", -1, 20)))

    async def _status(self, _request: web.Request) -> web.Response:
        return _json(self._picture.status())

    async def _list_groups(self, _request: web.Request) -> web.Response:
        return _json({"groups": [control.to_json(charter.group) for charter in self._store.all()]})

    async def _show_group(self, request: web.Request) -> web.Response:
        charter = self._group(request)
        return _json({**control.to_json(charter.group), "status": self._picture.group(charter)})

    async def _why(self, request: web.Request) -> web.Response:
        forgotten = self._picture.why_forgotten(_name(request))
        if forgotten:
            return _json({"group": _name(request), "lines": [asdict(line) for line in forgotten]})
        charter = self._group(request)
        lines = [
            {**asdict(line), "epoch": charter.epoch, "epoch_text": epochs.show(charter.epoch)}
            for line in self._picture.why(charter)
        ]
        return _json({"group": charter.group.name, "lines": lines})

    async def _points(self, request: web.Request) -> web.Response:
        charter = self._group(request)
        return _json({"group": charter.group.name, "centers": await self._openings.proofs.points(charter)})

    async def _charter(self, request: web.Request) -> web.Response:
        return _json({"charter": _shown(self._group(request))})

    async def _history(self, request: web.Request) -> web.Response:
        charter = self._group(request)
        kept = self._store.history(charter.group.id)
        return _json(
            {
                "group": charter.group.name,
                "history": [{"at_us": at_us, "charter": _shown(one)} for at_us, one in kept],
            }
        )

    async def _events(self, request: web.Request) -> web.Response:
        after, limit = _number(request, "after", 0), _number(request, "limit", LIST_USUAL)
        found = self._evidence.events(request.query.get("group", ""), after or -1, min(limit, LIST_MAX))
        return _json({"events": [_event(event) for event in found]})

    async def _export(self, request: web.Request) -> web.Response:
        """All that is known of what happened, as one file (`wire.incident`)."""
        name, since_s = request.query.get("group", ""), _number(request, "since_s", 0)
        group = self._groups.find(name).group.name if name else ""
        found = await self._exports.file(Wanted(group, since_s))
        headers = {"Cache-Control": "no-store"}
        return web.Response(body=found, content_type="application/jsonl", headers=headers)

    async def _availability(self, request: web.Request) -> web.Response:
        return self._reports(request, availability_report)

    async def _compliance(self, request: web.Request) -> web.Response:
        return self._reports(request, compliance_report)

    def _reports(
        self, request: web.Request, report: Callable[[Objectives, Charter, float], Json]
    ) -> web.Response:
        """A report on the group asked for, or on all."""
        name, since_s = request.query.get("group", ""), _number(request, "since_s", REPORT_USUAL_S)
        if not 0 < since_s <= REPORT_MAX_S:
            raise UsageError(f"since_s: between 1 and {REPORT_MAX_S}")
        charters = [self._groups.find(name)] if name else self._store.all()
        return _json({"reports": [report(self._objectives, charter, float(since_s)) for charter in charters]})

    # --- groups

    async def _apply(self, request: web.Request) -> web.Response:
        charter, is_new = await self._orders.apply(await _body(request))
        body = {"group": control.to_json(charter.group), "version": charter.version, "created": is_new}
        return _json(body, status=201 if is_new else 200)

    async def _checkpoint(self, request: web.Request) -> web.Response:
        form = forms.read(forms.CheckpointForm, await _body(request))
        return _json(await self._orders.checkpoint(_name(request), form))

    async def _approve(self, request: web.Request) -> web.Response:
        form = forms.read(forms.ApproveForm, await _body(request))
        return _json(await self._orders.approve(_name(request), request.match_info["fileset"], form))

    async def _resize(self, request: web.Request) -> web.Response:
        form = forms.read(forms.ResizeForm, await _body(request))
        return _json(await self._resizes.resize(_name(request), request.match_info["volume"], form))

    # --- openings, pins, forks, holds

    async def _pins(self, request: web.Request) -> web.Response:
        charter = self._group(request)
        centers = await ask_everywhere(self._sessions, charter, "group.pins", "pins")
        return _json({"group": charter.group.name, "centers": centers})

    async def _list_openings(self, request: web.Request) -> web.Response:
        charter = self._group(request)
        return _json({"group": charter.group.name, **self._openings.about(charter)})

    async def _open(self, request: web.Request) -> web.Response:
        form = forms.read(forms.OpenForm, await _body(request))
        return _json(await self._openings.open(_name(request), form), status=201)

    async def _close(self, request: web.Request) -> web.Response:
        form = forms.read(forms.CloseForm, await _body(request))
        return _json(await self._openings.close(_name(request), request.match_info["name"], form))

    async def _list_forks(self, request: web.Request) -> web.Response:
        return _json(await self._forks.list(self._group(request)))

    async def _discard_fork(self, request: web.Request) -> web.Response:
        form = forms.read(forms.DiscardForm, await _body(request))
        return _json(await self._forks.discard(_name(request), request.match_info["name"], form))

    async def _list_holds(self, request: web.Request) -> web.Response:
        return _json(await self._holds.list(self._group(request)))

    async def _hold(self, request: web.Request) -> web.Response:
        form = forms.read(forms.HoldForm, await _body(request))
        return _json(await self._holds.add(_name(request), form), status=201)

    async def _release(self, request: web.Request) -> web.Response:
        form = forms.read(forms.ReleaseForm, await _body(request))
        return _json(await self._holds.release(_name(request), request.match_info["name"], form))

    # --- operations

    async def _switchover(self, request: web.Request) -> web.Response:
        form = forms.read(forms.MoveForm, await _body(request))
        return _accepted(await self._orders.switchover(_name(request), form))

    async def _failover(self, request: web.Request) -> web.Response:
        form = forms.read(forms.FailoverForm, await _body(request))
        operation = await self._orders.failover(_name(request), form)
        return _json(_operation(operation)) if form.dry_run else _accepted(operation)

    async def _drill(self, request: web.Request) -> web.Response:
        form = forms.read(forms.DrillForm, await _body(request))
        return _accepted(self._orders.drill(_name(request), form))

    async def _list_operations(self, request: web.Request) -> web.Response:
        limit = min(_number(request, "limit", LIST_USUAL), LIST_MAX)
        return _json({"operations": [_operation(one) for one in self._evidence.operations(limit)]})

    async def _operation(self, request: web.Request) -> web.Response:
        after, wait_s = _number(request, "after", 0), _seconds(request, "wait_s")
        found = await self._operations.wait(request.match_info["id"], after, wait_s)
        if found is None:
            raise UsageError("there is no such operation", code="unknown_operation")
        return _json(_operation(found))

    # --- drills

    async def _list_drills(self, request: web.Request) -> web.Response:
        group = request.query.get("group", "")
        found = [d for d in self._evidence.drills(LIST_MAX) if group in ("", d.group)]
        return _json({"drills": [drill_summary(report) for report in reversed(found)]})

    async def _show_drill(self, request: web.Request) -> web.Response:
        report = self._evidence.drill(request.match_info["id"])
        if report is None:
            raise UsageError("there is no such drill", code="unknown_drill", remedy="See drsync drill list.")
        return _json(drill_json(report))

    async def _report(self, request: web.Request) -> web.Response:
        report = self._evidence.drill(request.match_info["id"])
        if report is None:
            raise UsageError("there is no such drill", code="unknown_drill", remedy="See drsync drill list.")
        return _page(drill_page(report, request.query.get("lang", "en")))

    def _group(self, request: web.Request) -> Charter:
        return self._groups.find(_name(request))


# --- middlewares


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error has the same shape."""
    try:
        return await handler(request)
    except web.HTTPNotFound:
        return _error(404, "unknown_path", f"there is nothing at {request.path}", "", 2)
    except web.HTTPMethodNotAllowed as error:
        return _error(405, "wrong_method", f"{request.path} takes {', '.join(error.allowed_methods)}", "", 2)
    except web.HTTPRequestEntityTooLarge:
        return _error(413, "too_large", f"a body has at most {BODY_BYTES_MAX} bytes", "", 2)
    except DrsyncError as error:
        exit_code = exit_of(error)
        is_missing = error.code.startswith("unknown_")
        status = 404 if is_missing else STATUS_OF_EXIT[exit_code]
        return _error(status, error.code, str(error), error.remedy, exit_code)


def _guard(token: str) -> Middleware:
    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if may_pass(request, token):
            return await handler(request)
        answer = _error(401, "unauthorized", "a token is needed", "Name its file in DRSYNC_TOKEN_FILE.", 1)
        answer.headers["WWW-Authenticate"] = (
            'Basic realm="drsync (any name, the token as password)"'
            if asks_for_password(request)
            else "Bearer"
        )
        return answer

    return guard


def exit_of(error: DrsyncError) -> int:
    """Exit code of a command that meets the error."""
    if isinstance(error, UsageError):
        return 2
    if isinstance(error, RefusedError):
        return 3
    return 4 if isinstance(error, TransientError) else 1


# --- bodies


def _name(request: web.Request) -> str:
    return request.match_info["group"]


async def _body(request: web.Request) -> Mapping[str, object]:
    raw = await request.read()
    if not raw:
        return {}
    try:
        body: object = json.loads(raw)
    except ValueError as error:
        raise UsageError(f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise UsageError("the body is not a JSON object")
    return body


def _number(request: web.Request, key: str, usual: int) -> int:
    value = request.query.get(key, "")
    if not value:
        return usual
    if not value.isascii() or not value.isdecimal() or len(value) > len(str(1 << 63)):
        raise UsageError(f"{key}: a whole number was expected")
    return int(value)


def _seconds(request: web.Request, key: str) -> float:
    try:
        value = float(request.query.get(key, "0"))
    except ValueError as error:
        raise UsageError(f"{key}: seconds were expected") from error
    return value if 0 <= value <= WAIT_S_MAX else WAIT_S_MAX


def _json(body: Json, status: int = 200) -> web.Response:
    return web.json_response(body, status=status, headers={"Cache-Control": "no-store"})


def _page(html: str) -> web.Response:
    return web.Response(text=html, content_type="text/html", headers=PAGE_HEADERS)


def _error(status: int, code: str, message: str, remedy: str, exit_code: int) -> web.Response:
    body: Json = {"error": {"code": code, "message": message, "remedy": remedy, "exit": exit_code}}
    return _json(body, status)


def _accepted(operation: Operation) -> web.Response:
    return _json({"operation": operation.id}, status=202)


def _operation(operation: Operation) -> Json:
    return {
        **asdict(operation),
        "result": dict(operation.result),
        "ended_us": operation.ended_us if operation.state is not OperationState.RUNNING else None,
    }


def _event(event: Event) -> Json:
    return {**asdict(event), "epoch_text": epochs.show(event.epoch)}


def _shown(charter: Charter) -> Json:
    return {**control.to_json(charter), "epoch_text": epochs.show(charter.epoch)}
