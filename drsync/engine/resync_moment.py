"""One moment of the owner's volumes, from which a delta set is read: a view at p1, held as long as it may be.

Blocks that are read there show the log up to p1 and nothing later, so that a session which reads all of them
there ends at p1, a checkpoint that was written right after p0. Where the view cannot be had, or is given up
for space, the session goes on as any other: it reads what is committed, and sends the redo. What was read
here before stays right, since the redo begins at p0.
"""

from typing import TYPE_CHECKING

from drsync.core.extents import Extents
from drsync.engine.resync_around import Surroundings
from drsync.engine.resync_reader import GranuleReader
from drsync.model.errors import DrsyncError
from drsync.model.position import ORIGIN, Position
from drsync.wire.resync import Block

if TYPE_CHECKING:
    from drsync.engine.views import GroupView


class Moment:
    """The view of the sessions with one peer; most often none is held.

    Attributes:
        at: the position that was held last.
    """

    def __init__(self, name: str, around: Surroundings) -> None:
        """`name`: of the view, as people see it among the pins."""
        self._name = name
        self.at = ORIGIN
        self._around = around
        self._view: GroupView | None = None
        self._reader: GranuleReader | None = None

    @property
    def is_held(self) -> bool:
        """Whether everything that was read so far showed that moment alone, and may go on to."""
        return self._view is not None and not self._view.is_over

    async def hold(self, at: Position) -> None:
        """Hold the volumes as they are there, if that can be done."""
        self.let_go()
        self.at = at
        views = self._around.views
        try:
            self._view = view = views.hold(self._name, at.seq)
            await view.build()
        except DrsyncError as error:
            self._around.tell("set_unpinned", f"a delta set is read as blocks change: {error}")
            self.let_go()
            return
        self._reader = GranuleReader(view.volumes)

    async def read(self, todo: Extents) -> tuple[int, list[Block]] | None:
        """As `GranuleReader.first`; None: the moment is over, and nothing of what was read now counts.

        Raises:
            FailedCopyError: the image or the journal cannot be read.
        """
        reader = self._reader
        if reader is None or self._is_over():
            self.let_go()
            return None
        try:
            found = await reader.first(todo)
        except DrsyncError:
            if not self._is_over():
                raise
            found = None  # what lay there is not there any more
        if self._is_over():  # given up while it was read
            self.let_go()
            return None
        return found

    def _is_over(self) -> bool:
        return not self.is_held

    def let_go(self) -> None:
        """Give up the view, if it is held."""
        view, self._view, self._reader = self._view, None, None
        if view is not None and not view.is_over:
            self._around.views.release(view.id)
