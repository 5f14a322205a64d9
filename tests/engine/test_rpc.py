import asyncio
import heapq
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from drsync.adapters.memory.transport import MemoryLink, memory_pair
from drsync.engine.rpc import Endpoint, Limits, Me
from drsync.model.errors import (
    DrsyncError,
    FailedCopyError,
    MalformedError,
    PermanentError,
    RefusedError,
    TransientError,
    UsageError,
)
from drsync.ports.transport import Call
from drsync.wire.control import dump
from drsync.wire.frames import CONTROL_BODY_BYTES_MAX, Decoder, FrameType, encode

Body = dict[str, object]
TURNS = 200


class SteppedClock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._sleepers: list[tuple[float, int, asyncio.Event]] = []
        self._count = 0

    def now(self) -> float:
        return self._now

    def wall_us(self) -> int:
        return int(self._now * 1e6)

    async def sleep_until(self, instant: float) -> None:
        if instant <= self._now:
            await asyncio.sleep(0)
            return
        self._count += 1
        woken = asyncio.Event()
        heapq.heappush(self._sleepers, (instant, self._count, woken))
        await woken.wait()

    def until_round(self, period_s: float, slack_s: float = 0.0) -> float:
        return period_s

    async def advance(self, seconds: float) -> None:
        """Pass time in the order in which sleepers wake."""
        end = self._now + seconds
        while self._sleepers and self._sleepers[0][0] <= end:
            instant, _, woken = heapq.heappop(self._sleepers)
            self._now = max(self._now, instant)
            woken.set()
            await settle()
        self._now = end
        await settle()

    def jump(self, seconds: float) -> None:
        """The process stood still: time has passed and nobody has run."""
        self._now += seconds


async def settle() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


def me(center: str, cluster: str = "c1") -> Me:
    return Me(cluster, center, f"session-of-{center}", "", "1.0")


@dataclass
class Talk:
    """Two endpoints on one link."""

    clock: SteppedClock
    left_link: MemoryLink
    right_link: MemoryLink
    left: Endpoint
    right: Endpoint
    ended: dict[str, DrsyncError] = field(default_factory=dict)
    bugs: list[tuple[str, Exception]] = field(default_factory=list)

    async def run(self, name: str, endpoint: Endpoint) -> None:
        try:
            await endpoint.run()
        except DrsyncError as error:
            self.ended[name] = error


Serve = Mapping[str, Call]


@asynccontextmanager
async def talking(
    handlers: Serve | None = None,
    *,
    left: Me | None = None,
    right: Me | None = None,
    limits: Limits | None = None,
    ours: Serve | None = None,
) -> AsyncIterator[Talk]:
    clock = SteppedClock()
    left_link, right_link = memory_pair("left", "right")
    talk: Talk

    def bug(where: str, error: Exception) -> None:
        talk.bugs.append((where, error))

    talk = Talk(
        clock,
        left_link,
        right_link,
        Endpoint(left_link, clock, ours or {}, left or me("left"), limits=limits),
        Endpoint(right_link, clock, handlers or {}, right or me("right"), limits=limits, on_bug=bug),
    )
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(talk.run("left", talk.left)),
            tasks.create_task(talk.run("right", talk.right)),
        ]
        await settle()
        yield talk
        for task in running:
            task.cancel()


async def echo(method: str, body: Body) -> Body:
    return {"method": method, **body}


async def never(method: str, body: Body) -> Body:
    await asyncio.Event().wait()
    return {}


def raising(error: Exception) -> Call:
    async def handler(method: str, body: Body) -> Body:
        raise error

    return handler


async def test_both_sides_ask_and_are_answered() -> None:
    async with talking({"right.echo": echo}, ours={"left.echo": echo}) as talk:
        assert await talk.left.call("right.echo", {"n": 1}, 5) == {"method": "right.echo", "n": 1}
        assert await talk.right.call("left.echo", {"n": 2}, 5) == {"method": "left.echo", "n": 2}
        assert talk.left.their_hello is not None
        assert talk.left.their_hello.session == "session-of-right"
        assert talk.left.peer == "right"


async def test_a_question_asked_before_hello_waits_for_it() -> None:
    clock = SteppedClock()
    left_link, right_link = memory_pair("left", "right")
    left = Endpoint(left_link, clock, {}, me("left"))
    right = Endpoint(right_link, clock, {"echo": echo}, me("right"))
    talk = Talk(clock, left_link, right_link, left, right)
    async with asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(left.call("echo", {}, 5))
        await settle()
        assert not asking.done()
        running = [tasks.create_task(talk.run("l", left)), tasks.create_task(talk.run("r", right))]
        assert await asking == {"method": "echo"}
        for task in running:
            task.cancel()


