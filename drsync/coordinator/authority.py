"""Leases, trust in the store, memory of members: what decides whether the coordinator may act or grant.

Implements `engine.procedure_world.Desk` and the guard of the charter store. All rules are in `core`; this
file keeps their state for the life of the process.
"""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from drsync.adapters.sqlite.charters import SqliteCharterStore
from drsync.adapters.sqlite.members import MemberMemory
from drsync.coordinator.forms import OwnerReport, SeenCharter
from drsync.coordinator.sessions import AgentSession, SessionTable
from drsync.core import store_trust
from drsync.core.lease import LeaseBook
from drsync.core.observation import LastKnown, TreeKnown
from drsync.core.store_trust import Heard, TokenWord
from drsync.model.charter import Charter
from drsync.model.copy import CopyState, Statement
from drsync.model.epoch import NEVER, Epoch, generation
from drsync.model.errors import TransientError
from drsync.ports.charter_store import LeaseGrant
from drsync.ports.clock import Clock

MARK = "mark"  # of the store; the run directory has the same if the store was recognised or proven since


@dataclass(frozen=True, slots=True)
class _GoneBack:
    """A member that is younger than it was.

    Attributes:
        follow: the epoch that it followed then.
        at: when it registered so: what owners report from then on covers all that it acknowledged before.
        was_in_set: it was in the in-sync set then, and was never seen outside since.
    """

    follow: Epoch
    at: float
    was_in_set: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an agent's change of a charter is not even tried."""

    reason: str


