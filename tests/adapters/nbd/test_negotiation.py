"""The handshake, byte by byte, without a socket."""

import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.adapters.memory.volume import MemoryDevice, MemoryExports
from drsync.adapters.nbd.negotiation import (
    GREETING_BYTES,
    OPTION_BYTES_MAX,
    OPTIONS_MAX,
    SKIP_BYTES_MAX,
    Negotiation,
)
from drsync.model.errors import MalformedError

EXPORT_NAME, ABORT, LIST, STARTTLS, INFO, GO, STRUCTURED_REPLY = 1, 2, 3, 5, 6, 7, 8
ACK, SERVER, INFORMATION = 1, 2, 3
UNSUP, POLICY, INVALID, UNKNOWN, TOO_BIG = (0x80000000 + n for n in (1, 2, 3, 6, 9))
SIZE = 1 << 20

Reply = tuple[int, int, bytes]


def option(kind: int, data: bytes = b"") -> bytes:
    return b"IHAVEOPT" + struct.pack(">II", kind, len(data)) + data


def choice(name: bytes, *infos: int) -> bytes:
    return struct.pack(">I", len(name)) + name + struct.pack(f">H{len(infos)}H", len(infos), *infos)


def split(data: bytes) -> list[Reply]:
    found, at = [], 0
    while at < len(data):
        magic, kind, reply, length = struct.unpack_from(">QIII", data, at)
        assert magic == 0x3E889045565A9
        found.append((kind, reply, data[at + 20 : at + 20 + length]))
        at += 20 + length
    return found


def start(flags: int = 3, may_open: Callable[[str], bool] = lambda _: True) -> Negotiation:
    exports = MemoryExports(
        {
            "orders/data": MemoryDevice(SIZE),
            "卷": MemoryDevice(SIZE),
            "old": MemoryDevice(SIZE, is_read_only=True),
        }
    )
    negotiation = Negotiation(exports, may_open)
    assert negotiation.receive(struct.pack(">I", flags)) == b""
    return negotiation


def kinds(negotiation: Negotiation, data: bytes) -> list[int]:
    return [reply for _, reply, _ in split(negotiation.receive(data))]


def test_the_greeting_is_fixed_newstyle() -> None:
    assert GREETING_BYTES == b"NBDMAGICIHAVEOPT\x00\x03"


def test_go_states_size_flags_block_sizes_and_opens() -> None:
    negotiation = start()
    replies = split(negotiation.receive(option(GO, choice(b"orders/data", 3)) + b"first request"))

    assert replies == [
        (GO, INFORMATION, struct.pack(">HQH", 0, SIZE, 0b1001_0110_1101)),
        (GO, INFORMATION, struct.pack(">HIII", 3, 1, 4096, 32 << 20)),
        (GO, ACK, b""),
    ]
    assert negotiation.chosen is not None
    assert negotiation.chosen.name == "orders/data"
    assert negotiation.rest == b"first request"


def test_info_answers_the_same_and_leaves_the_choice_open() -> None:
    negotiation = start()
    replies = split(negotiation.receive(option(INFO, choice("卷".encode(), 1, 2))))

    assert [kind for _, kind, _ in replies] == [INFORMATION] * 4 + [ACK]
    assert replies[2][2] == b"\0\1" + "卷".encode()
    assert replies[3][2] == b"\0\2" + "卷 in memory".encode()
    assert negotiation.chosen is None


def test_a_read_only_export_says_so() -> None:
    (_, _, info), *_ = split(start().receive(option(INFO, choice(b"old"))))

    assert struct.unpack(">HQH", info)[2] & 2


def test_list_names_every_export() -> None:
    replies = split(start().receive(option(LIST)))

    listed = [data for _, kind, data in replies if kind == SERVER]
    names = [data[4 : 4 + int.from_bytes(data[:4])].decode() for data in listed]
    assert names == ["orders/data", "卷", "old"]
    assert listed[2].endswith(b"old in memory")
    assert replies[-1] == (LIST, ACK, b"")


