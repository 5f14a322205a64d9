"""Which seed shows each wrong rule: the table, and the search that makes it anew.

    scripts/find-mutant-seeds                     # what moved since the table was written
    scripts/find-mutant-seeds --budget 600 NAME   # one, with at most so much processor time

A seed that shows nothing any more is most likely replaced by another with the same scene: these are tried
first.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterable
from functools import cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from drsync.sim import mutants
from drsync.sim.ledger import ViolationError
from drsync.sim.run import Run
from drsync.sim.scenes import scene_of

SEEDS_MAX = 200  # because a mistake that needs more shows a world that is too kind
BROKEN_S = 16.0  # because each of these shows itself in that time; longer runs begin alike
BUDGET_S = 1800.0  # of processor time, because all seeds of a dozen mistakes are tried in it
TABLE = Path(__file__).with_name("mutant-seeds.json")


class Caught(NamedTuple):
    """A seed, the invariant that is broken in it under a mistake, and the scene that it plays."""

    seed: int
    invariant: str
    scene: str


def read_table() -> dict[str, Caught]:
    """Name of a mistake -> what shows it."""
    return {name: Caught(*found) for name, found in json.loads(TABLE.read_text()).items()}


def write_table(table: dict[str, Caught]) -> None:
    """Keep it, one mistake a line."""
    lines = [f'  "{name}": {json.dumps(found)}' for name, found in sorted(table.items())]
    TABLE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def disturbed(seed: int) -> ViolationError | None:
    """The first broken promise while things break; healing would tell no more here."""
    run = Run(seed, broken_s=BROKEN_S)
    try:
        run._begin()
        run._break()
    except ViolationError as found:
        return found
    finally:
        run.world.end()
    return None


@cache
def is_clean(seed: int) -> bool:
    """Whether the shipped rules keep every promise on a seed. Each is run once."""
    return disturbed(seed) is None


def caught(name: str, seed: int) -> Caught | None:
    """What a seed shows of a mistake, and of nothing but the mistake."""
    with mutants.in_force(name):
        found = disturbed(seed)
    return Caught(seed, found.invariant, scene_of(seed)) if found is not None and is_clean(seed) else None


def candidates(known: Caught | None, scenes: tuple[str, ...] = ()) -> Iterable[int]:
    """All seeds, the likeliest first: the known one, those with its scene, all others."""
    wanted = {*scenes, *([known.scene] if known else [])}
    alike = [seed for seed in range(SEEDS_MAX) if scene_of(seed) in wanted]
    return dict.fromkeys([*([known.seed] if known else []), *alike, *range(SEEDS_MAX)])


def search(
    name: str, known: Caught | None, until_s: float, scenes: tuple[str, ...], tries: int
) -> Caught | str:
    """A seed that shows a mistake, or why there is none."""
    tried = 0
    for seed in islice(candidates(known, scenes), tries):
        if time.process_time() > until_s:
            return f"not found in {tried} seeds, and no time is left"
        found = caught(name, seed)
        tried += 1
        if found is not None:
            return found
    return f"not found in {tried} seeds"


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(arguments: list[str] | None = None) -> int:
    """Search, tell, and write the table. 1 if something that was in it is not found any more."""
    parser = argparse.ArgumentParser(prog="scripts/find-mutant-seeds", description=__doc__)
    parser.add_argument("names", nargs="*", help="mistakes; default: all of the table")
    parser.add_argument("--budget", type=float, default=BUDGET_S, help="seconds of processor time for all")
    parser.add_argument("--tries", type=int, default=SEEDS_MAX, help="seeds for each, the likeliest first")
    parser.add_argument("--scene", action="append", default=[], help="try seeds with it first")
    parser.add_argument("--dry-run", action="store_true", help="leave the table as it is")
    chosen = parser.parse_args(arguments)
    table = read_table()
    is_lacking = False
    until_s = time.process_time() + chosen.budget
    for name in chosen.names or sorted(table):
        known = table.get(name)
        found = search(name, known, until_s, tuple(chosen.scene), chosen.tries)
        if isinstance(found, str):
            is_lacking = True
            _tell(f"{name}: {found}")
        elif found == known:
            _tell(f"{name}: still {found.seed}")
        else:
            _tell(f"{name}: {found.seed} ({found.invariant}, {found.scene or 'no scene'})")
            if not chosen.dry_run:
                write_table(read_table() | {name: found})
    return int(is_lacking)


if __name__ == "__main__":
    sys.exit(main())
