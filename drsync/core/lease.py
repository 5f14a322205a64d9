"""Everything that decides until when an owner may answer, with the store and without it.

Time enters as an argument, in seconds of the caller's own clock that never goes back. Leases bound stale
reads; the safety of writes rests on promises alone (F.14).
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

from drsync.model.charter import Charter
from drsync.model.copy import Statement
from drsync.model.epoch import NEVER, Epoch

DRIFT = 0.01  # because two computers' clocks differ far less than one percent in rate


def owner_view(sent_at: float, seconds: float, drift: float = DRIFT) -> float:
    """Until when the owner may answer: counted from when it *sent* the request that was granted."""
    return sent_at + seconds * (1 - drift)


@dataclass(frozen=True, slots=True)
class LeaseBook:
    """The store's memory of who may answer for one group. A value: every change gives a new one.

    Attributes:
        holder: center that holds the lease; empty when nobody does.
        until: end of the lease by the store's clock.
        released: epoch that the last holder gave way to; nobody gets a lease in a lower one.
    """

    holder: str = ""
    until: float = 0.0
    released: Epoch = NEVER

    @staticmethod
    def started(charter: Charter, now: float) -> "LeaseBook":
        """The store started and remembers nothing: the lease counts as just granted (F.A 8)."""
        return LeaseBook(charter.owner, now + charter.group.policy.lease_s)

    def renew(self, charter: Charter, center: str, epoch: Epoch, now: float) -> "LeaseBook | None":
        """The book with a fresh lease for `center`, or None: only the owner in its epoch gets one."""
        if (center, epoch) != (charter.owner, charter.epoch) or epoch < self.released:
            return None
        return replace(self, holder=center, until=now + charter.group.policy.lease_s)

    def release(self, center: str, epoch: Epoch) -> "LeaseBook":
        """The holder stopped answering, to give way to `epoch`. Without effect for anybody else."""
        if center != self.holder:
            return self
        return LeaseBook("", 0.0, max(self.released, epoch))

    def may_change_owner(self, charter: Charter, new: Charter, now: float) -> bool:
        """Whether the charter may change to `new` now: a change of epoch waits for another holder's lease."""
        if new.epoch == charter.epoch or self.holder in {"", new.owner}:
            return True
        return now >= self.until


def may_go_on_without_store(
    owner: str, mates: Collection[str], confirmations: Collection[str], in_sync: Collection[str] = ()
) -> bool:
    """Failsafe needs company: every configured same-city member, and at least one other (F.A 3).

    And every member of the ack set, `in_sync`: a strict group may have a remote center in it, and whoever
    is in sync can open without asking the owner.
    """
    others = set(confirmations) - {owner}
    return bool(others) and (set(mates) | set(in_sync)) - {owner} <= others


def may_confirm(statement: Statement, epoch: Epoch, *, is_checked: bool) -> bool:
    """Whether a member may confirm to an owner of `epoch` that nobody was promised more.

    A restored or uncleanly restarted member confirms nothing: it may have forgotten (F.A 24).
    `is_checked`: the store has compared its token since it started.
    """
    return is_checked and statement.promised <= epoch and not statement.amnesic and not statement.unclean


def bound_after_start(bound: float, now: float, seconds: float, *, has_rebooted: bool) -> float:
    """Until when a confirmation given by an earlier process binds the one that starts.

    The clock of another boot says nothing here: then it binds for its full length once more.
    """
    return bound_until(now, seconds) if has_rebooted else bound


def bound_until(now: float, seconds: float) -> float:
    """Until when a confirmation given `now` binds the member that gave it; durable before it is spoken."""
    return now + seconds
