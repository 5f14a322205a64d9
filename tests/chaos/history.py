"""What must be true of a history of writes, whatever happened to the lines: pure checks, no I/O.

Every write is unique. The history says when each was sent and acknowledged, and by which center. The logs
say what became of it. Each check returns its findings in words; an empty list means that it holds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

SHOWN = 5  # findings of a kind; more of them say nothing new


@dataclass(slots=True)
class Attempt:
    """One write of one client.

    Attributes:
        id: unique.
        slot: block number it was written to.
        center: who was asked.
        sent, acknowledged: instants of one clock; None while not acknowledged with success.
    """

    id: int
    slot: int
    center: str
    sent: float
    acknowledged: float | None = None


class Entry(NamedTuple):
    """One write in a log."""

    epoch: int
    seq: int
    slot: int
    id: int


@dataclass(frozen=True, slots=True)
class Log:
    """One center's log.

    Attributes:
        entries: the writes of clients, in order.
        chains: chain by last record of each batch.
        first: first record; what is before it was given up, since everybody had it.
    """

    entries: tuple[Entry, ...]
    chains: Mapping[int, bytes]
    first: int = 1

    @property
    def tip(self) -> int:
        """Last record."""
        return max(self.chains, default=0)


@dataclass(frozen=True, slots=True)
class History:
    """Everything that is known when it is over.

    Attributes:
        attempts: of all clients.
        owners: epoch -> center, from the charters.
        owner: who serves now.
        logs: center -> log.
        content: slot -> id as the owner serves it; 0 for a slot of zeros.
    """

    attempts: Sequence[Attempt]
    owners: Mapping[int, str]
    owner: str
    logs: Mapping[str, Log]
    content: Mapping[int, int]


def check(history: History) -> list[str]:
    """All findings."""
    return [
        *_cut(lost(history)),
        *_cut(second_writers(history)),
        *_cut(out_of_order(history)),
        *_cut(repeated(history)),
        *_cut(diverged(history)),
        *_cut(wrong_content(history)),
    ]


def _cut(findings: list[str]) -> list[str]:
    left = len(findings) - SHOWN
    return [*findings[:SHOWN], f"and {left} more of these"] if left > 0 else findings


def _whole(history: History) -> list[Entry]:
    """The owner's log; what it gave up already is taken from who still has it."""
    ours = history.logs[history.owner]
    longest = min(history.logs.values(), key=lambda log: log.first)
    return [*(entry for entry in longest.entries if entry.seq < ours.first), *ours.entries]


def _places(history: History) -> dict[int, Entry]:
    return {entry.id: entry for entry in _whole(history)}


def lost(history: History) -> list[str]:
    """Every acknowledged write is in the log of whoever owns the group now."""
    places = _places(history)
    return [
        f"write {one.id}, acknowledged by {one.center}, is not in the log of {history.owner}"
        for one in history.attempts
        if one.acknowledged is not None and one.id not in places
    ]


def second_writers(history: History) -> list[str]:
    """Who acknowledged a write owned the epoch it is recorded in."""
    places = _places(history)
    found = []
    for one in history.attempts:
        entry = places.get(one.id)
        if one.acknowledged is None or entry is None:
            continue
        owner = history.owners.get(entry.epoch, "nobody")
        if owner != one.center:
            found.append(
                f"write {one.id} of epoch {entry.epoch} was acknowledged by {one.center}, owned by {owner}"
            )
    return found


def out_of_order(history: History) -> list[str]:
    """What was acknowledged before another write was sent stands before it in the log, in no later epoch."""
    places = _places(history)
    known = [one for one in history.attempts if one.id in places]
    by_end = sorted((one for one in known if one.acknowledged is not None), key=_acknowledged)
    found: list[str] = []
    newest, done = Entry(0, 0, 0, 0), 0
    for one in sorted(known, key=lambda one: one.sent):
        while done < len(by_end) and _acknowledged(by_end[done]) < one.sent:
            newest = max(newest, places[by_end[done].id], key=lambda entry: entry.seq)
            done += 1
        place = places[one.id]
        if place.seq <= newest.seq or place.epoch < newest.epoch:
            found.append(
                f"write {one.id} (record {place.seq}, epoch {place.epoch}) was sent after write {newest.id} "
                f"(record {newest.seq}, epoch {newest.epoch}) was acknowledged"
            )
    return found


def _acknowledged(one: Attempt) -> float:
    return one.acknowledged if one.acknowledged is not None else float("inf")


def repeated(history: History) -> list[str]:
    """No write is in a log twice, none that nobody sent, and epochs never go back."""
    sent = {one.id: one.slot for one in history.attempts}
    found = []
    for center, log in history.logs.items():
        seen: set[int] = set()
        for entry in log.entries:
            if entry.id in seen:
                found.append(f"write {entry.id} is in the log of {center} twice")
            elif sent.get(entry.id) != entry.slot:
                found.append(f"nobody wrote {entry.id} to slot {entry.slot}, which is in the log of {center}")
            seen.add(entry.id)
        found += [
            f"record {after.seq} of {center} has epoch {after.epoch}, after {before.epoch}"
            for before, after in pairwise(log.entries)
            if after.epoch < before.epoch or after.seq <= before.seq
        ]
    return found


def diverged(history: History) -> list[str]:
    """All logs are one log, as far as the shortest of them goes."""
    common = min(log.tip for log in history.logs.values())
    ours = history.logs[history.owner]
    found = []
    for center, log in history.logs.items():
        start = max(ours.first, log.first)
        first = {entry for entry in ours.entries if start <= entry.seq <= common}
        ends = {seq for seq in (*ours.chains, *log.chains) if start <= seq <= common}
        found += [
            f"record {seq}: {center} and {history.owner} have different chains"
            for seq in sorted(ends)
            if ours.chains.get(seq) != log.chains.get(seq)
        ]
        theirs = {entry for entry in log.entries if start <= entry.seq <= common}
        found += [f"{entry} is not in both {center} and {history.owner}" for entry in sorted(first ^ theirs)]
    return found


def wrong_content(history: History) -> list[str]:
    """Each slot holds the last write of the log, and nothing else."""
    last = {entry.slot: entry.id for entry in _whole(history)}
    return [
        f"slot {slot} holds write {held}, the last one in the log is {last.get(slot, 0)}"
        for slot, held in sorted(history.content.items())
        if held != last.get(slot, 0)
    ]


class Sample(NamedTuple):
    """What the coordinator said at one moment."""

    at: float
    is_ready: bool
    lines: tuple[str, ...]


def silent(
    samples: Sequence[Sample], began: float, ended: float, words: Sequence[str], within_s: float
) -> list[str]:
    """While a fault that shows lasted, the status said so: within `within_s`, with one of `words`."""
    shown = [s for s in samples if began <= s.at <= ended and not s.is_ready]
    named = [s for s in shown if any(word in line for line in s.lines for word in words)]
    if named and named[0].at - began <= within_s:
        return []
    said = sorted({line for sample in shown for line in sample.lines})
    lasted = f"for {ended - began:.1f} s the status named none of {', '.join(words)}"
    return [f"{lasted}; it said: {said or 'all is well'}"]


def dead(expected: set[str], alive: set[str]) -> list[str]:
    """Nobody ended who was not killed."""
    return [f"{name} ended by itself" for name in sorted(expected - alive)]
