"""A simulated operating-system process: an asyncio event loop on virtual time that can be killed.

What runs in it is shipped code that knows nothing of this. A killed process executes nothing any more that
has an effect: its simulated files and links are dead, and what its code does while its tasks are wound up
stays in its own memory. Source of what an event loop must offer: asyncio.AbstractEventLoop of Python 3.11.
"""

import asyncio
from asyncio import _get_running_loop
from asyncio import _set_running_loop as _asyncio_set_running_loop
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context, copy_context
from enum import StrEnum
from functools import partial
from typing import Protocol, TypeVar, TypeVarTuple, cast

from typing_extensions import override

from drsync.sim.killed import Killed
from drsync.sim.timeline import Entry, Timeline

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

WIND_UP_MAX = 20_000  # callbacks, because a bug in clean-up must not hold up the world
WIND_UP_ROUNDS = 3  # because what is called at the very end may start tasks of its own
UNHEARD_S = 1.0  # because whoever awaits a task asks it at the next turn of the loop
UNFINISHED: list[object] = []
"""Tasks that could not be wound up, kept so that nobody complains of them when they are collected."""


def _set_running_loop(process: "Process | None") -> None:
    _asyncio_set_running_loop(cast("asyncio.AbstractEventLoop | None", process))


class Machine(Protocol):
    """What a process needs of the machine it runs on."""

    timeline: Timeline

    def boottime(self) -> float:
        """Seconds since it was started, by its own clock."""
        ...

    def instant_of(self, boottime: float) -> float:
        """When, in the world's time, its clock will show that."""
        ...

    def thread_delay(self) -> float:
        """How long work in a thread takes now, in seconds."""
        ...


def _is_unheard(task: asyncio.Task[object]) -> bool:
    """Whether a task failed, and nobody has asked it with what. As asyncio itself knows it."""
    return bool(getattr(task, "_log_traceback", False))


class Life(StrEnum):
    """What a process is doing."""

    RUNNING = "running"
    STOPPED = "stopped"  # SIGSTOP, or its machine is suspended
    DEAD = "dead"


class Handle:
    """A callback that a process will run. Doubles as its own timer."""

    __slots__ = ("_call", "_due", "_entry", "_process")

    def __init__(self, process: "Process", call: Callable[[], object], due: float = 0.0) -> None:
        self._process = process
        self._call: Callable[[], object] | None = call
        self._due = due
        self._entry: Entry | None = None

    def start(self) -> None:
        """Wait until the process's clock shows the due time."""
        machine = self._process.machine
        self._entry = machine.timeline.at(machine.instant_of(self._due), self._ring)

    def _ring(self) -> None:
        process = self._process
        if process.life is Life.STOPPED:
            process.park(self._ring)  # its clock may be held, and then nobody can tell for how long
        elif self._call is not None and process.machine.boottime() + 1e-9 < self._due:
            self.start()  # its clock was slowed down or held meanwhile
        else:
            self()

    def cancel(self) -> None:
        """Let it not happen."""
        self._call = None
        if self._entry is not None:
            self._entry.cancel()

    def cancelled(self) -> bool:
        """Whether it was cancelled, or has run."""
        return self._call is None

    def when(self) -> float:
        """Due time by the process's clock."""
        return self._due

    def __call__(self) -> None:
        """Run it, if the process runs."""
        process = self._process
        if self._call is None:
            return
        if process.life is not Life.RUNNING:
            process.park(self)
            return
        try:
            self.run()
        except Killed:
            process.kill()
        except Exception as error:  # noqa: BLE001  # as asyncio does: told, and the loop goes on
            process.call_exception_handler({"message": "in a callback", "exception": error})

    def run(self) -> None:
        """Run it in any case, in the name of its process."""
        call, self._call = self._call, None
        if call is None:
            return
        outer = _get_running_loop()
        _set_running_loop(self._process)
        try:
            call()
        finally:
            _asyncio_set_running_loop(outer)  # that of a test, or none


class _Future(asyncio.Future[T]):
    """A future with a place of its own in sets, the same in every run."""

    def __init__(self, *, loop: "Process") -> None:
        self._number = loop.machine.timeline.number()
        super().__init__(loop=cast("asyncio.AbstractEventLoop", loop))

    @override
    def __hash__(self) -> int:
        return self._number


class _Task(asyncio.Task[T]):
    """A task with a place of its own in sets, the same in every run."""

    def __init__(
        self,
        coro: Coroutine[object, object, T],
        *,
        loop: "Process",
        name: str | None = None,
        context: Context | None = None,
    ) -> None:
        self.number = loop.machine.timeline.number()
        super().__init__(
            coro,
            loop=cast("asyncio.AbstractEventLoop", loop),
            name=name or f"task-{self.number}",
            context=context,
        )

    @override
    def __hash__(self) -> int:
        return self.number


