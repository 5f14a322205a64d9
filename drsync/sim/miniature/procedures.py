"""Coordinators of the world: they observe, ask the shipped plans, and carry out one command at a time.

Between any two commands a coordinator may stall or die; others may be at work meanwhile. Only the carrying
out lives here.
"""

from dataclasses import dataclass, field, replace

from drsync.core import compare, lineage
from drsync.core.failover import give_up
from drsync.core.loss import known_lost
from drsync.core.observation import Observation
from drsync.core.plan import (
    Act,
    Command,
    CommitCharter,
    Done,
    FinishIntent,
    Freeze,
    OpenGroup,
    Prepare,
    RecordIntent,
    Refuse,
    Release,
    Seal,
    VoidIntent,
    Wait,
)
from drsync.core.store_trust import TokenWord
from drsync.model.charter import Charter, IntentKind
from drsync.model.copy import CopyState, Statement
from drsync.model.position import EpochStart, History, Loss
from drsync.sim.miniature import protocol
from drsync.sim.miniature.checker import ViolationError
from drsync.sim.miniature.member import Member
from drsync.sim.miniature.store import NAMES, Store
from drsync.sim.miniature.world import World

PATIENCE = 60  # rounds that a coordinator waits for the same procedure before it gives up


@dataclass
class Coordinator:
    """A procedure carried out from somewhere."""

    place: str
    store: Store
    kind: IntentKind
    target: str
    intent_id: str
    accept_loss: bool = False
    has_begun: bool = False
    frozen_since: float | None = None
    rounds: int = 0
    pace: float = 0.35  # chance of a step in one tick
    queue: list[Command] = field(default_factory=list)


def begin(world: World, kind: IntentKind, place: str | None = None) -> Coordinator | None:
    """A new coordinator starts somewhere: it resumes what the charter says, or begins something."""
    place = place or world.dice.choice(NAMES)
    home = world.members[place]
    store = world.stores[home.charter.generation]
    if not world.reach(place, store.name) or store.ready():
        return None
    charter = store.charter
    intent = charter.intent
    if intent is not None and (kind is not IntentKind.FAILOVER or intent.kind is IntentKind.FAILOVER):
        is_begun = True
        return Coordinator(
            place, store, intent.kind, intent.target, intent.id, intent.accept_loss, has_begun=is_begun
        )
    accept_loss = kind is IntentKind.FAILOVER and world.chance(0.7)
    return Coordinator(
        place, store, kind, pick_target(world, kind, charter), f"i{world.fresh()}", accept_loss
    )


def pick_target(world: World, kind: IntentKind, charter: Charter) -> str:
    """Whom a person or the automatic would name."""
    if kind is IntentKind.SWITCHOVER:
        return world.dice.choice([name for name in NAMES if name != charter.owner])
    if kind is IntentKind.FAILOVER or world.chance(0.2):
        return world.dice.choice(NAMES)
    return world.dice.choice(sorted(charter.in_sync))


def advance(world: World, c: Coordinator) -> bool:
    """One command, or one look; False ends the coordinator."""
    home = world.members[c.place]
    if not home.is_up:
        return False
    if not world.reach(c.place, c.store.name) or c.store.ready():
        return world.chance(0.9)  # it waits for the store, but not for ever
    if home.charter.generation > c.store.charter.generation:
        return False
    if c.queue:
        if not carry_out(world, c, c.queue.pop(0)):
            c.queue.clear()
        return True
    return look(world, c)


def observe(world: World, c: Coordinator) -> Observation:
    """What the coordinator sees: the charter, and fresh statements of whom it reaches."""
    near = world.near(c.place)
    for member in near:
        known = c.store.tokens.get(member.name, member.disk.token)
        if world.rules.check_token(member.disk.token, known) is TokenWord.MEMBER_WENT_BACK:
            protocol.restored(world, member)
        for other in near:
            protocol.compare_with_memory(world, other, member)
    intent = c.store.charter.intent
    c.has_begun = c.has_begun or (intent is not None and intent.id == c.intent_id)
    words = {member.name: member.statement() for member in near}
    owner = words.get(c.store.charter.owner)
    if owner is not None and owner.state is CopyState.FROZEN and c.frozen_since is None:
        c.frozen_since = world.now
    return Observation(
        c.store.charter,
        words,
        world.now,
        c.store.book,
        c.kind,
        c.target,
        c.intent_id,
        f"u{world.fresh()}",
        accept_loss=c.accept_loss,
        has_begun=c.has_begun,
        last_known=c.store.last_known,
        frozen_since=c.frozen_since,
    )


def look(world: World, c: Coordinator) -> bool:
    """Ask for the next step."""
    seen = observe(world, c)
    c.rounds += 1
    is_switchover = c.kind is IntentKind.SWITCHOVER
    plan = (world.rules.plan_switchover if is_switchover else world.rules.plan_opening)(seen)
    if c.rounds > PATIENCE or (isinstance(plan, Refuse) and seen.is_recorded and world.chance(0.5)):
        plan = give_up(seen)
        c.rounds = 0
    match plan:
        case Act(commands):
            c.queue = list(commands)
            return True
        case Wait():
            return True
        case Refuse() | Done():
            return False


