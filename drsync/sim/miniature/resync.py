"""The world of three centers that catch up: the shipped rules of resync, dirty sets and retention.

One owner writes into a journal of limited size, two others follow by log or by staged sessions, and each
keeps what the others may lack. Lines break, centers restart, go back in time and lose their marks, words
come late and twice, the owner changes. Checked after every step: every copy stands at a point that existed,
what differs is held by journal or marks, writes wait for nobody who is away; at the end all catch up.
"""

import random
from copy import deepcopy
from dataclasses import replace

from drsync.core import dirty as marks
from drsync.core import extents, resync_source, resync_target
from drsync.core.compare import ConnectPlan, Identity, OwnerView, compare
from drsync.core.dirty import DirtySet
from drsync.core.resync import EndWord, How, Room, Staging
from drsync.core.resync_source import IDLE_SOURCE, Ground, Source
from drsync.core.resync_tables import SourceEvent, SourceState, TargetEvent, TargetState
from drsync.core.retention import Convert, Cursor, Kept, Limits, Needed, Segment, Stall, Trim
from drsync.core.safety import Reason
from drsync.model.copy import CopyState, Statement
from drsync.model.epoch import Epoch
from drsync.model.position import NO_CHAIN, EpochRun, EpochStart, Position
from drsync.sim.miniature.checker import ViolationError
from drsync.sim.miniature.member import record
from drsync.sim.miniature.resync_copy import BLOCKS, Copy, block, numbers
from drsync.sim.miniature.resync_rules import MUTANTS, ResyncRules

__all__ = ["MUTANTS", "STEPS", "ResyncRules", "ResyncWorld"]

NAMES = ("A", "B", "C")
STEPS = 600  # because most mistakes show within a hundred, and a few need a third session
HEAL_STEPS = 800  # because a session that hangs is noticed after 60, and there may be several
LIMITS = Limits(soft_bytes=8, hard_bytes=12)  # records
EPOCH = Epoch(1)
HISTORY = (EpochStart(EPOCH, "u", 0, NO_CHAIN),)
HEARD = 0.8  # chance that a word arrives
CRASH = 0.03  # chance that a center restarts between two actions
LOST = 0.5  # chance that what was not synced is gone
SNAPSHOTS = 0.1  # chance that a file system can keep the base
LEAVE = 0.4  # chance that a person allows a copy to be inconsistent
TWICE = 0.3  # chance that a word comes again


