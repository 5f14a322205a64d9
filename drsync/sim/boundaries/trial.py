"""One trial: a procedure with some deaths, and everything that must follow."""

from dataclasses import dataclass, field
from enum import StrEnum

from drsync.sim.boundaries.deaths import Death, Steps, Way
from drsync.sim.boundaries.procedures import PROCEDURES, Procedure
from drsync.sim.boundaries.town import Town
from drsync.sim.ledger import ViolationError
from drsync.sim.person import Person
from drsync.sim.process import UNFINISHED

PATIENCE_S = 20.0  # because one who resumes waits for leases, words and back-off, one after the other
PERSON_S = 2.0  # between looks of a person at an order
SERVED_AGAIN_S = 30.0  # after everything runs again
AFTER_S = 0.5  # because others take their places when the new owner serves already
ANSWERED_S = 5.0  # because an application writes several times a second
REST_S = 15.0  # until everybody holds the same when nobody writes
LAST_RESORT = 3  # orders that ended otherwise before a person accepts that something is lost


class Ending(StrEnum):
    """How a procedure ended in which somebody died."""

    DONE = "done"  # by itself
    AGAIN = "again"  # a person had to ask again
    MENDED = "mended"  # not before everything ran again that was dead in the scene
    OTHERWISE = "otherwise"  # cleanly not: the group is served as it would be without the procedure


@dataclass(slots=True)
class Outcome:
    """What a run did. `seconds`: virtual, until it was served again as asked for; `lines`: the last."""

    name: str
    deaths: tuple[Death, ...]
    ending: Ending | None = None
    seconds: float = 0.0
    lost: int = 0
    events: int = 0
    fingerprint: int = 0
    failure: ViolationError | None = None
    lines: list[str] = field(default_factory=list)


class Trial:
    """One procedure with some deaths."""

    def __init__(self, name: str, killed: tuple[Death, ...], *, keeps_all: bool = False) -> None:
        self.procedure: Procedure = PROCEDURES[name]
        self.town = Town(policy=self.procedure.policy, keeps_all=keeps_all)
        self.outcome = Outcome(name, killed)
        self._asked_again = 0

    def execute(self) -> Outcome:
        """Run it to its end, or to the first promise that is broken."""
        town, outcome = self.town, self.outcome
        unfinished = len(UNFINISHED)
        try:
            self.procedure.prepare(town)
            self.procedure.begin(town)
            town.arm(outcome.deaths)
            town.world.trace.say("world", "begin", outcome.name)
            self._go()
        except ViolationError as found:
            outcome.failure = found
            town.world.trace.say("checker", found.invariant, found.text)
        finally:
            town.end()
        if outcome.failure is None and (left := len(UNFINISHED) - unfinished):
            outcome.failure = ViolationError("BUG", f"{left} tasks of dead processes would not end")
        outcome.lost = town.world.ledger.lost
        outcome.events = town.world.timeline.events
        outcome.fingerprint = town.world.trace.fingerprint
        outcome.lines = list(town.world.trace.lines)
        return outcome

    def count(self) -> Steps:
        """Run it undisturbed; what lasts in it until everybody is in place again. Raises ViolationError."""
        town = self.town
        try:
            self.procedure.prepare(town)
            self.procedure.begin(town)
            town.arm(())
            if not town.run_until(self._is_over, PATIENCE_S):
                raise ViolationError("END", f"undisturbed it does not end: {self._state()}")
            town.run_until(town.is_caught_up, AFTER_S)
            return town.steps()
        finally:
            town.end()

    def _is_over(self) -> bool:
        return self.procedure.is_over(self.town)

    # --- what must follow

    def _go(self) -> None:
        self._go_through()
        self._mend()
        self._be_whole()
        self._have_ended()

    def _go_through(self) -> None:
        town, outcome = self.town, self.outcome
        began = town.world.timeline.now
        if self._see_through(PATIENCE_S):
            is_again = self._asked_again and self.procedure.again is not None
            outcome.ending = Ending.AGAIN if is_again else Ending.DONE
        outcome.seconds = town.world.timeline.now - began
        town.run_until(town.is_caught_up, AFTER_S)
        if len(town.struck) < 1 <= len(outcome.deaths):
            raise ViolationError("REACH", f"nobody died: {self._state()}")

    def _mend(self) -> None:
        town, outcome = self.town, self.outcome
        town.mend()
        if outcome.ending is None:
            if self._see_through(SERVED_AGAIN_S):
                outcome.ending = Ending.MENDED
            elif town.serves() and not town.is_running():
                outcome.ending = Ending.OTHERWISE

    def _be_whole(self) -> None:
        """Served, and writes answered; then everybody holds the same."""
        town = self.town
        if not town.run_until(town.is_caught_up, SERVED_AGAIN_S):
            raise ViolationError("INV-18", f"not whole again: {self._state()}")
        answered = town.world.ledger.acknowledged
        if not town.run_until(lambda: town.world.ledger.acknowledged > answered, ANSWERED_S):
            raise ViolationError("INV-18", f"served, but writes are not answered: {self._state()}")
        town.world.application.is_resting = True
        if not town.run_until(town.is_whole, REST_S):
            raise ViolationError("INV-18", f"not the same everywhere: {self._state()}")

    def _have_ended(self) -> None:
        town = self.town
        if self.outcome.ending is None:
            raise ViolationError("END", f"neither done nor cleanly refused: {self._state()}")
        if town.is_running():
            raise ViolationError("END", f"an operation is still under way: {self._state()}")
        if self.outcome.ending in (Ending.MENDED, Ending.OTHERWISE) and not self._has_lost_power():
            raise ViolationError("END", "nobody lost power, and it did not end before others came back")
        self._no_loss()
        town.compare()

    def _see_through(self, seconds: float) -> bool:
        """Wait until it is over; a person looks now and then, and asks again if it has ended otherwise."""
        town = self.town
        end = town.world.timeline.now + seconds
        while town.world.timeline.now < end:
            if town.run_until(self._is_over, PERSON_S):
                return True
            if not town.is_coordinator_up() or town.is_running():
                continue
            if self._asked_again >= LAST_RESORT and self._may_lose() and not town.serves():
                Person(town.world).look("nothing else helps")
            elif self.procedure.again is not None:
                self.procedure.again(town)
            self._asked_again += 1
        return False

    def _has_lost_power(self) -> bool:
        """Whether somebody has to hear others first: a copy that lost its tail, a store after a boot."""
        return any(death.way is not Way.KILL for death in self.outcome.deaths)

    def _may_lose(self) -> bool:
        """Whether so much died that a loss may be stated: a whole city, or two machines."""
        dark = [death for death in self.outcome.deaths if death.way is not Way.KILL]
        return self.procedure.may_lose or len(dark) > 1 or any(death.way is Way.CITY for death in dark)

    def _no_loss(self) -> None:
        lost = self.town.world.ledger.lost
        if lost and not self._may_lose():
            raise ViolationError("INV-01", f"{lost} acknowledged writes were given up after a single death")

    def _state(self) -> str:
        town = self.town
        operation = town.operation()
        told = f"; the operation is {operation.state}: {operation.error}" if operation is not None else ""
        return f"{town.why_not_whole() or 'all are in place'}{told}"
