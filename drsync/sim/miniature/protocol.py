"""How members of the world speak: handshake, records, acknowledgments, heartbeats, in-sync changes, opening.

Every decision is asked of `world.rules`; here are only the effects.
"""

from drsync.core import lease
from drsync.core.compare import Corrupt, ExportFork, FreezeBoth, Identity, OwnerView, Quarantine, Truncate
from drsync.core.observation import LastKnown
from drsync.core.ownership import CasKind, CasView, InSync
from drsync.core.store_trust import Heard, Remembered, TokenWord, remember
from drsync.model.charter import Charter
from drsync.model.copy import CopyState
from drsync.model.epoch import Epoch
from drsync.model.group import Durability
from drsync.model.position import History
from drsync.sim.miniature.checker import ViolationError
from drsync.sim.miniature.member import Member, Rec, record
from drsync.sim.miniature.messages import Acknowledge, Append, Connect, LeaseReply, Message, Reject, Renew
from drsync.sim.miniature.store import NAMES, Store
from drsync.sim.miniature.world import LEASE, World

IN_FLIGHT_MAX = 12  # because a client has a queue depth
WINDOW = 8  # because a message holds a few records


def can_answer(world: World, c: Member) -> bool:
    """Whether an owner, frozen or not, may still commit: leased, and nobody was promised a higher epoch."""
    is_leased = c.is_up and c.is_owner and world.now < max(c.lease, c.failsafe)
    return is_leased and (c.disk.promised == c.epoch or world.thawed(c))


def serves(world: World, c: Member) -> bool:
    """Whether it takes new writes and answers reads."""
    return c.state is CopyState.OWNER and can_answer(world, c)


# --- logs


def cut_log(world: World, c: Member, keep: int, history: History) -> None:
    """Cut a log to a history; what may have been acknowledged is kept aside."""
    disk = c.disk
    if keep < len(disk.log):
        is_droppable = world.rules.is_droppable(history, c.statement(), keep)
        carry_out_cut(world, c, keep, history, is_droppable=is_droppable)
    c.inbox = []
    disk.durable, disk.known = min(disk.durable, keep), min(disk.known, keep)
    world.checker.image(c)


def carry_out_cut(world: World, c: Member, keep: int, history: History, *, is_droppable: bool) -> None:
    """Drop or keep aside everything after `keep`."""
    disk = c.disk
    world.checker.cut(c, disk.log.recs[keep:], history, is_kept_aside=not is_droppable)
    gone = disk.log.cut(keep)
    if not is_droppable:
        disk.forks.append(gone)
    if disk.image[0] > keep:
        disk.image = (keep, disk.log.chain_at(keep))  # the blocks are resent
    world.trace(3, keep)


def append(c: Member) -> None:
    """What was received goes to the journal."""
    c.disk.log.extend(c.inbox)
    c.inbox = []


def apply(world: World, c: Member) -> None:
    """The journal goes to the image."""
    disk = c.disk
    upto = min(world.rules.apply_bound(disk.known, disk.durable), len(disk.log))
    if upto > disk.image[0]:
        disk.image = (upto, disk.log.chain_at(upto))


# --- memory of what others stated


def restored(world: World, c: Member) -> None:
    """It was noticed that the member went back in time."""
    c.step_down()
    c.disk.amnesic = True
    c.disk.session = world.fresh_session(c.name)


def compare_with_memory(world: World, me: Member, c: Member) -> None:
    """Another member compares what it remembers with what is stated now."""
    if me is c:
        return
    word = c.statement()
    if world.rules.regressed(word, me.disk.memory.get(c.name, Remembered())):
        restored(world, c)
        word = c.statement()
        me.disk.memory[c.name] = remember(word, Remembered())
    me.disk.memory[c.name] = remember(word, me.disk.memory.get(c.name, Remembered()))


# --- the owner


