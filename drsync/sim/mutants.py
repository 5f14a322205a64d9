"""placeholder"""
from dataclasses import dataclass
from drsync.sim.rules import Rules
@dataclass(frozen=True)
class Mutant:
    flaw: str
    rules: Rules
MUTANTS: dict[str, Mutant] = {}
