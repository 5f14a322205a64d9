"""File sets in the status: where each tree is, how far behind it is, and what it waits for.

Only facts put together. A tree's age never under-reports: it counts from the owner's last complete look and
grows by the coordinator's clock while the owner is silent.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from drsync.coordinator.forms import OwnTree, PeerTree
from drsync.coordinator.sessions import OwnerWord, SessionTable
from drsync.core.objectives import Proof
from drsync.model.charter import Charter
from drsync.model.copy import CopyState
from drsync.model.errors import RefusedError, UsageError
from drsync.model.fileset import FileSetSpec, FileSetWord
from drsync.ports.clock import Clock

Json = dict[str, object]

BUSY_SHOWN = 3  # because a sentence names examples; the status has them all
PLACEHOLDER = "GROUP/SET"
"""What agents write for a name that they leave to us (`core.file_halts`)."""
APPROVABLE = "drsync files approve"
"""What a reason contains when a person's word is enough for it (`core.file_halts`)."""
READABLE = frozenset((CopyState.OWNER, CopyState.FROZEN, CopyState.SEALED, CopyState.REPLICA))


@dataclass(frozen=True, slots=True)
class TreeLine:
    """Something that a tree waits for, and what helps."""

    what: str
    who: str
    remedy: str


def about(charter: Charter) -> list[Json]:
    """The file sets of a group, as they were asked for."""
    return [{"name": one.name, "id": one.id, "roots": dict(one.roots)} for one in charter.group.filesets]


def worst(one: Proof, other: Proof) -> Proof:
    """The age of a copy of both; what is unknown of one is unknown of both."""
    if one.seconds is None or other.seconds is None:
        return one if one.seconds is None else other
    return max(one, other, key=lambda proof: proof.seconds or 0.0)


