"""Wrong ways of bringing members level by blocks: marks, sessions, switches. See `engine_mistakes`."""

# mypy: allow-any-explicit
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from drsync.core import dirty, resync_source
from drsync.core.extents import GRANULE
from drsync.core.resync_tables import SourceState
from drsync.engine.resync_reader import GranuleReader
from drsync.sim.character import VOLUMES
from drsync.sim.engine_mistakes import Mistake, Shipped
from drsync.wire.resync import BeginFlags

if TYPE_CHECKING:
    from drsync.adapters.segments.superblock import SuperblockFiles
    from drsync.core.extents import Extents
    from drsync.engine.copy import GroupCopy
    from drsync.engine.dirty_book import DirtyBook
    from drsync.engine.durable import Durable
    from drsync.engine.resync_intake import Intake
    from drsync.engine.resync_moment import Moment
    from drsync.engine.resync_source import ResyncSource
    from drsync.engine.resync_target import ResyncTarget
    from drsync.engine.retention import Keeper
    from drsync.engine.switch import Switch
    from drsync.model.position import Position
    from drsync.ports.stage import Stage
    from drsync.wire.resync import Block


def _clears_at_once(start: Shipped) -> Shipped:
    def mistaken(*args: object, **named: object) -> object:
        source, marked = start(*args, **named)
        return source, replace(marked, older=dirty.Marks(through=marked.older.through))

    return mistaken


def _marks_in_memory(_: Shipped) -> Shipped:
    async def mistaken(book: "DirtyBook", center: str, marked: dirty.DirtySet) -> None:
        book._now[center] = book._durable[center] = marked

    return mistaken


def _does_nothing(_: Shipped) -> Shipped:
    return lambda *_args, **_named: None


def _finds_nothing(_: Shipped) -> Shipped:
    return lambda *_args: ()


def _awaits_nothing(_: Shipped) -> Shipped:
    async def mistaken(*_args: object, **_named: object) -> None:
        pass

    return mistaken


def _ends_where_it_began(_: Shipped) -> Shipped:
    async def mistaken(source: "ResyncSource", _line: object) -> None:
        async with source._lock:
            if source.source.state is SourceState.COPYING and not source.source.todo:
                source.source = resync_source.copied(source.source, source._p0.seq)
                source._p1, source._redone = source._p0, source._p0.seq

    return mistaken


def _takes_redo_for_applied(after: Shipped) -> Shipped:
    def mistaken(durable: "Durable") -> object:
        found = after(durable)
        return replace(found, applied=found.reached)

    return mistaken


class _SkipsOne:
    """A superblock that forgets the first thing it is to store."""

    def __init__(self, block: "SuperblockFiles") -> None:
        self._block = block
        self._has_skipped = False

    def load(self) -> bytes | None:
        return self._block.load()

    def store(self, value: bytes) -> None:
        if self._has_skipped:
            self._block.store(value)
        self._has_skipped = True


def _switches_unrecorded(switch: Shipped) -> Shipped:
    async def mistaken(copy: "GroupCopy", *args: object) -> None:
        block = copy._superblock
        copy._superblock = _SkipsOne(block)  # type: ignore[arg-type]  # as much of it as is used
        try:
            await switch(copy, *args)
        finally:
            copy._superblock = block

    return mistaken


def _forgets_who_stood_between(mark: Shipped) -> Shipped:
    async def mistaken(keeper: object, word: "Switch", staged: object) -> None:
        await mark(keeper, replace(word, fork=word.p0.seq), staged)

    return mistaken


def _takes_what_was_sent_for_all(end: Shipped) -> Shipped:
    async def mistaken(target: "ResyncTarget", intake: "Intake", word: object) -> None:
        intake.begin = intake.begin._replace(flags=BeginFlags.NONE)
        await end(target, intake, word)

    return mistaken


def _believes_the_base(ask: Shipped) -> Shipped:
    async def mistaken(target: "ResyncTarget", asked: object) -> object:
        await target._read_kept()
        stage: Any = target._stage
        if stage is not None:
            stage._session = replace(stage.session, base=target._copy.journal.tip)
        return await ask(target, asked)

    return mistaken


def _believes_memory(confirmed: Shipped) -> Shipped:
    def mistaken(keeper: "Keeper", center: str, incarnation: str, seq: int) -> None:
        del seq
        confirmed(keeper, center, incarnation, keeper._copy.journal.tip.seq)

    return mistaken


