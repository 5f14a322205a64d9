"""Whether a volume may grow: what the charter and every configured member say to it (decision 26).

Pure. What follows from a yes is one change of the charter; the log comes after it (`core.sizes`).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from drsync.core.sizes import ALIGNMENT, RESIZES_MAX, VOLUME_BYTES_MAX
from drsync.model.charter import Charter
from drsync.model.group import VolumeSpec


class Why(StrEnum):
    """What stands against it."""

    NOT_REACHED = "not_reached"
    BROKEN = "broken"  # its copy has failed
    RESYNCING = "resyncing"  # it is just brought level by blocks
    NO_SPACE = "no_space"
    TOO_OLD = "too_old"  # its software does not know volumes that grow
    SMALLER = "smaller"
    TOO_MANY = "too_many"  # the superblock keeps so many resizes and no more


WAIVABLE = frozenset((Why.NOT_REACHED, Why.BROKEN, Why.RESYNCING, Why.NO_SPACE))
"""Because such a center joins again by itself. One that is too old would keep the former size, and one that
is larger already would have to drop data."""


@dataclass(frozen=True, slots=True)
class Word:
    """What a center says when it is asked.

    Attributes:
        center: who.
        why, text: it cannot say more, and why; None: the rest holds.
        size: bytes of the volume at the end of its log.
        record: where it got that size; 0 at the beginning of the log, or when that is not known.
        is_committed: that record is committed, as far as this center knows.
        resizes: how many its log knows.
        free: bytes that may still be written there.
    """

    center: str
    why: Why | None = None
    text: str = ""
    size: int = 0
    record: int = 0
    is_committed: bool = False
    resizes: int = 0
    free: int = 0


class Objection(NamedTuple):
    """Something against it. `is_waived`: a person said that it goes on all the same."""

    center: str
    why: Why
    sentence: str
    is_waived: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person wants.

    Attributes:
        size: bytes.
        without: centers whose answer is waived.
        is_thin: nobody needs to have the space now.
    """

    size: int
    without: Collection[str] = ()
    is_thin: bool = False


def wrong_size(size: int) -> str:
    """Why no volume has that size; empty when one may."""
    if size % ALIGNMENT or not 0 < size <= VOLUME_BYTES_MAX:
        return f"{size} bytes are no size of a volume: it is a multiple of {ALIGNMENT}"
    return ""


def objections(
    asked: Asked, charter: Charter, volume: VolumeSpec, words: Mapping[str, Word]
) -> list[Objection]:
    """What stands against it, by center; whoever is not in `words` was not reached."""
    found: list[Objection] = []
    if asked.size < volume.size:
        found.append(Objection("", Why.SMALLER, f"{volume.name} has {volume.size} bytes, and never shrinks"))
    for member in charter.group.members:
        word = words.get(member.name, Word(member.name, Why.NOT_REACHED, "it was not asked"))
        against = _against(asked, word)
        if against is not None:
            why, sentence = against
            may_waive = why in WAIVABLE and member.name != charter.owner
            is_waived = may_waive and member.name in asked.without
            found.append(Objection(member.name, why, sentence, is_waived))
    return found


def _against(asked: Asked, word: Word) -> tuple[Why, str] | None:
    if word.why is not None:
        return word.why, f"{word.center}: {word.text}"
    if asked.size < word.size:
        return Why.SMALLER, f"{word.center} has {word.size} bytes of it, and it never shrinks"
    if asked.size > word.size and word.resizes >= RESIZES_MAX:
        return Why.TOO_MANY, f"{word.center} keeps {RESIZES_MAX} resizes of a group, and has so many"
    needed = asked.size - word.size
    if needed > word.free and not asked.is_thin:
        return Why.NO_SPACE, f"{word.center} has {word.free} bytes free, and {needed} more may be written"
    return None


def remedies(found: list[Objection], owner: str) -> str:
    """What a person can do about those that are not waived."""
    words: list[str] = []
    open_ones = [one for one in found if not one.is_waived]
    if any(one.why is Why.SMALLER for one in open_ones):
        words.append("Make a smaller volume in a new group, and copy what it needs.")
    if any(one.why is Why.TOO_OLD for one in open_ones):
        words.append("Upgrade every center first.")
    if any(one.why is Why.NO_SPACE for one in open_ones):
        words.append("Free space there, or take the size as a promise: --thin.")
    waivable = sorted({one.center for one in open_ones if one.why in WAIVABLE and one.center != owner})
    if waivable:
        options = " ".join(f"--without {center}" for center in waivable)
        words.append(f"Or go on without an answer, it joins again by itself: {options} --reason WHY.")
    return " ".join(words)


def decided(charter: Charter, volume: VolumeSpec, size: int) -> Charter:
    """The charter that says it."""
    assert size > volume.size
    grown = VolumeSpec(volume.id, volume.name, size, volume.index, volume.first_size or volume.size)
    volumes = tuple(grown if one.id == volume.id else one for one in charter.group.volumes)
    group = replace(charter.group, volumes=volumes)
    return replace(charter, version=charter.version + 1, group=group)
