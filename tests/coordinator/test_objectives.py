"""What a coordinator proves, counts and keeps: by a clock that the test moves."""

import asyncio
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from drsync.adapters.sqlite.charters import SqliteCharterStore
from drsync.adapters.sqlite.database import Database
from drsync.adapters.sqlite.evidence import SqliteEvidence
from drsync.adapters.sqlite.history import FINE_KEPT_S, Figures, History, WatchRow
from drsync.adapters.sqlite.mark import FileMarkNote
from drsync.adapters.system.clock import SystemRandom
from drsync.coordinator.forms import OwnerReport
from drsync.coordinator.journal import Journal
from drsync.coordinator.objectives import Objectives
from drsync.coordinator.objectives_view import availability_report, compliance_report, rto_lines
from drsync.coordinator.sessions import SessionTable
from drsync.core.objectives import Measured, predict_rto
from drsync.model.charter import Charter
from drsync.model.copy import CopyState, Statement
from drsync.model.epoch import Epoch
from drsync.model.objectives import Beat, Lack, Standing, Stretch
from drsync.model.operation import Operation, OperationKind, OperationState
from drsync.model.position import EpochRun, EpochStart, Loss, Position
from tests.coordinator.centers import World
from tests.engine.town import GROUP

A, B, C = (member.name for member in GROUP.members)
E = Epoch(1)
START_US = 1_700_000_000_000_000
CHAIN = b"c" * 16


@dataclass
class FakeClock:
    """Time as the test says; `wall_us` may be bent without `now` noticing."""

    at: float = 1000.0
    bent_us: int = 0

    def now(self) -> float:
        return self.at

    def wall_us(self) -> int:
        return START_US + int((self.at - 1000.0) * 1e6) + self.bent_us

    async def sleep_until(self, instant: float) -> None:
        self.at = max(self.at, instant)

    def until_round(self, period_s: float, slack_s: float = 0.0) -> float:
        return period_s


@dataclass
class Desk:
    """A coordinator's objectives, and what owners and members tell them."""

    root: Path
    clock: FakeClock = field(default_factory=FakeClock)
    served_since: float | None = 1000.0
    served: list[tuple[float, float]] = field(default_factory=list)
    owner: str = A
    cut_off: set[str] = field(default_factory=set)
    beats: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        start = EpochStart(E, "u", 0, bytes(16), Loss.NONE, 0)
        group = replace(GROUP, objectives=replace(GROUP.objectives, rpo_s=15.0, availability=0.99))
        self.charter = Charter(group, 1, 0, A, "s", E, frozenset((A, B)), (start,))
        self.open()

    def open(self) -> None:
        """A coordinator process starts."""
        database = Database(self.root / "coordinator.db")
        self.database = database
        store = SqliteCharterStore(
            database, FileMarkNote(self.root / "run", "boot"), self.clock, SystemRandom()
        )
        self.evidence = SqliteEvidence(database, self.clock)
        self.sessions = SessionTable()
        self.history = History(self.root / "history.db")
        if store.get(GROUP.id) is None:
            asyncio.run(store.compare_and_set(0, self.charter))
        journal = Journal(self.evidence)
        self.objectives = Objectives(store, self.evidence, self.sessions, self.history, journal, self.clock)

    def die(self) -> None:
        """SIGKILL."""
        self.history.close()
        self.database.close()

    def hear(self) -> None:
        """One heartbeat of everybody who is not cut off."""
        now = self.clock.at
        if self.served_since is not None:
            for name in (A, B, C):
                if name not in self.cut_off:
                    self.beats[name] = now
        tip = Position(E, 100, CHAIN)
        for name in (A, B, C):
            word = Statement(
                name, "s", "i", CopyState.REPLICA, E, E, 1, (EpochRun(E, 1, 100, CHAIN),), 100, 100
            )
            self.sessions.hear(GROUP.id, replace(word, tip=tip), now)
            if name in self.beats:
                self.sessions.hear_beat(GROUP.id, name, Beat(100, int(self.beats[name] * 1e6), E))
        report = OwnerReport(
            epoch=E,
            now_us=int(now * 1e6),
            served=tuple((now - start, now - end) for start, end in self.served),
            serving=self.served_since is not None,
            serving_s=None if self.served_since is None else now - self.served_since,
        )
        if self.owner:
            self.sessions.hear_report(GROUP.id, self.owner, report, now)

    def pass_by(self, seconds: float) -> None:
        """Time passes, with a heartbeat each second."""
        end = self.clock.at + seconds
        while self.clock.at < end:
            self.clock.at += 0.5
            if self.clock.at % 1 == 0:
                self.hear()
            self.objectives.look()

    def rpo(self, center: str = C) -> float | None:
        return self.objectives.proof(self.charter, center).seconds

    def lacks(self, lack: Lack) -> list[tuple[float, str, bool]]:
        found = self.objectives.stretches(self.charter, 0, of_rpo=lack is Lack.RPO)
        return [(one.seconds, one.cause, one.is_planned) for one in found if one.lack is lack]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.die()


