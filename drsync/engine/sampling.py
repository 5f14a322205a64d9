"""How far what is written shrinks: a block now and then, compressed and thrown away.

A figure for people, and for whoever looks for the first recovery point that holds encrypted content. Nothing
here is decided by it. A block costs 4 us (noise) to 45 us (text, other work beside it) in the loop, after its
batch has gone to the peers. There are at most `FIRST` of them after each checkpoint, and then one each
`EVERY_S`: half a thousandth of a core. Every other batch pays for one comparison, 15 ns; a write takes 12 us.
"""

from zstandard import ZstdCompressor

from drsync.delta.batch import KIND_WRITE, KIND_ZERO, RECORD, EncodedBatch

BLOCK_BYTES = 4096  # because file systems write in blocks of this size, and zstd tells text from noise in one
LEVEL = 1  # because the question is whether it shrinks, not how far it could
EVERY_S = 0.1  # because a few dozen blocks between two checkpoints tell text from noise
FIRST = 8  # because a burst may be over within `EVERY_S`, and one block is no sample

_KIND = 5  # in a `Record`


class Sampler:
    """Samples the batches of one term, from checkpoint to checkpoint.

    Attributes:
        due: from this instant on the next batch is wanted.
    """

    __slots__ = ("_compressor", "_left", "_packed", "_raw", "due")

    def __init__(self) -> None:
        self._compressor = ZstdCompressor(level=LEVEL, write_content_size=False)
        self._restart()

    def _restart(self) -> None:
        self.due = 0.0
        self._left = FIRST
        self._raw = self._packed = 0

    def take(self, batch: EncodedBatch, now: float) -> None:
        """Look at one block of a batch whose parts are still valid; nothing if it holds no data."""
        block = pick(batch)
        if not block:
            return
        self._raw += len(block)
        self._packed += min(len(block), len(self._compressor.compress(block)))
        self._left -= 1
        if self._left <= 0:
            self.due = now + EVERY_S

    def mark(self) -> float | None:
        """A checkpoint is written: raw to compressed of the sample since the one before, and begin anew.

        1.0 means that nothing of it shrinks; None that no data was written.
        """
        ratio = round(self._raw / self._packed, 3) if self._packed else None
        self._restart()
        return ratio


def pick(batch: EncodedBatch) -> bytes:
    """One block of the data in a batch, each byte as likely as any other; empty when there is none.

    The chain is the dice: it depends on all of the content, so that no writer can tell which block it is.
    """
    if len(batch.parts) == 1 or RECORD.unpack_from(batch.table)[_KIND] not in (KIND_WRITE, KIND_ZERO):
        return b""
    at = int.from_bytes(batch.end.chain[:8], "little") % (batch.length - batch.payload_start)
    for part in batch.parts[1:]:
        if at < len(part):
            start = at // BLOCK_BYTES * BLOCK_BYTES
            return bytes(part[start : start + BLOCK_BYTES])
        at -= len(part)
    return b""
