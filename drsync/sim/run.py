"""A run of one seed: a time in which everything breaks, then a time in which nothing does and all must mend.

Only the order of what happens lives here.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from traceback import format_exception

from drsync.model.copy import CopyState
from drsync.model.group import Mode
from drsync.sim import faults, scenes
from drsync.sim.character import NAMES
from drsync.sim.client import Export
from drsync.sim.coverage import Coverage
from drsync.sim.invariants import Watch
from drsync.sim.invariants.automatic import Automatic
from drsync.sim.ledger import ViolationError
from drsync.sim.person import Person
from drsync.sim.world import World

BROKEN_S = 25.0  # virtual seconds under faults, because longer runs find less than more seeds
LOOK_S = 0.05  # because a wrong state should be found near its cause
IMAGE_LOOK_S = 1.5
COVERAGE_EVERY = 4  # looks, because what lasts for less is seldom of consequence
SETTLE_S = 8.0  # because convergence that does not last is none
HEAL_S = 180.0  # because leases, patience, back-off and a person's decisions all have to pass in it
LAG_MAX = 30  # records, because what was written within a round trip may be under way
PERSON_S = 20.0  # between the decisions of a person
LEFT_OUT_RATE = 0.2  # of the runs are mended but for one member
POLL_S = 0.037  # because what comes every so many tenths of a second must not always be under way then
REST_S = 12.0  # because what is under way arrives within a retransmission, and is compared then
BEGIN_S = 20.0  # because a group that nobody disturbs serves within seconds
FOUNDING_RATE = 0.3  # of the groups are disturbed while they are founded
FOUNDING_S = (0.6, 5.0)  # for so long
FOUNDING_EVERY_S = 0.6  # between faults then, because a founding takes seconds
FOUNDED_S = 90.0  # because patience and back-off have to pass in it


@dataclass(slots=True)
class Outcome:
    """What a run did.

    Attributes:
        failure: None if every promise was kept.
        undecided: why the charter's history could not be checked (INV-07); empty if it was.
        lines: the last that happened.
        met: situations (`sim.coverage`) and how often.
    """

    seed: int
    events: int = 0
    virtual_s: float = 0.0
    acknowledged: int = 0
    openings: int = 0
    lost: int = 0
    faults: int = 0
    fingerprint: int = 0
    undecided: str = ""
    failure: ViolationError | None = None
    lines: list[str] = field(default_factory=list)
    met: dict[str, int] = field(default_factory=dict)


class Run:
    """One seed."""

    def __init__(
        self,
        seed: int,
        *,
        broken_s: float = BROKEN_S,
        settle_s: float = SETTLE_S,
        keeps_all: bool = False,
    ) -> None:
        """A run of seed `seed`: `broken_s` under faults; mended when calm lasted for `settle_s`."""
        self.settle_s = settle_s
        self.world = World(seed, faults.usual(), keeps_all=keeps_all)
        self.watch = Watch(self.world)
        self.coverage = Coverage(self.world)
        self.world.disk_changed.append(self.watch.disk_changed)
        self.world.heard.append(Automatic(self.world).heard)
        self.person = Person(self.world)
        self.play = scenes.Play(self.world)
        self.broken_s = broken_s
        self.struck = 0
        self._person_at = 0.0
        self._resting_at = 0
        self._has_ended = False

    def execute(self) -> Outcome:
        """Run it to its end, or to the first promise that is broken."""
        world = self.world
        outcome = Outcome(world.seed)
        try:
            self._begin()
            self._break()
            self._heal()
            self.watch.look_at_the_end()
        except ViolationError as found:
            self._failed(outcome, found)
        except Exception as error:  # noqa: BLE001  # one broken seed must not end a series, nor lose its number
            for line in format_exception(error):
                world.trace.say("checker", line.rstrip())
            self._failed(outcome, ViolationError("BUG", f"the world itself broke: {error!r}"))
        finally:
            self._has_ended = True
            world.end()
        outcome.events = world.timeline.events
        outcome.virtual_s = world.timeline.now
        outcome.acknowledged = world.ledger.acknowledged
        outcome.openings = world.ledger.openings
        outcome.lost = world.ledger.lost
        outcome.faults = self.struck
        outcome.undecided = self.watch.register.undecided
        outcome.fingerprint = world.trace.fingerprint
        outcome.lines = list(world.trace.lines)
        outcome.met = self.coverage.end()
        return outcome

    def _failed(self, outcome: Outcome, found: ViolationError) -> None:
        outcome.failure = found
        self.world.trace.say("checker", found.invariant, found.text)

    # --- phases

    def _begin(self) -> None:
        world = self.world
        world.begin()
        self.play.begin()
        world.timeline.soon(self._look)
        world.timeline.soon(self._look_at_images)
        founding = world.new_dice("founding")
        if founding.random() < FOUNDING_RATE:
            self._disturb_founding(founding.uniform(*FOUNDING_S))
        elif not self._pass_until(BEGIN_S, self._is_in_sync):
            raise ViolationError("INV-18", "a group that nobody disturbed is not served")
        world.is_founded = True
        self.watch.limits.remember()

    def _disturb_founding(self, seconds: float) -> None:
        """Faults from the first moment; then it must come to be by itself."""
        world = self.world
        world.trace.say("world", "the founding is disturbed")
        end = world.timeline.now + seconds
        while world.timeline.now < end:
            self._pass(self._wait(FOUNDING_EVERY_S))
            name = world.dice.choice(faults.AT_FOUNDING)
            self._do("fault", name, faults.FAULTS[name][0])
        world.mend_all()
        world.trace.say("world", "the founding is not disturbed any more")
        self._person_at = world.timeline.now + PERSON_S
        if not self._pass_until(FOUNDED_S, self._is_founded):
            raise ViolationError(
                "INV-18", f"a group whose founding was disturbed is not served: {self._why_not()}"
            )

    def _is_founded(self) -> bool:
        world = self.world
        world.keep_up()
        self._have_somebody_look()
        is_there = all(agent.is_alive and agent.members() for agent in world.agents.values())
        return is_there and (self._is_in_sync() or self._has_converged())

    def _break(self) -> None:
        world = self.world
        world.timeline.after(self._wait(world.character.fault_every_s), self._strike)
        world.timeline.after(self._wait(world.character.operator_every_s), self._order)
        self._pass(self.broken_s)

    def _leave_out(self) -> None:
        """Some runs are mended but for one member: a core that suffices must do without it."""
        world = self.world
        charter = world.charter
        if world.gone or charter is None or world.dice.random() >= LEFT_OUT_RATE:
            return
        names = [name for name in NAMES if world.may_harm(name)]
        is_strict = charter.group.policy.mode is Mode.SYNC_STRICT
        names = [name for name in names if not (is_strict and name in charter.in_sync)]
        if not names:
            return
        name = world.dice.choice(names)
        world.gone.add(name)
        world.hosts[name].crash()
        world.trace.say("world", f"{name} never comes back")

    def _heal(self) -> None:
        world = self.world
        self._leave_out()
        world.heal()
        self._person_at = world.timeline.now + PERSON_S
        end = world.timeline.now + HEAL_S
        settled_since: float | None = None
        while world.timeline.now < end:
            self._pass(1.0)
            world.keep_up()
            self._have_somebody_look()
            if not self._has_converged():
                settled_since = None
            elif settled_since is None:
                settled_since = world.timeline.now
            elif world.timeline.now - settled_since >= self.settle_s:
                break
        else:
            raise ViolationError("INV-18", f"did not converge after healing: {self._why_not()}")
        self._rest()
        self._compare_images()

    def _wait(self, mean_s: float) -> float:
        return self.world.dice.expovariate(1 / mean_s)

    # --- time

    def _pass(self, seconds: float) -> None:
        timeline = self.world.timeline
        timeline.run(timeline.now + seconds)
        if self.world.ledger.broken is not None:
            raise self.world.ledger.broken

    def _pass_until(self, seconds: float, is_so: Callable[[], bool]) -> bool:
        timeline = self.world.timeline
        end = timeline.now + seconds
        while timeline.now < end:
            self._pass(POLL_S)
            if is_so():
                return True
        return False

    def _look(self) -> None:
        if self._has_ended:
            return
        self.watch.look()
        if self.watch.looks % COVERAGE_EVERY == 0:
            self.coverage.look()
        self.world.later(LOOK_S, self._look)

    def _look_at_images(self) -> None:
        if self._has_ended:
            return
        self.watch.look_at_image(self.world.dice.choice(NAMES))
        self.world.later(IMAGE_LOOK_S, self._look_at_images)

    # --- what breaks

    def _strike(self) -> None:
        world = self.world
        if world.is_calm:
            return
        weights = world.character.weights
        names = list(faults.FAULTS)
        if any(weights.values()):
            name = world.dice.choices(names, [weights[one] for one in names])[0]
            self._do("fault", name, faults.FAULTS[name][0])
        world.later(self._wait(world.character.fault_every_s), self._strike)

    def _order(self) -> None:
        world = self.world
        if world.is_calm:
            return
        names = list(faults.ORDERS)
        name = world.dice.choices(names, [faults.ORDERS[one][1] for one in names])[0]
        self._do("order", name, faults.ORDERS[name][0])
        world.later(self._wait(world.character.operator_every_s), self._order)

    def _do(self, kind: str, name: str, fault: faults.Fault) -> None:
        words = fault(self.world)
        if words:
            self.struck += 1
            self.coverage.struck(kind, name)
            self.world.trace.say("world", words)

    # --- what must come back

    def _is_in_sync(self) -> bool:
        charter = self.world.charter
        exports = [export for export in self.world.application.exports if not export.is_over]
        wanted = 1 if charter is not None and charter.group.policy.mode.value == "async" else 2
        return charter is not None and len(exports) == 1 and len(charter.in_sync) >= wanted

    def _has_converged(self) -> bool:
        return not self._why_not()

    def _why_not(self) -> str:
        """What still is not as it should be; empty when all is."""
        serving = self._serving()
        if len(serving) != 1:
            return f"{len(serving)} centers serve"
        return self._why_no_peace(serving[0]) or self._why_not_level(serving[0])

    def _why_no_peace(self, export: Export) -> str:
        """What the store still has to do, or does not know."""
        world, charter = self.world, self.world.charter
        if charter is None or charter.epoch != export.epoch:
            return "the store knows another epoch"
        if charter.intent is not None:
            return f"a change of owner is under way: {charter.intent.kind} to {charter.intent.target}"
        if world.coordinator.is_useless(world.character.group.name):
            return "the store may not act"
        wanted = {charter.owner, *charter.group.mates(charter.owner)} & set(world.left)
        if charter.group.policy.mode is not Mode.ASYNC and not wanted <= charter.in_sync:
            return f"in sync are only {sorted(charter.in_sync)}"
        return ""

    def _why_not_level(self, export: Export) -> str:
        """Which copy lacks something that it could have."""
        world = self.world
        tips = {}
        for name in world.left:
            members = world.agents[name].members()
            if not members:
                return f"{name} has no copy"
            word = members[0].statement()
            if word.state in (CopyState.FAILED, CopyState.FORKED):
                return f"{name} is {word.state}"
            if word.follow != export.epoch:
                return f"{name} follows epoch {word.follow:x}, not {export.epoch:x}"
            tips[name] = word.appended
        low, high = min(tips.values()), max(tips.values())
        return f"logs end at {tips}" if high - low > LAG_MAX else ""

    def _have_somebody_look(self) -> None:
        """What a person does from time to time who sees that it does not mend by itself."""
        if self.world.timeline.now < self._person_at:
            return
        self._person_at = self.world.timeline.now + PERSON_S
        if not self._has_converged():
            self.person.look(self._why_not())

    def _rest(self) -> None:
        """Nobody writes any more, and everything that is on its way arrives."""
        world = self.world
        world.application.is_resting = True
        self._pass(1.0)
        self._resting_at = max([1, *(export.device.engine.log.appended for export in self._serving())])
        if not self._pass_until(REST_S, self._are_level) and not self._waits_for_another():
            raise ViolationError("INV-18", f"does not come to rest: {self._why_not() or 'logs differ'}")

    def _waits_for_another(self) -> bool:
        """Whether writes wait, by policy, for a member that is gone."""
        world, charter = self.world, self.world.charter
        if charter is None or charter.group.policy.mode is not Mode.SYNC_STRICT:
            return False
        return not charter.in_sync.isdisjoint(world.gone)

    def _are_level(self) -> bool:
        """Whether all who can have what was written, and it is committed. The owner's marks go on."""
        world, serving = self.world, self._serving()
        if len(serving) != 1:
            return False
        log = serving[0].device.engine.log
        words = [m.statement() for name in world.left for m in world.agents[name].members()]
        return all(position >= self._resting_at for position in (log.commit, *(w.appended for w in words)))

    def _serving(self) -> list[Export]:
        return [export for export in self.world.application.exports if not export.is_over]

    def _compare_images(self) -> None:
        world = self.world
        why = self._why_not()
        if why:
            raise ViolationError("INV-18", f"did not stay converged: {why}")
        names = world.left
        for name in names:
            self.watch.look_at_image(name)
        found = {name: world.whole_image(name) for name in names}
        if len(set(found.values())) != 1 and not self._waits_for_another():
            raise ViolationError("INV-09", "the volumes of the centers are not the same bytes")