def test_the_proved_rpo_of_a_center_that_is_cut_off_grows_and_falls_when_it_is_back(desk: Desk) -> None:
    desk.pass_by(5)
    assert desk.rpo() == 0.0
    desk.cut_off.add(C)
    desk.pass_by(20)
    assert desk.rpo() == pytest.approx(20.0)
    assert desk.objectives.standing(desk.charter, C) is Standing.OVER
    desk.cut_off.clear()
    desk.pass_by(1)
    assert desk.rpo() == 0.0
    (seconds, cause, _) = desk.lacks(Lack.RPO)[-1]
    assert seconds == pytest.approx(5.0, abs=1.0)
    assert cause == "over the target of 15 s"


def test_silence_never_makes_it_smaller(desk: Desk) -> None:
    desk.pass_by(5)
    seen = [desk.rpo()]
    for _ in range(10):
        desk.clock.at += 7.0
        seen.append(desk.rpo())
    assert seen == sorted(seen, key=lambda value: value or 0.0)
    assert seen[-1] == pytest.approx(70.0)


def test_a_heartbeat_of_a_history_that_was_given_up_proves_nothing(desk: Desk) -> None:
    desk.pass_by(2)
    later = EpochStart(Epoch(2), "v", 50, CHAIN, Loss.FORCED, 0)
    charter = replace(desk.charter, history=(*desk.charter.history, later), epoch=Epoch(2))
    proof = desk.objectives.proof(charter, C)
    assert proof.seconds is None
    assert "given up" in proof.reason


def test_a_restarted_coordinator_knows_nothing_until_it_has_heard_both(desk: Desk) -> None:
    desk.pass_by(12)
    desk.die()
    desk.clock.at += 30
    desk.open()
    desk.objectives.look()
    proof = desk.objectives.proof(desk.charter, C)
    assert (proof.seconds, proof.reason) == (None, "it has said nothing since the coordinator started")
    desk.pass_by(1)
    assert desk.rpo() == 0.0


def test_an_owner_proves_afterwards_that_it_served_while_nobody_watched(desk: Desk) -> None:
    desk.pass_by(12)
    desk.die()
    desk.clock.at += 300
    desk.open()
    assert desk.lacks(Lack.UNKNOWN), "until it has spoken"
    desk.pass_by(2)
    assert not desk.lacks(Lack.UNKNOWN)
    assert not desk.lacks(Lack.DOWN)


def test_what_nobody_watched_and_nobody_proves_is_unknown_and_counts_as_down(desk: Desk) -> None:
    desk.pass_by(12)
    desk.die()
    desk.clock.at += 300
    desk.served_since = desk.clock.at - 50
    desk.open()
    desk.pass_by(2)
    [(seconds, cause, _)] = desk.lacks(Lack.UNKNOWN)
    assert seconds == pytest.approx(250, abs=10)
    assert cause == "the coordinator was not running"
    found = availability_report(desk.objectives, desk.charter, 3600)["account"]
    assert isinstance(found, dict)
    assert found["used_s"] == pytest.approx(252, abs=2)


def test_an_owner_tells_afterwards_of_the_breaks_that_nobody_saw(desk: Desk) -> None:
    desk.pass_by(12)
    desk.die()
    desk.clock.at += 300
    desk.served_since = desk.clock.at - 50
    desk.served = [(desk.clock.at - 312, desk.clock.at - 53)]
    desk.open()
    desk.pass_by(2)
    assert not desk.lacks(Lack.DOWN)
    [(seconds, _, _)] = desk.lacks(Lack.UNKNOWN)
    assert seconds == pytest.approx(3.0)


