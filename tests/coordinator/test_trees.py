"""Trees in the status: their age never looks better than it is, and every stop says why and what helps."""

from dataclasses import dataclass, field, replace

import pytest

from drsync.coordinator.forms import OwnerReport
from drsync.coordinator.sessions import AgentSession, SessionTable
from drsync.coordinator.trees import Trees, about, worst
from drsync.core.objectives import Proof
from drsync.model.charter import Charter
from drsync.model.copy import CopyState, Statement
from drsync.model.epoch import Epoch
from drsync.model.errors import RefusedError, UsageError
from drsync.model.fileset import FileSetSpec, FileSetWord, Generation
from tests.coordinator.test_objectives import FakeClock
from tests.coordinator.test_sessions import Scripted
from tests.engine.fake_members import A, B, C, Json, spec

E = Epoch(1)
WWW = FileSetSpec("f1", "www", 1, ((A, "/srv/www"),))
GROUP = replace(spec(), filesets=(WWW,))
CHARTER = Charter(GROUP, 1, 0, A, "s", E, frozenset((A, B)), (), None)
HOLD = "everything in the tree is gone If this is meant: drsync files approve GROUP/SET --reason TEXT."
OWN: Json = {"generation": 7, "entries": 3, "bytes": 9, "scan_s": 0.1, "looked_s": 0.5}
PEERS: Json = {B: {"held": 7, "lag_s": 0.0}, C: {"held": 5, "lag_s": 4.0, "sent_bytes": 100}}


@dataclass
class Desk:
    clock: FakeClock = field(default_factory=FakeClock)
    sessions: SessionTable = field(default_factory=SessionTable)

    def __post_init__(self) -> None:
        self.trees = Trees(self.sessions, self.clock)
        for name in (A, B, C):
            self.sessions.enter(AgentSession(name, "s", Scripted(), "", "", 0, 0.0))
            self.hears(name)

    def hears(self, center: str, **word: object) -> None:
        state = CopyState.OWNER if center == A else CopyState.REPLICA
        held = Generation(E, 5 if center == C else 7)
        files = replace(FileSetWord("f1", held, held, held, 3, 9, root=f"/trees/{center}"), **word)  # type: ignore[arg-type]
        said = Statement(center, "s", "store", state, follow=E, promised=E, files=(files,))
        self.sessions.hear(GROUP.id, said, self.clock.now())

    def reports(self, own: Json = OWN, peers: Json = PEERS) -> None:
        told = {
            "epoch": E,
            "files": {"www": own},
            "peers": {center: {"files": {"www": word}} for center, word in peers.items()},
        }
        report = OwnerReport.model_validate(told)
        self.sessions.hear_report(GROUP.id, A, report, self.clock.now())


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_trees_age_counts_what_was_not_looked_at_and_how_long_the_owner_is_silent(desk: Desk) -> None:
    desk.reports()
    assert desk.trees.age(CHARTER, A).seconds == 0.0
    assert desk.trees.age(CHARTER, B).seconds == 0.5
    desk.clock.at += 2.0
    assert desk.trees.age(CHARTER, C).seconds == 6.5


def test_what_nobody_told_is_unknown(desk: Desk) -> None:
    assert "no owner" in desk.trees.age(CHARTER, B).reason
    desk.reports(own={**OWN, "looked_s": None})
    assert "has not looked" in desk.trees.age(CHARTER, B).reason
    desk.reports(peers={B: {"held": None}})
    assert "has not told" in desk.trees.age(CHARTER, B).reason
    assert "has not told" in desk.trees.age(CHARTER, C).reason
    assert desk.trees.age(replace(CHARTER, owner=B), C).seconds is None, "the report is of another owner"


def test_the_older_of_two_counts_and_unknown_is_older_than_all() -> None:
    assert worst(Proof(1.0), Proof(2.0)).seconds == 2.0
    assert worst(Proof(9.0), Proof(None, "why")).reason == "why"
    assert worst(Proof(None, "first"), Proof(None, "second")).reason == "first"


def test_the_status_has_each_tree_at_each_center(desk: Desk) -> None:
    desk.reports(own={**OWN, "busy": ["log"], "unseen": 1})
    own, other = desk.trees.at(CHARTER, A)["www"], desk.trees.at(CHARTER, C)["www"]
    assert isinstance(own, dict)
    assert isinstance(other, dict)
    assert (own["generation"], own["lag_s"], own["busy"], own["unseen"]) == (7, 0.0, ["log"], 1)
    assert (other["generation"], other["known"], other["lag_s"], other["rpo_s"]) == (5, 7, 4.0, 4.5)
    assert other["sent_bytes"] == 100
    assert about(CHARTER) == [{"name": "www", "id": "f1", "roots": {A: "/srv/www"}}]


def test_trees_can_be_read_where_a_center_has_them(desk: Desk) -> None:
    assert desk.trees.readable([CHARTER], B) == {f"{GROUP.name}/www": f"/trees/{B}"}
    desk.hears(C, held=Generation(E, 0))
    assert desk.trees.readable([CHARTER], C) == {}
    agent = desk.sessions.agent(B)
    assert agent is not None
    agent.line.close("gone")
    assert desk.trees.readable([CHARTER], B) == {}


def test_what_a_tree_waits_for_is_said_with_its_name(desk: Desk) -> None:
    desk.reports()
    assert desk.trees.lines(CHARTER) == []
    desk.hears(A, hold=HOLD)
    desk.hears(B, hold="the disk is full")
    desk.reports(own={**OWN, "busy": ["a", "b", "c", "d"], "unseen": 2})
    desk.clock.at += 20.0
    said = [line.what for line in desk.trees.lines(CHARTER)]
    assert f"drsync files approve {GROUP.name}/www --reason TEXT" in said[0]
    assert "4 of the files in www" in said[1]
    assert "a, b, c, …" in said[1]
    assert "2 places" in said[2]
    assert said[3] == f"www at {B} stands still: the disk is full"
    assert "24.5 s behind, the target is 15 s" in said[4]
    assert desk.trees.lines(replace(CHARTER, owner="")) == []


def test_of_centers_that_are_away_their_absence_is_said_elsewhere(desk: Desk) -> None:
    for name in (A, C):
        desk.hears(name, hold=HOLD)
        agent = desk.sessions.agent(name)
        assert agent is not None
        agent.line.close("gone")
    assert desk.trees.lines(CHARTER) == []


def test_only_what_is_held_can_be_approved_and_only_in_one_place(desk: Desk) -> None:
    with pytest.raises(UsageError, match="it has: www"):
        desk.trees.held_at(CHARTER, "mail", "")
    with pytest.raises(UsageError, match="no member"):
        desk.trees.held_at(CHARTER, "www", "moon")
    with pytest.raises(RefusedError, match="nothing to approve"):
        desk.trees.held_at(CHARTER, "www", "")
    desk.hears(A, hold="the root of the tree is missing Mount or make it.")
    with pytest.raises(RefusedError, match="Mount or make it"):
        desk.trees.held_at(CHARTER, "www", "")
    desk.hears(A, hold=HOLD)
    assert desk.trees.held_at(CHARTER, "www", "") == (WWW, A)
    desk.hears(B, hold=HOLD)
    with pytest.raises(RefusedError, match=f"{A}, {B}"):
        desk.trees.held_at(CHARTER, "f1", "")
    assert desk.trees.held_at(CHARTER, "www", B) == (WWW, B)
