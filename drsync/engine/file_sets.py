"""The trees of one group at one center: owner's or replica's part, as the group's term says.

Follows the member: while a term of ownership runs here, each tree is scanned, cut and shipped; otherwise what
the owner ships is taken. Trouble of a tree never stops the group: it is told in the tree's word.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from drsync.core import file_lineage
from drsync.engine.bulk import BulkChannel
from drsync.engine.file_apply import Applier
from drsync.engine.file_clones import Clone, Clones, plain_digest
from drsync.engine.file_set import FileSet, show
from drsync.engine.file_shipping import Shipment
from drsync.engine.file_sink import Sink
from drsync.engine.file_source import Source
from drsync.engine.member import Member
from drsync.engine.peers import Peers
from drsync.engine.term import OwnerTerm
from drsync.engine.threads import in_thread
from drsync.engine.trees import TreeProof
from drsync.model.copy import CopyState
from drsync.model.errors import DrsyncError, RefusedError, TransientError
from drsync.model.fileset import Generation
from drsync.ports.clock import Clock, Random
from drsync.ports.file_store import FileStore
from drsync.ports.transport import LinkKind

ROLE_POLL_S = 0.05  # because a new owner's tree should be its source as soon as its volumes are served
RETRY_LOW_S, RETRY_HIGH_S = 0.2, 5.0  # because a returning peer should be met soon, a dead one seldom
FORGET_S = 10.0  # because a tombstone costs a hundred bytes, and a transaction a sync
BEGIN_S = 3.0  # because a tree that was followed a moment ago is taken over in less
SETTLE_POLL_S = 0.02  # because a person waits for the end of it

Json = dict[str, object]


class FileSets:
    """All file sets of a group here."""

    def __init__(self, member: Member, store: FileStore, peers: Peers, clock: Clock, dice: Random) -> None:
        self._member = member
        self._store = store
        self._peers = peers
        self._clock = clock
        self._dice = dice
        self._sets = {spec.id: FileSet(spec, store, clock) for spec in member.copy.spec.filesets}
        self._sources: dict[str, Source] = {}
        self._shipments: dict[tuple[str, str], Shipment] = {}
        self._sinks: dict[str, Sink] = {}
        self._sinking: dict[str, asyncio.Task[None]] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._is_ending = True  # also before it has begun
        self._clones = Clones(store)
        member.copy.file_words = lambda: tuple(files.word() for files in self._sets.values())

    @property
    def is_empty(self) -> bool:
        """See Trees."""
        return not self._sets

    # --- life

    async def run(self) -> None:
        """Until cancelled."""
        if not self._sets:
            return
        await in_thread(self._clones.drop_leftovers)
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks, self._is_ending = tasks, False
                for files in self._sets.values():
                    tasks.create_task(self._run_set(files))
                try:
                    await asyncio.get_running_loop().create_future()
                finally:
                    self._is_ending = True
        finally:
            self._tasks = None
            for files in self._sets.values():
                await in_thread(files.close)

    async def _run_set(self, files: FileSet) -> None:
        """Follow the member's role. Trouble that nobody below could handle is told, and tried again."""
        is_loaded = False
        while True:
            try:
                if not is_loaded:
                    await files.load()
                    is_loaded = True
                term = self._member.term
                if term is not None and not term.engine.is_closed:
                    await self._own(files, term)
            except* (DrsyncError, OSError) as errors:
                error = _first(errors)
                remedy = error.remedy if isinstance(error, DrsyncError) else ""
                files.held_back(RefusedError(f"the tree stands still: {error}", remedy=remedy))
                await in_thread(files.close)
                is_loaded = False
                await self._clock.sleep_until(self._clock.now() + RETRY_HIGH_S)
            await self._clock.sleep_until(self._clock.now() + ROLE_POLL_S)

    # --- the owner's part

    async def _own(self, files: FileSet, term: OwnerTerm) -> None:
        await self._end_sink(files.spec.id)
        while not term.engine.is_closed:
            try:
                async with files.changing:
                    left = await in_thread(
                        lambda: Applier(files, term.charter.epoch).finish(term.charter.history)
                    )
                files.held_back(RefusedError(f"owned as it is: {left}") if left else None)
                break
            except (DrsyncError, OSError) as error:
                told = error if isinstance(error, DrsyncError) else RefusedError(str(error))
                files.held_back(RefusedError(f"the tree is not owned yet: {told}", remedy=told.remedy))
                await self._clock.sleep_until(self._clock.now() + RETRY_HIGH_S)
        source = Source(files, term, self._clock)
        self._sources[files.spec.id] = source
        try:
            async with asyncio.TaskGroup() as tasks:
                loops = [
                    tasks.create_task(self._ship(source, term, center.name))
                    for center in self._member.copy.spec.members
                    if center.name != self._member.copy.me.center
                ]
                loops.append(tasks.create_task(self._forget(source)))
                await source.run()
                for loop in loops:
                    loop.cancel()
        finally:
            del self._sources[files.spec.id]
            await in_thread(files.stop_watching)

    async def _forget(self, source: Source) -> None:
        """Let go of tombstones that every member has seen."""
        others = [c.name for c in self._member.copy.spec.members if c.name != self._member.copy.me.center]
        while True:
            await self._clock.sleep_until(self._clock.now() + FORGET_S)
            held = [self._held(source, center) for center in others]
            if all(generation is not None for generation in held):
                with suppress(DrsyncError):  # later then: nothing depends on it
                    await source.forget(min(g.number for g in held if g is not None))

    def _held(self, source: Source, center: str) -> Generation | None:
        """What a peer holds of this term's generations."""
        shipment = self._shipments.get((source.files.spec.id, center))
        if shipment is None or not shipment.is_stated or shipment.held.epoch != source.epoch:
            return None
        return shipment.held

    async def _ship(self, source: Source, term: OwnerTerm, center: str) -> None:
        """Keep a stream to one peer; a new one when it is lost."""
        delay = RETRY_LOW_S
        while True:
            attachment = term.attachments.get(center)
            if attachment is None or attachment.is_lost:  # it follows another epoch, or nobody
                await self._clock.sleep_until(self._clock.now() + ROLE_POLL_S)
                continue
            began = self._clock.now()
            with suppress(DrsyncError, OSError):  # one peer's trouble is not the other's
                await self._ship_once(source, center)
            if self._clock.now() - began > RETRY_HIGH_S:
                delay = RETRY_LOW_S
            await self._clock.sleep_until(self._clock.now() + self._dice.uniform(delay / 2, delay))
            delay = min(delay * 2, RETRY_HIGH_S)

    async def _ship_once(self, source: Source, center: str) -> None:
        ids = (bytes.fromhex(self._member.copy.spec.id), bytes.fromhex(source.files.spec.id))
        channel = await self._peers.bulk(center, LinkKind.FILES)
        shipment = Shipment(source, ids, source.epoch, channel, self._clock)
        self._shipments[source.files.spec.id, center] = shipment
        source.followers.append(shipment.news)
        try:
            await shipment.run()
        finally:
            source.followers.remove(shipment.news)

    # --- the replica's part

    def accept(self, peer: str, fileset: str, epoch: int, channel: BulkChannel, stream: int) -> Sink | None:
        """The owner opened a tree's stream; None when this is not the epoch we follow."""
        files, member = self._sets.get(fileset), self._member
        charter = member.charter
        if files is None or self._is_ending or charter is None or charter.owner != peer:
            return None
        if epoch != member.copy.durable.follow or member.term is not None:
            return None
        if member.copy.state is not CopyState.REPLICA:
            return None
        sink = Sink(files, member.copy, member.copy.durable.follow, channel, stream, self._clock)
        assert self._tasks is not None
        self._tasks.create_task(self._sink(files, sink))
        return sink

    async def _sink(self, files: FileSet, sink: Sink) -> None:
        """One stream at a time: the one before is given up first."""
        await self._end_sink(files.spec.id)
        self._sinks[files.spec.id] = sink
        task = asyncio.current_task()
        assert task is not None
        self._sinking[files.spec.id] = task
        try:
            await sink.run()
        finally:
            if self._sinks.get(files.spec.id) is sink:
                del self._sinks[files.spec.id], self._sinking[files.spec.id]

    async def _end_sink(self, fileset: str) -> None:
        """Whatever it does in a thread is finished first. Another may have begun while we waited."""
        while (sink := self._sinks.get(fileset)) is not None:
            sink.close()
            await asyncio.wait([self._sinking[fileset]])

    # --- requests

    def find(self, name: str) -> FileSet:
        """The file set of that name. Raises RefusedError."""
        for files in self._sets.values():
            if name in (files.spec.name, files.spec.id):
                return files
        raise RefusedError(
            f"{self._member.copy.spec.name} has no file set {name[:64]}", code="unknown_fileset"
        )

    async def settle(self, center: str, timeout_s: float, *, must_cut: bool = False) -> None:
        """Cut what is new, and wait until `center` (empty: nobody) holds it.

        Raises:
            TransientError: not within `timeout_s`; says what is on its way.
            RefusedError: a tree is held.
        """
        deadline = self._clock.now() + timeout_s
        for fileset, files in self._sets.items():
            source = await self._begun(fileset, min(deadline, self._clock.now() + BEGIN_S))
            if source is None:
                raise TransientError(f"file set {files.spec.name} is not owned here yet")
            await source.round(must_cut=must_cut, is_thorough=True)
            if center and center != self._member.copy.me.center:
                await self._settled(source, center, deadline)

    async def _begun(self, fileset: str, deadline: float) -> Source | None:
        """The source of a file set; an owner that has just opened begins with it in a moment."""
        while (source := self._sources.get(fileset)) is None:
            if self._member.term is None or self._clock.now() >= deadline:
                return None
            await self._clock.sleep_until(self._clock.now() + ROLE_POLL_S)
        return source

    async def _settled(self, source: Source, center: str, deadline: float) -> None:
        wanted = source.current
        while (
            shipment := self._shipments.get((source.files.spec.id, center))
        ) is None or shipment.held < wanted:
            self._require_time(source, center, shipment, deadline)
            await self._clock.sleep_until(self._clock.now() + SETTLE_POLL_S)

    def _require_time(self, source: Source, center: str, shipment: Shipment | None, deadline: float) -> None:
        """Raises RefusedError: the tree at `center` stands still; TransientError: it is too late."""
        if shipment is not None and shipment.is_held_back:
            raise RefusedError(
                f"the files of {source.files.spec.name} at {center} stand still",
                code="held",
                remedy="drsync why says what helps.",
            )
        if self._clock.now() >= deadline:
            raise TransientError(
                f"the files of {source.files.spec.name} are still on their way to {center}: it holds "
                f"generation {shipment.held.number if shipment else 0} of {source.current.number}"
            )

    @asynccontextmanager
    async def standing(self, center: str, timeout_s: float) -> AsyncIterator[None]:
        """See Trees."""
        deadline = self._clock.now() + timeout_s
        async with AsyncExitStack() as stack:
            for fileset, files in self._sets.items():
                source = self._sources.get(fileset)
                if source is None:
                    raise TransientError(f"file set {files.spec.name} is not owned here yet")
                await self._stand(source, center, deadline)
                stack.callback(source.resume)
            for fileset, source in self._sources.items():
                shipment = self._shipments.get((fileset, center))
                if shipment is not None:
                    shipment.keep(source.current)
            yield

    async def _stand(self, source: Source, center: str, deadline: float) -> None:
        """Cut, and cut no more until `center` has it; again when content of it changed before it was sent."""
        while True:
            await source.round(is_thorough=True)
            await source.pause()
            try:
                if await self._is_there(source, center, deadline):
                    return
            except BaseException:
                source.resume()
                raise
            source.resume()

    async def _is_there(self, source: Source, center: str, deadline: float) -> bool:
        """Whether `center` gets the present generation; False: it cannot, since blocks of it are gone."""
        wanted = source.current
        while center and center != self._member.copy.me.center:
            shipment = self._shipments.get((source.files.spec.id, center))
            if shipment is not None and shipment.held == wanted:
                return True
            if shipment is not None and shipment.gave_up == wanted:
                return False
            self._require_time(source, center, shipment, deadline)
            await self._clock.sleep_until(self._clock.now() + SETTLE_POLL_S)
        return True

    async def clone(
        self, view_id: str, wanted: Mapping[int, tuple[Generation, str]], timeout_s: float
    ) -> dict[str, str]:
        """See Trees."""
        try:
            return await self._clone_all(view_id, wanted, self._clock.now() + timeout_s)
        except BaseException as error:
            await in_thread(lambda: self._clones.drop(view_id))  # half a copy only takes space
            if isinstance(error, OSError):
                reason = error.strerror or str(error)
                raise TransientError(f"a copy of the trees could not be made: {reason}") from error
            raise

    async def _clone_all(
        self, view_id: str, wanted: Mapping[int, tuple[Generation, str]], deadline: float
    ) -> dict[str, str]:
        places: dict[str, str] = {}
        for files in self._sets.values():
            if files.spec.index in wanted:
                generation, logged = wanted[files.spec.index]
                await self._reached(files, generation, deadline)
                places[files.spec.name] = await self._clone(files, view_id, generation, logged)
        return places

    async def _clone(self, files: FileSet, view_id: str, generation: Generation, logged: str) -> str:
        place = self._store.clone_place(view_id, files.spec)
        async with files.changing:
            self._require_held(files, generation)
            await in_thread(lambda: files.tree().clone(place))
            expected = await in_thread(
                lambda: files.with_index(lambda index: plain_digest(entry for entry, _ in index.entries()))
            )
        clone = Clone(place, generation.number, expected, logged, files.state.digest)
        self._clones.note(view_id, files.spec.name, clone)
        sink = self._sinks.get(files.spec.id)
        if sink is not None:
            sink.keep_ended()
        return place

    async def prove(self, view_id: str) -> dict[str, TreeProof]:
        """See Trees."""
        return await in_thread(lambda: self._clones.prove(view_id))

    async def drop(self, view_id: str) -> list[str]:
        """See Trees."""
        return await in_thread(lambda: self._clones.drop(view_id))

    async def _reached(self, files: FileSet, generation: Generation, deadline: float) -> None:
        while files.held < generation:
            if self._clock.now() >= deadline:
                raise TransientError(
                    f"file set {files.spec.name} is not at generation {generation.number} yet"
                )
            await self._clock.sleep_until(self._clock.now() + SETTLE_POLL_S)

    def _require_held(self, files: FileSet, generation: Generation) -> None:
        if files.held != generation:
            raise RefusedError(
                f"file set {files.spec.name} is at generation {files.state.held.number}, the point needs "
                f"{generation.number}",
                code="generation_gone",
                remedy="Take a newer point: this version keeps one generation of a tree at a replica.",
            )

    async def approve(self, name: str) -> None:
        """A person wants the change that `name` is held for."""
        files = self.find(name)
        await in_thread(lambda: files.with_index(lambda index: index.approve(approved=True)))
        await files.load()

    # --- words

    def report(self, center: str) -> Json:
        """What the owner says about the trees at `center`, as set name → lag."""
        found: Json = {}
        now = self._clock.now()
        for fileset, source in self._sources.items():
            shipment = self._shipments.get((fileset, center))
            held = shipment.held if shipment is not None and shipment.is_stated else None
            found[source.files.spec.name] = {
                "held": None if held is None else held.number,
                "lag_s": None if held is None else file_lineage.lag_s(source.cuts, held, now),
                "is_held_back": shipment.is_held_back if shipment is not None else False,
                "sent_entries": shipment.sent.entries if shipment is not None else 0,
                "sent_bytes": shipment.sent.wire_bytes if shipment is not None else 0,
            }
        return found

    def own_report(self) -> Json:
        """What the owner says about its trees, as set name → facts."""
        now = self._clock.now()
        return {
            source.files.spec.name: {
                "generation": source.current.number,
                "entries": source.files.state.entries,
                "bytes": source.files.state.bytes,
                "scan_s": round(source.scan_s, 3),
                "looked_s": None if source.looked_at is None else max(0.0, now - source.looked_at),
                "busy": [show(path) for path in sorted({*source.busy, *source.restless})[:20]],
                "unseen": source.unseen + len(source.unread),
                "hold": source.files.hold,
                "root": self._store.root(source.files.spec),
            }
            for source in self._sources.values()
        }


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """One of those in a group."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
