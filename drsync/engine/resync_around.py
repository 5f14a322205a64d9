"""What a session is given: the owner it belongs to, and what comparing told of the peer."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from drsync.core.sizes import Resize
from drsync.engine.copy import GroupCopy
from drsync.engine.owner import OwnerEngine
from drsync.engine.peers import Peers
from drsync.engine.resync_ask import Mode
from drsync.engine.resync_marks import Marks
from drsync.engine.views import Views
from drsync.model.charter import Charter
from drsync.model.copy import Statement
from drsync.model.errors import DrsyncError
from drsync.ports.clock import Clock, Random


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What sessions work with.

    Attributes:
        copy, engine: the owner's.
        marks: of this copy.
        charter: the newest that the term knows.
        note_point: writes a heartbeat and a checkpoint where writes are taken; the last record written, or 0.
        views: of this copy, for sessions that read at one moment.
        tell: an event and its reason, for people.
        on_trouble: the owner's own copy cannot be read or written.
    """

    copy: GroupCopy
    engine: OwnerEngine
    peers: Peers
    clock: Clock
    dice: Random
    marks: Marks
    charter: Callable[[], Charter]
    note_point: Callable[[], int]
    views: Views
    tell: Callable[[str, str], None]
    on_trouble: Callable[[DrsyncError], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What comparing told of a peer that cannot be streamed to.

    Attributes:
        statement: the peer's.
        fork: last record of its log that is ours too.
        chain: ours there; None when our journal does not tell.
        mode: how what differs is found.
        can_unpack: it reads compressed frames.
        can_page: it tells what it holds by pages, and takes pages.
    """

    statement: Statement
    fork: int
    chain: bytes | None
    mode: Mode
    can_unpack: bool
    can_page: bool = False


def question(
    charter: Charter, session: str, generation: int, wanted: Wanted, resizes: Iterable[Resize]
) -> dict[str, object]:
    """The body of `group.resync`."""
    return {
        "group": charter.group.id,
        "epoch": charter.epoch,
        "version": charter.version,
        "session": session,
        "generation": generation,
        "mode": wanted.mode.value,
        "fork": wanted.fork,
        "chain": (wanted.chain or b"").hex(),
        "resizes": [list(one) for one in resizes],
    }
