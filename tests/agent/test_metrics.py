"""What an agent tells of real copies, at the owner and elsewhere."""

from pathlib import Path

from prometheus_client import generate_latest

from drsync.adapters.metrics.catalog import (
    AGENT,
    BUILD,
    FILES,
    LINE,
    LINK_UP,
    POINT_RATIO,
    PROOFS,
    QUIET,
    RATIO,
    Kind,
)
from drsync.adapters.metrics.reading import make_registry
from drsync.agent import file_metrics, metrics
from drsync.agent.broken import BrokenCopy
from drsync.engine.member import Member
from drsync.model.charter import Charter
from tests.engine.test_town import Writer
from tests.engine.town import Town, town

Json = dict[str, object]


class Center:
    """An agent with one member."""

    def __init__(self, member: Member) -> None:
        self._member = member

    def members(self) -> list[Member]:
        return [self._member]

    def broken(self) -> list[BrokenCopy]:
        return []

    async def adopt(self, charter: Charter) -> Member:
        return self._member

    def report(self, member: Member) -> Json | None:
        return None

    def registration(self) -> Json:
        return {}

    async def keep_token(self, token: int) -> None:
        """It has none."""

    def openings(self, member: Member) -> Json:
        return {}

    def silent_s(self) -> dict[str, float]:
        """It hears everybody."""
        return {}

    def log(self, event: str, reason: str) -> None:
        """Nobody reads it."""


def figures(place: Town, center: str) -> dict[str, float]:
    """Lines of a scrape, by everything before the value."""
    registry, collector = make_registry(AGENT)
    collector.add(lambda: metrics.about_copies(Center(place.member(center))))
    collector.add(lambda: file_metrics.about_trees([place.member(center)]))
    lines = [line for line in generate_latest(registry).decode().splitlines() if line.startswith("drsync_")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


async def test_an_owner_tells_of_its_writes_and_peers(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        writer = Writer(place, "production")
        writer.write_many(1, 50)
        await place.until(lambda: len(writer.acknowledged) == 50)
        remote = place.member("remote").copy.journal
        await place.until(lambda: remote.tip == place.member("production").copy.journal.tip)
        found = figures(place, "production")
        assert found['drsync_group_owner{group="orders"}'] == 1
        assert found['drsync_group_serving{group="orders"}'] == 1
        assert found['drsync_group_state{group="orders",state="owner"}'] == 1
        assert found['drsync_group_state{group="orders",state="replica"}'] == 0
        assert found['drsync_group_in_sync{center="same_city",group="orders"}'] == 1
        assert found['drsync_group_in_sync{center="remote",group="orders"}'] == 0
        assert found['drsync_volume_writes_total{group="orders"}'] == 50
        assert found['drsync_volume_written_bytes_total{group="orders"}'] == 50 * 4096
        assert found['drsync_commit_seconds_count{group="orders"}'] >= 50
        assert found['drsync_peer_following{group="orders",peer="remote"}'] == 1
        assert found['drsync_peer_batch_bytes_total{group="orders",peer="remote"}'] > 50 * 4096
        assert found['drsync_rpo_target_seconds{group="orders"}'] == 15
        assert found['drsync_group_epoch_term{group="orders"}'] >= 1


async def test_a_replica_tells_of_its_copy_and_nothing_of_peers(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        found = figures(place, "remote")
        assert found['drsync_group_owner{group="orders"}'] == 0
        assert found['drsync_group_state{group="orders",state="replica"}'] == 1
        assert found['drsync_journal_tip_record{group="orders"}'] > 0
        assert not [name for name in found if name.startswith("drsync_fileset")]
        assert not [name for name in found if name.startswith(("drsync_peer", "drsync_volume"))]


async def test_every_copy_tells_how_far_new_content_shrinks(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        name = 'drsync_checkpoint_compression_ratio{group="orders"}'
        assert name not in figures(place, "remote")
        writer = Writer(place, "production")
        writer.write_many(1, 50)
        await place.until(lambda: name in figures(place, "production"))
        await place.until(lambda: any(point.ratio for point in place.member("remote").copy.checkpoints))


async def test_everything_in_the_catalog_is_told_by_somebody(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        term = place.member("production").term
        assert term is not None
        await place.until(lambda: bool(term.enforcer.verdicts) and len(term.attachments) == 2)
        names = {name.partition("{")[0] for name in figures(place, "production")}
        elsewhere = {BUILD, LINK_UP, POINT_RATIO, RATIO, LINE, *FILES, *PROOFS, *QUIET}  # not yet
        expected = {m.name for m in AGENT if m not in elsewhere and m.kind is not Kind.HISTOGRAM}
        assert expected <= names
