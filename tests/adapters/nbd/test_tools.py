"""The tools people use speak to our server, each against a server in this process on uvloop."""

import asyncio
import json
import os
import shutil
from pathlib import Path

import pytest

from drsync.adapters.memory.volume import Asked, MemoryDevice, MemoryExports
from drsync.adapters.nbd.address import make_uri
from drsync.adapters.nbd.server import Server

MIB = 1 << 20
PATIENCE = 45.0

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_factories=["uvloop"])]


async def run(*argv: str, fails: bool = False) -> str:
    """Run a tool to its end; returns what it printed."""
    assert shutil.which(argv[0]) is not None, f"{argv[0]} is not installed: make setup installs it"
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*argv, stdout=pipe, stderr=asyncio.subprocess.STDOUT)
    async with asyncio.timeout(PATIENCE):
        output, _ = await process.communicate()
    assert (process.returncode != 0) == fails, f"{argv[0]} ended with {process.returncode}: {output.decode()}"
    return output.decode()


def allocated(path: Path) -> int:
    """Bytes that a file takes on its disk."""
    return path.stat().st_blocks * 512


def content_of(path: Path) -> bytes:
    return path.read_bytes()


@pytest.fixture
def uri(server: Server) -> str:
    return make_uri("disk", server.path)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """As large as the served disk, half of it holes."""
    path = tmp_path / "image"
    with path.open("wb") as file:
        file.truncate(8 * MIB)
        file.write(os.urandom(2 * MIB))
        file.seek(5 * MIB)
        file.write(os.urandom(2 * MIB))
    return path


async def test_nbdinfo_shows_what_the_export_can_do(uri: str, server: Server) -> None:
    (export,) = json.loads(await run("nbdinfo", "--json", uri))["exports"]

    assert export["export-name"] == "disk"
    assert export["export-size"] == 8 * MIB
    assert export["is_read_only"] is False
    for ability in ("can_flush", "can_fua", "can_trim", "can_zero", "can_multi_conn"):
        assert export[ability] is True, ability
    assert (export["block_size_minimum"], export["block_size_preferred"], export["block_size_maximum"]) == (
        1,
        4096,
        32 * MIB,
    )
    assert await run("nbdinfo", "--size", uri) == f"{8 * MIB}\n"
    assert "is_read_only: true" in await run("nbdinfo", make_uri("frozen", server.path))


async def test_nbdinfo_lists_and_a_missing_export_is_named(uri: str, server: Server) -> None:
    listed = json.loads(await run("nbdinfo", "--list", "--json", uri))["exports"]

    assert [export["export-name"] for export in listed] == ["disk", "frozen"]
    assert [export["description"] for export in listed] == ["disk in memory", "frozen in memory"]
    assert "server replied with error" in await run("nbdinfo", make_uri("missing", server.path), fails=True)


async def test_nbdcopy_brings_an_image_in_and_out(
    uri: str, disk: MemoryDevice, image: Path, tmp_path: Path
) -> None:
    await run("nbdcopy", "--flush", "--connections=4", str(image), uri)
    assert disk.data == content_of(image)

    copy = tmp_path / "copy"
    await run("nbdcopy", "--connections=4", uri, str(copy))
    assert content_of(copy) == content_of(image)


async def test_qemu_img_converts_and_compares(
    uri: str, disk: MemoryDevice, image: Path, tmp_path: Path
) -> None:
    await run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", str(image), uri)
    assert disk.data == content_of(image)
    assert "identical" in await run("qemu-img", "compare", "-f", "raw", "-F", "raw", str(image), uri)
    assert json.loads(await run("qemu-img", "info", "--output=json", uri))["virtual-size"] == 8 * MIB

    qcow = tmp_path / "copy.qcow2"
    await run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", uri, str(qcow))
    assert "identical" in await run("qemu-img", "compare", "-F", "raw", str(qcow), uri)


