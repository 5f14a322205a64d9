"""The part of the handshake that old clients do not know: structured replies and metadata contexts."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.adapters.memory.volume import MemoryDevice, MemoryExports
from drsync.adapters.nbd.negotiation import QUESTIONS_MAX, Negotiation
from drsync.adapters.nbd.options import Choice, Questions
from drsync.model.errors import MalformedError

GO, STRUCTURED, LIST_CONTEXTS, SET_CONTEXTS = 7, 8, 9, 10
ACK, INFORMATION, CONTEXT = 1, 3, 4
INVALID, UNKNOWN, TOO_BIG = (0x80000000 + n for n in (3, 6, 9))
ALLOCATION = b"base:allocation"
DF = 1 << 7
SIZE = 1 << 20


def option(kind: int, data: bytes = b"") -> bytes:
    return b"IHAVEOPT" + struct.pack(">II", kind, len(data)) + data


def text(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def questions(name: bytes, *queries: bytes) -> bytes:
    return text(name) + struct.pack(">I", len(queries)) + b"".join(map(text, queries))


def go(name: bytes) -> bytes:
    return option(GO, text(name) + b"\0\0")


def split(data: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 0
    while at < len(data):
        magic, _, reply, length = struct.unpack_from(">QIII", data, at)
        assert magic == 0x3E889045565A9
        found.append((reply, data[at + 20 : at + 20 + length]))
        at += 20 + length
    return found


@pytest.fixture
def handshake() -> Negotiation:
    return start()


def start() -> Negotiation:
    exports = MemoryExports({"disk": MemoryDevice(SIZE), "other": MemoryDevice(SIZE)})
    negotiation = Negotiation(exports, lambda _: True)
    negotiation.receive(struct.pack(">I", 3))
    return negotiation


def ask(negotiation: Negotiation, data: bytes) -> list[tuple[int, bytes]]:
    return split(negotiation.receive(data))


def test_structured_replies_are_acknowledged_and_bring_reads_that_are_not_cut(handshake: Negotiation) -> None:
    assert ask(handshake, option(STRUCTURED)) == [(ACK, b"")]
    (kind, info), *_ = ask(handshake, go(b"disk"))

    assert kind == INFORMATION
    assert struct.unpack(">HQH", info)[2] & DF
    assert handshake.chosen is not None
    assert handshake.chosen.is_structured
    assert not handshake.chosen.tells_allocation


def test_without_structured_replies_nothing_changes(handshake: Negotiation) -> None:
    (_, info), *_ = ask(handshake, go(b"disk"))

    assert not struct.unpack(">HQH", info)[2] & DF
    assert handshake.chosen is not None
    assert not handshake.chosen.is_structured


def test_structured_replies_take_no_data(handshake: Negotiation) -> None:
    assert ask(handshake, option(STRUCTURED, b"x"))[0][0] == INVALID
    ask(handshake, go(b"disk"))
    assert handshake.chosen is not None
    assert not handshake.chosen.is_structured


def test_contexts_come_after_structured_replies(handshake: Negotiation) -> None:
    for kind in (LIST_CONTEXTS, SET_CONTEXTS):
        assert [reply for reply, _ in ask(handshake, option(kind, questions(b"disk", ALLOCATION)))] == [
            INVALID
        ]


@pytest.mark.parametrize(
    ("queries", "listed", "selected"),
    [
        ([], True, False),
        ([ALLOCATION], True, True),
        ([b"base:"], True, False),
        ([b"qemu:dirty-bitmap:x", b"x-drsync:"], False, False),
        ([b"qemu:allocation-depth", ALLOCATION], True, True),
        ([b"base:other", b"", b"no colon"], False, False),
    ],
)
def test_what_a_query_lists_and_selects(queries: list[bytes], *, listed: bool, selected: bool) -> None:
    negotiation = start()
    ask(negotiation, option(STRUCTURED))

    replies = ask(negotiation, option(LIST_CONTEXTS, questions(b"disk", *queries)))
    assert replies == [(CONTEXT, bytes(4) + ALLOCATION)] * listed + [(ACK, b"")]
    replies = ask(negotiation, option(SET_CONTEXTS, questions(b"disk", *queries)))
    assert [kind for kind, _ in replies] == [CONTEXT] * selected + [ACK]
    ask(negotiation, go(b"disk"))
    assert negotiation.chosen is not None
    assert negotiation.chosen.tells_allocation == selected


@pytest.mark.parametrize(
    "after",
    [
        option(SET_CONTEXTS, questions(b"disk")),
        option(SET_CONTEXTS, questions(b"missing", ALLOCATION)),
        option(SET_CONTEXTS, questions(b"other", ALLOCATION)),
        option(SET_CONTEXTS, b"broken"),
    ],
    ids=["none", "unknown export", "another export", "broken"],
)
def test_the_last_selection_counts_also_when_it_fails(handshake: Negotiation, after: bytes) -> None:
    ask(handshake, option(STRUCTURED) + option(SET_CONTEXTS, questions(b"disk", ALLOCATION)))
    ask(handshake, after + go(b"disk"))

    assert handshake.chosen is not None
    assert not handshake.chosen.tells_allocation


@pytest.mark.parametrize(
    ("data", "reply"),
    [
        (questions(b"missing", ALLOCATION), UNKNOWN),
        (questions(b"\xff", ALLOCATION), INVALID),
        (questions(b"d" * 4097), TOO_BIG),
        (questions(b"disk", b"b" * 4097), TOO_BIG),
        (questions(b"disk", *[b""] * (QUESTIONS_MAX + 1)), TOO_BIG),
        (questions(b"disk", ALLOCATION)[:-1], INVALID),
        (questions(b"disk", ALLOCATION) + b"\0", INVALID),
        (text(b"disk"), INVALID),
        (text(b"disk") + b"\xff\xff\xff\xff", INVALID),
        (text(b"disk") + b"\0\0\0\1\xff\xff\xff\xff", INVALID),
        (b"\xff\xff\xff\xff", INVALID),
        (b"\0", INVALID),
        (b"", INVALID),
    ],
)
def test_wrong_questions_are_refused_and_framing_is_kept(
    handshake: Negotiation, data: bytes, reply: int
) -> None:
    ask(handshake, option(STRUCTURED))
    for kind in (LIST_CONTEXTS, SET_CONTEXTS):
        assert [found for found, _ in ask(handshake, option(kind, data))] == [reply]
    assert ask(handshake, go(b"disk"))[-1][0] == ACK


strings = st.binary(max_size=30)


@given(strings, st.lists(strings, max_size=8))
def test_questions_are_read_as_they_were_written(name: bytes, queries: list[bytes]) -> None:
    assert Questions.parse(questions(name, *queries), 8) == Questions(name, tuple(queries))


@given(strings, st.lists(st.integers(0, 0xFFFF), max_size=8))
def test_a_choice_is_read_as_it_was_written(name: bytes, wanted: list[int]) -> None:
    data = text(name) + struct.pack(f">H{len(wanted)}H", len(wanted), *wanted)

    assert Choice.parse(data) == Choice(name, frozenset(wanted))


@given(st.binary(max_size=200))
def test_no_bytes_whatever_break_the_parsers(data: bytes) -> None:
    Choice.parse(data)
    asked = Questions.parse(data, 4)
    if asked is not None:
        assert questions(asked.name, *asked.queries) == data


words = st.one_of(strings, st.sampled_from([b"disk", b"other", ALLOCATION, b"base:"]))
contents = st.one_of(
    strings,
    st.builds(lambda name, queries: questions(name, *queries), words, st.lists(words, max_size=4)),
    st.builds(lambda name: text(name) + b"\0\0", words),
)
known = st.sampled_from([3, 6, STRUCTURED, LIST_CONTEXTS, SET_CONTEXTS, 11])


@given(st.lists(st.builds(option, known, contents), max_size=12), st.data())
def test_every_option_is_answered_however_it_is_built_and_cut(
    stream: list[bytes], data: st.DataObject
) -> None:
    negotiation = start()
    whole = b"".join(stream) + go(b"disk")
    cut = data.draw(st.integers(0, len(whole)))
    replies = split(negotiation.receive(whole[:cut]) + negotiation.receive(whole[cut:]))

    finals = [kind for kind, _ in replies if kind == ACK or kind & 0x80000000]
    assert len(finals) == len(stream) + 1
    assert negotiation.chosen is not None


@given(st.lists(st.one_of(st.builds(option, known, contents), strings), max_size=12))
def test_noise_between_options_does_no_more_than_end_the_connection(stream: list[bytes]) -> None:
    negotiation = start()
    try:
        for piece in stream:
            split(negotiation.receive(piece))
    except MalformedError:
        assert negotiation.chosen is None