@pytest.mark.parametrize(
    ("raised", "arrives", "code"),
    [
        (TransientError("busy", code="busy", remedy="wait"), TransientError, "busy"),
        (RefusedError("no", code="stale_epoch"), RefusedError, "stale_epoch"),
        (UsageError("who?"), UsageError, "usage"),
        (MalformedError("chain"), MalformedError, "malformed"),
        (FailedCopyError("EIO"), PermanentError, "copy_failed"),
        (PermanentError("no", code="disk"), PermanentError, "disk"),
    ],
)
async def test_errors_of_a_handler_arrive_with_class_code_and_remedy(
    raised: DrsyncError, arrives: type[DrsyncError], code: str
) -> None:
    async with talking({"fail": raising(raised)}) as talk:
        with pytest.raises(arrives) as caught:
            await talk.left.call("fail", {}, 5)
        assert (caught.value.code, caught.value.remedy, str(caught.value)) == (
            code,
            raised.remedy,
            str(raised),
        )
        assert talk.left.is_open


async def test_a_bug_in_a_handler_is_reported_there_and_ends_nothing() -> None:
    async with talking({"fail": raising(ZeroDivisionError("oh")), "echo": echo}) as talk:
        with pytest.raises(PermanentError, match="failed by a bug: ZeroDivisionError: oh") as caught:
            await talk.left.call("fail", {}, 5)
        assert caught.value.code == "bug"
        assert [where for where, _ in talk.bugs] == ["fail"]
        assert await talk.left.call("echo", {}, 5)


async def test_an_answer_that_is_no_json_is_a_bug_too() -> None:
    async def odd(method: str, body: Body) -> Body:
        return {"set": {1, 2}}

    async with talking({"odd": odd}) as talk:
        with pytest.raises(PermanentError, match="TypeError"):
            await talk.left.call("odd", {}, 5)


async def test_an_unknown_request_is_a_usage_error() -> None:
    async with talking() as talk:
        with pytest.raises(UsageError, match="no request is called 'dance' here"):
            await talk.left.call("dance", {}, 5)


async def test_too_large_questions_and_answers_fail_alone() -> None:
    large = "x" * CONTROL_BODY_BYTES_MAX

    async def shout(method: str, body: Body) -> Body:
        return {"x": large}

    async with talking({"shout": shout, "echo": echo}) as talk:
        with pytest.raises(PermanentError, match="at most 262144"):
            await talk.left.call("echo", {"x": large}, 5)
        with pytest.raises(PermanentError, match="at most 262144"):
            await talk.left.call("shout", {}, 5)
        assert await talk.left.call("echo", {}, 5)


async def test_no_answer_in_time_is_transient_and_the_link_goes_on() -> None:
    async with talking({"never": never, "echo": echo}) as talk:
        with pytest.raises(TransientError, match=r"right did not answer never in 0\.01 s"):
            await talk.left.call("never", {}, 0.01)
        assert await talk.left.call("echo", {}, 5)


async def test_a_handler_that_hangs_is_ended_by_its_deadline() -> None:
    async with talking({"never": never}, limits=Limits(handler_s=0.01)) as talk:
        with pytest.raises(TransientError, match=r"never took more than 0\.01 s"):
            await talk.left.call("never", {}, 5)


async def test_a_request_that_is_declared_long_is_given_its_own_time() -> None:
    gate = asyncio.Event()

    async def compare(method: str, body: Body) -> Body:
        await gate.wait()
        return {"method": method}

    limits = Limits(handler_s=0.01, longer={"hash": 60.0})
    async with talking({"hash": compare, "other": compare}, limits=limits) as talk:
        async with asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(talk.left.call("hash", {}, 5))
            with pytest.raises(TransientError, match=r"other took more than 0\.01 s"):
                await talk.left.call("other", {}, 5)
            gate.set()
        assert asked.result() == {"method": "hash"}


async def test_only_so_many_questions_are_under_way_at_once() -> None:
    under_way = 0
    most = 0
    gate = asyncio.Event()

    async def count(method: str, body: Body) -> Body:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await gate.wait()
        under_way -= 1
        return {}

    async with talking({"count": count}, limits=Limits(requests_max=4)) as talk, asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(talk.left.call("count", {}, 5)) for _ in range(20)]
        await settle()
        assert under_way == 4
        gate.set()
        for task in asked:
            assert await task == {}
    assert most == 4


