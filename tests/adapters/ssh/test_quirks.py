"""What is relied on beyond asyncssh's public interface. One fails after an upgrade: read, then decide."""

import asyncssh
import pytest
from asyncssh.connection import SSHConnection
from asyncssh.constants import MSG_IGNORE
from typing_extensions import override

from drsync.adapters.ssh import link, quirks
from drsync.adapters.ssh.express import Express
from drsync.model.errors import DrsyncError
from drsync.ports.transport import LinkKind
from tests.adapters.ssh.conftest import Pair, Recorder


def test_the_installed_version_is_the_one_whose_source_was_read() -> None:
    assert asyncssh.__version__ == quirks.ASYNCSSH_VERSION


class Stock(Express):
    """Sends as asyncssh does; data packets of ours have their own tests."""

    @override
    def write(self, data: bytes) -> None:
        self._channel.write(data)


async def packets_for_20_messages(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    monkeypatch.setattr(link, "Express", Stock)
    sent: list[int] = []
    send_packet = SSHConnection.send_packet

    def counting(self: SSHConnection, kind: int, *args: bytes, handler: object = None) -> None:
        sent.append(kind)
        send_packet(self, kind, *args)

    monkeypatch.setattr(SSHConnection, "send_packet", counting)
    dialed, accepted = await pair.links()
    ours, theirs = Recorder(), Recorder()
    dialed.set_handler(ours)
    accepted.set_handler(theirs)
    sent.clear()
    for n in range(1, 21):
        dialed.write(b"x")
        await theirs.until(lambda n=n: len(theirs.received) == n)  # type: ignore[misc]
    return sent


async def test_empty_ignores_are_not_sent(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = await packets_for_20_messages(pair, monkeypatch)
    assert MSG_IGNORE not in sent
    assert len(sent) == 20


async def test_stock_asyncssh_still_sends_them(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """When this fails, asyncssh has improved and the quirk can go."""
    monkeypatch.setattr(quirks, "drop_empty_ignores", lambda connection: None)
    sent = await packets_for_20_messages(pair, monkeypatch)
    assert sent.count(MSG_IGNORE) == 20


async def test_other_connections_of_the_process_are_left_alone(pair: Pair) -> None:
    stock = SSHConnection.send_packet
    await pair.links()
    assert SSHConnection.send_packet is stock


async def test_a_connection_that_is_not_sound_is_not_used(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quirks, "is_sound", lambda connection: False)
    with pytest.raises(DrsyncError):
        await pair.production.connect("remote", LinkKind.CONTROL)
    assert pair.accepted.empty()
