"""The owner's side of a tree: scan, compare with the index, cut generations into the log.

A generation is cut when a scan found something new; its record in the log comes before anything is sent.
Hints make a scan sooner, never needless: everything is looked at again every second or so.
"""

import asyncio
import errno
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from drsync.core import file_changes, file_halts, file_lineage
from drsync.core.file_lineage import Base
from drsync.delta import blocks
from drsync.delta import entries as codec
from drsync.delta.marks import GenerationCut
from drsync.engine.file_set import FileSet, show
from drsync.engine.term import OwnerTerm
from drsync.engine.threads import in_thread
from drsync.model.epoch import Epoch
from drsync.model.errors import DrsyncError, RefusedError, TransientError
from drsync.model.fileset import Entry, FileKind, Generation, GenerationStart, Signature, block_bytes
from drsync.ports.clock import Clock
from drsync.ports.file_index import IndexState, Known
from drsync.ports.tree import Seen

HINTS_S = 0.025  # because a person saves a file and looks at the other side
SCAN_S = 1.0  # because an RPO of seconds is promised for what gives no hint (mmap, lower mounts)
RACY_S = 2.5  # because times of file systems may be two seconds coarse, and clocks differ a little
SCAN_SHARE = 10  # because a scan of a large tree must not take more than a tenth of the time
MASS_S = 10.0  # because removing a large tree takes seconds, and each look sees a part of it only
REMOVAL_MIN = 20  # because who deletes more at once is a program, and it may be going on
SMALL_TREE = 200  # because of fewer names a handful is a large share, and a complete look costs nothing
REMOVAL_SHARE = 0.1  # because a tree that loses more within `MASS_S` may be about to lose all
REMOVAL_QUIET_S = 0.5  # because a program that removes a tree never rests so long
SPOOL_BYTES_MAX = 64 << 20  # because it holds what keeps changing: logs and small databases


_OURS_TO_MEND = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM))
"""What says nothing about a file, but that this process has too little of something."""


class Spool:
    """Content that was cut and is changing: newest blocks by hash, within `SPOOL_BYTES_MAX`. For threads."""

    def __init__(self) -> None:
        self._blocks: OrderedDict[bytes, bytes] = OrderedDict()
        self._bytes = 0

    def put(self, name: bytes, data: bytes) -> None:
        """Keep a block."""
        if name not in self._blocks:
            self._blocks[name] = data
            self._bytes += len(data)
        while self._bytes > SPOOL_BYTES_MAX:
            _, old = self._blocks.popitem(last=False)
            self._bytes -= len(old)

    def get(self, name: bytes) -> bytes | None:
        """A block, if it is still here."""
        return self._blocks.get(name)


@dataclass(slots=True)
class Found:
    """What a look at the tree came to.

    Attributes:
        changes: entries and tombstones of the next generation, `generation` not yet set.
        refreshed: names whose signature changed and nothing else.
        busy: names that changed while they were read.
        racy: names that may still change without a trace, and what they look like now.
        unread: names that cannot be read, or that no tree may have, and why.
        is_partial: something could not be looked at.
    """

    changes: list[Known] = field(default_factory=list)
    refreshed: list[tuple[bytes, Signature]] = field(default_factory=list)
    busy: list[bytes] = field(default_factory=list)
    racy: dict[bytes, Signature] = field(default_factory=dict)
    unread: dict[bytes, str] = field(default_factory=dict)
    is_partial: bool = False


