"""What is written to a view reads back, costs what it stores and no more, and ends with the view."""

import errno
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.adapters.memory.image import MemoryImage
from drsync.agent.copy_store import FileCopyStore
from drsync.engine import private
from drsync.engine.overlay import BLOCK
from drsync.engine.private import CHUNK, IN_MEMORY_BLOCKS, Kind, PrivateLayer, Quota
from drsync.engine.views import Writes
from drsync.model.errors import NoSpaceError
from drsync.model.group import VolumeSpec
from drsync.ports.journal import Image
from tests.engine.town import GROUP, VOLUME_BYTES, town

SIZE = (CHUNK + 30) * BLOCK
"""More than a chunk, so that runs of blocks go across its end."""
VOLUME = VolumeSpec("cd" * 16, "disk", SIZE, 0)


def below(offset: int, target: memoryview) -> None:
    pattern = b"".join(
        bytes([0xB0 + block % 7]) * BLOCK
        for block in range(offset // BLOCK, (offset + len(target)) // BLOCK + 1)
    )
    target[:] = pattern[offset % BLOCK :][: len(target)]


def file_of(tmp_path: Path) -> Callable[[VolumeSpec], Image]:
    return FileCopyStore(tmp_path, "cluster", "remote").scratch


near_the_seam = st.integers((CHUNK - 30) * BLOCK, SIZE - 1)
actions = st.lists(
    st.tuples(st.sampled_from(["write", "zero"]), near_the_seam, st.integers(1, 30 * BLOCK)), max_size=12
)


@given(actions, st.booleans())
def test_a_layer_reads_like_an_array_that_took_the_same_writes(
    done: list[tuple[str, int, int]], is_on_disk: bool
) -> None:
    quota = Quota(SIZE)
    layer = PrivateLayer((lambda: MemoryImage(SIZE)) if is_on_disk else None, quota)
    start = (CHUNK - 31) * BLOCK
    expected = bytearray(SIZE - start)
    below(start, memoryview(expected))
    for number, (what, offset, wanted) in enumerate(done):
        length = min(wanted, SIZE - offset)
        data = bytes([number + 1]) * length
        if what == "write":
            layer.write(offset, data, below)
        else:
            data = bytes(length)
            layer.zero(offset, length, below)
        expected[offset - start : offset - start + length] = data
    found = bytearray(SIZE - start)
    layer.read_into(start, memoryview(found), below)
    assert found == expected
    piece = bytearray(3000)
    layer.read_into(start + 301, memoryview(piece), below)
    assert piece == expected[301:3301]
    runs = list(layer.runs(0, SIZE // BLOCK))
    assert (runs[0][0], runs[-1][1]) == (0, SIZE // BLOCK)
    assert all(before[1] == after[0] for before, after in pairwise(runs))
    assert quota.used == sum(end - first for first, end, kind in runs if kind is Kind.DATA) * BLOCK
    layer.close()
    assert quota.used == 0


def test_beyond_the_quota_nothing_is_kept_and_what_was_kept_stays() -> None:
    quota = Quota(3 * BLOCK)
    layer = PrivateLayer(None, quota)
    layer.write(0, b"a" * (3 * BLOCK), below)
    with pytest.raises(NoSpaceError):
        layer.write(3 * BLOCK, b"b" * BLOCK, below)
    layer.write(0, b"c" * BLOCK, below)  # in place of what it keeps already
    layer.zero(BLOCK, BLOCK, below)
    layer.write(7 * BLOCK, b"d" * BLOCK, below)
    found = bytearray(8 * BLOCK)
    layer.read_into(0, memoryview(found), below)
    assert found[:BLOCK] == b"c" * BLOCK
    assert found[BLOCK : 2 * BLOCK] == bytes(BLOCK)
    assert found[7 * BLOCK :] == b"d" * BLOCK


def test_a_discard_of_a_whole_disk_takes_neither_quota_nor_memory() -> None:
    size = 1 << 40
    quota = Quota(0)
    layer = PrivateLayer(None, quota)
    layer.zero(0, size, below)
    assert quota.used == 0
    assert len({id(bits) for bits in layer._mine.values()}) == 1
    assert next(layer.runs(0, size // BLOCK))[2] is Kind.HOLE


def test_much_content_lies_in_a_file_that_has_no_name(tmp_path: Path) -> None:
    layer = PrivateLayer(lambda: file_of(tmp_path)(VOLUME), Quota(SIZE))
    layer.write(0, b"p" * BLOCK, below)
    assert not (tmp_path / "scratch").exists(), "a probe needs no file"
    layer.write(5 * BLOCK, b"q" * (IN_MEMORY_BLOCKS * BLOCK), below)
    assert list((tmp_path / "scratch").iterdir()) == []
    assert not layer._held
    found = bytearray(6 * BLOCK)
    layer.read_into(0, memoryview(found), below)
    assert found[:BLOCK] == b"p" * BLOCK
    assert found[5 * BLOCK :] == b"q" * BLOCK
    layer.close()


def test_what_a_process_left_before_its_file_lost_its_name_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "scratch" / VOLUME.id
    left.parent.mkdir()
    left.write_bytes(b"x")
    file_of(tmp_path)(VOLUME).close()
    assert not left.exists()


class Answers:
    def __init__(self) -> None:
        self.errors: list[int] = []

    def complete(self, cookies: list[bytes], error: int) -> None:
        self.errors += [error] * len(cookies)

    def resume(self) -> None:
        raise AssertionError("nothing waits")


async def test_a_view_says_what_it_cannot_keep_and_a_read_only_one_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private, "IN_MEMORY_BLOCKS", 1)
    async with town(tmp_path) as place:
        member = place.member("remote")
        view = member.views.hold("v", member.copy.journal.tip.seq)
        view.may_keep(Writes(8 * BLOCK, file_of(tmp_path / "remote")))
        await view.build()
        device = view.device(GROUP.volumes[0])
        tip, answers = member.copy.journal.tip, Answers()
        device.write(0, memoryview(b"w" * (8 * BLOCK)), b"1", fua=False)
        device.write(100 * BLOCK, memoryview(b"w" * BLOCK), b"2", fua=False)
        device.zero(0, VOLUME_BYTES, b"3", fua=False, is_trim=True)
        device.submit(answers)
        assert sorted(answers.errors) == [0, 0, errno.ENOSPC]
        assert device.extents(0, VOLUME_BYTES, 9) == [(VOLUME_BYTES, True)]
        assert member.copy.journal.tip == tip

        shown = member.views.hold("r", tip.seq)
        shown.may_keep(Writes(0))
        await shown.build()
        reader, answers = shown.device(GROUP.volumes[0]), Answers()
        assert reader.is_read_only
        reader.write(0, memoryview(b"w" * BLOCK), b"1", fua=False)
        reader.submit(answers)
        assert answers.errors == [errno.EPERM]

        member.views.release("v")
        assert device.read_into(0, memoryview(bytearray(BLOCK))) == errno.ESHUTDOWN
        assert view.quota.used == 0


async def test_a_view_whose_journal_is_over_the_quota_is_given_up_and_the_copy_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with town(tmp_path) as place:
        remote = place.member("remote")
        view = remote.views.hold("v", remote.copy.journal.tip.seq)
        policy = replace(GROUP.policy, journal_quota_bytes=1)
        monkeypatch.setattr(remote.copy, "spec", replace(GROUP, policy=policy))
        await place.until(lambda: view.is_over)
        assert any("view_given_up: v: the journal kept" in line for line in place.nodes["remote"].lines)
        assert remote.views.ids() == []
