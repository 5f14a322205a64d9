"""What is known of recovery points: what centers proved by themselves, what drills proved, do they agree?

Agents keep their proofs; here is what they last told, put beside the drills on record.
"""

from collections.abc import Sequence

from drsync.adapters.sqlite.evidence import SqliteEvidence
from drsync.coordinator import forms
from drsync.coordinator.everywhere import TIMEOUT_S, ask_everywhere, listed
from drsync.coordinator.journal import Journal
from drsync.coordinator.sessions import SessionTable
from drsync.core import point_proofs
from drsync.core.point_proofs import Standing
from drsync.model.charter import Charter
from drsync.model.drill import Content, DrillReport, Verdict
from drsync.model.errors import DrsyncError
from drsync.model.point_proof import DRILL, TEXT_MAX, Outcome, PointKey, PointProof
from drsync.model.position import NO_CHAIN, Position

Json = dict[str, object]

DRILLS_SEARCHED = 100  # because a proof that is older is of a point that is gone
COMPARED_MAX = 64  # positions of a group, because centers prove the same one within minutes
NOT_TRIED = Standing(None)


class Proofs:
    """One per coordinator process."""

    def __init__(self, sessions: SessionTable, evidence: SqliteEvidence, journal: Journal) -> None:
        self._sessions = sessions
        self._evidence = evidence
        self._journal = journal
        self._words: dict[tuple[str, str], forms.SelfDrillWord] = {}
        self._standings: dict[tuple[str, str], Standing] = {}
        self._read: dict[str, dict[Position, dict[str, PointProof]]] = {}
        self._differing: dict[str, str] = {}

    # --- what agents tell

    def heard(self, charter: Charter, center: str, word: forms.SelfDrillWord | None) -> None:
        """A heartbeat of a center told what it proved; None: it proves nothing by itself."""
        key = (charter.group.id, center)
        before, known = self._words.get(key), self._standings.get(key, NOT_TRIED)
        if word is None:
            self._words.pop(key, None)
            self._standings.pop(key, None)
            return
        self._words[key] = word
        if before is not None and (before.proved, before.failed) == (word.proved, word.failed):
            now = known
        else:
            proved = read([word.proved] if word.proved is not None else [])
            now = Standing(next(iter(proved), None), tuple(read(word.failed)))
            self._standings[key] = now
        self._tell(charter, center, known, now, word.failures)
        if word.is_late and not (before is not None and before.is_late):
            text = f"{center} has proved no point for longer than the group allows: {word.why}"
            self._journal.about(charter, "self_drill_late", text, center)
        if now.proved is not None and now.proved != known.proved:
            self._compare(charter, center, now.proved)

    def _tell(self, charter: Charter, center: str, before: Standing, now: Standing, failures: int) -> None:
        """Once when points begin to fail, and again while it gets worse; `why` tells it all the time."""
        if len(now.failed) > len(before.failed):
            text = point_proofs.failing_words(center, now, failures)
            self._journal.about(charter, "points_failing", text, center)
        if before.failed and not now.failed and now.proved is not None:
            text = f"record {now.proved.position.seq} at {center} is proved: newer than those that failed"
            self._journal.about(charter, "points_proved_again", text, center)

    def _compare(self, charter: Charter, center: str, proof: PointProof) -> None:
        """Content of one point at two centers is equal, or it is told at once."""
        group_id = charter.group.id
        known = self._read.setdefault(group_id, {})
        told = known.setdefault(proof.position, {})
        told[center] = proof
        while len(known) > COMPARED_MAX:
            del known[min(known, key=lambda position: position.seq)]
        if len(told) < 2:  # noqa: PLR2004  # there is nothing to compare with
            return
        found = point_proofs.compared({name: [one] for name, one in told.items()})
        wrong = [name for name in sorted(found) if found[name][proof.key].outcome is Outcome.FAILED]
        if not wrong:
            self._differing.pop(group_id, None)
            return
        who, others = " and ".join(wrong), " and ".join(name for name in sorted(told) if name not in wrong)
        seq = proof.position.seq
        text = f"the content of record {seq} differs between {who}"
        if others:
            text = f"the content of record {seq} at {who} differs from that at {others}"
        if self._differing.get(group_id) != text:
            self._differing[group_id] = text
            self._journal.about(charter, "points_differ", text, wrong[0])

    # --- questions

    def standing(self, group_id: str, center: str) -> Standing:
        """What a center last told."""
        return self._standings.get((group_id, center), NOT_TRIED)

    def _failing(self, group_id: str, center: str) -> str:
        word = self._words.get((group_id, center))
        failures = word.failures if word is not None else 0
        return point_proofs.failing_words(center, self.standing(group_id, center), failures)

    def lines(self, charter: Charter) -> list[tuple[str, str]]:
        """What is wrong with points, and what to do, the worst first."""
        group, found = charter.group, []
        if charter.group.id in self._differing:
            remedy = f"drsync drill run {group.name} --at CENTER compares with the owner."
            found.append((self._differing[group.id], remedy))
        for member in group.members:
            words = self._failing(group.id, member.name)
            if words:
                found.append((words, f"drsync points {group.name} shows which; look at it with drsync open."))
            word = self._words.get((group.id, member.name))
            if word is not None and word.is_late and member.name != charter.owner:
                what = f"{member.name} has proved no point for longer than max_age: {word.why}"
                found.append((what, f"drsync drill run {group.name} --at {member.name} proves one now."))
        return found

    def about(self, charter: Charter, center: str) -> Json | None:
        """For the status: what a center last told; None: nothing."""
        word = self._words.get((charter.group.id, center))
        return word.model_dump() if word is not None else None

    def about_loss(self, charter: Charter, target: str) -> Json:
        """For a loss statement: the newest proved point at the target, and what failed above it."""
        found = self.standing(charter.group.id, target)
        word = self._words.get((charter.group.id, target))
        return {
            "proved": found.proved.fields() if found.proved is not None else None,
            "failures": word.failures if word is not None else 0,
            "text": self._failing(charter.group.id, target),
        }

    def by_trust(self, charter: Charter, centers: Sequence[str]) -> list[str]:
        """Those whose newest points are not known to fail come first; else as they were."""
        return sorted(centers, key=lambda name: self.standing(charter.group.id, name).is_failing)

    async def at(self, charter: Charter, center: str) -> dict[PointKey, PointProof]:
        """Of the points that a center can open now. Only that one is asked: a silent one delays nobody."""
        points = await self._ask(charter, center, "group.points", "points")
        told = {center: read(await self._ask(charter, center, "point.proofs", "proofs"))}
        for by_center in self._read.get(charter.group.id, {}).values():
            for other, proof in by_center.items():
                if other != center:
                    told.setdefault(other, []).append(proof)
        told[center].extend(self._of_drills(charter, center))
        held = {key_of(point) for point in points}
        return {key: proof for key, proof in point_proofs.compared(told)[center].items() if key in held}

    async def points(self, charter: Charter) -> dict[str, Json]:
        """Recovery points by center, each with its proof; see ``GET /v1/groups/{g}/points``."""
        centers = await ask_everywhere(self._sessions, charter, "group.points", "points")
        told = {
            center: read(await self._ask(charter, center, "point.proofs", "proofs"))
            for center, answer in centers.items()
            if "error" not in answer  # who did not answer just now is not waited for again
        }
        for center, known in told.items():
            known.extend(self._of_drills(charter, center))
        proofs = point_proofs.compared(told)
        for center, answer in centers.items():
            for point in listed(answer, "points"):
                proof = proofs.get(center, {}).get(key_of(point))
                if proof is not None:
                    point["proof"] = proof.fields()
            answer["self_drill"] = self.about(charter, center)
        return centers

    async def _ask(self, charter: Charter, center: str, method: str, key: str) -> list[Json]:
        """One list of one center; empty if it does not answer, or knows no such question."""
        try:
            answer = await self._sessions.call(center, method, {"group": charter.group.id}, TIMEOUT_S)
        except DrsyncError:
            return []
        return listed(answer, key)

    def _of_drills(self, charter: Charter, center: str) -> list[PointProof]:
        return [
            proof
            for drill in self._evidence.drills(DRILLS_SEARCHED)
            if (drill.group, drill.center) == (charter.group.name, center)
            and (proof := of_drill(drill)) is not None
        ]


def of_drill(report: DrillReport) -> PointProof | None:
    """A drill as a proof of the point it opened; None: it did not come to it."""
    if report.point is None:
        return None
    outcome = Outcome.UNKNOWN
    if report.verdict is Verdict.PASSED or report.content is Content.EQUAL:
        outcome = Outcome.PROVED
    elif report.content is Content.DIFFERENT:
        outcome = Outcome.FAILED
    content = report.content.value.replace("_", " ")
    return PointProof(
        Position(report.epoch, report.position, NO_CHAIN),
        report.point.time_us,
        outcome,
        DRILL,
        "content",
        report.ended_us,
        round(report.total_s, 3),
        f"drill {report.id[:12]}: {report.verdict.value}, content {content}"[:TEXT_MAX],
    )


def read(bodies: Sequence[Json]) -> list[PointProof]:
    """Those that make sense; what a later version may say is left out."""
    found = []
    for body in bodies:
        try:
            found.append(PointProof.read(body))
        except ValueError:
            continue
    return found


def key_of(point: Json) -> PointKey:
    """Of a point as an agent lists it."""
    seq, time_us = point.get("seq"), point.get("time_us")
    return PointKey(seq if isinstance(seq, int) else 0, time_us if isinstance(time_us, int) else 0)
