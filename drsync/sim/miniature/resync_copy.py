"""One center's copy in the world of resync: image, journal, and what it knows about the others.

Only its state lives here, and the few steps that any role takes; who is asked what is `resync`.
"""

from dataclasses import dataclass, field

from drsync.core.dirty import DirtySet
from drsync.core.extents import Extents, Run, normal
from drsync.core.resync_target import Target
from drsync.core.retention import Cursor

BLOCKS = 12


def block(number: int) -> Run:
    """A block as a run of one granule."""
    return Run(0, number, number + 1)


def numbers(runs: Extents) -> list[int]:
    """The blocks of a set."""
    return [number for run in runs for number in range(run.first, run.end)]


@dataclass
class Copy:
    """What is durable at a center.

    Attributes:
        journal: record -> its block; a record writes its own number.
        trimmed: records up to here are gone.
        cursors: what each other member confirmed, as far as it is known here.
        dirty: what each other member may lack.
        stage: block -> value, put aside; `redo` follows it.
        synced: the stage as it survives a restart.
    """

    name: str
    incarnation: int = 1
    image: list[int] = field(default_factory=lambda: [0] * BLOCKS)
    position: int = 0
    journal: dict[int, int] = field(default_factory=dict)
    trimmed: int = 0
    cursors: dict[str, Cursor] = field(default_factory=dict)
    dirty: dict[str, DirtySet] = field(default_factory=dict)
    target: Target = field(default_factory=Target)
    stage: dict[int, int] = field(default_factory=dict)
    redo: list[tuple[int, int]] = field(default_factory=list)
    synced: dict[int, int] = field(default_factory=dict)

    def append(self, seq: int, number: int) -> None:
        """A record that continues the log."""
        self.journal[seq] = number
        self.image[number] = seq
        self.position = seq

    def extents(self, after: int, through: int) -> Extents:
        """Blocks of the records in (after, through] that the journal holds."""
        return normal(
            block(self.journal[seq]) for seq in range(after + 1, through + 1) if seq in self.journal
        )

    def lacks_cover(self, other: "Copy") -> list[int]:
        """Blocks in which `other` differs, that neither journal above its cursor nor marks hold (INV-11)."""
        if self.image == other.image:
            return []
        dirty = self.dirty[other.name]
        if not dirty.is_known:
            return []
        held = max(self.cursors[other.name].seq, self.trimmed)
        holes = [
            number
            for number, (ours, theirs) in enumerate(zip(self.image, other.image, strict=True))
            if ours != theirs and ours <= held
        ]
        marked = numbers(dirty.runs or ()) if holes else []
        return [number for number in holes if number not in marked]
