"""Memory for large replies, used again once the transport has sent them."""

KEPT_BYTES_MAX = (
    4 << 20
)  # because about one large reply is unsent at a time, and idle connections keep this much
STEP_BYTES = 128 << 10  # because replies of nearly one length should share memory, and 1 MiB has a header


class ReplyPool:
    """Lends memory, and lends it again when nobody holds a view of it any more.

    Fresh memory for each reply would cost more than sending it: the kernel clears every page (measured:
    half the time of a 1 MiB read). Whether memory is still in use is asked of the memory itself, because
    transports cut views from the view they were given: neither that view's end nor an empty send queue
    says that all is sent.
    """

    def __init__(self) -> None:
        self._kept: list[bytearray] = []
        self._kept_bytes = 0

    @property
    def kept_bytes(self) -> int:
        """Bytes lent or waiting to be lent again."""
        return self._kept_bytes

    def lend(self, length: int) -> memoryview:
        """`length` bytes of whatever was there before."""
        for memory in self._kept:
            if len(memory) >= length and _is_free(memory):
                return memoryview(memory)[:length]
        memory = bytearray(-(-length // STEP_BYTES) * STEP_BYTES)
        if len(memory) <= KEPT_BYTES_MAX:
            self._keep(memory)
        return memoryview(memory)[:length]

    def _keep(self, memory: bytearray) -> None:
        while self._kept_bytes + len(memory) > KEPT_BYTES_MAX:
            self._kept_bytes -= len(self._kept.pop(0))
        self._kept.append(memory)
        self._kept_bytes += len(memory)


def _is_free(memory: bytearray) -> bool:
    """Nobody views it: a bytearray refuses to change its length while somebody does."""
    try:
        memory.append(memory.pop())
    except BufferError:
        return False
    return True
