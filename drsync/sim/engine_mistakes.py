"""Wrong ways of the engines: mistakes that are no single decision of the core, made while a world runs.

Each replaces named places of shipped code; most call what was shipped and spoil it.
"""

# mypy: allow-any-explicit
import importlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from drsync.adapters.segments.superblock import SLOT_BYTES, SLOTS
from drsync.core.detection import Bar, Others, Row, Sight, Standing
from drsync.model.copy import CopyState
from drsync.model.errors import FailedCopyError
from drsync.wire import data
from drsync.wire.frames import FrameType

if TYPE_CHECKING:
    from pathlib import Path

    from drsync.adapters.segments.journal import SegmentJournal
    from drsync.adapters.segments.superblock import SuperblockFiles
    from drsync.coordinator.sessions import OwnerWord
    from drsync.core.observation import Observation
    from drsync.engine.attach import Attachment
    from drsync.engine.member import Member
    from drsync.engine.owner import OwnerEngine
    from drsync.engine.receiver import Receiver
    from drsync.engine.term import OwnerTerm
    from drsync.engine.views import ViewDevice
    from drsync.engine.volumes import DrainJob, GroupVolumes
    from drsync.model.charter import Charter
    from drsync.model.group import GroupPolicy

Shipped = Callable[..., Any]
"""What is replaced, of any shape; of a property what it calls."""

Spoil = Callable[[Shipped], Shipped]
"""Shipped code -> what takes its place."""

THAW_S = 0.3  # because a drain takes less, and a switchover more


@dataclass(frozen=True)
class Mistake:
    """A flaw in one sentence, and what has it.

    Attributes:
        spoils: ``module:name`` or ``module:Class.name`` -> its replacement.
    """

    flaw: str
    spoils: dict[str, Spoil]


@contextmanager
def spoiled(mistake: Mistake) -> Iterator[None]:
    """Make a mistake for a while."""
    with ExitStack() as stack:
        for place, spoil in mistake.spoils.items():
            stack.enter_context(_replaced(place, spoil))
        yield


@contextmanager
def _replaced(place: str, spoil: Spoil) -> Iterator[None]:
    module, _, path = place.partition(":")
    holder: object = importlib.import_module(module)
    *outer, name = path.split(".")
    for one in outer:
        holder = getattr(holder, one)
    shipped = vars(holder)[name]
    if isinstance(shipped, property):
        assert shipped.fget is not None
        setattr(holder, name, property(spoil(shipped.fget)))
    else:
        setattr(holder, name, spoil(shipped))
    try:
        yield
    finally:
        setattr(holder, name, shipped)


# --- acknowledgments


def _greets_and_counts(start: Shipped) -> Shipped:
    def mistaken(attachment: "Attachment", group_id: str, *, is_near: bool) -> None:
        start(attachment, group_id, is_near=is_near)
        log = attachment._engine.log
        log.acknowledge(attachment.feed.center, attachment.feed.session, log.epoch, log.appended, 0)
        attachment._engine.settle()

    return mistaken


def _claims_durable(_: Shipped) -> Shipped:
    def mistaken(receiver: "Receiver") -> None:
        receiver._is_ack_due = False
        if receiver.is_lost or not receiver.is_current:
            return
        journal = receiver.copy.journal
        tip = journal.tip
        word = data.Ack(receiver.epoch, tip.seq, tip.seq, receiver.copy.volumes.applied, tip.chain)
        receiver._channel.send(FrameType.ACK, receiver._stream, [data.encode_ack(word)])

    return mistaken


# --- disks


def _tries_again(sync: Shipped) -> Shipped:
    def mistaken(journal: "SegmentJournal") -> int:
        for _ in range(5):
            try:
                return int(sync(journal))
            except FailedCopyError:
                journal._failed = ""
        return int(sync(journal))

    return mistaken


