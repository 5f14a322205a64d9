"""Faults by a seeded schedule: the same seed disturbs the same lines in the same order, for the same time."""

import random
from dataclasses import dataclass

from drsync.adapters.api_client.failures import DONE, REFUSED
from drsync.lab.layout import CENTER_NAMES, COORDINATOR, GROUP, PRODUCTION, REMOTE, SAME_CITY
from drsync.lab.status import group_of
from tests.chaos.stage import Fault, Stage, lines

CITY = (PRODUCTION, SAME_CITY)
PARTNERS = (*CENTER_NAMES, COORDINATOR)
BUSY = (*CITY, *CITY, REMOTE)  # because between idle members there is little to lose
STEPS = 5
HOLD_S = (0.3, 3.0)
TROUBLE = ("",) * 4 + ("owner", "owner", "isolated", "isolated", REMOTE, COORDINATOR)
SETTLED_CHANCE = 0.6  # because a move is refused while its target lags, and then tests little
ISOLATING = (Fault.HALF_OPEN, Fault.CUT, Fault.RESET)
CONCURRENT_MAX = 2


@dataclass(frozen=True, slots=True)
class Step:
    """Lines that are disturbed together for a while; perhaps a process is killed meanwhile.

    Attributes:
        faults: what happens to which line.
        seconds: how long.
        victim: who is killed; empty for nobody. ``owner`` is whoever owns the group then; ``isolated`` is the
            owner as well, which lives on but is cut off from everybody, as `isolation` says.
        is_moved: after the owner's death the other center of the city takes over, if it may.
        isolation: see there.
        is_settled: everybody had recovered before; else this meets what the last step left.
    """

    faults: tuple[tuple[Fault, str, str], ...]
    seconds: float
    victim: str = ""
    is_moved: bool = False
    isolation: Fault = Fault.CUT
    is_settled: bool = False


def schedule(seed: int, steps: int = STEPS) -> list[Step]:
    """What happens."""
    dice = random.Random(seed)
    made = []
    for _ in range(steps):
        faults = []
        for _ in range(dice.randint(1, CONCURRENT_MAX)):
            one = dice.choice(BUSY)
            other = dice.choice([name for name in PARTNERS if name != one])
            faults.append((dice.choice(list(Fault)), one, other))
        seconds, victim = dice.uniform(*HOLD_S), dice.choice(TROUBLE)
        is_moved = victim == "isolated" or (victim == "owner" and dice.random() < 0.5)
        isolation, is_settled = dice.choice(ISOLATING), dice.random() < SETTLED_CHANCE
        made.append(Step(tuple(faults), seconds, victim, is_moved, isolation, is_settled))
    return made


async def play(on: Stage, steps: list[Step]) -> str:
    """Let it all happen; whoever owns the group at the end."""
    owner = PRODUCTION
    for step in steps:
        if step.is_settled:
            await on.level(await _owner(on))
        for fault, one, other in step.faults:
            await on.disturb(fault, lines(one, other))
        if step.victim:
            owner = await _trouble(on, step, owner)
        await on.hold(step.seconds)
        await on.heal(on.proxies)
        for name in sorted(on.killed):
            on.restart(name)
        on.require_alive()
    return await _owner(on)


async def _trouble(on: Stage, step: Step, owner: str) -> str:
    if step.victim == "isolated":
        await on.disturb(step.isolation, lines(owner))
    else:
        await on.kill(owner if step.victim == "owner" else step.victim)
    if not step.is_moved:
        return owner
    target = next(name for name in CITY if name != owner)
    ended = await on.place.cli("failover", GROUP, "--to", target, "--reason", "chaos")
    if ended.code not in (DONE, REFUSED):
        on.notes.append(f"failover to {target} ended with {ended.code}: {ended.err.strip()}")
    return await _owner(on)


async def _owner(on: Stage) -> str:
    status = await on.place.until("the coordinator answers", lambda s: bool(group_of(s).text("owner")))
    return group_of(status).text("owner")
