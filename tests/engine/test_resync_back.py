"""Centers that cannot be streamed to come back block by block, and what may come in between."""

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from drsync.engine import resync_desk, resync_slots
from drsync.model.charter import IntentKind
from drsync.model.epoch import Epoch
from drsync.model.errors import RefusedError, TransientError
from drsync.model.operation import OperationState
from tests.engine import town as town_module
from tests.engine.test_town import Writer, is_serving
from tests.engine.town import GROUP, Body, Town, town

SMALL = replace(
    GROUP,
    # As it is, because what shrinks is through a slow line before anything can come in between.
    policy=replace(GROUP.policy, journal_quota_bytes=8 << 20, window_s=0.5, compress=False),
)
PASS = 512  # writes that cover half of the volume


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resync_slots, "JITTER_S", 0.01)
    monkeypatch.setattr(resync_desk, "PAUSE_LOW_S", 0.1)
    monkeypatch.setattr(town_module, "SEGMENT_BYTES", 1 << 20)  # so that little has to be written


async def hashes(place: Town, center: str) -> str:
    """The content hash of what an opening at the end of the log would serve."""
    views, journal = place.member(center).views, place.member(center).copy.journal
    for _ in range(10):
        view = views.hold("proof", journal.tip.seq)
        try:
            await view.build()
            return (await view.hash())["disk"]
        except RefusedError as error:  # where there is little journal, a view is the first to be given up
            assert error.code == "view_given_up"  # noqa: PT017  # the next one may be quicker
        finally:
            views.release("proof")
    pytest.fail(f"every view at {center} was given up")


async def write_beyond_the_quota(place: Town, writer: Writer, first: int) -> int:
    """Write until the owner's journal no longer begins where it did; the number of the next write."""
    journal = place.member("production").copy.journal
    begins = journal.tip.seq
    number = first
    while journal.first_seq <= begins:
        writer.write_many(number, PASS)
        number += PASS
        written = number - 1
        await place.until(lambda written=written: len(writer.acknowledged) == written)  # type: ignore[misc]
        await asyncio.sleep(0.05)
        assert number < 100 * PASS
    return number


def is_level(place: Town, center: str, source: str = "production") -> bool:
    """Whether it follows by the stream, at the end of the owner's log."""
    owner, member = place.member(source), place.member(center)
    attachment = owner.term.attachments.get(center) if owner.term is not None else None
    is_attached = attachment is not None and not attachment.is_lost
    return is_attached and member.copy.journal.tip == owner.copy.journal.tip


async def test_a_center_that_was_away_too_long_is_compared_and_comes_back(tmp_path: Path) -> None:
    async with town(tmp_path, SMALL) as place:
        writer = Writer(place, "production")
        writer.write_many(1, PASS)
        await place.until(lambda: is_level(place, "remote"))
        await place.nodes["remote"].die()
        number = await write_beyond_the_quota(place, writer, PASS + 1)
        back = place.start("remote")
        back.open_copy(place.group)
        await place.until(lambda: is_level(place, "remote"), 30)
        assert any(line.startswith("resync_switched") for line in back.lines), back.lines
        assert place.member("remote").copy.journal.first_seq > PASS
        writer.write_many(number, 50)
        await place.until(lambda: len(writer.acknowledged) == number + 49)
        await place.until(lambda: is_level(place, "remote"))
        assert await hashes(place, "remote") == await hashes(place, "production")


async def test_a_center_with_a_new_disk_is_filled_although_the_journal_no_longer_reaches_back(
    tmp_path: Path,
) -> None:
    async with town(tmp_path, SMALL) as place:
        writer = Writer(place, "production")
        await place.nodes["remote"].die()
        shutil.rmtree(tmp_path / "remote")
        await write_beyond_the_quota(place, writer, 1)
        back = place.start("remote")
        await place.until(lambda: back.member is not None and is_level(place, "remote"), 30)
        assert any("resync_began: production: everything" in line for line in back.lines), back.lines
        assert await hashes(place, "remote") == await hashes(place, "production")