def _leads(begin: Shipped) -> Shipped:
    def mistaken(volumes: "GroupVolumes", bound: int) -> "DrainJob | None":
        job: DrainJob | None = begin(volumes, bound)
        if job is not None:
            volumes.applied = job.last_seq
        return job

    return mistaken


def _accepts_damage(_: Shipped) -> Shipped:
    return lambda _opened, _durable_hint: None


def _unsynced(_: Shipped) -> Shipped:
    def mistaken(block: "SuperblockFiles", path: "Path", content: bytes, offset: int) -> None:
        files = block._files
        fd = files.open(path, 0o102)  # O_RDWR | O_CREAT
        files.allocate(fd, 0, SLOTS * SLOT_BYTES)
        files.pwritev(fd, [content], offset)
        files.close(fd)

    return mistaken


# --- owners


def _opens_by_memory(run: Shipped) -> Shipped:
    async def mistaken(member: "Member") -> None:
        charter, durable = member.charter, member.copy.durable
        if charter is not None and charter.owner == member.copy.me.center and durable.follow == charter.epoch:
            member._start_term(charter)
            member.lease_granted(member._world.clock.now(), charter.group.policy.lease_s)
        await run(member)

    return mistaken


def _renews_by_wall(renew: Shipped) -> Shipped:
    def mistaken(term: "OwnerTerm", sent_at: float, seconds: float) -> None:
        renew(term, sent_at, seconds)
        clock = term.engine.clock
        term.engine.wall_until = clock.wall_us() / 1e6 + sent_at + seconds - clock.now()  # type: ignore[attr-defined]  # kept aside

    return mistaken


def _leased_by_wall(_: Shipped) -> Shipped:
    def mistaken(engine: "OwnerEngine") -> bool:
        return not engine.is_released and engine.clock.wall_us() / 1e6 < getattr(engine, "wall_until", 0.0)

    return mistaken


def _thaws(tick: Shipped) -> Shipped:
    def mistaken(term: "OwnerTerm", now: float) -> None:
        tick(term, now)
        engine = term.engine
        if not engine.is_frozen or engine.is_released:
            return
        since = getattr(engine, "frozen_at", None)
        if since is None:
            engine.frozen_at = now  # type: ignore[attr-defined]  # kept aside
        elif now - since > THAW_S:
            engine.is_frozen = False
            term.copy.state = CopyState.OWNER
            engine.frozen_at = None  # type: ignore[attr-defined]  # kept aside

    return mistaken


def _keeps_for_nobody(need: Shipped) -> Shipped:
    def mistaken(keeper: object, center: str, *, is_owner: bool) -> object:
        found = need(keeper, center, is_owner=is_owner)
        return replace(found, cursor=1 << 62) if is_owner else found

    return mistaken


# --- the coordinator


def _no_quiet(hindrances: Shipped) -> Shipped:
    def mistaken(policy: "GroupPolicy", owner: str, standing: Standing, now: float) -> object:
        return hindrances(policy, owner, replace(standing, changed_at=None), now)

    return mistaken


def _slow_is_dead(row: Shipped) -> Shipped:
    def mistaken(sight: Sight, others: Others, bar: Bar) -> Row:
        is_slow = sight is Sight.SLOW
        bar = Bar.NONE if is_slow and bar is Bar.LEASE else bar
        found: Row = row(Sight.UNABLE if is_slow else sight, others, bar)
        return found

    return mistaken


def _anybody_succeeds(successor: Shipped) -> Shipped:
    def mistaken(seen: "Observation") -> tuple[str, str]:
        name, why_not = successor(seen)
        others = sorted(set(seen.statements) - {seen.charter.owner})
        return (name, why_not) if name or not others else (others[-1], "")

    return mistaken


def _learns_anything(_: Shipped) -> Shipped:
    async def mistaken(member: "Member", charter: "Charter") -> None:
        await member.copy.store(lambda durable: replace(durable, charter=charter))
        if member.term is not None:
            member.term.learn(charter)

    return mistaken


