"""A person at work in a protected tree: adds, changes, renames and deletes files, and remembers what it did.

Files are not acknowledged by anybody: so what is checked is how old the state is that a center shows.
"""

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = "drsync-lab"
PERIOD_S = 0.05
KEPT = 40  # because some files should live long enough to be changed
LINE = "drsync lab, edit {n}\n"
LINES_MAX = 400  # because files should have several sizes, and none that takes long
CHANGE, RENAME, DELETE = 3, 5, 7
"""Every so many edits are such; the others add a file."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a tree showed of the edits.

    Attributes:
        age_s: nothing that was done longer than this before the end of the work is missing; None: something
            is there that never was.
        wrong: names that never were as they are.
        names: how many there were at the end.
    """

    age_s: float | None
    wrong: tuple[str, ...]
    names: int


@dataclass(slots=True)
class Editor:
    """Works in `FOLDER` below `root`, one edit at a time, until cancelled.

    Attributes:
        root: the tree; set to another place when its owner is elsewhere.
        edits: how many were made.
    """

    root: Path
    edits: int = 0
    _files: dict[str, str] = field(default_factory=dict)
    _history: dict[str, list[tuple[float, str | None]]] = field(default_factory=dict)
    _working: asyncio.Event = field(default_factory=asyncio.Event)
    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Work whenever told to."""
        while True:
            if not self._working.is_set():
                self._idle.set()
                await self._working.wait()
                self._idle.clear()
            with contextlib.suppress(OSError):  # the tree is being moved or taken away: try again
                await asyncio.to_thread(self.edit)
            await asyncio.sleep(PERIOD_S)

    def go(self) -> None:
        """Work from now on."""
        self._idle.clear()
        self._working.set()

    async def rest(self) -> None:
        """Work no more; comes back when the last edit is done."""
        self._working.clear()
        await self._idle.wait()

    def start_anew(self, root: Path) -> None:
        """Forget what was done: what was lost is lost, and work goes on from what is there."""
        self.root, self._files, self._history = root, {}, {}

    def edit(self) -> None:
        """One edit. Raises OSError: the tree is gone."""
        self.edits += 1
        n, names = self.edits, list(self._files)
        folder = self.root / FOLDER
        folder.mkdir(exist_ok=True)
        text = LINE.format(n=n) * (n % LINES_MAX + 1)
        if names and n % CHANGE == 0:
            self._write(folder, names[n % len(names)], text)
        elif names and n % RENAME == 0:
            self._rename(folder, names[n % len(names)], f"note-{n}-renamed.txt")
        elif names and (n % DELETE == 0 or len(names) > KEPT):
            self._delete(folder, names[0])
        else:
            self._write(folder, f"note-{n}.txt", text)

    def look(self, root: Path, since: float, until: float) -> Seen:
        """How old the state is that a tree shows of the time from `since` to `until` (monotonic seconds)."""
        oldest, wrong = until, []
        for name, history in self._history.items():
            found = _read(root / FOLDER / name)
            shown = _latest(history, found, since, until)
            if shown is None:
                wrong.append(name)
            else:
                oldest = min(oldest, shown)
        return Seen(None if wrong else until - oldest, tuple(wrong), len(self._files))

    def _write(self, folder: Path, name: str, text: str) -> None:
        fresh = folder / f".{name}.new"  # as editors do: nobody reads half of a file
        fresh.write_text(text, "ascii")
        fresh.replace(folder / name)
        self._note(name, text)

    def _rename(self, folder: Path, name: str, new: str) -> None:
        text = self._files[name]
        (folder / name).rename(folder / new)
        self._note(name, None)
        self._note(new, text)

    def _delete(self, folder: Path, name: str) -> None:
        (folder / name).unlink()
        self._note(name, None)

    def _note(self, name: str, text: str | None) -> None:
        self._history.setdefault(name, [(0.0, None)]).append((time.monotonic(), text))
        self._files.pop(name, None)
        if text is not None:
            self._files[name] = text


def _read(path: Path) -> str | None:
    try:
        return path.read_text("ascii")
    except (FileNotFoundError, UnicodeDecodeError):
        return None


def _latest(
    history: list[tuple[float, str | None]], found: str | None, since: float, until: float
) -> float | None:
    """The last instant of the time at which a file was as it was found; None when it never was."""
    known = [(at, text) for at, text in history if at <= until]
    ends = [*(at for at, _ in known[1:]), until]
    fits = [end for (_, text), end in zip(known, ends, strict=True) if text == found and end >= since]
    return max(fits, default=None)
