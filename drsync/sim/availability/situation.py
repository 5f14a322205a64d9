"""How things stand: machines, lines, store, copies, the owner's right, and when that will change by itself.

Questions only, and what a fault does to the things. What the group then does is in `group`.
"""

import math
from collections.abc import Iterator

from drsync.core import lease
from drsync.sim.availability.copies import Copies
from drsync.sim.availability.faults import PRODUCTION, Cause, Effect, Fault
from drsync.sim.availability.ledger import Ledger
from drsync.sim.availability.network import CharterStore, Network
from drsync.sim.availability.rates import Rates
from drsync.sim.availability.rules import Rules, Word
from drsync.sim.availability.topology import Topology

NEVER = math.inf
_LINES = frozenset((Effect.PATH, Effect.LINE))
_OUTSIDE = frozenset((Cause.COORDINATOR, Cause.NETWORK, Cause.POWER, Cause.DISASTERS))


class Situation:
    """The group and all that it stands on, at one instant."""

    def __init__(self, topology: Topology, rates: Rates, rules: Rules | None = None) -> None:
        self._topology = topology
        self._rates = rates
        self._rules = rules or Rules(topology.spec(rates))
        self._centers = topology.centers
        self.copies = Copies(rates)
        self.ledger = Ledger()
        self._network = Network(rates.model.paths)
        self._store = CharterStore(topology, self._network)
        self.now = 0.0
        self.owner = PRODUCTION
        self.in_sync: frozenset[int] = frozenset((PRODUCTION, *self._rules.mates(PRODUCTION)))
        self._is_open = True
        self._is_serving = True
        self._pause_until = 0.0
        self._lease_until = NEVER
        self._is_right_held = True
        self._right_ended = 0.0
        self._bound_until = 0.0
        self._watched = ("reopen", "lost", "restore", *(f"blind {c}" for c in self._centers))
        self._up = [True] * 3
        self._leader: int | None = None
        self._mute: list[int] = []
        self._gone = [0] * 3
        self._stalled = [0] * 3
        self._ready_at = [0.0] * 3
        self._latent: list[Fault | None] = [None] * 3
        self._maintained: set[Fault] = set()
        self._active: dict[Fault, None] = {}
        self._since: dict[int | str, float] = {}
        self._due = NEVER
        self._outage: tuple[float, Fault | None, Cause, bool] | None = None
        self._procedure: tuple[int, float, str] | None = None
        self._last_automatic = -NEVER
        self._moving_until = 0.0
        self._moving_cause = Cause.FAILBACK
        self._apart: tuple[int, float, float, frozenset[int]] | None = None

    def _wait(self, what: int | str, seconds: float) -> bool:
        """Whether something has been so for so long; if not yet, look again then."""
        return self._reached(self._since.setdefault(what, self.now) + seconds)

    def _reached(self, at: float) -> bool:
        if self.now >= at:
            return True
        self._due = min(self._due, at)
        return False

    def _over(self, what: int | str) -> None:
        if self._since:
            self._since.pop(what, None)

    def _is_due(self, what: int | str, seconds: float, condition: bool) -> bool:  # noqa: FBT001  # it is one
        if not condition:
            self._over(what)
            return False
        return self._wait(what, seconds)

    def _hit(self, effect: Effect, where: int, by: int) -> bool:
        if effect in {Effect.CUT, Effect.PATH, Effect.LINE}:
            before = self._network.sees
            self._network.change(effect, where, by)
            return before is not self._network.sees
        if effect in {Effect.COORDINATOR, Effect.STORE}:
            self._store.change(effect, where, by)
            return where in self._topology.members
        if where not in self._centers:
            return False
        if effect is Effect.STALL:
            self._stalled[where] += by
            return True
        self._leave(where) if by > 0 else self._return(where)
        if by > 0:
            self.copies.hit(effect, where)
        return True

    def _leave(self, center: int) -> None:
        self._gone[center] += 1
        if center == self.owner:
            self._is_open = False

    def _return(self, center: int) -> None:
        self._gone[center] -= 1
        self._ready_at[center] = self.now + self._rates.steps.start.lasts

    def _condition(self) -> Iterator[tuple[int, int, float]]:
        return zip(self._gone, self._stalled, self._ready_at, strict=True)

    def _sees(self, one: int, other: int) -> bool:
        return self._up[other] and other in self._network.sees[one]

    def _is_fit(self, center: int) -> bool:
        """Whether a switchover to it would go through at once."""
        return (
            center != self.owner
            and self._latent[center] is None
            and self._sees(self.owner, center)
            and self.copies.is_current(center, is_serving=self._is_serving)
            and self._hears(center)
            and self._hears(self.owner)
            and self._rules.switches(center, self.owner, self.in_sync)
        )

    def _acting(self) -> int | None:
        """Where a coordinator acts, now that its store is trusted."""
        leader = self._store.leader()
        if leader is not None and self._store.must_hear_all:
            heard = tuple(c for c in self._centers if self._sees(leader, c))
            if self._rules.store_waits(heard):
                return None
            self._store.must_hear_all = False
        return leader

    def _hears(self, center: int) -> bool:
        return self._leader is not None and self._sees(self._leader, center)

    def _has_store(self) -> bool:
        return self._leader is not None and self._store.serves(self._leader, self.owner)

    def _holds_right(self) -> bool:
        """Whether the owner's right to answer is renewed: by the store, or by its company."""
        if self._has_store():
            return True
        copies = self.copies
        confirm = tuple(
            c
            for c in self._centers
            if c != self.owner
            and self._sees(self.owner, c)
            and not copies.is_unclean[c]
            and not copies.is_useless[c]
        )
        goes_on = self._rules.goes_on(self.owner, self.in_sync, confirm)
        if goes_on:
            self._bound_until = self.now + self._rates.model.lease
        return goes_on

    def _serves(self) -> bool:
        self._is_right_held = self._is_open and self._up[self.owner] and self._holds_right()
        if not self._is_open or not self._up[self.owner]:
            return False
        if self._is_right_held:
            self._lease_until = NEVER
        elif self._lease_until == NEVER:
            self._lease_until = lease.owner_view(self.now, self._rates.model.lease)
        if self._lease_until != NEVER and self._reached(self._lease_until):
            return False
        return self._reached(self._pause_until) and not self._mute

    def _silent(self) -> list[int]:
        """In-sync members that do not acknowledge."""
        if len(self.in_sync) == 1:
            return []
        return [
            c
            for c in sorted(self.in_sync)
            if c != self.owner and (not self._sees(self.owner, c) or self.copies.is_useless[c])
        ]

    def _culprit(self) -> Fault | None:
        """The newest fault that touches what service needs now: the owner, a silent member, or the rest."""
        needed: set[int] = set()
        if not self._is_open or not self._up[self.owner]:
            needed = {self.owner}
        elif self._mute:
            needed = set(self._mute)
        newest = None
        for fault in reversed(self._active):
            newest = newest or fault
            places = {where for effect, where in fault.hits if effect not in _LINES}
            if needed & places or (not needed and fault.cause in _OUTSIDE):
                return fault
        return newest

    def _heard(self) -> dict[int, Word]:
        return {c: self.copies.word(c) for c in self._centers if self._hears(c)}