def _always_ready(_: Shipped) -> Shipped:
    return lambda *_: ""


def _age_stands_still(rpo: Shipped) -> Shipped:
    def mistaken(charter: "Charter", center: str, word: "OwnerWord | None", now: float) -> float | None:
        found: float | None = rpo(charter, center, word, now if word is None else word.heard_at)
        return found

    return mistaken


# --- drills


def _leaks(put: Shipped) -> Shipped:
    def mistaken(
        device: "ViewDevice", offset: int, length: int, content: memoryview | None, cookie: bytes
    ) -> None:
        put(device, offset, length, content, cookie)
        device.view.image.write(offset, [bytes(content) if content is not None else bytes(length)])

    return mistaken


MISTAKES: dict[str, Mistake] = {
    "ack_by_hello": Mistake(
        "a hello counts as an acknowledgment (P06)",
        {"drsync.engine.attach:Attachment.start": _greets_and_counts},
    ),
    "barrier_before_prefix": Mistake(
        "a barrier is answered before what was written earlier is durable (P26)",
        {"drsync.engine.receiver:Receiver.acknowledge": _claims_durable},
    ),
    "retry_failed_fsync": Mistake(
        "a failed fsync is tried again, and its success believed (P33)",
        {"drsync.adapters.segments.journal:SegmentJournal._sync": _tries_again},
    ),
    "applied_leads": Mistake(
        "what is about to be applied is noted as applied (P34)",
        {"drsync.engine.volumes:GroupVolumes.begin_drain": _leads},
    ),
    "truncate_corruption": Mistake(
        "damage below the durable position is cut as a torn tail is (F.A 13)",
        {"drsync.adapters.segments.journal:refuse_loss": _accepts_damage},
    ),
    "owner_reopens_without_cas": Mistake(
        "a restarted owner goes on by what it remembers (P02)",
        {"drsync.engine.member:Member.run": _opens_by_memory},
    ),
    "wall_clock_lease": Mistake(
        "a lease ends by the wall clock (P72)",
        {
            "drsync.engine.term:OwnerTerm.renew": _renews_by_wall,
            "drsync.engine.owner:OwnerEngine.is_leased": _leased_by_wall,
        },
    ),
    "thaw_by_timer": Mistake(
        "a frozen owner goes on by itself", {"drsync.engine.term:OwnerTerm._tick_peers": _thaws}
    ),
    "neither_route": Mistake(
        "records that a silent member lacks are dropped, and nothing is noted in their place (P21)",
        {"drsync.engine.retention:Keeper._need": _keeps_for_nobody},
    ),
    "no_anti_flap": Mistake(
        "the owner changes again and again without a person (P01)",
        {"drsync.core.detection:_hindrances": _no_quiet},
    ),
    "promote_gray": Mistake("slow counts as dead", {"drsync.core.detection:row": _slow_is_dead}),
    "async_promoted": Mistake(
        "whoever is left takes over without a person, in sync or not (P01)",
        {"drsync.core.succession:successor": _anybody_succeeds},
    ),
    "restored_store_accepted": Mistake(
        "a store from an old backup is believed by everybody (P73)",
        {
            "drsync.core.store_trust:ready": _always_ready,
            "drsync.engine.member:Member._learn": _learns_anything,
        },
    ),
    "drill_writes_leak": Mistake(
        "what a drill writes reaches the image (INV-16)", {"drsync.engine.views:ViewDevice._put": _leaks}
    ),
    "rpo_underreports": Mistake(
        "the age of a copy stands still while nobody hears of it (INV-23)",
        {"drsync.coordinator.status:rpo_actual": _age_stands_still},
    ),
    "superblock_not_durable": Mistake(
        "a promise is stated before it is durable (INV-03)",
        {"drsync.adapters.segments.superblock:SuperblockFiles._write": _unsynced},
    ),
}
"""Every wrong way by its name."""