def test_an_outage_counts_from_the_last_proof_to_the_first(desk: Desk) -> None:
    desk.pass_by(10)
    desk.served_since = None
    desk.pass_by(8)
    [(going_on, _, _)] = desk.lacks(Lack.DOWN)
    assert going_on == pytest.approx(8.0)
    desk.served_since = desk.clock.at
    desk.pass_by(5)
    [(seconds, cause, is_planned)] = desk.lacks(Lack.DOWN)
    assert (seconds, is_planned) == (8.0, False)
    assert cause == "the owner did not take writes, or was not heard"


def test_a_switchover_that_a_person_asked_for_is_planned(desk: Desk) -> None:
    desk.pass_by(10)
    begun_us = desk.clock.wall_us()
    move = Operation("op", OperationKind.SWITCHOVER, GROUP.name, B, "ada", "", begun_us)
    desk.evidence.begin(move)
    desk.served_since = None
    desk.pass_by(2)
    desk.evidence.end(replace(move, state=OperationState.DONE, ended_us=desk.clock.wall_us()))
    desk.served_since = desk.clock.at
    desk.pass_by(3)
    assert desk.lacks(Lack.DOWN) == [(2.0, f"switchover to {B}, asked for by ada", True)]
    found = availability_report(desk.objectives, desk.charter, 3600)["account"]
    assert isinstance(found, dict)
    assert (found["planned_s"], found["used_s"]) == (2.0, 0.0)


def test_an_owner_that_fails_during_a_drill_is_an_outage(desk: Desk) -> None:
    """A drill may compare for hours: what breaks meanwhile was announced by nobody."""
    desk.pass_by(10)
    drill = Operation("op", OperationKind.DRILL, GROUP.name, C, "ada", "", desk.clock.wall_us())
    desk.evidence.begin(drill)
    desk.pass_by(60)
    desk.served_since = None
    desk.pass_by(20)
    desk.served_since = desk.clock.at
    desk.pass_by(3)
    assert desk.lacks(Lack.DOWN) == [(20.0, f"drill at {C}, asked for by ada", False)]
    found = availability_report(desk.objectives, desk.charter, 3600)["account"]
    assert isinstance(found, dict)
    assert (found["planned_s"], found["used_s"], found["outages"]) == (0.0, 20.0, 1)


def test_an_owner_of_another_epoch_proves_nothing(desk: Desk) -> None:
    desk.charter = replace(desk.charter, version=2, epoch=Epoch(9))
    asyncio.run(desk.objectives._store.compare_and_set(1, desk.charter))
    desk.pass_by(5)
    assert desk.objectives._watches[GROUP.id].first_us == 0


def test_a_group_alone_in_its_set_is_unprotected(desk: Desk) -> None:
    desk.charter = replace(desk.charter, version=2, in_sync=frozenset((A,)))
    asyncio.run(desk.objectives._store.compare_and_set(1, desk.charter))
    desk.pass_by(5)
    [(seconds, _, _)] = desk.lacks(Lack.UNPROTECTED)
    assert seconds == pytest.approx(4.0, abs=1.0)


def test_compliance_is_the_share_of_watched_seconds_and_says_what_was_not_watched(desk: Desk) -> None:
    desk.pass_by(20)
    desk.cut_off.add(C)
    desk.pass_by(20)
    found = compliance_report(desk.objectives, desk.charter, 3600)["centers"]
    assert isinstance(found, dict)
    assert found[C]["over_s"] == pytest.approx(5.0, abs=1.0)
    assert found[C]["share"] == pytest.approx(35 / 40, abs=0.03)
    assert found[C]["max_s"] == pytest.approx(20.0)
    assert found[B]["share"] == pytest.approx(1.0, abs=0.03)
    assert A not in found


def test_a_wall_clock_that_is_set_does_not_bend_the_ledger(desk: Desk) -> None:
    desk.pass_by(10)
    desk.clock.bent_us = -3_600_000_000
    desk.pass_by(10)
    assert not desk.lacks(Lack.DOWN)
    desk.die()
    desk.open()
    desk.pass_by(2)
    assert not desk.lacks(Lack.DOWN)
    assert desk.objectives.label() >= START_US + 10_000_000, "never before what was kept"


