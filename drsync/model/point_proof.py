"""What is known of a recovery point at a center: somebody opened it there, and this is what was found.

The JSON form (`fields`) is a stable interface; keys may be added.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from drsync.model.epoch import EPOCH_MAX, Epoch
from drsync.model.position import CHAIN_BYTES, NO_CHAIN, Position

Json = dict[str, object]

TEXT_MAX: Final = 400  # because it is one line of a status, and 256 of them fit into an answer
WORD_MAX: Final = 40
DIGEST_MAX: Final = 80
SECONDS_MAX: Final = 1e9  # because a check of thirty years is a mistake


class Outcome(StrEnum):
    """What a check found. Nothing turns `UNKNOWN` into `PROVED` but a check that ran to its end."""

    PROVED = "proved"
    FAILED = "failed"
    UNKNOWN = "unknown"


SELF_DRILL: Final = "self-drill"
DRILL: Final = "drill"
"""By what: a center by itself, or a drill that somebody asked for."""


class PointKey(NamedTuple):
    """A point as every center and every drill knows it: its record, and the label that its owner gave it."""

    seq: int
    time_us: int


@dataclass(frozen=True, slots=True)
class PointProof:
    """One point at one center.

    Attributes:
        position: that was opened; of a drill's report only the record is known, with `NO_CHAIN`.
        time_us: wall clock label of the point.
        outcome: what was found.
        by: `SELF_DRILL` or `DRILL`.
        check: in a word: ``hash``, ``filesystem``, ``program``, ``content``.
        at_us: wall clock label of when it was found.
        seconds: how long it took.
        text: what was found, or why not.
        digest: of all content, where everything was read; equal at all centers for one point; else empty.
    """

    position: Position
    time_us: int
    outcome: Outcome
    by: str
    check: str
    at_us: int
    seconds: float
    text: str = ""
    digest: str = ""

    @property
    def key(self) -> PointKey:
        """The point."""
        return PointKey(self.position.seq, self.time_us)

    def fields(self) -> Json:
        """JSON form."""
        return {
            "epoch": int(self.position.epoch),
            "seq": self.position.seq,
            "chain": self.position.chain.hex(),
            "time_us": self.time_us,
            "outcome": self.outcome.value,
            "by": self.by,
            "check": self.check,
            "at_us": self.at_us,
            "seconds": self.seconds,
            "text": self.text,
            "digest": self.digest,
        }

    @classmethod
    def read(cls, body: Json) -> "PointProof":
        """Inverse of `fields`; keys of later versions are left out. Raises ValueError: it is none."""
        chain = bytes.fromhex(_text(body, "chain", 2 * CHAIN_BYTES)) or NO_CHAIN
        if len(chain) != CHAIN_BYTES:
            raise ValueError("chain: 16 bytes were expected")
        seconds = body.get("seconds")
        if (
            isinstance(seconds, bool)
            or not isinstance(seconds, int | float)
            or not 0 <= seconds < SECONDS_MAX
        ):
            raise ValueError("seconds: a number was expected")
        return cls(
            Position(Epoch(_whole(body, "epoch")), _whole(body, "seq"), chain),
            _whole(body, "time_us"),
            Outcome(_text(body, "outcome", WORD_MAX)),
            _text(body, "by", WORD_MAX),
            _text(body, "check", WORD_MAX),
            _whole(body, "at_us"),
            float(seconds),
            _text(body, "text", TEXT_MAX),
            _text(body, "digest", DIGEST_MAX),
        )


def _whole(body: Json, key: str) -> int:
    value = body.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= EPOCH_MAX:
        raise ValueError(f"{key}: a whole number was expected")
    return value


def _text(body: Json, key: str, most: int) -> str:
    value = body.get(key, "")
    if not isinstance(value, str) or len(value) > most:
        raise ValueError(f"{key}: a text of at most {most} characters was expected")
    return value
