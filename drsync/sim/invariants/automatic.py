"""P01: what a coordinator does by itself: only in sync, not while the owner answers, and not again soon."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from drsync.model.charter import Charter
    from drsync.sim.world import World

DECIDED = "failover_decided"
DONE = "failover_done"
DRIFT = 0.95  # because clocks may run wrong by parts of a thousand, and words take their time


class Automatic:
    """Hears what the coordinator says, at the moment when it says it."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._is_under_way = False
        self._changed_at: float | None = None

    def heard(self, event: str, reason: str) -> None:
        """The coordinator said something. What is wrong is noted, not raised."""
        now = self._world.timeline.now
        if event == DONE and self._is_under_way:
            self._is_under_way, self._changed_at = False, now
        charter = self._world.charter
        if event != DECIDED or charter is None:
            return
        self._is_under_way = True
        why = self._why_not(charter, reason.partition(":")[0], now)
        if why:
            self._world.ledger.note("P01", why)

    def _why_not(self, charter: "Charter", target: str, now: float) -> str:
        """Why this may not be done by itself; empty when it may."""
        if target not in charter.in_sync or target not in charter.group.mates(charter.owner):
            return f"{target} takes over without a person, and is not in sync at the owner's site"
        quiet_s = charter.group.policy.anti_flap_s * DRIFT
        if self._changed_at is not None and now < self._changed_at + quiet_s:
            return f"{target} takes over {now - self._changed_at:.1f} s after the owner changed by itself"
        return "" if self._is_bound(target) else self._answers(charter)

    def _is_bound(self, target: str) -> bool:
        """Whether it confirmed to the owner that it may go on: then it promises nothing before that ends."""
        return any(member.bound_s() > 0 for member in self._world.agents[target].members())

    def _answers(self, charter: "Charter") -> str:
        """Whether the owner still answers, by its own lease."""
        world, owner = self._world, charter.owner
        for member in world.agents[owner].members():
            term = member.term
            if term is None or term.engine.is_released or term.charter.epoch != charter.epoch:
                continue
            if world.hosts[owner].boottime() < term.engine.lease_until:
                return f"{owner} is deposed without a person, and still answers"
        return ""