def test_only_a_policy_on_drills_makes_an_old_or_slow_drill_a_reason(desk: Desk) -> None:
    slow = predict_rto(Measured("drill", "d", C, 500.0, 1), 10.0, 300.0)
    assert rto_lines(desk.charter, slow, 0, 10) == []
    policy = replace(GROUP.policy, drill_max_age_s=86400.0)
    asked = replace(desk.charter, group=replace(desk.charter.group, policy=policy))
    [never, too_slow] = rto_lines(asked, slow, 0, 10)
    assert "never drilled" in never[0]
    assert "predicted to take 510 s" in too_slow[0]
    [old] = rto_lines(asked, predict_rto(None, 1, 1), 5, 5 + 3 * 86400 * 1_000_000)
    assert "3 d ago" in old[0]
    assert rto_lines(asked, predict_rto(None, 1, 1), 5, 10) == []


# --- over HTTP


async def test_a_group_whose_remote_copy_proves_nothing_is_not_ready_and_says_why(world: World) -> None:
    await world.protect()
    await world.until(lambda: world.office.sessions.beat(world.office.store.all()[0].group.id, C).seq > 0)
    world.held_beats[C] = 1
    await world.until(
        lambda: world.office.sessions.beat(world.office.store.all()[0].group.id, C).time_us == 1
    )
    group = await world.group()
    centers = group["centers"]
    assert isinstance(centers, dict)
    assert centers[C]["rpo_standing"] == "over"
    assert centers[C]["rpo_proved_s"] > 15
    assert group["ready"] is False
    lines = (await world.get("/v1/groups/orders/why"))["lines"]
    assert isinstance(lines, list)
    [about] = [line["what"] for line in lines if line["who"] == C]
    assert "the newest heartbeat in the copy at remote" in about


async def test_reports_are_of_one_group_or_of_all_and_of_a_sensible_time(world: World) -> None:
    await world.protect()
    [one] = as_list((await world.get("/v1/reports/availability?group=orders&since_s=60"))["reports"])
    assert one["group"] == "orders"
    account = one["account"]
    assert isinstance(account, dict)
    assert account["window_s"] == 60.0
    [one] = as_list((await world.get("/v1/reports/compliance"))["reports"])
    assert one["group"] == "orders"
    await world.get("/v1/reports/compliance?since_s=0", 400)
    await world.get("/v1/reports/compliance?since_s=x", 400)
    await world.get("/v1/reports/availability?group=nobody", 404)


def as_list(value: object) -> list[dict[str, object]]:
    assert isinstance(value, list)
    return value


# --- the file


def test_a_damaged_history_is_put_aside_and_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    path.write_bytes(b"not a database" * 1000)
    history = History(path)
    assert "begun anew" in history.trouble
    assert (tmp_path / "history.db.damaged").read_bytes().startswith(b"not a database")
    history.keep(START_US, [], [], [("g", WatchRow(1, 2, 3))])
    assert history.watches() == {"g": WatchRow(1, 2, 3)}
    history.close()


def test_a_history_of_another_version_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    History(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    history = History(path)
    assert "schema 99" in history.trouble
    history.close()


def test_what_is_old_is_forgotten_and_sums_by_hour_stay(tmp_path: Path) -> None:
    history = History(tmp_path / "history.db")
    history.keep(START_US, [("g", "c", Figures(10, 1, 2, 3.0))], [("g", Stretch(Lack.RPO, 1, 2, "c"))], [])
    history.keep(START_US + 1_000_000, [("g", "c", Figures(10, 0, 0, None))], [], [])
    later_us = START_US + (FINE_KEPT_S + 3600) * 1_000_000
    assert history.figures("g", START_US - 10_000_000, START_US) == {"c": Figures(20, 1, 2, 3.0)}
    history.prune(later_us)
    assert history.figures("g", START_US - 10_000_000, START_US) == {}
    assert history.figures("g", START_US - 3600_000_000, later_us) == {"c": Figures(20, 1, 2, 3.0)}
    assert history.stretches("g", 0, of_rpo=True) == []
    history.close()


def test_a_full_disk_costs_history_and_nothing_else(tmp_path: Path) -> None:
    history = History(tmp_path / "history.db")
    history._connection.execute("PRAGMA max_page_count = 10")
    many = [("g", Stretch(Lack.DOWN, n, n + 1, "", "x" * 1000)) for n in range(1000)]
    history.keep(START_US, [], many, [])
    assert "not kept" in history.trouble
    history.keep(START_US, [], [], [])
    assert not history.trouble
    history.close()
