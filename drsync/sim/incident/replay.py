"""The recorded questions put to the rules of this version, and what follows from the answers."""

from dataclasses import dataclass, replace

from drsync.core import eligibility
from drsync.core.eligibility import Verdict
from drsync.core.observation import Observation
from drsync.core.plan import Act, CommitCharter, Done, Plan, RecordIntent, Refuse, Wait
from drsync.core.procedure import Way, decide
from drsync.core.safety import Reason
from drsync.model.charter import IntentKind
from drsync.model.epoch import NEVER
from drsync.sim.incident.record import Case, Incident, Kept


@dataclass(frozen=True, slots=True)
class Difference:
    """A decision that this version would have made otherwise: `now` is what it says."""

    kept: Kept
    now: Plan


@dataclass(frozen=True, slots=True)
class Candidate:
    """Whether a member could have opened the group with nobody's consent.

    Attributes:
        center: the member.
        verdict: what the rules say of an opening there without an accepted loss.
        is_new: nothing was ever written.
        mates: members in sync that answered and did not restart uncleanly, and lack nothing it lacks.
    """

    center: str
    verdict: Verdict
    is_new: bool
    mates: tuple[str, ...]

    @property
    def needs_word(self) -> bool:
        """Whether it could open if a person accepted the loss."""
        reasons = self.verdict.reasons
        return bool(reasons) and all(reason.override for reason in reasons)


def differences(incident: Incident) -> list[Difference]:
    """What this version would have decided otherwise, in order."""
    found = []
    for case in incident.cases:
        for kept in case.decisions:
            now = answer(kept.way, kept.seen)
            if not is_same(kept.plan, now):
                found.append(Difference(kept, now))
    return found


def answer(way: Way, seen: Observation) -> Plan:
    """What this version says; where it breaks on the question, that is its answer."""
    try:
        return decide(way, seen)
    except Exception as error:  # noqa: BLE001  # a bug in the rules is what one wants to be told here
        return Refuse((Reason("bug", f"The rules break on it: {error!r}.", "Report it."),))


def is_same(then: Plan, now: Plan) -> bool:
    """Whether two plans mean the same. Sentences are for people and may become better ones."""
    match then, now:
        case Wait(), Wait():
            return then.until == now.until
        case Refuse(), Refuse():
            return [why.code for why in then.reasons] == [why.code for why in now.reasons]
        case Done(), Done():
            return True
        case _:
            return then == now


def candidates(seen: Observation) -> list[Candidate]:
    """Every member, judged as if an unplanned opening there had been asked for."""
    found = []
    for name in seen.members:
        asked = replace(seen, kind=IntentKind.FAILOVER, target=name, accept_loss=False)
        verdict = eligibility.judge(asked)
        heard = eligibility.voices(asked)
        mates = tuple(
            mate
            for mate in sorted(seen.charter.in_sync)
            if mate in heard
            and not (heard[mate].amnesic or heard[mate].unclean)
            and eligibility.belongs(seen.charter, heard[mate]) <= verdict.position
        )
        found.append(Candidate(name, verdict, seen.charter.epoch == NEVER, mates))
    return found


def deciding(case: Case) -> Kept | None:
    """The decision that settled it: the one that began it, or refused it."""
    ahead = [kept for kept in case.decisions if kept.way is Way.FORWARD]
    for kept in ahead:
        plan = kept.plan
        if isinstance(plan, Refuse) or (isinstance(plan, Act) and isinstance(plan.commands[0], RecordIntent)):
            return kept
    return ahead[0] if ahead else None


def commits(plan: Plan) -> CommitCharter | None:
    """The commit in a plan, if it has one."""
    commands = plan.commands if isinstance(plan, Act) else ()
    return next((command for command in commands if isinstance(command, CommitCharter)), None)