async def test_qemu_io_reads_writes_flushes_zeroes_and_discards(uri: str, disk: MemoryDevice) -> None:
    steps = ["write -P 0x5a 0 1M", "write -f -P 0x11 1M 4k", "write -z 8k 8k", "discard 64k 64k", "flush"]
    steps += [
        "read -P 0x5a 0 8k",
        "read -P 0 8k 8k",
        "read -P 0 64k 64k",
        "read -P 0x11 1M 4k",
        "write -P 7 12345 77",
    ]
    output = await run("qemu-io", "-f", "raw", *[word for step in steps for word in ("-c", step)], uri)

    assert "Pattern verification failed" not in output
    assert disk.data[12345 : 12345 + 77] == b"\7" * 77
    asked = {request.asked for request in disk.recorded}
    assert asked == {Asked.WRITE, Asked.ZERO, Asked.TRIM, Asked.FLUSH}
    assert any(request.is_fua for request in disk.recorded)


async def test_nbdinfo_maps_what_is_stored(uri: str, disk: MemoryDevice) -> None:
    disk.data[MIB : 3 * MIB] = b"d" * (2 * MIB)
    told = json.loads(await run("nbdinfo", "--map", "--json", uri))

    assert [(part["offset"], part["length"], part["type"]) for part in told] == [
        (0, MIB, 3),
        (MIB, 2 * MIB, 0),
        (3 * MIB, 5 * MIB, 3),
    ]
    (export,) = json.loads(await run("nbdinfo", "--json", uri))["exports"]
    assert export["contexts"] == ["base:allocation"]
    assert export["can_df"] is True
    assert export["can_fast_zero"] is True


async def test_qemu_img_maps_what_is_stored(uri: str, disk: MemoryDevice) -> None:
    disk.data[MIB : 3 * MIB] = b"d" * (2 * MIB)
    told = json.loads(await run("qemu-img", "map", "-f", "raw", "--output=json", uri))

    assert [(part["start"], part["length"], part["data"], part["zero"]) for part in told] == [
        (0, MIB, False, True),
        (MIB, 2 * MIB, True, False),
        (3 * MIB, 5 * MIB, False, True),
    ]


async def test_a_sparse_volume_is_copied_as_a_sparse_file(
    uri: str, disk: MemoryDevice, tmp_path: Path
) -> None:
    disk.data[MIB : MIB + 100] = b"d" * 100
    disk.data[5 * MIB : 6 * MIB] = os.urandom(MIB)
    copied, converted = tmp_path / "copied", tmp_path / "converted"
    await run("nbdcopy", uri, str(copied))
    await run("qemu-img", "convert", "-f", "raw", "-O", "raw", uri, str(converted))

    for copy in (copied, converted):
        assert content_of(copy) == disk.data
        assert allocated(copy) <= 2 * MIB


async def test_qemu_io_is_told_why_it_may_not_write(server: Server) -> None:
    output = await run(
        "qemu-io", "-f", "raw", "-c", "write 0 4k", make_uri("frozen", server.path), fails=True
    )

    assert "Permission denied" in output


async def test_fio_verifies_every_block(uri: str, disk: MemoryDevice) -> None:
    argv = [
        "fio",
        "--name=verify",
        "--ioengine=nbd",
        f"--uri={uri}",
        "--rw=randrw",
        "--bsrange=4k-64k",
        "--iodepth=16",
    ]
    await run(
        *argv,
        "--size=8m",
        "--verify=crc32c",
        "--verify_fatal=1",
        "--do_verify=1",
        "--fsync=32",
        "--verify_state_save=0",
    )

    assert max(disk.batches) > 1, "writes that arrive together form a batch"


async def test_names_of_any_kind_reach_the_export(server: Server, exports: MemoryExports) -> None:
    for name in ("", "group/volume", "订单 数据", "a" * 1000):
        exports.devices[name] = MemoryDevice(MIB)
        assert await run("nbdinfo", "--size", make_uri(name, server.path)) == f"{MIB}\n"
