"""An endpoint of a control link: HELLO and WELCOME, pings, requests and answers in both directions.

Only what every control link needs may live here, not what the requests mean. Both sides are equal: each
says HELLO at once, agrees to the other's, says WELCOME, and may ask from then on. An endpoint never
reconnects; whoever dialed decides that.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from drsync.model.errors import (
    DrsyncError,
    MalformedError,
    PermanentError,
    RefusedError,
    TransientError,
    UsageError,
)
from drsync.ports.clock import Clock
from drsync.ports.transport import Call, Link
from drsync.wire import faults, negotiate
from drsync.wire.control import Hello, Request, Response, Welcome, dump, load, parse
from drsync.wire.frames import CONTROL_BODY_BYTES_MAX, CRITICAL, Decoder, Frame, FrameType, encode

Body = dict[str, object]
OnBug = Callable[[str, Exception], None]
"""Called with the method and the exception when a handler let something escape that is no DrsyncError."""


@dataclass(frozen=True, slots=True)
class Me:
    """What this side says about itself. `center` is the name its key is pinned under."""

    cluster: str
    center: str
    session: str
    incarnation: str
    software: str
    critical_features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds. `longer`: methods whose handlers are given more time than `handler_s`."""

    ping_s: float = 1.0  # because a silent link is to be noticed well within a lease
    idle_s: float = 15.0  # because a host that swaps or a route that changes is back sooner
    hello_s: float = 10.0  # because the connection stands already: two messages remain
    handler_s: float = 300.0  # because the longest request copies a journal's tail; callers wait less
    longer: Mapping[str, float] = field(default_factory=dict)
    requests_max: int = 64  # because a coordinator of tens of groups has some tens under way


LEADER_PINGS, FOLLOWER_PINGS = 0.1, 1.5
"""Times `ping_s` of silence before a side pings: an answer of just now says the same as the next one, and the
leader's PING may be late."""


def _ignore_bug(where: str, error: Exception) -> None:
    """Nobody listens."""


