"""Opening an export from the client's side: what is asked, what is understood, what is not taken."""

import asyncio
import socket
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.adapters.memory.volume import MemoryDevice, MemoryExports
from drsync.adapters.nbd import protocol as nbd
from drsync.adapters.nbd.address import make_uri
from drsync.adapters.nbd.approach import Approach, Wanted
from drsync.adapters.nbd.negotiation import GREETING_BYTES, Negotiation
from drsync.adapters.nbd.server import Server
from drsync.adapters.nbd.uplink import SILENT_S, Uplink
from drsync.model.errors import DrsyncError, MalformedError, TransientError, UsageError

SIZE = 1 << 20
CLAIM = bytes(range(16))


def meet(wanted: Wanted, cut: int = 1 << 20) -> tuple[Approach, Negotiation]:
    """Client and server talk to their ends; what a side says arrives in pieces of at most `cut` bytes."""
    exports = MemoryExports({"disk": MemoryDevice(SIZE), "old": MemoryDevice(SIZE, is_read_only=True)})
    approach, negotiation = Approach(wanted), Negotiation(exports, lambda _: True)
    to_client = GREETING_BYTES
    while to_client:
        to_server = b""
        for at in range(0, len(to_client), cut):
            to_server += approach.receive(to_client[at : at + cut])
        to_client = b"".join(
            negotiation.receive(to_server[at : at + cut]) for at in range(0, len(to_server), cut)
        )
    return approach, negotiation


@pytest.mark.parametrize("cut", [1, 7, 1 << 20])
@pytest.mark.parametrize("is_structured", [False, True])
def test_what_is_wanted_is_granted(cut: int, *, is_structured: bool) -> None:
    wanted = Wanted("disk", is_structured=is_structured, tells_allocation=is_structured, claim=CLAIM)
    approach, negotiation = meet(wanted, cut)
    chosen, opened = negotiation.chosen, approach.opened
    assert chosen is not None
    assert opened is not None
    assert (chosen.is_structured, chosen.tells_allocation) == (is_structured, is_structured)
    assert (chosen.claim, chosen.name) == (CLAIM, "disk")
    assert (opened.size, opened.is_read_only, opened.description) == (SIZE, False, "disk in memory")
    assert opened.flags == nbd.transmission_flags(is_read_only=False, is_structured=is_structured)


def test_a_read_only_export_says_so() -> None:
    opened = meet(Wanted("old"))[0].opened
    assert opened is not None
    assert opened.is_read_only


def test_an_export_that_is_not_served_may_be_so_later() -> None:
    with pytest.raises(TransientError) as caught:
        meet(Wanted("missing"))
    assert caught.value.code == "nbd_unknown_export"


def answer(option: int, kind: int, data: bytes = b"") -> bytes:
    return nbd.OPTION_REPLY.pack(nbd.OPTION_REPLY_MAGIC, option, kind, len(data)) + data


def meet_one_that_does_not_know(option: int) -> None:
    """A server that grants everything but `option`."""
    approach = Approach(Wanted("disk", is_structured=True, tells_allocation=True, claim=CLAIM))
    asked = approach.receive(GREETING_BYTES)
    while asked:
        (now,) = struct.unpack_from(">I", asked, asked.rindex(b"IHAVEOPT") + 8)
        context = b""
        if now == nbd.OPT_SET_META_CONTEXT:
            context = answer(now, nbd.REP_META_CONTEXT, nbd.ALLOCATION_ID.to_bytes(4) + nbd.ALLOCATION)
        asked = approach.receive(context + answer(now, nbd.REP_ERR_UNSUP if now == option else nbd.REP_ACK))


@pytest.mark.parametrize("option", [nbd.OPT_STRUCTURED_REPLY, nbd.OPT_SET_META_CONTEXT, nbd.OPT_CLAIM])
def test_a_server_that_knows_less_than_every_owner_is_not_used(option: int) -> None:
    """One that does not know claims could execute late requests."""
    with pytest.raises(MalformedError, match="every owner knows"):
        meet_one_that_does_not_know(option)


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_an_error_or_are_waited_for(data: bytes, is_greeted: bool) -> None:
    approach = Approach(Wanted("disk"))
    try:
        approach.receive((GREETING_BYTES if is_greeted else b"") + data)
    except DrsyncError:
        return
    assert approach.opened is None


async def test_nobody_is_there(tmp_path: Path) -> None:
    with pytest.raises(TransientError, match="cannot reach"):
        await Uplink.dial(make_uri("disk", tmp_path / "none"), Wanted("disk"), 5.0)
    with pytest.raises(UsageError):
        await Uplink.dial("http://here", Wanted("disk"), 5.0)


async def test_somebody_is_there_and_says_nothing(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(tmp_path / "s"))
        mute.listen()
        with pytest.raises(TransientError, match="no answer"):
            await Uplink.dial(make_uri("disk", tmp_path / "s"), Wanted("disk"), 0.2)


@pytest.mark.parametrize("said", [b"", b"SSH-2.0-OpenSSH_9.2\r\n"])
async def test_somebody_else_is_there(tmp_path: Path, said: bytes) -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader
        writer.write(said)
        writer.close()

    server = await asyncio.start_unix_server(say, tmp_path / "s")
    with pytest.raises(DrsyncError):
        await Uplink.dial(make_uri("disk", tmp_path / "s"), Wanted("disk"), 5.0)
    server.close()
    await server.wait_closed()


async def test_a_dead_line_is_noticed_by_a_connection_that_waits(server: Server) -> None:
    port = await server.listen_loopback("127.0.0.1", 0)
    uplink, opened = await Uplink.dial(f"nbd://127.0.0.1:{port}/disk", Wanted("disk"), 5.0)
    assert opened.size == 8 * SIZE
    assert uplink._transport is not None
    line = uplink._transport.get_extra_info("socket")
    assert line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    idle, pause, count = (
        line.getsockopt(socket.IPPROTO_TCP, option)
        for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    )
    assert idle + pause * count == SILENT_S
    uplink.cut()
