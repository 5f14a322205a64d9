"""Compressed bodies: ``u32 raw length | zstd frame``. Only to a side that said it reads them.

The raw length is checked against the limit before anything is allocated, and decoding stops at it (P61).
"""

from struct import Struct
from typing import Final

from zstandard import ZstdCompressor, ZstdDecompressor, ZstdError

from drsync.model.errors import MalformedError

RAW_LENGTH: Final = Struct("<I")
LEVEL: Final = 1
"""Because level 1 runs at half a gigabyte per second and core, and incompressible data costs nothing."""
WINDOW_BYTES_MAX: Final = 8 << 20
"""Because the decoder must hold the window: no body is larger than this anyway."""


class Packer:
    """Compresses bodies one after the other; keeps zstd's tables between them. For one thread at a time."""

    def __init__(self) -> None:
        self._by_level: dict[int, ZstdCompressor] = {}

    def pack(self, body: bytes, level: int) -> bytes:
        """A compressed body. Releases the GIL meanwhile."""
        compressor = self._by_level.get(level)
        if compressor is None:
            compressor = ZstdCompressor(level=level, write_content_size=False)
            self._by_level[level] = compressor
        return RAW_LENGTH.pack(len(body)) + compressor.compress(body)


def compress(body: bytes, level: int = LEVEL) -> bytes:
    """A compressed body."""
    return Packer().pack(body, level)


def decompress(body: bytes, limit: int) -> bytes:
    """The raw body of at most `limit` bytes.

    Raises:
        MalformedError: no length, too long, not zstd, or not as long as it says.
    """
    if len(body) < RAW_LENGTH.size:
        raise MalformedError(f"compressed body: raw length is missing, {len(body)} bytes in all")
    (length,) = RAW_LENGTH.unpack_from(body)
    if length > limit:
        raise MalformedError(f"compressed body: raw length {length} is above the limit {limit}")
    stored = memoryview(body)[RAW_LENGTH.size :]
    decompressor = ZstdDecompressor(max_window_size=WINDOW_BYTES_MAX)
    try:
        with decompressor.stream_reader(stored) as reader:
            raw = reader.read(length)
            excess = reader.read(1)
    except ZstdError as error:
        raise MalformedError(f"compressed body: zstd says {error}") from error
    if len(raw) != length or excess:
        raise MalformedError(f"compressed body: raw length {length} is not what follows")
    return raw
