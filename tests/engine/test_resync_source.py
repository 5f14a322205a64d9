"""An owner brings a center level by blocks: what it sends, and what becomes of it when the line is lost."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from drsync.core import resync_source as rules
from drsync.core.dirty import DirtySet
from drsync.core.extents import GRANULE, Run
from drsync.core.resync import EndWord
from drsync.core.resync_tables import SourceState
from drsync.engine import resync_reader, resync_source
from drsync.engine.resync_ask import Mode
from drsync.model.epoch import Epoch
from drsync.model.errors import NoSpaceError, RefusedError, TransientError
from drsync.wire import resync
from drsync.wire.frames import Frame
from tests.engine.resync_rig import PEER, Rig, rig


def level(made: Rig) -> bool:
    return [bytes(image) for image in made.target.images] == made.content()


async def cut_off(made: Rig, mode: Mode = Mode.EVERYTHING, *, is_frame_lost: bool = False) -> None:
    """Begin a session whose line is cut with its first frame of blocks."""

    def cutting(frame: Frame) -> bool:
        if frame.type.name == "BLOCKS":
            made.cut()
        return is_frame_lost and frame.type.name == "BLOCKS"

    made.target.on_frame = cutting
    with pytest.raises(TransientError):
        await made.source.begin(made.wanted(mode))
    made.target.on_frame = lambda _: False


async def test_a_blank_center_is_sent_what_is_stored_and_no_more(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        made.write(0, 3 * GRANULE, b"a" * GRANULE)
        made.write(0, 40 * GRANULE, b"b" * 8192)
        await made.source.begin(made.wanted(Mode.EVERYTHING))
        assert level(made)
        assert made.target.data_bytes == GRANULE + 8192
        assert made.target.position == made.copy.journal.tip
        assert made.marks.of(PEER).is_clean
        assert made.marks.cursor(PEER) == made.copy.journal.tip.seq
        assert made.marks.pins == {}


async def test_blocks_that_records_changed_are_sent_and_nothing_else(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        made.scribble(30)
        await made.source.begin(made.wanted(Mode.EVERYTHING))
        before = made.target.data_bytes
        made.write(0, 5 * GRANULE + 100, b"x" * 4096)
        made.zero(1, GRANULE, GRANULE)
        await made.source.begin(made.wanted(Mode.DIRTY))
        assert level(made)
        assert made.target.data_bytes - before == GRANULE  # and one granule of zeros, which has no content


async def test_digests_find_what_differs(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        made.scribble(30)
        await made.source.begin(made.wanted(Mode.EVERYTHING))
        made.target.images[0][7 * GRANULE] ^= 1
        made.target.images[1][2 * GRANULE + 9] ^= 1
        before = made.target.data_bytes
        await made.source.begin(made.wanted(Mode.DIGEST))
        assert level(made)
        assert made.target.data_bytes - before <= 2 * GRANULE
        assert made.marks.of(PEER).is_clean


async def test_what_the_center_changed_itself_is_sent_whatever_marks_say(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        made.scribble(10)
        await made.source.begin(made.wanted(Mode.EVERYTHING))
        made.target.images[0][9 * GRANULE : 9 * GRANULE + 5] = b"fork!"
        made.target.changed = (Run(0, 9, 10), Run(0, 39, 90), Run(7, 0, 1))  # coarser than volumes are long
        await made.source.begin(made.wanted(Mode.DIRTY))
        assert level(made)


async def test_a_center_that_cannot_tell_its_changes_is_compared_or_refilled(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        made.scribble(10)
        made.target.changed = None
        await made.source.begin(made.wanted(Mode.DIRTY))
        assert level(made)
        assert made.target.taken.count("DIGEST_WANT") == 0  # nothing can be compared: everything was sent


async def test_writes_go_on_while_blocks_are_sent(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        made.scribble(40)

        def writing(frame: Frame) -> bool:
            del frame
            made.scribble(3)
            return False

        made.target.on_frame = writing
        await made.source.begin(made.wanted(Mode.EVERYTHING))
        made.target.on_frame = lambda _: False
        assert made.target.taken.count("BATCHES") > 0
        assert made.target.position.seq < made.copy.journal.tip.seq
        await made.source.begin(made.wanted(Mode.DIRTY))
        assert level(made)


@pytest.mark.parametrize("mode", [Mode.EVERYTHING, Mode.DIGEST, Mode.DIRTY])
@pytest.mark.parametrize("name", ["RESYNC_BEGIN", "DIGEST_WANT", "BLOCKS", "BATCHES", "RESYNC_END"])
async def test_a_line_that_is_cut_anywhere_costs_what_was_not_put_aside(
    tmp_path: Path, name: str, mode: Mode
) -> None:
    async with rig(tmp_path) as made:
        made.scribble(60)
        if mode is not Mode.EVERYTHING:
            await made.source.begin(made.wanted(Mode.EVERYTHING))
            made.scribble(40)
        cuts = 0

        def cutting(frame: Frame) -> bool:
            nonlocal cuts
            made.scribble(1)
            if frame.type.name != name or cuts:
                return False
            cuts += 1
            made.cut()
            return True

        made.target.on_frame = cutting
        for _ in range(4):
            wanted = made.wanted(mode)
            try:
                if await made.source.resume(wanted):
                    break
                await made.source.begin(wanted)
                break
            except TransientError as error:
                assert "was lost" in str(error)  # noqa: PT017  # the session ends with it, and the next goes on
        else:
            pytest.fail("four attempts after one cut")
        made.target.on_frame = lambda _: False
        await made.source.begin(made.wanted(Mode.DIRTY))
        assert level(made)
        assert made.marks.pins == {}


async def test_a_confirmation_that_was_lost_is_heard_when_the_center_comes_back(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        made.scribble(20)
        real = made.target._send

        def losing(kind: object, parts: object) -> None:
            if getattr(kind, "name", "") == "RESYNC_DONE":
                made.cut()
            else:
                real(kind, parts)  # type: ignore[arg-type]  # passed on as it came

        made.target._send = losing  # type: ignore[method-assign]
        with pytest.raises(TransientError):
            await made.source.begin(made.wanted(Mode.EVERYTHING))
        assert made.source.source.state is SourceState.KEPT
        assert made.marks.pins
        taken = len(made.target.taken)
        assert await made.source.resume(made.wanted(Mode.EVERYTHING))
        assert len(made.target.taken) == taken
        assert made.marks.of(PEER).is_clean
        assert made.marks.pins == {}
        assert level(made)


async def test_a_session_goes_on_in_the_way_in_which_it_began(tmp_path: Path) -> None:
    """As everything, what digests found equal would be zeros at the end."""
    async with rig(tmp_path) as made:
        made.scribble(60)
        await made.source.begin(made.wanted(Mode.EVERYTHING))
        made.scribble(5)
        await cut_off(made, Mode.DIGEST)
        assert await made.source.resume(made.wanted(Mode.EVERYTHING))
        assert level(made)


async def test_a_center_that_dropped_its_stage_is_planned_anew(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        made.scribble(60)
        await cut_off(made)
        made.target.keeps = False
        assert not await made.source.resume(made.wanted(Mode.EVERYTHING))
        assert made.marks.pins == {}
        assert not made.marks.of(PEER).is_known
        await made.source.begin(made.wanted(Mode.EVERYTHING))
        assert level(made)


@pytest.mark.parametrize("moment", ["call", "bulk"])
async def test_a_session_that_outgrew_its_room_while_its_center_came_back_begins_anew(
    tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal let go what the session kept, just when the center was asked about it."""
    async with rig(tmp_path) as made:
        made.scribble(60)
        await cut_off(made)
        assert made.source.source.state is SourceState.KEPT
        made.scribble(5)
        made._sync()
        real = getattr(made, moment)

        async def outgrowing(*args: object) -> object:
            assert await made.source.outgrow(made.copy.journal.tip.seq)
            return await real(*args)

        with monkeypatch.context() as patched:
            patched.setattr(made, moment, outgrowing)
            with suppress(TransientError):
                assert not await made.source.resume(made.wanted(Mode.EVERYTHING))
        assert made.marks.pins == {}
        await made.source.begin(made.wanted(Mode.EVERYTHING))
        assert level(made)


