"""Recovery points and forks opened by people: ask the agent, keep what is open, tell how it ended.

An agent keeps openings in memory. What it tells with its heartbeats is compared with what is on record here,
so that an opening that is gone without a word is told as well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from drsync.adapters.sqlite.evidence import SqliteEvidence
from drsync.adapters.sqlite.openings import KeptOpening, SqliteOpenings
from drsync.coordinator import forms
from drsync.coordinator.everywhere import ask_everywhere, listed
from drsync.coordinator.groups import Groups
from drsync.coordinator.journal import Journal
from drsync.coordinator.operations import Spawn
from drsync.coordinator.proofs import Proofs
from drsync.coordinator.sessions import SessionTable
from drsync.core.point_proofs import nearest
from drsync.core.points import Reach, Wanted, choose
from drsync.model.charter import Charter
from drsync.model.errors import DrsyncError, RefusedError, TransientError, UsageError
from drsync.model.opening import Opening, Why
from drsync.model.point_proof import Outcome, PointKey
from drsync.ports.clock import Clock, Random

Json = dict[str, object]

OPEN_TIMEOUT_S = 120.0  # because what is in the journal up to the point is indexed first
CLOSE_TIMEOUT_S = 15.0  # because closing waits for nothing but running requests
US_PER_S = 1_000_000
ENDED_SHOWN_US = 24 * 3600 * US_PER_S  # because whoever comes on shift asks what happened since yesterday
TOLD = frozenset({Why.EXPIRED, Why.GIVEN_UP, Why.RESTARTED})
"""Ends that nobody asked for: shown in the status for a day."""


class Openings:
    """One per coordinator process. Methods raise UsageError for a name that nobody bears.

    Attributes:
        proofs: what is known of the points.
    """

    def __init__(
        self,
        kept: SqliteOpenings,
        evidence: SqliteEvidence,
        sessions: SessionTable,
        groups: Groups,
        journal: Journal,
        clock: Clock,
        random: Random,
        spawn: Spawn,
    ) -> None:
        """`spawn` starts a task that lives as long as the process."""
        self._kept = kept
        self._evidence = evidence
        self._sessions = sessions
        self._groups = groups
        self._journal = journal
        self._clock = clock
        self._random = random
        self._spawn = spawn
        self._asking: set[str] = set()
        self.proofs = Proofs(sessions, evidence, journal)

    # --- what people order

    async def open(self, group: str, form: forms.OpenForm) -> Json:
        """Have a point or a fork served; what is open now. Raises as a question to that center."""
        charter = self._groups.find(group)
        center = self._groups.member(charter, form.at)
        opening_id = f"open-{self._random.hex128()[:10]}"
        expected = Opening(opening_id, form.name, charter.group.id, center, fork=form.fork)
        asked = KeptOpening(expected, {}, form.actor, form.reason, self._clock.wall_us())
        self._kept.keep(asked)  # before it is asked for: whatever happens, it is on record
        self._asking.add(opening_id)
        body: Json = {
            "group": charter.group.id,
            "id": opening_id,
            "point": form.point,
            "time_us": form.time_us,
            "name": form.name,
            "quota_bytes": form.quota_bytes,
            "lifetime_s": form.lifetime_s,
            "fork": form.fork,
        }
        try:
            answer = await self._sessions.call(center, "opening.open", body, OPEN_TIMEOUT_S)
        except DrsyncError as error:
            text, now = str(error), self._clock.wall_us()
            self._kept.keep(replace(asked, ended_us=now, why=Why.NEVER_OPENED, text=text))
            if error.code == "no_such_point":
                raise await self._with_others(charter, center, form, text) from error
            raise
        finally:
            self._asking.discard(opening_id)
        opening, volumes = Opening.read(_dict(answer.get("opening"))), _texts(answer.get("volumes"))
        kept = replace(asked, opening=opening, volumes=volumes)
        self._kept.keep(kept)
        said = f": {form.reason}" if form.reason else ""
        text = f"{opening.name} at {center}: {_words(opening)}, asked for by {form.actor or 'nobody'}{said}"
        self._journal.about(charter, "opening_opened", text, center)
        more = {key: answer.get(key) for key in ("asked_us", "next_us", "left_out")}
        proved = await self._proof(charter, opening)
        return {"group": charter.group.name, **self._shown(kept), **proved, **more}

    async def _with_others(
        self, charter: Charter, center: str, form: forms.OpenForm, text: str
    ) -> RefusedError:
        """The refusal of a center, with those that hold such a point."""
        wanted = Wanted(form.point, form.time_us)
        found = await ask_everywhere(self._sessions, charter, "group.points", "points")
        others = [name for name, told in found.items() if name != center and _has(name, told, wanted)]
        remedy = "drsync points lists what can be opened, and where."
        if others:
            remedy = f"It can be opened at {' and '.join(others)}: --at {others[0]}."
        return RefusedError(text, code="no_such_point", remedy=remedy)

    async def close(self, group: str, name: str, form: forms.CloseForm) -> Json:
        """Have one closed. Raises RefusedError: several centers have one of that name."""
        charter = self._groups.find(group)
        kept = self._named(charter, name, form.at)
        opening = kept.opening
        by = f"closed by {form.actor or 'nobody'}" + (f": {form.reason}" if form.reason else "")
        body: Json = {"group": charter.group.id, "name": opening.id, "text": by}
        try:
            await self._sessions.call(opening.center, "opening.close", body, CLOSE_TIMEOUT_S)
        except UsageError as error:
            if error.code != "unknown_opening":
                raise
            by += "; it was not open any more"
        self._end(charter, kept, Why.CLOSED, by)
        return {"group": charter.group.name, **self._shown(kept), "closed": True}

    def _named(self, charter: Charter, name: str, at: str) -> KeptOpening:
        center = self._groups.member(charter, at) if at else ""
        known = [kept for kept in self._kept.open(charter.group.id) if center in ("", kept.opening.center)]
        found = [kept for kept in known if name in (kept.opening.name, kept.opening.id)]
        if len(found) > 1:
            centers = ", ".join(sorted(kept.opening.center for kept in found))
            raise RefusedError(
                f"{name} is open at {centers}", code="ambiguous", remedy="Say which one: --at CENTER."
            )
        if not found:
            names = ", ".join(sorted(kept.opening.name for kept in known)) or "none"
            raise UsageError(
                f"no opening of {charter.group.name} is called {name[:64]}; open are: {names}",
                code="unknown_opening",
            )
        return found[0]

    # --- what agents tell

    def heard(
        self,
        charter: Charter,
        center: str,
        told: Sequence[forms.OpeningWord],
        ended: Sequence[forms.EndedWord],
    ) -> None:
        """A heartbeat of a center told what is open there and what has ended."""
        here = {word.id: Opening.read(word.model_dump()) for word in told}
        ends = {word.id: word for word in ended}
        for kept in self._kept.open(charter.group.id):
            opening = kept.opening
            if opening.center != center or opening.id in self._asking:
                continue
            if opening.id in ends:
                word = ends[opening.id]
                self._end(charter, kept, Why(word.why), word.text)
            elif opening.id not in here:
                self._vanished(charter, kept)
            elif not kept.volumes and here[opening.id] != opening:
                self._kept.keep(replace(kept, opening=here[opening.id]))  # we died before the answer came
        for opening_id in sorted(here.keys() - ends.keys() - self._asking):
            self._adopt(center, here[opening_id])

    def _vanished(self, charter: Charter, kept: KeptOpening) -> None:
        opening, center = kept.opening, kept.opening.center
        if 0 < opening.until_us <= self._clock.wall_us():
            self._end(charter, kept, Why.EXPIRED, "its time was over")
        elif not opening.until_us:
            self._end(charter, kept, Why.NEVER_OPENED, f"{center} did not open it")
        elif opening.quota_bytes or opening.fork:
            lost = " and what was written to it is gone" if opening.quota_bytes else ""
            text = f"the agent of {center} was restarted{lost}; open it again"
            self._end(charter, kept, Why.RESTARTED, text)
        else:
            self._asking.add(opening.id)
            _ = self._spawn(self._restore(charter, kept))

    async def _restore(self, charter: Charter, kept: KeptOpening) -> None:
        """A read-only one costs nothing to open again, at the same place under the same names."""
        opening, center = kept.opening, kept.opening.center
        body: Json = {
            "group": opening.group_id,
            "id": opening.id,
            "point": str(opening.seq),
            "name": opening.name,
            "lifetime_s": max(1.0, (opening.until_us - self._clock.wall_us()) / US_PER_S),
        }
        try:
            answer = await self._sessions.call(center, "opening.open", body, OPEN_TIMEOUT_S)
            again = Opening.read(_dict(answer.get("opening")))
            if again.seq != opening.seq:  # a checkpoint whose name is that number
                named: Json = {"group": opening.group_id, "name": opening.id}
                await self._sessions.call(center, "opening.close", named, CLOSE_TIMEOUT_S)
                raise RefusedError(f"record {opening.seq} is not found there any more")
        except TransientError:
            return  # the next heartbeat tries again
        except DrsyncError as error:
            self._end(charter, kept, Why.RESTARTED, f"the agent of {center} was restarted, and: {error}")
        else:
            self._kept.keep(replace(kept, volumes=_texts(answer.get("volumes"))))
            text = f"{opening.name} at {center} is open again: the agent was restarted"
            self._journal.about(charter, "opening_restored", text, center)
        finally:
            self._asking.discard(opening.id)

    def _adopt(self, center: str, opening: Opening) -> None:
        """One that is open though its answer was lost, or that an older store knew."""
        known = self._kept.find(opening.id)
        if known is None or known.why is Why.NEVER_OPENED:
            asked = known or KeptOpening(opening, {}, asked_us=opening.opened_us)
            self._kept.keep(
                replace(asked, opening=replace(opening, center=center), ended_us=0, why=None, text="")
            )

    def _end(self, charter: Charter, kept: KeptOpening, why: Why, text: str) -> None:
        opening = kept.opening
        self._kept.keep(replace(kept, ended_us=self._clock.wall_us(), why=why, text=text))
        if why is not Why.NEVER_OPENED:
            said = f"{opening.name} at {opening.center} ({_words(opening)}): {text}"
            self._journal.about(charter, f"opening_{why.value}", said, opening.center)

    # --- looking

    def list(self, charter: Charter) -> list[Json]:
        """What is open of a group; what is only asked for is not."""
        return [self._shown(kept) for kept in self._kept.open(charter.group.id) if kept.opening.opened_us]

    def about(self, charter: Charter) -> Json:
        """For the status: what is open, and what ended since yesterday without anybody's asking."""
        since_us = self._clock.wall_us() - ENDED_SHOWN_US
        ended = [kept for kept in self._kept.ended(charter.group.id, since_us) if kept.why in TOLD]
        return {"openings": self.list(charter), "openings_ended": [self._shown(kept) for kept in ended]}

    def _shown(self, kept: KeptOpening) -> Json:
        opening = kept.opening
        return {
            **opening.fields(),
            "volumes": dict(kept.volumes),
            "actor": kept.actor,
            "reason": kept.reason,
            "ended_us": kept.ended_us,
            "why": kept.why.value if kept.why is not None else "",
            "text": kept.text,
        }

    async def _proof(self, charter: Charter, opening: Opening) -> Json:
        """What is known of the point, and of which near it more is known, at that center."""
        if opening.fork or not opening.is_point:
            return {"proof": None, "nearest_proved": None}
        known = await self.proofs.at(charter, opening.center)
        proof = known.get(PointKey(opening.seq, opening.time_us))
        is_proved = proof is not None and proof.outcome is Outcome.PROVED
        better = None if is_proved else nearest(list(known.values()), opening.seq)
        return {
            "proof": proof.fields() if proof is not None else None,
            "nearest_proved": better.fields() if better is not None else None,
        }


@dataclass(frozen=True, slots=True)
class _Point:
    """As an agent lists it."""

    seq: int
    time_us: int
    name: str
    is_app_consistent: bool


def _has(center: str, told: Json, wanted: Wanted) -> bool:
    """Whether a center that listed its points could open the one that is wanted."""
    points = [
        _Point(
            int(str(p.get("seq", 0))),
            int(str(p.get("time_us", 0))),
            str(p.get("name", "")),
            p.get("app") is True,
        )
        for p in listed(told, "points")
    ]
    low, high = (points[0].seq, points[-1].seq) if points else (1, 0)
    try:
        choose(wanted, Reach(center, points, low, high), lambda seq: seq)
    except RefusedError:
        return False
    return True


def _words(opening: Opening) -> str:
    """What was opened, for an event."""
    if opening.fork:
        return f"fork {opening.fork} up to record {opening.seq}"
    point = f"point {opening.point}, " if opening.point else ""
    return f"{point}record {opening.seq}" + ("" if opening.quota_bytes == 0 else ", writable")


def _dict(body: object) -> Json:
    return body if isinstance(body, dict) else {}


def _texts(body: object) -> Mapping[str, str]:
    return {str(key): str(value) for key, value in _dict(body).items()}
