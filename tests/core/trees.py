"""Trees in memory for tests: small valid ones, and one that obeys operations as strictly as a file system."""

from hypothesis import strategies as st

from drsync.core.file_changes import Known, Operation
from drsync.model.fileset import Entry, FileKind, Signature

NAMES = (b"a", b"a.", b"b", b"\xff")
TREE_KINDS = (FileKind.FILE, FileKind.FILE, FileKind.DIRECTORY, FileKind.DIRECTORY, FileKind.SYMLINK)


@st.composite
def trees(draw: st.DrawFn) -> dict[bytes, Entry]:
    """A valid tree: parents are directories, hard links point to the first name of their inode."""
    tree = {b"": Entry(b"", FileKind.DIRECTORY, 1, mode=draw(st.sampled_from((0o755, 0o700))))}
    names = st.sampled_from(NAMES)
    deep = st.lists(names, min_size=1, max_size=3).map(b"/".join)
    paths = draw(st.lists(names | deep, min_size=4, max_size=12))
    for path in sorted(paths, key=lambda path: (path.count(b"/"), path)):
        parent = path.rpartition(b"/")[0]
        if path in tree or parent not in tree or tree[parent].kind is not FileKind.DIRECTORY:
            continue
        kind = draw(st.sampled_from(TREE_KINDS))
        tree[path] = {
            FileKind.FILE: _file(path, draw(st.sampled_from((b"", b"x", b"y"))), draw(st.booleans())),
            FileKind.DIRECTORY: Entry(path, FileKind.DIRECTORY, 1, mode=0o755 - 0o55 * draw(st.booleans())),
            FileKind.SYMLINK: Entry(path, FileKind.SYMLINK, 1, target=draw(st.sampled_from((b"x", b"/y")))),
        }[kind]
    files = sorted(path for path, entry in tree.items() if entry.kind is FileKind.FILE)
    if len(files) > 1 and draw(st.booleans()):
        first, *others = sorted(draw(st.sets(st.sampled_from(files), min_size=2, max_size=3)))
        for name in others:
            tree[name] = Entry(name, FileKind.HARDLINK, 1, target=first)
    return tree


def _file(path: bytes, content: bytes, is_private: bool) -> Entry:
    blocks = (content.ljust(32),) if content else ()
    mode = 0o600 if is_private else 0o644
    return Entry(path, FileKind.FILE, 1, mode=mode, size=len(content), blocks=blocks)


def signature(entry: Entry, ino: int) -> Signature:
    kind = FileKind.FILE if entry.kind is FileKind.HARDLINK else entry.kind
    return Signature(kind, entry.size, 0, 0, ino, 1)


class StrictTree:
    """Names and inodes. Whatever a file system would refuse fails here."""

    def __init__(self, tree: dict[bytes, Entry]) -> None:
        self.inodes: dict[int, Entry] = {}
        self.names: dict[bytes, int] = {}
        for path in sorted(tree, key=lambda path: tree[path].kind is FileKind.HARDLINK):
            self._make(tree[path])

    def _make(self, entry: Entry) -> None:
        if entry.kind is FileKind.HARDLINK:
            assert self.inodes[self.names[entry.target]].kind is FileKind.FILE
            self.names[entry.path] = self.names[entry.target]
        else:
            ino = len(self.inodes) + 1
            self.inodes[ino] = entry
            self.names[entry.path] = ino

    def known(self, tree: dict[bytes, Entry]) -> dict[bytes, Known]:
        return {path: (entry, signature(self._at(path), self.names[path])) for path, entry in tree.items()}

    def _at(self, path: bytes) -> Entry:
        return self.inodes[self.names[path]]

    def perform(self, operation: Operation) -> None:
        entry, path = operation.entry, operation.entry.path
        there = self.names.get(path)
        assert (there is None) == (operation.expected is None)
        if operation.expected is not None and there is not None:
            assert operation.expected.ino == there
        if path:
            assert self._at(entry.parent).kind is FileKind.DIRECTORY
        if entry.deleted:
            assert not any(name.startswith(path + b"/") for name in self.names)
            del self.names[path]
            return
        if there is not None:
            is_directory = self.inodes[there].kind is FileKind.DIRECTORY
            assert is_directory == (entry.kind is FileKind.DIRECTORY)
        if operation.is_content:
            assert entry.kind is FileKind.FILE
        elif there is not None and self.inodes[there].kind is entry.kind is FileKind.FILE:
            assert self.inodes[there].blocks == entry.blocks
            self.inodes[there] = entry
            return
        elif there is not None and entry.kind is FileKind.DIRECTORY:
            self.inodes[there] = entry
            return
        else:
            assert entry.kind is not FileKind.FILE
        self._make(entry)

    def shape(self) -> dict[bytes, tuple[int, int, bytes, tuple[bytes, ...], frozenset[bytes]]]:
        """Everything there is to see: kind, mode, target, content, and which names are one file."""
        found = {}
        for path, ino in self.names.items():
            entry = self.inodes[ino]
            same = frozenset(name for name, other in self.names.items() if other == ino)
            found[path] = (int(entry.kind), entry.mode, entry.target, entry.blocks, same)
        return found