async def test_redo_that_outgrows_its_room_begins_a_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resync_reader, "GRANULES_A_FRAME", 1)  # so that frames are still to come
    async with rig(tmp_path) as made:
        made.scribble(60)
        rounds = 0

        def writing(frame: Frame) -> bool:
            nonlocal rounds
            made.scribble(2)
            if frame.type.name in ("BLOCKS", "BATCHES") and rounds < 5:
                rounds += 1
                made.outgrow()
            return False

        made.target.on_frame = writing
        await made.source.begin(made.wanted(Mode.EVERYTHING))
        assert made.target.taken.count("RESYNC_ROUND") > 1
        assert [task.result() for task in made.tasks].count(True) > 1
        made.target.on_frame = lambda _: False
        await made.source.begin(made.wanted(Mode.DIRTY))
        assert level(made)


async def test_rounds_that_never_end_are_given_up_with_what_they_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "ROUNDS_MAX", 2)
    monkeypatch.setattr(resync_reader, "GRANULES_A_FRAME", 1)  # so that frames are still to come
    async with rig(tmp_path) as made:
        made.scribble(60)

        def writing(frame: Frame) -> bool:
            if frame.type.name == "BLOCKS":
                made.scribble(2)
                made.outgrow()
            return False

        made.target.on_frame = writing
        with pytest.raises(TransientError, match="slower than the writes") as said:
            await made.source.begin(made.wanted(Mode.EVERYTHING))
        assert said.value.code == "outrun"
        assert made.marks.pins == {}
        assert made.marks.of(PEER).through > 0
        made.target.on_frame = lambda _: False
        await made.source.begin(made.wanted(Mode.EVERYTHING))
        assert level(made)


