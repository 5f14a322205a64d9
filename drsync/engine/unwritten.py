"""Images of a copy that knows of no record: nothing may be in them, or records lie on what nobody knows."""

from collections.abc import Iterable
from typing import Final

from drsync.model.errors import FailedCopyError
from drsync.ports.journal import Image

READ_BYTES: Final = 1 << 20  # because larger reads gain nothing


def require_unwritten(center: str, images: Iterable[Image]) -> None:
    """Raises FailedCopyError: something but zeros is in an image, and nothing was changed.

    So it is where superblock and journal were lost, and images were not. Opened as new, such a copy would be
    sent what was written since record 1, and keep old content wherever that wrote nothing (P35).
    """
    for number, image in enumerate(images):
        offset = _first_content(image)
        if offset is not None:
            raise FailedCopyError(
                f"the copy at {center} knows of no record, but image {number} has content at byte {offset}: "
                "its journal or superblock was lost",
                remedy="move the copy's directory elsewhere, so that it begins anew, filled by its owner",
            )


def _first_content(image: Image) -> int | None:
    """Where the first piece that has something but zeros begins, in bytes."""
    target = memoryview(bytearray(READ_BYTES))
    zeros = bytes(READ_BYTES)
    offset = 0
    while offset < image.size:
        end, is_hole = image.extent(offset)
        if is_hole:
            offset = end
            continue
        length = min(end - offset, READ_BYTES)
        image.read_into(offset, target[:length])
        if target[:length] != zeros[:length]:
            return offset
        offset += length
    return None
