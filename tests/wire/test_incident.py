"""The file of an incident says which line is not what it was, and when something is missing."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.model.errors import MalformedError
from drsync.wire import incident
from drsync.wire.incident import HEAD, Sealer, unseal

EVENTS = 4


def sealed(head: dict[str, object] | None = None) -> bytes:
    sealer = Sealer()
    lines = [sealer.line(HEAD, head or {"format": incident.FORMAT, "cluster": "c"})]
    lines += [sealer.line("event", {"kind": "end", "text": f"number {n} ünd \n so"}) for n in range(EVENTS)]
    return b"".join([*lines, sealer.end()])


WHOLE = sealed()


def code_of(data: bytes) -> tuple[str, str]:
    with pytest.raises(MalformedError) as caught:
        unseal(data)
    return caught.value.code, str(caught.value)


def test_what_was_written_is_read() -> None:
    lines = unseal(WHOLE)
    assert [line.number for line in lines] == list(range(1, EVENTS + 2))
    assert [line.kind for line in lines] == [HEAD, *["event"] * EVENTS]
    assert lines[2].body == {"kind": "end", "text": "number 1 ünd \n so"}


@given(st.integers(0, len(WHOLE) - 2))
def test_a_file_that_was_cut_off_anywhere_is_noticed(length: int) -> None:
    code, text = code_of(WHOLE[:length])
    assert code in ("truncated", "not_an_incident")
    assert text.startswith("line ")


@given(st.integers(0, len(WHOLE) - 2), st.integers(1, 255))
def test_a_changed_byte_anywhere_is_noticed(place: int, flip: int) -> None:
    changed = bytearray(WHOLE)
    changed[place] ^= flip
    if bytes(changed).replace(b"\n\n", b"\n") != WHOLE:
        code_of(bytes(changed))


@pytest.mark.parametrize("number", range(1, EVENTS + 2))
def test_an_edited_line_is_named(number: int) -> None:
    lines = WHOLE.splitlines(keepends=True)
    lines[number - 1] = lines[number - 1].replace(b"number", b"nomber").replace(b'"c"', b'"d"')
    code, text = code_of(b"".join(lines))
    assert code == "changed"
    assert text.startswith(f"line {number}:")


@pytest.mark.parametrize("number", range(2, EVENTS + 2))
def test_a_line_that_was_left_out_is_noticed_where_it_stood(number: int) -> None:
    lines = WHOLE.splitlines(keepends=True)
    del lines[number - 1]
    code, text = code_of(b"".join(lines))
    assert code == "changed"
    assert text.startswith(f"line {number}:")


def test_lines_in_another_order_and_lines_after_the_end_are_noticed() -> None:
    lines = WHOLE.splitlines(keepends=True)
    lines[1], lines[2] = lines[2], lines[1]
    assert code_of(b"".join(lines))[1].startswith("line 2:")
    assert code_of(WHOLE + WHOLE)[1] == f"line {EVENTS + 3}: there is more after the end"


def test_another_format_and_another_kind_of_file_are_told_apart() -> None:
    assert code_of(sealed({"format": 9}))[0] == "version"
    assert "reads format 1" in code_of(sealed({"format": 9}))[1]
    for other in (b"", b"hello\n", b'{"kind": "event"}\n', json.dumps([1]).encode(), b"\xff\xfe\n"):
        assert code_of(other)[0] == "not_an_incident"


def test_what_is_too_large_is_neither_written_nor_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incident, "FILE_BYTES_MAX", 300)
    with pytest.raises(MalformedError) as caught:
        sealed()
    assert caught.value.code == "too_large"
    assert code_of(WHOLE)[0] == "too_large"