@pytest.mark.parametrize("kind", [STARTTLS, 4, 11, 0, 4711])
def test_an_option_we_do_not_know_is_refused_without_losing_framing(kind: int) -> None:
    negotiation = start()

    assert kinds(negotiation, option(kind, b"whatever it says") + option(GO, choice(b"old")))[0] == UNSUP
    assert negotiation.chosen is not None


@pytest.mark.parametrize(
    ("data", "reply"),
    [
        (option(GO, choice(b"")), UNKNOWN),
        (option(GO, choice(b"no such")), UNKNOWN),
        (option(GO, choice(b"x" * 4096)), UNKNOWN),
        (option(GO, choice(b"x" * 4097)), TOO_BIG),
        (option(GO, choice(b"\xff\xfe")), INVALID),
        (option(GO, b""), INVALID),
        (option(GO, b"\xff\xff\xff\xff\0\0"), INVALID),
        (option(GO, choice(b"old") + b"\0"), INVALID),
        (option(INFO, choice(b"old")[:-1]), INVALID),
        (option(LIST, b"x"), INVALID),
        (option(4711, bytes(OPTION_BYTES_MAX + 1)), TOO_BIG),
        (option(GO, bytes(SKIP_BYTES_MAX)), TOO_BIG),
    ],
)
def test_a_wrong_option_is_refused_cleanly_and_the_client_may_try_again(data: bytes, reply: int) -> None:
    negotiation = start()

    assert kinds(negotiation, data) == [reply]
    assert kinds(negotiation, option(GO, choice(b"old")))[-1] == ACK


def test_the_old_way_to_choose_pads_unless_agreed_otherwise() -> None:
    padded, short = start(flags=1), start(flags=3)

    assert len(padded.receive(option(EXPORT_NAME, b"old"))) == 10 + 124
    assert short.receive(option(EXPORT_NAME, b"old"))[:8] == struct.pack(">Q", SIZE)
    assert padded.chosen is not None
    assert short.chosen is not None


def test_too_many_connections_are_a_matter_of_policy() -> None:
    negotiation = start(may_open=lambda name: name != "old")

    assert kinds(negotiation, option(GO, choice(b"old"))) == [POLICY]
    assert kinds(negotiation, option(INFO, choice(b"old")))[-1] == ACK


def test_abort_is_acknowledged() -> None:
    negotiation = start()

    assert kinds(negotiation, option(ABORT)) == [ACK]
    assert negotiation.has_left


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        option(EXPORT_NAME, b"no such"),
        option(EXPORT_NAME, b"x" * 4097),
        option(EXPORT_NAME, b"\xff"),
        b"IHAVEOPT" + struct.pack(">II", GO, SKIP_BYTES_MAX + 1),
        option(LIST) * (OPTIONS_MAX + 1),
    ],
    ids=["http", "unknown name", "long name", "not utf-8", "endless option", "endless options"],
)
def test_what_cannot_be_followed_ends_the_connection(data: bytes) -> None:
    with pytest.raises(MalformedError):
        start().receive(data)


def test_unknown_client_flags_end_the_connection() -> None:
    with pytest.raises(MalformedError):
        start(flags=4)


def test_a_handshake_cut_at_any_byte_means_the_same() -> None:
    stream = option(LIST) + option(9, b"?") + option(INFO, choice(b"old", 1)) + option(GO, choice(b"old"))
    expected = start().receive(stream)
    for cut in range(1, len(stream)):
        negotiation = start()
        assert negotiation.receive(stream[:cut]) + negotiation.receive(stream[cut:]) == expected


options = st.builds(
    option, st.integers(0, 12), st.one_of(st.binary(max_size=40), st.builds(choice, st.binary(max_size=9)))
)


@given(st.lists(st.one_of(options, st.binary(max_size=40)), max_size=20))
def test_no_bytes_whatever_do_more_than_end_a_handshake(stream: list[bytes]) -> None:
    negotiation = start()
    try:
        for data in stream:
            split(negotiation.receive(data)) if negotiation.chosen is None else None
    except MalformedError:
        assert negotiation.chosen is None
    except struct.error:  # the answer to EXPORT_NAME is no option reply
        assert negotiation.chosen is not None
