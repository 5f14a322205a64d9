"""Centers and what they are."""

from dataclasses import dataclass
from enum import StrEnum


class Designation(StrEnum):
    """Where a center stands in the plan. Never changes."""

    PRODUCTION = "production"
    SAME_CITY = "same_city"
    REMOTE = "remote"


class Role(StrEnum):
    """What a center does now for a group. Changes at promote and demote."""

    OWNER = "owner"
    REPLICA = "replica"


@dataclass(frozen=True, slots=True)
class Center:
    """A data center that takes part in a cluster.

    Attributes:
        name: alias used in commands; in the lab equal to the designation.
        designation: place in the plan.
        site: city; centers of one site can be in the in-sync set together.
    """

    name: str
    designation: Designation
    site: str
