"""What must be done about trees: names to be read again after a scan, and steps from one tree to another.

Nothing is looked at or changed here: scans, signatures and entries come in, names and operations go out.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from drsync.model.fileset import Entry, FileKind, Signature
from drsync.model.scan import Scan, Seen

RACY_NS = 2_000_000_000  # because file systems keep times by up to two seconds (P48)

Signatures = Mapping[bytes, Signature | None]
Known = tuple[Entry, Signature | None]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a scan found.

    Attributes:
        read: new and changed names, and names whose last look was too close to their last change; by path.
            Names of one inode come together.
        racy: those of `read` that must be looked at again, because they may change without a trace: their
            signature is not to be kept.
        gone: (path, kind) of names that are no more, directories after their content.
        replaced: how many names of `read` are of another kind now.
        is_emptied: nothing but the root is left of at least two names.
    """

    read: tuple[Seen, ...]
    racy: frozenset[bytes]
    gone: tuple[tuple[bytes, FileKind], ...]
    replaced: int
    is_emptied: bool


def compare(
    known: Signatures, scan: Scan, below: Sequence[bytes] = (), *, granularity_ns: int = RACY_NS
) -> Comparison:
    """Compare a scan of the whole tree, or of the directories `below`, with the index.

    A partial scan never makes a name gone that is at, below or above a place that was not seen (P51). With
    `below`, inodes with several names are left to a scan of the whole tree: the first shows only there.
    """
    racy_from = scan.began_ns - max(RACY_NS, granularity_ns)
    seen = scan.seen
    places = _Places(scan, known)
    gone = [path for path in _missing(known, seen, below) if not places.may_hold(path)]
    if below:
        linked = _linked_elsewhere(known, gone)
        gone = [path for path in gone if _inode(known[path]) not in linked]
        seen = [name for name in seen if not _is_linked(name)]
    read = _to_read(known, seen, gone)
    return Comparison(
        read=tuple(read),
        racy=frozenset(name.path for name in read if _is_racy(name.signature, scan.began_ns, racy_from)),
        gone=tuple((path, _kind(known[path])) for path in sorted(gone, reverse=True)),
        replaced=sum(_is_replaced(known.get(name.path), name) for name in read),
        is_emptied=not below and not scan.unseen and len(scan.seen) <= 1 and len(gone) > 1,
    )


def _to_read(known: Signatures, seen: Sequence[Seen], gone: Iterable[bytes]) -> list[Seen]:
    """Changed names; of an inode with several names all or none."""
    changed = {name.path for name in seen if known.get(name.path) != name.signature}
    inodes = {_inode(name.signature) for name in seen if name.path in changed and _is_linked(name)}
    inodes |= {_inode(known[path]) for path in gone}
    return [
        name
        for name in seen
        if name.path in changed
        or (name.kind is not FileKind.DIRECTORY and inodes and _inode(name.signature) in inodes)
    ]


def _missing(known: Signatures, seen: Sequence[Seen], below: Sequence[bytes]) -> Iterator[bytes]:
    """Names of the index that the scan did not find where it looked."""
    found = {name.path for name in seen}
    scope = frozenset(below)
    inside = tuple(place + b"/" for place in scope if place)
    is_everything = not scope or b"" in scope
    for path in known:
        if path and (is_everything or path in scope or path.startswith(inside)) and path not in found:
            yield path


class _Places:
    """Where a name may be although the scan has not seen it."""

    def __init__(self, scan: Scan, known: Signatures) -> None:
        unseen = {place.path for place in scan.unseen}
        unseen |= {place.path for place in scan.skipped if _kind(known.get(place.path)) is FileKind.DIRECTORY}
        self._roots = unseen
        self._above = {parent for place in unseen for parent in ancestors(place)}

    def may_hold(self, path: bytes) -> bool:
        return bool(self._roots) and (path in self._above or is_below(path, self._roots))


def ancestors(path: bytes) -> Iterator[bytes]:
    """The directories above a path, the nearest first, the root last."""
    while path:
        path = path.rpartition(b"/")[0]
        yield path


def is_below(path: bytes, places: Collection[bytes]) -> bool:
    """Whether a path is one of `places` (a set) or below one of them."""
    return path in places or any(parent in places for parent in ancestors(path))


