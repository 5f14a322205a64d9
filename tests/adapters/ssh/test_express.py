"""Data packets built and read in one go: the peer cannot tell, whatever asyncssh sends in between."""

import random
from dataclasses import dataclass

import pytest
from asyncssh.connection import SSHConnection
from asyncssh.crypto.cipher import GCMCipher
from typing_extensions import override

from drsync.adapters.ssh import link as ssh_link
from drsync.adapters.ssh import policy, quirks
from drsync.adapters.ssh.express import Express
from drsync.adapters.ssh.link import SshLink
from drsync.ports.transport import Link, LinkKind
from tests.adapters.ssh.conftest import Pair, Recorder

SIZES = (1, 4, 5, 20, 21, 4096, policy.PACKET_BYTES, policy.PACKET_BYTES + 1, 300_000)


class Slow(Express):
    """The stock way, on one side."""

    @override
    def write(self, data: bytes) -> None:
        self._channel.write(data)

    @override
    def _receive(self) -> None:
        self._stock()
        self._ended()


def words(seed: int, total: int) -> list[bytes]:
    dice = random.Random(seed)
    made: list[bytes] = []
    while sum(map(len, made)) < total:
        made.append(dice.randbytes(dice.choice(SIZES)))
    return made


async def exchange(one: Link, other: Link, total: int) -> None:
    """Both write at once, in pieces of all sizes."""
    ours, theirs = Recorder(), Recorder()
    one.set_handler(ours)
    other.set_handler(theirs)
    said, heard = words(1, total), words(2, total)
    for piece in said:
        one.write(piece)
    for piece in heard:
        other.write(piece)
    await theirs.until(lambda: len(theirs.received) >= len(b"".join(said)))
    await ours.until(lambda: len(ours.received) >= len(b"".join(heard)))
    assert theirs.received == b"".join(said)
    assert ours.received == b"".join(heard)


async def test_everything_arrives_in_order_beyond_the_window(pair: Pair) -> None:
    dialed, accepted = await pair.links(LinkKind.CONTROL)
    await exchange(dialed, accepted, 3 * policy.CONTROL_WINDOW_BYTES)


async def test_new_keys_in_mid_stream_change_nothing(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(policy.BOTH_WAYS, "rekey_bytes", 200_000)
    dialed, accepted = await pair.links()
    await exchange(dialed, accepted, 3_000_000)
    await exchange(dialed, accepted, 3_000_000)


async def test_a_peer_without_it_notices_nothing(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def take_turns(*args: object) -> Express:
        made.append("")
        return (Slow if len(made) % 2 else Express)(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(ssh_link, "Express", take_turns)
    dialed, accepted = await pair.links()
    await exchange(dialed, accepted, 3 * policy.CONTROL_WINDOW_BYTES)
    assert len(made) == 2


async def test_no_nonce_is_used_twice(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    used: set[tuple[int, bytes]] = set()
    count_on = GCMCipher._update_iv

    def noted(self: GCMCipher) -> None:
        key = (id(self), self._iv)
        assert key not in used
        used.add(key)
        count_on(self)

    dialed, accepted = await pair.links()
    monkeypatch.setattr(GCMCipher, "_update_iv", noted)
    await exchange(dialed, accepted, 3 * policy.CONTROL_WINDOW_BYTES)
    assert len(used) > 100


@pytest.mark.parametrize("at", [3, 20, -1])
async def test_a_changed_byte_ends_the_link(pair: Pair, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    dialed, accepted = await pair.links()
    ours, theirs = Recorder(), Recorder()
    dialed.set_handler(ours)
    accepted.set_handler(theirs)
    send = SSHConnection._send

    def flip(self: SSHConnection, data: bytes) -> None:
        changed = bytearray(data)
        changed[at] ^= 1
        send(self, bytes(changed))

    monkeypatch.setattr(SSHConnection, "_send", flip)
    dialed.write(b"x" * 64)
    monkeypatch.undo()
    dialed.write(b"y" * 64)
    await theirs.until(lambda: theirs.lost is not None)
    assert not theirs.received


@pytest.mark.parametrize("size", [4096, 3 * policy.PACKET_BYTES])
async def test_what_is_written_at_once_is_one_piece_for_the_socket(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    dialed, accepted = await pair.links()
    theirs = Recorder()
    accepted.set_handler(theirs)
    pieces: list[int] = []
    send = SSHConnection._send

    def count(self: SSHConnection, data: bytes) -> None:
        pieces.append(len(data))
        send(self, data)

    monkeypatch.setattr(SSHConnection, "_send", count)
    dialed.write(b"x" * size)
    assert len(pieces) == 1
    assert pieces[0] > size
    await theirs.until(lambda: len(theirs.received) == size)


async def test_what_is_to_be_done_soon_is_done_after_everything_that_came_together(pair: Pair) -> None:
    dialed, accepted = await pair.links()
    done: list[int] = []

    class Counting(Recorder):
        @override
        def data_received(self, data: bytes | memoryview) -> None:
            super().data_received(data)
            accepted.soon(lambda: done.append(len(self.received)))

    theirs = Counting()
    accepted.set_handler(theirs)
    assert isinstance(dialed, SshLink)
    for _ in range(10):
        dialed.write(b"z" * 100)
    await theirs.until(lambda: len(done) == 10)
    assert done == sorted(done)
    assert done[-1] == 1000
    assert len(set(done)) < 10


async def test_with_an_asyncssh_that_nobody_has_read_everything_goes_the_stock_way(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quirks, "ASYNCSSH_VERSION", "another")
    monkeypatch.setattr(Express, "_add_packet", None)  # whose nonces count as the known version does
    monkeypatch.setattr(Express, "_take", None)
    dialed, accepted = await pair.links()
    await exchange(dialed, accepted, 3 * policy.CONTROL_WINDOW_BYTES)
    dialed.close("over")
    dialed.write(b"too late")


@dataclass
class Signs(Recorder):
    """Counts those, too."""

    signs: int = 0

    @override
    def data_received(self, data: bytes | memoryview) -> None:
        self.signs += not data
        super().data_received(data)


async def test_a_part_of_a_packet_is_a_sign_of_life(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    dialed, accepted = await pair.links(LinkKind.BULK)
    ours, theirs = Recorder(), Signs()
    dialed.set_handler(ours)
    accepted.set_handler(theirs)
    dialed.write(b"x" * 64)
    await theirs.until(lambda: len(theirs.received) == 64)
    before = theirs.signs
    send = SSHConnection._send
    rest: list[bytes] = []

    def half(self: SSHConnection, data: bytes) -> None:
        send(self, data[:40])
        rest.append(data[40:])

    monkeypatch.setattr(SSHConnection, "_send", half)
    dialed.write(b"y" * 64)
    monkeypatch.undo()
    await theirs.until(lambda: theirs.signs > before)
    assert len(theirs.received) == 64
    connection = next(iter(pair.production._dialed))
    send(connection, rest[0])
    await theirs.until(lambda: len(theirs.received) == 128)
    assert (before, theirs.signs) == (0, 1)