async def test_a_peer_that_asks_too_much_is_told_busy_and_then_cut_off() -> None:
    async with talking({"never": never}, limits=Limits(requests_max=2)) as talk:
        ask = dump({"method": "never", "body": {}})
        talk.left_link.write(b"".join(encode(FrameType.REQUEST, ask, id=n) for n in range(50, 54)))
        await settle()
        errors = [f for f in frames(talk.right_link) if f[0] is FrameType.ERROR]
        assert [(ident, b'"code":"busy"' in body) for _, ident, body in errors] == [(52, True), (53, True)]
        talk.right.pause_writing()
        talk.left_link.write(encode(FrameType.REQUEST, ask, id=54))
        await settle()
        assert isinstance(talk.ended["right"], MalformedError)


def frames(link: MemoryLink) -> list[tuple[FrameType, int, bytes]]:
    """What was written at this end."""
    decoder = Decoder()
    return [(frame.type, frame.id, frame.body) for data in link.sent for frame in decoder.feed(data)]


async def test_pings_measure_the_round_trip_and_keep_an_idle_link() -> None:
    async with talking() as talk:
        await talk.clock.advance(120)
        assert talk.left.is_open
        assert talk.right.is_open
        assert talk.left.rtt_s == 0
        assert sum(kind is FrameType.PING for kind, _, _ in frames(talk.left_link)) > 100


async def test_a_link_that_is_silently_cut_ends_at_the_idle_deadline() -> None:
    async with talking({"never": never}) as talk, asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(caught(talk.left.call("never", {}, 60)))
        await settle()
        talk.left_link.is_cut = talk.right_link.is_cut = True
        await talk.clock.advance(14)
        assert not talk.ended
        await talk.clock.advance(2)
        assert isinstance(await asking, TransientError)
        assert "nothing was heard of right for 15 s" in str(talk.ended["left"])
        assert "nothing was heard of left for 15 s" in str(talk.ended["right"])
        with pytest.raises(TransientError):
            await talk.left.call("echo", {}, 5)


async def caught(awaitable: Awaitable[Body]) -> DrsyncError | None:
    try:
        await awaitable
    except DrsyncError as error:
        return error
    return None


async def test_a_process_that_stood_still_does_not_blame_its_peer() -> None:
    async with talking() as talk:
        talk.clock.jump(100)
        await talk.clock.advance(1)
        assert talk.left.is_open
        assert talk.right.is_open


async def test_a_peer_that_does_not_read_is_given_up() -> None:
    async with talking() as talk:
        talk.left.pause_writing()
        await talk.clock.advance(10)
        for _ in range(10):  # it goes on talking, though
            talk.right_link.write(encode(FrameType.PING))
            talk.left_link.write(encode(FrameType.PONG))
            await talk.clock.advance(0.5)
        await talk.clock.advance(1)
        assert "right has read nothing for 15 s" in str(talk.ended["left"])


async def test_a_paused_link_holds_questions_back_until_it_may_write() -> None:
    async with talking({"echo": echo}) as talk, asyncio.TaskGroup() as tasks:
        talk.left.pause_writing()
        asking = tasks.create_task(talk.left.call("echo", {}, 5))
        await settle()
        assert all(kind is not FrameType.REQUEST for kind, _, _ in frames(talk.left_link))
        talk.left.resume_writing()
        assert await asking


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (me("right", cluster="c2"), "wrong cluster"),
        (me("someone"), "calls itself 'someone'"),
        (Me("c1", "right", "s", "", "2.0", ("teleport",)), "insists on teleport"),
    ],
)
async def test_sides_that_do_not_belong_together_are_both_told(other: Me, words: str) -> None:
    async with talking(right=other) as talk:
        for side in (talk.left, talk.right):
            with pytest.raises(DrsyncError):
                await side.ready()
        assert words in str(talk.ended["left"])
        assert isinstance(talk.ended["left"], RefusedError)
        assert isinstance(talk.ended["right"], RefusedError)
        with pytest.raises(RefusedError):
            await talk.left.call("echo", {}, 5)