class Authority:
    """One per coordinator process."""

    def __init__(
        self,
        store: SqliteCharterStore,
        memory: MemberMemory,
        sessions: SessionTable,
        clock: Clock,
        told: Callable[[str, str, str, str], None],
    ) -> None:
        """Every lease counts as just granted (F.A 8).

        Args:
            store: the charters; its guard is set to this object's.
            memory: what members stated before.
            sessions: what they state now.
            clock: time.
            told: called with kind, text, group id and center when something is worth an event.
        """
        self._store = store
        self._memory = memory
        self._sessions = sessions
        self._clock = clock
        self._told = told
        self._heard: dict[str, dict[str, Heard]] = {}
        self._went_back: dict[tuple[str, str], _GoneBack] = {}
        self._remembered: dict[str, dict[str, SeenCharter]] = {}
        self._newer_tokens: dict[str, int] = {}
        now = clock.now()
        self._leases = {c.group.id: LeaseBook.started(c, now) for c in store.all()}
        store.guard = self.objection

    # --- trust in the store

    def store_ready(self, group_id: str) -> str:
        """See Desk."""
        charter = self._store.get(group_id)
        if self._newer_tokens and not self._store.is_begun_here(group_id):
            return self._old_copy()
        if charter is None:
            return ""
        noted = MARK if self._store.is_proven(group_id) else ""
        members = [member.name for member in charter.group.members]
        own = Heard(charter.generation, charter.version, charter.epoch)
        return store_trust.ready(MARK, noted, self._heard.get(group_id, {}), members, own)

    def _old_copy(self) -> str:
        centers = sorted(self._newer_tokens)
        have = "has a newer start token" if len(centers) == 1 else "have newer start tokens"
        return f"this charter store is an old copy: {', '.join(centers)} {have}"

    def unknown_groups(self) -> dict[str, tuple[str, list[str]]]:
        """Groups that connected members remember and the store does not: id -> name and centers."""
        known = {charter.group.id for charter in self._store.all()}
        found: dict[str, tuple[str, list[str]]] = {}
        for center, groups in sorted(self._remembered.items()):
            if self._sessions.is_connected(center):
                for group_id, seen in groups.items():
                    if group_id not in known:
                        found.setdefault(group_id, (seen.name, []))[1].append(center)
        return found

    def generation_begun(self, charter: Charter) -> None:
        """A person began a new generation: the remembered owner's lease counts as just granted (F.A 8)."""
        self._leases[charter.group.id] = LeaseBook.started(charter, self._clock.now())
        self._heard.pop(charter.group.id, None)
        for center in list(self._newer_tokens):
            self._accept_token(center)

    def _has_seen_newer(self, center: str) -> bool:
        """Whether a member has seen a newer charter of any group than this store holds."""
        for group_id in self._remembered.get(center, {}):
            charter, seen = self._store.get(group_id), self._heard.get(group_id, {}).get(center)
            if charter is None or seen is None:
                continue
            if seen > Heard(charter.generation, charter.version, charter.epoch):
                return True
        return False

    def _accept_token(self, center: str) -> bool:
        """Whether all groups of a center were begun anew here: its token, of the old store, says nothing."""
        groups = self._remembered.get(center, {})
        if not groups or not all(self._store.is_begun_here(group_id) for group_id in groups):
            return False
        self._memory.accept_token(center, self._newer_tokens.pop(center))
        return True

    def remembered(self, center: str, charters: Mapping[str, SeenCharter]) -> None:
        """A member registered and told which charters it has seen."""
        self._remembered[center] = dict(charters)
        for group_id, seen in charters.items():
            self.heard_charter(group_id, center, seen.version, Epoch(seen.epoch), seen.generation)

    def heard_charter(
        self, group_id: str, center: str, version: int, follow: Epoch, store_generation: int | None = None
    ) -> None:
        """A member told the newest charter it has seen; an older agent does not tell its store generation."""
        charter = self._store.get(group_id)
        if charter is None:
            return
        told = charter.generation if store_generation is None else store_generation
        seen = Heard(max(generation(follow), told), version, min(follow, charter.epoch))
        is_of_older_store = generation(follow) < charter.generation  # then its epochs say nothing of this one
        if follow > charter.epoch and not is_of_older_store:
            seen = Heard(max(generation(follow), told), max(version, charter.version), follow)
        known = self._heard.setdefault(group_id, {})
        if seen > known.get(center, Heard(0, 0, Epoch(0))):
            known[center] = seen
        if not self._store.is_proven(group_id) and not self.store_ready(group_id):
            with contextlib.suppress(TransientError):  # then it is proven at the next word
                self._store.prove(group_id)

    def check_token(self, center: str, stated: int | None) -> tuple[int, bool]:
        """The next start token for a center, and whether the center went back in time."""
        if stated is None:
            return self._memory.exchange(center, self._memory.token_of(center))[1], False
        if self._has_seen_newer(center):
            return stated, False  # a token of this old store would make the newest one look old later
        word, token = self._memory.exchange(center, stated)
        if word is TokenWord.STORE_WENT_BACK:
            self._newer_tokens[center] = stated
            if self._accept_token(center):
                return self._memory.exchange(center, stated)[1], False
            self._told("store_went_back", self._old_copy(), "", center)
        return token, word is TokenWord.MEMBER_WENT_BACK

    # --- memory of members

    def register(self, group_id: str, statement: Statement, *, is_back: bool) -> bool:
        """The first statement on a link; whether the member is younger than it was.

        A failed copy is not compared: it says nothing of positions, and memory must outlast it.
        """
        key = (group_id, statement.center)
        is_failed = statement.state is CopyState.FAILED
        went_back = not is_failed and (not self._memory.hear(group_id, statement) or is_back)
        if went_back and not statement.amnesic:
            self._went_back[key] = self._gone_back(key, statement.follow)
            text = f"{statement.center} has gone back in time: it stated a higher position before"
            self._told("member_went_back", text, group_id, statement.center)
        self._sessions.hear(group_id, self._better(group_id, statement), self._clock.now())
        return key in self._went_back

    def _gone_back(self, key: tuple[str, str], follow: Epoch) -> _GoneBack:
        charter = self._store.get(key[0])
        return _GoneBack(follow, self._clock.now(), charter is not None and key[1] in charter.in_sync)

    def register_missing(self, group_id: str, center: str) -> bool:
        """A member came without a copy it had: its store was lost. Whether it is younger than it was."""
        if not self._memory.has(group_id, center):
            return False
        self._went_back[group_id, center] = self._gone_back((group_id, center), NEVER)
        text = f"{center} has no copy any more: it stated one before"
        self._told("member_went_back", text, group_id, center)
        return True

    def heard(self, group_id: str, statement: Statement) -> Statement:
        """See Desk. Within a link nothing is compared: cuts are honest, and a restored host reconnects."""
        better = self._better(group_id, statement)
        if not better.amnesic and better.state is not CopyState.FAILED:
            self._memory.follow(group_id, statement)
        self._sessions.hear(group_id, better, self._clock.now())
        return better

    def _better(self, group_id: str, statement: Statement) -> Statement:
        key = (group_id, statement.center)
        gone = self._went_back.get(key)
        if gone is None:
            return statement
        charter = self._store.get(group_id)
        if statement.amnesic or (charter is not None and self._is_level(charter, statement, gone)):
            del self._went_back[key]  # it knows it itself, or the owner has caught it up
            return statement
        if charter is not None and statement.center not in charter.in_sync:
            self._went_back[key] = replace(gone, was_in_set=False)
        return replace(statement, amnesic=True)

    def _is_level(self, charter: Charter, statement: Statement, gone: _GoneBack) -> bool:
        """Whether a member that went back is in the present epoch, and lacks nothing that it had before.

        Being in the set is not enough: it was there when it went back, and the owner may be dead since. Nor
        are remembered positions, which are those of some heartbeat, or older.
        """
        if statement.follow != charter.epoch or self._memory.is_behind(charter.group.id, statement):
            return False
        if statement.center == charter.owner:
            return charter.epoch > gone.follow  # it was opened since: what that lost was admitted
        if not gone.was_in_set and statement.center in charter.in_sync:
            return True  # its owner has let it in since
        word = self._sessions.report(charter.group.id)
        if word is None or word.report.epoch != charter.epoch or word.center != charter.owner:
            return False
        return word.made_at > gone.at and statement.durable >= word.report.commit

    # --- leases

    def lease(self, group_id: str) -> LeaseBook:
        """See Desk."""
        return self._leases.get(group_id, LeaseBook())

    def released(self, group_id: str, center: str, epoch: Epoch) -> None:
        """See Desk."""
        self._leases[group_id] = self.lease(group_id).release(center, epoch)

    def renew(self, charter: Charter, agent: AgentSession, statement: Statement, epoch: Epoch) -> LeaseGrant:
        """An owner of `epoch` asks to go on: granted only to the very process the charter names."""
        no = LeaseGrant(is_granted=False, seconds=0.0, charter_version=charter.version)
        if self.store_ready(charter.group.id) or agent.session != charter.owner_session:
            return no
        if statement.promised > charter.epoch:
            return no
        book = self.lease(charter.group.id).renew(charter, agent.center, epoch, self._clock.now())
        if book is None:
            return no
        self._leases[charter.group.id] = book
        seconds = charter.group.policy.lease_s
        return LeaseGrant(is_granted=True, seconds=seconds, charter_version=charter.version)

    def last_known(self, group_id: str) -> LastKnown | None:
        """See Desk: the report of the charter's owner in its epoch, no other."""
        word, charter = self._sessions.report(group_id), self._store.get(group_id)
        if word is None or charter is None:
            return None
        if (word.center, word.report.epoch) != (charter.owner, charter.epoch):
            return None
        report = word.report
        trees = tuple(_tree(report, name) for name in sorted(report.files))
        return LastKnown(report.commit, report.tip, report.time_us, word.heard_at, trees)

    # --- changes of charters

    def objection(self, current: Charter | None, new: Charter) -> str | None:
        """The store's guard: why the charter may not change so now."""
        if current is None:
            return self._old_copy() if self._newer_tokens else None
        waiting = self.store_ready(current.group.id)
        if waiting:
            return waiting
        now, book = self._clock.now(), self.lease(current.group.id)
        if not book.may_change_owner(current, new, now):
            return f"{book.holder} may still answer for {book.until - now:.1f} s"
        return None

    def refusal(self, agent: AgentSession, current: Charter | None, new: Charter) -> Refusal | None:
        """An agent may change one thing only: the in-sync set of the group it owns, in its epoch."""
        if current is None:
            return Refusal("there is no such group")
        if (current.owner, current.owner_session) != (agent.center, agent.session):
            return Refusal(f"{agent.center} does not own the group in this session")
        allowed = replace(current, version=new.version, in_sync=new.in_sync)
        if new != allowed:
            return Refusal("an owner changes nothing but the in-sync set")
        # Who is in the set may stay: after a strict group was owned far away, its far center is in it.
        allowed_in = {agent.center, *current.group.mates(agent.center), *current.in_sync}
        if agent.center not in new.in_sync or not new.in_sync <= allowed_in:
            return Refusal("the in-sync set is the owner and members of its site")
        return None


def _tree(report: OwnerReport, name: str) -> TreeKnown:
    own = report.files[name]
    told = [
        (center, peer.files[name].lag_s)
        for center, peer in sorted(report.peers.items())
        if name in peer.files
    ]
    lags_s = tuple((center, lag_s) for center, lag_s in told if lag_s is not None)
    return TreeKnown(name, own.generation, own.looked_s, lags_s)
