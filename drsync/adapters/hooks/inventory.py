"""What an agent made for runbooks: one small file for each thing, written before the thing is made.

A file names what is about to exist well enough to find and remove it after a crash. It is deleted only when
the kernel knows nothing of the thing any more. Blocking: run it in a thread.
"""

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from drsync.model.errors import MalformedError, RefusedError

ITEMS_MAX = 256  # because each is a process, a mount or a network, and nobody oversees more
TAG_DIGITS = 12  # because scopes are few, and the tag is part of the names of namespaces and directories
_WORD = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


@dataclass(frozen=True, slots=True)
class Item:
    """One thing.

    Attributes:
        scope: for whom it was made: a drill, or a group.
        id: step that made it.
        kind: ``volume``, ``mount``, ``netns`` or ``service``.
        n: order in which things were made.
        tag: beginning of every name the kernel knows it by.
        is_drill: whether it goes away with the drill, and when the agent starts anew.
        basis: on what it stands (process of the agent, epoch or view); another basis makes it worthless.
        facts: what was found out while it was made.
    """

    scope: str
    id: str
    kind: str
    n: int
    tag: str
    is_drill: bool
    basis: str = ""
    is_ready: bool = False
    facts: dict[str, str] = field(default_factory=dict)


class Inventory:
    """The files of one agent, under its state directory."""

    def __init__(self, directory: Path, salt: str) -> None:
        """`salt` tells this agent from others on the same machine."""
        self._directory = directory
        self._salt = salt

    def tag_of(self, scope: str) -> str:
        """What the names of everything in a scope begin with."""
        if _WORD.fullmatch(scope) is None:
            raise MalformedError(f"scope: {scope[:64]!r} is none")
        return hashlib.sha256(f"{self._salt}\0{scope}".encode()).hexdigest()[:TAG_DIGITS]

    def tag(self, scope: str, item_id: str) -> str:
        """What the names of one thing begin with; ends so that no other thing's name begins with it."""
        if _WORD.fullmatch(item_id) is None:
            raise MalformedError(f"item: {item_id[:64]!r} is none")
        return f"{self.tag_of(scope)}-{item_id}."

    def items(self, scope: str = "") -> list[Item]:
        """What is registered, the latest first.

        A file that makes no sense is passed over: what it told of is still found by its name in the kernel,
        and it must not keep everything else from being removed.
        """
        known = [_read(path) for path in self._directory.glob("*.json")]
        found = [item for item in known if item is not None and scope in ("", item.scope)]
        return sorted(found, key=lambda item: item.n, reverse=True)

    def find(self, scope: str, item_id: str) -> Item | None:
        """One thing."""
        return next((item for item in self.items(scope) if item.id == item_id), None)

    def register(self, scope: str, item_id: str, kind: str, basis: str, *, is_drill: bool) -> Item:
        """Say that a thing is about to be made; durable on return. Raises RefusedError: too many."""
        known = self.items()
        if len(known) >= ITEMS_MAX:
            raise RefusedError(
                f"{ITEMS_MAX} things are registered already", code="too_many", remedy="Clean up."
            )
        n = known[0].n + 1 if known else 1
        item = Item(scope, item_id, kind, n, self.tag(scope, item_id), is_drill, basis)
        self._write(item)
        return item

    def ready(self, item: Item, facts: dict[str, str]) -> Item:
        """It was made; durable on return."""
        done = replace(item, is_ready=True, facts=facts)
        self._write(done)
        return done

    def forget(self, item: Item) -> None:
        """Nothing is left of it."""
        self._path(item).unlink(missing_ok=True)
        self._sync()

    def _path(self, item: Item) -> Path:
        return self._directory / f"{item.tag}json"

    def _write(self, item: Item) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self._path(item).with_suffix(".new")
        with fresh.open("w") as file:
            json.dump(asdict(item), file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path(item))
        self._sync()

    def _sync(self) -> None:
        handle = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _read(path: Path) -> Item | None:
    try:
        raw: object = json.loads(path.read_text())
        item = Item(**raw) if isinstance(raw, dict) else None
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return item if item is not None and path.name == f"{item.tag}json" else None
