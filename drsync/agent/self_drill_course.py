"""How the self-drills of one group go at this center, and which proofs of its points still count."""

from dataclasses import dataclass, field

from drsync.agent.proof_book import ProofBook
from drsync.core.point_proofs import FAILURES_TOLD, Standing, holding, standing
from drsync.engine.member import Member
from drsync.model.errors import DrsyncError
from drsync.model.point_proof import TEXT_MAX, Outcome, PointProof

Json = dict[str, object]


@dataclass(slots=True)
class Course:
    """How the self-drills of one group go.

    Attributes:
        why: what is waited for, in words.
        began_us: label of when this process began to look after the group.
        looked_at: instant of the last check, so that every group has its turn.
        stored: bytes that were too many to be read; 0: not known.
        not_before: instant before which nothing is tried here.
        checks, failures: since this process began; `seconds` is what they took.
        is_late: nothing was proved for longer than the policy allows.
        holding: of the proofs `looked_up`, those about the log in its `lineage`.
        stood: what so many of these came to.
    """

    book: ProofBook
    why: str = "not begun yet"
    began_us: int = 0
    looked_at: float = 0.0
    stored: int = 0
    not_before: float = 0.0
    checks: int = 0
    failures: int = 0
    seconds: float = 0.0
    is_late: bool = False
    looked_up: tuple[PointProof, ...] | None = None
    lineage: int = -1
    holding: list[PointProof] = field(default_factory=list)
    stood: tuple[list[PointProof], int, Standing] | None = None

    def held(self, member: Member) -> list[PointProof]:
        """Proofs that are about this log, and about points that can still be opened; oldest point first."""
        copy, proofs = member.copy, self.book.proofs
        if copy.is_switching:
            return []
        if self.looked_up is not proofs or self.lineage != copy.lineage:  # else it costs reads each second
            try:
                self.holding = holding(proofs, copy.journal.position_at)
            except DrsyncError:
                return []
            self.looked_up, self.lineage = proofs, copy.lineage
        low = copy.volumes.reached
        return [proof for proof in self.holding if proof.position.seq >= low]

    def standing(self, member: Member) -> Standing:
        """Of the proofs that are held; made anew only when these change, because it is told each second."""
        held = self.held(member)
        if self.stood is None or self.stood[0] is not self.holding or self.stood[1] != len(held):
            self.stood = (self.holding, len(held), standing(held))
        return self.stood[2]

    @property
    def proved_us(self) -> int:
        """Label of the newest check that proved a point; 0: none did. The point may be gone by now."""
        proved = (proof.at_us for proof in self.book.proofs if proof.outcome is Outcome.PROVED)
        return max(proved, default=0)

    def told(self, member: Member) -> Json:
        """For people: the newest that is proved, what failed above it, and why nothing runs."""
        found = self.standing(member)
        return {
            "check": member.copy.spec.policy.self_drill.check.value,
            "proved": found.proved.fields() if found.proved is not None else None,
            "failed": [proof.fields() for proof in found.failed[:FAILURES_TOLD]],
            "failures": len(found.failed),
            "why": self.why[:TEXT_MAX],
            "is_late": self.is_late,
        }