async def test_a_refusal_is_passed_on_with_what_helps(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        made.scribble(10)
        made.target.refusal = resync.Refuse(Epoch(1), "held", "a legal hold is here", "release it")
        with pytest.raises(RefusedError, match="remote refuses: a legal hold is here") as said:
            await made.source.begin(made.wanted(Mode.EVERYTHING))
        assert (said.value.code, said.value.remedy) == ("held", "release it")
        assert made.marks.pins == {}
        assert not made.marks.of(PEER).is_clean


@pytest.mark.parametrize("code", ["halted", "changed", "stale_epoch"])
async def test_a_refusal_for_the_moment_is_no_reason_to_wait_or_to_step_down(
    tmp_path: Path, code: str
) -> None:
    async with rig(tmp_path) as made:
        made.scribble(10)
        made.target.refusal = resync.Refuse(Epoch(1), code, "something came in between", "")
        with pytest.raises(TransientError, match="remote ended the session: something came in between"):
            await made.source.begin(made.wanted(Mode.EVERYTHING))
        made.target.refusal = None
        assert not await made.source.resume(made.wanted(Mode.EVERYTHING))
        await made.source.begin(made.wanted(Mode.EVERYTHING))
        assert level(made)


@pytest.mark.parametrize("mode", [Mode.EVERYTHING, Mode.DIRTY, Mode.DIGEST])
async def test_without_room_for_a_stage_it_is_said_how_much_is_missing(tmp_path: Path, mode: Mode) -> None:
    async with rig(tmp_path) as made:
        made.write(0, 0, b"a" * (4 * GRANULE))
        made.target.free = 3 * GRANULE
        with pytest.raises(
            RefusedError, match=f"needs {4 * GRANULE} bytes and {3 * GRANULE} are free"
        ) as said:
            await made.source.begin(made.wanted(mode))
        assert "more space" in said.value.remedy
        assert "BLOCKS" not in made.target.taken


async def test_a_line_that_carries_nothing_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "NO_PROGRESS_S", 0.05)
    monkeypatch.setattr(resync_source, "LOOK_S", 0.01)
    async with rig(tmp_path) as made:
        made.scribble(10)
        made.target.on_frame = lambda _: True
        made.target.frames_ended = lambda: None  # type: ignore[method-assign]
        with pytest.raises(TransientError, match="no progress") as said:
            await made.source.begin(made.wanted(Mode.EVERYTHING))
        assert said.value.code == "stalled"
        assert made.ends is not None
        assert made.ends.is_closed
        assert made.marks.pins == {}


