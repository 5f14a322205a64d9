"""The epoch: the fencing token of a group, one unsigned 64-bit number.

Layout (PROTOCOLS F.1 with F.A 22), most significant first::

    generation (16) | era (16) | term (32)

A normal opening raises the term, a forced one raises the era and sets the term to 0, and a new charter
store generation outranks everything an older store could still mint. Comparison is integer comparison.
"""

from typing import NewType

Epoch = NewType("Epoch", int)

NEVER: Epoch = Epoch(0)
"""Before the first opening; no record bears it."""

TERM_BITS = 32
ERA_BITS = 16
TERM_MAX = (1 << TERM_BITS) - 1
ERA_MAX = (1 << ERA_BITS) - 1
EPOCH_MAX = (1 << 64) - 1


def make(generation: int, era: int, term: int) -> Epoch:
    """Join the three parts; each must fit its field."""
    assert 0 <= generation <= ERA_MAX
    assert 0 <= era <= ERA_MAX
    assert 0 <= term <= TERM_MAX
    return Epoch((generation << (ERA_BITS + TERM_BITS)) | (era << TERM_BITS) | term)


def generation(epoch: Epoch) -> int:
    """The charter store generation that minted the epoch."""
    return epoch >> (ERA_BITS + TERM_BITS)


def era(epoch: Epoch) -> int:
    """How many forced openings this generation has seen."""
    return (epoch >> TERM_BITS) & ERA_MAX


def term(epoch: Epoch) -> int:
    """The count of openings within the era."""
    return epoch & TERM_MAX


def show(epoch: Epoch) -> str:
    """For people: ``7`` while nothing was ever forced, else ``era.term`` or ``generation.era.term``."""
    if generation(epoch):
        return f"{generation(epoch)}.{era(epoch)}.{term(epoch)}"
    if era(epoch):
        return f"{era(epoch)}.{term(epoch)}"
    return str(term(epoch))