def open_group(world: World, c: Member, charter: Charter) -> None:
    """The charter may grant this process its epoch."""
    if (c.is_owner and c.epoch == charter.epoch) or not world.rules.may_open(charter, c.statement()):
        return
    if c.disk.promised > charter.epoch:
        return
    disk = c.disk
    if disk.follow < charter.epoch:
        lineage = world.rules.belongs(charter.history, disk.log.runs(), 1)
        cut_log(world, c, min(charter.history[-1].fork_seq, lineage), charter.history)
    is_checked = c.is_checked
    c.start()
    c.is_checked = is_checked
    c.state, c.epoch = CopyState.OWNER, charter.epoch
    disk.follow, disk.history, disk.charter = charter.epoch, charter.history, charter
    disk.promised = max(disk.promised, charter.epoch)
    disk.unclean = disk.amnesic = False
    disk.known = min(disk.known, len(disk.log))
    durability = Durability.FSYNC if world.is_fsync else Durability.APPEND
    c.counts = world.rules.group_log(c.name, c.epoch, len(disk.log), disk.durable, disk.known, durability)
    set_in_sync(c, InSync(charter))
    world.trace(1, charter.epoch)
    before = world.stores[charter.generation].in_sync_before.get(charter.epoch, frozenset())
    world.checker.opened(c, [world.members[name] for name in sorted(before) if name != c.name])


def set_in_sync(c: Member, state: InSync) -> None:
    """The owner's knowledge of its charter changed."""
    if state.is_deposed:
        c.step_down()
        return
    assert c.counts is not None
    c.in_sync = state
    c.counts.set_ack_set(state.ack_set)


def commit(world: World, o: Member) -> None:
    """Acknowledge what the ack set has."""
    counts = o.counts
    if counts is None or not can_answer(world, o):
        return
    before = counts.commit
    if counts.advance():
        others = [x for x in world.members.values() if x is not o and serves(world, x)]
        world.checker.committed(o, o.disk.log.recs[before : counts.commit], others)
        o.disk.known = counts.commit
        world.trace(2, counts.commit)


def write(world: World, o: Member) -> None:
    """A client writes."""
    disk, counts = o.disk, o.counts
    if counts is not None and serves(world, o) and len(disk.log) - counts.commit < IN_FLIGHT_MAX:
        tip = disk.log.tip
        disk.log.extend([record(o.epoch, tip.seq + 1, world.fresh(), tip.chain)])
        counts.append(len(disk.log))
        commit(world, o)


def flush(world: World, o: Member) -> None:
    """A client sends FLUSH; it is answered as far as it may be."""
    if o.counts is not None and serves(world, o):
        world.checker.flushed(o, o.counts.flush_bound())


def read(world: World, o: Member) -> None:
    """A client reads the newest committed record."""
    if o.counts is not None and serves(world, o) and o.counts.commit:
        world.checker.was_read(o, o.disk.log.recs[o.counts.commit - 1])


def sync(c: Member) -> None:
    """Background fdatasync."""
    c.disk.durable = len(c.disk.log)
    if c.counts is not None:
        c.counts.sync(c.disk.durable)


def ship(world: World, o: Member) -> None:
    """Connect to whoever is not connected, send records to the others."""
    for name in NAMES:
        d = world.members[name]
        if d is o or o.counts is None:
            continue
        if o.connected.get(name) != d.disk.session:
            connect(world, o, d)
        else:
            send_records(world, o, name)


def connect(world: World, o: Member, d: Member) -> None:
    """Compare the two copies; the plan travels to the member."""
    if not world.reach(o.name, d.name):
        return
    compare_with_memory(world, o, d)
    word = d.statement()
    fork = world.rules.belongs(o.disk.history, word.runs, word.first_seq)
    chain = o.disk.log.chain_at(fork) if fork <= len(o.disk.log) else None
    tip = o.disk.log.tip
    version, known = o.charter.version, o.disk.known
    view = OwnerView("c", "g", o.disk.history, o.epoch, tip, known, 1, version, chain)
    plan = world.rules.compare(view, word, Identity("c", "g", d.disk.history))
    assert o.counts is not None
    o.counts.greet(d.name, word.session)
    if isinstance(plan, FreezeBoth | Corrupt):
        raise ViolationError("copies contradict each other", o.name, d.name, plan)
    world.send(o.name, d.name, Connect(o.epoch, o.disk.history, word, plan, o.charter))


