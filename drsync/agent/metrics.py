"""An agent's figures, read from its members at the moment of a scrape: nothing is counted here."""

from collections.abc import Iterator

from drsync import __version__
from drsync.adapters.metrics import catalog
from drsync.adapters.metrics.reading import Histogram, Reading, Source, make_registry
from drsync.adapters.metrics.server import MetricsServer
from drsync.agent import resync_figures
from drsync.agent.headquarters import COORDINATOR, Headquarters, Host
from drsync.config.options import Address
from drsync.engine.attach import Attachment
from drsync.engine.member import Member
from drsync.engine.owner import COMMIT_BOUNDS_S
from drsync.engine.peers import Peers
from drsync.engine.term import OwnerTerm
from drsync.model import epoch as epochs
from drsync.model.copy import CopyState

Readings = Iterator[Reading | Histogram]


def server(name: str, host: Host, peers: Peers, headquarters: Headquarters, *more: Source) -> MetricsServer:
    """A server of the figures of the agent `name`, and of `more`; not listening yet."""
    registry, collector = make_registry(catalog.AGENT)
    collector.add(lambda: [Reading(catalog.BUILD, (__version__, "agent", name), 1)])
    collector.add(lambda: about_links(peers, headquarters))
    collector.add(lambda: about_copies(host))
    for source in more:
        collector.add(source)
    return MetricsServer(registry)


async def listen(found: MetricsServer, address: Address | None) -> str:
    """Serve at `address`; empty when there is none. Raises TransientError: the address cannot be used."""
    return await found.listen(*address) if address is not None else ""


def about_links(peers: Peers, headquarters: Headquarters) -> Readings:
    """Which control links are up."""
    yield Reading(catalog.LINK_UP, (COORDINATOR,), headquarters.is_connected)
    for name, (is_up, _) in peers.status().items():
        yield Reading(catalog.LINK_UP, (name,), is_up)


def about_copies(host: Host) -> Readings:
    """Every copy; for those this center owns also its peers and its clients."""
    yield Reading(catalog.BROKEN, (), len(host.broken()))
    for member in host.members():
        yield from _about_copy(member)
        if member.term is not None:
            yield from _about_term(member, member.term)


def _about_copy(member: Member) -> Readings:
    copy, term = member.copy, member.term
    group = copy.spec.name
    for state in CopyState:
        yield Reading(catalog.STATE, (group, state.value), copy.state is state)
    is_serving = term is not None and term.engine.is_leased and not term.engine.is_frozen
    epoch, journal = copy.durable.follow, copy.journal
    figures: dict[catalog.Metric, float] = {
        catalog.ROLE: term is not None,
        catalog.SERVING: is_serving,
        catalog.GENERATION: epochs.generation(epoch),
        catalog.ERA: epochs.era(epoch),
        catalog.TERM: epochs.term(epoch),
        catalog.COMMIT: copy.commit if term is None else term.engine.log.commit,
        catalog.POINTS: len(copy.points()),
        catalog.HOLDS: len(copy.durable.holds),
        catalog.WRITES_WAIT: term is not None and bool(term.engine.gate.words),
        catalog.JOURNAL_BYTES: journal.held_bytes,
        catalog.JOURNAL_QUOTA: copy.spec.policy.journal_quota_bytes,
        catalog.JOURNAL_FIRST: journal.first_seq,
        catalog.JOURNAL_TIP: journal.tip.seq,
        catalog.JOURNAL_DURABLE: journal.durable_seq,
        catalog.APPLIED: copy.volumes.applied,
        catalog.TARGET: copy.spec.objectives.rpo_s,
    }
    for metric, value in figures.items():
        yield Reading(metric, (group,), value)
    for holder in member.keeper.holders():
        yield Reading(catalog.JOURNAL_HELD, (group, holder.center), holder.held_bytes)
    if copy.checkpoints and (ratio := copy.checkpoints[-1].ratio) is not None:
        yield Reading(catalog.POINT_RATIO, (group,), ratio)
    charter = term.charter if term is not None else member.charter
    for center in copy.spec.members:
        is_in_sync = charter is not None and center.name in charter.in_sync
        yield Reading(catalog.IN_SYNC, (group, center.name), is_in_sync)


def _about_term(member: Member, term: OwnerTerm) -> Readings:
    group, stats, pacer = member.copy.spec.name, term.engine.stats, term.engine.pacer
    figures: dict[catalog.Metric, float] = {
        catalog.PACE_RATE: pacer.rate,
        catalog.PACED: stats.paced,
        catalog.PACED_SECONDS: stats.paced_s,
        catalog.WRITES: stats.writes,
        catalog.WRITE_BYTES: stats.write_bytes,
        catalog.READS: stats.reads,
        catalog.READ_BYTES: stats.read_bytes,
        catalog.FLUSHES: stats.flushes,
        catalog.BATCHES: stats.batches,
        catalog.LOG_BYTES: stats.log_bytes,
    }
    for metric, value in figures.items():
        yield Reading(metric, (group,), value)
    yield Histogram(
        catalog.COMMIT_SECONDS, (group,), COMMIT_BOUNDS_S, tuple(stats.commit_counts), stats.commit_s
    )
    for center in member.copy.spec.members:
        if center.name != member.copy.me.center:
            yield from _about_peer(term, (group, center.name))
            yield from resync_figures.readings(member, term, center.name)


def _about_peer(term: OwnerTerm, labels: tuple[str, str]) -> Readings:
    _, center = labels
    lag, attachment = term.lag(center), term.attachments.get(center)
    verdict = term.enforcer.verdicts.get(center)
    is_fed = attachment is not None and not attachment.is_lost
    yield Reading(catalog.PEER_UP, labels, is_fed)
    yield Reading(catalog.LAG_RECORDS, labels, lag.records)
    yield Reading(catalog.LAG_BYTES, labels, lag.bytes)
    if lag.seconds is not None:
        yield Reading(catalog.LAG_SECONDS, labels, lag.seconds)
    if verdict is not None:
        yield Reading(catalog.STEP, labels, verdict.rung)
    if attachment is not None and is_fed:
        yield from _about_stream(attachment, labels)


def _about_stream(attachment: Attachment, labels: tuple[str, str]) -> Readings:
    sender = attachment.sender
    yield Reading(catalog.RAW_BYTES, labels, sender.raw_bytes)
    yield Reading(catalog.WIRE_BYTES, labels, sender.wire_bytes)
    yield Reading(catalog.LEVEL, labels, sender.level)
    yield Reading(catalog.LINE, labels, sender.advice.line)
    if sender.mark_ratio is not None:
        yield Reading(catalog.RATIO, labels, sender.mark_ratio)
