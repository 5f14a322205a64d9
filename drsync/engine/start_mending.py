"""Damage that kept a copy from being opened: batches for it are asked for elsewhere (decision 0031)."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

from drsync.engine.bulk import Listener
from drsync.engine.peers import Peers
from drsync.engine.threads import in_thread
from drsync.model.errors import DrsyncError, MalformedError, StartDamageError, TransientError
from drsync.model.group import GroupSpec
from drsync.ports.copy_store import CopyStore
from drsync.wire import data
from drsync.wire.frames import Frame, FrameType
from drsync.wire.stream import Fetch, encode_fetch

FETCH_TIMEOUT_S: Final = 30.0  # because a donor gives 16 MiB at most, and a slow line takes its time
RETRY_S: Final = 5.0  # because centers that start together find each other in a few seconds
BYTES_MAX: Final = 32 << 20  # because a donor ends before that


class StartMender:
    """Asks one center after the other.

    Args:
        me: this center.
        peers: the others.
        say: an event and its reason.
    """

    def __init__(self, me: str, peers: Peers, say: Callable[[str, str], None]) -> None:
        self._me = me
        self._peers = peers
        self._say = say
        self._refused: dict[str, str] = {}  # what each center came to last, so that it is told once

    async def mend(
        self, spec: GroupSpec, store: CopyStore, incarnation: str, damage: StartDamageError
    ) -> bool:
        """Try once; whether the damaged place is well now. The copy has still to be opened."""
        for member in spec.members:
            if member.name == self._me:
                continue
            try:
                batches = await self._fetch(member.name, spec, damage)
                write = partial(store.mend_journal, spec, incarnation, damage.durable, batches)
                last = await in_thread(write)
            except DrsyncError as error:
                if self._refused.get(member.name) != str(error):
                    self._refused[member.name] = str(error)
                    self._say("mend_refused", f"{spec.name}: {member.name}: {error}")
                continue
            self._refused.clear()
            records = f"records {damage.good + 1} to {last}"
            self._say("journal_mended", f"{spec.name}: {records}: written again as {member.name} has them")
            return True
        return False

    async def _fetch(self, center: str, spec: GroupSpec, damage: StartDamageError) -> bytes:
        """What another center has after the last good record. Raises TransientError."""
        channel = await self._peers.bulk(center)
        wanted = _Wanted()
        stream = channel.open_stream(wanted)
        fetch = Fetch(bytes.fromhex(spec.id), damage.good, damage.durable)
        channel.send(FrameType.FETCH, stream, [encode_fetch(fetch)])
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                await wanted.ended.wait()
        except TimeoutError:
            raise TransientError("it did not answer in time") from None
        finally:
            channel.close_stream(stream)
        if not wanted.batches:
            raise TransientError(wanted.reason)
        return bytes(wanted.batches)


class _Wanted(Listener):
    """The end of such a fetch: `drsync.engine.bulk.StreamHandler`.

    Attributes:
        batches: that came.
        reason: why there are none.
        ended: nothing more will come.
    """

    def __init__(self) -> None:
        self.batches = bytearray()
        self.reason = "it does not hold the records"
        self.ended = asyncio.Event()

    def frame_received(self, frame: Frame) -> None:
        """See StreamHandler."""
        if frame.type is FrameType.BATCHES:
            _, view = data.read_batches(frame.body)
            if len(self.batches) + len(view) > BYTES_MAX:
                raise MalformedError(f"more than {BYTES_MAX} bytes of batches were sent")
            self.batches += view
        if frame.type is FrameType.FETCHED:
            self.ended.set()

    def lost(self, reason: str) -> None:
        """See StreamHandler."""
        self.batches.clear()
        self.reason = reason
        self.ended.set()
