"""A recovery point that a person opened: the words of what is open, and of how it ended.

The JSON form (`fields`) is a stable interface; keys may be added.
"""

from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Self

Json = dict[str, object]

LIFETIME_S = 24 * 3600.0  # because a forgotten pin fills a disk, and a restore is over within a day
LIFETIME_MAX_S = 30 * 24 * 3600.0  # because what is needed for longer is copied
QUOTA_BYTES = 512 << 20  # because a database that starts on a view writes tens of megabytes
NAME_MAX = 64  # because it is typed again to close it


class Why(StrEnum):
    """How an opening ended."""

    CLOSED = "closed"  # by a person
    EXPIRED = "expired"
    GIVEN_UP = "given_up"  # by the agent, to keep its copy going
    RESTARTED = "restarted"  # the agent's process ended, and the opening with it
    NEVER_OPENED = "never_opened"


@dataclass(frozen=True, slots=True)
class Opening:
    """A group as it was at one position, served at one center.

    Attributes:
        id: of its view; begins with ``open-`` and is unique in the cluster.
        name: what people call it; unique among the openings of a group at a center.
        group_id, center: of which group, and where.
        seq: the position.
        time_us: wall clock label of the point there, or of the last one before; 0: unknown.
        point: name of the checkpoint; empty for an unnamed one.
        is_point: the position is a recovery point; else a place between two, consistent as after a crash.
        is_app_consistent: its hook succeeded in time.
        fork: the fork whose records are seen; empty: the group's own history.
        quota_bytes: what may be written to it; 0: read-only.
        opened_us, until_us: labels; when it was opened, and when it closes by itself.
    """

    id: str
    name: str
    group_id: str
    center: str
    seq: int = 0
    time_us: int = 0
    point: str = ""
    is_point: bool = False
    is_app_consistent: bool = False
    fork: str = ""
    quota_bytes: int = 0
    opened_us: int = 0
    until_us: int = 0

    def fields(self) -> Json:
        """JSON form."""
        return asdict(self)

    @classmethod
    def read(cls, body: Json) -> Self:
        """Inverse of `fields`; keys of later versions are left out."""
        known = {key: value for key, value in body.items() if key in cls.__slots__}
        return replace(cls("", "", "", ""), **known)  # type: ignore[arg-type]  # written by `fields`


@dataclass(frozen=True, slots=True)
class Ended:
    """An opening that is no more."""

    opening: Opening
    why: Why
    text: str
    at_us: int = 0