class ResyncWorld:
    """Three centers, one of them the owner."""

    def __init__(self, seed: int, rules: ResyncRules) -> None:
        self.dice = random.Random(seed)
        self.rules = rules
        self.states: list[list[int]] = [[0] * BLOCKS]  # the image after every record
        self.chains = [NO_CHAIN]
        self.copies = {name: Copy(name) for name in NAMES}
        for copy in self.copies.values():
            copy.cursors = {name: Cursor("1", 0) for name in NAMES if name != copy.name}
            copy.dirty = {name: DirtySet() for name in NAMES if name != copy.name}
        self.owner = self.copies["A"]
        self.sources = dict.fromkeys(NAMES, IDLE_SOURCE)
        self.following: set[str] = set()
        self.hung: set[str] = set()
        self.away: set[str] = set()
        self.mail: list[tuple[str, str, EndWord]] = []
        self.snapshots: dict[str, Copy] = {}
        self.highest: dict[tuple[str, str], int] = {}  # by center and incarnation
        self.now = 0.0
        self.count = 1
        self.switches = 0

    @property
    def tip(self) -> int:
        """Last record of the owner."""
        return len(self.states) - 1

    @property
    def position(self) -> int:
        """Where the last of all stands."""
        return min(copy.position for copy in self.copies.values())

    def run(self, steps: int) -> None:
        """Raises ViolationError."""
        doings = {
            self.write: 30,
            self.retain_somewhere: 8,
            self.ship: 22,
            self.copy: 34,
            self.deliver: 8,
            self.gossip: 4,
            self.cut: 2,
            self.join: 2,
            self.restart_target: 1.5,
            self.restart_owner: 0.4,
            self.hang: 0.3,
            self.lose_marks: 1.5,
            self.change_owner: 4,
            self.snapshot: 1,
            self.restore: 0.6,
        }
        for doing in self.dice.choices(list(doings), list(doings.values()), k=steps):
            self.now += 1
            self.watch()
            doing()
            self.check()
        self.heal()

    def heal(self) -> None:
        """Nothing breaks any more: everybody catches up, or a rule keeps them from it."""
        self.join()
        for _ in range(HEAL_STEPS):
            self.now += 1
            self.watch()
            for doing in (self.deliver, self.ship, self.copy):
                doing()
                self.check()
            if all(copy.position == self.tip and copy.target.is_consistent for copy in self.copies.values()):
                return
        raise ViolationError("did not converge after healing", self.position, self.tip)

    def somebody(self) -> Copy:
        """A replica."""
        return self.copies[self.dice.choice([name for name in NAMES if name != self.owner.name])]

    # --- the owner

    def write(self) -> None:
        """A block is overwritten, when the journal has room for it."""
        if len(self.owner.journal) >= LIMITS.hard_bytes:
            self.retain(self.owner, room=1)
        if len(self.owner.journal) >= LIMITS.hard_bytes:
            return  # it crashed while it made room
        seq, number = self.tip + 1, self.dice.randrange(BLOCKS)
        self.chains.append(record(EPOCH, seq, number, self.chains[-1]).chain)
        self.owner.append(seq, number)
        self.states.append(list(self.owner.image))

    def retain_somewhere(self) -> None:
        """A center looks after its journal."""
        self.retain(self.copies[self.dice.choice(NAMES)])

    def retain(self, copy: Copy, room: int = 0) -> None:
        """What the rule says, in its order; a crash may come in between."""
        is_owner = copy is self.owner
        needs = [
            Needed(name, cursor.seq, copy.dirty[name].through, self.sources[name].pin if is_owner else None)
            for name, cursor in copy.cursors.items()
        ]
        segments = tuple(Segment(seq, 1) for seq in sorted(copy.journal))
        kept = Kept(is_owner, copy.position, copy.position, copy.trimmed, segments, room, tuple(needs))
        for action in self.rules.retain(kept, LIMITS):
            if self.dice.random() < CRASH:
                self.restart(copy)
                return
            match action:
                case Convert(center=center, through=through, is_round=is_round):
                    self.convert(copy, center, through, is_round=is_round)
                case Trim(to=to):
                    copy.journal = {seq: number for seq, number in copy.journal.items() if seq > to}
                    copy.trimmed = max(copy.trimmed, to)
                case Stall():
                    raise ViolationError("writes wait for a member that is away", self.now)
                case _:
                    pass  # images and alarms are not of this world

    def convert(self, copy: Copy, center: str, through: int, *, is_round: bool) -> None:
        """Marks instead of records; a session begins a new round."""
        dirty, cursor = copy.dirty[center], copy.cursors[center].seq
        changed = copy.extents(marks.journal_floor(dirty, cursor), through)
        if not is_round:
            copy.dirty[center] = self.rules.mark(dirty, cursor, through, changed, copy.trimmed)
            return
        ground = Ground(through, cursor, copy.trimmed, changed, self.now)
        source, copy.dirty[center] = self.rules.outgrown(self.sources[center], dirty, ground)
        self.sources[center] = source
        target = self.copies[center]
        if source.state is not SourceState.IDLE and center not in self.hung | self.away:
            target.target = resync_target.next_round(target.target, source)
            target.redo, target.synced = [], dict(target.stage)

    def watch(self) -> None:
        """Sessions without progress are given up, and their lines closed."""
        for name, source in self.sources.items():
            if self.rules.is_stalled(source, self.now):
                self.sources[name] = resync_source.stop(source, SourceEvent.STALLED)
                self.close(name)
            elif name in self.hung and source.state is SourceState.IDLE:
                self.close(name)  # without a session it is the ping that notices

    # --- catching up

    def ship(self) -> None:
        """Connect, go on with a session, or send the next record."""
        peer = self.somebody()
        source = self.sources[peer.name]
        if peer.name in self.hung or peer.name in self.away:
            return
        if peer.target.state is TargetState.SWITCHING:
            self.finish(peer)
        if source.state is SourceState.KEPT:
            source, peer.target, word = self.rules.resume(source, peer.target)
            self.sources[peer.name] = source
            if word is not None:
                self.mail.append((self.owner.name, peer.name, word))
            elif source.state is SourceState.COPYING:
                peer.redo, peer.synced = [], dict(peer.stage)
        elif source.state is SourceState.IDLE:
            if peer.name in self.following:
                self.stream(peer)
            else:
                self.connect(peer)

    def connect(self, peer: Copy) -> None:
        """Ask, compare, and do what follows."""
        me, name = self.owner, peer.name
        known = me.cursors[name]
        found = self.compare(peer, known)
        if peer.position < known.seq and str(peer.incarnation) == known.incarnation:
            self.count += 1
            peer.incarnation = self.count  # it went back in time: nobody's memory of it holds
        me.cursors[name] = Cursor(str(peer.incarnation), peer.position)
        me.dirty[name] = dirty = self.rules.reached(me.dirty[name], me.cursors[name].seq)
        how = self.rules.plan(found, dirty, me.trimmed, peer.target.is_consistent)
        if how is How.STREAM:
            peer.target = resync_target.halted(peer.target, TargetEvent.GIVEN_UP)
            peer.stage.clear()
            self.following.add(name)
            return
        self.count += 1
        cursor = me.cursors[name].seq
        changed = me.extents(marks.journal_floor(dirty, cursor), me.position)
        ground = Ground(me.position, cursor, me.trimmed, changed, self.now)
        self.sources[name], me.dirty[name] = self.rules.start(
            self.sources[name], f"session {self.count}", dirty, ground, how
        )

    def compare(self, peer: Copy, known: Cursor) -> ConnectPlan:
        """The shipped comparison."""
        me, at = self.owner, peer.position
        chain = self.chains[at]
        runs = (EpochRun(EPOCH, 1, at, chain),) if at else ()
        tip = Position(EPOCH, at, chain)
        inc = str(peer.incarnation)
        word = Statement(
            peer.name, "s", inc, CopyState.REPLICA, EPOCH, EPOCH, peer.trimmed + 1, runs, at, at, at, at, tip
        )
        here = Position(EPOCH, me.position, self.chains[me.position])
        held = chain if at >= me.trimmed else None
        met = {peer.name: known.incarnation}
        view = OwnerView("c", "g", HISTORY, EPOCH, here, me.position, me.trimmed + 1, 1, held, met)
        return compare(view, word, Identity("c", "g"))

    def stream(self, peer: Copy) -> None:
        """The next record, if the journal still has it."""
        me, seq = self.owner, peer.position + 1
        if seq not in me.journal:
            if seq <= me.position:
                self.following.discard(peer.name)
            return
        peer.append(seq, me.journal[seq])
        peer.cursors[me.name] = Cursor(str(me.incarnation), seq)
        if len(peer.journal) >= LIMITS.hard_bytes:
            self.retain(peer)
        if self.dice.random() < HEARD:
            self.acknowledged(peer.name, seq)

    def acknowledged(self, name: str, seq: int) -> None:
        """A member confirmed a position, itself."""
        me = self.owner
        me.cursors[name] = replace(me.cursors[name], seq=max(seq, me.cursors[name].seq))
        me.dirty[name] = self.rules.reached(me.dirty[name], seq)

    def copy(self) -> None:
        """The next step of a session."""
        peer = self.somebody()
        source, target = self.sources[peer.name], peer.target
        if peer.name in self.hung or peer.name in self.away:
            return
        match source.state:
            case SourceState.OFFERED:
                self.offer(peer, source)
            case SourceState.DIGESTING:
                pairs = enumerate(zip(self.owner.image, peer.image, strict=True))
                differing = extents.normal(
                    block(number) for number, (ours, theirs) in pairs if ours != theirs
                )
                self.sources[peer.name] = resync_source.digested(source, target.session, differing, self.now)
            case SourceState.COPYING if source.todo:
                self.send_blocks(peer, source)
            case SourceState.COPYING:
                self.sources[peer.name] = resync_source.copied(source, self.owner.position)
            case SourceState.REDOING if target.redo < source.p1 and self.rules.sends_redo:
                self.send_redo(peer)
            case SourceState.REDOING:
                self.sources[peer.name], word = resync_source.redone(source)
                self.end(peer, word)
            case _:
                if target.state is TargetState.SWITCHING:
                    self.finish(peer)

    def offer(self, peer: Copy, source: Source) -> None:
        """Is there room for a stage, or leave to go without?"""
        needed = BLOCKS if source.by_digest else extents.size(source.whole)
        dice = self.dice
        room = Room(needed, dice.randrange(BLOCKS + 2), dice.random() < SNAPSHOTS, dice.random() < LEAVE)
        others = {
            name: copy.target.is_consistent
            for name, copy in self.copies.items()
            if copy not in (self.owner, peer)
        }
        where = self.rules.staging(room, peer.name, others)
        if isinstance(where, Reason):
            self.sources[peer.name] = resync_source.stop(source, SourceEvent.REFUSED)
            return
        in_place = where is Staging.IN_PLACE
        peer.target = resync_target.begun(
            peer.target, source, in_place=in_place and self.rules.tells_in_place
        )
        peer.stage, peer.redo, peer.synced = {}, [], {}
        self.sources[peer.name] = resync_source.accepted(source, peer.target.session)

    def send_blocks(self, peer: Copy, source: Source) -> None:
        """A block as it is now."""
        taken, self.sources[peer.name] = resync_source.sent(source, self.dice.randint(1, 2), self.now)
        if self.dice.random() < CRASH:
            self.close(peer.name)  # it was on its way
            return
        peer.target = resync_target.staged(peer.target, source.session, taken)
        is_aside = peer.target.is_consistent and self.rules.tells_in_place
        for number in numbers(taken):
            if is_aside:
                peer.stage[number] = self.owner.image[number]
            else:
                peer.image[number] = self.owner.image[number]
        self.owner.dirty[peer.name] = self.rules.when_sent(self.owner.dirty[peer.name])

    def send_redo(self, peer: Copy) -> None:
        """The next record after p0."""
        seq = peer.target.redo + 1
        number = self.owner.journal.get(seq)
        if number is not None:
            peer.redo.append((number, seq))
        peer.target = resync_target.redo(peer.target, peer.target.session, seq, seq)

    def end(self, peer: Copy, word: EndWord) -> None:
        """The target switches only if all of it is there; before, it marks for the third center."""
        peer.target = self.rules.end(peer.target, word)
        if peer.target.state is not TargetState.SWITCHING:
            self.sources[peer.name] = resync_source.stop(self.sources[peer.name], SourceEvent.REFUSED)
            return
        peer.synced = dict(peer.stage)
        delta = extents.normal(block(number) for number in (*peer.stage, *(n for n, _ in peer.redo)))
        delta = extents.union(delta, peer.target.touched)
        for name, cursor in peer.cursors.items():
            if self.rules.marks_others and name != self.owner.name and cursor.seq < word.p1:
                dirty = peer.dirty[name]
                ours = peer.extents(marks.journal_floor(dirty, cursor.seq), peer.position)
                runs = extents.union(ours, delta)
                peer.dirty[name] = self.rules.mark(dirty, cursor.seq, word.p1, runs, peer.trimmed)

    def finish(self, peer: Copy) -> None:
        """The one step: the stage becomes the image."""
        word = peer.target.end
        assert word is not None
        for number, value in [*peer.stage.items(), *peer.redo]:
            peer.image[number] = value
        peer.position = peer.trimmed = word.p1
        peer.journal, peer.stage, peer.redo, peer.synced = {}, {}, [], {}
        me = self.owner
        peer.cursors[me.name] = Cursor(str(me.incarnation), max(word.p1, peer.cursors[me.name].seq))
        peer.target = resync_target.switched(peer.target)
        self.switches += 1
        if self.dice.random() < HEARD:
            self.mail.append((me.name, peer.name, word))

    def deliver(self) -> None:
        """A confirmation arrives, perhaps late, perhaps not for the last time."""
        if not self.mail:
            return
        at = self.dice.randrange(len(self.mail))
        to, name, word = self.mail[at] if self.dice.random() < TWICE else self.mail.pop(at)
        if to != self.owner.name or name == to:
            return
        source, dirty, is_done = self.rules.confirmed(self.sources[name], self.owner.dirty[name], word)
        self.sources[name], self.owner.dirty[name] = source, dirty
        if is_done:
            self.acknowledged(name, word.p1)
            self.following.add(name)

    def gossip(self) -> None:
        """One center tells another what the third confirmed."""
        teller, hearer, about = (self.copies[name] for name in self.dice.sample(NAMES, 3))
        told = self.rules.tells(teller.cursors[about.name], teller.position)
        hearer.cursors = self.rules.heard(hearer.cursors, [(about.name, told)], hearer.name)
        dirty = self.rules.told(hearer.dirty[about.name], teller.dirty[about.name])
        hearer.dirty[about.name] = self.rules.reached(dirty, hearer.cursors[about.name].seq)

    # --- faults

    def close(self, name: str) -> None:
        """The line between the owner and a member ends."""
        self.hung.discard(name)
        self.following.discard(name)
        self.sources[name] = resync_source.stop(self.sources[name], SourceEvent.CUT)
        self.copies[name].target = resync_target.halted(self.copies[name].target, TargetEvent.CUT)

    def cut(self) -> None:
        """A line is lost, perhaps for long."""
        name = self.somebody().name
        self.close(name)
        if self.dice.random() < LOST:
            self.away.add(name)

    def join(self) -> None:
        """Lines come back."""
        self.away.clear()

    def hang(self) -> None:
        """A line carries nothing and does not say so."""
        peer = self.somebody()
        if self.sources[peer.name].state is not SourceState.IDLE:
            self.hung.add(peer.name)

    def restart_target(self) -> None:
        """A replica restarts."""
        self.restart(self.somebody())

    def restart_owner(self) -> None:
        """The owner restarts: its sessions are gone."""
        self.restart(self.owner)

    def restart(self, copy: Copy) -> None:
        """What was not synced of a stage may be lost."""
        for name in NAMES if copy is self.owner else (copy.name,):
            self.close(name)
        if copy is self.owner:
            self.sources = dict.fromkeys(NAMES, IDLE_SOURCE)
        copy.dirty = {
            name: self.rules.decode(marks.encode(dirty), dirty.generation)
            for name, dirty in copy.dirty.items()
        }
        target = copy.target
        copy.target = target = resync_target.halted(target, TargetEvent.RESTARTED)
        if target.state is not TargetState.KEPT or not target.is_consistent:
            return
        lost = [number for number in numbers(target.fresh) if self.dice.random() < LOST]
        gone = extents.normal(block(number) for number in lost if number not in copy.synced)
        fresh = extents.subtract(target.fresh, extents.normal(map(block, lost)))
        copy.target = replace(target, fresh=fresh, staged=extents.subtract(target.staged, gone))
        for number in lost:
            copy.stage.pop(number, None)
            if number in copy.synced:
                copy.stage[number] = copy.synced[number]

    def lose_marks(self) -> None:
        """A file of marks is lost or damaged."""
        copy = self.copies[self.dice.choice(NAMES)]
        name = self.dice.choice(list(copy.dirty))
        raw = bytearray(marks.encode(copy.dirty[name]))
        raw[self.dice.randrange(len(raw))] ^= 0xFF
        found = None if self.dice.random() < LOST else bytes(raw)
        copy.dirty[name] = self.rules.decode(found, copy.dirty[name].generation)

    def change_owner(self) -> None:
        """A switchover, to somebody who has everything."""
        peer = self.somebody()
        if peer.position != self.tip or not peer.target.is_consistent:
            return
        for name in NAMES:
            self.close(name)
        self.sources = dict.fromkeys(NAMES, IDLE_SOURCE)
        peer.target = resync_target.halted(peer.target, TargetEvent.GIVEN_UP)
        self.owner = peer

    def snapshot(self) -> None:
        """Somebody keeps an image of a whole machine."""
        peer = self.somebody()
        if peer.target.is_consistent:  # nobody would keep another, and two of them are no copy at all
            self.snapshots[peer.name] = deepcopy(peer)

    def restore(self) -> None:
        """Somebody brings it back."""
        peer = self.somebody()
        old = self.snapshots.pop(peer.name, None)
        if old is not None:
            self.close(peer.name)
            self.copies[peer.name] = old

    # --- what must hold

    def check(self) -> None:
        """Points that existed, covered differences, another consistent copy. Raises ViolationError."""
        in_place = [copy.name for copy in self.copies.values() if not copy.target.is_consistent]
        if len(in_place) > 1 or self.owner.name in in_place:
            raise ViolationError("the only other consistent copy was given up", in_place)
        good = [copy for copy in self.copies.values() if copy.name not in in_place]
        for copy in good:
            if copy.image != self.states[copy.position]:
                raise ViolationError("a copy does not stand at a consistent point", copy.name, copy.position)
        for copy in self.copies.values():
            store = (copy.name, str(copy.incarnation))
            self.highest[store] = max(copy.position, self.highest.get(store, 0))
        for holder in good:
            for other in good:
                self.check_pair(holder, other)

    def check_pair(self, holder: Copy, other: Copy) -> None:
        """INV-11, where the holder is ahead and its memory of the other holds. Raises ViolationError."""
        if holder is other:
            return
        cursor = holder.cursors[other.name]
        if cursor.seq > self.highest.get((other.name, cursor.incarnation), 0):
            raise ViolationError("a cursor that nobody confirmed", holder.name, other.name, cursor.seq)
        if other.position > holder.position:
            return
        if cursor.incarnation != str(other.incarnation) or other.position < cursor.seq:
            return
        holes = holder.lacks_cover(other)
        if holes:
            raise ViolationError("differences that nothing covers", holder.name, other.name, holes)
