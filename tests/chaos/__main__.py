"""``python -m tests.chaos --seeds 20``: campaigns of seeded faults, longer than the suite has time for."""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.chaos.campaign import STEPS, Step, play, schedule
from tests.chaos.stage import stage
from tests.integration import disks

SEED_S = 240.0


async def one(seed: int, steps: int) -> str:
    """Play a seed; what it did, in words. Raises AssertionError with the findings."""
    home = Path(tempfile.mkdtemp(prefix="ds-", dir="/tmp"))
    planned = schedule(seed, steps)
    for number, step in enumerate(planned, 1):
        shown = ", ".join(f"{fault.value} {a}-{b}" for fault, a, b in step.faults)
        say(f"  {number}. {shown} for {step.seconds:.1f} s{trouble(step)}")
    try:
        async with stage(home, seed=seed, seconds=SEED_S) as on:
            owner = await play(on, planned)
            found = await on.judge(owner, is_drilled=True)
            acknowledged = sum(attempt.acknowledged is not None for attempt in found.attempts)
            notes = "".join(f"\n  note: {note}" for note in on.notes)
            counted = f"{acknowledged} writes acknowledged of {len(found.attempts)}"
            return f"{counted}, {len(found.owners)} epochs{notes}"
    finally:
        disks.release_all(home)
        shutil.rmtree(home, ignore_errors=True)


def trouble(step: Step) -> str:
    """What else happens in a step, in words."""
    if not step.victim:
        return ""
    if step.victim == "isolated":
        return f", the owner isolated ({step.isolation.value}) and replaced"
    return f", {step.victim} killed{' and replaced' if step.is_moved else ''}"


def say(line: str) -> None:
    """Print."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """Command line; 1 when any seed broke a promise."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="how many")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--steps", type=int, default=STEPS, help="of each")
    given = parser.parse_args()
    broken = []
    for seed in range(given.first, given.first + given.seeds):
        began = time.monotonic()
        say(f"seed {seed}")
        try:
            words = asyncio.run(one(seed, given.steps))
            say(f"  kept every promise in {time.monotonic() - began:.0f} s: {words}")
        except (AssertionError, TimeoutError):
            broken.append(seed)
            say(traceback.format_exc())
    say(
        f"{given.seeds - len(broken)} of {given.seeds} seeds kept every promise"
        + (f"; broken: {broken}" if broken else "")
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
