"""Dirty sets as a start finds them: the files beside what the superblock remembers of them. Blocks."""

from dataclasses import replace

from drsync.core import dirty as marking
from drsync.core.dirty import DirtySet, Marks
from drsync.engine.durable import Durable
from drsync.ports.dirty_store import DirtyStore, StoredSet


def found(store: DirtyStore, durable: Durable, center: str) -> tuple[DirtySet, int]:
    """The set of a member, and the number of its last store.

    Never marked is not lost: without an entry and without a file the set is empty.
    """
    stored, entry = store.dirty(center), durable.dirty_generations.get(center)
    if entry is None:
        return (DirtySet(), 0) if stored is None else (marking.decode(stored.raw, 0), stored.number)
    generation, number = entry
    if stored is None or stored.number < number:
        return marking.unknown(generation), number
    return marking.decode(stored.raw, generation), stored.number


def noted(durable: Durable, center: str, generation: int, number: int) -> Durable:
    """The superblock's value that remembers a store."""
    entries = {**durable.dirty_generations, center: (generation, number)}
    return replace(durable, dirty_generations=entries)


def through_switch(store: DirtyStore, durable: Durable, fork: int, p0: int) -> Durable:
    """The marks that a switch was prepared with stand for records up to p0 now; returns what to remember.

    For a recorded switch, before its journal takes the place of the former one. May be repeated.

    Raises:
        NoSpaceError, FailedCopyError: as `DirtyStore.store_dirty`.
    """
    for center in sorted(durable.dirty_generations):
        marked, number = found(store, durable, center)
        marked = marking.clamped(marked, fork)
        marked = replace(marked, live=marked.live.plus(Marks(through=p0)))
        store.store_dirty(center, StoredSet(number + 1, marking.encode(marked)))
        durable = noted(durable, center, marked.generation, number + 1)
    return durable
