"""Comparing all of a peer's images with what is committed here, by digests."""

from collections.abc import Awaitable, Callable
from typing import Final

from drsync.core import extents
from drsync.core.extents import Extents, Run
from drsync.engine.resync_line import Line
from drsync.engine.resync_reader import GranuleReader, differing
from drsync.model.errors import MalformedError
from drsync.wire.resync import DIGEST_BYTES

DIGESTS_A_QUESTION: Final = 512  # because the target reads 32 MiB for it, and answers within a second
QUESTIONS: Final = 2  # on their way, so that one side reads while the other one does


async def compare(
    line: Line,
    reader: GranuleReader,
    answered: Callable[[Callable[[], bool]], Awaitable[None]],
    compared: Callable[[int], None],
) -> Extents:
    """The granules that differ.

    Args:
        line: where the peer is asked.
        reader: of our content.
        answered: waits for the peer until something is so; raises when the session is over.
        compared: called with the number of granules that were compared.

    Raises:
        MalformedError: the peer answered something else than it was asked.
        DrsyncError: what `answered` raises.
        FailedCopyError: our content cannot be read.
    """
    questions = [
        Run(run.volume, first, min(run.end, first + DIGESTS_A_QUESTION))
        for run in reader.whole
        for first in range(run.first, run.end, DIGESTS_A_QUESTION)
    ]
    asked, found = 0, list[Run]()
    for index, question in enumerate(questions):
        while asked < min(index + QUESTIONS, len(questions)):
            line.want_digests(questions[asked])
            asked += 1
        key = (question.volume, question.first)
        await answered(lambda key=key: key in line.digests)  # type: ignore[misc]  # bound now, as it must be
        told = line.digests.pop(key)
        if len(told.values) != (question.end - question.first) * DIGEST_BYTES:
            raise MalformedError("another number of digests was answered than was asked for")
        found += differing(question, await reader.digests(question), told.values)
        compared(question.end - question.first)
    return extents.normal(found)
