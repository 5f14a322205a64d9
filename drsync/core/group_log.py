"""The owner's view of one group's log: what is appended, durable and committed, here and at the peers.

Only counting lives here; no bytes, no time, no charter. It is called for every batch, so it is the one
mutable class of the core: plain attributes, no allocation when nothing changes. An argument that would
take a position back is refused by an assertion or ignored, and changes nothing.
"""

from drsync.model.epoch import Epoch
from drsync.model.group import Durability


def apply_bound(commit: int, durable: int, limit: int | None = None) -> int:
    """The image of any copy may hold records up to here: committed, durable in its own journal, allowed."""
    bound = min(durable, commit)
    return bound if limit is None else min(bound, limit)


def acknowledged(appended: int, received: int) -> int:
    """What a member may acknowledge: what is in its journal, however much more it was sent."""
    return min(appended, received)


class Peer:
    """What a member said last. Positions are 0 while it has no session."""

    __slots__ = ("appended", "center", "durable", "session")

    def __init__(self, center: str) -> None:
        self.center = center
        self.session = ""
        self.appended = 0
        self.durable = 0

    def begin(self, session: str) -> None:
        """A new session: what an earlier one acknowledged counts no more."""
        self.session = session
        self.appended = 0
        self.durable = 0


class GroupLog:
    """Positions of the owner `me` in one epoch.

    Attributes:
        me: the owner's center.
        epoch: the epoch it opened; acknowledgments of others are ignored.
        appended: last record in its own journal.
        durable: last record that survives a crash of its own host.
        commit: last committed record; never goes back.
        durability: whether a commit waits for appended or for durable.
    """

    __slots__ = (
        "_ack_set",
        "_is_fsync",
        "_needed",
        "_only",
        "_peers",
        "appended",
        "commit",
        "durability",
        "durable",
        "epoch",
        "me",
    )

    def __init__(
        self, me: str, epoch: Epoch, appended: int, durable: int, commit: int, durability: Durability
    ) -> None:
        assert commit <= appended
        assert durable <= appended
        self.me = me
        self.epoch = epoch
        self.appended = appended
        self.durable = durable
        self.commit = commit
        self.durability = durability
        self._is_fsync = durability is Durability.FSYNC
        self._peers: dict[str, Peer] = {}
        self._ack_set: frozenset[str] = frozenset((me,))
        self._needed: tuple[Peer, ...] = ()
        self._only: Peer | None = None

    @property
    def ack_set(self) -> frozenset[str]:
        """The centers a commit waits for; the owner is always one."""
        return self._ack_set

    def peer(self, center: str) -> Peer:
        """What `center` said last; all zero when it has said nothing."""
        found = self._peers.get(center)
        if found is None:
            found = self._peers[center] = Peer(center)
        return found

    def set_ack_set(self, members: frozenset[str]) -> None:
        """Wait for `members` from now on, and always for oneself. Does not take back what is committed."""
        self._ack_set = members | {self.me}
        self._needed = tuple(self.peer(center) for center in sorted(members) if center != self.me)
        self._only = self._needed[0] if len(self._needed) == 1 else None

    def append(self, last_seq: int) -> None:
        """The own journal holds everything up to `last_seq`."""
        assert last_seq > self.appended, (last_seq, self.appended)
        self.appended = last_seq

    def sync(self, durable_seq: int) -> None:
        """The own journal has synced everything up to `durable_seq`."""
        assert durable_seq <= self.appended, (durable_seq, self.appended)
        self.durable = max(self.durable, durable_seq)

    def greet(self, center: str, session: str) -> None:
        """A member connected in `session`: only this one counts until the next greeting."""
        peer = self.peer(center)
        if session != peer.session:
            peer.begin(session)

    def acknowledge(self, center: str, session: str, epoch: Epoch, appended: int, durable: int) -> bool:
        """A member says how far it has the log. False when the word is of another epoch or session.

        The first word of a member that was never greeted counts as its greeting.
        """
        peer = self._peers.get(center) or self.peer(center)
        if epoch != self.epoch:
            return False
        if session != peer.session:
            if peer.session:
                return False
            peer.begin(session)
        peer.appended = max(peer.appended, appended)
        peer.durable = max(peer.durable, durable)
        return True

    def forget(self, center: str) -> None:
        """Its session ended: its word counts no more for new commits until it speaks again."""
        peer = self.peer(center)
        peer.appended = 0
        peer.durable = 0

    def advance(self) -> bool:
        """Commit what the whole ack set has; whether the commit position moved."""
        bound = self._durable_bound() if self._is_fsync else self._appended_bound()
        if bound <= self.commit:
            return False
        self.commit = bound
        return True

    def flush_bound(self) -> int:
        """A FLUSH may be answered for records up to here: committed, and durable on the whole ack set."""
        bound = self._durable_bound()
        return min(self.commit, bound)

    def apply_bound(self, limit: int | None = None) -> int:
        """The image may hold records up to here: committed, durable in the own journal, within `limit`."""
        return apply_bound(self.commit, self.durable, limit)

    def _appended_bound(self) -> int:
        only = self._only
        if only is not None:
            return min(self.appended, only.appended)
        bound = self.appended
        for peer in self._needed:
            bound = min(bound, peer.appended)
        return bound

    def _durable_bound(self) -> int:
        only = self._only
        if only is not None:
            return min(self.durable, only.durable)
        bound = self.durable
        for peer in self._needed:
            bound = min(bound, peer.durable)
        return bound
