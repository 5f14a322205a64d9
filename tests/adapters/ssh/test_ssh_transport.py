import asyncio
import contextlib
from pathlib import Path

import asyncssh
import pytest

from drsync.adapters.ssh import PeerKeys, SshTransport, fingerprint, generate_keypair, policy, public_key
from drsync.adapters.system.clock import SystemClock
from drsync.engine.rpc import Endpoint, Limits, Me
from drsync.model.errors import DrsyncError, PermanentError, RefusedError, TransientError, UsageError
from drsync.ports.transport import Link, LinkKind
from tests.adapters.ssh.conftest import WAIT_S, Keys, Pair, Recorder, transport

pytestmark = pytest.mark.integration
MIB = 1 << 20


async def open_pair(pair: Pair, kind: LinkKind = LinkKind.CONTROL) -> tuple[Link, Link, Recorder, Recorder]:
    dialed, accepted = await pair.links(kind)
    ours, theirs = Recorder(), Recorder()
    dialed.set_handler(ours)
    accepted.set_handler(theirs)
    return dialed, accepted, ours, theirs


@pytest.mark.parametrize("kind", LinkKind)
async def test_a_link_knows_who_is_there_and_what_it_is_for(pair: Pair, kind: LinkKind) -> None:
    dialed, accepted, ours, theirs = await open_pair(pair, kind)
    assert (dialed.peer, accepted.peer) == ("remote", "production")
    assert dialed.kind is accepted.kind is kind
    dialed.write(b"how are you")
    await theirs.until(lambda: theirs.received == b"how are you")
    accepted.write(b"fine")
    await ours.until(lambda: ours.received == b"fine")


async def test_what_arrives_before_there_is_a_handler_waits_for_it(pair: Pair) -> None:
    dialed, accepted = await pair.links()
    dialed.write(b"early")
    dialed.close("enough")
    ours = Recorder()
    dialed.set_handler(ours)
    await ours.until(lambda: ours.lost is not None)
    theirs = Recorder()
    accepted.set_handler(theirs)
    await theirs.until(lambda: theirs.lost is not None)
    assert theirs.received == b"early"


async def test_closing_ends_both_sides_and_writing_later_does_no_harm(pair: Pair) -> None:
    dialed, accepted, ours, theirs = await open_pair(pair)
    dialed.write(b"last words")
    dialed.close("done here")
    dialed.close("again")
    dialed.write(b"too late")
    await ours.until(lambda: ours.lost is not None)
    await theirs.until(lambda: theirs.lost is not None)
    assert (ours.lost, theirs.lost) == ("done here", "production closed the link")
    assert theirs.received == b"last words"
    accepted.write(b"too late")


async def test_closing_a_transport_ends_its_links(pair: Pair) -> None:
    _, _, ours, theirs = await open_pair(pair)
    await pair.remote.close()
    await ours.until(lambda: ours.lost is not None)
    assert theirs.lost is not None
    with pytest.raises(TransientError, match="remote at 127"):
        await pair.production.connect("remote", LinkKind.CONTROL)


@pytest.mark.parametrize("kind", LinkKind)
async def test_a_large_transfer_both_ways_is_whole_and_slows_the_writer(pair: Pair, kind: LinkKind) -> None:
    dialed, accepted, ours, theirs = await open_pair(pair, kind)
    pieces = [bytes([n]) * MIB for n in range(24)]

    async def send(link: Link, recorder: Recorder) -> None:
        for piece in pieces:
            link.write(piece)
            await recorder.until(lambda: not recorder.is_paused)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(send(dialed, ours))
        tasks.create_task(send(accepted, theirs))
    for recorder in (ours, theirs):
        await recorder.until(lambda r=recorder: len(r.received) == 24 * MIB)  # type: ignore[misc]
        assert recorder.received == b"".join(pieces)
    assert ours.pauses
    assert theirs.pauses


async def test_a_peer_that_stops_reading_pauses_the_writer(pair: Pair) -> None:
    dialed, accepted = await pair.links()  # nobody handles the accepted end
    ours = Recorder()
    dialed.set_handler(ours)
    for _ in range(32):
        dialed.write(bytes(MIB))
    await ours.until(lambda: ours.is_paused)
    theirs = Recorder()
    accepted.set_handler(theirs)
    await theirs.until(lambda: len(theirs.received) == 32 * MIB)
    await ours.until(lambda: not ours.is_paused)


