"""Stories: a world in which only what is told breaks, written down as it happens so that people can read it.

A story is code that breaks things, waits, and expects; its transcript is prose with times. Transcripts are
kept beside the tests and compared, so that a change of behaviour is seen as a change of a text.
"""

import textwrap
from collections.abc import Callable
from dataclasses import replace

from drsync.model.copy import CopyState, Statement
from drsync.model.epoch import show
from drsync.model.group import Failover, GroupPolicy
from drsync.model.operation import Operation
from drsync.sim.character import COORDINATOR, NAMES, quiet
from drsync.sim.coordinator import Order
from drsync.sim.invariants import Watch
from drsync.sim.world import World

LOOK_S = 0.05
STEP_S = 0.05
WIDTH = 110

TOLD = frozenset(
    (
        "serves",
        "dropped",
        "term_ended",
        "log_cut",
        "fork_exported",
        "gone_back",
        "copy_failed",
        "owner_suspected",
        "owner_lost",
        "owner_slow",
        "left_in_sync",
        "joined_in_sync",
        "member_went_back",
        "store_went_back",
        "boots",
        "process_failed",
    )
)
"""Events that are part of every story; what operations do is added by their endings."""

USUAL = GroupPolicy(
    sync_timeout_s=2.0, lease_s=3.0, checkpoint_s=1.0, detect_s=4.0, anti_flap_s=60.0, freeze_timeout_s=30.0
)


class StoryError(AssertionError):
    """Something did not come as the story says."""