def carry_out(world: World, c: Coordinator, command: Command) -> bool:
    """Whether the command was done, as far as the coordinator knows."""
    match command:
        case RecordIntent(intent):
            wanted = replace(c.store.charter, version=intent.from_version + 1, intent=intent)
            return world.compare_and_set(c.store, intent.from_version, wanted) is True
        case CommitCharter(expected, charter):
            return commit_charter(world, c, expected, charter)
        case VoidIntent(expected, charter) | FinishIntent(expected, charter):
            return world.compare_and_set(c.store, expected, charter) is True
        case Seal() | Freeze() | Release() | Prepare() | OpenGroup():
            member = world.members[command.center]
            return world.reach(c.place, command.center) and tell(world, c, member, command)


def commit_charter(world: World, c: Coordinator, expected: int, charter: Charter) -> bool:
    """The commit point."""
    done = world.compare_and_set(c.store, expected, charter)
    if done and charter.is_forced:
        world.checker.forced += 1
    return done is True


def tell(
    world: World, c: Coordinator, member: Member, command: Seal | Freeze | Release | Prepare | OpenGroup
) -> bool:
    """A request to a member."""
    match command:
        case Seal(_, epoch):
            return protocol.seal(world, member, epoch)
        case Freeze():
            if member.state is CopyState.OWNER:
                member.state = CopyState.FROZEN
            return member.state is CopyState.FROZEN
        case Release(_, epoch):
            member.step_down()
            c.store.book = c.store.book.release(member.name, epoch)
            return True
        case Prepare(_, epoch, history, donors):
            planned_on = history[-1].epoch
            disk = member.disk
            if not world.rules.may_prepare(disk.promised, epoch, disk.follow, planned_on):
                return False
            prepare(world, member, history, donors)
            return True
        case OpenGroup(_, charter):
            protocol.open_group(world, member, charter)
            return member.is_owner


def prepare(world: World, member: Member, history: History, donors: tuple[str, ...]) -> None:
    """Cut to the history, fetch the tails of the donors, sync."""
    disk = member.disk
    member.step_down()
    protocol.cut_log(world, member, world.rules.belongs(history, disk.log.runs(), 1), history)
    if disk.follow < history[-1].epoch:
        disk.follow, disk.history = history[-1].epoch, history
    for name in donors:
        donor = world.members[name]
        if not world.reach(member.name, name):
            continue
        upto = world.rules.belongs(history, donor.disk.log.runs(), 1)
        tail = donor.disk.log.recs[len(disk.log) : upto]
        if tail and donor.disk.log.chain_at(len(disk.log)) != disk.log.chain_at(len(disk.log)):
            raise ViolationError("donated tail is no continuation", member.name, name)
        disk.log.extend(tail)
    protocol.sync(member)


def without_store(world: World, name: str) -> None:
    """A person starts a new store generation at a center that cannot use the present store."""
    near = world.near(name)
    if not near or max(member.charter.generation for member in near) != len(world.stores) - 1:
        return  # a newer generation exists: out of scope
    if any(world.now < member.disk.bound[0] for member in near):
        return
    charter = max((member.charter for member in near), key=lambda found: (found.generation, found.version))
    seen = (charter.epoch, *(member.disk.promised for member in near))
    epoch = world.rules.mint_generation(seen, charter.generation)
    candidate = world.members[name]
    if is_foreign(charter, candidate.statement()):
        return
    answers = [protocol.seal(world, member, epoch) for member in near]
    if not all(answers):
        return
    statements = {member.name: member.statement() for member in near}
    donors = tuple(member.name for member in near if member is not candidate)
    prepare(world, candidate, charter.history, donors)
    word = candidate.statement()
    seen_by = Observation(
        charter, statements, world.now, world.stores[-1].book, IntentKind.FAILOVER, name, "", ""
    )
    lost = known_lost(seen_by, word.appended)
    start = EpochStart(epoch, f"u{world.fresh()}", word.appended, word.tip.chain, Loss.FORCED, lost)
    new = replace(
        charter,
        version=charter.version + 1,
        generation=charter.generation + 1,
        owner=name,
        owner_session=word.session,
        epoch=epoch,
        in_sync=frozenset((name,)),
        history=lineage.append_start(charter.history, start),
        intent=None,
    )
    world.new_store(new)
    world.checker.forced += 1
    for member in near:  # generation and charter reach the members together
        protocol.learn_of(member, new)


def is_foreign(charter: Charter, word: Statement) -> bool:
    """Whether an image holds records that the charter's history gave up: it has to resync first."""
    return word.applied > compare.fork_point(charter.history, word) or word.follow > charter.epoch