def send_records(world: World, o: Member, name: str) -> None:
    """The next records after what the member acknowledged; a remote one gets mostly committed ones."""
    assert o.counts is not None
    base = min(o.counts.peer(name).appended, len(o.disk.log))
    is_near = name in o.counts.ack_set or name in world.mates(o.name)
    limit = len(o.disk.log) if is_near or world.chance(0.3) else o.counts.commit
    recs = tuple(o.disk.log.recs[base : min(limit, base + WINDOW)])
    chain = o.disk.log.chain_at(base)
    world.send(o.name, name, Append(o.epoch, base, chain, recs, o.counts.commit, o.charter))


# --- receiving


def receive(world: World, source: str, c: Member, message: Message) -> None:
    """A member gets a message."""
    match message:
        case Connect():
            on_connect(world, c, source, message)
        case Append():
            on_append(world, c, source, message)
        case Acknowledge():
            on_acknowledge(world, c, source, message)
        case Reject(epoch):
            if c.is_owner and epoch > c.epoch:
                c.step_down()
        case LeaseReply(sent_at, epoch):
            if c.is_owner and epoch == c.epoch:
                c.lease = max(c.lease, lease.owner_view(sent_at, LEASE))
        case Renew():
            raise AssertionError("a member renews no leases")


def _lets_in(world: World, d: Member, source: str, epoch: Epoch, charter: Charter) -> bool:
    """Whether a member listens to an owner of `epoch`; it learns the charter that travels along."""
    if not world.rules.accepts(d.disk.promised, epoch):
        world.send(d.name, source, Reject(d.disk.promised))
        return False
    if d.is_owner:
        if epoch <= d.epoch:
            return False
        d.step_down()
    learn_of(d, charter)
    return True


def learn_of(d: Member, charter: Charter) -> None:
    """Keep the newest charter; a new store generation starts a new token."""
    old = d.charter
    if charter.generation > old.generation:
        d.disk.token = 0
    if (charter.generation, charter.version) > (old.generation, old.version):
        d.disk.charter = charter


def on_connect(world: World, d: Member, source: str, message: Connect) -> None:
    """Carry out a connect plan, unless it has aged."""
    known = d.charter
    known_version = known.version if known.generation == message.charter.generation else 0
    if not _lets_in(world, d, source, message.epoch, message.charter):
        return
    disk = d.disk
    version = message.charter.version
    word = message.word
    now = (disk.session, disk.log.tip, disk.image[0], disk.known)
    same = now == (word.session, word.tip, word.applied, word.commit)  # else the owner compares again
    is_young = world.rules.may_cut(version, message.epoch, known_version, disk.promised, disk.follow)
    if not same or not is_young:
        return
    disk.promised = max(disk.promised, message.epoch)
    if disk.follow < message.epoch:
        follow_plan(world, d, message)
        disk.follow, disk.history = message.epoch, message.history
    acknowledge(world, d, source)


def follow_plan(world: World, d: Member, message: Connect) -> None:
    """Drop or keep aside what the plan says."""
    plan = message.plan
    if isinstance(plan, Quarantine):
        plan = plan.then
    if isinstance(plan, Truncate):
        carry_out_cut(world, d, plan.to, message.history, is_droppable=True)
    elif isinstance(plan, ExportFork):
        if plan.is_image_intact != (d.disk.image[0] <= plan.after_seq):
            raise ViolationError("image said to be intact and is not", d.name, plan)
        carry_out_cut(world, d, plan.after_seq, message.history, is_droppable=False)
    d.inbox = []
    disk = d.disk
    disk.durable, disk.known = min(disk.durable, len(disk.log)), min(disk.known, len(disk.log))
    world.checker.image(d)


