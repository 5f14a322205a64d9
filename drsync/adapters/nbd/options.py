"""What is inside the longer options of a handshake. Stated lengths are compared, never trusted."""

from typing import NamedTuple

from drsync.adapters.nbd import protocol as nbd

_LENGTH_BYTES = 4
_COUNT_BYTES = 2
_NAMESPACE = b"base:"


class Choice(NamedTuple):
    """INFO and GO: an export's name and the information wanted about it."""

    name: bytes
    wanted: frozenset[int]

    @staticmethod
    def parse(data: bytes) -> "Choice | None":
        """From u32 length, name, u16 count, count x u16; None when that does not add up."""
        if len(data) < _LENGTH_BYTES + _COUNT_BYTES:
            return None
        end = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES])
        wanted = data[end + _COUNT_BYTES :]
        if end + _COUNT_BYTES > len(data) or len(wanted) != 2 * int.from_bytes(
            data[end : end + _COUNT_BYTES]
        ):
            return None
        kinds = frozenset(int.from_bytes(wanted[i : i + 2]) for i in range(0, len(wanted), 2))
        return Choice(data[_LENGTH_BYTES:end], kinds)


class Questions(NamedTuple):
    """LIST_META_CONTEXT and SET_META_CONTEXT: an export's name and queries for metadata contexts."""

    name: bytes
    queries: tuple[bytes, ...]
    is_too_big: bool = False
    """More queries than allowed, or too long a name or query; the queries are not all there then."""

    @staticmethod
    def parse(data: bytes, most: int) -> "Questions | None":
        """From u32 length, name, u32 count, count x (u32 length, query); None when that does not add up."""
        found = _string(data, 0)
        if found is None:
            return None
        name, at = found
        if at + _LENGTH_BYTES > len(data):
            return None
        count = int.from_bytes(data[at : at + _LENGTH_BYTES])
        at += _LENGTH_BYTES
        if count * _LENGTH_BYTES > len(data) - at:
            return None
        queries: list[bytes] = []
        for _ in range(count):
            found = _string(data, at)
            if found is None:
                return None
            query, at = found
            queries.append(query)
        if at != len(data):
            return None
        is_too_big = count > most or max(map(len, (name, *queries))) > nbd.NAME_BYTES_MAX
        return Questions(name, tuple(queries), is_too_big)

    @property
    def lists_allocation(self) -> bool:
        """Whether `base:allocation` is among what is to be listed: no query at all asks for everything."""
        return not self.queries or _NAMESPACE in self.queries or self.selects_allocation

    @property
    def selects_allocation(self) -> bool:
        """Whether `base:allocation` is to be selected. Other namespaces are ignored, as they must be."""
        return nbd.ALLOCATION in self.queries


def _string(data: bytes, at: int) -> tuple[bytes, int] | None:
    """A string with its length before it, and where it ends."""
    start = at + _LENGTH_BYTES
    end = start + int.from_bytes(data[at:start])
    return (data[start:end], end) if start <= len(data) and end <= len(data) else None
