"""Somebody who is told what sockets bring, so that the next is not slept through."""

from collections.abc import Callable
from typing import TypeAlias

Heard: TypeAlias = Callable[[int], None]
"""Called from the event loop whenever so many bytes came from somebody who waits for an answer to them, or
answers us; in the turn of the loop in which they came."""


def unheard(_count: int, /) -> None:
    """For those who may sleep between any two messages."""
