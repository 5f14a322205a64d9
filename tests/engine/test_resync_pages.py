"""A page that was written costs a page, not the granule around it; what does not fit costs only time."""

import random
from pathlib import Path

import pytest
from xxhash import xxh3_128_digest

from drsync.core import extents
from drsync.core.extents import GRANULE, Run
from drsync.engine import resync_pages as paging
from drsync.engine.resync_ask import Mode
from drsync.model.errors import FailedCopyError, MalformedError, TransientError
from drsync.wire import resync, resync_pages
from drsync.wire.frames import FrameType
from drsync.wire.resync import Block, BlockKind, WireRun
from drsync.wire.resync_pages import HASHES_BYTES, NOT_TOLD, PAGE
from tests.engine.resync_rig import SIZES, Rig, rig
from tests.engine.switch_rig import NEW, P0, P1, VOLUME, logs, read
from tests.engine.target_rig import Source, target_rig

OURS, THEIRS = logs(random.Random(5))
LAST = VOLUME.size // GRANULE
HEAD = 2  # bytes before the pages of a block


def level(made: Rig) -> bool:
    return [bytes(image) for image in made.target.images] == made.content()


async def seeded(made: Rig) -> None:
    """A target that has everything, and pages written since, one of them in the short last granule."""
    for granule in range(SIZES[0] // GRANULE):
        made.write(0, granule * GRANULE, made.dice.randbytes(GRANULE))
    made.write(0, 40 * GRANULE, made.dice.randbytes(8192))
    await made.source.begin(made.wanted(Mode.EVERYTHING))
    made.target.data_bytes = 0
    for granule in (2, 3, 17):
        made.write(0, granule * GRANULE + 5 * PAGE, b"new" * (PAGE // 3))
    made.write(0, 40 * GRANULE + PAGE + 9, b"new")
    made.zero(1, GRANULE, GRANULE)


@pytest.mark.parametrize("mode", [Mode.DIRTY, Mode.DIGEST])
async def test_pages_that_were_written_are_sent_and_no_others(tmp_path: Path, mode: Mode) -> None:
    async with rig(tmp_path) as made:
        await seeded(made)
        await made.source.begin(made.wanted(mode, can_page=True))
        assert level(made)
        assert made.target.data_bytes == 4 * (HEAD + PAGE)


async def test_an_older_center_is_sent_granules_and_asked_nothing(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        await seeded(made)
        await made.source.begin(made.wanted(Mode.DIRTY))
        assert level(made)
        assert made.target.data_bytes == 3 * GRANULE + 2 * PAGE
        assert "PAGES_WANT" not in made.target.taken


async def test_hashes_that_are_wrong_cost_one_session_and_no_more(tmp_path: Path) -> None:
    """A disk that reads something else each time must not make sessions go round for ever."""
    async with rig(tmp_path) as made:
        await seeded(made)
        truth = [paging.hashes_of(memoryview(made.content()[0])[at : at + GRANULE]) for at in (2 * GRANULE,)]
        made.target.lie = lambda _: truth[0]  # says that it has what it has not
        with pytest.raises(TransientError, match="pages do not fit"):
            await made.source.begin(made.wanted(Mode.DIRTY, can_page=True))
        made.target.taken.clear()
        await made.source.begin(made.wanted(Mode.DIRTY, can_page=True))
        assert level(made)
        assert "PAGES_WANT" not in made.target.taken


async def test_what_a_center_does_not_tell_is_sent_whole(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        await seeded(made)
        made.target.lie = lambda _: NOT_TOLD
        await made.source.begin(made.wanted(Mode.DIRTY, can_page=True))
        assert level(made)
        assert made.target.data_bytes == 3 * GRANULE + 2 * PAGE


async def test_an_answer_of_another_length_ends_the_link(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        await seeded(made)
        made.target.lie = lambda hashes: hashes * 2
        with pytest.raises(MalformedError, match="other pages"):
            await made.source.begin(made.wanted(Mode.DIRTY, can_page=True))


async def test_asking_ends_where_nearly_all_pages_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "LEARNED", 4)
    monkeypatch.setattr(paging, "AHEAD", 8)
    monkeypatch.setattr(paging, "QUESTION", 4)
    monkeypatch.setattr("drsync.engine.resync_source.A_TURN", 4)
    async with rig(tmp_path) as made:
        await seeded(made)
        for granule in range(40):
            made.write(0, granule * GRANULE, made.dice.randbytes(GRANULE))
        await made.source.begin(made.wanted(Mode.DIRTY, can_page=True))
        assert level(made)
        assert made.target.taken.count("PAGES_WANT") < 5


# --- the target


def paged(content: bytes, granule: int, numbers: list[int], digest: bytes | None = None) -> Block:
    """Pages of a granule of a volume's content."""
    piece = memoryview(content)[granule * GRANULE : (granule + 1) * GRANULE]
    whole = xxh3_128_digest(piece) if digest is None else digest
    return Block(0, granule, 1, BlockKind.PAGES, whole, resync_pages.cut(piece, numbers))


async def test_a_center_tells_what_its_images_hold_and_nothing_of_what_may_change(tmp_path: Path) -> None:
    async with target_rig(tmp_path, OURS, THEIRS) as made:
        source = Source(made)
        await made.ask()
        source.begin(THEIRS.at(P0))
        runs = (WireRun(0, 0, LAST + 1),)
        source.send(FrameType.PAGES_WANT, resync_pages.encode_want(resync_pages.PagesWant(NEW, 7, runs)))
        await made.until(lambda: source.has_heard(FrameType.PAGES))
        told = resync_pages.read_hashes(next(f for f in source.heard if f.type is FrameType.PAGES).body)
        assert told.number == 7
        own = OURS.changed(0, OURS.tip.seq)  # nothing of the log is in the images
        for granule in range(LAST + 1):
            found = bytes(told.values[granule * HASHES_BYTES : (granule + 1) * HASHES_BYTES])
            is_own = extents.covers(own, (Run(0, granule, granule + 1),))
            size = min(GRANULE, VOLUME.size - granule * GRANULE)
            assert found == (NOT_TOLD if is_own else paging.hashes_of(memoryview(bytes(size))))


async def test_a_session_with_pages_makes_the_copy_the_source_s_log(tmp_path: Path) -> None:
    """Our images are zeros: the log lies above them."""
    content = THEIRS.content[P1]
    async with target_rig(tmp_path, OURS, THEIRS) as made:
        source, whole = Source(made), made.whole(await made.ask())
        source.begin(THEIRS.at(P0))
        for run in whole:
            for granule in range(run.first, run.end):
                piece = content[granule * GRANULE : (granule + 1) * GRANULE]
                numbers = [n for n in range(len(piece) // PAGE) if any(piece[n * PAGE : (n + 1) * PAGE])]
                source.blocks(paged(content, granule, numbers))
        source.redo(THEIRS, P0, P1)
        source.end(whole, THEIRS.at(P1))
        await made.until(lambda: source.has_heard(FrameType.RESYNC_DONE) or bool(source.refusal))
        assert not source.refusal
        assert read(made.copy) == content


async def test_pages_that_were_meant_for_something_else_are_refused_in_passing(tmp_path: Path) -> None:
    async with target_rig(tmp_path, OURS, THEIRS) as made:
        source = Source(made)
        await made.ask()
        source.begin(THEIRS.at(P0))
        source.blocks(paged(THEIRS.content[P1], 1, [0], bytes(16)))
        await made.until(lambda: bool(source.refusal))
        assert source.refusal == "pages_misfit"
        assert made.copy.journal.tip == OURS.tip


async def test_questions_that_fit_no_volume_end_the_link(tmp_path: Path) -> None:
    for runs in ((WireRun(0, LAST, LAST + 2),), (WireRun(3, 0, 1),), (WireRun(0, 0, 2), WireRun(0, 1, 3))):
        async with target_rig(tmp_path / f"{runs[0].volume}-{len(runs)}", OURS, THEIRS) as made:
            source = Source(made)
            await made.ask()
            source.begin(THEIRS.at(P0))
            source.send(FrameType.PAGES_WANT, resync_pages.encode_want(resync_pages.PagesWant(NEW, 7, runs)))
            await made.until(lambda source=source: source.is_lost)  # type: ignore[misc]  # bound now


def test_a_granule_that_cannot_be_read_is_not_told_and_not_laid() -> None:
    def read_into(volume: int, offset: int, target: memoryview) -> None:
        raise FailedCopyError(f"volume {volume}, byte {offset}: {len(target)} bytes")

    assert paging.told_of((Run(0, 1, 2),), (), {0: 2 * GRANULE}, read_into) == NOT_TOLD
    assert paging.laid(paged(bytes(2 * GRANULE), 1, [3]), GRANULE, read_into) is None


def test_blocks_of_pages_share_frames() -> None:
    blocks = [paged(bytes(GRANULE), 0, [number % 16]) for number in range(300)]
    together = list(paging.frames(blocks))
    assert [block for frame in together for block in frame] == blocks
    assert len(together) == 2
    assert all(sum(len(block.data) for block in frame) <= resync.BLOCKS_BYTES_MAX for frame in together)
