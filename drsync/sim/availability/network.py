"""Who reaches whom: places, the lines between them, and the charter store that stands on them."""

from drsync.sim.availability.faults import (
    LINES,
    PLACES,
    PRODUCTION,
    REMOTE,
    SAME_CITY,
    THIRD,
    Effect,
)
from drsync.sim.availability.topology import Store, Topology

_LINE_OF: dict[tuple[int, int], int] = {
    (PRODUCTION, SAME_CITY): 0,
    (PRODUCTION, REMOTE): 1,
    (SAME_CITY, REMOTE): 1,
    (PRODUCTION, THIRD): 2,
    (SAME_CITY, THIRD): 2,
    (REMOTE, THIRD): 3,
}
_ETCD_QUORUM = 2


class Network:
    """What is cut. `sees[a]` is the set of places that `a` reaches, itself included."""

    def __init__(self, paths: int) -> None:
        self._paths = paths
        self._cut = [0] * len(PLACES)
        self._gone = [0] * len(LINES)
        self._broken = [0] * len(LINES)
        self._known: dict[tuple[bool, ...], list[frozenset[int]]] = {}
        self.sees = self._reach()

    def change(self, effect: Effect, where: int, by: int) -> None:
        """A cut begins (`by` 1) or ends (-1)."""
        {Effect.CUT: self._cut, Effect.PATH: self._gone, Effect.LINE: self._broken}[effect][where] += by
        self.sees = self._reach()

    def is_line_down(self, line: int) -> bool:
        """Whether nothing passes a line."""
        return self._broken[line] > 0 or self._gone[line] >= self._paths

    def _reach(self) -> list[frozenset[int]]:
        cut = tuple(count > 0 for count in self._cut)
        down = tuple(self.is_line_down(line) for line in range(len(LINES)))
        key = cut + down
        if key not in self._known:
            self._known[key] = [
                frozenset(
                    b
                    for b in range(len(PLACES))
                    if a == b or not (cut[a] or cut[b] or down[_LINE_OF[min(a, b), max(a, b)]])
                )
                for a in range(len(PLACES))
            ]
        return self._known[key]


class CharterStore:
    """The coordinator and its store: from where it acts, and whether it has to hear from everybody first."""

    def __init__(self, topology: Topology, network: Network) -> None:
        self._kind = topology.store
        self._members = topology.members
        self._network = network
        self._down = [0] * len(PLACES)
        self._substitute: int | None = None
        self.must_hear_all = False

    def change(self, effect: Effect, where: int, by: int) -> None:
        """A coordinator's process or machine goes or comes."""
        self._down[where] += by
        is_home = where in self._members and self._kind is Store.SQLITE
        if effect is Effect.STORE and by > 0 and is_home:
            self.must_hear_all = True
        if self._substitute is not None and self._home() is not None:
            self._substitute = None  # members remember the newer store, so the old one yields: no harm

    def rebuild(self, place: int) -> None:
        """A person began a new store there, on another machine, from what the members remember."""
        self._substitute = place
        self.must_hear_all = False

    def leader(self) -> int | None:
        """Where the coordinator acts; None while nobody may."""
        home = self._home()
        return self._substitute if home is None else home

    def serves(self, leader: int, place: int) -> bool:
        """Whether a process at `place` reaches the store that `leader` acts for."""
        sees = self._network.sees[place]
        if leader in sees:
            return True
        if self._kind is Store.SQLITE or self._substitute is not None:
            return False
        crowd = self._network.sees[leader]
        return any(m in sees and m in crowd and not self._down[m] for m in self._members)

    def _home(self) -> int | None:
        up = [member for member in self._members if not self._down[member]]
        if self._kind is Store.SQLITE:
            return up[0] if up else None
        best, most = None, 0
        for member in up:
            sees = self._network.sees[member]
            crowd = sum(other in sees for other in up)
            if crowd >= _ETCD_QUORUM and crowd * 10 + len(sees) > most:
                best, most = member, crowd * 10 + len(sees)
        return best