def on_append(world: World, d: Member, source: str, message: Append) -> None:
    """Records arrive: they continue the log or repeat it."""
    if not _lets_in(world, d, source, message.epoch, message.charter) or d.disk.follow != message.epoch:
        return
    have = len(d.disk.log) + len(d.inbox)
    if message.base <= have:
        if message.base and _chain_at(d, message.base) != message.chain:
            raise ViolationError("chain differs inside one lineage", d.name)
        take(d, message.recs)
        d.disk.known = max(d.disk.known, message.commit)
    if world.chance(0.2 if world.is_slow_disk else 0.8):
        append(d)
    acknowledge(world, d, source)


def _record_at(d: Member, seq: int) -> Rec:
    return d.disk.log.recs[seq - 1] if seq <= len(d.disk.log) else d.inbox[seq - len(d.disk.log) - 1]


def _chain_at(d: Member, seq: int) -> bytes:
    return _record_at(d, seq).chain


def take(d: Member, recs: tuple[Rec, ...]) -> None:
    """Receive records that continue what is there."""
    for rec in recs:
        if rec.seq > len(d.disk.log) + len(d.inbox):
            d.inbox.append(rec)
        elif _record_at(d, rec.seq) != rec:
            raise ViolationError("same position, two contents", d.name, rec)


def acknowledge(world: World, d: Member, owner: str) -> None:
    """Tell the owner how far the log is."""
    appended = world.rules.acknowledged(len(d.disk.log), len(d.disk.log) + len(d.inbox))
    world.send(d.name, owner, Acknowledge(d.disk.follow, d.statement(), appended, d.disk.durable))


def on_acknowledge(world: World, o: Member, source: str, message: Acknowledge) -> None:
    """An acknowledgment arrives."""
    word = message.word
    old = o.disk.memory.get(source, Remembered())
    o.disk.memory[source] = remember(word, old)
    counts = o.counts
    if counts is None or message.epoch != o.epoch:
        return
    if counts.acknowledge(source, word.session, message.epoch, message.appended, message.durable):
        o.connected[source] = word.session
    commit(world, o)


# --- the owner tends its group


def tend(world: World, o: Member) -> None:
    """Renew the lease or ask for company, thaw by mistake, clear flags, change the in-sync set."""
    store = world.stores[o.charter.generation]
    if world.reach(o.name, store.name):
        world.send(o.name, store.name, Renew(world.now, o.epoch))
    elif o.state is CopyState.OWNER and o.disk.promised == o.epoch:
        ask_for_company(world, o)
    if o.state is CopyState.FROZEN:
        if world.rules.may_thaw() and world.chance(0.2):
            o.state = CopyState.OWNER
            world.thawed_owners.add((o.name, o.epoch))
        return
    clear_flags(world, o)
    change_in_sync(world, o, store)


def ask_for_company(world: World, o: Member) -> None:
    """The store cannot be reached: members may confirm, and are bound by it."""
    yes = []
    for name in NAMES:
        d = world.members[name]
        if d is o or not world.reach(o.name, name):
            continue
        if world.rules.may_confirm(d.statement(), o.epoch, d.is_checked):
            d.disk.bound = (lease.bound_until(world.now, LEASE), o.epoch)
            yes.append(name)
    ack_set = o.counts.ack_set if o.counts is not None else frozenset()
    if world.rules.may_go_on_without_store(o.name, world.mates(o.name), tuple(yes), ack_set):
        o.failsafe = world.now + LEASE - 1


def clear_flags(world: World, o: Member) -> None:
    """Who has caught up is neither unclean nor amnesic any more."""
    counts = o.counts
    if counts is None or not serves(world, o):
        return
    for name in NAMES:
        d, peer = world.members[name], counts.peer(name)
        is_level = (
            peer.session == d.disk.session and peer.appended >= counts.commit and world.reach(o.name, name)
        )
        if d is not o and is_level and d.disk.follow == o.epoch == d.disk.promised:
            d.disk.unclean = d.disk.amnesic = False


