"""What is the case, in one picture: centers, groups, lag, RPO, and what is waited for.

Only facts put together; nothing here acts. RPO never under-reports: it grows by the coordinator's clock
from the moment the owner was last heard (INV-23).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from drsync import __version__
from drsync.adapters.sqlite.charters import SqliteCharterStore
from drsync.coordinator.authority import Authority
from drsync.coordinator.forms import OwnerReport, PeerWord, resync_words
from drsync.coordinator.lookout import Lookout, is_open
from drsync.coordinator.lookout_view import (
    MISSING,
    about_failback,
    about_pairs,
    about_rejoining,
    pairs_at_risk,
    remedy_for,
    shown,
)
from drsync.coordinator.objectives import Objectives
from drsync.coordinator.objectives_view import about_rto, about_service, rto_lines
from drsync.coordinator.openings import Openings
from drsync.coordinator.sessions import OwnerWord, SessionTable
from drsync.coordinator.trees import about as about_filesets
from drsync.coordinator.trees import worst
from drsync.core import eligibility
from drsync.core.detection import State, Verdict
from drsync.core.generation import is_begun
from drsync.core.objectives import Proof, judge_rpo
from drsync.model import epoch as epochs
from drsync.model.charter import Charter
from drsync.model.copy import CopyState, Statement
from drsync.model.drill import DrillReport
from drsync.model.epoch import NEVER
from drsync.model.group import Mode
from drsync.model.hold import ON_HOLD
from drsync.model.objectives import Standing
from drsync.model.topology import Center
from drsync.ports.clock import Clock
from drsync.wire import control

Json = dict[str, object]

SILENT_S = 3.0  # because heartbeats come each second, and two may be late


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that is waited for. `until_s`: seconds from now, None when unknown."""

    what: str
    who: str = ""
    until_s: float | None = None
    remedy: str = ""


def rpo_actual(charter: Charter, center: str, word: OwnerWord | None, now: float) -> float | None:
    """Seconds of writes that would be lost if only `center` were left; None while nothing is known.

    0 for the owner and for whom every write waits for. Else the owner's word, which ages: what was
    written since it made its report is not known, so all of that time counts, that on the way included.
    """
    if center == charter.owner or center in charter.in_sync:
        return 0.0
    told = word.report.peers[center].rpo_s if word is not None and center in word.report.peers else None
    if word is None or told is None:
        return None
    return told + max(0.0, now - word.made_at)