def _linked_elsewhere(known: Signatures, gone: Sequence[bytes]) -> set[tuple[int, int]]:
    """Inodes of names that are gone, of which the index has other names that are not."""
    inodes = {_inode(known[path]) for path in gone} - {_NO_INODE}
    if not inodes:
        return set()
    names = frozenset(gone)
    return {
        inode
        for path, signature in known.items()
        if path not in names and (inode := _inode(signature)) in inodes and _kind(signature) is FileKind.FILE
    }


_NO_INODE = (0, 0)


def _inode(signature: Signature | None) -> tuple[int, int]:
    return _NO_INODE if signature is None else (signature.dev, signature.ino)


def _kind(signature: Signature | None) -> FileKind:
    return FileKind.FILE if signature is None else FileKind(signature.kind)


def _is_linked(name: Seen) -> bool:
    return name.nlink > 1 and name.kind is not FileKind.DIRECTORY


def _is_replaced(before: Signature | None, name: Seen) -> bool:
    return before is not None and before.kind != name.signature.kind


def _is_racy(signature: Signature, began_ns: int, racy_from: int) -> bool:
    """Whether it may change after the look without a change of its times.

    A change always sets the change time; a modification time in the far future was set by somebody.
    """
    return signature.ctime_ns >= racy_from or racy_from <= signature.mtime_ns <= began_ns + RACY_NS


# --- at a replica


@dataclass(frozen=True, slots=True)
class Operation:
    """One change of a tree.

    Attributes:
        entry: what is to be there; a tombstone: nothing.
        expected: what the index says is there now; None: nothing, or it was not looked at since.
        is_content: a staged file takes the place; otherwise a name is made or attributes are changed.
    """

    entry: Entry
    expected: Signature | None
    is_content: bool = False


def operations(own: Mapping[bytes, Known], incoming: Iterable[Entry], *, is_full: bool) -> list[Operation]:
    """How the tree `own` becomes what `incoming` says, in an order in which each step is possible.

    First goes what is in the way of something of another kind, then directories are made before their
    content, files before hard links to them; what is gone is removed last, directories after their content.
    Times of directories are not cared for: they change with each step.
    """
    wanted = {entry.path: entry for entry in incoming}
    puts = {
        path: entry
        for path, entry in wanted.items()
        if not entry.deleted and (path not in own or not own[path][0].says_same(entry))
    }
    removed = {path for path, entry in wanted.items() if entry.deleted and path in own}
    if is_full:
        removed |= {path for path in own if path and path not in wanted}
    contents = {path for path, entry in puts.items() if _needs_content(own.get(path), entry)}
    renewed = contents | {path for path, entry in puts.items() if entry.kind in _NEVER_CHANGED}
    puts.update(_links_of(own, wanted, renewed, removed))
    swapped = {path for path, entry in puts.items() if path in own and _is_swap(own[path][0], entry)}
    early = swapped | {path for path in removed if is_below(path, swapped)}
    return [
        *(_removal(own[path]) for path in sorted(early, reverse=True)),
        *(
            Operation(entry, None if path in swapped or path not in own else own[path][1], path in contents)
            for path, entry in sorted(puts.items(), key=_rank)
        ),
        *(_removal(own[path]) for path in sorted(removed - early, reverse=True)),
    ]


def _rank(item: tuple[bytes, Entry]) -> tuple[int, bytes]:
    path, entry = item
    order = {FileKind.DIRECTORY: 0, FileKind.HARDLINK: 2}
    return order.get(entry.kind, 1), path


def _removal(known: Known) -> Operation:
    entry, signature = known
    return Operation(Entry(entry.path, entry.kind, deleted=True), signature)


_NEVER_CHANGED = frozenset((FileKind.SYMLINK, FileKind.FIFO, FileKind.CHARACTER, FileKind.BLOCK))
"""What is made anew, with another inode, whatever about it changes."""


def _links_of(
    own: Mapping[bytes, Known], wanted: Mapping[bytes, Entry], renewed: set[bytes], removed: set[bytes]
) -> dict[bytes, Entry]:
    """Hard links to files that get another inode: they must be made again, changed or not."""
    return {
        path: wanted.get(path, entry)
        for path, (entry, _) in own.items()
        if entry.kind is FileKind.HARDLINK and entry.target in renewed and path not in removed
    }


def _needs_content(known: Known | None, entry: Entry) -> bool:
    return entry.kind is FileKind.FILE and not (known is not None and known[0].has_content_of(entry))


def _is_swap(before: Entry, after: Entry) -> bool:
    """A directory never takes the place of something else in one step, nor the other way round."""
    return (before.kind is FileKind.DIRECTORY) != (after.kind is FileKind.DIRECTORY)
