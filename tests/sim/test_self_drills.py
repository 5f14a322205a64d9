"""Self-drills in worlds where everything breaks: no promise suffers, and centers prove the same content.

The shipped world runs without them; here they are put into each agent as it starts.
"""

from dataclasses import replace
from functools import partial

import pytest

from drsync.agent.agent import Agent
from drsync.agent.proof_book import ProofBook
from drsync.agent.self_drills import Kit, Means, SelfDrills
from drsync.model.point_proof import Outcome
from drsync.model.position import Position
from drsync.model.self_drill import SelfDrill
from drsync.sim.agent import STATE_DIR, SimAgent
from drsync.sim.process import Process
from drsync.sim.run import Run

EAGER = SelfDrill(every_s=1.0, share=0.5, rate=1 << 20, max_time_s=5.0)
BROKEN_S = 4.0
SEEDS = 3


class Drilled:
    """A world whose agents prove their points, and everything that they proved."""

    def __init__(self, seed: int) -> None:
        self.run = Run(seed, broken_s=BROKEN_S, keeps_all=True)
        world = self.run.world
        group = world.character.group
        policy = replace(group.policy, self_drill=EAGER)
        world.character = replace(world.character, group=replace(group, policy=policy))
        self.books: list[tuple[str, ProofBook]] = []
        for agent in world.agents.values():
            agent.at_start.append(partial(self._equip, agent))

    def _equip(self, place: SimAgent, process: Process, agent: Agent) -> None:
        outside = agent._outside

        def book(group_id: str) -> ProofBook:
            made = ProofBook(STATE_DIR / "groups" / group_id, place.host.files(process))
            self.books.append((place.name, made))
            return made

        means = Means(
            Kit(book), outside.copies.store, outside.front, outside.clock, outside.dice, agent.spawn
        )
        agent.drills = SelfDrills(agent, means)

    def proved(self) -> dict[Position, dict[str, str]]:
        """Digests by center, of every position that anybody proved."""
        found: dict[Position, dict[str, str]] = {}
        for name, book in self.books:
            for proof in book.proofs:
                if proof.outcome is Outcome.PROVED:
                    found.setdefault(proof.position, {})[name] = proof.digest
        return found


@pytest.mark.timeout(120)  # because the machines that run this are shared
def test_worlds_keep_every_promise_while_points_are_proved() -> None:
    proved, compared, ended = 0, 0, 0
    for seed in range(SEEDS):
        world = Drilled(seed)
        outcome = world.run.execute()
        assert outcome.failure is None, f"seed {seed}: {outcome.failure}"
        found = world.proved()
        differing = {position: told for position, told in found.items() if len(set(told.values())) > 1}
        assert not differing, f"seed {seed}: centers read different content at one position"
        proved += len(found)
        compared += sum(len(told) > 1 for told in found.values())
        ended += sum("view_given_up" in line and "self-" in line for line in outcome.lines)
    assert proved > SEEDS
    assert compared > SEEDS, "several centers choose the same points"
    assert ended, "something was asked of a copy while a point was read"
