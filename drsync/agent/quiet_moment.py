"""One quiet moment at an owner: hooks, the checkpoint, hooks, and what the point is worth (decision 27).

The guard does what must end whatever becomes of this process; here is what only the owner can do: append.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from drsync.adapters.hooks.freezing import Record, require_freezable
from drsync.adapters.hooks.guarded import Guarded, Word, Work
from drsync.adapters.hooks.programs import Allowed, environment, tool
from drsync.adapters.hooks.removal import HOME, remove
from drsync.config.options import HookOptions
from drsync.core import quiet
from drsync.engine.member import Member
from drsync.engine.term import OwnerTerm
from drsync.model.consistency import Consistency, QuietStep, StepKind
from drsync.model.errors import DrsyncError, RefusedError, TransientError
from drsync.ports.clock import Clock

SHOWN_CHARACTERS = 400  # because the reason is one line of a status
TREES_SHARE = 0.8  # of the freeze: what is left is for the record and the thaw


@dataclass(frozen=True, slots=True)
class Quarters:
    """Where hooks run, and what they may.

    Attributes:
        options: what the agent's configuration allows.
        folder: where programs have their place; below `run_dir`.
        records: what is being frozen; below `state_dir`.
        own: paths that this process must be able to write to.
        boot_id: of this host.
    """

    options: HookOptions
    folder: Path
    records: Path
    own: tuple[Path, ...]
    boot_id: str


@dataclass(frozen=True, slots=True)
class StepDone:
    """How one step ended. `code`: exit code; negative: a signal; None: killed when its time was over."""

    what: str
    code: int | None
    output: str
    seconds: float

    @property
    def failure(self) -> str:
        """In words; empty when it succeeded."""
        if self.code == 0:
            return ""
        said = f": {self.output[-SHOWN_CHARACTERS:]}" if self.output else ""
        if self.what.startswith(StepKind.FSFREEZE):
            return f"{self.what}{said}"
        if self.code is None:
            return f"{self.what} took {self.seconds:.1f} s, and was killed{said}"
        return f"{self.what} ended with exit code {self.code}{said}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a quiet moment.

    Attributes:
        name: of the checkpoint.
        seq, time_us, epoch: of its record; 0: none was written.
        why: it is not application-consistent; empty: it is.
        freeze_ms: how long the longest freeze was; 0: nothing was frozen.
        steps: what was run.
        at_us: when it ended.
    """

    name: str
    seq: int
    time_us: int
    epoch: int
    why: str
    freeze_ms: int
    steps: tuple[StepDone, ...]
    at_us: int

    @property
    def is_consistent(self) -> bool:
        """For the application."""
        return not self.why


@dataclass(frozen=True, slots=True)
class Written:
    """A checkpoint's record; all 0: there is none."""

    seq: int = 0
    time_us: int = 0
    epoch: int = 0


