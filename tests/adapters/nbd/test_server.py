"""The server on real sockets: who is let in, who is thrown out, and that nobody disturbs the others."""

import asyncio
import errno
import os
import stat
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from drsync.adapters.memory.volume import MemoryDevice, MemoryExports
from drsync.adapters.nbd.address import make_uri
from drsync.adapters.nbd.client import NbdClient
from drsync.adapters.nbd.server import Limits, Server
from drsync.model.errors import DrsyncError, PermanentError, RefusedError, TransientError, UsageError

MIB = 1 << 20
PATIENCE = 10.0
CLIENT_FLAGS = b"\0\0\0\3"
GO_DISK = b"IHAVEOPT" + struct.pack(">III", 7, 10, 4) + b"disk\0\0"
GREETING_LENGTH, GO_ANSWER_LENGTH = 18, 20 + 12 + 20 + 14 + 20


async def connect(server: Server, name: str = "disk") -> NbdClient:
    return await NbdClient.connect(make_uri(name, server.path), request_seconds=PATIENCE)


async def until_closed(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(PATIENCE):
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something is so."""
    async with asyncio.timeout(PATIENCE):
        for _ in iter(condition, True):
            await asyncio.sleep(0)


async def fate(request: Awaitable[object]) -> str:
    """The code that a request in flight ends with."""
    with pytest.raises(DrsyncError) as ended:
        await request
    return ended.value.code


async def test_what_was_written_is_read_back(server: Server, disk: MemoryDevice) -> None:
    client = await connect(server)
    await client.write(5, b"hello", fua=True)
    await client.write(4096, b"x" * 8192)
    await client.zero(4096, 4096)
    await client.trim(8192, 100)
    await client.flush()

    assert await client.read(0, 12) == b"\0" * 5 + b"hello" + b"\0\0"
    assert disk.data[4096:12288] == bytes(4096) + bytes(100) + b"x" * 3996
    assert (client.size, client.is_read_only) == (8 * MIB, False)
    await client.close()


async def test_large_and_pipelined_requests_keep_their_data_apart(server: Server) -> None:
    clients = [await connect(server) for _ in range(4)]

    async def work(client: NbdClient, at: int) -> None:
        data = os.urandom(2 * MIB)
        async with asyncio.TaskGroup() as group:
            for start in range(0, 2 * MIB, 100_000):
                group.create_task(client.write(at + start, data[start : start + 100_000]))
        assert await client.read(at, 2 * MIB) == data

    async with asyncio.TaskGroup() as group:
        for index, client in enumerate(clients):
            group.create_task(work(client, index * 2 * MIB))
    assert server.connections("disk") == 4
    for client in clients:
        await client.close()
    await until(lambda: server.connections("disk") == 0)


@pytest.mark.parametrize("length", [8192, 65_536, 131_072, MIB])
async def test_replies_stay_apart_when_many_reads_wait_for_a_slow_socket(
    server: Server, disk: MemoryDevice, length: int
) -> None:
    disk.data[:] = os.urandom(8 * MIB)
    client = await connect(server)

    async def check(offset: int) -> None:
        for _ in range(4):
            assert await client.read(offset, length) == disk.data[offset : offset + length]

    async with asyncio.TaskGroup() as group:
        for offset in range(0, 4 * MIB, 131_072):
            group.create_task(check(offset))
    await client.close()


async def test_errors_have_their_class(server: Server) -> None:
    client, reader = await connect(server), await connect(server, "frozen")

    with pytest.raises(PermanentError, match="ENOSPC"):
        await client.write(8 * MIB - 1, b"xy")
    with pytest.raises(PermanentError, match="EINVAL"):
        await client.read(8 * MIB - 1, 2)
    with pytest.raises(RefusedError, match="EPERM"):
        await reader.write(0, b"x")
    assert reader.is_read_only
    with pytest.raises(TransientError) as refused:
        await connect(server, "no such")
    assert refused.value.code == "nbd_unknown_export"
    await client.close()
    await reader.close()


async def test_an_export_that_vanishes_answers_what_is_outstanding_and_leaves_the_others_alone(
    server: Server, exports: MemoryExports, disk: MemoryDevice
) -> None:
    client, other = await connect(server), await connect(server, "frozen")
    disk.is_holding = True

    async with asyncio.TaskGroup() as group:
        writes = [group.create_task(fate(client.write(n, b"x"))) for n in range(9)]
        await until(lambda: disk.held == 9)
        del exports.devices["disk"]
        assert server.close_export("disk") == 1
    assert {write.result() for write in writes} == {"nbd_eshutdown"}

    await until(lambda: server.connections("disk") == 0)
    disk.release()
    with pytest.raises(TransientError, match="not served"):
        await connect(server)
    assert await other.read(0, 1) == b"\0"
    await other.close()


async def test_stop_answers_what_is_outstanding_and_removes_the_socket(
    server: Server, disk: MemoryDevice
) -> None:
    client = await connect(server)
    disk.is_holding = True
    async with asyncio.TaskGroup() as group:
        flush = group.create_task(fate(client.flush()))
        await until(lambda: disk.held == 1)
        await server.stop()
    assert flush.result() == "nbd_eshutdown"
    assert not server.path.exists()
    assert client.is_lost or server.connections("disk") == 0
    await client.close()


async def test_an_owner_that_steps_down_answers_nothing_whose_outcome_is_open(
    server: Server, disk: MemoryDevice
) -> None:
    """The write may still be committed by the next owner: an error would promise that it never is."""
    client = await connect(server)
    disk.is_holding = True
    async with asyncio.TaskGroup() as group:
        write = group.create_task(fate(client.write(0, b"x")))
        await until(lambda: disk.held == 1)
        await server.stop(answers=False)
    assert write.result() == "nbd_lost"
    await client.close()


async def test_a_client_that_dies_with_writes_outstanding_is_forgotten(
    server: Server, disk: MemoryDevice
) -> None:
    client = await connect(server)
    disk.is_holding = True
    async with asyncio.TaskGroup() as group:
        write = group.create_task(fate(client.write(0, b"x")))
        await until(lambda: disk.held == 1)
        client.abort()
    assert write.result() == "nbd_lost"
    await until(lambda: server.connections("disk") == 0)
    assert disk.release() == 1


async def test_a_request_has_a_deadline_and_the_connection_survives_it(
    server: Server, disk: MemoryDevice
) -> None:
    client = await NbdClient.connect(make_uri("disk", server.path), request_seconds=0.02)
    disk.is_holding = True
    with pytest.raises(TransientError) as late:
        await client.write(0, b"late")
    assert late.value.code == "nbd_timeout"

    disk.is_holding = False
    disk.release()
    assert await client.read(0, 4) == b"late"
    await client.close()


async def test_a_reader_that_does_not_read_is_not_served_ahead(server: Server, disk: MemoryDevice) -> None:
    reads = 0
    read_into = disk.read_into

    def counted(offset: int, target: memoryview) -> int:
        nonlocal reads
        reads += 1
        return read_into(offset, target)

    disk.read_into = counted  # type: ignore[method-assign]  # because the test counts what is executed
    reader, writer = await asyncio.open_unix_connection(server.path, limit=MIB)
    writer.write(CLIENT_FLAGS + GO_DISK)
    await reader.readexactly(GREETING_LENGTH + GO_ANSWER_LENGTH)
    for cookie in range(200):
        writer.write(struct.pack(">IIQQI", 0x25609513, 0, cookie, 0, MIB))

    other = await connect(server)
    for _ in range(50):
        await other.read(0, 1)
    assert reads - 50 < 20

    for cookie in range(200):
        header = await reader.readexactly(16)
        assert header == struct.pack(">IIQ", 0x67446698, 0, cookie)
        await reader.readexactly(MIB)
    writer.close()
    await writer.wait_closed()
    await other.close()


async def test_malformed_clients_are_dropped_while_others_are_served(server: Server) -> None:
    other = await connect(server)
    for nonsense in (
        b"GET / HTTP/1.1\r\n\r\n" * 9,
        CLIENT_FLAGS + b"IHAVEOPT" + b"\0\0\0\7\xff\xff\xff\xff",
        CLIENT_FLAGS + GO_DISK + b"\0" * 28,
        CLIENT_FLAGS + GO_DISK + struct.pack(">IIQQI", 0x25609513, 1, 1, 0, 1 << 31),
    ):
        reader, writer = await asyncio.open_unix_connection(server.path)
        writer.write(nonsense)
        await until_closed(reader)
        writer.close()
        await other.write(0, b"still served")
    await until(lambda: server.connections("disk") == 1)
    await other.close()


async def test_disc_closes_the_connection(server: Server) -> None:
    reader, writer = await asyncio.open_unix_connection(server.path)
    writer.write(CLIENT_FLAGS + GO_DISK + struct.pack(">IIQQI", 0x25609513, 2, 0, 0, 0))
    answer = await until_closed(reader)
    assert len(answer) == GREETING_LENGTH + GO_ANSWER_LENGTH
    writer.close()


class TestLimits:
    @pytest.fixture
    def limits(self) -> Limits:
        return Limits(handshake_seconds=0.05, per_export=2, unchosen=3)

    async def test_a_handshake_that_stalls_is_ended(self, server: Server) -> None:
        reader, writer = await asyncio.open_unix_connection(server.path)
        assert len(await until_closed(reader)) == GREETING_LENGTH
        writer.close()

    async def test_an_open_connection_may_be_idle_for_longer_than_a_handshake(self, server: Server) -> None:
        client = await connect(server)
        reader, writer = await asyncio.open_unix_connection(server.path)
        await until_closed(reader)
        writer.close()
        assert await client.read(0, 1) == b"\0"
        await client.close()

    async def test_connections_to_an_export_are_counted(self, server: Server) -> None:
        clients = [await connect(server) for _ in range(2)]
        with pytest.raises(TransientError, match="too many connections"):
            await connect(server)
        await (await connect(server, "frozen")).close()
        await clients.pop().close()
        await until(lambda: server.connections("disk") == 1)
        clients.append(await connect(server))
        for client in clients:
            await client.close()

    async def test_sockets_that_choose_nothing_do_not_keep_others_out_for_ever(self, server: Server) -> None:
        idle = [await asyncio.open_unix_connection(server.path) for _ in range(6)]
        for reader, writer in idle:
            assert len(await until_closed(reader)) in {0, GREETING_LENGTH}
            writer.close()
        await (await connect(server)).close()


async def test_the_socket_is_for_owner_and_group_only(server: Server) -> None:
    assert stat.S_IMODE(server.path.stat().st_mode) == 0o660


async def test_a_socket_left_by_a_dead_server_is_replaced_and_a_living_one_is_not(
    server: Server, exports: MemoryExports, tmp_path: Path
) -> None:
    second = Server(exports, server.path)
    with pytest.raises(TransientError, match="another process"):
        await second.start()

    left = tmp_path / "left.sock"
    os.link(server.path, left)
    await server.stop()
    heir = Server(exports, left)
    await heir.start()
    await (await connect(heir)).close()
    await heir.stop()


async def test_a_path_that_cannot_be_a_socket_is_refused(exports: MemoryExports, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("precious")
    with pytest.raises(UsageError, match="no socket"):
        await Server(exports, file).start()
    assert file.read_text() == "precious"
    with pytest.raises(UsageError, match="107"):
        await Server(exports, tmp_path / ("x" * 108)).start()
    with pytest.raises(TransientError, match="No such file"):
        await Server(exports, tmp_path / "missing" / "nbd.sock").start()


async def test_tcp_is_for_loopback_only(server: Server, disk: MemoryDevice) -> None:
    with pytest.raises(UsageError, match="loopback"):
        await server.listen_loopback("0.0.0.0", 0)
    port = await server.listen_loopback("127.0.0.1", 0)
    client = await NbdClient.connect(f"nbd://127.0.0.1:{port}/disk")
    await client.write(0, b"tcp")
    assert disk.data[:3] == b"tcp"
    await client.close()


async def test_a_client_says_what_it_did_not_reach(tmp_path: Path) -> None:
    with pytest.raises(TransientError, match="cannot reach"):
        await NbdClient.connect(make_uri("disk", tmp_path / "nobody.sock"))


@pytest.mark.parametrize("failing", [errno.EIO, errno.ENOSPC])
async def test_errors_of_the_device_arrive(server: Server, disk: MemoryDevice, failing: int) -> None:
    client = await connect(server)
    disk.failing = failing
    with pytest.raises(DrsyncError, match=errno.errorcode[failing]):
        await client.write(0, b"x")
    disk.failing = 0
    assert await client.read(0, 1) == b"\0"
    await client.close()
