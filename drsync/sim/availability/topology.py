"""What is compared: which centers there are, where the charter store stands, and who asks for a failover."""

from dataclasses import dataclass, replace
from enum import StrEnum

from drsync.model.group import Failover, GroupPolicy, GroupSpec, Mode
from drsync.model.topology import Center, Designation
from drsync.sim.availability.faults import PLACES, PRODUCTION, REMOTE, SAME_CITY, THIRD
from drsync.sim.availability.rates import Rates

DETECTION_S = GroupPolicy().detect_s
"""As a group has it unless its policy says otherwise."""


class Store(StrEnum):
    """What kind of charter store."""

    SQLITE = "sqlite"  # one coordinator
    ETCD = "etcd"  # three members, a majority decides


@dataclass(frozen=True, slots=True)
class Topology:
    """One way to set a group up.

    Attributes:
        name: stable, for programs and options.
        centers: which of the places hold a copy.
        store: kind of charter store.
        members: places of the coordinator, or of the store's members.
        is_automatic: whether failover without loss needs nobody to ask for it.
        detection_s: how long the owner must have been lost before an automatic failover.
    """

    name: str
    centers: tuple[int, ...]
    store: Store
    members: tuple[int, ...]
    is_automatic: bool = False
    detection_s: float = DETECTION_S

    def automatic(self, detection_s: float = DETECTION_S) -> "Topology":
        """The same with automatic failover."""
        return replace(
            self, name=self.name.replace("-manual", "-automatic"), is_automatic=True, detection_s=detection_s
        )

    def spec(self, rates: Rates) -> GroupSpec:
        """The group as drsync would know it."""
        cities = {PRODUCTION: "city", SAME_CITY: "city", REMOTE: "remote"}
        designations = (Designation.PRODUCTION, Designation.SAME_CITY, Designation.REMOTE)
        members = tuple(Center(PLACES[c], designations[c], cities[c]) for c in self.centers)
        policy = GroupPolicy(
            mode=Mode.SYNC if SAME_CITY in self.centers else Mode.ASYNC,
            sync_timeout_s=rates.model.sync_timeout,
            lease_s=rates.model.lease,
            failover=Failover.AUTOMATIC if self.is_automatic else Failover.MANUAL,
            detect_s=self.detection_s,
            anti_flap_s=rates.model.anti_flap,
        )
        return GroupSpec("00" * 16, "study", (), members, PLACES[PRODUCTION], policy=policy)


_THREE = (PRODUCTION, SAME_CITY, REMOTE)
SINGLE = Topology("single-site", (PRODUCTION,), Store.SQLITE, (PRODUCTION,))
TWO = Topology("two-sites-manual", (PRODUCTION, REMOTE), Store.SQLITE, (REMOTE,))
THREE = Topology("three-centers-manual", _THREE, Store.SQLITE, (REMOTE,))
WITNESS = Topology("three-centers-witness-manual", _THREE, Store.SQLITE, (THIRD,))
ETCD = Topology("three-centers-etcd-manual", _THREE, Store.ETCD, _THREE)
ETCD_WITNESS = Topology("three-centers-etcd-witness-manual", _THREE, Store.ETCD, (SAME_CITY, REMOTE, THIRD))

TOPOLOGIES: tuple[Topology, ...] = (
    SINGLE,
    TWO,
    THREE,
    THREE.automatic(),
    WITNESS,
    WITNESS.automatic(),
    ETCD,
    ETCD.automatic(),
    ETCD_WITNESS,
    ETCD_WITNESS.automatic(),
)
"""In the order of the report; the base of the what-ifs is `WITNESS`."""