class DeafProxy:
    """A TCP relay that can stop relaying, as a firewall that drops everything."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.is_deaf = False

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers += [writer, far_writer]
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._relay(reader, far_writer))
            tasks.create_task(self._relay(far_reader, writer))

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if not self.is_deaf:
                writer.write(data)
        writer.close()

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()
        await self._server.wait_closed()


async def test_a_half_open_connection_ends_at_the_idle_deadline(pair: Pair, keys: Keys) -> None:
    proxy = DeafProxy(pair.port)
    port = await proxy.start()
    production = transport(
        keys, "production", {"remote": PeerKeys(("127.0.0.1", port), keys.public["remote-host"])}
    )
    limits = Limits(ping_s=0.05, idle_s=0.5)
    clock = SystemClock()
    ended: list[DrsyncError] = []

    async def serve(endpoint: Endpoint) -> None:
        try:
            await endpoint.run()
        except DrsyncError as error:
            ended.append(error)

    async def hello(method: str, body: dict[str, object]) -> dict[str, object]:
        return {}

    dialed = await production.connect("remote", LinkKind.CONTROL)
    accepted = await pair.accepted.get()
    here = Endpoint(dialed, clock, {}, Me("c1", "production", "s", "", "1.0"), limits=limits)
    there = Endpoint(accepted, clock, {"hello": hello}, Me("c1", "remote", "s", "", "1.0"), limits=limits)
    async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(here))
        tasks.create_task(serve(there))
        await here.call("hello", {}, WAIT_S)
        assert not ended
        proxy.is_deaf = True
    assert sorted(str(error) for error in ended) == [
        "nothing was heard of production for 0.5 s",
        "nothing was heard of remote for 0.5 s",
    ]
    await production.close()
    await proxy.close()


async def test_a_wrong_host_key_is_refused_with_both_fingerprints(pair: Pair, keys: Keys) -> None:
    fooled = transport(
        keys, "production", {"remote": PeerKeys(("127.0.0.1", pair.port), keys.public["stranger"])}
    )
    with pytest.raises(RefusedError) as caught:
        await fooled.connect("remote", LinkKind.CONTROL)
    assert caught.value.code == "wrong_host_key"
    assert fingerprint(keys.public["stranger"]) in str(caught.value)
    assert fingerprint(keys.public["remote-host"]) in str(caught.value)
    assert pair.accepted.empty()


@pytest.mark.parametrize(
    ("me", "key"),
    [("production", "stranger"), ("remote", "production-client"), ("nobody", "production-client")],
    ids=["wrong-key", "wrong-name", "unknown-name"],
)
async def test_a_key_is_accepted_for_its_own_name_only(
    pair: Pair, keys: Keys, me: str, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    visitor = transport(
        keys, me, {"remote": PeerKeys(("127.0.0.1", pair.port), keys.public["remote-host"])}, client=key
    )
    with pytest.raises(RefusedError, match=f"does not accept {me} with key SHA256:") as caught:
        await visitor.connect("remote", LinkKind.CONTROL)
    assert caught.value.code == "key_not_accepted"
    assert pair.accepted.empty()
    assert fingerprint(keys.public[key]) in capsys.readouterr().out


async def test_a_peer_without_address_or_pin_cannot_be_dialed(keys: Keys) -> None:
    lonely = transport(keys, "production", {"remote": PeerKeys(None, keys.public["remote-host"])})
    for name in ("remote", "atlantis"):
        with pytest.raises(RefusedError, match="cannot be dialed"):
            await lonely.connect(name, LinkKind.CONTROL)


async def test_nobody_listening_is_transient(pair: Pair, keys: Keys) -> None:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    production = transport(
        keys, "production", {"remote": PeerKeys(("127.0.0.1", port), keys.public["remote-host"])}
    )
    with pytest.raises(TransientError, match=f"remote at 127.0.0.1:{port} is not reached"):
        await production.connect("remote", LinkKind.CONTROL)
    server.close()
    await server.wait_closed()
    with pytest.raises(TransientError, match="is not reached"):
        await production.connect("remote", LinkKind.CONTROL)


async def test_an_address_in_use_is_transient(pair: Pair, keys: Keys) -> None:
    second = SshTransport(
        me="remote",
        host_key=keys.directory / "remote-host",
        client_key=keys.directory / "remote-client",
        listen=("127.0.0.1", pair.port),
        peers={},
    )
    with pytest.raises(TransientError, match="cannot listen on"):
        await second.listen(pair.accepted.put_nowait)


async def plain_client(pair: Pair, **options: object) -> asyncssh.SSHClientConnection:
    """An honest key with a general-purpose client."""
    connection = await asyncssh.connect(
        "127.0.0.1",
        pair.port,
        config=None,
        username="production",
        client_keys=[str(pair.directory / "production-client")],
        known_hosts=([asyncssh.import_public_key(public_key(pair.directory / "remote-host"))], [], []),
        agent_path=None,
        **options,
    )
    assert isinstance(connection, asyncssh.SSHClientConnection)
    return connection


async def test_there_is_nothing_here_but_our_subsystem(pair: Pair) -> None:
    connection = await plain_client(pair)
    refused = (asyncssh.ChannelOpenError, asyncssh.ConnectionLost)
    with pytest.raises(refused):
        await connection.open_connection("127.0.0.1", pair.port)
    with pytest.raises(refused):
        await connection.open_unix_connection(str(pair.directory / "socket"))
    with pytest.raises(asyncssh.ChannelListenError):
        await connection.forward_remote_port("", 0, "127.0.0.1", pair.port)
    connection.abort()
    await connection.wait_closed()


@pytest.mark.parametrize(
    ("command", "subsystem", "wants_terminal"),
    [("id", "", False), ("", "", False), ("", "sftp", False), ("", "drsync", True)],
    ids=["exec", "shell", "sftp", "pty"],
)
async def test_shells_commands_and_terminals_are_refused(
    pair: Pair, command: str, subsystem: str, wants_terminal: bool
) -> None:
    connection = await plain_client(pair)
    with pytest.raises((asyncssh.ChannelOpenError, asyncssh.ConnectionLost)):
        await connection.create_session(
            asyncssh.SSHClientSession,
            command or None,
            subsystem=subsystem or None,
            request_pty="force" if wants_terminal else False,
            encoding=None,
        )
    connection.abort()
    await connection.wait_closed()
    assert pair.accepted.empty()


async def test_one_session_per_connection_and_it_begins_with_the_preamble(pair: Pair) -> None:
    connection = await plain_client(pair)
    channel, _ = await connection.create_session(
        asyncssh.SSHClientSession, subsystem=policy.SUBSYSTEM, encoding=None
    )
    with pytest.raises(asyncssh.ChannelOpenError):
        await connection.create_session(asyncssh.SSHClientSession, subsystem=policy.SUBSYSTEM, encoding=None)
    channel.write(b"DRS1\x7f\x00\x00\x00")
    async with asyncio.timeout(WAIT_S):
        await connection.wait_closed()
    assert pair.accepted.empty()


async def test_weak_algorithms_find_no_partner(pair: Pair) -> None:
    with pytest.raises(asyncssh.KeyExchangeFailed):
        await plain_client(pair, encryption_algs=["aes256-ctr"])
    with pytest.raises(asyncssh.KeyExchangeFailed):
        await plain_client(pair, kex_algs=["diffie-hellman-group14-sha256"])


async def test_strangers_who_say_nothing_keep_nobody_out(pair: Pair) -> None:
    strangers = [await asyncio.open_connection("127.0.0.1", pair.port) for _ in range(64)]
    dialed, _, _, theirs = await open_pair(pair)
    dialed.write(b"here I am")
    await theirs.until(lambda: theirs.received == b"here I am")

    over = 0
    changed = asyncio.Event()

    async def until_over(reader: asyncio.StreamReader) -> None:
        nonlocal over
        with contextlib.suppress(ConnectionError):
            while await reader.read(4096):
                pass
        over += 1
        changed.set()

    async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(until_over(reader)) for reader, _ in strangers]
        while over < 64 - policy.UNAUTHENTICATED_MAX:
            changed.clear()
            await changed.wait()
        for task in waiting:
            task.cancel()
    for _, writer in strangers:
        writer.close()


def test_private_keys_are_made_private_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key"
    text = generate_keypair(path)
    assert text.startswith("ssh-ed25519 AAAA")
    assert len(text.split()) == 2
    assert path.stat().st_mode & 0o777 == 0o600
    assert public_key(path) == text
    with pytest.raises(UsageError, match="never overwritten"):
        generate_keypair(path)
    path.chmod(0o640)
    with pytest.raises(RefusedError, match="others may read"):
        public_key(path)


def test_what_is_no_key_is_said_with_its_place(tmp_path: Path, keys: Keys) -> None:
    with pytest.raises(PermanentError, match="cannot read the key"):
        public_key(tmp_path / "missing")
    (tmp_path / "junk").write_text("junk")
    with pytest.raises(PermanentError, match="is no private key"):
        public_key(tmp_path / "junk")
    other = asyncssh.generate_private_key("ecdsa-sha2-nistp256")
    (tmp_path / "other").touch(0o600)
    other.write_private_key(tmp_path / "other")
    with pytest.raises(PermanentError, match="of type ecdsa-sha2-nistp256"):
        public_key(tmp_path / "other")
    for pinned in ("junk", other.export_public_key().decode()):
        with pytest.raises(UsageError, match=r"pinned key of remote \(host key\)"):
            transport(keys, "production", {"remote": PeerKeys(None, pinned)})


def test_two_peers_never_share_a_client_key(keys: Keys) -> None:
    shared = keys.public["stranger"]
    with pytest.raises(UsageError, match="same-city and remote have the same client key"):
        transport(
            keys,
            "production",
            {"remote": PeerKeys(None, "", shared), "same-city": PeerKeys(None, "", shared)},
        )
