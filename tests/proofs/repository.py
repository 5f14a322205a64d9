"""An application that works on a tree as git does: beside, fsync, rename, delete, and a HEAD that moves last.

Step `n` is decided by `n` alone, so that the tree after it can be told without having seen it.
"""

import hashlib
import os
import random
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HEAD = "HEAD"
NOISE = "noise"
FOLDERS = 5
FILES = 12
OBJECT_BYTES_MAX = 30_000
MOVES_EVERY = 7  # steps between two renames of a folder
KEPT = 300  # objects; older ones are removed, so that the disk never fills
NOISE_BYTES_MAX = 5000

Tree = dict[str, str]
"""Digests of contents by path."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one step does, in this order.

    Attributes:
        writes: contents by path; each is written beside, fsynced and renamed to its place.
        deletes: paths that go, if they are there.
        moves: names of two folders; the second is removed, then the first becomes it.
    """

    writes: dict[str, bytes]
    deletes: tuple[str, ...]
    moves: tuple[str, str] | None


def step(number: int) -> Step:
    """The step of that number, from 1."""
    dice = random.Random(number)
    content = _content(number)
    file = f"work{dice.randrange(FOLDERS)}/file{dice.randrange(FILES)}"
    gone = f"work{dice.randrange(FOLDERS)}/file{dice.randrange(FILES)}"
    old = [_object(number - KEPT)] if number > KEPT else []
    one, other = dice.sample(range(FOLDERS), 2)
    moves = (f"work{one}", f"work{other}") if number % MOVES_EVERY == 0 else None
    return Step({_object(number): content, file: content[::-1]}, (gone, *old), moves)


def _content(number: int) -> bytes:
    dice = random.Random(-number)
    return dice.randbytes(dice.randrange(1, OBJECT_BYTES_MAX))


def _object(number: int) -> str:
    name = hashlib.sha256(_content(number)).hexdigest()
    return f"objects/{name[:2]}/{name[2:]}"


def stages(tree: Tree, what: Step) -> Iterator[Tree]:
    """What is there after each part of a step; a new tree each time."""
    for path, content in what.writes.items():
        tree = tree | {path: hashlib.sha256(content).hexdigest()}
        yield tree
    tree = {path: digest for path, digest in tree.items() if path not in what.deletes}
    yield tree
    if what.moves:
        one, other = what.moves
        tree = {path: digest for path, digest in tree.items() if not path.startswith(f"{other}/")}
        yield tree
        yield {
            other + path.removeprefix(one) if path.startswith(f"{one}/") else path: digest
            for path, digest in tree.items()
        }


def after(number: int) -> Tree:
    """What is there after so many steps."""
    tree: Tree = {}
    for each in range(1, number + 1):
        *_, tree = stages(tree, step(each))
    return tree


class Repository:
    """The application. A step counts from the moment HEAD with its number is durable."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.done = 0

    def run(self, seconds: float) -> None:
        """So long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._do(self.done + 1)

    def _do(self, number: int) -> None:
        what = step(number)
        for path, content in what.writes.items():
            self._put(path, content)
        for path in what.deletes:
            (self.root / path).unlink(missing_ok=True)
        if what.moves:
            one, other = (self.root / name for name in what.moves)
            shutil.rmtree(other, ignore_errors=True)
            if one.is_dir():
                one.rename(other)
        with (self.root / NOISE).open("wb") as file:  # nobody waits for this one
            file.write(bytes(number % NOISE_BYTES_MAX))
        self._put(HEAD, str(number).encode())
        handle = os.open(self.root, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        self.done = number

    def _put(self, path: str, content: bytes) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f"{target.name}.lock")
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.rename(target)


def found(root: Path) -> Tree:
    """What is there now."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name not in (HEAD, NOISE) and not path.name.endswith(".lock")
    }


def require_state(root: Path) -> int:
    """What is there is what some instant left: all steps up to HEAD, and of the next one any beginning.

    Returns:
        How many steps are durable here.
    """
    head = root / HEAD
    number = int(head.read_text()) if head.exists() else 0
    is_there, before = found(root), after(number)
    possible = [before, *stages(before, step(number + 1))]
    for path in sorted(is_there.keys() | before.keys()):
        allowed = {tree.get(path) for tree in possible}
        assert is_there.get(path) in allowed, f"after step {number}: {path} is {is_there.get(path)}"
    return number
