"""What an owner reports about rates: compression on each link, and what is done to hold the RPO target."""

from drsync.engine.term import OwnerTerm

Json = dict[str, object]


def about_peer(term: OwnerTerm, center: str) -> Json:
    """One peer: how its batches are sent, where its lag stands, and what is done about it.

    ``ratio`` is raw to sent over this stream, ``mark_ratio`` between the last two checkpoints.
    """
    attachment = term.attachments.get(center)
    verdict = term.enforcer.verdicts.get(center)
    about: Json = {
        "standing": verdict.state.value if verdict is not None else "",
        "acts": term.enforcer.words(center),
    }
    if attachment is None or attachment.is_lost:
        return about
    sender = attachment.sender
    return about | {
        "wire_bytes": sender.wire_bytes,
        "level": sender.level,
        "ratio": round(sender.ratio, 3),
        "mark_ratio": None if sender.mark_ratio is None else round(sender.mark_ratio, 3),
        "compression": sender.advice.words,
        "line_bytes_s": round(sender.advice.line),
        "drain_bytes_s": round(sender.drain),
    }


def about_pacing(term: OwnerTerm) -> Json:
    """Write pacing: bytes of batches answered per second (0: no bound), and what it cost so far."""
    engine = term.engine
    return {
        "rate": round(engine.pacer.rate),
        "max_s": engine.pacer.max_s,
        "paced": engine.stats.paced,
        "paced_s": round(engine.stats.paced_s, 3),
    }
