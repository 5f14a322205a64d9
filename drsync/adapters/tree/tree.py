"""A tree on Linux: looking and changing together."""

from drsync.adapters.tree.reader import Reader
from drsync.adapters.tree.root import Root
from drsync.adapters.tree.writer import Writer


class LinuxTree(Reader, Writer):
    """`drsync.ports.tree.Tree` of the directory at `path` for the file set with the id `fileset`.

    Nothing is opened before it is needed. Between `finish` and the next change no handle is held, so that the
    file system can be unmounted. `has_open_beneath` False forces the walk for kernels without openat2.
    """

    def __init__(self, path: str, fileset: str, *, has_open_beneath: bool | None = None) -> None:
        root = Root(path, has_open_beneath=has_open_beneath)
        Reader.__init__(self, root)
        Writer.__init__(self, root, fileset)
