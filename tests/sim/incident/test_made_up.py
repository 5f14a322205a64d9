"""A sealed file in which a fact was made up: it is refused with its line, or told without breaking."""

import copy
import json
import random
from collections.abc import Iterator

import pytest

from drsync.cli.text import clock
from drsync.model.errors import MalformedError
from drsync.report.incident import words
from drsync.sim.incident.document import document
from drsync.sim.incident.record import Incident, read
from drsync.sim.incident.replay import deciding, differences
from drsync.sim.incident.sentences import Sentences
from drsync.sim.incident.story import Story
from drsync.sim.incident.what_if import alternatives
from drsync.wire.incident import Line, Sealer, unseal
from tests.sim.incident.test_lab_demo import RECORD

Path = tuple[str | int, ...]
MADE_UP: tuple[object, ...] = (None, 0, -1, 1 << 63, "", "x", [], {}, True, 1e300)
TRIES = 12


def places(value: object, path: Path = ()) -> Iterator[Path]:
    items = value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else [])
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def with_one_fact_made_up(lines: list[Line], dice: random.Random) -> bytes:
    chosen = dice.choice([line for line in lines if line.kind in ("decision", "operation")])
    body = copy.deepcopy(chosen.body)
    *outer, last = dice.choice(list(places(body)))
    inner: object = body
    for key in outer:
        inner = inner[key]  # type: ignore[index]
    inner[last] = dice.choice(MADE_UP)  # type: ignore[index]
    sealer = Sealer()
    parts = [sealer.line(line.kind, body if line is chosen else line.body) for line in lines]
    return b"".join([*parts, sealer.end()])


def understood(data: bytes) -> Incident | None:
    """What is in it; None where it is refused with the number of the line."""
    try:
        return read(data)
    except MalformedError as error:
        if str(error).startswith("line "):
            return None
        raise


@pytest.mark.parametrize("seed", range(10))
def test_it_is_refused_or_told(seed: int) -> None:
    lines, dice, say = unseal(RECORD.read_bytes()), random.Random(seed), words("en")
    for _ in range(TRIES):
        incident = understood(with_one_fact_made_up(lines, dice))
        if incident is None:
            continue
        found = differences(incident)
        for case in incident.cases:
            assert list(Story(say, clock).case(incident, case))
            shown = deciding(case)
            if shown is not None:
                assert all(Sentences(say).alternative(one) for one in alternatives(shown))
        assert json.dumps(document(incident, incident.cases, found))
