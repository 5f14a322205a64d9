"""Entries for tests: strategies that make every valid one, and small ones by hand."""

from hypothesis import strategies as st

from drsync.delta.entries import OWN_XATTRS
from drsync.model.fileset import BLOCK_BYTES_MIN, Entry, FileKind, block_bytes

NAMES = st.binary(min_size=1, max_size=8).filter(
    lambda name: not {b"/", b"\0"} & {bytes([c]) for c in name} and name not in (b".", b"..")
)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(b"/".join).filter(lambda path: path[:7] != b".drsync")
U32 = st.integers(0, (1 << 32) - 1)
XATTRS = st.dictionaries(
    st.binary(min_size=1, max_size=20).filter(
        lambda name: b"\0" not in name and not name.startswith(OWN_XATTRS)
    ),
    st.binary(max_size=20),
    max_size=3,
).map(lambda found: tuple(sorted(found.items())))


@st.composite
def entries(draw: st.DrawFn, path: bytes | None = None) -> Entry:
    path = draw(PATHS) if path is None else path
    kind = draw(st.sampled_from(FileKind))
    generation = draw(st.integers(0, (1 << 63) - 1))
    if draw(st.booleans()) and draw(st.booleans()):
        return Entry(path, kind, generation, deleted=True)
    size = draw(st.integers(0, 4 * BLOCK_BYTES_MIN)) if kind is FileKind.FILE else 0
    count = -(-size // block_bytes(size))
    target = b""
    if kind is FileKind.SYMLINK:
        target = draw(st.binary(min_size=1, max_size=20).filter(lambda value: b"\0" not in value))
    elif kind is FileKind.HARDLINK:
        target = draw(PATHS.filter(lambda other: other != path))
    return Entry(
        path=path,
        kind=kind,
        generation=generation,
        mode=draw(st.integers(0, 0o7777)),
        uid=draw(U32),
        gid=draw(U32),
        mtime_ns=draw(st.integers(-(10**18), 15 * 10**18)),
        size=size,
        blocks=tuple(draw(st.lists(st.binary(min_size=32, max_size=32), min_size=count, max_size=count))),
        holes=((0, size // 3), (size // 2, size // 4)) if size > 8 and draw(st.booleans()) else (),
        target=target,
        device=draw(U32) if kind in (FileKind.CHARACTER, FileKind.BLOCK) else 0,
        xattrs=draw(XATTRS),
    )


def file(path: bytes, content: bytes = b"x", generation: int = 1) -> Entry:
    """A small file whose one block's hash is made of `content`."""
    blocks = (content.ljust(32, b".")[:32],) if content else ()
    return Entry(path, FileKind.FILE, generation, mode=0o644, size=len(content), blocks=blocks)


def directory(path: bytes, generation: int = 1) -> Entry:
    return Entry(path, FileKind.DIRECTORY, generation, mode=0o755)


def hardlink(path: bytes, first: bytes, generation: int = 1) -> Entry:
    return Entry(path, FileKind.HARDLINK, generation, target=first)


def tombstone(path: bytes, generation: int = 1, kind: FileKind = FileKind.FILE) -> Entry:
    return Entry(path, kind, generation, deleted=True)
