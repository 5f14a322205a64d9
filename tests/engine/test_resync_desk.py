"""Who is brought level by blocks, and who is not: what stands between a comparison and a session."""

from dataclasses import replace
from pathlib import Path

import pytest

from drsync.core import compare
from drsync.core.compare import ConnectPlan
from drsync.engine import resync_desk, resync_slots
from drsync.engine.resync_desk import Met, ResyncDesk
from drsync.engine.resync_slots import ResyncSlots
from drsync.model.epoch import Epoch
from drsync.model.errors import RefusedError
from drsync.wire import resync
from drsync.wire.negotiate import FEATURE_RESYNC
from tests.engine.resync_rig import CHARTER, PEER, Rig, rig


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resync_slots, "JITTER_S", 0.0)


class Lags:
    """Nobody is far behind."""

    def pressure(self, center: str) -> float:
        del center
        return 0.0

    def is_in_sets(self, center: str) -> bool:
        del center
        return False

    def gets_set(self, center: str) -> bool:
        del center
        return False

    def counted(self, center: str, size: int | None) -> None:
        """Nobody asks."""


class Desk:
    """A desk over a rig, and what it asked for."""

    def __init__(self, made: Rig, *, refuses: bool = False) -> None:
        self.made, self.taken_out, self.said = made, list[str](), list[str]()

        async def take_out(center: str) -> None:
            if refuses:
                raise RefusedError(f"{center} is waited for", code="in_sync")
            self.taken_out.append(center)

        self.desk = ResyncDesk(
            made.source._around,
            ResyncSlots(),
            take_out,
            Lags(),
            lambda _, words: self.said.append(words),
        )

    def met(self, found: ConnectPlan, *features: str) -> Met:
        made = self.made
        view = compare.OwnerView(
            "c", "g", CHARTER.history, Epoch(1), made.copy.journal.tip, made.engine.log.commit, 1, 3
        )
        statement = made.target.statement
        return Met(statement, frozenset(features), found, statement.tip.seq, statement.tip.chain, view)


EMPTY = compare.Seed(is_streamable=False)


async def test_an_empty_center_is_taken_out_of_the_in_sync_set_and_filled(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        made.scribble(10)
        desk = Desk(made)
        assert await desk.desk.catch_up(PEER, desk.met(EMPTY, FEATURE_RESYNC))
        assert desk.taken_out == [PEER]
        assert desk.desk.done == {PEER: 1}
        assert desk.desk.level(PEER) == made.target.position.seq > 0
        assert desk.said[-1] == "is brought level by blocks: everything"


@pytest.mark.parametrize(
    ("found", "features"),
    [
        (EMPTY, ()),  # an older version does not know sessions
        (compare.Seed(is_streamable=True), (FEATURE_RESYNC,)),
        (compare.Stream(0), (FEATURE_RESYNC,)),
        (compare.RefuseUnrelated("c/g", "c/h"), (FEATURE_RESYNC,)),
        (compare.FreezeBoth(Epoch(1), "twice"), (FEATURE_RESYNC,)),
    ],
)
async def test_nothing_is_done_for_who_can_be_streamed_to_or_must_not_be_joined(
    tmp_path: Path, found: ConnectPlan, features: tuple[str, ...]
) -> None:
    async with rig(tmp_path) as made:
        made.scribble(5)
        desk = Desk(made)
        assert not await desk.desk.catch_up(PEER, desk.met(found, *features))
        assert not made.target.taken
        assert not desk.taken_out


async def test_who_cannot_be_taken_out_of_the_in_sync_set_is_left_as_it_is(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        made.scribble(5)
        desk = Desk(made, refuses=True)
        with pytest.raises(RefusedError, match="remote is waited for"):
            await desk.desk.catch_up(PEER, desk.met(EMPTY, FEATURE_RESYNC))
        assert not made.target.taken


async def test_a_refusal_is_not_asked_for_again_at_once_and_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rig(tmp_path) as made:
        made.scribble(5)
        desk = Desk(made)
        made.target.refusal = resync.Refuse(Epoch(1), "stage_too_large", "no room", "give it room")
        for _ in range(3):
            with pytest.raises(RefusedError, match="remote refuses: no room"):
                await desk.desk.catch_up(PEER, desk.met(EMPTY, FEATURE_RESYNC))
        assert made.target.taken.count("RESYNC_BEGIN") == 1
        told = [reason for event, reason in made.told if event == "resync_refused"]
        assert told == ["remote refuses: no room; give it room"]
        monkeypatch.setattr(resync_desk, "PAUSE_LOW_S", 0.0)
        desk.desk._pauses[PEER] = replace(desk.desk._pauses[PEER], until=0.0)
        made.target.refusal = None
        assert await desk.desk.catch_up(PEER, desk.met(EMPTY, FEATURE_RESYNC))
