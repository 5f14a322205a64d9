"""A tiny world: three copies and a store as one frozen value, and what each command does to it.

A step gives a new world, so a test can go back to any moment and let something else happen there.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from drsync.core import failover, lineage, ownership, switchover
from drsync.core.lease import LeaseBook
from drsync.core.observation import LastKnown, Observation
from drsync.core.plan import (
    Act,
    Command,
    CommitCharter,
    FinishIntent,
    Freeze,
    OpenGroup,
    Plan,
    Prepare,
    RecordIntent,
    Release,
    Seal,
    VoidIntent,
    Wait,
)
from drsync.model.charter import Charter, IntentKind
from drsync.model.copy import CopyState, Statement
from drsync.model.epoch import NEVER
from drsync.model.group import Mode
from drsync.model.position import Loss
from tests.core.groups import charter
from tests.core.logs import Log, Story, word

ROUNDS_MAX = 40  # because the longest way, an aborted switchover, takes about twenty
ALL = ("a", "b", "c")
SERVING = {CopyState.OWNER, CopyState.FROZEN}


@dataclass(frozen=True)
class Request:
    """What somebody wants."""

    kind: IntentKind
    target: str
    id: str = "i1"
    accept_loss: bool = False
    has_begun: bool = False


class Opening(NamedTuple):
    """An epoch was opened."""

    epoch: int
    center: str
    in_sync: frozenset[str]


@dataclass(frozen=True)
class World:
    """Everything there is.

    Attributes:
        charter, book: in the store.
        words, logs: what each member would state, and the records behind it.
        opened: who opened each epoch, and whom its writes wait for.
        acknowledged: what clients were told is kept.
        now: seconds.
        frozen_since: when the present coordinator first saw the owner frozen.
    """

    charter: Charter
    words: Mapping[str, Statement]
    logs: Mapping[str, Log]
    book: LeaseBook = field(default_factory=LeaseBook)
    opened: tuple[Opening, ...] = ()
    acknowledged: Log = ()
    now: float = 100.0
    frozen_since: float | None = None
    last_known: LastKnown | None = None
    done: tuple[Command, ...] = field(default=(), compare=False)

    def says(self, said: Statement) -> "World":
        """The world after a member changed in something that is no log."""
        return replace(self, words={**self.words, said.center: said})

    def with_log(self, center: str, log: Log, durable: int | None = None) -> "World":
        new = word(log, center, durable=durable)
        said = replace(
            self.words[center],
            runs=new.runs,
            appended=new.appended,
            durable=new.durable,
            commit=min(self.words[center].commit, len(log)),
            tip=new.tip,
        )
        return replace(self.says(said), logs={**self.logs, center: log})

    def restarted(self, center: str, *, is_clean: bool = True) -> "World":
        """A new process; an unclean restart of the host loses what was not durable."""
        said = self.words[center]
        state = CopyState.SEALED if said.promised > said.follow else CopyState.REPLICA
        said = replace(said, session=said.session + "'", state=state, unclean=said.unclean or not is_clean)
        world = self.says(said)
        return world if is_clean else world.with_log(center, self.logs[center][: said.durable])

    def serving(self) -> list[str]:
        """Who takes writes that some member would still accept."""
        return [
            name
            for name, said in self.words.items()
            if said.state is CopyState.OWNER and said.promised == said.follow
        ]


def town(
    *,
    mode: Mode = Mode.SYNC,
    in_sync: Collection[str] = ("a", "b"),
    lengths: tuple[int, int, int] = (4, 4, 2),
    commit: int = 4,
    is_new: bool = False,
) -> World:
    """a owns epoch 1 and has written; b and c follow with so many records."""
    if is_new:
        blank = {name: word((), name, session=f"{name}1", state=CopyState.BLANK) for name in ALL}
        return World(charter(mode=mode), blank, dict.fromkeys(ALL, ()))
    story = Story().opened(1, 0, Loss.NONE, max(lengths))
    logs = {name: story.log[:length] for name, length in zip(ALL, lengths, strict=True)}
    words = {
        name: word(log, name, session=f"{name}1", promised=1, follow=1, commit=min(commit, len(log)))
        for name, log in logs.items()
    }
    owned = charter(owner="a", session="a1", epoch=1, in_sync=in_sync, history=story.history, mode=mode)
    world = World(
        owned, words, logs, LeaseBook("a", 108.0), (Opening(1, "a", owned.in_sync),), logs["a"][:commit]
    )
    world = replace(world, last_known=LastKnown(commit, max(lengths), 1_000_000, 98.0))
    return world.says(replace(words["a"], state=CopyState.OWNER))


def observe(world: World, request: Request, reached: Collection[str] = ALL) -> Observation:
    intent = world.charter.intent
    is_recorded = intent is not None and intent.id == request.id
    return Observation(
        charter=world.charter,
        statements={name: world.words[name] for name in ALL if name in reached},
        now=world.now,
        lease=world.book,
        kind=request.kind,
        target=request.target,
        intent_id=request.id,
        uuid=f"u{len(world.opened)}",
        actor="ada",
        accept_loss=request.accept_loss,
        has_begun=request.has_begun or is_recorded,
        last_known=world.last_known,
        frozen_since=world.frozen_since,
    )


def planned(world: World, request: Request, reached: Collection[str] = ALL) -> Plan:
    seen = observe(world, request, reached)
    return switchover.plan(seen) if request.kind is IntentKind.SWITCHOVER else failover.plan(seen)


def commands(world: World, request: Request, reached: Collection[str] = ALL) -> tuple[Command, ...]:
    """What is to be done now; the plan must be to act."""
    step = planned(world, request, reached)
    assert isinstance(step, Act), step
    return step.commands


def perform(world: World, command: Command, reached: Collection[str] = ALL) -> World | None:
    """The world after a command, or None when it could not be done."""
    match command:
        case RecordIntent(intent):
            new = replace(world.charter, version=world.charter.version + 1, intent=intent)
            after = swap(world, intent.from_version, new)
        case CommitCharter(expected, new) | VoidIntent(expected, new) | FinishIntent(expected, new):
            after = swap(world, expected, new)
        case _:
            after = told(world, command, reached) if command.center in reached else None
    return None if after is None else replace(after, done=(*world.done, command))


def swap(world: World, expected: int, new: Charter) -> World | None:
    """Compare-and-set, with the rule about leases."""
    if world.charter.version != expected or not world.book.may_change_owner(world.charter, new, world.now):
        return None
    return replace(world, charter=new)


def told(
    world: World, command: Seal | Freeze | Release | Prepare | OpenGroup, reached: Collection[str]
) -> World | None:
    """A member does what it is told."""
    said = world.words[command.center]
    match command:
        case Seal(center, epoch):
            if not ownership.may_seal(said.promised, epoch, 0.0, NEVER, world.now):
                return None
            state = CopyState.FROZEN if said.state in SERVING else CopyState.SEALED
            return world.says(replace(said, promised=epoch, state=state))
        case Freeze():
            frozen = replace(said, state=CopyState.FROZEN)
            return world.says(frozen) if said.state in SERVING else None
        case Release(center, epoch):
            stepped = world.says(replace(said, state=CopyState.SEALED))
            return replace(stepped, book=world.book.release(center, epoch))
        case Prepare():
            return prepared(world, command, reached) if said.promised == command.epoch else None
        case OpenGroup(center, new):
            return opened(world, center, new)


def drained(world: World, reached: Collection[str]) -> World:
    """Replication goes on while the owner is frozen: whoever is connected gets all of it."""
    owner = world.words[world.charter.owner] if world.charter.owner else None
    if owner is None or owner.state is not CopyState.FROZEN or owner.center not in reached:
        return world
    log = world.logs[owner.center]
    for name, said in world.words.items():
        if name in reached and (said.promised, said.follow) == (owner.promised, owner.follow):
            world = world.with_log(name, log)
    if world.charter.in_sync <= set(reached):
        world = world.says(replace(world.words[owner.center], commit=len(log)))
    return world


def prepared(world: World, command: Prepare, reached: Collection[str]) -> World:
    """Cut to the history, fetch from whoever still answers, sync."""
    said = world.words[command.center]
    log = world.logs[command.center]
    log = log[: lineage.belongs(command.history, said.runs, said.first_seq)]
    for name in command.donors:
        if name in reached:
            giver = world.words[name]
            upto = lineage.belongs(command.history, giver.runs, giver.first_seq)
            log = log + world.logs[name][len(log) : upto]
    follow = max(said.follow, command.history[-1].epoch if command.history else NEVER)
    world = world.with_log(command.center, log)
    return world.says(replace(world.words[command.center], follow=follow, state=CopyState.SEALED))


def opened(world: World, center: str, granted: Charter) -> World | None:
    said = world.words[center]
    if not ownership.may_open(granted, said):
        return None
    serving = replace(said, state=CopyState.OWNER, follow=granted.epoch, unclean=False, amnesic=False)
    return replace(
        world.says(serving),
        opened=(*world.opened, Opening(granted.epoch, center, granted.in_sync)),
        book=replace(world.book, holder=center, until=world.now + 10.0),
    )


def run(
    world: World, request: Request, reached: Collection[str] = ALL, commands_max: int | None = None
) -> tuple[World, Plan | None]:
    """A coordinator at work until there is an end, or until it dies after so many commands.

    Waiting with an end passes the time; waiting without one, or for somebody who stays away, ends it.
    """
    world = replace(world, done=(), frozen_since=None)
    for _ in range(ROUNDS_MAX):
        world = drained(world, reached)
        step = planned(world, request, reached)
        if isinstance(step, Wait):
            if step.until is None or step.until <= world.now:
                return world, step
            world = replace(world, now=step.until)
        elif not isinstance(step, Act):
            return world, step
        else:
            for command in step.commands:
                if commands_max is not None and len(world.done) >= commands_max:
                    return world, None
                after = perform(world, command, reached)
                if after is None:
                    return world, Wait(f"{command} was not done")
                world = after
            is_frozen = world.words["a"].state is CopyState.FROZEN and "a" in reached
            if is_frozen and world.frozen_since is None:
                world = replace(world, frozen_since=world.now)
        if world.charter.intent is not None and world.charter.intent.id == request.id:
            request = replace(request, has_begun=True)
    raise AssertionError(f"no end in sight: {world.done}")


def names(world: World) -> list[str]:
    """The commands that were carried out, as a recipe."""
    return [
        " ".join([type(command).__name__, *([command.center] if hasattr(command, "center") else [])])
        for command in world.done
    ]


def subsets() -> list[tuple[str, ...]]:
    return [tuple(name for n, name in enumerate(ALL) if mask >> n & 1) for mask in range(8)]
