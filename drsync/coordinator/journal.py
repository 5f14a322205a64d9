"""What happened, told twice: as an event that is kept, and as a line in the log."""

from typing import Protocol

import structlog

from drsync.model import epoch as epochs
from drsync.model.charter import Charter
from drsync.model.epoch import NEVER, Epoch
from drsync.model.errors import TransientError
from drsync.model.operation import Event
from drsync.ports.evidence import Evidence


class Log(Protocol):
    """Lines for people, as `structlog` writes them."""

    def info(self, event: str, **facts: object) -> object:
        """Something that is as it should be."""
        ...

    def error(self, event: str, **facts: object) -> object:
        """Something that is not."""
        ...


class Journal:
    """The coordinator's voice."""

    def __init__(self, evidence: Evidence, log: Log | None = None) -> None:
        """Without `log` lines go where the process writes its own."""
        self._evidence = evidence
        self._log: Log = structlog.get_logger() if log is None else log

    def event(self, kind: str, text: str, *, group: str = "", center: str = "", epoch: Epoch = NEVER) -> None:
        """Keep it and log it. What cannot be kept (a full disk) is logged all the same, and stops nobody."""
        try:
            self._evidence.record(Event(kind, text, group, center, epoch))
        except TransientError as error:
            self._log.error("event_not_kept", group=group, center=center, reason=f"{kind}: {error}")
        self._log.info(kind, group=group, center=center, epoch=epochs.show(epoch), reason=text)

    def about(self, charter: Charter, kind: str, text: str, center: str = "") -> None:
        """As `event`, about a group."""
        self.event(kind, text, group=charter.group.name, center=center, epoch=charter.epoch)

    def in_sync_changed(self, before: Charter, after: Charter) -> None:
        """The owner asked for another in-sync set and got it."""
        for center in sorted(before.in_sync - after.in_sync):
            self.about(after, "left_in_sync", f"{center} is not waited for any more", center)
        for center in sorted(after.in_sync - before.in_sync):
            self.about(after, "joined_in_sync", f"every write waits for {center} from now on", center)

    def bug(self, where: str, error: BaseException) -> None:
        """Something escaped that should not."""
        self._log.error("bug", reason=f"{where}: {error!r}", exc_info=error)

    def decision_not_kept(self, group: str, center: str, error: BaseException) -> None:
        """A procedure goes on without the evidence of what it just decided."""
        self._log.error("decision_not_kept", group=group, center=center, reason=repr(error))
