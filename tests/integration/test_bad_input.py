"""Mistakes of people, rubbish from strangers: a clear error for who made it, and nothing else happens."""

import asyncio
import os
import socket
from pathlib import Path

import pytest

from drsync.adapters.nbd.client import NbdClient
from drsync.adapters.ssh import PeerKeys, SshTransport
from drsync.adapters.ssh.keys import generate_keypair, public_key
from drsync.lab.layout import COORDINATOR, DISK, GROUP, LEDGER, PRODUCTION, REMOTE
from drsync.lab.ports import HOST
from drsync.lab.writer import LedgerWriter
from drsync.model.errors import TransientError
from drsync.ports.transport import LinkKind
from tests.integration.site import MIB, Site, is_connected, is_level, site

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]

STORY_S = 80.0
SOME = 30


async def test_all_mistakes_of_a_configuration_are_told_at_once(home: Path) -> None:
    place = Site(home / "s")
    with place.held:
        place.found()
        place.edit(PRODUCTION, "state_dir = ", "stat_dir = ")
        place.edit(PRODUCTION, 'designation = "production"', 'designation = "prodution"')
        place.edit(PRODUCTION, "[cluster]\nid = ", "[cluster]\nidd = ")
        place.edit(PRODUCTION, "../keys/coordinator.host.pub", "../keys/nowhere.pub")
        ended = await place.cli("agent", "run", "--config", str(place.layout.config(PRODUCTION)))
        assert ended.code == 2, ended
        for word in ("stat_dir", "state_dir", "prodution", "idd", "id", "nowhere.pub", "did you mean"):
            assert word in ended.err, f"{word} is not named\n{ended.err}"

        place.edit(COORDINATOR, "[http]\nlisten = ", "[http]\nlissten = ")
        place.edit(COORDINATOR, 'site = "guangzhou"', 'sight = "guangzhou"')
        ended = await place.cli("coordinator", "run", "--config", str(place.layout.config(COORDINATOR)))
        assert ended.code == 2, ended
        for word in ("lissten", "listen", "sight", "site"):
            assert word in ended.err, f"{word} is not named\n{ended.err}"


async def test_unknown_names_are_answered_with_the_nearest_known_one(home: Path) -> None:
    async with site(home, seconds=STORY_S) as place:
        await place.protect()
        tries = {
            ("switchover", "dmo", "--to", REMOTE): GROUP,
            ("failover", GROUP, "--to", "remot"): REMOTE,
            ("drill", "run", GROUP, "--at", "remotee"): REMOTE,
        }
        for arguments, nearest in tries.items():
            ended = await place.cli(*arguments)
            assert ended.code == 2, ended
            assert f"did you mean {nearest}?" in ended.err, ended.err
        unknown = (await place.uri(LEDGER)).replace(f"///{LEDGER}", "///leger")
        with pytest.raises(TransientError, match="leger") as caught:
            await NbdClient.connect(unknown)
        assert caught.value.code == "nbd_unknown_export"
        assert is_level(await place.get("/v1/status"), PRODUCTION)


async def test_a_center_with_wrong_keys_or_of_another_cluster_stays_outside(home: Path) -> None:
    async with site(home, seconds=STORY_S) as place:
        await place.protect()
        stranger = home / "stranger"
        generate_keypair(stranger)
        (home / "stranger.pub").write_text(public_key(stranger) + "\n")
        wrong = [
            # what is wrong in remote's file, and what its log then says
            ("../keys/coordinator.host.pub", str(home / "stranger.pub"), "coordinator lost: coordinator at"),
            ("../keys/remote.client", str(stranger), "does not accept remote with key"),
            ('[cluster]\nid = "test-', '[cluster]\nid = "other-', "wrong cluster: coordinator belongs to"),
        ]
        async with place.writing() as writer:
            for old, new, words in wrong:
                await place.stop(REMOTE)
                said_before = len(place.log(REMOTE))
                place.edit(REMOTE, old, new)
                place.start(REMOTE)
                async with asyncio.timeout(20):
                    while words not in place.log(REMOTE)[said_before:].lower():
                        await asyncio.sleep(0.05)
                await see_writes(writer)
                assert not is_connected(await place.get("/v1/status"), REMOTE)
                place.edit(REMOTE, new, old)
            await place.stop(REMOTE)
            place.start(REMOTE)
            await place.until("level again", lambda s: is_level(s, PRODUCTION))
            await place.require_ledger(writer)


async def test_rubbish_on_every_door_disturbs_nobody(home: Path) -> None:
    async with site(home, seconds=STORY_S) as place:
        await place.protect()
        async with place.writing() as writer:
            await place.until("the application writes", lambda _status: writer.acknowledged > SOME)
            nbd = place.layout.run(PRODUCTION) / "nbd" / f"{GROUP}.sock"
            for content in (os.urandom(2 * MIB), b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-x\r\n" + bytes(4096)):
                for name in (PRODUCTION, COORDINATOR):
                    await asyncio.to_thread(throw_tcp, place.cluster.record.ports[name], content)
                await asyncio.to_thread(throw_unix, nbd, content)
                await asyncio.to_thread(throw_unix, place.layout.coordinator_socket, content)
            for kind in LinkKind:
                await throw_frames(place, kind)
            await see_writes(writer)
            await place.until("still level", lambda s: is_level(s, PRODUCTION))
            await place.require_ledger(writer)
        assert await place.uri(DISK)


async def see_writes(writer: LedgerWriter) -> None:
    """The application goes on."""
    count = writer.acknowledged
    async with asyncio.timeout(20):
        while writer.acknowledged < count + SOME:
            await asyncio.sleep(0.02)


def throw_tcp(port: int, content: bytes) -> None:
    with socket.create_connection((HOST, port), timeout=5) as connection:
        _throw(connection, content)


def throw_unix(path: Path, content: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(path))
        _throw(connection, content)


def _throw(connection: socket.socket, content: bytes) -> None:
    """Send, say that it is all, and wait until the other side has had enough."""
    try:
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass
    except OSError:
        return  # it closed the door already


class _Deaf:
    """Notes only that the link has ended."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    def data_received(self, data: bytes | memoryview) -> None:
        """Not read."""

    def connection_lost(self, reason: str) -> None:
        self.ended.set()

    def pause_writing(self) -> None:
        """Nothing is held back."""

    def resume_writing(self) -> None:
        """Nothing was held back."""


async def throw_frames(place: Site, kind: LinkKind) -> None:
    """With the remote center's own keys: a peer that is known and has lost its mind."""
    layout = place.layout
    host_key, client_key = (
        public_key(path) for path in (layout.host_key(PRODUCTION), layout.client_key(PRODUCTION))
    )
    address = (HOST, place.cluster.record.ports[PRODUCTION])
    transport = SshTransport(
        me=REMOTE,
        host_key=layout.host_key(REMOTE),
        client_key=layout.client_key(REMOTE),
        listen=(HOST, 0),
        peers={PRODUCTION: PeerKeys(address, host_key, client_key)},
    )
    try:
        link = await transport.connect(PRODUCTION, kind)
        deaf = _Deaf()
        link.set_handler(deaf)
        link.write(os.urandom(64 << 10))
        async with asyncio.timeout(10):
            await deaf.ended.wait()
    finally:
        await transport.close()
