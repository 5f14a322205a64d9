"""A sealed candidate completes its log: it cuts what is not in the history, and fetches what donors have."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from drsync.core import compare, lineage
from drsync.engine.bulk import BulkChannel
from drsync.engine.copy import GroupCopy
from drsync.engine.peers import Peers
from drsync.engine.receiver import Fetcher
from drsync.model import epoch as epochs
from drsync.model.copy import CopyState, Statement
from drsync.model.errors import FailedCopyError, TransientError
from drsync.model.position import History
from drsync.wire import control
from drsync.wire.frames import FrameType
from drsync.wire.stream import Fetch, encode_fetch

STATEMENT_TIMEOUT_S: Final = 3.0  # because a donor that does not answer in this time is not waited for
FETCH_TIMEOUT_S: Final = 30.0  # because 16 MiB take less on any link that can hold an RPO


class Candidate:
    """What a copy does on its way to be opened."""

    def __init__(
        self,
        copy: GroupCopy,
        peers: Peers,
        cut: Callable[[int, str], Awaitable[None]],
        say: Callable[[str, str], None],
        seek_room: Callable[[], None],
    ) -> None:
        """Ask for what it needs of its member.

        Args:
            copy: that is to be completed.
            peers: the donors.
            cut: removes the log after a record, and keeps it as a fork of that name if one is given.
            say: an event and its reason.
            seek_room: the disk is full: look for space.
        """
        self._copy = copy
        self._peers = peers
        self._cut = cut
        self._say = say
        self._seek_room = seek_room

    async def complete(self, history: History, donors: tuple[str, ...]) -> None:
        """Bring the log to the longest state of `history` that the donors know; not durable yet.

        Raises:
            FailedCopyError, NoSpaceError: the log cannot be cut or appended to.
        """
        await self._cut_to(history)
        for donor in donors:
            await self._fetch_from(donor, history)

    async def _cut_to(self, history: History) -> None:
        statement = self._copy.statement()
        fork = lineage.fork_point(history, statement)
        if fork >= statement.appended:
            return
        keep = not compare.is_droppable(history, statement, fork)
        name = f"fork-{epochs.show(self._copy.durable.follow)}-{fork}" if keep else ""
        await self._cut(fork, name)
        self._say(
            "log_cut", f"records after {fork} do not belong to the history; kept as {name or 'nothing'}"
        )

    async def _fetch_from(self, donor: str, history: History) -> None:
        """Fetch what `donor` holds beyond our tip in this history; silence of a donor is no error."""
        copy = self._copy
        try:
            group: dict[str, object] = {"group": copy.spec.id}
            answer = await self._peers.call(donor, "group.statement", group, STATEMENT_TIMEOUT_S)
            theirs = control.from_json(Statement, answer["statement"])
            through = lineage.fork_point(history, theirs)
            while copy.journal.tip.seq < through:
                before = copy.journal.tip.seq
                await self._fetch_once(await self._peers.bulk(donor), through)
                if copy.journal.tip.seq == before:
                    break
        except TransientError as error:
            self._say("donor_silent", f"{donor}: {error}")

    async def _fetch_once(self, channel: BulkChannel, through: int) -> None:
        copy = self._copy
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def end(reason: str) -> None:
            if not ended.done():
                ended.set_result(reason)

        stream = channel.open_stream(Fetcher(copy, through, end))
        wanted = Fetch(bytes.fromhex(copy.spec.id), copy.journal.tip.seq, through)
        channel.send(FrameType.FETCH, stream, [encode_fetch(wanted)])
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                reason = await ended
        except TimeoutError:
            raise TransientError("the donor stopped answering") from None
        finally:
            channel.close_stream(stream)
        if copy.state is CopyState.FAILED:
            raise FailedCopyError(copy.failure)
        if copy.space.journal:
            self._seek_room()
            copy.space.require()
        if reason:
            raise TransientError(reason)