class Story:
    """One told world.

    Attributes:
        world: for what has no words of its own here.
        transcript: what was told so far, lines of text.
    """

    def __init__(self, title: str, about: str, policy: GroupPolicy = USUAL, *, seed: int = 1) -> None:
        """A group that is served at production, in sync with same_city, followed by remote."""
        self.world = World(seed, {}, known=quiet(policy), keeps_all=True)
        self.watch = Watch(self.world)
        self.world.disk_changed.append(self.watch.disk_changed)
        self.transcript = [title, "=" * len(title), "", *_wrapped(about, ""), ""]
        self._told = 0
        world = self.world
        world.begin()
        world.timeline.soon(self._look)
        self._until(20.0, lambda: self.owner == "production" and self._follow_all())
        self._began = world.timeline.now
        self._told = len(world.trace.lines)
        self.say("The group is served at production, in sync with same_city; remote follows.")

    def _look(self) -> None:
        self.watch.look()
        self.world.later(LOOK_S, self._look)

    def _follow_all(self) -> bool:
        words = [self.word(name) for name in NAMES]
        charter = self.world.charter
        is_there = all(word is not None and word.follow == 1 and word.appended for word in words)
        return is_there and charter is not None and len(charter.in_sync) > 1

    # --- telling

    def say(self, text: str) -> None:
        """Something that the reader should know, at this moment."""
        self._tell_events()
        self.transcript += _wrapped(text, f"{self.now:7.1f} s  ")

    @property
    def now(self) -> float:
        """Seconds since the story began."""
        return self.world.timeline.now - self._began

    def _tell_events(self) -> None:
        lines = list(self.world.trace.lines)
        for line in lines[self._told :]:
            at, who, rest = line[:9], line[11:23].strip(), line[24:]
            event, _, why = rest.partition(": ")
            if event in TOLD or event.endswith(("_done", "_refused", "_failed")):
                when = float(at) - self._began
                text = f"{who}: {event.replace('_', ' ')}" + (f": {why}" if why else "")
                self.transcript += _wrapped(text, f"{when:7.1f} s    ")
        self._told = len(lines)

    def end(self) -> str:
        """Nothing more happens: all copies must be equal. The transcript."""
        world = self.world
        self.say(self.account())
        world.end()
        return "\n".join(self.transcript) + "\n"

    def account(self) -> str:
        """What was acknowledged, what was lost, who owns."""
        ledger, charter = self.world.ledger, self.world.charter
        assert charter is not None
        lost = f"{ledger.lost} of them lost, as was stated" if ledger.lost else "none of them lost"
        some = "Writes were acknowledged" if ledger.acknowledged else "No write was acknowledged"
        return (
            f"{some}, {lost}. Owner in force: {charter.owner}, epoch {show(charter.epoch)}, "
            f"in sync: {', '.join(sorted(charter.in_sync))}."
        )

    # --- time

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.world.timeline.run(self.world.timeline.now + seconds)
        self._check()

    def until(self, what: str, is_so: Callable[[], bool], within_s: float = 30.0) -> None:
        """Wait for something, tell that it came. Raises StoryError if it does not."""
        if not self._until(within_s, is_so):
            self.say(f"Not within {within_s:g} s: {what}")
            raise StoryError("\n".join(self.transcript[-30:]))
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
        self.say(what)
        if not is_so:
            raise StoryError("\n".join(["does not hold:", *self.transcript[-30:]]))

    def _check(self) -> None:
        if self.world.ledger.broken is not None:
            raise self.world.ledger.broken

    # --- what is so

    @property
    def owner(self) -> str:
        """Who answers; empty while nobody or more than one does."""
        exports = [export for export in self.world.application.exports if not export.is_over]
        found = [one.center for one in exports if one.device.engine.is_leased]
        return found[0] if len(found) == 1 else ""

    def word(self, name: str) -> Statement | None:
        """A member's statement; None while it does not run."""
        members = self.world.agents[name].members()
        return members[0].statement() if members else None

    def is_level(self, *names: str) -> bool:
        """Whether these follow the owner in its epoch and lack no more than what is under way."""
        charter = self.world.charter
        if charter is None:
            return False
        words = [self.word(name) for name in (charter.owner, *names)]
        if any(word is None or word.follow != charter.epoch for word in words):
            return False
        ends = [word.appended for word in words if word is not None]
        return max(ends) - min(ends) <= 5  # noqa: PLR2004  # what is written within a round trip

    def has_failed(self, name: str) -> bool:
        """Whether its copy says so."""
        agent, word = self.world.agents[name].agent, self.word(name)
        is_broken = agent is not None and bool(agent.broken())
        return is_broken or (word is not None and word.state is CopyState.FAILED)

    # --- what is told and done

    def isolate(self, name: str) -> None:
        """A place is cut off from everybody."""
        self.say(f"{name} is cut off from everybody.")
        for other in self.world.places:
            if other != name:
                self.world.network.cut(name, other)
                self.world.network.cut(other, name)

    def cut(self, one: str, other: str) -> None:
        """Two places are cut off from each other."""
        self.say(f"{one} and {other} do not hear each other any more.")
        self.world.network.cut(one, other)
        self.world.network.cut(other, one)

    def mend(self) -> None:
        """All lines are as they were."""
        self.say("All lines are mended.")
        self.world.network.mend_all()

    def kill(self, name: str, *, stays_down: bool = True) -> None:
        """SIGKILL of an agent or the coordinator."""
        self.say(f"The {'coordinator' if name == COORDINATOR else f'agent of {name}'} is killed.")
        if name == COORDINATOR:
            self.world.coordinator.kill()
        elif stays_down:
            self.world.agents[name].kill()
        else:
            process = self.world.agents[name].process
            assert process is not None
            process.kill()

    def start(self, name: str) -> None:
        """An agent or the coordinator is started."""
        self.say(f"The {'coordinator' if name == COORDINATOR else f'agent of {name}'} is started again.")
        (self.world.coordinator if name == COORDINATOR else self.world.agents[name]).start()

    def freeze(self, name: str) -> None:
        """SIGSTOP."""
        self.say(f"The agent of {name} stands still (SIGSTOP).")
        process = self.world.agents[name].process
        assert process is not None
        process.stop()

    def thaw(self, name: str) -> None:
        """SIGCONT."""
        self.say(f"The agent of {name} goes on (SIGCONT).")
        process = self.world.agents[name].process
        assert process is not None
        process.resume()

    def power_off(self, *names: str) -> None:
        """Machines lose power, and stay without."""
        self.say(f"{' and '.join(names)} lose power.")
        for name in names:
            self.world.hosts[name].crash()

    def power_on(self, *names: str) -> None:
        """They get it back, and boot."""
        self.say(f"The power of {' and '.join(names)} is back.")
        for name in names:
            self.world.boot(name)

    def order(self, kind: str, to: str, *, accept_loss: bool = False) -> Order:
        """A person asks for a switchover, failover or drill."""
        extra = " and accepts loss" if accept_loss else ""
        self.say(f"Somebody asks for a {kind} to {to}{extra}.")
        coordinator, group = self.world.coordinator, self.world.character.group.name
        if kind == "switchover":
            return coordinator.switchover(group, to)
        if kind == "failover":
            return coordinator.failover(group, to, accept_loss=accept_loss)
        return coordinator.drill(group, to)

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
        if found is None:
            self.say(f"It is refused: {order.refusal}")
        else:
            why = f": {found.error.message}" if found.error is not None else ""
            self.say(f"The {order.kind} is {found.state.value}{why}")
        return found


def automatic(policy: GroupPolicy = USUAL) -> GroupPolicy:
    """The same policy with automatic failover."""
    return replace(policy, failover=Failover.AUTOMATIC)


def _wrapped(text: str, head: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=head, subsequent_indent=" " * len(head)) or [head]
