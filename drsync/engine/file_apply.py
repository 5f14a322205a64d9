"""Bringing a replica's tree to a staged generation. Blocks; runs in a thread, one at a time for a tree.

Once the first name may change, `applying` is durable in the index, and everything that is needed lies beside
the tree: after a crash at any point the same changes are made again until all of them are there. What is in
the way and is not what the index says is moved aside, never overwritten (F.A 19).
"""

from collections.abc import Iterator, Mapping, Sequence

from drsync.core import file_changes, file_halts, file_lineage
from drsync.core.file_changes import Operation
from drsync.delta import entries as codec
from drsync.engine.file_set import FileSet, show
from drsync.model import epoch as epochs
from drsync.model.epoch import Epoch
from drsync.model.errors import RefusedError
from drsync.model.fileset import BEFORE_ALL, Entry, FileKind, GenerationStart, Signature
from drsync.model.position import History
from drsync.ports.file_index import FileIndex, Known
from drsync.ports.tree import PutOutcome, PutResult, Seen, Tree


class Applier:
    """Works on one tree, for the owner's `epoch`."""

    def __init__(self, files: FileSet, epoch: Epoch) -> None:
        self._files = files
        self._epoch = epoch

    def begin(self, *, is_owner: bool = False) -> None:
        """Make sure that the root is ours, and finish what a crash interrupted.

        Raises:
            RefusedError: the root is missing or holds what is not ours; or a name cannot be put, and then
                the next generation may mend it (`code` is ``unholdable``).
            OSError: it cannot be read or written.
        """
        files, tree = self._files, self._files.tree()
        state = files.with_index(lambda index: index.state())
        identity = tree.identity()
        is_free = files.store.is_ours(files.spec) or (not identity.mark and len(tree.scan().seen) <= 1)
        verdict = file_halts.judge_root(
            files.spec.id, state, identity, is_owner=is_owner and not self._has_known(), is_free=is_free
        )
        if verdict is not None:
            raise RefusedError(verdict.what, code="held", remedy=verdict.remedy)
        files.claim(tree, identity)
        files.learn(state)
        incoming = files.with_index(lambda index: index.incoming())
        if state.applying is not None and incoming is not None and incoming[0] == state.applying:
            try:
                self._carry_out(
                    tree, incoming[1], files.with_index(lambda index: list(index.incoming_entries()))
                )
            except RefusedError:
                if not is_owner:
                    self.doubt()
                raise
        elif not is_owner and state.lineage and (self._is_new_epoch() or files.is_check_due):
            self.doubt()

    def _is_new_epoch(self) -> bool:
        return all(start.epoch != self._epoch for start in self._files.state.lineage)

    def doubt(self) -> None:
        """Whatever was changed here behind the index is compared with all that the owner has."""
        files = self._files
        with files.checking():
            edited, gone = self._edited(files.tree())
        if edited or gone:
            paths = [*(seen.path for seen in edited), *gone]
            files.with_index(lambda index: index.doubt(paths, lost=len(gone)))
            files.learn(files.with_index(lambda index: index.state()))

    def _edited(self, tree: Tree) -> tuple[list[Seen], list[bytes]]:
        """Names that are not what the index says, and names of the index that are gone."""
        signatures = self._files.with_index(lambda index: index.signatures())
        changed = file_changes.compare(signatures, tree.scan())
        edited: list[Seen] = []
        known: list[tuple[bytes, Signature]] = []
        for seen in changed.read:
            if not seen.path:
                continue
            if not self._is_known(tree, seen):
                edited.append(seen)
            elif seen.path not in changed.racy:
                known.append((seen.path, seen.signature))
        self._files.with_index(lambda index: index.refresh(known))
        return edited, [path for path, _ in changed.gone]

    def _has_known(self) -> bool:
        """Whether somebody cut this tree before: then what lies here unmarked is not it."""
        return self._files.known.number > 0 and self._files.state.held == BEFORE_ALL

    def apply(self) -> None:
        """Make the incoming generation the held one.

        Raises:
            RefusedError: the tree cannot hold a name, more would go than passes without a person's word, or
                the index does not come to the owner's digest afterwards.
            OSError: no space, or the disk says no.
        """
        files, tree = self._files, self._files.tree()
        incoming = files.with_index(lambda index: index.incoming())
        if incoming is None:
            return
        target, lineage, is_full = incoming
        entries = files.with_index(lambda index: list(index.incoming_entries()))
        if is_full:
            self._require_meant(entries)
        files.with_index(lambda index: index.begin_applying(target))
        self._carry_out(tree, lineage, entries)
        if files.state.approved:
            files.use_up_approval()
        if files.state.doubted:
            raise RefusedError(
                f"the index of {files.spec.name} does not come to what the owner cut",
                code="digest",
                remedy="All of it is compared again by itself.",
            )
        tree.sweep(())
        files.sealed.clear()

    def _carry_out(self, tree: Tree, lineage: Sequence[GenerationStart], entries: Sequence[Entry]) -> None:
        """Also again after a crash: what is done already is met as done."""
        held = self._files.state
        epoch = lineage[-1].epoch
        if held.lineage and all(start.epoch != epoch for start in held.lineage):
            shared = file_lineage.common(lineage, held.held, held.lineage)
            self._fork(tree, {entry.path: entry for entry in entries}, shared)
        self._roll(tree, entries)

    def _require_meant(self, entries: Sequence[Entry]) -> None:
        """A whole index that lacks most of what is here is not believed without a person's word."""
        files = self._files
        named = {entry.path for entry in entries if not entry.deleted}
        removed = files.with_index(lambda index: sum(path not in named for path in index.signatures()))
        state = files.with_index(lambda index: index.state())
        verdict = file_halts.judge_changes(state, removed, is_emptied=removed > 1 and len(named) <= 1)
        if verdict is not None:
            raise RefusedError(f"at the owner, {verdict.what}", code="held", remedy=verdict.remedy)

    def finish(self, history: History) -> str:
        """About to own the tree: finish what was interrupted, and what is staged and belongs to the log.

        What cannot be finished does not keep the tree from being owned: what is there counts then. Returns
        what was not finished and why; empty when nothing was left.

        `history`: of the log that this ownership continues.
        """
        left = ""
        try:
            self.begin(is_owner=True)
        except RefusedError as error:
            if error.code != "unholdable":
                raise
            left = str(error)
        self._require_all_there()
        ready = self._files.ready
        if not left and ready is not None and _is_of(history, *ready):
            try:
                self.apply()
            except RefusedError as error:
                left = str(error)
        self._files.ready = None
        return left

    def _require_all_there(self) -> None:
        files = self._files
        state = files.with_index(lambda index: index.state())
        if state.followed:
            signatures = files.with_index(lambda index: index.signatures())
            changed = file_changes.compare(signatures, files.tree().scan())
            verdict = file_halts.judge_takeover(state, len(changed.gone) + state.lost)
            if verdict is not None:
                raise RefusedError(verdict.what, code="held", remedy=verdict.remedy)

    # --- forks

    def _fork(self, tree: Tree, wanted: Mapping[bytes, Entry], common: int) -> None:
        """Set aside what was changed here and never accepted by the owner of this epoch."""
        files = self._files
        edited, gone = self._edited(tree)
        later = files.with_index(lambda index: [e for e in index.changed_since(common) if not e.deleted])
        # Directories are not set aside: what is in them is, name by name.
        found: list[Seen | Entry] = [*edited, *later]
        directories = {one.path for one in found if one.kind is FileKind.DIRECTORY}
        paths = {one.path for one in found} - directories
        aside = sorted(path for path in paths if not self._is_there(tree, path, wanted.get(path)))
        if aside:
            files.forks += tree.set_aside(aside, epochs.show(self._epoch))
        self._forget([*aside, *gone])

    def _is_known(self, tree: Tree, seen: Seen) -> bool:
        """Whether a name with a new signature still is what the index says."""
        known = self._files.with_index(lambda index: index.find(seen.path))
        if known is None:
            return False
        try:
            return known[0].is_alike(tree.entry(seen))
        except (InterruptedError, FileNotFoundError):
            return False

    def _is_there(self, tree: Tree, path: bytes, wanted: Entry | None) -> bool:
        """Whether the owner wants exactly what is there."""
        if wanted is None or wanted.deleted:
            return False
        found = _look(tree, path)
        return found is not None and found.is_alike(wanted)

    def _forget(self, paths: Sequence[bytes]) -> None:
        """The index no longer says that these are there."""
        gone: list[Known] = [(Entry(path, FileKind.FILE, deleted=True), None) for path in paths]
        if gone:
            self._files.with_index(lambda index: index.applied(gone))

    # --- rolling forward

    def _roll(self, tree: Tree, entries: Sequence[Entry]) -> None:
        files = self._files
        incoming = files.with_index(lambda index: index.incoming())
        if incoming is None:
            return
        own = files.with_index(lambda index: _own(index, entries, is_full=incoming[2]))
        done: list[Known] = []
        try:
            steps = file_changes.operations(own, entries, is_full=incoming[2])
            done.extend(self._perform(tree, step) for step in steps)  # what was done before a refusal stays
        finally:
            # Durable in the tree before the index says so: power may fail between the two.
            tree.finish(_directories(own, entries))
            if done:
                files.with_index(lambda index: index.applied(done))
        if incoming[2] and self._set_strangers_aside(tree):
            tree.finish(_directories(own, entries))
        self._refresh_directories(tree, entries)
        files.learn(files.with_index(lambda index: index.end_applying()))

    def _set_strangers_aside(self, tree: Tree) -> int:
        """With a whole index, a name that it does not have is nobody's: how many there were."""
        known = self._files.with_index(lambda index: index.signatures())
        strangers = [seen.path for seen in tree.scan().seen if seen.path and seen.path not in known]
        if not strangers:
            return 0
        aside = tree.set_aside(strangers, epochs.show(self._epoch))
        self._files.forks += aside
        return aside

    def _perform(self, tree: Tree, operation: Operation) -> Known:
        result = self._try(tree, operation, operation.expected)
        if result.outcome is PutOutcome.UNEXPECTED:
            result = self._met_unexpected(tree, operation)
        if result.outcome is not PutOutcome.DONE:
            raise RefusedError(
                f"{show(operation.entry.path)} cannot be put into {self._files.spec.name}: {result.reason}",
                code="unholdable",
                remedy="Use a file system that holds what the owner's holds, or rename it at the owner.",
            )
        return operation.entry, result.signature

    def _try(self, tree: Tree, operation: Operation, expected: Signature | None) -> PutResult:
        entry = operation.entry
        if entry.deleted:
            if expected is not None:
                return tree.remove(entry.path, expected)
            is_gone = tree.glance(entry.path) is None  # else: not looked at since the index heard of it
            return PutResult(PutOutcome.DONE if is_gone else PutOutcome.UNEXPECTED)
        if operation.is_content:
            return tree.put_file(entry, codec.stage_key(entry), expected)
        return tree.put(entry, expected)

    def _met_unexpected(self, tree: Tree, operation: Operation) -> PutResult:
        """What is there is not what the index says: done before a crash, or somebody else's work."""
        entry = operation.entry
        there = tree.glance(entry.path)
        if there is None:
            if entry.deleted:
                return PutResult(PutOutcome.DONE)
            return self._try(tree, operation, None)
        if there.kind == FileKind.DIRECTORY:
            if entry.deleted or entry.kind is not FileKind.DIRECTORY:
                self._clear(tree, entry.path)
            return self._retry(tree, operation, there)  # its time moves with what is put into it
        found = _look(tree, entry.path)
        if found is not None and found.is_alike(entry):
            return PutResult(PutOutcome.DONE, "", there)
        if self._is_as_known(found):
            return self._retry(tree, operation, there)  # its inode changed, as that of a hard link does
        if not operation.is_content and found is not None and found.has_content_of(entry):
            return self._retry(tree, operation, there)  # only its attributes are others
        self._files.forks += tree.set_aside([entry.path], epochs.show(self._epoch))
        if entry.deleted:
            return PutResult(PutOutcome.DONE)
        return self._try(tree, operation, None)

    def _clear(self, tree: Tree, directory: bytes) -> None:
        """What is still in a directory that goes is not what the index says, or none of ours."""
        scan = tree.scan((directory,))
        inside = [seen.path for seen in scan.seen] + [skipped.path for skipped in scan.skipped]
        inside = [path for path in inside if path != directory]
        self._files.forks += tree.set_aside(inside, epochs.show(self._epoch))

    def _retry(self, tree: Tree, operation: Operation, there: Signature) -> PutResult:
        if operation.entry.deleted:
            return tree.remove(operation.entry.path, there)
        return self._try(tree, operation, there)

    def _is_as_known(self, found: Entry | None) -> bool:
        if found is None:
            return False
        known = self._files.with_index(lambda index: index.find(found.path))
        return known is not None and known[0].is_alike(found)

    def _refresh_directories(self, tree: Tree, entries: Sequence[Entry]) -> None:
        """Directories have their last signature only after everything in them was put."""
        parents = {entry.parent for entry in entries} | {
            e.path for e in entries if e.kind is FileKind.DIRECTORY
        }
        signatures = [(path, tree.glance(path)) for path in sorted(parents)]
        known = [(path, signature) for path, signature in signatures if signature is not None]
        self._files.with_index(lambda index: index.refresh(known))