class Picture:
    """Looks at everything at one moment."""

    def __init__(  # noqa: PLR0913  # it is where everything that can be seen comes together
        self,
        *,
        store: SqliteCharterStore,
        sessions: SessionTable,
        authority: Authority,
        objectives: Objectives,
        lookout: Lookout,
        openings: Openings,
        centers: Mapping[str, Center],
        clock: Clock,
        about: Mapping[str, object],
    ) -> None:
        """`about` goes into the status as it is: facts about the coordinator."""
        self._store = store
        self._sessions = sessions
        self._authority = authority
        self._objectives = objectives
        self._lookout = lookout
        self._openings = openings
        self._trees = objectives.trees
        self._centers = centers
        self._clock = clock
        self._about = about

    def status(self) -> Json:
        """``GET /v1/status``."""
        charters = self._store.all()
        return {
            "coordinator": {"software": __version__, "at_us": self._clock.wall_us(), **self._about},
            "centers": {name: self._center(center, charters) for name, center in self._centers.items()},
            "groups": {charter.group.name: self.group(charter) for charter in charters},
            "forgotten": {
                group_id: {"group": name, "centers": centers}
                for group_id, (name, centers) in sorted(self._authority.unknown_groups().items())
            },
        }

    def _center(self, center: Center, charters: Sequence[Charter]) -> Json:
        agent = self._sessions.agent(center.name)
        volumes: Json = {}
        for charter in charters:
            word = self._fresh_report(charter)
            if word is not None and word.center == center.name and agent is not None:
                volumes |= {f"{charter.group.name}/{name}": uri for name, uri in word.report.nbd.items()}
        return {
            "designation": center.designation.value,
            "site": center.site,
            "connected": agent is not None,
            "session": agent.session if agent else "",
            "since_us": agent.since_us if agent else self._sessions.gone_us(center.name),
            "address": agent.address if agent else "",
            "software": agent.software if agent else "",
            "volumes": volumes,
            "trees": self._trees.readable(charters, center.name),
        }

    def group(self, charter: Charter) -> Json:
        """One group of the status."""
        lines = self.why(charter)
        seen, words = self._lookout.observe(charter), self._lookout.words(charter)
        word = self._report(charter)
        drill = self._objectives.last_drill(charter)
        return {
            "id": charter.group.id,
            "owner": charter.owner,
            "preferred_owner": charter.group.preferred_owner,
            "epoch": charter.epoch,
            "epoch_text": epochs.show(charter.epoch),
            "version": charter.version,
            "in_sync": sorted(charter.in_sync),
            "mode": charter.group.policy.mode.value,
            "ready": not lines,
            "waiting": lines[0].what if lines else "",
            "intent": control.to_json(charter.intent) if charter.intent else None,
            "objectives": control.to_json(charter.group.objectives),
            "detection": shown(self._lookout.verdict(charter.group.id), self._clock.now()),
            "star": about_pairs(charter, words, word.report if word else None),
            "rejoining": about_rejoining(charter, words, seen.statements, word.report if word else None),
            "failback": about_failback(seen),
            "filesets": about_filesets(charter),
            "sizes": {volume.name: volume.size for volume in charter.group.volumes},
            "rto": about_rto(self._objectives.rto(charter), charter),
            "availability": about_service(self._objectives, charter),
            "centers": {m.name: self._copy(charter, m.name, word) for m in charter.group.members},
            "last_drill": _about_drill(drill) if drill else None,
            "pacing": word.report.pacing.model_dump() if word else {},
            "consistency": word.report.consistency.model_dump() if word and word.report.consistency else None,
            **self._openings.about(charter),
        }

    def _copy(self, charter: Charter, center: str, owner: OwnerWord | None) -> Json:
        word = self._sessions.word(charter.group.id, center)
        is_owner = center == charter.owner
        peer = owner.report.peers.get(center, PeerWord()) if owner is not None else PeerWord()
        rpo = self._rpo(charter, center)
        proof = self._objectives.proof(charter, center)
        lag_s = 0.0 if is_owner or not peer.lag_records else peer.rpo_s
        state = word.statement.state.value if word else CopyState.BLANK.value
        return {
            "role": "owner" if is_owner else "replica",
            "state": state,
            "position": word.statement.appended if word else 0,
            "durable": word.statement.durable if word else 0,
            "applied": word.statement.applied if word else 0,
            "lag_records": 0 if is_owner else peer.lag_records,
            "lag_bytes": 0 if is_owner else peer.lag_bytes,
            "lag_seconds": None if lag_s is None else round(lag_s, 3),
            "plan": "" if is_owner else peer.plan,
            "sent_bytes": 0 if is_owner else peer.sent_bytes,
            "compression": {} if is_owner else _about_compression(peer),
            "acts": "" if is_owner else peer.acts,
            "resync": None if is_owner or peer.resync is None else peer.resync.model_dump(),
            "resynced": None if is_owner else peer.resynced.model_dump(),
            "marks": None if is_owner or peer.marks is None else peer.marks.model_dump(),
            "rpo_actual_s": None if rpo is None else math.ceil(rpo * 1000) / 1000,
            "rpo_proved_s": None if proof.seconds is None else math.ceil(proof.seconds * 1000) / 1000,
            "rpo_standing": judge_rpo(proof.seconds, charter.group.objectives.rpo_s).value,
            "rpo_unknown_why": proof.reason,
            "files": self._trees.at(charter, center),
            "self_drill": self._openings.proofs.about(charter, center),
            "connected": self._sessions.is_connected(center),
            "heard_s": None if word is None else round(self._clock.now() - word.heard_at, 3),
        }

    def _rpo(self, charter: Charter, center: str) -> float | None:
        if is_begun(charter) or self._authority.store_ready(charter.group.id):
            return None  # who is in sync is hearsay: the store may be an old copy
        word = self._sessions.word(charter.group.id, center)
        if word is not None and _is_doubtful(word.statement):
            charter = replace(charter, in_sync=charter.in_sync - {center})
        volumes = rpo_actual(charter, center, self._report(charter), self._clock.now())
        return worst(Proof(volumes), self._trees.age(charter, center)).seconds

    def _report(self, charter: Charter) -> OwnerWord | None:
        """The last report of the charter's owner, of whatever age."""
        word = self._sessions.report(charter.group.id)
        return word if word is not None and word.center == charter.owner else None

    def _fresh_report(self, charter: Charter) -> OwnerWord | None:
        """The report of an owner that serves the charter's epoch and was heard just now."""
        word = self._report(charter)
        if word is None or word.report.epoch != charter.epoch:
            return None
        return word if self._clock.now() - word.heard_at < SILENT_S else None

    # --- what is waited for

    def why_forgotten(self, name: str) -> list[Line]:
        """The same for a group, by name or id, that only members remember; empty: there is none."""
        return [
            Line(
                f"this charter store does not know {group}, but {', '.join(centers)} remember it: "
                "it is empty or an old copy",
                "a person",
                remedy=_store_remedy(group),
            )
            for group_id, (group, centers) in sorted(self._authority.unknown_groups().items())
            if name in (group, group_id)
        ]

    def why(self, charter: Charter) -> list[Line]:
        """What keeps the group from being as it should be, the most important first."""
        waiting = self._authority.store_ready(charter.group.id)
        first = (
            [Line(waiting, "the coordinator", remedy=_store_remedy(charter.group.name))] if waiting else []
        )
        return [
            *first,
            *self._about_move(charter),
            *self._about_owner(charter),
            *(Line(one.what, one.who, None, one.remedy) for one in self._trees.lines(charter)),
            *self._about_replicas(charter),
            *self._about_star(charter),
            *(Line(what, "a person", None, remedy) for what, remedy in self._openings.proofs.lines(charter)),
            *self._about_practice(charter),
            *self._about_consistency(charter),
        ]

    def _about_move(self, charter: Charter) -> list[Line]:
        live = self._lookout.move(charter.group.id)
        if live is not None:
            what = f"{live.operation.kind.value} to {live.operation.target}"
            left = None if live.until is None else max(0.0, live.until - self._clock.now())
            detail = f": {live.waits_for}" if live.waits_for else " is under way"
            return [Line(what + detail, live.operation.target, left, "It ends by itself.")]
        if charter.intent is not None:
            what = f"the {charter.intent.kind.value} to {charter.intent.target} will be taken up again"
            return [Line(what, "the coordinator", None, "It ends by itself.")]
        return []

    def _about_owner(self, charter: Charter) -> list[Line]:
        group, name = charter.group, charter.owner or charter.group.preferred_owner
        word = self._sessions.word(group.id, name)
        verdict = self._lookout.verdict(group.id)
        if not self._sessions.is_connected(name) or (verdict is not None and verdict.state in MISSING):
            return [self._owner_gone(charter, name, verdict)]
        if charter.epoch == NEVER:
            return [Line("it was never opened", name, None, "It is opened as soon as the members are there.")]
        if word is None or not is_open(charter, word.statement):
            if word is not None and word.statement.no_space:
                what = f"the owner {name} does not serve: {word.statement.no_space}"
                return [Line(what, name, None, _SPACE_REMEDY)]
            state = word.statement.state.value if word else "silent"
            return [Line(f"the owner {name} does not serve: it is {state}", name, None, _open_remedy(state))]
        report = self._fresh_report(charter)
        if word.statement.no_space:
            return [Line(f"the owner {name}: {word.statement.no_space}", name, None, _SPACE_REMEDY)]
        if report is None or not report.report.serving:
            what = report.report.waiting if report and report.report.waiting else "it waits for its lease"
            return [Line(f"the owner {name} holds writes: {what}", name, None, "It goes on by itself.")]
        if verdict is not None and verdict.state is State.GRAY:
            return [Line(f"the owner {verdict.reason}", name, None, remedy_for(charter, verdict))]
        return self._about_serving(name, report.report)

    def _about_serving(self, name: str, said: OwnerReport) -> list[Line]:
        if said.waiting:
            remedy = _HOLD_REMEDY if ON_HOLD in said.waiting else _HELD_REMEDY
            return [Line(f"the owner {name} holds writes: {said.waiting}", name, None, remedy)]
        if said.journal_full:
            return [Line(f"the owner {name}: {said.journal_full}", name, None, _QUOTA_REMEDY)]
        return []

    def _owner_gone(self, charter: Charter, name: str, verdict: Verdict | None) -> Line:
        book = self._authority.lease(charter.group.id)
        left = book.until - self._clock.now() if book.holder == name else 0.0
        others = sorted(charter.in_sync - {name}) or [m.name for m in charter.group.members if m.name != name]
        others = self._openings.proofs.by_trust(charter, others)
        what = f"the owner {name} is not connected"
        if self._sessions.is_connected(name) and verdict is not None:
            what = f"the owner {verdict.reason}"
        if left > 0:
            what += f"; it may still answer for {left:.0f} s"
        remedy = f"If it does not come back: drsync failover {charter.group.name} --to {others[0]}. "
        remedy += remedy_for(charter, verdict) if verdict is not None else "A person decides."
        return Line(what, name, max(left, 0.0) or None, remedy)

    def _about_practice(self, charter: Charter) -> list[Line]:
        """Only where the group's policy asks for drills."""
        drill = self._objectives.last_drill(charter)
        ended_us = drill.ended_us if drill is not None else 0
        said = rto_lines(charter, self._objectives.rto(charter), ended_us, self._clock.wall_us())
        return [Line(what, "a person", None, remedy) for what, remedy in said]

    def _about_consistency(self, charter: Charter) -> list[Line]:
        """Only where the group's policy asks for application-consistent checkpoints."""
        report = self._fresh_report(charter)
        said = report.report.consistency if report is not None else None
        if said is None or not said.is_late:
            return []
        what = "no checkpoint was application-consistent for longer than the group allows"
        why = f": {said.why}" if said.why else ""
        remedy = f"See [policy.consistency]; to try: drsync checkpoint {charter.group.name} --app-consistent."
        return [Line(what + why, charter.owner, None, remedy)]

    def _about_star(self, charter: Charter) -> list[Line]:
        """Only what no other line tells: broken copies and silent members have lines of their own."""
        if charter.epoch == NEVER or self._lookout.move(charter.group.id) is not None:
            return []
        seen = self._lookout.observe(charter)
        if any(word.state in eligibility.USELESS for word in seen.statements.values()):
            return []
        remedy = "Let the one that is behind catch up while the owner is there: drsync status --watch."
        word = self._report(charter)
        risks = pairs_at_risk(charter, seen, word.report if word is not None else None)
        return [Line(what, "", None, remedy) for what in risks]

    def _about_replicas(self, charter: Charter) -> list[Line]:
        lines = []
        for member in charter.group.members:
            if member.name != charter.owner and charter.owner:
                lines += self._about_replica(charter, member.name)
        return lines

    def _about_replica(self, charter: Charter, name: str) -> list[Line]:
        word = self._sessions.word(charter.group.id, name)
        if not self._sessions.is_connected(name):
            return [Line(f"{name} is not connected", name, None, f"Start the agent of {name}.")]
        if word is not None and word.statement.state in {CopyState.FAILED, CopyState.FORKED}:
            what = f"the copy at {name} is {word.statement.state.value}"
            return [Line(what, name, None, f"See the log of the agent at {name}.")]
        if word is not None and word.statement.no_space:
            why = word.statement.no_space
            remedy = _HOLD_REMEDY if ON_HOLD in why else _SPACE_REMEDY
            return [Line(f"{name} falls behind: {why}", name, None, remedy)]
        silent_s = self._clock.now() - word.heard_at if word is not None else 0.0
        if silent_s > SILENT_S:
            what = f"{name} is connected and has said nothing for {silent_s:.0f} s"
            return [
                Line(what, name, None, f"Look at the host of {name}: is the agent stopped, or the line cut?")
            ]
        report = self._fresh_report(charter)
        peer = report.report.peers.get(name) if report is not None else None
        if peer is not None and peer.resync is not None:
            what = f"{name} is brought level by blocks: {resync_words(peer.resync)}"
            return [Line(what, name, None, "It goes on by itself, and then follows.")]
        if peer is not None and not peer.connected and peer.plan:
            what = f"{name} does not follow {charter.owner}: {peer.plan}"
            return [Line(what, name, None, "It is tried again every few seconds.")]
        must_be_in_sync = charter.group.policy.mode is not Mode.ASYNC and name in charter.group.mates(
            charter.owner
        )
        if must_be_in_sync and name not in charter.in_sync:
            what = f"{name} is not in sync: writes do not wait for it"
            return [Line(what, name, None, f"It joins when it has caught up with {charter.owner}.")]
        return self._about_rpo(charter, name, peer)

    def _about_rpo(self, charter: Charter, name: str, peer: PeerWord | None) -> list[Line]:
        """How far behind it is: by the owner's word, then by what its copy proves."""
        rpo, target = self._rpo(charter, name), charter.group.objectives.rpo_s
        if rpo is None:
            what = f"how far {name} is behind is not known"
            return [Line(what, name, None, f"Known once it follows {charter.owner}.")]
        if rpo > target:
            acts = f" ({peer.acts})" if peer is not None and peer.acts else ""
            what = f"{name} is {rpo:.1f} s behind, the target is {target:g} s{acts}"
            return [Line(what, name, None, "Look at the link and the load: drsync status --watch.")]
        return self._about_proof(charter, name)

    def _about_proof(self, charter: Charter, name: str) -> list[Line]:
        """Nothing is as it should be that cannot be shown in the copy itself."""
        proof, target = self._objectives.proof(charter, name), charter.group.objectives.rpo_s
        if proof.seconds is None:
            what = f"nothing proves how old the copy at {name} is: {proof.reason}"
            remedy = f"Known as soon as {name} follows {charter.owner} and both are heard."
            return [Line(what, name, None, remedy)]
        if judge_rpo(proof.seconds, target) is Standing.OVER:
            what = f"the newest heartbeat in the copy at {name} is {proof.seconds:.1f} s old, "
            remedy = f"Look at the link to {name} and at its disk: drsync status --watch."
            return [Line(what + f"the target is {target:g} s", name, None, remedy)]
        return []