def _same_for_all(_: Shipped) -> Shipped:
    return lambda _runs: bytes(16)


def _puts_too_far(put: Shipped) -> Shipped:
    def mistaken(stage: "Stage", blocks: "list[Block]", sizes: list[int], own: object) -> None:
        ends = {volume.index: -(-volume.size // GRANULE) for volume in VOLUMES}
        moved = [
            block._replace(first=block.first + (block.first + block.granules < ends[block.volume]))
            for block in blocks
        ]
        put(stage, moved, sizes, own)

    return mistaken


def _marks_what_was_not_sent(ground: Shipped) -> Shipped:
    async def mistaken(source: "ResyncSource", marked: object, _cursor: int, p0: "Position") -> object:
        return await ground(source, marked, p0.seq, p0)

    return mistaken


def _reads_on(_: Shipped) -> Shipped:
    async def mistaken(moment: "Moment", todo: "Extents") -> object:
        if not moment.is_held:
            return None
        return await GranuleReader(moment._around.copy.volumes).first(todo)

    return mistaken


MISTAKES: dict[str, Mistake] = {
    "delta_marks_after_sent": Mistake(
        "a set begins after what was handed to the line, not after what the peer confirmed (F.18)",
        {"drsync.engine.resync_source:ResyncSource._ground": _marks_what_was_not_sent},
    ),
    "delta_reads_on": Mistake(
        "a set is read as blocks change, and ends where it began all the same (decision 25)",
        {"drsync.engine.resync_moment:Moment.read": _reads_on},
    ),
    "resync_marks_cleared_at_start": Mistake(
        "marks go when they are sent, not when the target has them (P31)",
        {"drsync.core.resync_source:start": _clears_at_once},
    ),
    "resync_trim_before_marks": Mistake(
        "records go before the marks that stand for them are durable (INV-11)",
        {"drsync.engine.dirty_book:DirtyBook.store": _marks_in_memory},
    ),
    "resync_no_pin": Mistake(
        "the redo of a session is not kept (F.10)", {"drsync.engine.retention:Keeper.pin": _does_nothing}
    ),
    "resync_p1_at_start": Mistake(
        "a session ends where it began, whatever its blocks showed (F.A 14)",
        {"drsync.engine.resync_source:ResyncSource._fix_p1": _ends_where_it_began},
    ),
    "resync_redo_not_applied": Mistake(
        "after a switch the redo counts as applied (F.10)",
        {"drsync.engine.durable:Durable.after_switch": _takes_redo_for_applied},
    ),
    "resync_switch_unrecorded": Mistake(
        "a switch begins without a record of it (P20)",
        {"drsync.engine.copy:GroupCopy.switch": _switches_unrecorded},
    ),
    "resync_base_believed": Mistake(
        "what was staged is used with a log that has changed since (decision 21, amendment 10)",
        {"drsync.engine.resync_target:ResyncTarget.ask": _believes_the_base},
    ),
    "resync_third_forgotten": Mistake(
        "who stood between fork and p0 is not marked for what a session changed (amendment 14)",
        {
            "drsync.engine.resync_target:ResyncTarget._end": _takes_what_was_sent_for_all,
            "drsync.engine.retention:Keeper.mark_switch": _forgets_who_stood_between,
        },
    ),
    "cursors_kept_over_fork": Mistake(
        "what was confirmed of another log counts for this one (amendment 15)",
        {"drsync.engine.retention:Keeper.clamp": _awaits_nothing},
    ),
    "resync_size_only": Mistake(
        "the end of a session compares how much was staged, not what (amendment 12)",
        {"drsync.wire.resync:runs_hash": _same_for_all},
    ),
    "resync_no_zeroing": Mistake(
        "a session for everything leaves what was there where nothing is sent (amendment 17)",
        {
            "drsync.adapters.stage.entries:without_data": _finds_nothing,
            "drsync.engine.switch:_zero_the_rest": _does_nothing,
        },
    ),
    "unsynced_cursor": Mistake(
        "a member is taken to hold durably what the owner has (amendment 11)",
        {"drsync.engine.retention:Keeper.confirmed": _believes_memory},
    ),
}
"""Every wrong way by its name."""

GUARDS: dict[str, Mistake] = {
    "resync_one_too_far": Mistake(
        "what is put aside is put one granule too far, where there is one more",
        {"drsync.engine.resync_target:put": _puts_too_far},
    ),
}
"""What stops a mistake that shows nothing alone, spoiled as well: to be made together with it."""
