"""An index of a tree in memory: the reference for what every index does."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from drsync.core.file_lineage import STARTS_MAX
from drsync.delta.entries import Digest, digest_of, entry_hash
from drsync.model.fileset import Entry, FileKind, Generation, GenerationStart, Signature
from drsync.ports.file_index import IndexState, Known
from drsync.ports.tree import RootIdentity

PLACES_MAX = 4  # because that is what the port says


class MemoryFileIndex:
    """Forgets everything with the process."""

    def __init__(self) -> None:
        self._state = IndexState(digest=Digest().hex())
        self._digest = ""
        self._known: dict[bytes, Known] = {}
        self._incoming: tuple[Generation, tuple[GenerationStart, ...], bool] | None = None
        self._coming: dict[bytes, Entry] = {}

    def state(self) -> IndexState:
        """See FileIndex."""
        return self._state

    def _live(self) -> dict[bytes, Known]:
        return {path: known for path, known in sorted(self._known.items()) if not known[0].deleted}

    def entries(self) -> Iterator[Known]:
        """See FileIndex."""
        return iter(self._live().values())

    def signatures(self) -> dict[bytes, Signature | None]:
        """See FileIndex."""
        return {path: signature for path, (_, signature) in self._live().items()}

    def find(self, path: bytes) -> Known | None:
        """See FileIndex."""
        return self._live().get(path)

    def hard_links(self) -> list[Known]:
        """See FileIndex."""
        return [known for known in self._live().values() if known[0].kind is FileKind.HARDLINK]

    def changed_since(self, number: int) -> Iterator[Entry]:
        """See FileIndex."""
        return iter([entry for _, (entry, _) in sorted(self._known.items()) if entry.generation > number])

    def where(self, block: bytes) -> list[tuple[bytes, int]]:
        """See FileIndex."""
        found = [
            (path, entry.blocks.index(block))
            for path, (entry, _) in self._live().items()
            if block in entry.blocks
        ]
        return found[:PLACES_MAX]

    def cut(self, generation: Generation, changes: Sequence[Known]) -> IndexState:
        """See FileIndex."""
        lineage = self._state.lineage
        if not lineage or lineage[-1].epoch != generation.epoch:
            lineage = (*lineage, GenerationStart(generation.epoch, self._state.held.number))
        self._put(changes)
        self._incoming, self._coming = None, {}
        self._state = replace(
            self._state,
            held=generation,
            lineage=lineage[-STARTS_MAX:],
            applying=None,
            doubted=False,
            lost=0,
            followed=False,
        )
        return self._state

    def refresh(self, known: Iterable[tuple[bytes, Signature]]) -> None:
        """See FileIndex."""
        for path, signature in known:
            if path in self._live():
                self._known[path] = (self._known[path][0], signature)

    def set_root(self, root: RootIdentity) -> None:
        """See FileIndex."""
        self._state = replace(self._state, root=root)

    def approve(self, *, approved: bool) -> None:
        """See FileIndex."""
        self._state = replace(self._state, approved=approved)

    def forget(self, number: int) -> None:
        """See FileIndex."""
        self._known = {
            path: (entry, signature)
            for path, (entry, signature) in self._known.items()
            if not (entry.deleted and entry.generation <= number)
        }
        self._state = replace(self._state, horizon=max(self._state.horizon, number))

    def doubt(self, paths: Iterable[bytes], *, lost: int = 0) -> None:
        """See FileIndex."""
        self._put([(Entry(path, FileKind.FILE, deleted=True), None) for path in paths])
        self._state = replace(self._state, doubted=True, lost=self._state.lost + lost)

    def begin_incoming(
        self, target: Generation, lineage: Sequence[GenerationStart], *, is_full: bool, digest: str = ""
    ) -> None:
        """See FileIndex."""
        self._incoming, self._coming = (target, tuple(lineage), is_full), {}
        self._digest = digest
        self._state = replace(self._state, applying=None)

    def incoming(self) -> tuple[Generation, tuple[GenerationStart, ...], bool] | None:
        """See FileIndex."""
        return self._incoming

    def add_incoming(self, entries: Sequence[Entry]) -> None:
        """See FileIndex."""
        assert self._incoming is not None
        assert self._state.applying is None
        self._coming.update((entry.path, entry) for entry in entries)

    def incoming_entries(self) -> Iterator[Entry]:
        """See FileIndex."""
        return iter([entry for _, entry in sorted(self._coming.items())])

    def begin_applying(self, target: Generation) -> None:
        """See FileIndex."""
        assert self._incoming is not None
        assert self._incoming[0] == target
        self._state = replace(self._state, applying=target)

    def applied(self, changes: Sequence[Known]) -> None:
        """See FileIndex."""
        self._put(changes)

    def end_applying(self) -> IndexState:
        """See FileIndex."""
        assert self._incoming is not None
        assert self._state.applying == self._incoming[0]
        target, lineage, is_full = self._incoming
        coming, horizon = self._coming, self._state.horizon
        if is_full:
            named = {path for path, entry in coming.items() if not entry.deleted}
            self._known = {path: known for path, known in self._known.items() if path in named}
            horizon = target.number
        for path, entry in coming.items():
            known = self._known.get(path)
            if known is None and entry.deleted:
                self._known[path] = (entry, None)
            elif known is not None and entry_hash(known[0]) == entry_hash(entry):
                self._known[path] = (entry, known[1])
        self._put(())
        self._incoming, self._coming = None, {}
        is_wrong = bool(self._digest) and self._state.digest != self._digest
        self._state = replace(
            self._state,
            held=target,
            lineage=lineage,
            applying=None,
            horizon=horizon,
            followed=True,
            lost=0 if is_full and not is_wrong else self._state.lost,
            doubted=is_wrong or (self._state.doubted and not is_full),
        )
        return self._state

    def close(self) -> None:
        """See FileIndex."""

    def _put(self, changes: Iterable[Known]) -> None:
        known: Mapping[bytes, Known] = {
            entry.path: (entry, None if entry.deleted else signature) for entry, signature in changes
        }
        self._known.update(known)
        self._known = {
            path: pair for path, pair in self._known.items() if pair[0].generation or not pair[0].deleted
        }
        live = [entry for entry, _ in self._live().values()]
        self._state = replace(
            self._state,
            digest=digest_of(live),
            entries=len(live),
            bytes=sum(entry.size for entry in live),
        )
