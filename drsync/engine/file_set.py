"""One tree at one center: its directory, its index, and what is said of it. Role-independent.

The index and the tree block, so they are used in threads only: `with_index` gives one thread at a time the
index, `changing` one task at a time the right to change the tree.
"""

import asyncio
import errno
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple, TypeVar

from drsync.engine.threads import in_thread
from drsync.model.epoch import Epoch
from drsync.model.errors import DrsyncError, RefusedError
from drsync.model.fileset import BEFORE_ALL, FileSetSpec, FileSetWord, Generation
from drsync.ports.clock import Clock
from drsync.ports.file_index import FileIndex, IndexState, Known
from drsync.ports.file_store import FileStore
from drsync.ports.tree import RootIdentity, Tree, TreeWatch

CHECK_SHARE = 10  # because a look at a large tree must not take more than a tenth of the time
CHECK_FREE_S = 0.5  # because a look at a small one costs nothing
NAMES_SHOWN = 20  # because a person reads a screen, and the rest is counted

T = TypeVar("T")


class CutAt(NamedTuple):
    """A record of a cut, in the log of its epoch."""

    epoch: Epoch
    seq: int


class FileSet:
    """One file set of a group at this center.

    Attributes:
        spec: what it is.
        state: the facts of its index, as last stored.
        staged: newest generation whose content is completely here.
        known: newest generation heard of.
        pending, pending_names: entries that are known to be changed and are not here yet.
        behind_since: since when `held` is older than `known`; None when it is not.
        hold: why it stands still; empty when it does not.
        forks: names that were set aside since this process started.
        sealed: staged files that this process put together: what another left may have lost its content.
        ready: where the log has the cut of a staged generation that is not applied yet.
        changing: held by whoever changes the tree.
    """

    def __init__(self, spec: FileSetSpec, store: FileStore, clock: Clock) -> None:
        self.spec = spec
        self.store = store
        self.state = IndexState()
        self.staged = BEFORE_ALL
        self.known = BEFORE_ALL
        self.pending = 0
        self.pending_names: tuple[str, ...] = ()
        self.behind_since: float | None = None
        self.hold = ""
        self.forks = 0
        self.sealed: set[str] = set()
        self.ready: CutAt | None = None
        self.changing = asyncio.Lock()
        self._clock = clock
        self._index: FileIndex | None = None
        self._tree: Tree | None = None
        self._watch: TreeWatch | None = None
        self._index_lock = threading.Lock()
        self._check_from = 0.0

    @property
    def held(self) -> Generation:
        """The generation that is in the tree; none while that is in doubt."""
        return BEFORE_ALL if self.state.doubted else self.state.held

    # --- life

    def with_index(self, work: Callable[[FileIndex], T]) -> T:
        """Run `work` with the index. Called from threads."""
        with self._index_lock:
            if self._index is None:
                self._index = self.store.index(self.spec)
            return work(self._index)

    def find(self, path: bytes) -> Known | None:
        """See FileIndex. Called from threads."""
        return self.with_index(lambda index: index.find(path))

    def where(self, block: bytes) -> list[tuple[bytes, int]]:
        """See FileIndex. Called from threads."""
        return self.with_index(lambda index: index.where(block))

    async def load(self) -> None:
        """Read what the index says."""
        self.learn(await in_thread(lambda: self.with_index(lambda index: index.state())))

    def learn(self, state: IndexState) -> None:
        """The index has changed."""
        self.state = state
        self.staged = max(self.staged, state.held)
        self.note_known(state.held)

    def note_known(self, generation: Generation) -> None:
        """That generation exists somewhere."""
        self.known = max(self.known, generation)
        if self.held == self.known:
            self.behind_since, self.pending, self.pending_names = None, 0, ()
        elif self.behind_since is None:
            self.behind_since = self._clock.now()

    def note_pending(self, names: list[bytes]) -> None:
        """These entries are changed and not here yet."""
        self.pending = len(names)
        self.pending_names = tuple(show(name) for name in names[:NAMES_SHOWN])

    def tree(self) -> Tree:
        """The open tree. Blocks.

        Raises:
            RefusedError: the directory may not be used, or is not there; it is tried again at the next call.
        """
        if self._tree is None:
            try:
                self._tree = self.store.tree(self.spec)
            except OSError as error:
                root = self.store.root(self.spec)
                raise RefusedError(
                    f"{root}: {error.strerror}",
                    code="root_missing",
                    remedy=f"Mount or make {root}; nothing is deleted anywhere meanwhile.",
                ) from error
        return self._tree

    def claim(self, tree: Tree, identity: RootIdentity) -> None:
        """Note that the root of `identity`, which was judged, is ours, and mark it. Blocks.

        Raises:
            FileNotFoundError: another directory has taken its place since.
        """
        if identity.mark == self.spec.id and self.with_index(lambda index: index.state()).root == identity:
            return
        tree.mark(self.spec.id)
        marked = tree.identity()
        if (marked.ino, marked.device) != (identity.ino, identity.device):
            raise FileNotFoundError(errno.ENOENT, "the root changed while it was looked at")
        self.with_index(lambda index: index.set_root(marked))

    @property
    def is_check_due(self) -> bool:
        """Whether the tree may be compared with the index again: that takes a small part of the time only."""
        return self._clock.now() >= self._check_from

    @contextmanager
    def checking(self) -> Iterator[None]:
        """While in it, they are compared."""
        began = self._clock.now()
        yield
        ended = self._clock.now()
        self._check_from = ended + (ended - began) * CHECK_SHARE if ended - began > CHECK_FREE_S else ended

    def use_up_approval(self) -> None:
        """A person's word was about the change that was just looked at, and is no word for a later one."""
        self.with_index(lambda index: index.approve(approved=False))
        self.state = replace(self.state, approved=False)

    def reopen(self) -> None:
        """The directory is not what it was: give handles back and open it anew at the next use. Blocks."""
        self.stop_watching()
        tree, self._tree = self._tree, None
        if tree is not None:
            tree.close()

    def release(self) -> None:
        """No change is under way: give back what was held for it. Blocks."""
        if self._tree is not None:
            self._tree.close()

    def take_hints(self) -> frozenset[bytes] | None:
        """Where something changed; None: everywhere. On the loop: reads what the kernel has queued."""
        return self._watch.take() if self._watch is not None else frozenset()

    def start_watching(self) -> None:
        """Watch, if that is possible. Blocks."""
        if self._watch is None:
            self._watch = self.store.watch(self.spec)

    def stop_watching(self) -> None:
        """Watch no more."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()

    def close(self) -> None:
        """Give everything back. Blocks."""
        self.reopen()
        with self._index_lock:
            if self._index is not None:
                self._index.close()
                self._index = None

    # --- words

    def held_back(self, error: DrsyncError | None) -> None:
        """It stands still because of `error`; None: it goes on."""
        self.hold = "" if error is None else f"{error}. {error.remedy}".strip()

    def word(self) -> FileSetWord:
        """What this center says of it."""
        since = self.behind_since
        return FileSetWord(
            fileset=self.spec.id,
            held=self.held,
            staged=max(self.staged, self.held),
            known=self.known,
            entries=self.state.entries,
            bytes=self.state.bytes,
            pending=self.pending,
            pending_names=self.pending_names,
            behind_s=0.0 if since is None else max(0.0, self._clock.now() - since),
            hold=self.hold[:1000],
            root=self.store.root(self.spec),
            forks=self.forks,
        )


def show(path: bytes) -> str:
    """A name for people: what is not text is escaped, so that it cannot write on a terminal (P69)."""
    text = path.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)[:255] or "(the root)"
