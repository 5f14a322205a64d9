"""Recovery points and forks opened by people: find, pin, serve, close by themselves, tell how they ended.

What is open lives with this process. A restart drops it: what was written to an opening was private and is
gone, and whoever reads from one opens it again.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from functools import partial

from drsync.agent.front_end import FrontEnd
from drsync.agent.opening_exports import Doors, OpeningExports
from drsync.core.points import Chosen, Reach, Wanted, choose
from drsync.engine.fork_view import ForkView
from drsync.engine.member import Member
from drsync.engine.threads import in_thread
from drsync.engine.views import GroupView, Writes
from drsync.model.errors import RefusedError, UsageError
from drsync.model.opening import Ended, Opening, Why
from drsync.ports.clock import Clock
from drsync.ports.copy_store import CopyStore
from drsync.ports.forks import ForkInfo

Json = dict[str, object]
US_PER_S = 1_000_000
RESERVE_BYTES = 1 << 30  # because the group's own writes must never wait for the space of a view's
ENDED_KEPT = 8  # because each heartbeat tells them, so that a coordinator that was away hears why

Stores = Callable[[str], CopyStore]
"""The files of the copy of a group, by its id."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be opened.

    Attributes:
        id: of the opening; asking again with the same one opens nothing more.
        wanted: the point.
        name: what to call it; empty: after the record.
        quota_bytes: what may be written to it; 0: read-only.
        lifetime_s: until it closes by itself.
        fork: open this fork instead of a point.
    """

    id: str
    wanted: Wanted
    name: str
    quota_bytes: int
    lifetime_s: float
    fork: str = ""


@dataclass(slots=True)
class _Open:
    """One that is served, and the answer to whoever opened it."""

    opening: Opening
    member: Member
    answer: Json = field(default_factory=dict)


class OpeningDesk:
    """All openings of an agent.

    Args:
        front: where they are served.
        stores: where copies are.
        clock: time.
        spawn: starts a task that lives as long as the process.
        changed: the coordinator should hear soon.
    """

    def __init__(
        self,
        front: FrontEnd,
        stores: Stores,
        clock: Clock,
        spawn: Callable[[Coroutine[None, None, None]], None],
        changed: Callable[[Member, str, str], None],
    ) -> None:
        self._doors = Doors(front)
        self._stores = stores
        self._clock = clock
        self._spawn = spawn
        self._changed = changed
        self._open: dict[str, _Open] = {}
        self._ended: dict[str, deque[Ended]] = {}
        self._opening = asyncio.Lock()

    # --- opening

    async def open(self, member: Member, order: Order) -> Json:
        """Serve a point or a fork; its uris, and what it is.

        Raises:
            RefusedError: it cannot be opened here, or another one has the name.
        """
        async with self._opening:  # one after another: names are compared, and each may take seconds
            known = self._open.get(order.id)
            if known is not None:
                return known.answer
            if order.name and self._find(member, order.name) is not None:
                raise RefusedError(
                    f"{member.copy.me.center} has an opening of {member.copy.spec.name} called {order.name}",
                    code="name_taken",
                    remedy="Take another name, or close that one.",
                )
            await self._require_space(member, order.quota_bytes)
            return await (self._open_fork(member, order) if order.fork else self._open_point(member, order))

    async def _require_space(self, member: Member, quota_bytes: int) -> None:
        """Raises RefusedError: what may be written would take the space of the group's own journal."""
        if not quota_bytes:
            return
        free = await in_thread(self._stores(member.copy.spec.id).free_bytes)
        kept = sum(one.opening.quota_bytes for one in self._open.values())
        if quota_bytes + kept + RESERVE_BYTES > free:
            raise RefusedError(
                f"{member.copy.me.center} has {free >> 20} MiB free; {RESERVE_BYTES >> 20} MiB stay for "
                f"journals, {kept >> 20} MiB are promised to other openings",
                code="no_space_for_quota",
                remedy="Take a smaller --quota, open it at another center, or free space there.",
            )

    async def _open_point(self, member: Member, order: Order) -> Json:
        copy = member.copy
        high = min(copy.commit, copy.journal.durable_seq)
        reach = Reach(copy.me.center, copy.points(), copy.volumes.reached, high)
        chosen = choose(order.wanted, reach, lambda seq: copy.journal.batch_end_at_or_below(seq).seq)
        view = member.views.hold(order.id, chosen.seq)
        return await self._serve(member, order, view, self._of_point(member, order, chosen), chosen)

    async def _open_fork(self, member: Member, order: Order) -> Json:
        copy, forks = member.copy, self._stores(member.copy.spec.id).forks(member.copy.spec)
        told = await in_thread(lambda: forks.describe(order.fork))
        why = why_not(member, told)
        if why:
            raise RefusedError(
                f"{copy.me.center}: fork {told.name} cannot be opened: {why}",
                code="fork_out_of_reach",
                remedy=f"Its records can still be read: drsync journal show --records {told.path}",
            )
        journal = await in_thread(lambda: forks.open(order.fork))
        try:
            view = member.views.hold(order.id, told.prior.seq, partial(ForkView, fork=journal))
        except BaseException:
            journal.close()
            raise
        opening = self._made(
            member, order, told.tip.seq, order.name or self._free_name(member, told.name), told.last_us
        )
        return await self._serve(member, order, view, opening, None)

    def _of_point(self, member: Member, order: Order, chosen: Chosen) -> Opening:
        name = order.name or self._free_name(member, f"point-{chosen.seq}")
        made = self._made(member, order, chosen.seq, name, chosen.before.time_us if chosen.before else 0)
        if chosen.at is None:
            return made
        at = chosen.at
        return replace(made, point=at.name, is_point=True, is_app_consistent=at.is_app_consistent)

    def _made(self, member: Member, order: Order, seq: int, name: str, time_us: int) -> Opening:
        now_us = self._clock.wall_us()
        return Opening(
            id=order.id,
            name=name,
            group_id=member.copy.spec.id,
            center=member.copy.me.center,
            seq=seq,
            time_us=time_us,
            fork=order.fork,
            quota_bytes=order.quota_bytes,
            opened_us=now_us,
            until_us=now_us + round(order.lifetime_s * US_PER_S),
        )

    async def _serve(
        self, member: Member, order: Order, view: GroupView, opening: Opening, chosen: Chosen | None
    ) -> Json:
        """Everything after the pin; given back when something goes wrong."""
        try:
            view.since_us = opening.opened_us
            view.may_keep(Writes(order.quota_bytes, self._stores(opening.group_id).scratch))
            await view.build()
            self._require_there(view)
            uris = await self._doors.open(opening, OpeningExports(view, opening))
            self._require_there(view)
        except BaseException:
            await self._doors.shut(opening.id)
            member.views.release(view.id)
            raise
        shown = _Open(opening, member)
        shown.answer = {
            "opening": opening.fields(),
            "volumes": uris,
            "asked_us": order.wanted.time_us or 0,
            "next_us": chosen.next_us if chosen is not None else 0,
            "left_out": [fileset.name for fileset in member.copy.spec.filesets],
        }
        self._open[opening.id] = shown
        self._spawn(self._close_in_time(opening, self._clock.now() + order.lifetime_s))
        self._changed(member, "opening_opened", f"{opening.name}: record {opening.seq}")
        return shown.answer

    @staticmethod
    def _require_there(view: GroupView) -> None:
        if view.is_over:
            raise RefusedError(f"view {view.id} was given up while it was opened", code="view_given_up")

    def _free_name(self, member: Member, wanted: str) -> str:
        taken = {one.opening.name for one in self._open.values() if one.member is member}
        number, name = 1, wanted
        while name in taken:
            number += 1
            name = f"{wanted}-{number}"
        return name

    # --- closing

    async def close(self, member: Member, name: str, text: str) -> Json:
        """Close the opening of that name or id. Raises UsageError: there is none."""
        shown = self._find(member, name)
        if shown is None:
            names = sorted(one.opening.name for one in self._open.values() if one.member is member)
            held = f"open are: {', '.join(names)}" if names else "nothing is open"
            raise UsageError(
                f"{member.copy.me.center} has no opening {name[:64]} of {member.copy.spec.name}; {held}",
                code="unknown_opening",
            )
        await self._end(shown, Why.CLOSED, text)
        return {"opening": shown.opening.fields()}

    def _find(self, member: Member, name: str) -> _Open | None:
        mine = (one for one in self._open.values() if one.member is member)
        return next((one for one in mine if name in (one.opening.name, one.opening.id)), None)

    async def _close_in_time(self, opening: Opening, deadline: float) -> None:
        await self._clock.sleep_until(deadline)
        shown = self._open.get(opening.id)
        if shown is not None:
            await self._end(shown, Why.EXPIRED, "its time was over")

    async def given_up(self, view_id: str, text: str) -> None:
        """The copy dropped the view of an opening."""
        shown = self._open.get(view_id)
        if shown is not None:
            await self._end(shown, Why.GIVEN_UP, text)

    async def _end(self, shown: _Open, why: Why, text: str) -> None:
        opening = shown.opening
        if self._open.pop(opening.id, None) is None:
            return  # somebody else has just ended it
        ended = self._ended.setdefault(opening.group_id, deque(maxlen=ENDED_KEPT))
        ended.append(Ended(opening, why, text, self._clock.wall_us()))
        await self._doors.shut(opening.id)
        shown.member.views.release(opening.id)
        self._changed(shown.member, f"opening_{why.value}", f"{opening.name}: {text}")

    async def stop(self) -> None:
        """Serve nothing any more: the process ends."""
        await self._doors.close()

    # --- telling

    def told(self, member: Member) -> Json:
        """For the heartbeat of a group: nothing at all while there is nothing to tell."""
        group_id = member.copy.spec.id
        mine = [one.opening.fields() for one in self._open.values() if one.opening.group_id == group_id]
        ended = [
            {"id": one.opening.id, "why": one.why.value, "text": one.text, "at_us": one.at_us}
            for one in self._ended.get(group_id, ())
        ]
        return ({"openings": mine} if mine else {}) | ({"ended": ended} if ended else {})

    def find(self, view_id: str) -> Opening | None:
        """The opening that a view belongs to."""
        shown = self._open.get(view_id)
        return shown.opening if shown is not None else None

    # --- forks

    async def forks(self, member: Member) -> Json:
        """What is kept aside here, and whether it can be opened."""
        forks = self._stores(member.copy.spec.id).forks(member.copy.spec)
        found = await in_thread(lambda: [forks.describe(name) for name in forks.names()])
        return {
            "forks": [
                {**_fork_json(told, why_not(member, told)), "open_as": self._open_as(member, told.name)}
                for told in found
            ]
        }

    def _open_as(self, member: Member, fork: str) -> str:
        """The opening of a fork; empty: it is not open."""
        mine = (one.opening for one in self._open.values() if one.member is member)
        return next((opening.name for opening in mine if opening.fork == fork), "")

    async def discard(self, member: Member, name: str) -> Json:
        """Remove a fork for good. Raises RefusedError while it is open."""
        async with self._opening:
            if opened := self._open_as(member, name):
                remedy = f"drsync close {member.copy.spec.name} {opened}"
                raise RefusedError(f"fork {name} is open as {opened}", code="fork_open", remedy=remedy)
            forks = self._stores(member.copy.spec.id).forks(member.copy.spec)
            told = await in_thread(lambda: forks.describe(name))
            await in_thread(lambda: forks.discard(name))
        return {"fork": _fork_json(told, "it was discarded")}


def why_not(member: Member, told: ForkInfo) -> str:
    """Why a fork cannot be opened as the group was; empty when it can."""
    copy, start = member.copy, told.prior.seq
    if told.damage:
        return f"it is damaged: {told.damage}"
    if copy.volumes.reached > start:
        return f"the images here hold records up to {copy.volumes.reached}, the fork begins after {start}"
    if copy.journal.position_at(start) != told.prior:
        return f"the log here has no such position {start} any more"
    return ""


def _fork_json(told: ForkInfo, why: str) -> Json:
    return {
        "name": told.name,
        "path": told.path,
        "epoch": told.tip.epoch,
        "after_seq": told.prior.seq,
        "last_seq": told.tip.seq,
        "records": told.records,
        "batches": told.batches,
        "bytes": told.bytes,
        "first_us": told.first_us,
        "last_us": told.last_us,
        "damage": told.damage,
        "why_not": why,
    }
