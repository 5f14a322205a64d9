"""What a center takes of a resync session: everything that is right, and nothing else."""

import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from blake3 import blake3

from drsync.core import extents
from drsync.core.extents import GRANULE, Extents, Run
from drsync.engine.resync_ask import Mode
from drsync.engine.resync_target import Asked, nobody_marked
from drsync.engine.switch import Switch
from drsync.model.epoch import Epoch
from drsync.model.errors import NoSpaceError, RefusedError, TransientError
from drsync.model.position import Position
from drsync.ports.stage import Stage
from drsync.wire import resync
from drsync.wire.frames import FrameType
from drsync.wire.resync import BeginFlags, Block, BlockKind
from tests.engine.switch_rig import NEW, P0, P1, SESSION, VOLUME, F, logs, read
from tests.engine.target_rig import Source, TargetRig, target_rig

OURS, THEIRS = logs(random.Random(5))
LAST = VOLUME.size // GRANULE
"""The granule that is short."""


def _is_refused(source: Source) -> bool:
    return bool(source.refusal)


def is_as_it_was(rig: TargetRig) -> bool:
    """Nothing of a session has come into the copy."""
    is_untouched = rig.copy.durable.switch is None and rig.copy.durable.switched is None
    return is_untouched and rig.copy.journal.tip == OURS.tip and read(rig.copy) == OURS.content[OURS.tip.seq]


async def test_a_whole_session_makes_the_copy_the_source_s_log(tmp_path: Path) -> None:
    async with target_rig(tmp_path, OURS, THEIRS) as rig:
        source, answer = Source(rig), await rig.ask()
        assert answer.changed == OURS.changed(F, OURS.tip.seq)
        assert answer.statement.tip == OURS.tip
        whole = rig.whole(answer)
        rig.send_all(source, whole)
        source.end(whole, THEIRS.at(P1))
        await rig.until(lambda: source.has_heard(FrameType.RESYNC_DONE))
        assert rig.copy.journal.tip == THEIRS.at(P1)
        assert read(rig.copy) == THEIRS.content[P1]
        assert not rig.target.words
        assert [event for event, _ in rig.events.told] == ["fork_kept", "resync_began", "resync_switched"]
        again = await rig.ask()
        assert again.switched is not None
        assert (again.switched.session, again.switched.p1) == (SESSION, P1)
        assert source.taken == extents.size(whole)


async def test_digests_are_of_the_images_and_what_lies_above_them_is_named(tmp_path: Path) -> None:
    async with target_rig(tmp_path, OURS, THEIRS) as rig:
        source, answer = Source(rig), await rig.ask(Mode.DIGEST)
        assert answer.changed == OURS.changed(0, OURS.tip.seq)
        source.begin(THEIRS.at(P0), BeginFlags.DIGESTS)
        want = resync.Want(NEW, 0, LAST - 1, 2)
        source.send(FrameType.DIGEST_WANT, resync.encode_want(want))
        await rig.until(lambda: source.has_heard(FrameType.DIGESTS))
        told = next(f for f in source.heard if f.type is FrameType.DIGESTS)
        found = resync.read_digests(told.body)
        short = VOLUME.size - LAST * GRANULE
        expected = blake3(bytes(GRANULE)).digest() + blake3(bytes(short)).digest()
        assert bytes(found.values) == expected


async def test_what_is_not_whole_is_refused_at_the_end_and_dropped(tmp_path: Path) -> None:
    async with target_rig(tmp_path, OURS, THEIRS) as rig:
        whole = rig.whole(await rig.ask())
        cases: list[Callable[[Source], None]] = [
            lambda source: source.end(whole[:-1], THEIRS.at(P1)),
            lambda source: source.end((*whole[:-1], Run(0, 98, 99)), THEIRS.at(P1)),
            lambda source: source.end(whole, THEIRS.at(P1 - 1)),
            lambda source: source.end(whole, Position(NEW, P1, b"x" * 16)),
        ]
        for case in cases:
            await rig.ask()
            source = Source(rig)
            rig.send_all(source, whole)
            case(source)
            await rig.until(partial(_is_refused, source))
            assert source.refusal in {"not_whole", "stage_failed"}
            assert is_as_it_was(rig)
            await rig.until(lambda: not (tmp_path / "stage").exists())