async def test_what_is_doubtful_at_the_end_is_not_confirmed(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        made.scribble(10)
        made.target.switched = EndWord("ee" * 16, 1, 5, 1)  # of a session before, of another owner
        await made.source.begin(made.wanted(Mode.EVERYTHING))
        assert level(made)
        assert isinstance(made.marks.of(PEER), DirtySet)


class Storm:
    """Writes, cuts, rounds and a forgetful target, at random."""

    def __init__(self, made: Rig, seed: int) -> None:
        self.made, self.dice = made, made.dice
        self.is_calm = False
        self.dice.seed(seed)
        made.target.on_frame = self.blow

    def blow(self, frame: Frame) -> bool:
        """Something happens before a frame is looked at; True when that is lost."""
        made, dice = self.made, self.dice
        if self.is_calm:
            return False
        made.scribble(dice.randrange(3))
        if dice.random() < 0.15:
            made.outgrow()
        if dice.random() > 0.15 or frame.type.name == "DETACH":
            return False
        made.cut()
        made.target.keeps = dice.random() < 0.8
        if dice.random() < 0.5:  # what was not synced of a stage may be gone
            for key in [key for key in made.target.staged if dice.random() < 0.3]:
                del made.target.staged[key]
                made.target.fresh.discard(key)
        return dice.random() < 0.5

    def mode(self) -> Mode:
        """One that is possible now."""
        if not self.made.target.position.seq:
            return Mode.EVERYTHING
        is_known = self.made.marks.of(PEER).is_known
        return self.dice.choice([mode for mode in Mode if is_known or mode is not Mode.DIRTY])


@pytest.mark.parametrize("seed", range(5))
async def test_random_writes_and_cuts_end_level(tmp_path: Path, seed: int) -> None:
    async with rig(tmp_path) as made:
        storm = Storm(made, seed)
        made.scribble(50)
        for attempt in range(45):
            storm.is_calm = attempt > 30
            wanted = made.wanted(storm.mode())
            try:
                if not await made.source.resume(wanted):
                    await made.source.begin(wanted)
            except TransientError:
                continue
            if storm.is_calm:
                break
        storm.is_calm = True
        await made.source.begin(made.wanted(Mode.DIRTY))
        assert level(made)
        assert made.marks.of(PEER).is_clean


async def test_a_round_that_cannot_be_marked_keeps_no_journal(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        made.scribble(60)
        await cut_off(made, is_frame_lost=True)
        assert made.marks.pins
        before = made.marks.of(PEER)
        made.scribble(10)
        made._sync()

        async def full(center: str, marked: DirtySet) -> None:
            raise NoSpaceError(f"{center}: {marked.through}")

        store, made.marks.store = made.marks.store, full  # type: ignore[method-assign]
        with pytest.raises(NoSpaceError):
            await made.source.outgrow(made.copy.journal.tip.seq)
        assert made.source.progress is None
        assert made.marks.pins == {}
        assert made.marks.of(PEER) == before
        made.marks.store = store  # type: ignore[method-assign]
        await made.source.begin(made.wanted(Mode.EVERYTHING))
        assert level(made)


async def test_a_center_that_changed_after_it_was_compared_is_compared_anew(tmp_path: Path) -> None:
    """Also one that was brought level by blocks before."""
    async with rig(tmp_path) as made:
        made.scribble(5)
        await made.source.begin(made.wanted(Mode.EVERYTHING))
        wanted = made.wanted(Mode.DIRTY)
        made.scribble(5)
        other = replace(wanted.statement, session="6f" * 16)
        with pytest.raises(TransientError, match="has changed"):
            await made.source.begin(replace(wanted, statement=other))


async def test_a_session_does_not_wait_for_ever_for_what_is_not_durable_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A center that writes wait for is away: the slot is given back, and what was put aside stays."""
    monkeypatch.setattr(rules, "NO_PROGRESS_S", 0.3)
    monkeypatch.setattr(resync_reader, "GRANULES_A_FRAME", 1)  # so that frames are still to come
    async with rig(tmp_path) as made:
        made.scribble(60)
        sync, made.engine.wake_sync = made.engine.wake_sync, lambda: None

        def writing(frame: Frame) -> bool:
            if frame.type.name == "BLOCKS":
                made.scribble(1)
            return False

        with pytest.raises(TransientError, match="becomes durable"):
            await made.source.begin(made.wanted(Mode.EVERYTHING))
        assert made.marks.pins == {}
        made._sync()
        made.target.on_frame = writing
        with pytest.raises(TransientError, match="becomes durable"):
            await made.source.begin(made.wanted(Mode.EVERYTHING))
        assert made.source.source.state is SourceState.KEPT
        made.engine.wake_sync, made.target.on_frame = sync, lambda _: False
        assert await made.source.resume(made.wanted(Mode.EVERYTHING))
        await made.source.begin(made.wanted(Mode.DIRTY))
        assert level(made)
