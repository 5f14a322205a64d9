"""The world of one link: fuzzy copy with redo, staged behind the target's last consistent point (F.10).

An owner writes blocks into a journal of limited size; what is trimmed becomes dirty blocks. Its peer
catches up by log or, where the journal no longer reaches back, by a staged copy that is switched in one
step. Which of both is the shipped decision of `core.compare`; the order of bookkeeping is the rule under
test. Checked after every step: the target stands at a point that existed, and dirty blocks and journal
together cover every difference.
"""

import random
from dataclasses import dataclass, field

from drsync.core.compare import DirtyResync, Identity, OwnerView, Stream, compare
from drsync.model.copy import CopyState, Statement
from drsync.model.epoch import Epoch
from drsync.model.position import NO_CHAIN, EpochRun, EpochStart, Position
from drsync.sim.miniature.checker import ViolationError
from drsync.sim.miniature.member import record

BLOCKS = 12
STEPS = 800  # because most mistakes show within a hundred, and a few need a second session
EPOCH = Epoch(1)
HISTORY = (EpochStart(EPOCH, "u", 0, NO_CHAIN),)
HEARD = 0.8  # chance that an acknowledgment arrives


@dataclass(frozen=True)
class ResyncRules:
    """The order of bookkeeping, each part replaceable by a mistake.

    Attributes:
        pins_redo: records after the start of a session are not trimmed while it runs.
        marks_before_trim: a trimmed record's block is marked before the record goes.
        keeps_marks: marks stay until the end of the session is confirmed.
        clears_when_sent: a mark goes when its block was sent.
        sends_redo: what changed while the blocks were read is sent after them.
        stages: blocks are put aside and switched in one step.
        clears_only_reached: a confirmation clears marks only if the journal reaches back to it.
    """

    pins_redo: bool = True
    marks_before_trim: bool = True
    keeps_marks: bool = True
    clears_when_sent: bool = False
    sends_redo: bool = True
    stages: bool = True
    clears_only_reached: bool = True


MUTANTS: dict[str, tuple[str, ResyncRules]] = {
    "no_pin": ("records that a session needs are trimmed", ResyncRules(pins_redo=False)),
    "trim_first": (
        "a crash between trimming and marking loses the mark",
        ResyncRules(marks_before_trim=False),
    ),
    "clear_at_start": ("marks are cleared when a session starts", ResyncRules(keeps_marks=False)),
    "clear_at_send": ("marks are cleared when a block was sent", ResyncRules(clears_when_sent=True)),
    "no_redo": ("what changed meanwhile is not sent", ResyncRules(sends_redo=False)),
    "in_place": ("blocks are written into the live image", ResyncRules(stages=False)),
    "clear_unreached": (
        "marks of trimmed records are cleared by an old confirmation",
        ResyncRules(clears_only_reached=False),
    ),
}


@dataclass
class Session:
    """A staged copy under way; lost with the link."""

    todo: list[int]
    start_seq: int
    end_seq: int
    staged: dict[int, int] = field(default_factory=dict)


