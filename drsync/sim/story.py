"""Stories: a world in which only what is told breaks, written down as it happens so that people can read it.

A story is code that breaks things, waits, and expects; its transcript is prose with times. Transcripts are
kept beside the tests and compared, so that a change of behaviour is seen as a change of a text.
"""

from collections.abc import Callable
from dataclasses import replace

from typing_extensions import override

from drsync.model.copy import CopyState, Statement
from drsync.model.epoch import show
from drsync.model.group import Failover, GroupPolicy
from drsync.model.operation import Operation
from drsync.sim import story_words
from drsync.sim.character import NAMES, quiet
from drsync.sim.client import Export
from drsync.sim.coordinator import Order
from drsync.sim.disk import MOST
from drsync.sim.invariants import Watch
from drsync.sim.story_deeds import Deeds
from drsync.sim.story_words import listed, wrapped
from drsync.sim.world import World

LOOK_S = 0.1  # because a look costs as much as some writes, and nothing here happens faster
STEP_S = 0.05
REST_S = 15.0  # because what is under way arrives within a retransmission or two
RESTLESS_S = 0.3  # because an answer takes two round trips to the farthest member
LEVEL_MAX = 5  # records, because so many are written within a round trip

USUAL = GroupPolicy(
    sync_timeout_s=1.0, lease_s=2.0, checkpoint_s=1.0, detect_s=3.0, anti_flap_s=60.0, freeze_timeout_s=6.0
)
"""Shorter than anybody's, so that a story is: leases of 2 s instead of 10 s."""


class StoryError(AssertionError):
    """Something did not come as the story says."""


