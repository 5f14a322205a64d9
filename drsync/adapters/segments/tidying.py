"""What waits for durable data: footers of full segments, and names that go."""

from drsync.adapters.segments.files import Files
from drsync.adapters.segments.marks import for_footer
from drsync.adapters.segments.segment import Segment, seal
from drsync.adapters.segments.shelf import Shelf
from drsync.adapters.segments.spares import Spares


def tidy(
    files: Files, shelf: Shelf, spares: Spares, full: list[Segment], doomed: list[Segment], directory_fd: int
) -> None:
    """Seal the full segments, whose data is durable, and let go of the doomed ones or use them again.

    Raises:
        OSError: it is not known how far this came.
    """
    for segment in full:
        runs = shelf.runs.between(segment.first_seq, segment.last)
        seal(files, segment, runs, for_footer(files, segment))
        if segment.is_sealed:
            with shelf.shared:
                shelf.unsynced.remove(segment)
    spares.dropped(len(doomed))
    for segment in doomed:
        if spares.wants(segment):
            spares.reuse(segment, lambda: files.fsync(directory_fd))
        else:
            files.unlink(segment.path)
            files.fsync(directory_fd)
