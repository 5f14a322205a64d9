"""Mistakes in a runbook: where to the column, what, and what to do; all of them in one error."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from drsync.config.problems import PROBLEMS_MAX
from drsync.model.errors import UsageError

Place = tuple[str | int, ...]
"""A path into the document: keys and list indices."""


class Spot(NamedTuple):
    """A place in the text, both counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake.

    Attributes:
        code: stable name of its kind.
        spot: where.
        place: path in the document; empty for the file as a whole.
        what: what is wrong, without the path.
        remedy: what to do, a sentence.
    """

    code: str
    spot: Spot
    place: Place
    what: str
    remedy: str

    @property
    def path(self) -> str:
        """The place as people write it: ``spec.steps[2].needs``."""
        text = ""
        for step in self.place:
            text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
        return text

    def sentence(self, source: str) -> str:
        """``file:line:column: path: what. remedy``."""
        where = f"{self.path}: " if self.path else ""
        return f"{source}:{self.spot.line}:{self.spot.column}: {where}{self.what}. {self.remedy}"


class RunbookError(UsageError):
    """A runbook that cannot be run, with all its mistakes.

    Attributes:
        source: the file, as the caller named it.
        mistakes: at least one, in the order of the file.
    """

    code = "runbook"

    def __init__(self, source: str, mistakes: Iterable[Mistake]) -> None:
        unique = sorted(dict.fromkeys(mistakes), key=lambda mistake: (mistake.spot, mistake.code))
        assert unique
        self.source = source
        self.mistakes = unique
        shown = [f"  {mistake.sentence(source)}" for mistake in unique[:PROBLEMS_MAX]]
        if len(unique) > PROBLEMS_MAX:
            shown.append(f"  … and {len(unique) - PROBLEMS_MAX} more")
        count = "1 mistake" if len(unique) == 1 else f"{len(unique)} mistakes"
        super().__init__(
            "\n".join([f"{count} in {source}:", *shown]), remedy="Mend the file and check it again."
        )