async def test_a_promise_to_somebody_else_refuses_the_next_frame_and_the_end(tmp_path: Path) -> None:
    async with target_rig(tmp_path, OURS, THEIRS) as rig:
        source, whole = Source(rig), rig.whole(await rig.ask())
        rig.send_all(source, whole)
        await rig.until(lambda: rig.target.words.endswith(f"redo up to record {P1}"))
        rig.events.why = "it promised another epoch"
        source.end(whole, THEIRS.at(P1))
        await rig.until(lambda: bool(source.refusal))
        assert source.refusal == "halted"
        assert is_as_it_was(rig)


async def test_a_charter_that_changes_while_all_is_read_back_costs_no_blocks(tmp_path: Path) -> None:
    async with target_rig(tmp_path, OURS, THEIRS) as rig:

        async def changing(word: Switch, staged: Extents | None) -> None:
            del word, staged
            known = rig.copy.durable.charter
            assert known is not None
            await rig.copy.store(lambda d: replace(d, charter=replace(known, version=known.version + 1)))

        rig.target.mark_others = changing
        source, whole = Source(rig), rig.whole(await rig.ask())
        rig.send_all(source, whole)
        source.end(whole, THEIRS.at(P1))
        await rig.until(lambda: bool(source.refusal))
        assert source.refusal == "halted"
        assert is_as_it_was(rig)
        rig.target.mark_others = nobody_marked
        answer = await rig.ask()
        assert answer.staged == answer.fresh == whole
        again = Source(rig)
        again.begin(THEIRS.at(P0), BeginFlags.RESUME)
        again.redo(THEIRS, P0, P1)
        again.end(whole, THEIRS.at(P1))
        await rig.until(lambda: again.has_heard(FrameType.RESYNC_DONE))
        assert read(rig.copy) == THEIRS.content[P1]


async def test_a_request_that_comes_between_never_waits_and_keeps_what_is_staged(tmp_path: Path) -> None:
    async with target_rig(tmp_path, OURS, THEIRS) as rig:
        source, whole = Source(rig), rig.whole(await rig.ask())
        source.begin(THEIRS.at(P0))
        source.granules(whole, THEIRS.content[P1])
        await rig.until(lambda: source.taken == extents.size(whole))
        rig.target.halt("somebody asks", drop=False)
        await rig.until(lambda: source.refusal == "halted")
        answer = await rig.ask()
        assert answer.stage is not None
        assert answer.staged == answer.fresh == whole
        again = Source(rig)
        again.begin(THEIRS.at(P0), BeginFlags.RESUME)
        await rig.until(lambda: again.has_heard(FrameType.RESYNC_READY))
        again.redo(THEIRS, P0, P1)
        again.end(whole, THEIRS.at(P1))
        await rig.until(lambda: again.has_heard(FrameType.RESYNC_DONE))
        assert read(rig.copy) == THEIRS.content[P1]


async def test_redo_that_a_cut_line_left_is_taken_again_from_the_start(tmp_path: Path) -> None:
    async with target_rig(tmp_path, OURS, THEIRS) as rig:
        source, whole = Source(rig), rig.whole(await rig.ask())
        source.begin(THEIRS.at(P0))
        source.granules(whole, THEIRS.content[P1])
        source.redo(THEIRS, P0, P0 + 3)
        await rig.until(lambda: rig.target.target.redo == P0 + 3)
        source.link.close("cut")
        await rig.until(lambda: rig.target.words.startswith("kept"))
        await rig.ask()
        again = Source(rig)
        again.begin(THEIRS.at(P0), BeginFlags.RESUME)
        again.redo(THEIRS, P0, P1)
        again.end(whole, THEIRS.at(P1))
        await rig.until(lambda: again.is_lost or again.has_heard(FrameType.RESYNC_DONE))
        assert not again.is_lost, rig.events.told
        assert read(rig.copy) == THEIRS.content[P1]


