"""What was decided on which sight: kept by whoever wants to be asked "why" afterwards.

A decision is a pure function of its observation (`core.procedure`), so the pair is enough to ask again.
"""

from dataclasses import dataclass
from typing import Protocol

from drsync.core.observation import Observation
from drsync.core.plan import Plan
from drsync.core.procedure import Way


@dataclass(frozen=True, slots=True)
class Decision:
    """One question to a procedure's rules, and the answer."""

    way: Way
    seen: Observation
    plan: Plan


class Decisions(Protocol):
    """Is told each decision, before it is carried out."""

    def decided(self, decision: Decision) -> None:
        """Keep it. Never raises and takes no longer than a small commit: a procedure must get on."""
        ...


class NoDecisions:
    """Keeps nothing."""

    def decided(self, decision: Decision) -> None:
        """See Decisions."""


NO_DECISIONS = NoDecisions()
