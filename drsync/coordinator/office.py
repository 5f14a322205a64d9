"""The coordinator's parts, put together: everything but sockets, keys and signals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from drsync.adapters.sqlite.charters import SqliteCharterStore
from drsync.adapters.sqlite.database import Database
from drsync.adapters.sqlite.decisions import SqliteDecisions
from drsync.adapters.sqlite.evidence import SqliteEvidence
from drsync.adapters.sqlite.history import History
from drsync.adapters.sqlite.mark import FileMarkNote, MarkNote
from drsync.adapters.sqlite.members import MemberMemory
from drsync.adapters.sqlite.openings import SqliteOpenings
from drsync.adapters.sqlite.runs import SqliteRuns
from drsync.coordinator import metrics
from drsync.coordinator.agents import AgentDesk
from drsync.coordinator.api import Api, Parts
from drsync.coordinator.authority import Authority
from drsync.coordinator.decisions import DecisionLog
from drsync.coordinator.export import Export
from drsync.coordinator.forks import Forks
from drsync.coordinator.generations import Generations
from drsync.coordinator.groups import Groups
from drsync.coordinator.holds import Holds
from drsync.coordinator.journal import Journal, Log
from drsync.coordinator.lookout_view import shown
from drsync.coordinator.objectives import Objectives
from drsync.coordinator.openings import Openings
from drsync.coordinator.operations import Operations, Spawn
from drsync.coordinator.orders import Orders
from drsync.coordinator.resizes import Resizes
from drsync.coordinator.runbook_operations import RunbookDesk
from drsync.coordinator.sessions import SessionTable
from drsync.coordinator.status import Picture
from drsync.coordinator.supervision import Supervision
from drsync.engine.procedure_world import Performed, ProcedureWorld, tell_nobody
from drsync.model.topology import Center
from drsync.ports.clock import Clock, Random


@dataclass(frozen=True, slots=True)
class Storage:
    """What a coordinator keeps, open.

    Attributes:
        database: charters, evidence, memory of members.
        history: of objectives.
        note: the mark of the store, outside it.
    """

    database: Database
    history: History
    note: MarkNote

    @classmethod
    def in_directories(cls, state_dir: Path, run_dir: Path, boot_id: str) -> Self:
        """The files of the usual names.

        Raises:
            RefusedError: another process uses them.
            PermanentError: one is not ours, of a newer drsync, or damaged.
        """
        return cls(
            Database(state_dir / "coordinator.db"),
            History(state_dir / "history.db"),
            FileMarkNote(run_dir, boot_id),
        )


class Office:
    """One per process.

    Attributes:
        desk: answers agents.
        orders, resizes, api: do what people want; answer them over HTTP.
        supervision: acts by itself while its `run` runs.
        openings: what people opened, and how that ended.
        objectives: watches RPO and availability while its `run` runs.
        journal: keeps and logs what happens.
        store, evidence: the charters; what was done and what happened.
        sessions, operations: who is connected; what is under way.
        picture: how everything stands.
        metrics: serves figures once it is told where.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        cluster_id: str,
        centers: Sequence[Center],
        clock: Clock,
        random: Random,
        spawn: Spawn,
        log: Log | None = None,
        performed: Performed | None = None,
    ) -> None:
        """Wire the parts.

        Args:
            storage: what outlives the process; closed with this.
            cluster_id: of the cluster, for the status.
            centers: all that may be members of groups.
            clock: time.
            random: ids.
            spawn: starts a task that lives as long as the process.
            log: lines for people; None: where the process writes its own.
            performed: see ProcedureWorld; None: nobody is told.
        """
        self._storage = storage
        self._clock = clock
        self._spawn = spawn
        database = storage.database
        self.store = store = SqliteCharterStore(database, storage.note, clock, random)
        self.evidence = evidence = SqliteEvidence(database, clock)
        self.journal = journal = Journal(evidence, log)
        self._memory = MemberMemory(database, clock)
        self.sessions = sessions = SessionTable()
        authority = Authority(store, self._memory, sessions, clock, self._told)
        decisions = SqliteDecisions(database)
        book = DecisionLog(decisions, sessions, clock, journal, self._held_of_owner)
        world = ProcedureWorld(store, sessions, authority, clock, random, book, performed or tell_nobody)
        runs = SqliteRuns(database)
        self.operations = operations = Operations(
            world, evidence, journal, RunbookDesk(world, evidence, runs, store), spawn
        )
        self.supervision = Supervision(
            store=store,
            evidence=evidence,
            sessions=sessions,
            authority=authority,
            operations=operations,
            journal=journal,
            world=world,
            runs=runs,
        )
        wake = self.supervision.wake
        by_name = {center.name: center for center in centers}
        groups = Groups(store, by_name, random)
        kept = SqliteOpenings(database)
        self.openings = openings = Openings(kept, evidence, sessions, groups, journal, clock, random, spawn)
        operations.about_points = openings.proofs.about_loss
        self.desk = AgentDesk(store, authority, sessions, journal, openings, clock, wake)
        self.objectives = Objectives(store, evidence, sessions, storage.history, journal, clock)
        self.picture = picture = Picture(
            store=store,
            sessions=sessions,
            authority=authority,
            objectives=self.objectives,
            lookout=self.supervision.lookout,
            openings=openings,
            centers=by_name,
            clock=clock,
            about={"cluster": cluster_id, "started_us": clock.wall_us()},
        )
        self.metrics = metrics.server(picture.status, operations.running)
        self.orders = Orders(
            evidence=evidence,
            sessions=sessions,
            operations=operations,
            groups=groups,
            objectives=self.objectives,
            generations=Generations(store, authority, operations, journal, world),
            clock=clock,
            random=random,
            wake=wake,
        )
        self.resizes = Resizes(sessions, groups, operations, journal, clock)
        export = Export(cluster_id, store, evidence, decisions, clock)
        self.api = Api(
            Parts(
                store=store,
                evidence=evidence,
                sessions=sessions,
                operations=operations,
                groups=groups,
                picture=picture,
                objectives=self.objectives,
                export=export,
                orders=self.orders,
                openings=openings,
                forks=Forks(sessions, groups, journal),
                holds=Holds(sessions, groups, journal),
                resizes=self.resizes,
            )
        )

    def begin(self) -> None:
        """Start everything that goes on by itself, for as long as the process lives."""
        _ = self._spawn(self.supervision.run())
        _ = self._spawn(self.objectives.run())

    def _held_of_owner(self, group_id: str) -> Mapping[str, object]:
        """What the lookout found last, for the record of a decision."""
        return shown(self.supervision.lookout.verdict(group_id), self._clock.now())

    def _told(self, kind: str, text: str, group_id: str, center: str) -> None:
        charter = self.store.get(group_id)
        name = charter.group.name if charter is not None else ""
        self.journal.event(kind, text, group=name, center=center)

    def close(self) -> None:
        """Keep what is only in memory, and release the store."""
        self._memory.flush()
        self.objectives.keep()
        self._storage.history.close()
        self._storage.database.close()