async def test_a_stage_is_of_no_use_once_the_own_log_went_on(tmp_path: Path) -> None:
    async with target_rig(tmp_path, OURS, THEIRS) as rig:
        source, whole = Source(rig), rig.whole(await rig.ask())
        rig.send_all(source, whole)
        await rig.until(lambda: rig.target.words.endswith(f"redo up to record {P1}"))
        more = OURS.branch()
        more.write(Epoch(1), 0, b"more" * 1024)
        batch = more.batches[-1]
        rig.copy.journal.append(batch.parts, batch.first_seq, batch.end)
        source.end(whole, THEIRS.at(P1))
        await rig.until(lambda: bool(source.refusal))
        assert rig.copy.durable.switch is None
        assert (await rig.ask()).stage is None


def _damaged(source: Source, whole: Extents) -> None:
    del whole
    source.blocks(Block(0, 0, 1, BlockKind.DATA, b"h" * 16, bytes(GRANULE)))


def _beyond(source: Source, whole: Extents) -> None:
    del whole
    source.blocks(Block(0, LAST + 1, 1, BlockKind.ZEROS))


def _of_no_volume(source: Source, whole: Extents) -> None:
    del whole
    source.blocks(Block(7, 0, 1, BlockKind.ZEROS))


def _too_short(source: Source, whole: Extents) -> None:
    del whole
    source.granules((Run(0, 0, 1),), THEIRS.content[P1][:100])


def _with_a_gap(source: Source, whole: Extents) -> None:
    del whole
    source.redo(THEIRS, P0 + 1, P1)


def _digest_beyond(source: Source, whole: Extents) -> None:
    del whole
    source.send(FrameType.DIGEST_WANT, resync.encode_want(resync.Want(NEW, 0, LAST, 5)))


def _unknown(source: Source, whole: Extents) -> None:
    del whole
    source.send(FrameType.ACK, bytes(48))


def _begun_twice(source: Source, whole: Extents) -> None:
    del whole
    source.begin(THEIRS.at(P0))


@pytest.mark.parametrize(
    "wrong",
    [_damaged, _beyond, _of_no_volume, _too_short, _with_a_gap, _digest_beyond, _unknown, _begun_twice],
)
async def test_a_frame_that_breaks_a_format_ends_the_link(
    tmp_path: Path, wrong: Callable[[Source, Extents], None]
) -> None:
    async with target_rig(tmp_path, OURS, THEIRS) as rig:
        source, whole = Source(rig), rig.whole(await rig.ask())
        source.begin(THEIRS.at(P0))
        wrong(source, whole)
        await rig.until(lambda: source.is_lost)
        assert is_as_it_was(rig)
        assert rig.target.target.state.value in {"kept", "idle"}


async def test_what_bears_another_epoch_or_comes_in_the_wrong_order_is_refused(tmp_path: Path) -> None:
    async with target_rig(tmp_path, OURS, THEIRS) as rig:
        whole = rig.whole(await rig.ask())
        other = Epoch(NEW + 1)
        zeros = Block(0, 0, 1, BlockKind.ZEROS)
        cases: list[tuple[str, Callable[[Source], None]]] = [
            ("stale_epoch", lambda source: source.blocks(zeros, epoch=other)),
            ("stale_epoch", lambda source: source.redo(THEIRS, P0, P1, epoch=other)),
            ("order", lambda source: source.blocks_after_redo(THEIRS, zeros)),
        ]
        for code, wrong in cases:
            await rig.ask()
            source = Source(rig)
            source.begin(THEIRS.at(P0))
            wrong(source)
            await rig.until(partial(_is_refused, source))
            assert source.refusal == code
        assert whole


