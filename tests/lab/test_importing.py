import os
import sqlite3
from contextlib import closing
from pathlib import Path

import blake3
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drsync.adapters.memory.volume import Asked, MemoryDevice
from drsync.lab import images
from drsync.lab.importing import PIECE_BYTES, export_volume, import_image, pieces, read_all
from drsync.lab.layout import DISK
from drsync.model.errors import DrsyncError, PermanentError

MIB = 1 << 20


def make_image(path: Path, size: int, data: dict[int, bytes]) -> images.Image:
    """A sparse file with some data in it."""
    with path.open("wb") as file:
        file.truncate(size)
        for offset, content in data.items():
            file.seek(offset)
            file.write(content)
    return images.look_at(path)


async def test_a_volume_equals_its_image_and_only_data_is_written(
    uri: str, device: MemoryDevice, tmp_path: Path
) -> None:
    content = os.urandom(MIB)
    data = {0: content, 3 * MIB: bytes(MIB), 5 * MIB + 4096: content, 8 * MIB: b"tail"}
    image = make_image(tmp_path / "image", 8 * MIB + 4, data)
    counted: list[int] = []
    done = await import_image(image, uri, counted.append)

    assert device.data == image.path.read_bytes() + bytes(4092)
    assert done.content == f"blake3:{blake3.blake3(device.data).hexdigest()}"
    assert not done.has_changed
    assert sum(counted) == image.data_bytes
    writes = [request for request in device.recorded if request.asked is Asked.WRITE]
    assert sum(request.length for request in writes) == done.written < 3 * MIB
    assert device.recorded[-1].asked is Asked.FLUSH


async def test_an_import_that_broke_off_leaves_nothing_of_the_first_try(
    uri: str, device: MemoryDevice, tmp_path: Path
) -> None:
    device.data[:] = os.urandom(len(device.data))
    image = make_image(tmp_path / "image", 8 * MIB + 4096, {2 * MIB: b"x" * 4096})
    await import_image(image, uri, lambda _: None, may_hold_data=True)
    assert device.data == image.path.read_bytes()


async def test_an_image_of_another_size_is_refused(uri: str, tmp_path: Path) -> None:
    image = make_image(tmp_path / "image", MIB, {0: b"x"})
    with pytest.raises(PermanentError, match="bytes"):
        await import_image(image, uri, lambda _: None)


async def test_a_volume_that_fails_ends_the_import_with_one_error(
    uri: str, device: MemoryDevice, tmp_path: Path
) -> None:
    device.failing = 28
    image = make_image(tmp_path / "image", 8 * MIB + 4096, {0: os.urandom(4 * MIB)})
    with pytest.raises(DrsyncError, match="ENOSPC"):
        await import_image(image, uri, lambda _: None)


async def test_a_served_volume_becomes_a_sparse_file(uri: str, device: MemoryDevice, tmp_path: Path) -> None:
    device.data[MIB : MIB + 5] = b"hello"
    copy = tmp_path / "copy"
    counted: list[int] = []
    content = await export_volume(uri, copy, counted.append)
    assert copy.read_bytes() == device.data == await read_all(uri)
    assert content == f"blake3:{blake3.blake3(device.data).hexdigest()}"
    assert sum(counted) == len(device.data)
    assert copy.stat().st_blocks * 512 < 2 * MIB


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(1, 6 * MIB),
    st.lists(st.tuples(st.integers(0, 6 * MIB), st.integers(1, 2 * PIECE_BYTES)), max_size=4),
)
def test_pieces_cover_an_image_in_order(tmp_path: Path, size: int, data: list[tuple[int, int]]) -> None:
    chunks = {at: b"d" * min(length, size - at) for at, length in data if at < size}
    image = make_image(tmp_path / "image", size, chunks)
    whole, at = b"", 0
    with image.path.open("rb") as file:
        for piece in pieces(file.fileno(), size):
            assert piece.offset == at
            assert len(piece.data) <= PIECE_BYTES
            at += piece.length
            whole += piece.data or bytes(piece.length)
    assert whole == image.path.read_bytes()


def test_the_lab_makes_an_image_of_files_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "doc"
    source.mkdir()
    for n in range(20):
        (source / f"file-{n}").write_bytes(os.urandom(10_000))
    (source / "link").symlink_to("file-1")
    monkeypatch.setattr(images, "_sources", lambda: iter([source]))
    path = tmp_path / "image" / "disk.img"
    assert images.make_default(path) == 20
    image = images.look_at(path)
    assert image.is_ext
    assert image.size == images.DEFAULT_BYTES
    assert image.data_bytes < 64 * MIB
    assert images.check_ext(path)[0] == images.FSCK_CLEAN
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["disk.img"]


def test_the_shipped_runbook_finds_its_database_in_the_image_of_a_lab(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = Path(__file__).parents[2] / "runbooks" / "sqlite-service.yaml"
    parameters = yaml.safe_load(shipped.read_text())["spec"]["params"]
    known = {name: parameter["default"] for name, parameter in parameters.items()}
    monkeypatch.setattr(images, "_sources", lambda: iter([]))
    image, copy = tmp_path / "image" / "disk.img", tmp_path / "copy.db"
    images.make_default(image)
    images.run_tool("debugfs", ["-R", f"dump /{known['database']} {copy}", str(image)])
    with closing(sqlite3.connect(copy)) as ledger:
        assert ledger.execute("SELECT count(*) FROM entries").fetchone()[0] >= known["rows"]
    assert known["volume"] == DISK


def test_a_missing_tool_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "TOOL_PATH", ())
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(PermanentError, match=r"mkfs\.ext4 is not installed") as missing:
        images.run_tool("mkfs.ext4", [])
    assert "e2fsprogs" in missing.value.remedy
