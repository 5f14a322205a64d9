"""P01: what a coordinator does by itself: only in sync, for an owner that is lost, and not again soon."""

from typing import TYPE_CHECKING

from drsync.core.detection import Sight

if TYPE_CHECKING:
    from drsync.model.charter import Charter
    from drsync.sim.world import World

DECIDED = "failover_decided"
DONE = "failover_done"
GIVEN_UP = frozenset(("failover_refused", "failover_failed"))
PERFORMED = "performed"
CHANGES = "CommitCharter"
DRIFT = 0.95  # because clocks may run wrong by parts of a thousand, and words take their time
LOST = frozenset((Sight.SILENT, Sight.UNABLE))
"""How an owner looks that may be deposed; slow is not dead."""


class Automatic:
    """Hears what the coordinator says, at the moment when it says it."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._is_under_way = False
        self._changed_at: float | None = None

    def heard(self, event: str, reason: str) -> None:
        """The coordinator said something. What is wrong is noted, not raised."""
        now = self._world.timeline.now
        if self._is_under_way and event == PERFORMED and reason.endswith(CHANGES):
            self._is_under_way, self._changed_at = False, now  # from here on somebody else is the owner
        if event == DONE and self._is_under_way:
            self._is_under_way, self._changed_at = False, now
        if event in GIVEN_UP:
            self._is_under_way = False
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
        office = self._world.coordinator.office
        verdict = office.supervision.lookout.verdict(charter.group.id) if office is not None else None
        if verdict is not None and verdict.sight not in LOST:
            return f"{charter.owner} is deposed without a person, and is {verdict.sight.value}"
        return ""
