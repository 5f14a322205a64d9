"""How far a resync session is, for people and for figures."""

from dataclasses import dataclass

from drsync.core.extents import GRANULE


@dataclass(frozen=True, slots=True)
class Progress:
    """One session, as its source sees it.

    Attributes:
        state: see `core.resync_tables.SourceState`.
        mode: how what differs is found: dirty, digest or everything.
        done, total: granules sent of those to be sent, or compared of those to be compared.
        redo_bytes: sent beside them, on this line.
        wire_bytes: all of it, as it went out.
        rate: bytes taken per second, lately.
        rounds: how often the redo began anew.
    """

    state: str
    mode: str
    done: int
    total: int
    redo_bytes: int
    wire_bytes: int
    rate: float
    rounds: int

    @property
    def eta_s(self) -> float | None:
        """Seconds until the last granule is sent, at this rate; None when nobody can say."""
        left = (self.total - self.done) * GRANULE
        return left / self.rate if self.rate > 0 else None

    def to_json(self) -> dict[str, object]:
        """For a report: bytes are granules times 65,536."""
        eta = self.eta_s
        return {
            "state": self.state,
            "mode": self.mode,
            "granules": self.done,
            "granules_total": self.total,
            "bytes": self.done * GRANULE,
            "bytes_total": self.total * GRANULE,
            "redo_bytes": self.redo_bytes,
            "wire_bytes": self.wire_bytes,
            "rate": int(self.rate),
            "eta_s": None if eta is None else round(eta, 1),
            "rounds": self.rounds,
        }