def change_in_sync(world: World, o: Member, store: Store) -> None:
    """Let the mate in, drop it, or ask again for what is pending."""
    mates, state, counts = world.mates(o.name), o.in_sync, o.counts
    if not mates or state is None or counts is None:
        return
    if state.pending is not None:
        ask_store(world, o, store, state.pending)
        return
    mate = world.members[mates[0]]
    wanted: Charter | None = None
    if mate.name in state.ack_set:
        if world.chance(world.shrink_rate):
            state, wanted = world.rules.shrink(state, mate.name)
    else:
        peer = counts.peer(mate.name)
        if peer.session == mate.disk.session:
            state, wanted = world.rules.grow(state, mate.name, peer.appended, counts.commit)
    if wanted is not None:
        set_in_sync(o, world.rules.asked(state))
        ask_store(world, o, store, wanted)
        commit(world, o)


def ask_store(world: World, o: Member, store: Store, wanted: Charter) -> None:
    """Compare and set over the network; the outcome may stay unknown."""
    if not world.reach(o.name, store.name) or store.ready() or o.in_sync is None:
        return
    done = world.compare_and_set(store, wanted.version - 1, wanted)
    if done is None:
        view = CasView(CasKind.UNKNOWN)
    else:
        view = CasView(CasKind.DONE if done else CasKind.LOST, store.charter)
    set_in_sync(o, world.rules.outcome(o.in_sync, view))
    if o.in_sync is not None:
        learn_of(o, o.in_sync.charter)
    commit(world, o)


# --- heartbeats to the store


def heartbeat(world: World, c: Member) -> None:
    """A member speaks to the store, and gossips the newest generation with another member."""
    other = world.members[world.dice.choice(NAMES)]
    if other.charter.generation > c.charter.generation and world.reach(c.name, other.name):
        learn_of(c, other.charter)
        c.step_down()
    store = world.stores[c.charter.generation]
    if not world.reach(c.name, store.name):
        return
    charter = c.charter
    store.heard[c.name] = Heard(charter.generation, charter.version, charter.epoch)
    known = store.tokens.get(c.name, c.disk.token)
    word = world.rules.check_token(c.disk.token, known)
    if word is TokenWord.STORE_WENT_BACK:
        store.is_stale = True
    if store.ready():
        return
    exchange_token(world, c, store, word, known)
    learn(world, c, store)


def exchange_token(world: World, c: Member, store: Store, word: TokenWord, known: int) -> None:
    """The store hands out the next token, or notices that the member went back."""
    if word is TokenWord.MEMBER_WENT_BACK:
        restored(world, c)
    c.is_checked = not c.disk.amnesic
    store.tokens[c.name] = known + 1 if word is TokenWord.NEXT else known
    if world.chance(0.9):
        c.disk.token = store.tokens[c.name]


def learn(world: World, c: Member, store: Store) -> None:
    """The charter comes back with the heartbeat; an owner reports."""
    charter = store.charter
    learn_of(c, charter)
    if c.in_sync is not None:
        set_in_sync(c, world.rules.learned(c.in_sync, charter))
    if charter.owner == c.name and not c.is_owner:
        open_group(world, c, charter)
    if c.counts is not None and serves(world, c) and c.epoch == charter.epoch:
        store.last_known = LastKnown(c.counts.commit, len(c.disk.log), 0, world.now)


def receive_renewal(world: World, store: Store, source: str, message: Renew) -> None:
    """The store renews a lease, or not."""
    if store.ready():
        return
    book = store.book.renew(store.charter, source, message.epoch, world.now)
    if book is not None:
        store.book = book
        world.send(store.name, source, LeaseReply(message.sent_at, message.epoch))


def seal(world: World, c: Member, epoch: Epoch) -> bool:
    """A member promises; an owner below the epoch freezes."""
    disk = c.disk
    if not world.rules.may_seal(disk.promised, epoch, disk.bound[0], disk.bound[1], world.now):
        return False
    disk.promised = epoch
    if c.is_owner and c.epoch < epoch:
        c.state = CopyState.FROZEN
    c.inbox = []
    return True
