"""How a relay follows the owner of a volume: whom it attaches to, when it cuts, and when it must not go on.

Everything that decides this is here; the relay dials, asks and counts time. Epochs come from owners, who
state theirs when an export is opened (`drsync.model.served`), and from the coordinator, who may know better.
The rules, and why they suffice:

* The relay never uses a connection of an epoch below the newest it has heard of. The older connection is cut
  first, so that no answer of a deposed owner comes after one of its successor.
* What was acknowledged in one epoch is in the log of every later owner, unless an opening between the two
  admitted a loss. The relay knows an epoch whose log holds all that its present clients were answered; with
  an owner whose last admitted loss is above it they do not go on, unless the operator said so.
* Clients that come later than the loss, when none of the earlier ones is left, have nothing to miss.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from drsync.model.epoch import NEVER, Epoch, show
from drsync.model.served import Served


class AfterLoss(StrEnum):
    """What becomes of attached clients when acknowledged writes may have been lost."""

    FAIL = "fail"  # every request is answered EIO until all clients have left
    CONTINUE = "continue"


class Offer(StrEnum):
    """What to do with an export that was opened."""

    CARRY = "carry"  # requests go there
    STALE = "stale"  # a deposed owner: close it, look on
    BROKEN = "broken"  # close it; present clients get errors


@dataclass(frozen=True, slots=True)
class Export:
    """What an opened export says of itself.

    Attributes:
        served: its epochs.
        size: bytes.
        is_read_only: writes are refused.
    """

    served: Served
    size: int
    is_read_only: bool = False


@dataclass(frozen=True, slots=True)
class Pursuit:
    """Where the relay of one volume stands.

    Attributes:
        after_loss: what the operator wants.
        newest: epoch heard of.
        export: where requests go now, or went last; None before the first owner.
        is_attached: they do go there.
        users: clients that are there.
        answered_in: an epoch whose log holds all that present clients were answered; NEVER if nothing was.
        broken: why present clients get errors; empty while they do not.
    """

    after_loss: AfterLoss = AfterLoss.FAIL
    newest: Epoch = NEVER
    export: Export | None = None
    is_attached: bool = False
    users: int = 0
    answered_in: Epoch = NEVER
    broken: str = ""

    def heard(self, epoch: Epoch) -> "Pursuit":
        """Somebody knows of `epoch`; if it is newer than what is attached, that is to be cut now."""
        if epoch <= self.newest:
            return self
        return replace(self, newest=epoch, is_attached=False)

    def lost(self) -> "Pursuit":
        """The connection to the owner is gone."""
        return replace(self, is_attached=False)

    def offered(self, export: Export) -> "tuple[Pursuit, Offer]":
        """An export was opened and said this of itself. An attached relay is offered nothing."""
        assert not self.is_attached
        if export.served.epoch < self.newest:
            return self, Offer.STALE
        reason = self.broken or self._why_not(export)
        newest = replace(self, newest=export.served.epoch)
        if reason:
            return replace(newest, broken=reason), Offer.BROKEN
        answered_in = export.served.epoch if self.users else NEVER
        return replace(newest, export=export, is_attached=True, answered_in=answered_in), Offer.CARRY

    def measured(self, export: Export) -> "Pursuit":
        """The owner was opened once more: clients that come from now on hear of a volume that has grown.

        Those that are there go on with the size they know.
        """
        if not self.is_attached or self.export is None or export.served.epoch != self.newest:
            return self
        has_grown = export.size > self.export.size
        return replace(self, export=replace(self.export, size=export.size)) if has_grown else self

    def joined(self) -> "Pursuit":
        """A client has come. It is not let in while others get errors."""
        assert not self.broken
        answered_in = self.answered_in
        if answered_in == NEVER and self.is_attached:
            answered_in = self.newest
        return replace(self, users=self.users + 1, answered_in=answered_in)

    def left(self) -> "Pursuit":
        """A client has gone. With the last one goes everything that could be missed."""
        assert self.users
        if self.users > 1:
            return replace(self, users=self.users - 1)
        return replace(self, users=0, answered_in=NEVER, broken="")

    def _why_not(self, export: Export) -> str:
        """Why present clients cannot go on with this export; empty when they can."""
        if not self.users or self.export is None:
            return ""
        if export.size < self.export.size:
            return f"the volume has {export.size} bytes now and had {self.export.size}"
        if export.is_read_only and not self.export.is_read_only:
            return "the volume is read-only now and was not"
        lost_in = export.served.lost_in
        if self.after_loss is AfterLoss.FAIL and lost_in > self.answered_in > NEVER:
            return (
                f"acknowledged writes may be lost: epoch {show(lost_in)} was opened with an admitted loss, "
                f"and clients were answered in epoch {show(self.answered_in)}"
            )
        return ""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long requests wait. Times in seconds of one clock.

    Attributes:
        timeout_s: from the moment there was no owner, or no answer; 0: for ever.
    """

    timeout_s: float

    def is_over(self, now: float, *, alone_since: float | None, oldest_since: float | None) -> bool:
        """Whether the requests of a connection are to be answered EIO.

        Args:
            now: the present.
            alone_since: when the owner was lost; None while there is one.
            oldest_since: when the oldest unanswered request was first seen; None if there is none.
        """
        since = min((at for at in (alone_since, oldest_since) if at is not None), default=now)
        return self.timeout_s > 0 and now - since >= self.timeout_s
