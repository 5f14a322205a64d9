"""Entries as bytes: what was packed is read back, and nothing that a tree may not have gets in (P57)."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.delta.entries import (
    ENTRY_BYTES_MAX,
    Digest,
    decode,
    digest_of,
    encode,
    entry_hash,
    fault,
    pack,
    stage_key,
    unpack,
)
from drsync.model.errors import MalformedError
from drsync.model.fileset import (
    BLOCK_BYTES_MIN,
    BLOCKS_MAX,
    HOLES_MAX,
    PATH_BYTES_MAX,
    SIZE_MAX,
    XATTR_BYTES_MAX,
    XATTRS_BYTES_MAX,
    XATTRS_MAX,
    Entry,
    FileKind,
    block_bytes,
)
from tests.delta.entry_examples import directory, entries, file, hardlink, tombstone

GOLDEN = Path(__file__).parents[1] / "golden" / "tree" / "entries.txt"
LINK = Entry(b"l", FileKind.SYMLINK, target=b"../out")

EXAMPLES: dict[str, Entry] = {
    "root": Entry(b"", FileKind.DIRECTORY, 7, mode=0o755, mtime_ns=1_700_000_000_123_456_789),
    "file": Entry(
        b"a/caf\xe9", FileKind.FILE, 8, mode=0o4755, uid=1000, gid=100, mtime_ns=-1, size=BLOCK_BYTES_MIN + 1,
        blocks=(bytes(range(32)), bytes(32)), holes=((4096, 8192),), xattrs=((b"user.k", b"v"),),
    ),
    "symlink": Entry(b"a/l", FileKind.SYMLINK, 8, mode=0o777, target=b"../out"),
    "hardlink": hardlink(b"b", b"a/caf\xe9", 8),
    "device": Entry(b"null", FileKind.CHARACTER, 8, mode=0o666, device=(1 << 20) + 3),
    "tombstone": tombstone(b"gone", 9),
}  # fmt: skip


def golden() -> dict[str, bytes]:
    lines = (line.split(": ") for line in GOLDEN.read_text(encoding="ascii").splitlines() if line)
    return {name: bytes.fromhex(value) for name, value in lines}


@pytest.mark.parametrize("name", EXAMPLES)
def test_entries_are_still_the_same_bytes(name: str) -> None:
    assert encode(EXAMPLES[name]).hex() == golden()[name].hex()
    assert decode(golden()[name])[0] == EXAMPLES[name]


def test_the_digest_of_the_golden_entries_is_still_the_same() -> None:
    assert digest_of(EXAMPLES.values()) == golden()["digest"].hex()
    assert stage_key(EXAMPLES["file"]) == golden()["key"].hex()


@given(st.lists(entries(), max_size=5))
def test_what_was_packed_is_read_back(some: list[Entry]) -> None:
    assert unpack(b"".join(pack(some, ENTRY_BYTES_MAX))) == some


@given(entries(), entries(), st.integers(0, 1 << 40))
def test_the_hash_is_about_everything_but_the_generation(one: Entry, other: Entry, number: int) -> None:
    assert entry_hash(one) == entry_hash(replace(one, generation=number))
    assert (entry_hash(one) == entry_hash(other)) == (one == replace(other, generation=one.generation))
    assert stage_key(one) == entry_hash(one).hex()


@given(st.lists(entries(), max_size=6), st.lists(entries(), max_size=6))
def test_the_digest_is_free_of_order_and_can_go_back(some: list[Entry], more: list[Entry]) -> None:
    digest = Digest(digest_of(some))
    for entry in more:
        digest.add(entry_hash(entry))
    for entry in reversed(some):
        if not entry.deleted:
            digest.subtract(entry_hash(entry))
    expected = Digest()
    for entry in reversed(more):
        expected.add(entry_hash(entry))
    assert digest.hex() == expected.hex()
    assert Digest().hex() == digest_of([tombstone(b"gone")]) == "00" * 32


@given(entries(), st.data())
def test_a_spoiled_entry_is_refused_or_another_valid_one(entry: Entry, data: st.DataObject) -> None:
    raw = bytearray(encode(entry))
    at = data.draw(st.integers(0, min(len(raw), 200) - 1))
    raw[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found, end = decode(bytes(raw))
    except MalformedError:
        return
    assert end == len(raw)
    assert encode(found) == raw
    assert not fault(found)


@given(entries(), st.data())
def test_an_entry_that_was_cut_off_is_refused(entry: Entry, data: st.DataObject) -> None:
    raw = encode(entry)
    with pytest.raises(MalformedError):
        decode(raw[: data.draw(st.integers(0, len(raw) - 1))])


@pytest.mark.parametrize(
    "path",
    [
        b"/etc/passwd", b"..", b"a/../b", b"a/..", b".", b"a//b", b"a/", b"a\0b", b".drsync",
        b".drsync-fork-7/x", b"n" * 256, b"/".join([b"n" * 200] * 21),
    ],
)  # fmt: skip
def test_a_peer_cannot_name_what_is_outside_or_ours(path: bytes) -> None:
    for entry in (file(path), tombstone(path), hardlink(b"z", path)):
        assert fault(entry)
        with pytest.raises(MalformedError):
            decode(encode(entry))


def test_names_that_only_look_strange_are_names() -> None:
    for path in (b"...", b"a/.drsync", b".drs", b"\xff\xfe", b"a\nb", b" ", b"n" * 255):
        assert not fault(file(path))


@pytest.mark.parametrize(
    "entry",
    [
        file(b""),
        tombstone(b"", kind=FileKind.DIRECTORY),
        replace(tombstone(b"t"), mode=1),
        replace(file(b"f"), generation=1 << 63),
        replace(file(b"f"), mode=0o10000),
        replace(file(b"f"), blocks=()),
        replace(file(b"f"), target=b"t"),
        replace(file(b"f"), device=1),
        replace(file(b"f"), size=SIZE_MAX + 1),
        replace(directory(b"d"), size=1),
        replace(directory(b"d"), blocks=(bytes(32),)),
        replace(directory(b"d"), holes=((0, 1),)),
        replace(LINK, target=b""),
        replace(LINK, target=b"a\0"),
        replace(LINK, target=b"a" * (PATH_BYTES_MAX + 1)),
        hardlink(b"h", b"h"),
        replace(file(b"f", b"four"), holes=((0, 0),)),
        replace(file(b"f", b"four"), holes=((0, 2), (1, 2))),
        replace(file(b"f", b"four"), holes=((0, 5),)),
        replace(file(b"f"), holes=((0, 1),) * (HOLES_MAX + 1)),
        replace(file(b"f"), xattrs=((b"", b""),)),
        replace(file(b"f"), xattrs=((b"b", b""), (b"a", b""))),
        replace(file(b"f"), xattrs=((b"a", b""), (b"a", b""))),
        replace(file(b"f"), xattrs=((b"a\0", b""),)),
        replace(file(b"f"), xattrs=((b"n" * 256, b""),)),
        replace(file(b"f"), xattrs=((b"a", bytes(XATTR_BYTES_MAX + 1)),)),
        replace(file(b"f"), xattrs=tuple((bytes([65 + n]), bytes(XATTR_BYTES_MAX)) for n in range(5))),
        replace(file(b"f"), xattrs=tuple((b"%04d" % n, b"") for n in range(XATTRS_MAX + 1))),
    ],
)
def test_what_no_tree_may_have_is_refused(entry: Entry) -> None:
    assert fault(entry)
    with pytest.raises(MalformedError):
        decode(encode(entry))


def test_the_largest_entry_fits() -> None:
    size = SIZE_MAX
    count = -(-size // block_bytes(size))
    xattr = XATTRS_BYTES_MAX // XATTRS_MAX - 4
    entry = Entry(
        path=b"/".join([b"n" * 203] * 20), kind=FileKind.FILE, generation=(1 << 63) - 1, mode=0o7777,
        size=size, blocks=(b"h" * 32,) * count, holes=tuple((2 * n, 1) for n in range(HOLES_MAX)),
        xattrs=tuple((b"%04d" % n, bytes(xattr)) for n in range(XATTRS_MAX)),
    )  # fmt: skip
    assert count <= BLOCKS_MAX
    assert len(encode(entry)) <= ENTRY_BYTES_MAX < 1 << 20
    assert decode(encode(entry)) == (entry, len(encode(entry)))
    assert [len(piece) for piece in pack([entry, entry], ENTRY_BYTES_MAX)] == [len(encode(entry))] * 2


def _set(offset: int, value: bytes) -> Callable[[bytes], bytes]:
    return lambda raw: raw[:offset] + value + raw[offset + len(value) :]


@pytest.mark.parametrize(
    "spoil",
    [
        _set(12, b"\x02"),  # version
        _set(13, b"\x63"),  # kind
        _set(14, b"\x02"),  # flags
        _set(15, b"\x01"),  # zero
        _set(40, b"\xff\xff\xff\xff"),  # nanoseconds
        _set(0, b"\x00\x00\x00\x00"),  # length
        _set(56, b"\xff\xff\xff\xff"),  # blocks
        _set(60, b"\xff\xff\xff\xff"),  # holes
        lambda raw: _set(0, (len(raw) + 1).to_bytes(4, "little"))(raw) + b"!",  # more than is counted
    ],
)
def test_a_head_that_says_nonsense_is_refused(spoil: Callable[[bytes], bytes]) -> None:
    with pytest.raises(MalformedError):
        decode(spoil(encode(EXAMPLES["file"])))