class Process:
    """One process on a machine; offers what asyncio asks of a loop.

    Attributes:
        number: as a process id, but never used twice.
        life: what it is doing.
        troubles: exceptions that nothing in it handled: bugs.
        at_end: called once when it dies, whatever the reason.
        is_in_thread: whether what runs now is the work of a thread of it.
    """

    def __init__(self, machine: Machine, name: str) -> None:
        self.machine = machine
        self.name = name
        self.number = machine.timeline.number()
        self.life = Life.RUNNING
        self.troubles: list[str] = []
        self.at_end: list[Callable[[], None]] = []
        self.is_in_thread = False
        self._timeline = machine.timeline
        self._parked: deque[Callable[[], None]] = deque()
        self._tasks: dict[int, _Task[object]] = {}
        self._threads: dict[int, asyncio.Future[object]] = {}
        self._is_winding_up = False
        self._stopped_by: dict[str, bool] = {}

    @property
    def is_alive(self) -> bool:
        """Whether it exists, stopped or not."""
        return self.life is not Life.DEAD

    @property
    def task_count(self) -> int:
        """Tasks that have not ended."""
        return len(self._tasks)

    @property
    def has_parked(self) -> bool:
        """Whether something waits for it to go on."""
        return bool(self._parked)

    # --- life

    def spawn(self, work: Coroutine[object, object, None]) -> None:
        """Start work in it from outside."""
        _ = self.create_task(work)

    def run_soon(self, callback: Callable[[*Ts], object], *args: *Ts) -> None:
        """Have it called in the process; kept while it is stopped, ignored when it is dead."""
        self.call_soon(callback, *args)

    def stop(self, why: str = "signal") -> None:
        """SIGSTOP: nothing runs until `resume` for the same reason, and everything is late then."""
        if self.life is not Life.DEAD:
            self._stopped_by[why] = True
            self.life = Life.STOPPED

    def resume(self, why: str = "signal") -> None:
        """SIGCONT: it goes on when there is no other reason to stand still."""
        self._stopped_by.pop(why, None)
        if self.life is Life.STOPPED and not self._stopped_by:
            self.life = Life.RUNNING
            parked, self._parked = self._parked, deque()
            for action in parked:
                self._timeline.soon(action)

    def kill(self) -> None:
        """SIGKILL. Harmless when it is dead already."""
        if self.life is Life.DEAD:
            return
        self.life = Life.DEAD
        self._is_winding_up = True  # because a task that ends now has somebody who waits to be told
        for tell in self.at_end:
            tell()
        self._timeline.soon(self._wind_up)

    def park(self, action: Callable[[], None]) -> None:
        """Keep what cannot run now."""
        if self.life is Life.STOPPED or self._is_winding_up:
            self._parked.append(action)

    def _wind_up(self) -> None:
        """Let every task of the dead process end, so that no coroutine is left half-way."""
        for future in self._threads.values():
            if not future.done():
                future.cancel()
        for _ in range(WIND_UP_ROUNDS):
            for number in sorted(self._tasks):
                self._tasks[number].cancel()
            self._run_parked()
        UNFINISHED.extend(task for task in self._tasks.values() if not task.done())
        self._tasks.clear()
        self._threads.clear()
        self._parked.clear()
        self._is_winding_up = False

    def _run_parked(self) -> None:
        for _ in range(WIND_UP_MAX):
            if not self._parked:
                return
            action = self._parked.popleft()
            if isinstance(action, Handle):
                with suppress(Killed, Exception):  # the dead have no bugs
                    action.run()

    # --- asyncio.AbstractEventLoop

    def time(self) -> float:
        """See asyncio."""
        return self.machine.boottime()

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> Handle:
        """See asyncio."""
        handle = Handle(self, partial((context or copy_context()).run, callback, *args))
        if self._is_winding_up:
            self._parked.append(handle)
        elif self.life is not Life.DEAD:
            self._timeline.soon(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> Handle:
        """See asyncio."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> Handle:
        """See asyncio."""
        handle = Handle(self, partial((context or copy_context()).run, callback, *args), when)
        if self._is_winding_up:
            self._parked.append(handle)
        elif self.life is not Life.DEAD:
            handle.start()
        return handle

    def create_future(self) -> asyncio.Future[object]:
        """See asyncio."""
        return _Future(loop=self)

    def create_task(
        self, coro: Coroutine[object, object, T], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[T]:
        """See asyncio."""
        task = _Task(coro, loop=self, name=name, context=context)
        self._tasks[task.number] = cast("_Task[object]", task)
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[object]) -> None:
        assert isinstance(task, _Task)
        self._tasks.pop(task.number, None)
        if task.cancelled():
            return
        if self.life is Life.DEAD:
            task.exception()  # the dead have no bugs
        elif _is_unheard(task):
            self._timeline.after(UNHEARD_S, lambda: self._listen_to(task))

    def _listen_to(self, task: asyncio.Task[object]) -> None:
        """An exception that nobody who waits for its task was told of is lost: a bug."""
        is_unheard = _is_unheard(task)
        error = task.exception()
        if is_unheard and not isinstance(error, Killed):
            self.call_exception_handler({"message": f"{task.get_name()} ended unheard", "exception": error})

    def run_in_executor(self, executor: object, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Run it in a simulated thread: all of it at one later instant."""
        del executor
        future: asyncio.Future[T] = _Future(loop=self)
        number = self._timeline.number()
        if self.life is Life.DEAD:
            future.cancel()
            return future
        self._threads[number] = cast("asyncio.Future[object]", future)

        def work() -> None:
            if self.life is not Life.RUNNING:
                self.park(work)
                return
            self._threads.pop(number, None)
            try:
                self.is_in_thread = True
                result = func(*args)
            except Killed:
                self.kill()
            except Exception as error:  # noqa: BLE001  # it belongs to whoever waits for it
                if not future.cancelled():
                    future.set_exception(error)
            else:
                if not future.cancelled():
                    future.set_result(result)
            finally:
                self.is_in_thread = False

        self._timeline.after(self.machine.thread_delay(), work)
        return future

    def get_debug(self) -> bool:
        """See asyncio."""
        return False

    def is_running(self) -> bool:
        """See asyncio."""
        return self.life is not Life.DEAD

    def is_closed(self) -> bool:
        """See asyncio."""
        return False

    def call_exception_handler(self, context: dict[str, object]) -> None:
        """Note a bug of the code that runs here."""
        if self.life is not Life.DEAD:
            error = context.get("exception")
            self.troubles.append(f"{context.get('message')}: {error!r}")

    async def shutdown_asyncgens(self) -> None:
        """See asyncio."""
