"""Lines for the night shift: what an agent says about itself as it works."""

from typing import Protocol

import structlog

from drsync.engine.copy import GroupCopy
from drsync.model import epoch as epochs
from drsync.model.errors import MalformedError

log = structlog.get_logger()


class Lines(Protocol):
    """Where they go. Every line names the center."""

    def say(self, event: str, reason: str) -> None:
        """Something about this process."""
        ...

    def say_of(self, copy: GroupCopy, event: str, reason: str) -> None:
        """Something about its copy of a group."""
        ...

    def malformed(self, peer: str, error: MalformedError) -> None:
        """A peer broke a format; its link is closed."""
        ...

    def bug(self, where: str, error: Exception) -> None:
        """Something escaped that nobody foresaw."""
        ...


class LogLines:
    """Into the log."""

    def __init__(self, center: str) -> None:
        self._center = center

    def say(self, event: str, reason: str) -> None:
        """See Lines."""
        log.info(event, center=self._center, reason=reason)

    def say_of(self, copy: GroupCopy, event: str, reason: str) -> None:
        """See Lines."""
        epoch = epochs.show(copy.durable.follow)
        log.info(event, group=copy.spec.name, center=self._center, epoch=epoch, reason=reason)

    def malformed(self, peer: str, error: MalformedError) -> None:
        """See Lines."""
        log.warning("malformed", center=self._center, peer=peer, reason=str(error))

    def bug(self, where: str, error: Exception) -> None:
        """See Lines."""
        log.error("bug", center=self._center, reason=f"{where}: {error!r}", exc_info=error)

    def stalled(self, reason: str) -> None:
        """A loop stands still that must never stop; the service manager is about to end this process."""
        log.error("stalled", center=self._center, reason=reason)
