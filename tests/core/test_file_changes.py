"""What a scan means, and how one tree becomes another: nothing is lost that was only not seen."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.core.file_changes import RACY_NS, Comparison, Operation, ancestors, compare, is_below, operations
from drsync.model.fileset import Entry, FileKind, Signature
from drsync.model.scan import Scan, Seen, Unseen
from tests.core.trees import StrictTree, trees

BEGAN = 1_000 * RACY_NS
OLD = BEGAN - 2 * RACY_NS


def seen(path: bytes, kind: FileKind = FileKind.FILE, ino: int = 0, **more: int) -> Seen:
    names = {"nlink": 1, "mtime_ns": OLD, "ctime_ns": OLD, "size": 1} | more
    signature = Signature(
        kind, names["size"], names["mtime_ns"], names["ctime_ns"], ino or 100 + int.from_bytes(path), 1
    )
    return Seen(path, kind, signature, 0o644, 0, 0, names["mtime_ns"], names["size"], 0, names["nlink"])


ROOT = seen(b"", FileKind.DIRECTORY)


def scan(*names: Seen, unseen: tuple[bytes, ...] = (), skipped: tuple[bytes, ...] = ()) -> Scan:
    return Scan(
        names,
        tuple(Unseen(path, "permission denied") for path in unseen),
        tuple(Unseen(path, "another file system is mounted here") for path in skipped),
        BEGAN,
    )


def signatures(*names: Seen) -> dict[bytes, Signature | None]:
    return {name.path: name.signature for name in names}


def read(found: Comparison) -> list[bytes]:
    return [name.path for name in found.read]


def gone(found: Comparison) -> list[bytes]:
    return [path for path, _ in found.gone]


# --- scans


def test_what_is_as_it_was_is_not_read_again() -> None:
    names = (ROOT, seen(b"a"), seen(b"d", FileKind.DIRECTORY), seen(b"d/b"))
    found = compare(signatures(*names), scan(*names))
    assert found == Comparison((), frozenset(), (), 0, is_emptied=False)


def test_new_and_changed_names_are_read_and_missing_ones_are_gone() -> None:
    before = signatures(ROOT, seen(b"a"), seen(b"b"), seen(b"d", FileKind.DIRECTORY), seen(b"d/x"))
    found = compare(before, scan(ROOT, seen(b"a", ctime_ns=OLD + 1), seen(b"b"), seen(b"c")))
    assert read(found) == [b"a", b"c"]
    assert found.gone == ((b"d/x", FileKind.FILE), (b"d", FileKind.DIRECTORY))
    assert not found.is_emptied


def test_a_name_whose_last_look_was_not_kept_is_read_again() -> None:
    assert read(compare({b"a": None, b"gone": None}, scan(seen(b"a")))) == [b"a"]
    assert gone(compare({b"a": None, b"gone": None}, scan(seen(b"a")))) == [b"gone"]


@pytest.mark.parametrize(
    ("mtime_ns", "ctime_ns", "is_racy"),
    [
        (OLD, OLD, False),
        (OLD, BEGAN - RACY_NS, True),
        (BEGAN - 1, OLD, True),  # a file system without change times
        (OLD, BEGAN + 5, True),
        (BEGAN + 50 * RACY_NS, OLD, False),  # a date in the future, set long ago
    ],
)
def test_a_look_just_after_a_change_is_not_kept(mtime_ns: int, ctime_ns: int, is_racy: bool) -> None:
    found = compare({}, scan(ROOT, seen(b"a", mtime_ns=mtime_ns, ctime_ns=ctime_ns)))
    assert read(found) == [b"", b"a"]
    assert (b"a" in found.racy) == is_racy


def test_coarse_file_systems_have_a_longer_window() -> None:
    name = seen(b"a", ctime_ns=BEGAN - 3 * RACY_NS)
    assert not compare({}, scan(name)).racy
    assert compare({}, scan(name), granularity_ns=5 * RACY_NS).racy == {b"a"}


def test_names_of_one_inode_are_read_together() -> None:
    before = (seen(b"a", ino=5, nlink=2), seen(b"b", ino=5, nlink=2), seen(b"c", ino=6, nlink=2))
    now = (seen(b"a", ino=5, nlink=2), seen(b"b", ino=5, nlink=2, ctime_ns=OLD + 1), before[2])
    assert read(compare(signatures(*before), scan(*now))) == [b"a", b"b"]


def test_the_first_name_of_an_inode_may_go() -> None:
    """Even where a file system does not touch the change time, the next name is read anew."""
    before = (seen(b"a", ino=5, nlink=2), seen(b"b", ino=5, nlink=2))
    found = compare(signatures(*before), scan(seen(b"b", ino=5)))
    assert (read(found), gone(found)) == ([b"b"], [b"a"])


def test_a_partial_scan_deletes_nothing_at_below_or_above_what_it_has_not_seen() -> None:
    before = signatures(
        ROOT,
        seen(b"d", FileKind.DIRECTORY),
        seen(b"d/e", FileKind.DIRECTORY),
        seen(b"d/e/f"),
        seen(b"d.x"),
        seen(b"g"),
    )
    found = compare(before, scan(ROOT, seen(b"new"), unseen=(b"d/e",)))
    assert gone(found) == [b"g", b"d.x"]
    assert read(found) == [b"new"]
    assert not gone(compare(before, scan(ROOT, unseen=(b"",))))


def test_what_is_below_a_new_mount_point_is_not_gone() -> None:
    before = signatures(ROOT, seen(b"d", FileKind.DIRECTORY), seen(b"d/f"), seen(b"s"))
    assert gone(compare(before, scan(ROOT, skipped=(b"d", b"s")))) == [b"s"]  # s is a socket now


def test_a_hint_is_about_its_directory_only() -> None:
    before = signatures(ROOT, seen(b"d", FileKind.DIRECTORY), seen(b"d/f"), seen(b"g"))
    found = compare(before, scan(seen(b"d", FileKind.DIRECTORY), seen(b"d/n")), [b"d"])
    assert (read(found), gone(found)) == ([b"d/n"], [b"d/f"])
    assert gone(compare(before, scan(), [b"d"])) == [b"d/f", b"d"]


def test_a_hint_leaves_hard_links_to_the_next_scan_of_everything() -> None:
    before = signatures(seen(b"d/a", ino=5, nlink=2), seen(b"d/x", ino=6), seen(b"z", ino=5, nlink=2))
    found = compare(before, scan(seen(b"d/n", ino=7, nlink=2), seen(b"d/o")), [b"d"])
    assert (read(found), gone(found)) == ([b"d/o"], [b"d/x"])


def test_an_emptied_tree_is_told_and_a_single_file_that_goes_is_not() -> None:
    assert compare(signatures(ROOT, seen(b"a"), seen(b"b")), scan(ROOT)).is_emptied
    assert not compare(signatures(ROOT, seen(b"a")), scan(ROOT)).is_emptied
    assert not compare(signatures(ROOT, seen(b"a"), seen(b"b")), scan(ROOT, unseen=(b"",))).is_emptied
    assert not compare(signatures(ROOT, seen(b"a"), seen(b"b")), scan(ROOT), [b""]).is_emptied


def test_names_of_another_kind_are_counted() -> None:
    before = signatures(ROOT, seen(b"a"), seen(b"b"), seen(b"c"))
    now = scan(ROOT, seen(b"a", FileKind.DIRECTORY), seen(b"b", FileKind.SYMLINK), seen(b"c", size=5))
    assert compare(before, now).replaced == 2


PATHS = st.lists(st.sampled_from([b"a", b"a.", b"b"]), min_size=1, max_size=3).map(b"/".join)


@given(st.sets(PATHS), st.sets(PATHS), st.sets(PATHS), st.sets(PATHS))
def test_gone_is_what_was_known_and_surely_is_no_more(
    known: set[bytes], found: set[bytes], unseen: set[bytes], below: set[bytes]
) -> None:
    before = signatures(*(seen(path) for path in known))
    now = scan(*(seen(path) for path in sorted(found)), unseen=tuple(unseen))
    result = gone(compare(before, now, sorted(below)))
    for path in known:
        is_hidden = is_below(path, unseen) or any(path in ancestors(place) for place in unseen)
        is_looked_for = not below or is_below(path, below)
        assert (path in result) == (path not in found and is_looked_for and not is_hidden)
    for at, path in enumerate(result):
        assert not any(is_below(later, {path}) for later in result[at + 1 :])


# --- from one tree to another


@given(trees(), trees(), st.data())
def test_operations_lead_from_any_tree_to_any_other(
    own: dict[bytes, Entry], wanted: dict[bytes, Entry], data: st.DataObject
) -> None:
    is_full = data.draw(st.booleans())
    incoming = list(wanted.values())
    if not is_full:
        changed = {
            path
            for path, entry in wanted.items()
            if own.get(path) != entry or data.draw(st.booleans())  # more than needed may come
        }
        incoming = [entry for path, entry in wanted.items() if path in changed]
        incoming += [
            Entry(path, entry.kind, 2, deleted=True) for path, entry in own.items() if path not in wanted
        ]
        incoming += [Entry(b"never/there", FileKind.FILE, 2, deleted=True)]
    tree = StrictTree(own)
    done = operations(tree.known(own), data.draw(st.permutations(incoming)), is_full=is_full)
    for operation in done:
        tree.perform(operation)
    assert tree.shape() == StrictTree(wanted).shape()


@given(trees(), st.data())
def test_a_file_that_is_rewritten_keeps_all_its_names(own: dict[bytes, Entry], data: st.DataObject) -> None:
    """Each rewritten file comes as a new inode: its other names follow, named by the owner or not."""
    files = [path for path, entry in own.items() if entry.kind is FileKind.FILE]
    rewritten = {
        path: replace(own[path], size=4, blocks=(b"new!".ljust(32),), generation=2) for path in files
    }
    rewritten = {path: entry for path, entry in rewritten.items() if data.draw(st.booleans())}
    tree = StrictTree(own)
    for operation in operations(tree.known(own), rewritten.values(), is_full=False):
        tree.perform(operation)
    assert tree.shape() == StrictTree(own | rewritten).shape()


@given(trees(), st.booleans())
def test_nothing_is_done_where_nothing_differs(own: dict[bytes, Entry], is_full: bool) -> None:
    newer = [replace(entry, generation=9) for entry in own.values()]
    assert operations(StrictTree(own).known(own), newer, is_full=is_full) == []


def test_storage_and_attributes_need_no_content() -> None:
    own = Entry(b"f", FileKind.FILE, 1, size=9, blocks=(b"h" * 32,))
    sparse = replace(own, generation=2, holes=((0, 9),), mode=0o600)
    assert operations({b"f": (own, None)}, [sparse], is_full=False) == [Operation(sparse, None)]
