"""When replies are handed to the socket: at once, unless the transmission is in the midst of requests."""

import asyncio
from typing import cast

from typing_extensions import override

from drsync.adapters.nbd.connection import Connection, Conversation, House
from drsync.ports.attention import Heard, unheard


class Busy:
    """Executes nothing; asks to be woken while it looks at requests, as a look for holes does."""

    need = 28
    is_blocked = False
    is_over = False
    is_at_disk = False

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.is_consuming = False
        self.delivered: list[bool] = []

    def consume(self, data: memoryview, at: int, end: int) -> int:
        del data, at
        assert self.connection is not None
        self.is_consuming = True
        self.connection.wake()
        self.is_consuming = False
        return end

    def deliver(self) -> None:
        self.delivered.append(self.is_consuming)


class Plain(Connection):
    """A connection that has chosen its export, without a socket."""

    def __init__(self, conversation: Busy, heard: Heard = unheard) -> None:
        class Nothing:
            exports = None

            def may_open(self, name: str) -> bool:
                return bool(name)

        house = Nothing()
        vars(house)["heard"] = heard
        super().__init__(cast("House", house), asyncio.get_running_loop())
        self._transmission = cast("Conversation", conversation)
        conversation.connection = self

    @override
    def send(self, data: bytes | memoryview) -> None:
        """To nobody."""


async def test_replies_go_out_at_once_and_never_in_the_midst_of_requests() -> None:
    conversation = Busy()
    connection = Plain(conversation)
    connection.wake()
    assert conversation.delivered == [False]
    connection.buffer_updated(0)
    assert conversation.delivered == [False]  # in the next turn: others have theirs before
    await asyncio.sleep(0)
    assert conversation.delivered == [False, False]


async def test_a_client_is_waited_for_awake_unless_its_request_met_the_disk() -> None:
    conversation, heard = Busy(), list[int]()
    connection = Plain(conversation, heard.append)
    connection.buffer_updated(28)
    conversation.is_at_disk = True
    connection.buffer_updated(56)
    conversation.is_at_disk = False
    connection.buffer_updated(4124)
    assert heard == [28, 4124]