class Story(Deeds):
    """One told world.

    Attributes:
        watch: looks whether a promise is broken, all the time.
        transcript: what was told so far, lines of text.
        also: events that this story tells beside the usual ones.
    """

    def __init__(self, title: str, about: str, policy: GroupPolicy = USUAL, *, seed: int = 1) -> None:
        """A group that is served at production, in sync with same_city, followed by remote."""
        self.world = World(seed, {}, known=quiet(policy), keeps_all=True)
        for host in self.world.hosts.values():
            host.disk.loss = MOST  # because a power cut is told of for what it takes
        self.watch = Watch(self.world)
        # Repeats requests to see that they change nothing; a story does only what it tells.
        self.world.coordinator.at_command.remove(self.watch.echo.performed)
        self.world.disk_changed.append(self.watch.disk_changed)
        self.transcript = [title, "=" * len(title), "", *wrapped(about, ""), ""]
        self.also: set[str] = set()
        self._told = 0
        self._last: dict[str, str] = {}
        world = self.world
        world.begin()
        world.timeline.soon(self._look)
        if not self._until(20.0, lambda: self.owner == "production" and self._follow_all()):
            raise StoryError("the group was not served to begin with")
        self._began = world.timeline.now
        self._told = len(world.trace.lines)
        self.say("The group is served at production, in sync with same_city; remote follows.")

    def _look(self) -> None:
        self.watch.look()
        self.world.later(LOOK_S, self._look)

    def _follow_all(self) -> bool:
        words = [self.word(name) for name in NAMES]
        is_there = all(word is not None and word.follow == 1 and word.appended for word in words)
        return is_there and len(self.in_sync) > 1

    # --- telling

    @override
    def say(self, text: str) -> None:
        """Something that the reader should know, at this moment."""
        self._tell_events()
        self.transcript += wrapped(story_words.capital(text), story_words.time(self.now, 2))

    def _add(self, text: str) -> None:
        """More of what was just said."""
        self.transcript += wrapped(text, " " * 11 + "| ")

    @property
    def now(self) -> float:
        """Seconds since the story began."""
        return self.world.timeline.now - self._began

    def _tell_events(self) -> None:
        lines = list(self.world.trace.lines)
        for line in lines[self._told :]:
            at, who, event, why = story_words.parts(line)
            if not story_words.is_told(event, self.also):
                continue
            if self._last.get(who) == event and event in story_words.REPEATED:
                continue  # a try that is repeated says nothing new
            self._last[who] = event
            text = story_words.sentence(who, event, why)
            self.transcript += wrapped(text, story_words.time(at - self._began, 4))
        self._told = len(lines)

    def end(self) -> str:
        """Nothing more happens. The transcript."""
        self._tell_events()
        self.watch.look_at_the_end()
        self.transcript += ["", *wrapped(self.account(), "")]
        self.world.end()
        return "\n".join(self.transcript) + "\n"

    def account(self) -> str:
        """What was acknowledged, what was lost, who owns."""
        ledger, charter = self.world.ledger, self.world.charter
        some = f"{ledger.acknowledged} writes were acknowledged"
        lost = f"{ledger.lost} of them lost, as was stated" if ledger.lost else "none of them was lost"
        if charter is None:
            return f"{some}, {lost}. The store knows no charter."
        return (
            f"{some}, {lost}. Owner in the charter: {charter.owner}, epoch {show(charter.epoch)}, "
            f"in sync: {', '.join(sorted(charter.in_sync))}."
        )

    def status(self) -> None:
        """Tell what ``drsync status`` says of the centers, in short."""
        first, *others = story_words.status(self.world.coordinator.status())
        self.say(f"drsync status: {first}")
        for line in others:
            self._add(line)

    def why(self) -> None:
        """Tell what ``drsync why`` says."""
        office, charter = self.world.coordinator.office, self.world.charter
        if office is None or charter is None:
            self.say("drsync why orders: the coordinator is not reached.")
            return
        lines = office.picture.why(charter)
        self.say("drsync why orders:" if lines else "drsync why orders: it waits for nothing.")
        for line in lines:
            self._add(story_words.short(f"{line.what}. {line.remedy}"))

    def reasons(self) -> list[str]:
        """What ``drsync why`` names."""
        office, charter = self.world.coordinator.office, self.world.charter
        return [line.what for line in office.picture.why(charter)] if office and charter else []

    def state_loss(self, found: Operation | None) -> None:
        """Tell the whole loss statement of an operation."""
        if found is None or found.loss is None:
            self._fail("There is no loss statement")
            return
        first, *others = story_words.loss(found.loss)
        self.say(first)
        for line in others:
            self._add(line)

    # --- time

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.world.timeline.run(self.world.timeline.now + seconds)
        self._check()

    def until(self, what: str, is_so: Callable[[], bool], within_s: float = 30.0) -> None:
        """Wait for something, tell that it came. Raises StoryError if it does not."""
        if not self._until(within_s, is_so):
            self._fail(f"Not within {within_s:g} s: {what}")
        self.say(what)

    def _until(self, seconds: float, is_so: Callable[[], bool]) -> bool:
        end = self.world.timeline.now + seconds
        while self.world.timeline.now < end:
            if is_so():
                return True
            self.wait(STEP_S)
        return is_so()

    def expect(self, what: str, is_so: bool) -> None:  # noqa: FBT001  # an assertion reads so
        """Tell what must hold now. Raises StoryError if it does not."""
        if not is_so:
            self._fail(f"Does not hold: {what}")
        self.say(what)

    def expect_same_bytes(self, *names: str) -> None:
        """Nobody writes for a moment: these members, or all, must hold the same bytes."""
        names = names or NAMES
        was_resting = self.world.application.is_resting
        self.world.application.is_resting = True
        if not self._until(REST_S, lambda: self._is_at_rest(names)):
            self._fail(f"The logs of {listed(names)} do not become equal")
        if len({self.world.whole_image(name) for name in names}) != 1:
            self._fail(f"The volumes of {listed(names)} are not the same bytes")
        self.say(f"The application pauses: the volumes of {listed(names)} are the same, byte for byte.")
        self.world.application.is_resting = was_resting

    def _is_at_rest(self, names: tuple[str, ...]) -> bool:
        words = [self.word(name) for name in names]
        if not self.owner or any(word is None for word in words):
            return False
        log = self.exports()[0].device.engine.log
        return log.commit == log.appended and {word.appended for word in words if word} == {log.appended}

    def _fail(self, text: str) -> None:
        self.say(text)
        raise StoryError("\n".join(["", *self.transcript[-40:]]))

    def _check(self) -> None:
        world = self.world
        if world.ledger.broken is not None:
            raise world.ledger.broken
        if world.coordinator.bugs:
            raise StoryError(f"a bug in the coordinator: {world.coordinator.bugs[0]!r}")

    # --- what is so

    def exports(self) -> list[Export]:
        """Where the volume is served and may be read: one, or nobody has it."""
        found = [export for export in self.world.application.exports if not export.is_over]
        return [one for one in found if one.process.is_alive and one.device.engine.is_leased]

    @property
    def owner(self) -> str:
        """Who answers; empty while nobody or more than one does."""
        found = self.exports()
        return found[0].center if len(found) == 1 else ""

    @property
    def acknowledged(self) -> int:
        """Writes answered so far."""
        return self.world.ledger.acknowledged

    @property
    def openings(self) -> int:
        """How often the group was opened so far."""
        return self.world.ledger.openings

    @property
    def in_sync(self) -> frozenset[str]:
        """By the charter in the store; empty without one."""
        charter = self.world.charter
        return charter.in_sync if charter is not None else frozenset()

    def answers(self, seconds: float = 1.2) -> bool:
        """Let time pass; whether a write was acknowledged in the later part of it."""
        self.wait(RESTLESS_S)  # because answers that were given may still be on their way
        before = self.acknowledged
        self.wait(max(0.0, seconds - RESTLESS_S))
        return self.acknowledged > before

    def is_connected(self, *names: str) -> bool:
        """Whether the coordinator hears all of these."""
        office = self.world.coordinator.office
        return office is not None and all(office.sessions.is_connected(name) for name in names)

    def is_trusted(self) -> bool:
        """Whether the coordinator runs and its store may act."""
        return self.world.coordinator.office is not None and not any(
            "charter" in why for why in self.reasons()
        )

    def word(self, name: str) -> Statement | None:
        """A member's statement; None while it does not run."""
        members = self.world.agents[name].members()
        return members[0].statement() if members else None

    def appended(self, name: str) -> int:
        """Where its log ends; 0 without one."""
        word = self.word(name)
        return word.appended if word is not None else 0

    def is_level(self, *names: str) -> bool:
        """Whether these follow the owner in its epoch and lack no more than what is under way."""
        charter = self.world.charter
        if charter is None:
            return False
        words = [self.word(name) for name in (charter.owner, *names)]
        if any(word is None or word.follow != charter.epoch for word in words):
            return False
        ends = [word.appended for word in words if word is not None]
        return max(ends) - min(ends) <= LEVEL_MAX

    def is_failed(self, name: str) -> bool:
        """Whether its copy says so, or cannot even be opened."""
        agent, word = self.world.agents[name].agent, self.word(name)
        is_broken = agent is not None and bool(agent.broken())
        return is_broken or (word is not None and word.state is CopyState.FAILED)

    def plans(self) -> str:
        """How the owner brings the others level, by its own words."""
        member = self.world.agents[self.owner].members()[0]
        plans = member.term.plans if member.term is not None else {}
        return ", ".join(f"{name}: {plan}" for name, plan in sorted(plans.items()))

    def heard(self, event: str, who: str = "") -> list[str]:
        """What was said with this event word so far, by anybody or one place."""
        found = (story_words.parts(line) for line in self.world.trace.lines)
        return [why for _, speaker, word, why in found if word == event and who in ("", speaker)]

    @override
    def _store_changed(self) -> None:
        self.watch.forget_charter()

    # --- orders

    def outcome(self, order: Order, within_s: float = 60.0) -> Operation | None:
        """Wait until an order has ended, and tell how."""
        coordinator = self.world.coordinator

        def is_over() -> bool:
            found = coordinator.operation(order)
            return order.refusal is not None or (found is not None and found.state.value != "running")

        if not self._until(within_s, is_over):
            self.say(f"The {order.kind} has not ended after {within_s:g} s.")
            return None
        found = coordinator.operation(order)
        self._tell_events()
        if found is None:
            self.say(f"It is refused: {order.refusal}")
            if order.refusal is not None and order.refusal.remedy:
                self._add(order.refusal.remedy)
        elif order.dry is not None:
            self.say(f"It would be refused: {found.error.message}" if found.error else "It would be done.")
        if found is not None and found.error is not None and found.error.remedy:
            self._add(found.error.remedy)
        return found


def automatic(policy: GroupPolicy = USUAL) -> GroupPolicy:
    """The same policy with automatic failover."""
    return replace(policy, failover=Failover.AUTOMATIC)
