"""What a relay is told to do."""

from dataclasses import dataclass
from pathlib import Path

from drsync.config.options import BUSY_POLL_S
from drsync.core.relay import AfterLoss
from drsync.relay.places import Place


@dataclass(frozen=True, slots=True)
class RelayOptions:
    """Checked options of one relay.

    Attributes:
        group, volume: what to attach to.
        socket: where to listen.
        listen: loopback host and port to listen on as well; port 0 takes a free one.
        timeout_s: how long requests wait without an owner, and the start for the first one; 0: for ever.
        after_loss: what becomes of present clients when acknowledged writes may be lost.
        places: addresses of centers that replace what the coordinator says.
        coordinator: ``unix:PATH`` or ``http://HOST:PORT``.
        token_file: file with the bearer token, if any.
        busy_poll_s: how long to wait awake for what mostly comes at once; 0: not at all.
    """

    group: str
    volume: str
    socket: Path
    listen: tuple[str, int] | None
    timeout_s: float
    after_loss: AfterLoss
    places: tuple[Place, ...]
    coordinator: str
    token_file: Path | None
    busy_poll_s: float = BUSY_POLL_S

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.group}/{self.volume}"
