"""What an owner tells the coordinator with each heartbeat, beside its statement: read, never counted here."""

import math

from drsync.agent import rates, resync_figures
from drsync.engine.member import Member
from drsync.engine.term import OwnerTerm

Json = dict[str, object]


def about_owner(member: Member, now: float, uris: dict[str, str]) -> Json | None:
    """The report of a group; None where this center does not own it.

    Args:
        member: the group here.
        now: seconds since boot.
        uris: where its volumes are served, by name.
    """
    term = member.term
    if term is None:
        return None
    log, copy = term.engine.log, member.copy
    return {
        "epoch": term.charter.epoch,
        "version": term.charter.version,
        "tip": copy.journal.tip.seq,
        "commit": log.commit,
        "time_us": term.engine.commit_time_us,
        "serving": term.engine.is_leased and not term.engine.is_frozen,
        "waiting": term.waiting or member.mender.damage or term.engine.gate.words,
        "journal_full": member.keeper.alarm,
        "now_us": term.pulse.label(now),
        "serving_s": term.pulse.serving_s(now),
        "served": term.pulse.served(now),
        "writes": term.engine.stats.writes,
        "write_bytes": term.engine.stats.write_bytes,
        "commit_counts": list(term.engine.stats.commit_counts),
        "pacing": rates.about_pacing(term),
        "peers": {
            center.name: _about_peer(member, term, center.name)
            for center in copy.spec.members
            if center.name != copy.me.center
        },
        "nbd": uris,
        "files": member.trees.own_report(),
    }


def _about_peer(member: Member, term: OwnerTerm, center: str) -> Json:
    attachment = term.attachments.get(center)
    lag = term.lag(center)
    is_connected = attachment is not None and not attachment.is_lost
    return {
        "connected": is_connected,
        "appended": attachment.feed.appended if attachment is not None else 0,
        "durable": attachment.feed.durable if attachment is not None else 0,
        "lag_records": lag.records,
        "lag_bytes": lag.bytes,
        "rpo_s": None if lag.seconds is None else math.ceil(lag.seconds * 1000) / 1000,
        "plan": term.plans.get(center, ""),
        "sent_bytes": attachment.feed.sent_bytes if attachment is not None else 0,
        "files": member.trees.report(center),
        "resync": resync_figures.about_session(term, center),
        "resynced": {
            "sessions": term.resyncs.done.get(center, 0),
            "wire_bytes": term.resyncs.wire_bytes(center),
        },
        "marks": resync_figures.about_marks(member, center),
        **rates.about_peer(term, center),
    }
