"""How far each peer is behind, in records, bytes and seconds: by the owner's clock only (F.18).

The owner notes now and then what it had appended. The first note above what a peer confirmed gives the
age and the size of what the peer lacks; never less than the truth, and more by at most one interval.
Marks that the owner writes by itself every second hold nothing that could be lost: a peer that lacks only
those lacks nothing, and they are not counted among the records.
"""

from bisect import bisect_right
from dataclasses import dataclass

NOTES_MAX = 50_000  # because a note every 50 ms covers 40 minutes; older ones are thinned out


@dataclass(frozen=True, slots=True)
class Lag:
    """What a peer lacks.

    `records` are those that users' writes made. `seconds` is the age of the oldest record it has not
    confirmed; 0 if it lacks nothing, None if that record is older than this term: another owner's clock saw
    it, and to say less than the truth is forbidden.
    """

    records: int
    bytes: int
    seconds: float | None


class LagLedger:
    """Notes of (last record, instant before it was appended, bytes appended before it)."""

    def __init__(self, began_after: int, began_at: float) -> None:
        """`began_after` is the last record of the owner before, `began_at` an instant before any of ours."""
        self._began_after = began_after
        self._seqs: list[int] = []
        self._instants: list[float] = []
        self._bytes: list[int] = []
        self._before = (began_at, 0)
        self._marks: list[int] = []

    def mark(self, seq: int) -> None:
        """Record `seq` is a mark that the owner wrote by itself."""
        self._marks.append(seq)
        if len(self._marks) > NOTES_MAX:
            del self._marks[: NOTES_MAX // 2]  # those count as records from now on: more is told, never less

    def note(self, appended: int, total_bytes: int, now: float) -> None:
        """Everything up to `appended` exists now; what is new since the last note came after that note."""
        if self._seqs and appended <= self._seqs[-1]:
            self._before = (now, total_bytes)
            return
        instant, before = self._before
        self._seqs.append(appended)
        self._instants.append(instant)
        self._bytes.append(before)
        self._before = (now, total_bytes)
        if len(self._seqs) > NOTES_MAX:
            for notes in (self._seqs, self._instants, self._bytes):
                del notes[1 : NOTES_MAX // 2 : 2]

    def rested(self, now: float) -> None:
        """Nothing was appended since the last note, until `now`."""
        self._before = (now, self._before[1])

    def lag(self, confirmed: int, appended: int, total_bytes: int, now: float) -> Lag:
        """What a peer that confirmed everything up to `confirmed` lacks of `appended`."""
        if confirmed >= appended:
            return Lag(0, 0, 0.0)
        records = appended - confirmed - len(self._marks) + bisect_right(self._marks, confirmed)
        if confirmed < self._began_after:
            return Lag(max(1, records), total_bytes, None)
        if not records:
            return Lag(0, 0, 0.0)
        at = bisect_right(self._seqs, confirmed)
        if at == len(self._seqs):
            return Lag(records, max(0, total_bytes - self._before[1]), max(0.0, now - self._before[0]))
        return Lag(records, max(0, total_bytes - self._bytes[at]), max(0.0, now - self._instants[at]))

    def forget(self, confirmed: int) -> None:
        """Every peer has everything up to `confirmed`."""
        at = bisect_right(self._seqs, confirmed)
        for notes in (self._seqs, self._instants, self._bytes):
            del notes[:at]
        del self._marks[: bisect_right(self._marks, confirmed)]