async def test_closing_says_why() -> None:
    async with talking() as talk:
        talk.left.close("switching off")
        await settle()
        assert str(talk.ended["right"]) == "left closed the link: switching off"
        assert str(talk.ended["left"]) == "switching off"
        assert isinstance(talk.ended["right"], TransientError)


async def test_a_lost_connection_fails_what_was_asked() -> None:
    async with talking({"never": never}) as talk, asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(caught(talk.left.call("never", {}, 60)))
        await settle()
        talk.left_link.fail("connection reset")
        error = await asking
        assert isinstance(error, TransientError)
        assert "connection reset" in str(error)


async def test_who_never_says_hello_is_given_up() -> None:
    clock = SteppedClock()
    ours, theirs = memory_pair("left", "right")
    endpoint = Endpoint(ours, clock, {}, me("left"))
    talk = Talk(clock, ours, theirs, endpoint, endpoint)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(talk.run("left", endpoint))
        await settle()
        await clock.advance(11)
    assert "did not agree to a protocol in 10 s" in str(talk.ended["left"])


@pytest.mark.parametrize(
    "junk",
    [
        b"GET / HTTP/1.1\r\nHost: here\r\n\r\n",
        encode(FrameType.HELLO, b"{}"),
        encode(FrameType.REQUEST, b"nonsense"),
        encode(FrameType.REQUEST, b'{"method":1,"body":{}}'),
        encode(FrameType.RESPONSE, b"{}", id=1)[:-1] + b"]" + b"x" * 30,
        encode(FrameType.ACK, bytes(48)),
        encode(FrameType.WELCOME, b'{"protocol":0}'),
    ],
    ids=["http", "second-hello", "no-json", "wrong-field", "torn", "bulk-type", "bad-welcome"],
)
async def test_a_malformed_frame_ends_the_link_with_its_reason_on_both_sides(junk: bytes) -> None:
    async with talking() as talk:
        talk.right_link.write(junk)
        await settle()
        assert isinstance(talk.ended["left"], MalformedError)
        assert isinstance(talk.ended["right"], MalformedError)


async def test_a_stranger_who_does_not_begin_with_hello_is_sent_away() -> None:
    clock = SteppedClock()
    ours, theirs = memory_pair("left", "right")
    endpoint = Endpoint(ours, clock, {}, me("left"))
    talk = Talk(clock, ours, theirs, endpoint, endpoint)
    theirs.write(encode(FrameType.REQUEST, dump({"method": "echo", "body": {}})))
    await talk.run("left", endpoint)
    assert "came before HELLO" in str(talk.ended["left"])


async def test_cancelling_the_run_says_goodbye_and_cancels_handlers() -> None:
    cancelled = asyncio.Event()

    async def long(method: str, body: Body) -> Body:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return {}

    clock = SteppedClock()
    ours, theirs = memory_pair("left", "right")
    left, right = Endpoint(ours, clock, {}, me("left")), Endpoint(theirs, clock, {"long": long}, me("right"))
    talk = Talk(clock, ours, theirs, left, right)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(talk.run("left", left))
        serving = tasks.create_task(talk.run("right", right))
        asking = tasks.create_task(caught(left.call("long", {}, 60)))
        await settle()
        serving.cancel()
        assert isinstance(await asking, TransientError)
    assert cancelled.is_set()
    assert str(talk.ended["left"]) == "right closed the link: right stopped serving the link"


async def test_a_question_that_comes_while_the_run_is_being_cancelled_leaves_nothing_behind() -> None:
    may_end = asyncio.Event()
    bugs: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: bugs.append(str(context)))

    async def reluctant(method: str, body: Body) -> Body:
        try:
            await asyncio.Event().wait()
        finally:
            await may_end.wait()
        return {}

    clock = SteppedClock()
    ours, theirs = memory_pair("left", "right")
    left = Endpoint(ours, clock, {}, me("left"))
    right = Endpoint(theirs, clock, {"reluctant": reluctant}, me("right"))
    talk = Talk(clock, ours, theirs, left, right)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(talk.run("left", left))
        serving = tasks.create_task(talk.run("right", right))
        asking = [tasks.create_task(caught(left.call("reluctant", {}, 60)))]
        await settle()
        serving.cancel()
        await settle()
        asking.append(tasks.create_task(caught(left.call("reluctant", {}, 60))))
        await settle()
        may_end.set()
        for one in asking:
            assert isinstance(await one, TransientError)
    assert str(talk.ended["left"]) == "right closed the link: right stopped serving the link"
    assert bugs == []
