"""Whether the charter store, and a member, are as young as they were: the two memories of amnesia.

A store that started or was restored acts only when it is proven to know the newest charter (F.A 23). A
member's statement is compared with what was remembered of it, by the other members and by the store
(F.A 7 and 25). Only these comparisons live here.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import NamedTuple

from drsync.model.copy import Statement
from drsync.model.epoch import NEVER, Epoch


class Heard(NamedTuple):
    """The newest charter a member has seen: its store generation, version and epoch."""

    generation: int
    version: int
    epoch: Epoch


def ready(
    token_db: str,
    token_run: str,
    heard: Mapping[str, Heard],
    members: Collection[str],
    own: Heard | None = None,
) -> str:
    """Empty when the store may act, else what it waits for.

    `token_db` is the store's own mark of its last change of process, `token_run` the copy the last process
    left in the run directory, which does not survive a boot: when both are equal this is the very store
    that was used last. Otherwise every member has to speak first. `own` is what the store knows; a member
    that knows more makes the store an old copy for good, whatever the tokens say.
    """
    newer = sorted(center for center, word in heard.items() if own is not None and word > own)
    if newer:
        return f"this charter store is an old copy: {', '.join(newer)} has seen a newer charter"
    if token_db and token_db == token_run:
        return ""
    silent = sorted(set(members) - set(heard))
    return f"the charter store has just started and waits to hear from {', '.join(silent)}" if silent else ""


class Remembered(NamedTuple):
    """What was last heard of a member."""

    promised: Epoch = NEVER
    follow: Epoch = NEVER
    durable: int = 0
    session: str = ""
    appended: int = 0


def regressed(statement: Statement, remembered: Remembered) -> bool:
    """Whether a member is younger than it was: only a restored snapshot or a lost disk explains that.

    Durable facts never go back: the promise; the followed epoch; within it the durable position. Within
    one session neither does the appended position.
    """
    if statement.promised < remembered.promised or statement.follow < remembered.follow:
        return True
    if statement.follow > remembered.follow:
        return False
    if statement.durable < remembered.durable:
        return True
    return statement.session == remembered.session and statement.appended < remembered.appended


def remember(statement: Statement, remembered: Remembered) -> Remembered:
    """What to remember after a statement that has not regressed."""
    if regressed(statement, remembered):
        return remembered
    return Remembered(
        statement.promised, statement.follow, statement.durable, statement.session, statement.appended
    )


class TokenWord(StrEnum):
    """What a member's start token tells."""

    NEXT = "next"  # it has the newest: hand out the next
    REPEAT = "repeat"  # the last one got lost on the way: hand it out again
    MEMBER_WENT_BACK = "member_went_back"
    STORE_WENT_BACK = "store_went_back"


def check_token(stated: int, known: int) -> TokenWord:
    """Compare a member's token with the store's memory; every exchange raises it by one."""
    if stated > known:
        return TokenWord.STORE_WENT_BACK
    if stated == known:
        return TokenWord.NEXT
    return TokenWord.REPEAT if stated == known - 1 else TokenWord.MEMBER_WENT_BACK
