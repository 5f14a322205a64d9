"""Making a copy's journal durable whenever somebody asks, in the quickest way that the system has now."""

import asyncio
from collections.abc import Callable

from drsync.engine.copy import GroupCopy
from drsync.model.errors import DrsyncError


class Syncer:
    """On the spot where the disk is brief; else by the kernel, beside the loop; else in a thread.

    Args:
        copy: whose journal.
        done: called from the loop with the durable position after each sync that was not made on the spot.
        trouble: called when one failed, and the copy with it.
    """

    def __init__(
        self, copy: GroupCopy, done: Callable[[int], None], trouble: Callable[[DrsyncError], None]
    ) -> None:
        self._copy = copy
        self._done = done
        self._trouble = trouble
        self._thread_wanted = asyncio.Event()
        self._is_begun = False
        self._is_wanted = False  # once more, when what is begun has ended

    def want(self) -> int | None:
        """Make everything durable that is appended: the position if that is done now, None if it will be."""
        journal = self._copy.journal
        if journal.durable_seq >= journal.tip.seq:
            return journal.durable_seq  # as a flush often finds it that was foreseen, and waits for others
        try:
            durable = self._copy.sync_at_once()
        except DrsyncError as error:
            self._trouble(error)
            return None
        if durable is None:
            if self._is_begun:
                self._is_wanted = True
            elif self._copy.begin_sync(self._ended):
                self._is_begun = True
            else:
                self._thread_wanted.set()
        return durable

    def _ended(self, error: DrsyncError | None) -> None:
        self._is_begun = False
        is_wanted, self._is_wanted = self._is_wanted, False
        if error is not None:
            self._trouble(error)
            return
        journal = self._copy.journal
        self._done(journal.durable_seq)
        is_more = is_wanted and not self._is_begun and journal.durable_seq < journal.tip.seq
        if is_more and (durable := self.want()) is not None:
            self._done(durable)

    async def run(self) -> None:
        """What needs a thread, until cancelled or one sync failed."""
        while True:
            await self._thread_wanted.wait()
            self._thread_wanted.clear()
            journal = self._copy.journal
            try:
                if journal.durable_seq < journal.tip.seq:  # else the last one brought what was asked for
                    await self._copy.sync()
            except DrsyncError as error:
                self._trouble(error)
                return
            self._done(self._copy.journal.durable_seq)
