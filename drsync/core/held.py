"""Requests of one connection that nobody has answered yet, in the order they came.

Only this lives here: what is sent again to the next owner. A request is kept from its arrival to its answer,
whole, and `unanswered` is exactly what a new owner must be sent before anything newer. That is safe because
every request can be executed twice: writes state their place and content, and the earlier execution, if there
was one, comes earlier in the log of every later owner, or in none.
"""

REQUEST_COST = 4096  # because a request without payload also costs memory, and an answer


class Held:
    """The unanswered requests of a connection. Sizes and costs in bytes.

    Attributes:
        cost: of all that is held: what they hold, and what their answers will.
    """

    __slots__ = ("_reads", "_requests", "cost")

    def __init__(self) -> None:
        self.cost = 0
        self._requests: dict[bytes, bytes] = {}
        self._reads: dict[bytes, int] = {}

    def __len__(self) -> int:
        """How many."""
        return len(self._requests)

    def __contains__(self, cookie: bytes) -> bool:
        """Whether a request of this cookie is unanswered."""
        return cookie in self._requests

    def take(self, cookie: bytes, request: bytes, read_length: int = 0) -> None:
        """A request has arrived; its cookie is not in use.

        Args:
            cookie: by which it is answered.
            request: its bytes, with payload.
            read_length: bytes that its answer will carry.
        """
        self._requests[cookie] = request
        self.cost += REQUEST_COST + len(request)
        if read_length:
            self._reads[cookie] = read_length
            self.cost += read_length

    def read_length(self, cookie: bytes) -> int:
        """Bytes that the answer of a held request will carry."""
        return self._reads.get(cookie, 0)

    def answer(self, cookie: bytes) -> bool:
        """A request is answered, and will never be sent again; False if there is none of this cookie."""
        request = self._requests.pop(cookie, None)
        if request is None:
            return False
        self.cost -= REQUEST_COST + len(request)
        if self._reads:
            self.cost -= self._reads.pop(cookie, 0)
        return True

    def unanswered(self) -> list[bytes]:
        """What a new owner is sent, in this order, before anything newer."""
        return list(self._requests.values())

    def oldest(self) -> bytes | None:
        """The request that has waited longest; the same object for as long as it is that one."""
        return next(iter(self._requests.values()), None)

    def drop(self) -> list[tuple[bytes, bytes]]:
        """Forget all: cookies and requests, to be answered with an error."""
        dropped = list(self._requests.items())
        self._requests.clear()
        self._reads.clear()
        self.cost = 0
        return dropped