async def test_a_center_whose_images_hold_what_the_group_gave_up_is_corrected(tmp_path: Path) -> None:
    """And what it held alone is kept as a fork, for people."""
    async with town(tmp_path, SMALL) as place:
        writer = Writer(place, "production")
        writer.write_many(1, 50)
        await place.until(lambda: is_level(place, "remote") and is_level(place, "same_city"))
        place.cuts |= {frozenset(("production", "remote")), frozenset(("same_city", "remote"))}
        fork = place.member("remote").copy.journal.tip.seq
        await write_beyond_the_quota(place, writer, 51)
        assert place.member("production").copy.volumes.applied > fork
        await place.nodes["production"].die()
        await place.nodes["same_city"].die()
        outcome = await place.run(IntentKind.FAILOVER, "remote", accept_loss=True)
        assert outcome.state is OperationState.DONE, outcome
        await place.until(lambda: is_serving(place, "remote"))
        later = Writer(place, "remote")
        later.write_many(10_000, 300)
        await place.until(lambda: len(later.acknowledged) == 300)

        place.cuts.clear()
        for name in ("production", "same_city"):
            place.start(name).open_copy(place.group)
        for name in ("production", "same_city"):
            await place.until(lambda name=name: is_level(place, name, "remote"), 30)  # type: ignore[misc]
            assert await hashes(place, name) == await hashes(place, "remote")
            forks = list((tmp_path / name / "journal" / "forks").iterdir())
            assert forks, f"{name} kept nothing"
            assert not (tmp_path / name / "stage").exists()
            assert not (tmp_path / name / "journal.old").exists()


async def staging(place: Town, writer: Writer) -> None:
    """The remote center was away too long; it is just being sent blocks, over a slow line."""
    writer.write_many(1, PASS)
    await place.until(lambda: is_level(place, "remote"))
    await place.nodes["remote"].die()
    await write_beyond_the_quota(place, writer, PASS + 1)
    place.rates[("production", "remote")] = 600_000.0
    place.start("remote").open_copy(place.group)
    target = place.member("remote").resyncs
    await place.until(lambda: target.words.startswith("staging") and " 0 granules" not in target.words, 30)


async def test_a_center_that_is_wanted_as_owner_does_not_wait_for_its_resync(tmp_path: Path) -> None:
    """It opens at its last consistent point; what it lacks is told, and the session is over."""
    async with town(tmp_path, SMALL) as place:
        writer = Writer(place, "production")
        await staging(place, writer)
        remote = place.member("remote")
        before, tip = await hashes(place, "remote"), remote.copy.journal.tip
        assert remote.statement().resync.startswith("staging")
        assert remote.statement().tip == tip
        await place.nodes["production"].die()
        await place.nodes["same_city"].die()
        outcome = await place.run(IntentKind.FAILOVER, "remote", accept_loss=True)
        assert outcome.state is OperationState.DONE, outcome
        await place.until(lambda: is_serving(place, "remote"))
        assert remote.copy.journal.position_at(tip.seq) == tip
        view = remote.views.hold("before", tip.seq)
        await view.build()
        assert (await view.hash())["disk"] == before
        await place.until(lambda: not (tmp_path / "remote" / "stage").exists())
        assert not remote.statement().resync


async def test_a_center_that_dies_while_it_is_sent_blocks_goes_on_with_what_it_had(tmp_path: Path) -> None:
    async with town(tmp_path, SMALL) as place:
        writer = Writer(place, "production")
        await staging(place, writer)
        await place.nodes["remote"].die()
        place.rates.clear()
        back = place.start("remote")
        back.open_copy(place.group)
        await place.until(lambda: is_level(place, "remote"), 30)
        assert await hashes(place, "remote") == await hashes(place, "production")
        assert any("goes on after" in line for line in back.lines), back.lines


async def test_a_line_that_is_cut_costs_what_was_not_put_aside(tmp_path: Path) -> None:
    async with town(tmp_path, SMALL) as place:
        writer = Writer(place, "production")
        await staging(place, writer)
        lines = place.nodes["remote"].lines
        for link in list(place.links):
            if {link.peer, link._me} == {"production", "remote"}:
                link.close("cut by the test")
        place.rates.clear()
        await place.until(lambda: is_level(place, "remote"), 30)
        assert any("goes on after" in line for line in lines), lines
        assert await hashes(place, "remote") == await hashes(place, "production")


async def test_while_a_switch_is_done_nobody_is_told_where_the_copy_stands(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        member = place.member("remote")
        member.copy.is_switching = True
        for asked in (member.seal(Epoch(99)), member.prepare(Epoch(99), (), ())):
            with pytest.raises(TransientError) as refusal:
                await asked
            assert refusal.value.code == "switching"
        group: Body = {"group": place.group.id}
        requests = place.nodes["remote"].requests
        for calls in (requests.for_coordinator(), requests.for_peer("production")):
            with pytest.raises(TransientError):
                await calls["group.statement"]("group.statement", group)
        member.copy.is_switching = False