_HELD_REMEDY = "It goes on by itself, or without who is silent if the group's mode allows it."
_QUOTA_REMEDY = (
    "Writes go on. Bring the absent center back, or raise quota; drsync pins tells who holds what."
)
_SPACE_REMEDY = "Free space there; it goes on by itself."
_HOLD_REMEDY = "drsync hold list tells what is on hold where; release one, or raise quota."


def _store_remedy(group: str) -> str:
    return (
        "Start the agents it waits for, or put back the newest copy of the store. If neither can be had: "
        f"drsync failover {group} --to CENTER --without-store --accept-loss."
    )


def _open_remedy(state: str) -> str:
    if state in {CopyState.FAILED.value, CopyState.FORKED.value}:
        return "Fail over to another center, then repair this copy."
    return "It is opened by itself; drsync events shows the tries."


def _is_doubtful(word: Statement) -> bool:
    """An in-sync copy that may lack what was acknowledged."""
    return word.unclean or word.amnesic or word.state in {CopyState.FAILED, CopyState.FORKED, CopyState.BLANK}


def _about_drill(report: DrillReport) -> Json:
    return {
        "id": report.id,
        "center": report.center,
        "verdict": report.verdict.value,
        "content": report.content.value,
        "started_us": report.started_us,
        "ended_us": report.ended_us,
        "rto_s": report.rto_s,
    }


def _about_compression(peer: PeerWord) -> Json:
    return {
        "level": peer.level,
        "ratio": peer.ratio,
        "mark_ratio": peer.mark_ratio,
        "words": peer.compression,
    }
