"""The charter store: per group one small compare-and-set value and a lease."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from drsync.model.charter import Charter


class CasOutcome(StrEnum):
    """What became of a compare-and-set."""

    DONE = "done"
    LOST = "lost"  # the version was another one, or a lease forbids it; `current` tells
    UNKNOWN = "unknown"  # timed out, connection lost: behave under the stricter of both (P10)


@dataclass(frozen=True, slots=True)
class CasResult:
    """Outcome and, when known, the charter now in force."""

    outcome: CasOutcome
    current: Charter | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class LeaseGrant:
    """A renewed lease: the owner may answer until `sent_at + seconds * (1 - drift)` by its own clock."""

    is_granted: bool
    seconds: float
    charter_version: int


class CharterStore(Protocol):
    """Linearizable. Implemented in SQLite inside the coordinator, and remotely through it by agents."""

    async def read(self, group_id: str) -> Charter | None:
        """The charter in force. Raises TransientError when the store cannot be reached."""
        ...

    async def compare_and_set(self, expected_version: int, charter: Charter) -> CasResult:
        """Replace the charter of `charter.group.id` if its version is `expected_version`.

        `charter.version` must be `expected_version + 1`. A change of epoch is refused while another
        owner's lease runs. Never raises for a lost connection: that is UNKNOWN.
        """
        ...
