"""What a procedure looks at: one frozen value, the only input of every plan.

Only facts and plain questions about them live here. Dice (ids) and time are fields; a statement is in it
only if its member was reached just now.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from drsync.core.lease import LeaseBook
from drsync.model.charter import Charter, Intent, IntentKind
from drsync.model.copy import CopyState, Statement
from drsync.model.epoch import NEVER, Epoch


@dataclass(frozen=True, slots=True)
class TreeKnown:
    """What the owner last reported of one of its trees.

    Attributes:
        fileset: its name.
        generation: number of the newest one it had cut.
        looked_s: how long before the report its last complete look at the tree began; None: it had not.
        lags_s: center and age of the oldest cut it did not hold; not for centers of which nothing is known.
    """

    fileset: str
    generation: int
    looked_s: float | None
    lags_s: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class LastKnown:
    """The last report of the owner in the charter's epoch; drop it when the epoch changes.

    Attributes:
        commit, tip: positions as sequence numbers.
        time_us: wall-clock label of its last committed batch, microseconds.
        heard_at: when it was heard, seconds of the observer's clock.
        trees: what it said of its trees.
    """

    commit: int
    tip: int
    time_us: int
    heard_at: float
    trees: tuple[TreeKnown, ...] = ()


@dataclass(frozen=True, slots=True)
class Observation:
    """What is known at one moment about one group and the procedure asked for.

    Attributes:
        charter: in force.
        statements: fresh, of the members that answered.
        now: seconds of the observer's clock.
        lease: the store's lease book for the group.
        kind, target, intent_id, actor, reason, accept_loss, started_us: the request; when resuming, those
            of the intent in the charter.
        uuid: random, 32 hex digits; identity of the epoch if this round commits one.
        has_begun: the intent of this request was seen in the charter before.
        begun_epoch: the charter's epoch when that intent was first seen by this observer; NEVER when an
            earlier one saw it first.
        store_ready: empty, or why the charter store may not act yet.
        last_known: the owner's last report.
        frozen_since: when the owner was first seen frozen for this request, seconds; None before.
    """

    charter: Charter
    statements: Mapping[str, Statement]
    now: float
    lease: LeaseBook
    kind: IntentKind
    target: str
    intent_id: str
    uuid: str
    actor: str = ""
    reason: str = ""
    accept_loss: bool = False
    started_us: int = 0
    has_begun: bool = False
    begun_epoch: Epoch = NEVER
    store_ready: str = ""
    last_known: LastKnown | None = None
    frozen_since: float | None = None

    @property
    def candidate(self) -> Statement | None:
        """The target's statement, if it was reached."""
        return self.statements.get(self.target)

    @property
    def members(self) -> tuple[str, ...]:
        """Names of all members of the group."""
        return tuple(member.name for member in self.charter.group.members)

    @property
    def is_recorded(self) -> bool:
        """Whether the charter bears the intent of this request."""
        return self.charter.intent is not None and self.charter.intent.id == self.intent_id

    @property
    def is_open(self) -> bool:
        """Whether the target serves as the charter says."""
        word, charter = self.candidate, self.charter
        if word is None or word.state is not CopyState.OWNER:
            return False
        granted = (charter.owner, charter.owner_session) == (word.center, word.session)
        return granted and word.follow == word.promised == charter.epoch

    def intent(self) -> Intent:
        """The intent this request records on the present charter."""
        return Intent(
            self.intent_id,
            self.kind,
            self.target,
            self.charter.version,
            self.actor,
            self.reason,
            self.accept_loss,
            self.started_us,
        )