async def test_a_session_that_was_not_asked_for_is_refused_and_costs_nothing(tmp_path: Path) -> None:
    async with target_rig(tmp_path, OURS, THEIRS) as rig:
        stranger = Source(rig)
        stranger.begin(THEIRS.at(P0))
        await rig.until(lambda: stranger.refusal == "changed")
        whole = rig.whole(await rig.ask())
        source = Source(rig)
        source.begin(THEIRS.at(P0))
        source.granules(whole, THEIRS.content[P1])
        await rig.until(lambda: source.taken == extents.size(whole))
        await rig.ask()
        another = Source(rig)
        another.begin(THEIRS.at(P0), session="99" * 16)
        await rig.until(lambda: another.refusal == "changed")
        assert (await rig.ask()).staged == whole


async def test_a_plan_that_does_not_fit_the_log_is_refused(tmp_path: Path) -> None:
    async with target_rig(tmp_path, OURS, THEIRS) as rig:
        rig.theirs = THEIRS.branch()
        rig.theirs.batches[F - 1] = rig.theirs.batches[F - 1]._replace(end=Position(NEW, F, b"z" * 16))
        with pytest.raises(RefusedError, match="differs at record"):
            await rig.ask()


async def test_a_full_disk_ends_the_session_and_gives_the_space_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with target_rig(tmp_path, OURS, THEIRS) as rig:
        source, whole = Source(rig), rig.whole(await rig.ask())
        source.begin(THEIRS.at(P0))
        await rig.until(lambda: source.has_heard(FrameType.RESYNC_READY))
        stage = rig.target._stage
        assert stage is not None

        def full(_: Stage, volume: int, offset: int, content: bytes) -> None:
            raise NoSpaceError(f"no space for volume {volume}, {len(content)} bytes at {offset}")

        monkeypatch.setattr(type(stage), "put", full)
        source.granules(whole, THEIRS.content[P1])
        await rig.until(lambda: source.refusal == "no_space")
        await rig.until(lambda: not (tmp_path / "stage").exists())
        assert is_as_it_was(rig)
        assert rig.events.told[-1][0] == "resync_refused"


async def test_the_space_that_is_offered_leaves_room_for_the_switch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with target_rig(tmp_path, OURS, THEIRS) as rig:
        gib = 1 << 30
        monkeypatch.setattr(type(rig.store), "free_bytes", lambda _: gib)
        left = gib - (256 << 20)
        assert left // 2 <= (await rig.ask()).free <= left
        monkeypatch.setattr(type(rig.store), "free_bytes", lambda _: 1000)
        assert (await rig.ask()).free == 0


async def test_a_former_process_left_a_stage_that_is_gone_on_with(tmp_path: Path) -> None:
    async with target_rig(tmp_path / "a", OURS, THEIRS) as rig:
        source, whole = Source(rig), rig.whole(await rig.ask())
        source.begin(THEIRS.at(P0))
        source.granules(whole, THEIRS.content[P1])
        await rig.until(lambda: source.taken == extents.size(whole))
        source.link.close("cut")
        await rig.until(lambda: rig.target.words.startswith("kept"))
        await rig.ask()
        shutil.copytree(tmp_path / "a" / "stage", tmp_path / "kept")
        async with target_rig(tmp_path / "b", OURS, THEIRS) as next_one:
            shutil.copytree(tmp_path / "kept", tmp_path / "b" / "stage")
            answer = await next_one.ask()
            assert answer.stage is not None
            assert answer.staged == whole
        async with target_rig(tmp_path / "c", OURS, THEIRS) as streamed:
            shutil.copytree(tmp_path / "kept", tmp_path / "c" / "stage")
            streamed.target.halt("it follows by the stream", drop=True)
            await streamed.until(lambda: not (tmp_path / "c" / "stage").exists())


async def test_while_one_session_ends_another_is_told_to_come_back(tmp_path: Path) -> None:
    async with target_rig(tmp_path, OURS, THEIRS) as rig, rig.target._busy:
        with pytest.raises(TransientError, match="just being ended"):
            await rig.target.ask(Asked("production", NEW, 2, "5e" * 16, 3, Mode.DIRTY, F, THEIRS.at(F).chain))