class ResyncWorld:
    """One owner, one target, one link."""

    def __init__(self, seed: int, rules: ResyncRules) -> None:
        self.dice = random.Random(seed)
        self.rules = rules
        self.states: list[tuple[int, ...]] = [(0,) * BLOCKS]  # the image after every record
        self.chains = [NO_CHAIN]
        self.journal: dict[int, tuple[int, int]] = {}  # seq -> (block, value)
        self.trimmed = 0
        self.marks: set[int] = set()
        self.confirmed = 0
        self.session: Session | None = None
        self.image = list(self.states[0])
        self.position = 0
        self.switches = 0

    @property
    def tip(self) -> int:
        """Last record of the owner."""
        return len(self.states) - 1

    def run(self, steps: int) -> None:
        """Raises ViolationError."""
        doings = (self.write, self.trim, self.ship, self.copy, self.drop_link, self.hear)
        for _ in range(steps):
            self.dice.choices(doings, (30, 12, 20, 30, 1, 7))[0]()
            self.check()

    def write(self) -> None:
        """A block is overwritten."""
        seq, block = self.tip + 1, self.dice.randrange(BLOCKS)
        image = list(self.states[-1])
        image[block] = seq
        self.states.append(tuple(image))
        self.chains.append(record(EPOCH, seq, block, self.chains[-1]).chain)
        self.journal[seq] = (block, seq)

    def trim(self) -> None:
        """The journal is over its quota: the oldest record goes and leaves a mark."""
        seq = self.trimmed + 1
        limit = self.session.start_seq if self.session and self.rules.pins_redo else self.tip
        if seq > limit:
            return
        is_marked = self.rules.marks_before_trim or self.dice.random() < HEARD
        if seq > self.confirmed and is_marked:
            self.marks.add(self.journal[seq][0])
        del self.journal[seq]
        self.trimmed = seq

    def plan(self) -> Stream | DirtyResync:
        """The shipped decision for the target as it is."""
        at, chain = self.position, self.chains[self.position]
        runs = (EpochRun(EPOCH, 1, at, chain),) if at else ()
        word = Statement(
            "target",
            "s",
            "i",
            CopyState.REPLICA,
            EPOCH,
            EPOCH,
            1,
            runs,
            at,
            at,
            at,
            at,
            Position(EPOCH, at, chain),
        )
        is_held = at >= self.trimmed
        owner_tip = Position(EPOCH, self.tip, self.chains[-1])
        view = OwnerView(
            "c", "g", HISTORY, EPOCH, owner_tip, self.tip, self.trimmed + 1, 1, chain if is_held else None
        )
        found = compare(view, word, Identity("c", "g"))
        if isinstance(found, Stream | DirtyResync):
            return found
        return Stream(0) if self.trimmed == 0 else DirtyResync(0)  # blank: the same, from the beginning

    def ship(self) -> None:
        """By log, one record; or begin a session."""
        if self.session is not None or self.position != self.confirmed:
            return
        if isinstance(self.plan(), Stream) and not self.marks:
            if self.position < self.tip:
                block, value = self.journal[self.position + 1]
                self.image[block] = value
                self.position += 1
                if self.dice.random() < HEARD:
                    self.confirmed = self.position
            return
        blocks = self.marks | {block for seq, (block, _) in self.journal.items() if seq > self.confirmed}
        self.session = Session(sorted(blocks, key=lambda _: self.dice.random()), self.tip, self.tip)
        if not self.rules.keeps_marks:
            self.marks = set()

    def copy(self) -> None:
        """Send the next block of the session as it is now, or end the session."""
        session = self.session
        if session is None:
            return
        if not session.todo:
            self.end(session)
            return
        block = session.todo.pop()
        value = self.states[-1][block]
        session.end_seq = self.tip
        if self.rules.stages:
            session.staged[block] = value
        else:
            self.image[block] = value
        if self.rules.clears_when_sent:
            self.marks.discard(block)

    def end(self, session: Session) -> None:
        """Redo what changed meanwhile, then switch in one step."""
        between = range(session.start_seq + 1, session.end_seq + 1)
        redo = [self.journal[seq] for seq in between if seq in self.journal] if self.rules.sends_redo else []
        for block, value in [*session.staged.items(), *redo]:
            self.image[block] = value
        self.position = session.end_seq
        self.session = None
        self.switches += 1
        if self.dice.random() < HEARD:
            self.confirm()

    def confirm(self) -> None:
        """The target's position is known: marks go if the journal covers everything after it."""
        self.confirmed = self.position
        if self.position >= self.trimmed or not self.rules.clears_only_reached:
            self.marks = set()

    def drop_link(self) -> None:
        """The link or the source fails: the session is gone, and its stage with it."""
        self.session = None

    def hear(self) -> None:
        """A handshake tells a position whose acknowledgment was lost."""
        if self.session is None and self.position >= self.confirmed:
            self.confirm()

    def check(self) -> None:
        """The target stands at a point that existed; every difference is covered."""
        if tuple(self.image) != self.states[self.position]:
            raise ViolationError("target not at a consistent point", self.position)
        differing = {block for block in range(BLOCKS) if self.image[block] != self.states[-1][block]}
        covered = self.marks | {block for seq, (block, _) in self.journal.items() if seq > self.confirmed}
        if self.session is None and not differing <= covered:
            raise ViolationError("differences that nothing covers", sorted(differing - covered))
