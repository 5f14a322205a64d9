"""Compressing the bodies of a files link: both sides read COMPRESSED frames since its first version."""

from drsync.wire.compression import compress
from drsync.wire.frames import COMPRESSED

WORTH_BYTES = 512  # because below, the frame's own header outweighs what is won
SAMPLE_BYTES = 16 << 10  # because what is compressed already shows it in its first pages
WORTH_RATIO = 0.95


def pack(body: bytes) -> tuple[bytes, int]:
    """A body and its flags: compressed where that is worth it. For threads."""
    if len(body) < WORTH_BYTES:
        return body, 0
    if len(body) > 2 * SAMPLE_BYTES:
        middle = len(body) // 2
        sample = body[middle : middle + SAMPLE_BYTES]
        if len(compress(sample)) > len(sample) * WORTH_RATIO:
            return body, 0
    packed = compress(body)
    return (packed, COMPRESSED) if len(packed) < len(body) * WORTH_RATIO else (body, 0)
