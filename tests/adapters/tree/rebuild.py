"""Rebuilds a tree from what another one says of itself, the way a replica does."""

from dataclasses import replace

from blake3 import blake3

from drsync.model.fileset import Entry, FileKind, Signature, block_bytes
from drsync.ports.tree import PutOutcome, PutResult, Tree


def entries_of(tree: Tree, generation: int = 0) -> dict[bytes, Entry]:
    """Everything in it, content hashed."""
    scan = tree.scan()
    assert not scan.unseen, scan.unseen
    return {seen.path: replace(tree.entry(seen), generation=generation) for seen in scan.seen}


def comparable(entries: dict[bytes, Entry]) -> dict[bytes, Entry]:
    """Without holes: where they are is for the file system to say."""
    return {path: replace(entry, holes=()) for path, entry in entries.items()}


def key_of(entry: Entry) -> str:
    return blake3(repr(entry).encode()).hexdigest()


def stage(source: Tree, target: Tree, entry: Entry) -> str:
    """Put a whole file together beside the target; its key."""
    key = key_of(entry)
    staged = target.stage(key, entry.size)
    block = block_bytes(entry.size)
    for number, wanted in enumerate(entry.blocks):
        data = source.read(entry.path, number * block, block)
        assert blake3(data).digest() == wanted
        if data.count(0) != len(data):
            staged.write(number * block, data)
    staged.seal(entry)
    return key


def apply(source: Tree, target: Tree) -> dict[bytes, PutResult]:
    """Make `target` what `source` is; what was not done, by path."""
    wanted, present = entries_of(source), {seen.path: seen for seen in target.scan().seen}
    signatures: dict[bytes, Signature] = {path: seen.signature for path, seen in present.items()}
    others: dict[bytes, PutResult] = {}
    keys = {
        entry.path: stage(source, target, entry) for entry in wanted.values() if entry.kind is FileKind.FILE
    }

    def note(path: bytes, result: PutResult) -> None:
        if result.outcome is not PutOutcome.DONE:
            others[path] = result

    for path in sorted(present.keys() - wanted.keys(), reverse=True):
        note(path, target.remove(path, signatures.pop(path)))
    ordered = sorted(wanted.values(), key=lambda entry: (entry.kind is FileKind.HARDLINK, entry.path))
    for entry in ordered:
        expected = signatures.get(entry.path)
        if entry.kind is FileKind.FILE:
            note(entry.path, target.put_file(entry, keys[entry.path], expected))
        else:
            note(entry.path, target.put(entry, expected))
    target.finish([entry for entry in wanted.values() if entry.kind is FileKind.DIRECTORY])
    return others
