"""The file of an incident: JSON lines, each sealed to all lines before it.

Every line is one object ``{"kind", "body", "sum"}``; the sum is a hash of the line before it and of the sum
of the previous line. So the first line that was changed, left out or put in is named, and the last line,
``end``, shows that nothing is missing. The sums keep mistakes out, not somebody who computes them anew: this
is no signature.

The first line names the format; lines of a kind that is not known are kept and ignored.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

from drsync.model.errors import MalformedError

FORMAT: Final = 1
HEAD, END = "incident", "end"
SUM_BYTES: Final = 16  # because it finds mistakes; 128 bits do so for ever
LINE_BYTES_MAX: Final = 2 << 20  # because the longest, a decision with two charters, has some 200 KiB
FILE_BYTES_MAX: Final = 48 << 20  # because it is read into memory on both sides
_MARK: Final = b',"sum":"'
_TAIL: Final = len(_MARK) + 2 * SUM_BYTES + len(b'"}')

Json = dict[str, object]


class Sealer:
    """Makes the lines of one file, in order. One use."""

    def __init__(self) -> None:
        self._sum = ""
        self.lines = 0
        self.size = 0

    def line(self, kind: str, body: Mapping[str, object]) -> bytes:
        """The next line, with its line end.

        Raises:
            MalformedError: it or the file would be too large.
        """
        whole = {"kind": kind, "body": body}
        content = json.dumps(whole, separators=(",", ":"), allow_nan=False).encode("ascii")[:-1]
        self._sum = _sum(self._sum, content)
        sealed = b'%s%s%s"}\n' % (content, _MARK, self._sum.encode())
        self.lines += 1
        self.size += len(sealed)
        if len(sealed) > LINE_BYTES_MAX or self.size > FILE_BYTES_MAX:
            raise MalformedError(f"line {self.lines}: too large", code="too_large")
        return sealed

    def end(self) -> bytes:
        """The last line."""
        return self.line(END, {"lines": self.lines + 1})


class Line(NamedTuple):
    """A line that was checked: its number from 1, what it is, and what it says."""

    number: int
    kind: str
    body: Json


def unseal(data: bytes) -> list[Line]:
    """All lines but the last, which says that it is the last.

    Raises:
        MalformedError: no such file, another format, changed or incomplete; names the line.
    """
    if len(data) > FILE_BYTES_MAX:
        raise MalformedError(f"larger than {FILE_BYTES_MAX >> 20} MiB", code="too_large")
    lines = list(_checked(data.split(b"\n")))
    if not lines:
        raise MalformedError("line 1: the file is empty", code="not_an_incident")
    last = lines[-1]
    if last.kind != END or last.body.get("lines") != last.number:
        text = f"line {last.number}: the file ends here, and the line that says it is complete is missing"
        raise MalformedError(text, code="truncated")
    return lines[:-1]


def _checked(raw: Sequence[bytes]) -> Iterator[Line]:
    before, is_over = "", False
    for number, line in enumerate(raw, start=1):
        if not line:
            if number == 1:
                return
            continue
        if is_over:
            raise MalformedError(f"line {number}: there is more after the end", code="changed")
        content, seal = line[:-_TAIL], line[-_TAIL:]
        kind, body = _object(number, line, is_cut=number == len(raw))
        if number == 1:
            _check_head(kind, body)
        before = _sum(before, content)
        if seal != b'%s%s"}' % (_MARK, before.encode()):
            text = f"line {number}: it, or the line before it, is not what was exported (its sum is wrong)"
            raise MalformedError(text, code="changed")
        is_over = kind == END
        yield Line(number, kind, body)


def _object(number: int, line: bytes, *, is_cut: bool) -> tuple[str, Json]:
    """The two parts of a line; `is_cut`: it lacks its line end."""
    if len(line) > LINE_BYTES_MAX:
        raise MalformedError(f"line {number}: longer than {LINE_BYTES_MAX} bytes", code="too_large")
    try:
        whole: object = json.loads(line)
    except (ValueError, RecursionError) as error:
        text = "it is cut off: the file is incomplete" if is_cut else f"it is not JSON: {error}"
        code = "not_an_incident" if number == 1 else "truncated" if is_cut else "changed"
        raise MalformedError(f"line {number}: {text}", code=code) from error
    kind, body = (whole.get("kind"), whole.get("body")) if isinstance(whole, dict) else (None, None)
    if not isinstance(kind, str) or not isinstance(body, dict):
        code = "not_an_incident" if number == 1 else "changed"
        raise MalformedError(f"line {number}: an object with kind and body was expected", code=code)
    return kind, body


def _check_head(kind: str, head: Json) -> None:
    if kind != HEAD:
        text = "line 1: this is no exported incident (drsync events --export FILE makes one)"
        raise MalformedError(text, code="not_an_incident")
    if head.get("format") != FORMAT:
        text = f"line 1: format {head.get('format')!r}; this version reads format {FORMAT}"
        raise MalformedError(text, code="version")


def _sum(before: str, content: bytes) -> str:
    return blake2b(before.encode() + content, digest_size=SUM_BYTES).hexdigest()
