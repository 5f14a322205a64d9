"""Mistakes in a file: one value each, all of them in one error. Nothing is read or decided here."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from drsync.model.errors import UsageError

PROBLEMS_MAX = 50  # because nobody reads more at once


class MistakeError(ValueError):
    """One mistake in one value, said for people; the reader of the file collects them."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake.

    Attributes:
        path: dotted path in the file, e.g. ``volumes[1].size``; empty for the file as a whole.
        what: what is wrong, without the path.
        line: line in the file, from 1; 0 when unknown.
        nearest: the correct key or value that was probably meant; may be empty.
    """

    path: str
    what: str
    line: int = 0
    nearest: str = ""

    def sentence(self) -> str:
        """Path, line, what is wrong and what was probably meant."""
        where = f" (line {self.line})" if self.line else ""
        hint = f"; did you mean {self.nearest}?" if self.nearest else ""
        return f"{self.path}{where}: {self.what}{hint}" if self.path else f"{self.what}{where}{hint}"


class ConfigError(UsageError):
    """A file that cannot be used, with all its mistakes.

    Attributes:
        source: the file, as the caller named it.
        problems: at least one, in the order of the file where lines are known.
    """

    code = "config"

    def __init__(self, source: str, problems: Iterable[Problem]) -> None:
        unique = list(dict.fromkeys(problems))
        assert unique
        self.source = source
        self.problems = sorted(unique, key=lambda problem: (problem.line == 0, problem.line))
        shown = [f"  {problem.sentence()}" for problem in self.problems[:PROBLEMS_MAX]]
        if len(unique) > PROBLEMS_MAX:
            shown.append(f"  … and {len(unique) - PROBLEMS_MAX} more")
        count = "1 mistake" if len(unique) == 1 else f"{len(unique)} mistakes"
        super().__init__(
            "\n".join([f"{count} in {source}:", *shown]), remedy="Mend the file and run it again."
        )


def nearest(word: str, known: Iterable[str]) -> str:
    """The member of `known` that `word` was probably meant to be, or nothing."""
    candidates = list(known)
    found = get_close_matches(word, candidates, n=1, cutoff=0.6)
    if not found:
        found = get_close_matches(word.lower().replace("-", "_"), candidates, n=1, cutoff=0.6)
    return found[0] if found else ""
