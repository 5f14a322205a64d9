"""Keeps the C allocator from giving memory back that the next frame needs again.

Frames of a MiB come and go by the hundred a second. With glibc's defaults each is mapped, touched and
unmapped:
half a million page faults per GB received, and more than twice the CPU seconds.
"""

import ctypes

# malloc.h of glibc
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3

TRIM_THRESHOLD_BYTES = 256 << 20  # because a bulk link has up to 64 MiB under way, in a few copies
TOP_PAD_BYTES = 64 << 20  # because the heap should grow in steps of one link's window
MMAP_THRESHOLD_BYTES = 32 << 20  # because this is the largest request NBD clients send, and glibc's maximum


def keep_freed_memory() -> bool:
    """Set the thresholds; False where the C library has no `mallopt` (not glibc), which is no harm."""
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        return False
    settings = (
        (_M_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES),
        (_M_TOP_PAD, TOP_PAD_BYTES),
        (_M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES),
    )
    return all(library.mallopt(name, value) == 1 for name, value in settings)
