"""The trees of a drill: which generation belongs to the point, and what was read back from their copies."""

from dataclasses import dataclass, field

from drsync.engine.procedure_world import Json, number_of, text_of
from drsync.model.copy import Statement
from drsync.model.drill import Content, TreeFinding
from drsync.model.group import GroupSpec


@dataclass(slots=True)
class DrillTrees:
    """What agents said of trees in one drill.

    Attributes:
        wanted: name → number of the generation that belongs to the point; empty for an older point.
        found: name → what the drill center read back.
    """

    wanted: dict[str, int] = field(default_factory=dict)
    found: dict[str, TreeFinding] = field(default_factory=dict)

    def marked(self, answer: Json) -> None:
        """The owner made the point."""
        self.wanted = {name: number for name, number in _trees(answer).items() if isinstance(number, int)}

    def missing(self, group: GroupSpec, word: Statement | None) -> str:
        """What of the point's trees is not at a center yet, as the end of a sentence; empty when all is."""
        if word is None:
            return ""
        held = {one.fileset: one.held.number for one in word.files}
        behind = [
            f"{one.name} at generation {held.get(one.id, 0)} of {self.wanted[one.name]}"
            for one in group.filesets
            if held.get(one.id, 0) < self.wanted.get(one.name, 0)
        ]
        return f" and has {', '.join(behind)}" if behind else ""

    @property
    def words(self) -> str:
        """What belongs to the point, as the end of a sentence."""
        listed = [f"{name} at generation {number}" for name, number in sorted(self.wanted.items())]
        return f", {', '.join(listed)}" if listed else ""

    def read_back(self, answer: Json) -> str:
        """An agent hashed a view; only the drill center copies trees. What was read, to end a sentence.

        Raises:
            MalformedError: it does not say what it must.
        """
        found = [_finding(name, proof) for name, proof in sorted(_trees(answer).items())]
        self.found |= {one.name: one for one in found}
        return "".join(f", {one.entries} names of {one.name}" for one in found)

    def findings(self, group: GroupSpec) -> tuple[TreeFinding, ...]:
        """One for each file set of the group; nothing is proved of one that nobody told of."""
        return tuple(
            self.found.get(one.name, TreeFinding(one.name, self.wanted.get(one.name, 0)))
            for one in group.filesets
        )


def opened_trees(answer: Json) -> list[str]:
    """Names of the trees that an agent opened."""
    return sorted(_trees(answer))


def _trees(answer: Json) -> dict[str, object]:
    """Agents without file sets say nothing of trees."""
    told = answer.get("trees")
    return {str(name): word for name, word in told.items()} if isinstance(told, dict) else {}


def _finding(name: str, told: object) -> TreeFinding:
    proof: Json = told if isinstance(told, dict) else {}
    return TreeFinding(
        name,
        number_of(proof, "generation"),
        text_of(proof, "expected"),
        text_of(proof, "found"),
        number_of(proof, "entries"),
        number_of(proof, "bytes"),
        Content.EQUAL if proof.get("equal") is True else Content.DIFFERENT,
    )