def _is_of(history: History, epoch: Epoch, seq: int) -> bool:
    """Whether a record that was written in an epoch is in a log with that history."""
    later = [start.fork_seq for start in history if start.epoch > epoch]
    return any(start.epoch == epoch for start in history) and all(seq <= fork for fork in later)


def _own(index: FileIndex, entries: Sequence[Entry], *, is_full: bool) -> Mapping[bytes, Known]:
    """What operations need of the index: all of it, or what a few changes touch."""
    if is_full:
        return {known[0].path: known for known in index.entries()}
    paths = {entry.path for entry in entries} | {entry.parent for entry in entries}
    found = {path: known for path in sorted(paths) if (known := index.find(path)) is not None}
    return found | {known[0].path: known for known in index.hard_links()}


def _directories(own: Mapping[bytes, Known], entries: Sequence[Entry]) -> Iterator[Entry]:
    """Directories whose time must be set: named ones, and the parents of what was put or removed."""
    wanted = {entry.path: entry for entry in entries}
    paths = {entry.parent for entry in entries} | {e.path for e in entries if e.kind is FileKind.DIRECTORY}
    for path in sorted(paths, reverse=True):
        entry = wanted.get(path) or (own[path][0] if path in own else None)
        if entry is not None and not entry.deleted and entry.kind is FileKind.DIRECTORY:
            yield entry


def _look(tree: Tree, path: bytes) -> Entry | None:
    """What is at a path that is no directory now; None when it is gone or changing."""
    scan = tree.scan((path,))
    seen = next((s for s in scan.seen if s.path == path), None)
    if seen is None:
        return None
    try:
        return tree.entry(seen)
    except (InterruptedError, FileNotFoundError):
        return None
