"""What a procedure answers: do this, wait, no, or done.

Only the vocabulary lives here. A plan is computed from an observation alone; the caller performs the
commands of an `Act` in order, observes again and asks again. Stopping between any two commands is
therefore harmless: the next plan goes on from what is there.
"""

from dataclasses import dataclass

from drsync.core.safety import Reason
from drsync.model.charter import Charter, Intent
from drsync.model.epoch import Epoch
from drsync.model.position import History


@dataclass(frozen=True, slots=True)
class RecordIntent:
    """Compare-and-set the charter so that it bears `intent`; expected is version `intent.from_version`."""

    intent: Intent


@dataclass(frozen=True, slots=True)
class Seal:
    """A member durably promises to refuse every epoch below `epoch`, then states its position."""

    center: str
    epoch: Epoch


@dataclass(frozen=True, slots=True)
class Freeze:
    """The owner holds new writes and drains those it has."""

    center: str


@dataclass(frozen=True, slots=True)
class Release:
    """The frozen owner stops answering reads and gives its lease back."""

    center: str
    epoch: Epoch


@dataclass(frozen=True, slots=True)
class Prepare:
    """The candidate cuts its log to `history`, fetches what `donors` hold beyond it, and syncs.

    It carries this out only while it has promised exactly `epoch`. Cutting adopts the history, so the epoch
    it follows becomes that of the last start (it never sinks); what may have been acknowledged is kept aside
    as a fork before it is cut (`compare.is_droppable`).
    """

    center: str
    epoch: Epoch
    history: History
    donors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CommitCharter:
    """The one commit point: from here the procedure only rolls forward."""

    expected_version: int
    charter: Charter


@dataclass(frozen=True, slots=True)
class OpenGroup:
    """The member that the charter names opens the group in the charter's epoch."""

    center: str
    charter: Charter


@dataclass(frozen=True, slots=True)
class VoidIntent:
    """Compare-and-set the charter without the intent: nothing was touched yet."""

    expected_version: int
    charter: Charter


@dataclass(frozen=True, slots=True)
class FinishIntent:
    """Compare-and-set the charter without the intent: the procedure is complete."""

    expected_version: int
    charter: Charter


Command = (
    RecordIntent | Seal | Freeze | Release | Prepare | CommitCharter | OpenGroup | VoidIntent | FinishIntent
)


@dataclass(frozen=True, slots=True)
class Act:
    """Perform the commands in order, then observe again. A command that fails ends the round."""

    commands: tuple[Command, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do now. `until` is an instant of the caller's clock in seconds, None when unknown."""

    reason: str
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Refuse:
    """No, for these reasons; there is at least one. Nothing was changed by this answer."""

    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Done:
    """The procedure is complete, or there was nothing to do."""

    outcome: str


Plan = Act | Wait | Refuse | Done
