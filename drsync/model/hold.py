"""A checkpoint on hold: a recovery point that one copy keeps until somebody releases it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

Json = dict[str, object]

HOLDS_MAX: Final = 16  # because all of them are in the superblock: 56 KiB of its 120 at the very most
REASON_MAX: Final = 200  # characters, for the same reason
ACTOR_MAX: Final = 64
ON_HOLD: Final = "on hold"  # whatever waits because of a hold says so in these words
NAME_MAX: Final = 63
NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9._:-]*$"


@dataclass(frozen=True, slots=True)
class Hold:
    """One of them, as a superblock keeps it.

    Attributes:
        name: given by a person; unique at a copy.
        seq: record of the checkpoint: images stay at or before it, the journal from it on stays.
        time_us: its label.
        point: the checkpoint's own name, or empty.
        is_app_consistent: of the checkpoint.
        reason, actor: why, and who says so.
        since_us: wall clock label of the center.
    """

    name: str
    seq: int
    time_us: int = 0
    point: str = ""
    is_app_consistent: bool = False
    reason: str = ""
    actor: str = ""
    since_us: int = 0

    def fields(self) -> Json:
        """JSON form."""
        return asdict(self)

    @staticmethod
    def read(body: Mapping[str, object]) -> "Hold":
        """Inverse of `fields`; what a later version may add is left out."""
        known = {name: value for name, value in body.items() if name in Hold.__slots__}
        return Hold(**known)  # type: ignore[arg-type]  # written by `fields`


@dataclass(frozen=True, slots=True)
class LostHold:
    """A hold that the copy had to give up.

    Attributes:
        id: differs between all that one process has given up.
        text: which one, and why.
    """

    id: int
    text: str