class QuietMoment:
    """Made for one attempt; `run` once."""

    def __init__(
        self, member: Member, quarters: Quarters, clock: Clock, mark: str, policy: Consistency, name: str
    ) -> None:
        """`mark` names this attempt and no other, and is borne by every process of it."""
        self._member = member
        self._quarters = quarters
        self._clock = clock
        self._mark = mark
        self._policy = policy
        self._plan = quiet.plan(policy)
        self._name = name
        self._guard: Guarded | None = None
        self._seen = quiet.Evidence(has_reached=False)
        self._steps: list[StepDone] = []
        self._count = 0
        self._written = Written()

    def end(self, why: str) -> None:
        """Let everything go on, at once; nothing is waited for."""
        if not self._seen.ended:
            self._seen = replace(self._seen, ended=why)
        if self._guard is not None:
            self._guard.end(why)

    async def run(self) -> Outcome:
        """Raises RefusedError: this center does not own the group, or takes no writes now."""
        term = self._member.term
        if term is None or term.engine.is_gated or not term.engine.is_leased:
            center, group = self._member.copy.me.center, self._member.copy.spec.name
            raise RefusedError(f"{center} does not take writes of {group} now", code="not_owner")
        try:
            work = await asyncio.to_thread(self._work)
        except DrsyncError as error:
            self._failed(str(error))
        else:
            await self._be_quiet(term, work)
        seen = self._seen
        if not seen.is_recorded and not seen.ended and quiet.is_written(self._policy, seen.failed):
            with suppress(DrsyncError):
                self._append(term)
        why = quiet.verdict(self._plan, replace(seen, is_same_term=self._is_same(term)))
        if not why:
            try:
                term.checkpoint("", is_app_consistent=False, confirms=self._written.seq)
            except DrsyncError as error:
                why = str(error)
        frozen_ms = max((one.ms for one in seen.thawed), default=0)
        written, at_us = self._written, self._clock.wall_us()
        return Outcome(
            self._name, written.seq, written.time_us, written.epoch, why, frozen_ms, tuple(self._steps), at_us
        )

    def _is_same(self, term: OwnerTerm) -> bool:
        engine = term.engine
        return self._member.term is term and engine.is_leased and not engine.is_frozen

    # --- what the configuration allows

    def _work(self) -> Work:
        """The plan with programs in the place of names. Blocking. Raises RefusedError, UsageError."""
        plan, policy = self._plan, self._policy
        before = [(step.words, self._argv(step)) for step in plan.before]
        after = [(step.words, self._argv(step)) for step in plan.after]
        freezes = [self._mount(mount) for mount in plan.freezes]
        home = self._quarters.folder / self._mark / HOME
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Work(
            before=before,
            freeze=freezes,
            after=after,
            before_s=policy.timeout_s,
            freeze_s=policy.max_freeze_s,
            hold_s=policy.timeout_s,
            after_s=policy.timeout_s,
            env=environment(self._mark, home),
            home=str(home),
            record=str(self._quarters.records / f"{self._mark}json"),
        )

    def _argv(self, step: QuietStep) -> list[str]:
        options = self._quarters.options
        if step.kind is StepKind.POSTGRESQL:
            conninfo = dict(options.postgresql).get(step.name)
            if conninfo is None:
                raise _not_allowed(step, "[hooks.postgresql]")
            quietly = ["-X", "-q", "-w", "-v", "ON_ERROR_STOP=1"]
            return [tool("psql"), *quietly, "-c", "CHECKPOINT", "-d", conninfo]
        argv = dict(options.programs).get(step.name)
        if argv is None:
            raise _not_allowed(step, "[hooks.programs]")
        return [str(Allowed(options.allow).find(argv[0])), *argv[1:]]

    def _mount(self, mount: str) -> tuple[str, int]:
        if mount not in self._quarters.options.freeze:
            raise _not_allowed(QuietStep(StepKind.FSFREEZE, mount), "[hooks] freeze")
        return require_freezable(mount, self._quarters.own)

    # --- the guard

    async def _be_quiet(self, term: OwnerTerm, work: Work) -> None:
        try:
            await self._with_guard(term, work)
        except DrsyncError as error:
            self._failed(str(error))
        finally:
            self._guard = None

    async def _with_guard(self, term: OwnerTerm, work: Work) -> None:
        try:
            is_done = await self._hear(term, work)
            if not is_done:
                self._failed("the guard was killed; what it had frozen was thawed in its place")
                await self._hear(term, replace(work, before=(), freeze=(), hold_s=0.0))
        finally:
            if self._guard is None or not self._guard.is_running:  # else it is at work in its place
                await asyncio.shield(remove(self._quarters.folder, self._mark))

    async def _hear(self, term: OwnerTerm, work: Work) -> bool:
        """One guard from its start to its end; False: it did not come to its end."""
        record = Record(self._mark, self._quarters.boot_id, tuple(work.freeze))
        guard = self._guard = await Guarded.start(work, record)
        if self._seen.ended:
            guard.end(self._seen.ended)
        self._count = _count(term)
        try:
            async with asyncio.timeout(guard.longest_s):
                while not guard.is_done and (word := await guard.read()) is not None:
                    if word.get("quiet") is True and work.hold_s:
                        await self._write(term, guard)
                    else:
                        self._note(term, word)
        except TimeoutError as error:
            raise TransientError("the guard does not answer", code="timeout") from error
        finally:
            guard.end("the agent gave it up")
            await asyncio.shield(guard.close())
        return guard.is_done

    def _note(self, term: OwnerTerm, word: Word) -> None:
        """What the guard says is kept; what failed is why the point is none for the application."""
        if "step" in word:
            code = word.get("code")
            done = StepDone(
                str(word["step"]),
                code if isinstance(code, int) else None,
                str(word.get("output", "")),
                _number(word, "seconds"),
            )
            self._steps.append(done)
            if done.failure:
                self._failed(done.failure)
            if not self._seen.is_recorded:
                self._count = _count(term)
        elif "thawed" in word:
            how = quiet.Thawed(
                str(word["thawed"]),
                word.get("held") is True,
                int(_number(word, "ms")),
                str(word.get("why", "")),
            )
            self._seen = replace(self._seen, thawed=(*self._seen.thawed, how))
        elif word.get("done") is True:
            self._seen = replace(self._seen, is_kept=word.get("kept") is True)

    async def _write(self, term: OwnerTerm, guard: Guarded) -> None:
        """Everything is quiet: append, and let it go on in the same turn. Never waits for another center."""
        try:
            has_reached = _count(term) > self._count
            self._seen = replace(self._seen, has_reached=has_reached)
            if not self._member.trees.is_empty:
                seconds = TREES_SHARE * self._policy.max_freeze_s
                async with asyncio.timeout(seconds):
                    await self._member.trees.settle("", seconds)
            if not self._seen.ended and self._is_same(term):
                self._append(term)
                self._seen = replace(self._seen, is_recorded=True)
        except TimeoutError:
            self._failed("the file sets were not looked through while it was quiet")
        except DrsyncError as error:
            self._failed(str(error))
        finally:
            guard.thaw()

    def _append(self, term: OwnerTerm) -> None:
        position = term.checkpoint(self._name, is_app_consistent=False)
        self._written = Written(position.seq, term.engine.last_time_us, position.epoch)

    def _failed(self, why: str) -> None:
        self._seen = replace(self._seen, failed=(*self._seen.failed, why))


def _count(term: OwnerTerm) -> int:
    """Of what came from clients: it grows when a freeze reaches a volume of the group."""
    stats = term.engine.stats
    return stats.writes + stats.flushes


def _number(word: Word, key: str) -> float:
    value = word.get(key)
    return float(value) if isinstance(value, int | float) else 0.0


def _not_allowed(step: QuietStep, where: str) -> RefusedError:
    return RefusedError(
        f"{step.words} is not allowed here",
        code="hook_not_allowed",
        remedy=f"Name it in {where} of this agent's configuration.",
    )