class Endpoint:
    """One side of one control link. Make it, run `run` in a task, and `call`.

    Attributes:
        peer: authenticated name of the other side.
        closed: set when the link has ended.
        rtt_s: last measured round trip; None before the first.
        agreed: version, features and limits in use; None before both sides agreed.
        their_hello: what the other side said about itself; None before that.
    """

    def __init__(
        self,
        link: Link,
        clock: Clock,
        handlers: Mapping[str, Call],
        me: Me,
        *,
        limits: Limits | None = None,
        on_bug: OnBug = _ignore_bug,
    ) -> None:
        self.peer = link.peer
        self.closed = asyncio.Event()
        self.rtt_s: float | None = None
        self.agreed: negotiate.Agreed | None = None
        self.their_hello: Hello | None = None
        self._link = link
        self._clock = clock
        self._handlers = handlers
        self._limits = limits or Limits()
        self._me = _hello(me, link, self._limits)
        self._on_bug = on_bug
        self._decoder = Decoder(
            CONTROL_BODY_BYTES_MAX, first=(FrameType.HELLO, FrameType.ERROR, FrameType.BYE)
        )
        self._settled = asyncio.Event()
        self._ended: DrsyncError | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._paused_at = 0.0
        self._slots = asyncio.Semaphore(self._limits.requests_max)
        self._waiting: dict[int, asyncio.Future[Frame]] = {}
        self._answers: set[asyncio.Task[None]] = set()
        self._tasks: asyncio.TaskGroup | None = None
        self._last_id = 0
        self._heard_at = 0.0
        self._ping_id, self._pinged_at = 0, 0.0

    # --- for the engine

    @property
    def is_open(self) -> bool:
        """Whether both sides agreed and the link has not ended."""
        return self._settled.is_set() and self._ended is None

    @property
    def heard_at(self) -> float:
        """When the other side was last heard, by our clock; not counting while this process stood still."""
        return self._heard_at

    async def run(self) -> None:
        """Serve the link until it ends, then raise why. Handlers run inside and are cancelled at the end.

        When the task that runs this is cancelled, the link is closed.

        Raises:
            RefusedError: the two sides do not belong together; both are told the same reason.
            MalformedError: the peer broke a format.
            TransientError: anything else, `close` included.
        """
        self._heard_at = self._clock.now()
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                watch = tasks.create_task(self._watch())
                # First our HELLO: setting the handler delivers what came early, and that is answered at once.
                self._write(FrameType.HELLO, dump(self._me.fields()), flags=CRITICAL)
                self._link.set_handler(self)
                await self.closed.wait()
                watch.cancel()
                for answer in self._answers:
                    answer.cancel()
        finally:
            self.close(f"{self._me.center} stopped serving the link")
        assert self._ended is not None
        raise self._ended

    async def ready(self) -> None:
        """Return when both sides agreed.

        Raises:
            RefusedError: they did not.
            TransientError: the link ended before.
        """
        await self._settled.wait()
        if self._ended is not None:
            raise self._lost()

    async def call(self, method: str, body: Body, timeout_s: float) -> Body:
        """Ask the other side and return its answer. Waits for HELLO and for a free slot if it must.

        Raises:
            TransientError: no answer in `timeout_s`, or the link is lost; it may have been done nevertheless.
            PermanentError: the question is larger than the peer takes.
            DrsyncError: what the other side raised, with its class, code and remedy.
        """
        payload = dump({"method": method, "body": body})
        try:
            async with asyncio.timeout(timeout_s):
                await self.ready()
                async with self._slots:
                    frame = await self._ask(method, payload)
        except TimeoutError:
            raise TransientError(
                f"{self.peer} did not answer {method} in {timeout_s:g} s", code="timeout"
            ) from None
        if frame.type is FrameType.ERROR:
            raise faults.from_body(load(frame.body))
        return parse(Response, load(frame.body)).body

    def close(self, reason: str) -> None:
        """Say BYE and end the link. Idempotent."""
        if self._ended is None:
            self._write(FrameType.BYE, dump({"reason": reason[: faults.MESSAGE_CHARACTERS_MAX]}))
            self._end(TransientError(reason, code="closed"))

    # --- LinkHandler

    def data_received(self, data: bytes | memoryview) -> None:
        """See LinkHandler."""
        self._heard_at = self._clock.now()
        try:
            for frame in self._decoder.feed(data):
                if self._ended is not None:
                    return
                self._received(frame)
        except DrsyncError as error:
            self._tell_and_end(error)

    def pause_writing(self) -> None:
        """See LinkHandler."""
        self._paused_at = self._clock.now()
        self._writable.clear()

    def resume_writing(self) -> None:
        """See LinkHandler."""
        self._writable.set()

    def connection_lost(self, reason: str) -> None:
        """See LinkHandler."""
        self._end(TransientError(f"the link to {self.peer} is lost: {reason}"))

    # --- frames in

    def _received(self, frame: Frame) -> None:
        kind = frame.type
        if kind is FrameType.HELLO:
            self._hello_received(frame)
        elif kind is FrameType.BYE:
            self._end(faults.from_bye(self.peer, load(frame.body)))
        elif kind is FrameType.ERROR and not frame.id:
            self._end(faults.from_body(load(frame.body)))
        elif self.agreed is None:
            raise MalformedError(f"{self.peer} sent {kind.name} before HELLO")
        elif kind is FrameType.WELCOME:
            negotiate.check_welcome(self.agreed, parse(Welcome, load(frame.body)), self.peer)
            self._settled.set()
        else:
            self._working_frame(frame)

    def _hello_received(self, frame: Frame) -> None:
        if self.agreed is not None:
            raise MalformedError(f"{self.peer} said HELLO twice")
        theirs = parse(Hello, load(frame.body))
        self.agreed = negotiate.agree(self._me, theirs, self.peer)
        self.their_hello = theirs
        self._slots = asyncio.Semaphore(min(self._limits.requests_max, self.agreed.requests_max))
        self._write(FrameType.WELCOME, dump(negotiate.welcome(self.agreed).fields()), flags=CRITICAL)

    def _working_frame(self, frame: Frame) -> None:
        match frame.type:
            case FrameType.REQUEST:
                self._request_received(frame)
            case FrameType.RESPONSE | FrameType.ERROR:
                waiting = self._waiting.get(frame.id)
                if waiting is not None and not waiting.done():
                    waiting.set_result(frame)
            case FrameType.PING:
                if self._writable.is_set():  # who reads nothing needs no PONG, and it would pile up
                    self._write(FrameType.PONG, b"", ident=frame.id)
            case FrameType.PONG:
                if frame.id == self._ping_id:
                    self.rtt_s = self._clock.now() - self._pinged_at
            case _:
                raise MalformedError(f"{self.peer} sent {frame.type.name} on a control link")

    def _request_received(self, frame: Frame) -> None:
        request = parse(Request, load(frame.body))
        assert self._tasks is not None
        if len(self._answers) < self._limits.requests_max:
            answering = self._answer(frame.id, request)
            try:
                answer = self._tasks.create_task(answering)
            except RuntimeError:
                answering.close()  # `run` was cancelled, and has not got to closing the link yet
                return
            self._answers.add(answer)
            answer.add_done_callback(self._answers.discard)
        elif self._writable.is_set():
            self._write_error(frame.id, TransientError(f"{len(self._answers)} requests at once", code="busy"))
        else:
            raise MalformedError(f"{self.peer} asks and does not read the answers")

    async def _answer(self, ident: int, request: Request) -> None:
        try:
            payload = await self._handle(request)
        except DrsyncError as error:
            await self._writable.wait()
            self._write_error(ident, error)
        else:
            await self._writable.wait()
            self._write(FrameType.RESPONSE, payload, ident=ident)

    async def _handle(self, request: Request) -> bytes:
        handler = self._handlers.get(request.method)
        if handler is None:
            raise UsageError(f"no request is called {request.method!r} here", code="unknown_method")
        seconds = self._limits.longer.get(request.method, self._limits.handler_s)
        scope = asyncio.timeout(seconds)
        try:
            async with scope:
                payload = dump({"body": await handler(request.method, request.body)})
        except DrsyncError:
            raise
        except Exception as error:  # a bug in one handler must not end the link for the others
            if scope.expired():
                took = f"{request.method} took more than {seconds:g} s"
                raise TransientError(took, code="timeout") from error
            self._on_bug(request.method, error)
            what = f"{request.method} failed by a bug: {type(error).__name__}: {error}"
            raise PermanentError(what, code=faults.BUG) from error
        self._check_size(request.method, payload)
        return payload

    # --- frames out

    async def _ask(self, method: str, payload: bytes) -> Frame:
        self._check_size(method, payload)
        await self._writable.wait()
        if self._ended is not None:
            raise self._lost()
        self._last_id += 1
        ident = self._last_id
        answer: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._waiting[ident] = answer
        try:
            self._write(FrameType.REQUEST, payload, ident=ident)
            return await answer
        finally:
            del self._waiting[ident]

    def _check_size(self, method: str, payload: bytes) -> None:
        limit = self.agreed.frame_bytes_max if self.agreed is not None else CONTROL_BODY_BYTES_MAX
        if len(payload) > limit:
            raise PermanentError(
                f"{method}: {len(payload)} bytes, a control body has at most {limit}", code="too_large"
            )

    def _write(self, kind: FrameType, body: bytes, *, ident: int = 0, flags: int = 0) -> None:
        if self._ended is None:
            self._link.write(encode(kind, body, id=ident, flags=flags))

    def _write_error(self, ident: int, error: DrsyncError) -> None:
        self._write(FrameType.ERROR, dump(faults.to_body(error)), ident=ident)

    # --- the end

    def _tell_and_end(self, error: DrsyncError) -> None:
        self._write_error(0, error)
        self._end(error)

    def _end(self, error: DrsyncError) -> None:
        if self._ended is not None:
            return
        self._ended = error
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(self._lost())
        self._settled.set()
        self._writable.set()
        self.closed.set()
        self._link.close(str(error))

    def _lost(self) -> DrsyncError:
        """What those who wait are told: only a refusal is worth another class than "try again"."""
        assert self._ended is not None
        if isinstance(self._ended, RefusedError | TransientError):
            return type(self._ended)(str(self._ended), code=self._ended.code, remedy=self._ended.remedy)
        return TransientError(f"the link to {self.peer} is lost: {self._ended}")

    async def _watch(self) -> None:
        planned = started = self._clock.now()
        while self._ended is None:
            now = self._clock.now()
            if now - planned > self._limits.ping_s:
                # This process stood still; what arrived meanwhile has not been read yet.
                self._heard_at = min(now, self._heard_at + now - planned)
                self._paused_at = min(now, self._paused_at + now - planned)
            if trouble := self._trouble(now, started):
                self._tell_and_end(TransientError(trouble, code="silent"))
                return
            if self._is_ping_due(now):
                self._ping_id, self._pinged_at = self._ping_id + 1, now
                self._write(FrameType.PING, b"", ident=self._ping_id)
            planned = self._next_look(now)
            await self._clock.sleep_until(planned)

    def _is_ping_due(self, now: float) -> bool:
        """One side pings, and both hear each other: the first by name, the other when it hears nothing."""
        leads = self._me.center < self.peer
        silent = self._limits.ping_s * (LEADER_PINGS if leads else FOLLOWER_PINGS)
        return now - self._heard_at >= silent and self.is_open and self._writable.is_set()

    def _next_look(self, now: float) -> float:
        """All links of a process are looked at in the same turn, because each turn costs an idle one."""
        ping_s = self._limits.ping_s
        return (now // ping_s + 1) * ping_s

    def _trouble(self, now: float, started: float) -> str:
        limits = self._limits
        if now - self._heard_at >= limits.idle_s:
            return f"nothing was heard of {self.peer} for {limits.idle_s:g} s"
        if not self._writable.is_set() and now - self._paused_at >= limits.idle_s:
            return f"{self.peer} has read nothing for {limits.idle_s:g} s"
        if not self._settled.is_set() and now - started >= limits.hello_s:
            return f"{self.peer} did not agree to a protocol in {limits.hello_s:g} s"
        return ""


def _hello(me: Me, link: Link, limits: Limits) -> Hello:
    return Hello(
        protocol_min=negotiate.PROTOCOL_MIN,
        protocol_max=negotiate.PROTOCOL_MAX,
        features=negotiate.FEATURES,
        critical_features=me.critical_features,
        software=me.software,
        cluster=me.cluster,
        center=me.center,
        session=me.session,
        incarnation=me.incarnation,
        kind=link.kind.value,
        frame_bytes_max=CONTROL_BODY_BYTES_MAX,
        requests_max=limits.requests_max,
    )
