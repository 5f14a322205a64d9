"""An incident that was asked again, as one JSON object for tools."""

from collections.abc import Sequence
from dataclasses import asdict

from drsync.core.loss import loss
from drsync.core.plan import Plan, Refuse
from drsync.engine.decision_form import plan_to_json
from drsync.model import epoch as epochs
from drsync.sim.incident.record import Case, Incident, Kept
from drsync.sim.incident.rehearsal import Ending
from drsync.sim.incident.replay import Candidate, Difference, candidates, deciding
from drsync.sim.incident.what_if import Alternative, alternatives

Json = dict[str, object]


def document(
    incident: Incident, cases: Sequence[Case], found: Sequence[Difference], at: int | None = None
) -> Json:
    """The whole; with `at` the facts of one decision only."""
    now = {one.kept.n: one.now for one in found}
    return {
        "cluster": incident.cluster,
        "software": incident.software,
        "made_us": incident.made_us,
        "operations": [_case(case, now, at) for case in cases],
        "differences": sorted(now),
    }


def _case(case: Case, now: dict[int, Plan], at: int | None) -> Json:
    shown = next((kept for kept in case.decisions if kept.n == at), None) or deciding(case)
    return {
        "id": case.id,
        "kind": case.kind,
        "group": case.group,
        "target": case.target,
        "actor": case.actor,
        "reason": case.reason,
        "started_us": case.started_us,
        "ended_us": case.ended_us or None,
        "state": case.state,
        "message": case.message,
        "decisions": [_decision(kept, now) for kept in case.decisions if at in (None, kept.n)],
        "deciding": shown.n if shown is not None else None,
        "candidates": [_candidate(one) for one in candidates(shown.seen)] if shown is not None else [],
        "loss": asdict(loss(shown.seen)) if shown is not None else None,
        "what_if": [_alternative(one) for one in alternatives(shown)] if shown is not None else [],
    }


def _decision(kept: Kept, now: dict[int, Plan]) -> Json:
    seen = kept.seen
    silent = {
        name: {
            "is_connected": said.is_connected,
            "heard_s": said.heard_s,
            "state": said.statement.state.value if said.statement is not None else None,
            "appended": said.statement.appended if said.statement is not None else None,
        }
        for name, said in kept.silent.items()
    }
    heard = {
        name: {
            "state": word.state.value,
            "appended": word.appended,
            "durable": word.durable,
            "promised": word.promised,
            "unclean": word.unclean,
            "amnesic": word.amnesic,
        }
        for name, word in sorted(seen.statements.items())
    }
    lease_s = max(0.0, seen.lease.until - seen.now) if seen.lease.holder else 0.0
    changed = {"now": plan_to_json(now[kept.n])} if kept.n in now else {}
    return {
        "n": kept.n,
        "line": kept.line,
        "at_us": kept.at_us,
        "last_us": kept.last_us,
        "times": kept.times,
        "software": kept.software,
        "way": kept.way.value,
        "heard": heard,
        "silent": silent,
        "lease": {"holder": seen.lease.holder, "left_s": lease_s},
        "detection": dict(kept.detection),
        "plan": plan_to_json(kept.plan),
        "is_same": kept.n not in now,
        **changed,
    }


def _candidate(one: Candidate) -> Json:
    return {
        "center": one.center,
        "is_eligible": not one.verdict.reasons,
        "needs_accepted_loss": one.needs_word,
        "loss": one.verdict.loss.value,
        "position": one.verdict.position,
        "donors": list(one.verdict.donors),
        "reasons": [asdict(reason) for reason in one.verdict.reasons],
    }


def _alternative(one: Alternative) -> Json:
    ending = _ending(one.ending) if one.ending is not None else None
    return {**asdict(one.change), "is_other": one.is_other, "ending": ending}


def _ending(ending: Ending) -> Json:
    charter = ending.charter
    if charter is None:
        reasons = ending.plan.reasons if isinstance(ending.plan, Refuse) else ()
        return {
            "owner": None,
            "plan": plan_to_json(ending.plan),
            "codes": [reason.code for reason in reasons],
            "waited_s": ending.waited_s,
        }
    start = charter.history[-1]
    return {
        "owner": charter.owner,
        "epoch": charter.epoch,
        "epoch_text": epochs.show(charter.epoch),
        "position": start.fork_seq,
        "loss": start.loss.value,
        "lost_at_least": start.lost_at_least,
        "waited_s": ending.waited_s,
    }