class Trees:
    """What agents said about trees, put together."""

    def __init__(self, sessions: SessionTable, clock: Clock) -> None:
        self._sessions = sessions
        self._clock = clock

    # --- how old

    def age(self, charter: Charter, center: str) -> Proof:
        """How old the oldest tree at a center is shown to be; 0 at the owner, and without file sets."""
        found = Proof(0.0)
        if center == charter.owner:
            return found
        for one in charter.group.filesets:
            found = worst(found, self._age(charter, center, one))
        return found

    def _age(self, charter: Charter, center: str, fileset: FileSetSpec) -> Proof:
        owner = self._owner(charter)
        if owner is None:
            return Proof(None, f"no owner has told of the files in {fileset.name}")
        own, peer = _own(owner, fileset), _peer(owner, center, fileset)
        if own.looked_s is None:
            return Proof(None, f"{charter.owner} has not looked through {fileset.name} yet")
        if peer.lag_s is None:
            return Proof(None, f"{center} has not told which files of {fileset.name} it holds")
        silent_s = max(0.0, self._clock.now() - owner.heard_at)
        return Proof(peer.lag_s + own.looked_s + silent_s)

    # --- the status

    def at(self, charter: Charter, center: str) -> Json:
        """The trees of a group at one center."""
        return {one.name: self._copy(charter, center, one) for one in charter.group.filesets}

    def _copy(self, charter: Charter, center: str, fileset: FileSetSpec) -> Json:
        word, owner = self._word(charter, center, fileset), self._owner(charter)
        is_owner = center == charter.owner
        own = _own(owner, fileset)
        peer = _peer(owner, center, fileset)
        age = Proof(0.0) if is_owner else self._age(charter, center, fileset)
        shown: Json = {
            "generation": word.held.number,
            "known": max(word.known.number, own.generation),
            "entries": word.entries,
            "bytes": word.bytes,
            "lag_s": 0.0 if is_owner else peer.lag_s,
            "rpo_s": None if age.seconds is None else round(age.seconds, 3),
            "pending": word.pending,
            "pending_names": list(word.pending_names),
            "hold": word.hold,
            "root": word.root,
            "forks": word.forks,
            "behind_s": round(word.behind_s, 3),
        }
        if is_owner:
            return shown | {"busy": list(own.busy), "unseen": own.unseen, "scan_s": own.scan_s}
        return shown | {"sent_entries": peer.sent_entries, "sent_bytes": peer.sent_bytes}

    def readable(self, charters: Sequence[Charter], center: str) -> Json:
        """Where trees can be read at a center, as GROUP/SET → directory."""
        if self._sessions.agent(center) is None:
            return {}
        found: Json = {}
        for charter in charters:
            said = self._sessions.word(charter.group.id, center)
            if said is None or said.statement.state not in READABLE:
                continue
            for one in charter.group.filesets:
                word = self._word(charter, center, one)
                if word.root and word.held.number:
                    found[f"{charter.group.name}/{one.name}"] = word.root
        return found

    # --- what is waited for

    def lines(self, charter: Charter) -> list[TreeLine]:
        """What is not as it should be with the trees, the owner's first."""
        if not charter.owner:
            return []
        others = [member.name for member in charter.group.members if member.name != charter.owner]
        found = list(self._at_owner(charter)) if self._sessions.is_connected(charter.owner) else []
        for center in others:
            if self._sessions.is_connected(center):
                found += self._at_replica(charter, center)
        return found

    def _at_owner(self, charter: Charter) -> Iterator[TreeLine]:
        owner = self._owner(charter)
        for one in charter.group.filesets:
            own, hold = _own(owner, one), self._word(charter, charter.owner, one).hold
            where = f"{one.name} at {charter.owner}"
            if hold:
                what = f"no change of {where} is taken: {hold}"
                yield TreeLine(what, charter.owner, "Meanwhile the others keep what they have.")
            if own.busy:
                names = ", ".join(own.busy[:BUSY_SHOWN]) + (", …" if len(own.busy) > BUSY_SHOWN else "")
                what = f"{len(own.busy)} of the files in {where} change while they are read: {names}"
                remedy = "The others keep what was read last; what never rests belongs on a volume."
                yield TreeLine(what, charter.owner, remedy)
            if own.unseen:
                what = f"{own.unseen} places of {where} cannot be looked at: nothing there is protected"
                yield TreeLine(what, charter.owner, "See the log of the agent there; is a mount missing?")

    def _at_replica(self, charter: Charter, center: str) -> Iterator[TreeLine]:
        target = charter.group.objectives.rpo_s
        for one in charter.group.filesets:
            hold, age = self._word(charter, center, one).hold, self._age(charter, center, one)
            if hold:
                what = f"{one.name} at {center} stands still: {hold}"
                yield TreeLine(what, center, "Meanwhile it keeps what it has; volumes go on.")
            elif age.seconds is not None and age.seconds > target:
                what = f"{one.name} at {center} is {age.seconds:.1f} s behind, the target is {target:g} s"
                yield TreeLine(
                    what, center, f"See what is on its way: drsync files show {charter.group.name}"
                )

    # --- a person's word

    def held_at(self, charter: Charter, name: str, at: str) -> tuple[FileSetSpec, str]:
        """The file set of that name, and the center where it is held.

        Raises:
            UsageError: there is no such file set or center.
            RefusedError: it is held nowhere, or at several centers and none was named.
        """
        fileset = next((one for one in charter.group.filesets if name in (one.name, one.id)), None)
        if fileset is None:
            known = ", ".join(one.name for one in charter.group.filesets) or "none"
            raise UsageError(
                f"{charter.group.name} has no file set {name}; it has: {known}", code="unknown_fileset"
            )
        members = [member.name for member in charter.group.members]
        if at and at not in members:
            raise UsageError(f"{at} is no member of {charter.group.name}", code="unknown_center")
        held = [center for center in members if self._word(charter, center, fileset).hold]
        wanted = [center for center in held if at in ("", center)]
        if len(wanted) == 1:
            self._require_of_use(charter, wanted[0], fileset)
            return fileset, wanted[0]
        if wanted:
            raise RefusedError(
                f"{name} is held at {', '.join(wanted)}", code="ambiguous", remedy="Name one of them: --at."
            )
        raise RefusedError(
            f"{name} is not held{f' at {at}' if at else ''}: there is nothing to approve", code="not_held"
        )

    def _require_of_use(self, charter: Charter, center: str, fileset: FileSetSpec) -> None:
        """A word given for a missing directory would be used up by the next accident, and unseen."""
        hold = self._word(charter, center, fileset).hold
        if APPROVABLE not in hold:
            raise RefusedError(
                f"{fileset.name} at {center} is held for something that approval does not change: {hold}",
                code="not_approvable",
            )

    # --- words

    def _owner(self, charter: Charter) -> OwnerWord | None:
        word = self._sessions.report(charter.group.id)
        return word if word is not None and word.center == charter.owner else None

    def _word(self, charter: Charter, center: str, fileset: FileSetSpec) -> FileSetWord:
        said = self._sessions.word(charter.group.id, center)
        words = said.statement.files if said is not None else ()
        word = next((word for word in words if word.fileset == fileset.id), FileSetWord(fileset.id))
        return replace(word, hold=word.hold.replace(PLACEHOLDER, f"{charter.group.name}/{fileset.name}"))


def _own(owner: OwnerWord | None, fileset: FileSetSpec) -> OwnTree:
    return owner.report.files.get(fileset.name, OwnTree()) if owner is not None else OwnTree()


def _peer(owner: OwnerWord | None, center: str, fileset: FileSetSpec) -> PeerTree:
    if owner is None or center not in owner.report.peers:
        return PeerTree()
    return owner.report.peers[center].files.get(fileset.name, PeerTree())
