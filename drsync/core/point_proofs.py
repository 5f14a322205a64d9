"""What proofs of recovery points come to: which count, which is nearest, and what to say to people.

Only judgement about proofs lives here; which point is tried next is `core.self_drill`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from drsync.model.point_proof import Outcome, PointKey, PointProof
from drsync.model.position import Position

FAILURES_TOLD = 3  # because more of them say nothing new


def holding(proofs: Sequence[PointProof], position_at: Callable[[int], Position | None]) -> list[PointProof]:
    """Those that are about this log: of the very position that it has there. Oldest point first."""
    held = [proof for proof in proofs if position_at(proof.position.seq) == proof.position]
    return sorted(held, key=lambda proof: (proof.position.seq, proof.at_us))


def by_point(proofs: Sequence[PointProof]) -> dict[PointKey, PointProof]:
    """One for each point: the newest verdict; what is not known never replaces one."""
    found: dict[PointKey, PointProof] = {}
    for proof in proofs:
        known = found.get(proof.key)
        if known is None or _rank(proof) >= _rank(known):
            found[proof.key] = proof
    return found


def _rank(proof: PointProof) -> tuple[bool, int]:
    return proof.outcome is not Outcome.UNKNOWN, proof.at_us


def compared(by_center: Mapping[str, Sequence[PointProof]]) -> dict[str, dict[PointKey, PointProof]]:
    """By center and point. Where centers read different content at one position, nothing of it is proved.

    With three centers the one that two others disagree with has failed; else each of them has, because
    nobody knows which is right.
    """
    found = {center: by_point(proofs) for center, proofs in by_center.items()}
    digests: dict[tuple[Position, str], dict[str, str]] = {}
    for center in sorted(found):
        for proof in found[center].values():
            if proof.digest and proof.outcome is Outcome.PROVED:
                kind = proof.digest.partition(":")[0]
                digests.setdefault((proof.position, kind), {})[center] = proof.digest
    for (position, _), told in digests.items():
        if len(set(told.values())) < 2:  # noqa: PLR2004  # two that differ
            continue
        for center, digest in told.items():
            same = sum(other == digest for other in told.values())
            if 2 * same > len(told):
                continue
            others = " and ".join(name for name in told if told[name] != digest)
            key = next(key for key, proof in found[center].items() if proof.position == position)
            found[center][key] = replace(
                found[center][key],
                outcome=Outcome.FAILED,
                text=f"the content differs from that of the same point at {others}",
            )
    return found


@dataclass(frozen=True, slots=True)
class Standing:
    """What proofs say of a center, in one look.

    Attributes:
        proved: the newest point that is proved; None: there is none.
        failed: points above it that failed, newest first.
    """

    proved: PointProof | None
    failed: tuple[PointProof, ...] = ()

    @property
    def is_failing(self) -> bool:
        """Nothing newer is known to be well."""
        return bool(self.failed)


def standing(proofs: Sequence[PointProof]) -> Standing:
    """Of one center; several about a point are put together first."""
    known = sorted(by_point(proofs).values(), key=lambda proof: proof.position.seq)
    proved = next((p for p in reversed(known) if p.outcome is Outcome.PROVED), None)
    above = proved.position.seq if proved is not None else -1
    failed = [p for p in known if p.outcome is Outcome.FAILED and p.position.seq > above]
    return Standing(proved, tuple(reversed(failed)))


def nearest(proofs: Sequence[PointProof], seq: int) -> PointProof | None:
    """The newest proved point at or before a record, else the oldest one after it."""
    proved = sorted(
        (p for p in by_point(proofs).values() if p.outcome is Outcome.PROVED), key=lambda p: p.position.seq
    )
    before = [proof for proof in proved if proof.position.seq <= seq]
    return before[-1] if before else next(iter(proved), None)


def failing_words(center: str, found: Standing, failures: int = 0) -> str:
    """One line about points that fail; empty when none does. `failures`: how many, if not all are told."""
    if not found.failed:
        return ""
    newest, count = found.failed[0], max(failures, len(found.failed))
    what = "the newest point tried" if count == 1 else f"the newest {count} points tried"
    verb = "fails" if count == 1 else "fail"
    good = "no older one is proved"
    if found.proved is not None:
        good = f"record {found.proved.position.seq} before it is proved"
    return f"{what} at {center} {verb} the {newest.check} check ({newest.text}); {good}"