class Source:
    """One tree at its owner, in one term. Implements `file_shipping.TreeSource`."""

    def __init__(self, files: FileSet, term: OwnerTerm, clock: Clock) -> None:
        self.files = files
        self.followers: list[Callable[[], None]] = []
        """Called when a generation was cut."""
        self.cuts: list[tuple[Generation, float]] = []
        """Generations and when they were cut, oldest first: what a peer's lag is measured by."""
        self.busy: dict[bytes, int] = {}
        self.skipped = 0
        self.unseen = 0
        self.unread: dict[bytes, str] = {}
        """Names whose content or attributes could not be read, and why: their last version stays."""
        self.scan_s = 0.0
        self.looked_at: float | None = None
        """When the last complete look began: every change that is older is in a generation."""
        self._term = term
        self._clock = clock
        self._signatures: dict[bytes, Signature | None] = {}
        self._busy_since: dict[bytes, float] = {}
        self._recheck: dict[bytes, float] = {}
        self._doubted: set[bytes] = set()
        self._spool = Spool()
        self._cut_seq = 0
        self._is_logged = False
        self._must_cut = False
        self._lately: deque[tuple[float, int]] = deque()
        self._is_approved = False
        self._removal: tuple[float, float, int] | None = None
        """A removal under way: when it was first seen, when it last grew, names that are gone."""
        self._rounds = asyncio.Lock()
        self._hurry = asyncio.Event()

    @property
    def epoch(self) -> Epoch:
        """Of the term."""
        return self._term.charter.epoch

    # --- TreeSource

    @property
    def current(self) -> Generation:
        """See TreeSource."""
        return self.files.state.held

    @property
    def is_logged(self) -> bool:
        """See TreeSource."""
        return self._is_logged

    @property
    def cut_seq(self) -> int:
        """See TreeSource."""
        return self._cut_seq

    @property
    def digest(self) -> str:
        """See TreeSource."""
        return self.files.state.digest

    @property
    def lineage(self) -> tuple[GenerationStart, ...]:
        """See TreeSource."""
        return self.files.state.lineage

    def base(self, held: Generation, *, is_full: bool) -> Base:
        """See TreeSource."""
        state = self.files.state
        return file_lineage.base(state.lineage, state.held, held, is_full=is_full, horizon=state.horizon)

    def changed_since(self, number: int) -> list[Entry]:
        """See TreeSource."""
        return self.files.with_index(lambda index: list(index.changed_since(number)))

    def everything(self) -> list[Entry]:
        """See TreeSource."""
        return self.files.with_index(lambda index: [entry for entry, _ in index.entries()])

    def block(self, entry: Entry, block: int) -> bytes | None:
        """See TreeSource."""
        wanted = entry.blocks[block]
        kept = self._spool.get(wanted)
        if kept is not None:
            return kept
        size = block_bytes(entry.size)
        length = min(size, entry.size - block * size)
        try:
            data = self.files.tree().read(entry.path, block * size, length)
        except (OSError, DrsyncError):
            return None
        return data if blocks.hash_block(data) == wanted else None

    def gone(self, path: bytes) -> None:
        """See TreeSource: look again, and take a copy of its content next time."""
        self.busy[path] = self.busy.get(path, 0) + 1
        self._doubted.add(path)  # not into the signatures: a scan may be going through them in a thread
        self._must_cut = True  # a peer takes this generation no more, even if the content comes back
        self._hurry.set()

    async def forget(self, number: int) -> None:
        """Every member holds generation `number` of this term: older tombstones have been seen."""
        files = self.files
        if number > files.state.horizon:
            await in_thread(lambda: files.with_index(lambda index: index.forget(number)))
            await files.load()
        self.cuts = [cut for cut in self.cuts if cut[0].number > number]

    # --- life

    async def run(self) -> None:
        """Scan and cut until the term has ended."""
        files = self.files
        self._signatures = await in_thread(lambda: files.with_index(lambda index: index.signatures()))
        is_begun = False
        while not self._term.engine.is_closed:
            began = self._clock.now()
            try:
                await in_thread(files.start_watching)
                await self.round(is_first=not is_begun)
                is_begun = True
                self.looked_at = self.looked_at if self._removal else self.whole_since(began)
                files.held_back(None)
            except TransientError as error:
                files.held_back(None if error.code == "no_cuts" else error)
            except RefusedError as error:
                files.held_back(error)
                await in_thread(files.reopen)
            except OSError as error:
                files.held_back(
                    RefusedError(f"cannot be read: {error.strerror}", remedy="See the kernel's log.")
                )
                await in_thread(files.reopen)
            self.scan_s = self._clock.now() - began
            pause = REMOVAL_QUIET_S if self._removal else SCAN_S
            await self._until(began + max(pause, self.scan_s * SCAN_SHARE))

    async def _until(self, instant: float) -> None:
        """Wait for the next full scan, and scan what hints name meanwhile."""
        while self._clock.now() < instant and not self._term.engine.is_closed:
            if self._hurry.is_set():
                self._hurry.clear()
                return
            hints = self.files.take_hints()
            if hints is None or b"" in hints:
                return
            if hints:
                try:
                    await self.round(tuple(sorted(hints)))
                except (DrsyncError, OSError):
                    return  # the full scan says what is wrong
            await self._clock.sleep_until(min(self._clock.now() + HINTS_S, instant))

    async def round(
        self,
        below: Sequence[bytes] = (),
        *,
        is_first: bool = False,
        must_cut: bool = False,
        is_thorough: bool = False,
    ) -> None:
        """Look, and cut a generation if anything changed (always in the first round of a term).

        Args:
            below: only these directories.
            is_first: of a term: cut whatever was found.
            must_cut: the same.
            is_thorough: read again what was written a moment ago, whatever it looks like.

        Raises:
            TransientError: the term takes no cuts now, or the index cannot be written.
            RefusedError: held.
            OSError: the tree cannot be read.
        """
        async with self._rounds:
            again = self._due(is_thorough=is_thorough)
            may_wait = not (is_first or must_cut or is_thorough)
            try:
                found = await in_thread(lambda: self._look(below, again, may_wait=may_wait))
            except BaseException:
                self._doubted.update(again)
                raise
            self._note_restless(found, is_hinted=bool(below))
            if found.refreshed:
                await in_thread(lambda: self.files.with_index(lambda i: i.refresh(found.refreshed)))
                self._signatures.update(found.refreshed)
            if found.changes or is_first or must_cut or self._must_cut or not self._is_logged:
                await self._cut(found.changes)
            self._look_again(found.racy)

    @property
    def restless(self) -> list[bytes]:
        """Names that changed while they were read, each time since they last changed."""
        return sorted(self._busy_since)

    def whole_since(self, began: float) -> float:
        """Every change that is older is in a generation, after a look that began then."""
        return min([began, *self._busy_since.values()])

    def _note_restless(self, found: Found, *, is_hinted: bool) -> None:
        before = self._busy_since
        since = self._clock.now() if self.looked_at is None else self.looked_at
        busy = {path: before.get(path, since) for path in found.busy}
        self._busy_since = before | busy if is_hinted else busy
        self.unread = self.unread | found.unread if is_hinted else found.unread

    def _due(self, *, is_thorough: bool) -> list[bytes]:
        """Names that must be read whatever they look like."""
        now = self._clock.now()
        due = [path for path, at in self._recheck.items() if is_thorough or at <= now]
        for path in due:
            del self._recheck[path]
        due += sorted(self._doubted)
        self._doubted.clear()
        return due

    def _look_again(self, racy: Mapping[bytes, Signature]) -> None:
        """Read these once more when they can no longer change without a trace, not at every round (P48)."""
        self._signatures.update(racy)
        due = self._clock.now() + RACY_S
        self._recheck.update(dict.fromkeys(racy, due))

    async def pause(self) -> None:
        """Look and cut no more, until `resume`."""
        await self._rounds.acquire()

    def resume(self) -> None:
        """Go on after `pause`."""
        self._rounds.release()

    async def _cut(self, changes: Sequence[Known]) -> None:
        files, term = self.files, self._term
        epoch = term.charter.epoch
        if term.engine.is_frozen or not term.engine.is_leased or term.engine.is_closed:
            # Found again by the next scan: nothing was noted.
            raise TransientError("no generation is cut while the group takes no writes", code="no_cuts")
        generation = Generation(epoch, files.state.held.number + 1)
        numbered = [(replace(entry, generation=generation.number), signature) for entry, signature in changes]
        self._is_logged = False  # until the log says so, nobody is told of it
        state = await in_thread(lambda: files.with_index(lambda index: index.cut(generation, numbered)))
        self._noted(state, numbered)
        self._cut_seq = term.cut_generation(_mark(files, state))
        self._is_logged, self._must_cut = True, False
        self.cuts.append((generation, self._clock.now()))
        for told in list(self.followers):
            told()

    def _noted(self, state: IndexState, changes: Sequence[Known]) -> None:
        if self._is_approved:
            self._lately.clear()
        elif gone := sum(entry.deleted for entry, _ in changes):
            self._lately.append((self._clock.now(), gone))
        for entry, signature in changes:
            if entry.deleted:
                self._signatures.pop(entry.path, None)
            else:
                self._signatures[entry.path] = signature
        self.files.learn(state)

    # --- looking, in threads

    def _look(self, below: Sequence[bytes], again: Sequence[bytes], *, may_wait: bool) -> Found:
        files = self.files
        tree, state = files.tree(), files.state
        identity = tree.identity()
        self._check(file_halts.judge_root(files.spec.id, state, identity, is_owner=True))
        scan = tree.scan(below)
        for path in again:
            if path in self._signatures:
                self._signatures[path] = None
        changed = file_changes.compare(self._signatures, scan, below)
        lately, self._is_approved = self._lost_lately(), state.approved
        verdict = file_halts.judge_changes(
            replace(state, entries=state.entries + lately),
            len(changed.gone) + lately,
            is_emptied=changed.is_emptied,
            replaced=changed.replaced,
        )
        self._check(verdict)
        if may_wait and self._is_removing(len(changed.gone), state.entries, is_hinted=bool(below)):
            return Found(is_partial=True)  # nothing is noted: a later look finds all of it
        self.unseen, self.skipped = len(scan.unseen), len(scan.skipped)
        found = Found(is_partial=bool(scan.unseen))
        for seen in changed.read:
            self._read(seen, found, is_racy=seen.path in changed.racy)
        still = {seen.path for seen in changed.read}
        self.busy = {path: times for path, times in self.busy.items() if path in still or below}
        for path, kind in changed.gone:
            found.changes.append((Entry(path, kind, deleted=True), None))
        files.claim(tree, identity)
        if not below and file_halts.uses_approval(state, is_partial=found.is_partial):
            files.use_up_approval()
        return found

    def _is_removing(self, gone: int, entries: int, *, is_hinted: bool) -> bool:
        """Whether names are being removed right now: it is judged when it has ended, as a whole.

        Looks come faster than programs remove: a few names are cut at once only if they are few for the tree.
        """
        lately = self._lost_lately()
        whole = entries + lately
        is_few = gone <= REMOVAL_MIN and whole >= SMALL_TREE and gone + lately <= whole * REMOVAL_SHARE
        if not gone or is_few:
            self._removal = self._removal if is_hinted else None
            return False
        now = self._clock.now()
        since, grown_at, before = self._removal or (now, now, gone)
        if not is_hinted and gone != before:
            grown_at, before = now, gone
        is_under_way = is_hinted or now - grown_at < REMOVAL_QUIET_S
        if is_under_way and now - since < MASS_S:
            self._removal = (since, grown_at, before)
            return True
        self._removal = None
        return False

    def _lost_lately(self) -> int:
        """Names that were cut as gone within `MASS_S`: a removal that is seen in parts is one removal."""
        while self._lately and self._lately[0][0] < self._clock.now() - MASS_S:
            self._lately.popleft()
        return sum(count for _, count in self._lately)

    def _check(self, verdict: file_halts.Hold | None) -> None:
        if verdict is not None:
            raise RefusedError(verdict.what, code="held", remedy=verdict.remedy)

    def _read(self, seen: Seen, found: Found, *, is_racy: bool) -> None:
        # A tree that is looked at for the first time has nothing to be found.
        known = self.files.find(seen.path) if seen.path in self._signatures else None
        try:
            entry = self._entry(seen, known[0] if known is not None else None)
        except InterruptedError:
            found.busy.append(seen.path)
            return
        except FileNotFoundError:
            return  # the next scan sees it gone
        except OSError as error:
            if error.errno in _OURS_TO_MEND:
                raise
            found.unread[seen.path] = error.strerror or str(error)
            return
        signature = None if is_racy else seen.signature
        wrong = codec.fault(entry)
        if wrong:
            found.unread[seen.path] = wrong
            return
        if is_racy:
            found.racy[seen.path] = seen.signature
        if known is not None and known[0].is_alike(entry):
            if signature is not None:
                found.refreshed.append((seen.path, signature))
            return
        found.changes.append((entry, signature))

    def _entry(self, seen: Seen, known: Entry | None) -> Entry:
        """As the tree reads it; of a file whose blocks were gone when a peer asked, what is new is kept."""
        tree = self.files.tree()
        entry = tree.entry(seen)
        if seen.path not in self.busy or seen.kind is not FileKind.FILE:
            return entry
        size = block_bytes(entry.size)
        old = known.blocks if known is not None and block_bytes(known.size) == size else ()
        for block, name in enumerate(entry.blocks):
            if block < len(old) and old[block] == name:
                continue
            data = tree.read(seen.path, block * size, min(size, entry.size - block * size))
            if blocks.hash_block(data) != name:
                raise InterruptedError(show(seen.path))
            self._spool.put(name, data)
        return entry


def _mark(files: FileSet, state: IndexState) -> GenerationCut:
    return GenerationCut(0, 0, files.spec.index, state.held, state.digest, state.entries, state.bytes)
