"""Worlds in which every full segment has an index, so that openings of short journals read through them."""

from collections.abc import Sequence

import pytest

from drsync.adapters.segments import layers
from drsync.adapters.segments.indexes import SealedLayer
from drsync.delta.pieces import Piece
from drsync.sim.runner import Kind, run_seeds

FIRST, SEEDS, BROKEN_S = 300, 12, 16.0


@pytest.mark.timeout(180)
def test_openings_through_indexes_keep_every_invariant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "RECORDS_MIN", 1)
    monkeypatch.setattr(layers, "VERIFIED_BYTES", 0)
    select, asked = SealedLayer.select, [0]

    def count(layer: SealedLayer, volume: int, start: int, end: int) -> tuple[int, Sequence[Piece]]:
        asked[0] += 1
        return select(layer, volume, start, end)

    monkeypatch.setattr(SealedLayer, "select", count)
    report = run_seeds(FIRST, SEEDS, kind=Kind.RUNNING, broken_s=BROKEN_S)
    assert report["failures"] == []
    assert asked[0] > 0, "in no world an opening had to read through an index"
