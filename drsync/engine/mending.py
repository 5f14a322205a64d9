"""Repair of a journal whose disk has changed it: the batch comes from another center, and goes in its place.

Which batch it was is proven by the chain that the journal remembers, whoever gives it: header and record
table with the hashes of all payloads are chained. So any member may be asked, whatever it holds besides.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

from drsync.delta.batch import peek, verify
from drsync.engine.bulk import Listener
from drsync.engine.copy import GroupCopy
from drsync.engine.peers import Peers
from drsync.engine.threads import in_thread
from drsync.model.copy import CopyState
from drsync.model.errors import DamagedError, DrsyncError, MalformedError, TransientError
from drsync.model.position import Position
from drsync.ports.clock import Clock
from drsync.ports.journal import BatchPlace, Journal, Locator
from drsync.wire import data
from drsync.wire.frames import Frame, FrameType
from drsync.wire.stream import Fetch, encode_fetch

FETCH_TIMEOUT_S: Final = 3.0  # because a batch is 1 MiB at most, and another center may have it
RETRY_S: Final = 1.0  # because a link that was lost is back soon
PATIENCE_S: Final = 20.0  # because who reads the damaged place waits, and a client gives up after 30 s
PLACES_MAX: Final = 64  # because a disk with more of them is not to be mended but replaced


class Mender:
    """The damaged places of one copy, and what is done about them.

    Attributes:
        lock: held while the journal is written to, so that it is neither cut nor replaced meanwhile.
    """

    def __init__(
        self,
        copy: GroupCopy,
        peers: Peers,
        clock: Clock,
        lock: asyncio.Lock,
        say: Callable[[str, str], None],
        on_end: Callable[[DamagedError | None], None],
    ) -> None:
        """Ask for what it needs of its member.

        Args:
            copy: whose journal it is.
            peers: who may have what is damaged.
            clock: to wait by.
            lock: see above.
            say: an event and its reason.
            on_end: nothing is damaged any more (None), or what nobody could give in time.
        """
        self.lock = lock
        self._copy = copy
        self._peers = peers
        self._clock = clock
        self._say = say
        self._on_end = on_end
        self._noticed: dict[Locator, tuple[DamagedError, float]] = {}
        self._refused: dict[str, str] = {}  # what each center said last, so that it is told once
        self._wanted = asyncio.Event()

    @property
    def damage(self) -> str:
        """What is being mended, for people; empty when nothing is."""
        return next((str(error) for error, _ in self._noticed.values()), "")

    def noticed(self, error: DamagedError) -> None:
        """Somebody met a damaged place: it will be mended, or `on_end` told in `PATIENCE_S`."""
        if self._copy.state is CopyState.FAILED:
            return
        try:
            place = self._copy.journal.place_of(error.locator)
        except MalformedError:
            if not self._noticed:
                self._on_end(None)  # trimmed or cut meanwhile: whoever reads it again reads something else
            return
        except DrsyncError:
            self._on_end(error)
            return
        if place.locator in self._noticed:
            return
        if len(self._noticed) >= PLACES_MAX:
            self._on_end(error)
            return
        self._noticed[place.locator] = (error, self._clock.now())
        self._say("journal_damaged", f"{error}; it is asked for at the other centers")
        self._wanted.set()

    async def mend_now(self, error: DamagedError) -> bool:
        """For an opening, which waits for it; whether the place is well now, or gone."""
        self._say("journal_damaged", f"{error}; it is asked for at the other centers")
        return await self.mend(error.locator)

    async def run(self) -> None:
        """Mend what is noticed; until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while self._noticed:
                for locator in list(self._noticed):
                    await self._settle(locator)
                if self._noticed:
                    await self._clock.sleep_until(self._clock.now() + RETRY_S)
            self._on_end(None)

    async def _settle(self, locator: Locator) -> None:
        error, since = self._noticed[locator]
        if await self.mend(locator):
            del self._noticed[locator]
        elif self._clock.now() - since >= PATIENCE_S:
            self._noticed.clear()
            self._on_end(error)

    async def mend(self, locator: Locator) -> bool:
        """Mend the batch that holds a byte; whether it is well now, or gone."""
        copy = self._copy
        journal = copy.journal
        for member in copy.spec.members:
            if member.name == copy.me.center or copy.state is CopyState.FAILED:
                continue
            try:
                place = journal.place_of(locator)
            except MalformedError:
                return True  # trimmed or cut meanwhile
            try:
                before, after = _ends(journal, place)
                batch = await self._fetch(member.name, place, before, after)
                async with self.lock:
                    if copy.journal is not journal:
                        return True
                    await in_thread(partial(journal.mend, batch))
            except DrsyncError as error:
                if self._refused.get(member.name) != str(error):
                    self._refused[member.name] = str(error)
                    self._say("mend_refused", f"{member.name}: {error}")
                continue
            self._refused.clear()
            self._say(
                "journal_mended",
                f"segment {place.locator >> 32}, byte {place.locator & 0xFFFFFFFF}, "
                f"records {place.first_seq} to {place.last_seq}: written again as {member.name} has them",
            )
            return True
        return False

    async def _fetch(self, center: str, place: BatchPlace, before: Position, after: Position) -> bytes:
        """The batch as another center has it. Raises TransientError."""
        channel = await self._peers.bulk(center)
        wanted = _Wanted(place, before, after)
        stream = channel.open_stream(wanted)
        fetch = Fetch(bytes.fromhex(self._copy.spec.id), before.seq, place.last_seq)
        channel.send(FrameType.FETCH, stream, [encode_fetch(fetch)])
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                await wanted.ended.wait()
        except TimeoutError:
            raise TransientError("it did not answer in time") from None
        finally:
            channel.close_stream(stream)
        if not wanted.batch:
            raise TransientError(wanted.reason)
        return wanted.batch


def _ends(journal: Journal, place: BatchPlace) -> tuple[Position, Position]:
    """The positions before and after a batch, as the journal remembers them. Raises DrsyncError."""
    before = journal.batch_end_at_or_below(place.first_seq - 1)
    return before, journal.batch_end_at_or_below(place.last_seq)


class _Wanted(Listener):
    """The end of a fetch that wants one batch: `drsync.engine.bulk.StreamHandler`.

    Attributes:
        batch: the batch; empty until it is there, and well.
        reason: why it is not.
        ended: nothing more will come.
    """

    def __init__(self, place: BatchPlace, before: Position, after: Position) -> None:
        self.batch = b""
        self.reason = "it does not hold the records"
        self.ended = asyncio.Event()
        self._place = place
        self._before = before
        self._after = after

    def frame_received(self, frame: Frame) -> None:
        """See StreamHandler."""
        if frame.type is FrameType.BATCHES and not self.batch:
            _, view = data.read_batches(frame.body)
            try:
                header = peek(view)
                end = verify(view, 0, header, self._before)
            except MalformedError as error:
                self.reason = str(error)
            else:
                if end == self._after and header.length == self._place.length:
                    self.batch = bytes(view[: header.length])
                else:
                    self.reason = "it holds another batch there"
        if frame.type is FrameType.FETCHED or self.batch:
            self.ended.set()

    def lost(self, reason: str) -> None:
        """See StreamHandler."""
        self.reason = reason
        self.ended.set()
