"""Quiet moments of an agent's groups: when one is due, and when somebody asks; what is told of them."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from drsync.adapters.hooks.freezing import thaw_left
from drsync.adapters.hooks.removal import remove
from drsync.adapters.metrics import catalog
from drsync.adapters.metrics.reading import Reading
from drsync.agent.quiet_moment import Outcome, Quarters, QuietMoment
from drsync.core import quiet
from drsync.engine.member import Member
from drsync.engine.term import OwnerTerm
from drsync.model.consistency import HOOKS_S_MAX, Consistency
from drsync.model.errors import DrsyncError, MalformedError, RefusedError, TransientError
from drsync.ports.clock import Clock, Random
from drsync.ports.transport import Call

Json = dict[str, object]
Spawn = Callable[[Coroutine[None, None, None]], object]

LOOK_S = 1.0  # because a pause may come a second late
LEARN_S = 5.0  # because heartbeats come each second, and one may be late
POLL_S = 0.05
NAME_MAX = 128
WHY_CHARACTERS = 500  # because it goes out with each heartbeat
OUTPUT_CHARACTERS = 1000  # of each step, because an answer has a limit
MARK_DIGITS = 12


class Host(Protocol):
    """The agent, as this desk needs it."""

    def members(self) -> list[Member]:
        """All groups with a copy here."""
        ...

    def member(self, group_id: str) -> Member:
        """The member of a group. Raises UsageError."""
        ...

    def log_member(self, member: Member, event: str, reason: str) -> None:
        """A line for the night shift."""
        ...

    def log(self, event: str, reason: str) -> None:
        """The same, of the agent."""
        ...

    def bug(self, where: str, error: Exception) -> None:
        """Something escaped that should not have."""
        ...

    def word_changed(self, member: Member) -> None:
        """Something that the coordinator should hear soon."""
        ...


@dataclass(slots=True)
class Book:
    """What is remembered of one group in one term of ownership, and since the start of the process.

    Attributes:
        term: whose owner is remembered; `since_us`: label of when it was first seen.
        newest_us: label of the newest application-consistent point.
        tried_at: instant of the last try; None: there was none.
        attempts, failures: since the start of the process.
        last: how the last try ended.
        running: the present one.
    """

    term: OwnerTerm | None = None
    since_us: int = 0
    newest_us: int = 0
    tried_at: float | None = None
    attempts: int = 0
    failures: int = 0
    last: Outcome | None = None
    running: QuietMoment | None = None


class QuietDesk:
    """One per agent."""

    def __init__(self, host: Host, quarters: Quarters, clock: Clock, dice: Random, spawn: Spawn) -> None:
        self._host = host
        self._quarters = quarters
        self._clock = clock
        self._dice = dice
        self._spawn = spawn
        self._books: dict[str, Book] = {}

    def for_coordinator(self) -> Mapping[str, Call]:
        """What the coordinator may ask."""
        return {"group.quiet": self._asked}

    async def run(self) -> None:
        """Look after every owned group, until cancelled."""
        while True:
            for member in self._host.members():
                try:
                    self._look(member)
                except Exception as error:  # noqa: BLE001  # whatever escaped is a bug of this loop alone
                    self._host.bug("application-consistent checkpoints", error)
            await self._clock.sleep_until(self._clock.now() + self._clock.until_round(LOOK_S))

    async def sweep(self) -> None:
        """Thaw what killed processes left frozen; before anything that may take long. Never fails."""
        folder, records = self._quarters.folder, self._quarters.records
        try:
            for what in await asyncio.to_thread(thaw_left, records, self._quarters.boot_id):
                self._host.log("thawed", f"left by an agent and its guard that were killed: {what}")
            for place in await asyncio.to_thread(lambda: sorted(folder.glob("quiet-*"))):
                if not (records / f"{place.name}json").exists():  # else its guard is still at work in it
                    await remove(folder, place.name)
        except OSError as error:
            self._host.log("sweep_failed", f"whether something is frozen is looked at next time: {error}")

    # --- when

    def _look(self, member: Member) -> None:
        book, term, now_us = self._book(member), member.term, self._clock.wall_us()
        if term is not book.term:
            book.term, book.since_us = term, now_us
            known = (mark.time_us for mark in member.copy.checkpoints if mark.is_app_consistent)
            book.newest_us = max(book.newest_us, *known, 0)
        if term is None:
            return
        charter = term.charter
        owner = quiet.Owner(
            is_serving=term.engine.is_leased and not term.engine.is_gated,
            has_intent=charter.intent is not None,
            is_running=book.running is not None,
            newest_us=book.newest_us,
            since_us=book.since_us,
            tried_s=None if book.tried_at is None else self._clock.now() - book.tried_at,
        )
        policy = charter.group.policy.consistency
        if quiet.is_due(policy, owner, now_us):
            _ = self._begin(member, policy, "")  # what comes of it is told, not waited for

    def _book(self, member: Member) -> Book:
        group_id = member.copy.spec.id
        book = self._books.get(group_id)
        if book is None:
            book = self._books[group_id] = Book()
            member.on_give_way = partial(self._give_way, group_id)
        return book

    def _give_way(self, group_id: str, why: str) -> None:
        """A procedure has the copy in hand: whatever runs ends now, and nothing waits for it."""
        running = self._books[group_id].running
        if running is not None:
            running.end(f"ended, because {why}")

    # --- one

    async def _asked(self, _method: str, body: Json) -> Json:
        """``group.quiet``: a checkpoint now, after the hooks; it goes on when the coordinator is lost."""
        name, seconds = body.get("name", ""), body.get("timeout_s")
        if not isinstance(name, str) or len(name) > NAME_MAX:
            raise MalformedError(f"name: a text of at most {NAME_MAX} characters was expected")
        member = self._host.member(str(body.get("group", "")))
        if member.term is None:
            center = member.copy.me.center
            raise RefusedError(f"{center} does not own {member.copy.spec.name}", code="not_owner")
        policy = await self._policy(member, member.term, body.get("version"))
        if not policy.before:
            raise RefusedError(
                f"nothing makes the application of {member.copy.spec.name} quiet",
                code="no_hooks",
                remedy="Name the steps in [policy.consistency] of the group.",
            )
        if seconds is not None:
            is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
            if not is_number or not 0 < float(str(seconds)) <= HOOKS_S_MAX:
                raise MalformedError(f"timeout_s: seconds up to {HOOKS_S_MAX:g} were expected")
            policy = replace(policy, timeout_s=float(str(seconds)))
        if self._book(member).running is not None:
            raise TransientError(
                f"hooks of {member.copy.spec.name} run just now", code="busy", remedy="Try again in a moment."
            )
        outcome = await asyncio.shield(self._begin(member, policy, name))
        if isinstance(outcome, DrsyncError):
            raise outcome
        return told(outcome) | {"group": member.copy.spec.name, "name": name}

    async def _policy(self, member: Member, term: OwnerTerm, version: object) -> Consistency:
        """As it is since `version` of the charter, which an owner learns with its next heartbeat."""
        deadline = self._clock.now() + LEARN_S
        while isinstance(version, int) and term.charter.version < version and member.term is term:
            if self._clock.now() >= deadline:
                raise TransientError(
                    f"{member.copy.me.center} has not heard yet of the policy of {member.copy.spec.name}",
                    code="stale_policy",
                    remedy="Try again in a moment.",
                )
            await self._clock.sleep_until(self._clock.now() + POLL_S)
        return term.charter.group.policy.consistency

    def _begin(
        self, member: Member, policy: Consistency, name: str
    ) -> "asyncio.Future[Outcome | DrsyncError]":
        """Start one; whoever asked may wait for what is returned, or go away."""
        book = self._book(member)
        mark = f"quiet-{self._dice.hex128()[:MARK_DIGITS]}."
        moment = book.running = QuietMoment(member, self._quarters, self._clock, mark, policy, name)
        book.tried_at = self._clock.now()
        ended: asyncio.Future[Outcome | DrsyncError] = asyncio.get_running_loop().create_future()
        self._spawn(self._run(member, book, moment, ended))
        return ended

    async def _run(
        self,
        member: Member,
        book: Book,
        moment: QuietMoment,
        ended: "asyncio.Future[Outcome | DrsyncError]",
    ) -> None:
        result: Outcome | DrsyncError = TransientError("the agent stopped meanwhile", code="stopped")
        try:
            result = await moment.run()
            self._note(member, book, result)
        except DrsyncError as error:
            result = error
        except Exception as error:  # noqa: BLE001  # a bug here must not take the agent along
            self._host.bug("application-consistent checkpoints", error)
            result = TransientError(f"stopped by a bug: {error!r}", code="bug")
        finally:
            book.running = None
            if not ended.done():
                ended.set_result(result)

    def _note(self, member: Member, book: Book, outcome: Outcome) -> None:
        book.attempts += 1
        was_well = book.last is None or book.last.is_consistent
        book.last = outcome
        if outcome.is_consistent:
            book.newest_us = outcome.time_us
            if not was_well:
                self._host.log_member(member, "app_point_again", f"record {outcome.seq}")
        else:
            book.failures += 1
            self._host.log_member(member, "app_point_failed", outcome.why)
        self._host.word_changed(member)

    # --- what is told

    def about(self, member: Member) -> Json | None:
        """For the coordinator, with each heartbeat of an owner; None: the group wants no such points."""
        term, book = member.term, self._books.get(member.copy.spec.id)
        if term is None or book is None or book.term is not term:
            return None
        policy, now_us = term.charter.group.policy.consistency, self._clock.wall_us()
        if not policy.before:
            return None
        last = book.last
        return {
            "newest_us": book.newest_us,
            "attempts": book.attempts,
            "failures": book.failures,
            "at_us": last.at_us if last is not None else 0,
            "why": last.why[:WHY_CHARACTERS] if last is not None else "",
            "freeze_ms": last.freeze_ms if last is not None else 0,
            "is_late": quiet.is_late(policy, book.newest_us, book.since_us, now_us),
        }

    def readings(self) -> Iterator[Reading]:
        """Figures of the groups that are owned here and want such points."""
        for member in self._host.members():
            said, group = self.about(member), member.copy.spec.name
            book = self._books.get(member.copy.spec.id)
            if said is None or book is None:
                continue
            yield Reading(catalog.QUIET_ATTEMPTS, (group,), book.attempts)
            yield Reading(catalog.QUIET_FAILURES, (group,), book.failures)
            yield Reading(catalog.QUIET_LATE, (group,), said["is_late"] is True)
            if book.last is not None:
                yield Reading(catalog.QUIET_FREEZE, (group,), book.last.freeze_ms / 1000)
            if book.newest_us:
                age_s = (self._clock.wall_us() - book.newest_us) / quiet.US
                yield Reading(catalog.QUIET_AGE, (group,), max(age_s, 0.0))


def told(outcome: Outcome) -> Json:
    """An outcome as the coordinator hears it."""
    return {
        "seq": outcome.seq,
        "time_us": outcome.time_us,
        "epoch": outcome.epoch,
        "app": outcome.is_consistent,
        "why": outcome.why[:OUTPUT_CHARACTERS],
        "freeze_ms": outcome.freeze_ms,
        "steps": [
            {
                "step": one.what,
                "ok": not one.failure,
                "seconds": one.seconds,
                "output": one.output[-OUTPUT_CHARACTERS:],
            }
            for one in outcome.steps
        ],
    }
