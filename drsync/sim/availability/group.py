"""One group through years of faults: what it does at each of them, as the shipped decisions say.

A continuous-time simulation of the group's state: from one event to the next instant at which something is
due. After each, `_settle` looks at what is and does what is due (level-triggered, as the coordinator does).
Decisions come from `rules`; what people and machines take comes from the table.
"""

from collections.abc import Callable, Sequence

from drsync.sim.availability.faults import (
    PRODUCTION,
    REMOTE,
    SAME_CITY,
    YEAR_S,
    Cause,
    Event,
    Fault,
    delay,
    lognormal,
)
from drsync.sim.availability.ledger import Result, settle
from drsync.sim.availability.situation import NEVER, Situation

ROUNDS_MAX = 50  # because what is due at one instant is a handful; more is a decision that undoes another
DAY_S = 86400.0
PROGRESS_EVENTS = 2000  # because a progress line is drawn ten times a second at most


class Group(Situation):
    """The group in one topology and one history of faults."""

    # --- time

    def run(
        self, events: Sequence[Event], years: float, target: float, beat: Callable[[float], None]
    ) -> Result:
        """Live through the events. `beat(years)` is called now and then."""
        end = years * YEAR_S
        self._settle()
        for count, event in enumerate(events):
            if event.at >= end:
                break
            self._until(event.at)
            if self._take(event):
                self._settle()
            if count % PROGRESS_EVENTS == 0:
                beat(self.now / YEAR_S)
        self._until(end)
        self._close_outage()
        return settle(self.ledger, years, target)

    def _until(self, at: float) -> None:
        while self._due <= at:
            self._advance(self._due)
            self._settle()
        self._advance(at)

    def _advance(self, to: float) -> None:
        seconds = to - self.now
        if seconds > 0:
            if self._is_open and self._up[self.owner]:
                sees, up = self._network.sees[self.owner], self._up
                followers = [c for c in self._centers if up[c] and c != self.owner and c in sees]
                self.copies.pass_time(
                    seconds, self.owner, followers, self.in_sync, is_serving=self._is_serving
                )
            self.now = to

    # --- events

    def _take(self, event: Event) -> bool:
        """Apply an event; whether it concerns this topology at all."""
        fault = event.fault
        if fault.name in {"maintenance", "drill", "latent_fault"}:
            return self._take_quiet(event)
        by = 1 if event.begins else -1
        concerns = [self._hit(effect, where, by) for effect, where in fault.hits]
        if any(concerns):
            if event.begins:
                self._active[fault] = None
            else:
                self._active.pop(fault, None)
        return any(concerns)

    def _take_quiet(self, event: Event) -> bool:
        fault = event.fault
        _, center = fault.hits[0]
        if center not in self._centers:
            return False
        if fault.name == "latent_fault":
            if event.begins:
                self._latent[center] = fault
            return False
        if fault.name == "drill":
            if not event.begins and center != self.owner:
                self._latent[center] = None
            return False
        return (
            self._begin_maintenance(fault, center) if event.begins else self._end_maintenance(fault, center)
        )

    def _begin_maintenance(self, fault: Fault, center: int) -> bool:
        """Planned work begins, unless it would now take away what the group stands on."""
        if not self._is_serving or self._procedure or any(self._gone[c] for c in self._centers):
            return False
        if center == self.owner and len(self._centers) > 1:
            target = next((c for c in self._centers if self._is_fit(c)), None)
            if target is None:
                self._latent = [None] * len(self._latent)  # a switchover that does not start finds them
                return False
            self._switch(target, Cause.MAINTENANCE)
            self.in_sync = frozenset((target,))
        self._maintained.add(fault)
        self._active[fault] = None
        self._leave(center)
        return True

    def _end_maintenance(self, fault: Fault, center: int) -> bool:
        if fault not in self._maintained:
            return False
        self._maintained.discard(fault)
        self._active.pop(fault, None)
        self._return(center)
        return True

    # --- what is due

    def _settle(self) -> None:
        for _ in range(ROUNDS_MAX):
            self._due = NEVER
            if self._is_right_held:
                self._right_ended = self.now
            self._up = [not g and not s and self._reached(at) for g, s, at in self._condition()]
            self._leader = self._acting()
            self._mute = self._silent()
            self._is_serving = self._serves()
            self._account()
            if not self._act():
                return
        raise AssertionError(f"the group cannot settle at {self.now}")

    def _act(self) -> bool:
        """Do one thing that is due; whether anything was."""
        if self._apart is not None and self._meet_again():
            return True
        if self._change_set():
            return True
        if self._is_serving:
            return self._force_by_mistake() or self._fail_back()
        return self._reopen() or self._proceed() or self._fail_over_alone() or self._people_act()

    def _account(self) -> None:
        is_down = not self._is_serving and self._apart is None
        if is_down and self._outage is None:
            self._over("failback")
            self._over("mistake")
            if self.now < self._moving_until:
                self._outage = (self.now, None, self._moving_cause, True)
            else:
                fault = self._culprit()
                cause = fault.cause if fault else Cause.COORDINATOR
                is_planned = fault in self._maintained and len(self._centers) == 1
                self._outage = (self.now, fault, cause, is_planned)
        elif is_down and self._outage and self._outage[3] and self._moving_until <= self.now:
            self._planned_gone_wrong()
        elif not is_down and self._outage is not None:
            self._close_outage()
            self._procedure = None
            for what in self._watched:
                self._over(what)

    def _planned_gone_wrong(self) -> None:
        """A planned pause that lasts longer than its operation is down from then on."""
        fault = next(reversed(self._active), None)
        if fault is not None and fault in self._maintained and len(self._centers) == 1 and self._gone[0] == 1:
            return
        self._close_outage()
        self._outage = (self.now, fault, fault.cause if fault else self._moving_cause, False)

    def _close_outage(self) -> None:
        if self._outage is not None:
            began, _, cause, is_planned = self._outage
            self.ledger.down(began, self.now, cause, is_planned=is_planned)
            self._outage = None

    def _change_set(self) -> bool:
        """A silent member leaves the in-sync set, one that has caught up joins it."""
        if not (self._is_open and self._up[self.owner]):
            return False
        silent = self._mute
        for center in self._centers:
            if center == self.owner:
                continue
            if center in self.in_sync:
                if self._is_due(center, self._rates.model.sync_timeout, center in silent):
                    smaller = self._rules.shrink(self.owner, self.in_sync, center)
                    if smaller is not None and self._has_store():
                        self.in_sync = smaller
                        self._over(center)
                        return True
            elif center in self._rules.mates(self.owner) and self._joins(center):
                return True
            elif self.copies.is_useless[center] and self._sees(self.owner, center):
                self._reached(self.now + self.copies.until_current(center, is_serving=self._is_serving))
        return False

    def _joins(self, center: int) -> bool:
        if not self._sees(self.owner, center):
            return False
        wait = self.copies.until_current(center, is_serving=self._is_serving)
        if wait > 0 or self.copies.is_useless[center]:
            self._reached(self.now + wait + 1e-3)
            return False
        larger = self._rules.grow(self.owner, self.in_sync, center)
        if larger is None or not self._has_store() or not self._is_serving:
            return False
        self.in_sync = larger
        self.copies.is_unclean[center] = False
        return True

    def _reopen(self) -> bool:
        """The owner's process is back: the coordinator opens the group there again, if that loses nothing."""
        may = not self._is_open and self._procedure is None and self._hears(self.owner)
        if not may:
            self._over("reopen")
            return False
        heard = self._heard()
        ruling = self._rules.opening(self.owner, self.owner, self.in_sync, heard, accept=False)
        if ruling.is_refused or ruling.position is None:
            self._over("reopen")
            return False
        if not self._wait("reopen", self._rates.steps.open.lasts):
            return False
        self._open(self.owner, ruling.position, is_forced=False)
        return True

    def _open(self, target: int, position: float, *, is_forced: bool) -> None:
        fault = self._outage[1] if self._outage else None
        cause = fault.cause if fault else Cause.COORDINATOR
        lost = self.copies.open(target, position, is_forced=is_forced)
        self.ledger.lost(cause, lost, is_unflushed=not is_forced)
        self._become(target)

    def _become(self, target: int) -> None:
        self.owner = target
        self.in_sync = frozenset((target,))
        self._is_open = True
        self._lease_until = NEVER
        self._procedure = None
        self._since.clear()

    def _fail_over_alone(self) -> bool:
        """Automatic failover, where the coordinator would dare it: only where nothing is lost."""
        if not self._topology.is_automatic or self._procedure is not None:
            return False
        patience = self._topology.detection_s
        owner = self.owner
        blind = tuple(
            c
            for c in self._centers
            if c != owner
            and self._is_due(f"blind {c}", patience, not (self._up[owner] and owner in self._network.sees[c]))
            and self._hears(c)
        )
        if not self._is_due("lost", patience, not self._hears(owner)):
            return False
        until = self._right_ended + self._rates.model.lease
        quiet_until = self._last_automatic + self._rates.model.anti_flap
        may_answer, is_quiet = not self._reached(until), not self._reached(quiet_until)
        is_bound = not self._reached(self._bound_until)
        target = self._rules.takes_over(
            owner,
            self.in_sync,
            self._heard(),
            blind,
            is_bound=is_bound,
            may_answer=may_answer,
            is_quiet=is_quiet,
        )
        if target is None:
            return False
        self._last_automatic = self.now
        self._procedure = (target, self._ready(target), "automatic")
        return True

    def _best(self, *, accept: bool) -> int | None:
        """The center that would lose least, near ones first."""
        heard = self._heard()
        best, most = None, -1.0
        for center in self._centers:
            if center not in heard:
                continue
            ruling = self._rules.opening(center, self.owner, self.in_sync, heard, accept=accept)
            if not ruling.is_refused and ruling.position is not None and ruling.position > most:
                best, most = center, ruling.position
        return best

    def _ready(self, target: int) -> float:
        """When the target can open, after what nobody had noticed is repaired."""
        fault = self._latent[target]
        extra = 0.0
        if fault is not None and target != self.owner:
            row = self._rates.faults.latent_fault
            extra = lognormal(row.repair, row.spread, fault.dice.answer)
            self._latent[target] = None
            if self._outage is not None:
                outage = self._outage
                self._close_outage()
                self._outage = (self.now, outage[1], Cause.LATENT, False)
        return self.now + self._rates.steps.open.lasts + extra

    def _proceed(self) -> bool:
        """A failover under way: wait for the lease of an owner that does not answer, then open."""
        if self._procedure is None:
            return False
        target, at, kind = self._procedure
        if not self._hears(target):
            self._procedure = None
            return True
        if not self._reached(at):
            if self._hears(self.owner) and at - self.now > self._rates.steps.open.lasts + 1.0:
                self._procedure = None  # the target has a fault that nobody knew of, and the owner is back
                return True
            return False
        if not self._hears(self.owner):  # one that answers has promised: it gave its lease back
            until = self._right_ended + self._rates.model.lease
            if not self._rules.may_commit(self.owner, target, self.in_sync, until, self.now):
                self._reached(until)
                return False
        ruling = self._rules.opening(target, self.owner, self.in_sync, self._heard(), accept=kind == "forced")
        if ruling.is_refused or ruling.position is None:
            self._procedure = None
            return True
        self.ledger.count(kind if target != self.owner or kind == "forced" else "asked")
        self._open(target, ruling.position, is_forced=ruling.loss == "forced")
        return True

    def _people_act(self) -> bool:
        """Somebody was called: first what loses nothing; after a while, and a decision, what does."""
        if self._outage is None or self._outage[3] or self._procedure is not None:
            return False
        began, fault, _, _ = self._outage
        people = self._rates.people
        answer, decide, loss = (fault.dice[:3]) if fault else (0.0, 0.0, 0.0)
        there = began + people.alarm.mean + delay(people.answer, answer)
        if not self._reached(there + delay(people.decide, decide)):
            return False
        target = self._best(accept=False)
        if target is not None and not (self._is_open and target == self.owner):
            self._procedure = (target, self._ready(target), "asked")
            return True
        if not self._reached(there + delay(people.decide_loss, loss)):
            return False
        return self._accept_loss(there + delay(people.decide_loss, loss), fault)

    def _accept_loss(self, decided: float, fault: Fault | None) -> bool:
        if self._leader is None:
            return self._rebuild_store(decided)
        if self._is_open and self._up[self.owner]:
            return False  # it stands still for its company or its lease; force would make two of it
        target = self._best(accept=True)
        if target is not None:
            self._procedure = (target, self._ready(target), "forced")
            return True
        return self._restore(fault)

    def _rebuild_store(self, decided: float) -> bool:
        place = next((c for c in (REMOTE, SAME_CITY, PRODUCTION) if self._is_up(c)), None)
        if place is None or not self._reached(decided + self._rates.steps.store_rebuild.lasts):
            return False
        self._store.rebuild(place)
        return True

    def _is_up(self, center: int) -> bool:
        return center in self._centers and self._up[center]

    def _restore(self, fault: Fault | None) -> bool:
        """No copy is left anywhere: from a backup, at the first center that works."""
        target = next((c for c in self._centers if self._hears(c)), None)
        if target is None or not all(self.copies.is_useless[c] for c in self._centers):
            self._over("restore")
            return False
        if not self._wait("restore", self._rates.steps.restore.lasts):
            return False
        lost = self.copies.restore(target, (fault.dice.age if fault else 0.5) * DAY_S)
        self.ledger.count("restore")
        self.ledger.lost(self._outage[2] if self._outage else Cause.DISKS, lost, is_unflushed=False)
        self._become(target)
        return True

    # --- a person takes a silent city for a lost one

    def _force_by_mistake(self) -> bool:
        is_strange = (
            self._apart is None
            and self.owner != REMOTE
            and REMOTE in self._centers
            and self._hears(REMOTE)
            and not self.copies.is_useless[REMOTE]
            and not any(self._hears(c) for c in self._centers if c != REMOTE)
        )
        fault = next(reversed(self._active), None) if is_strange else None
        if fault is None or fault.dice.coin >= self._rates.chances.force_by_mistake.value:
            self._over("mistake")
            return False
        people = self._rates.people
        seconds = people.alarm.mean + delay(people.answer, fault.dice.answer)
        if not self._wait("mistake", seconds + delay(people.decide_loss, fault.dice.loss)):
            return False
        self.ledger.count("forced")
        gap = self.copies.written - self.copies.position[REMOTE]
        self._apart = (self.owner, self.now, gap, frozenset(c for c in self._centers if c != REMOTE))
        self.copies.open(REMOTE, self.copies.position[REMOTE], is_forced=True)
        self._become(REMOTE)
        return True

    def _meet_again(self) -> bool:
        """Both sides acknowledged; the city's part is given up when they meet, or its owner dies."""
        assert self._apart is not None
        old, since, gap, _ = self._apart
        if self._up[old] and old not in self._network.sees[REMOTE]:
            return False
        self._apart = None
        self.ledger.lost(Cause.PEOPLE, gap + self.now - since, is_unflushed=False)
        return True

    # --- planned changes of owner

    def _fail_back(self) -> bool:
        better = self._better()
        if better is None:
            self._over("failback")
            return False
        if not self._wait("failback", self._rates.planned.failback_after.lasts):
            return False
        self._over("failback")
        self._switch(better, Cause.FAILBACK)
        return True

    def _better(self) -> int | None:
        """A center that should own the group instead and could: the preferred one, else one of its city."""
        for center in (PRODUCTION, SAME_CITY):
            if center == self.owner:
                return None
            if center in self._centers and self._is_fit(center):
                return center
        return None

    def _switch(self, target: int, cause: Cause) -> None:
        mates = self._rules.mates(target)
        stays = self.owner in mates and self.owner in self.in_sync | {self.owner}
        before = self.owner
        self._become(target)
        self.in_sync = frozenset((target, before)) if stays else frozenset((target,))
        self.copies.position[target] = self.copies.written
        self._pause_until = self._moving_until = self.now + self._rates.steps.switchover.lasts
        self._moving_cause = cause
        self.ledger.count("switchover")
