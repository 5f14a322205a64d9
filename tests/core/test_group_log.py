"""The owner's counting, beside a naive model that keeps every word ever said as a list."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.core.group_log import GroupLog, apply_bound
from drsync.model.epoch import Epoch
from drsync.model.group import Durability

ME, EPOCH, OTHER = "a", Epoch(7), Epoch(6)
PEERS = ("b", "c", "d")


@dataclass
class Naive:
    """A dict of lists: what each member said in which session, and the sessions it had."""

    is_fsync: bool
    own: list[int] = field(default_factory=lambda: [0])
    synced: list[int] = field(default_factory=lambda: [0])
    sessions: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    said: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    ack_set: frozenset[str] = frozenset((ME,))
    commits: list[int] = field(default_factory=lambda: [0])

    def greet(self, center: str, session: str) -> None:
        if not self.sessions[center] or self.sessions[center][-1] != session:
            self.sessions[center].append(session)
            self.said[center].clear()

    def acknowledge(self, center: str, session: str, epoch: Epoch, at: tuple[int, int]) -> bool:
        if epoch != EPOCH or (self.sessions[center] and self.sessions[center][-1] != session):
            return False
        self.greet(center, session)
        self.said[center].append(at)
        return True

    def holds(self, center: str, seq: int, *, durably: bool) -> bool:
        if seq == 0:
            return True
        if center == ME:
            return max(self.synced if durably else self.own) >= seq
        return any(at[durably] >= seq for at in self.said[center])

    def held_by_all(self, *, durably: bool) -> int:
        seqs = range(max(self.own) + 1)
        return max(s for s in seqs if all(self.holds(c, s, durably=durably) for c in self.ack_set))

    def advance(self) -> bool:
        bound = self.held_by_all(durably=self.is_fsync)
        if bound > self.commits[-1]:
            self.commits.append(bound)
            return True
        return False


numbers = st.integers(0, 6)
centers = st.sampled_from(PEERS)
ops = st.one_of(
    st.tuples(st.just("append"), st.integers(1, 2)),
    st.tuples(st.just("sync"), st.just(0)),
    st.tuples(st.just("ack_set"), st.frozensets(st.sampled_from((ME, *PEERS)))),
    st.tuples(st.just("greet"), centers, st.integers(0, 1)),
    st.tuples(st.just("forget"), centers),
    st.tuples(
        st.just("ack"), centers, st.integers(-2, 1), st.sampled_from((EPOCH, EPOCH, OTHER)), numbers, numbers
    ),
)


@given(st.lists(ops, max_size=60), st.sampled_from(Durability))
def test_it_counts_like_the_naive_model(story: list[tuple[object, ...]], durability: Durability) -> None:
    log = GroupLog(ME, EPOCH, 0, 0, 0, durability)
    twin = Naive(durability is Durability.FSYNC)
    for op in story:
        perform(op, log, twin)
        moved = log.advance()
        assert moved == twin.advance()
        assert log.commit == twin.commits[-1] == max(twin.commits), "it never goes back"
        assert log.flush_bound() == min(log.commit, twin.held_by_all(durably=True))
        assert log.apply_bound() == min(log.commit, log.durable)
        assert log.ack_set == twin.ack_set
        if moved:
            assert log.commit == twin.held_by_all(durably=twin.is_fsync), "never beyond the ack set"
        assert not log.advance(), "once is enough"


def perform(op: tuple[object, ...], log: GroupLog, twin: Naive) -> None:
    match op:
        case ("append", int(count)):
            log.append(log.appended + count)
            twin.own.append(log.appended)
        case ("sync", _):
            log.sync(log.appended)
            twin.synced.append(log.appended)
        case ("ack_set", frozenset() as members):
            log.set_ack_set(members)
            twin.ack_set = members | {ME}
        case ("greet", str(center), int(step)):
            session = name_of(twin, center, step)
            log.greet(center, session)
            twin.greet(center, session)
        case ("forget", str(center)):
            log.forget(center)
            twin.said[center].clear()
        case ("ack", str(center), int(step), int(epoch), int(appended), int(durable)):
            session = name_of(twin, center, step)
            at = (appended, min(durable, appended))
            took = log.acknowledge(center, session, Epoch(epoch), *at)
            assert took == twin.acknowledge(center, session, Epoch(epoch), at)
        case _:
            raise AssertionError(op)


def name_of(twin: Naive, center: str, step: int) -> str:
    """A session of the center: 0 the present one, -1 the one before, 1 the next; none is ever used twice."""
    return str(max(1, len(twin.sessions[center]) + step))


def facts(log: GroupLog) -> tuple[object, ...]:
    peers = [log.peer(center) for center in PEERS]
    words = tuple((p.session, p.appended, p.durable) for p in peers)
    return (log.appended, log.durable, log.commit, log.ack_set, log.flush_bound(), words)


def running() -> GroupLog:
    """An owner at 5 with b at 4 (3 durable), waiting for b; b is in its second session."""
    log = GroupLog(ME, EPOCH, 5, 3, 2, Durability.APPEND)
    log.set_ack_set(frozenset(("b",)))
    log.greet("b", "old")
    log.greet("b", "new")
    log.acknowledge("b", "new", EPOCH, 4, 3)
    return log


def test_a_write_is_committed_when_the_slowest_of_the_ack_set_has_it() -> None:
    log = running()
    assert log.advance()
    assert (log.commit, log.flush_bound()) == (4, 3)
    log.set_ack_set(frozenset(("b", "c")))
    log.append(6)
    log.acknowledge("b", "new", EPOCH, 6, 6)
    assert not log.advance()
    log.acknowledge("c", "1", EPOCH, 6, 0)
    assert log.advance()
    assert (log.commit, log.flush_bound()) == (6, 0)


def test_fsync_waits_for_durable_where_append_does_not() -> None:
    log = GroupLog(ME, EPOCH, 5, 4, 0, Durability.FSYNC)
    log.set_ack_set(frozenset((ME, "b")))
    log.acknowledge("b", "1", EPOCH, 5, 3)
    assert log.advance()
    assert log.commit == 3


def test_an_owner_alone_waits_for_itself() -> None:
    log = GroupLog(ME, EPOCH, 0, 0, 0, Durability.APPEND)
    log.append(3)
    assert log.advance()
    assert (log.commit, log.flush_bound(), log.apply_bound()) == (3, 0, 0)
    log.sync(2)
    assert (log.flush_bound(), log.apply_bound(), log.apply_bound(1)) == (2, 2, 1)


def test_a_wider_ack_set_takes_nothing_back() -> None:
    log = running()
    log.advance()
    log.set_ack_set(frozenset(("b", "c")))
    assert not log.advance()
    assert (log.commit, log.flush_bound()) == (4, 0)


@pytest.mark.parametrize(
    "call", [lambda log: log.append(4), lambda log: log.append(5), lambda log: log.sync(6)]
)
def test_an_illegal_position_is_an_error_and_changes_nothing(call: Callable[[GroupLog], None]) -> None:
    log = running()
    before = facts(log)
    with pytest.raises(AssertionError):
        call(log)
    assert facts(log) == before


@pytest.mark.parametrize(
    ("session", "epoch"), [("new", OTHER), ("new", Epoch(8)), ("old", EPOCH), ("x", OTHER)]
)
def test_a_word_of_another_epoch_or_session_is_ignored(session: str, epoch: Epoch) -> None:
    log = running()
    before = facts(log)
    assert not log.acknowledge("b", session, epoch, 5, 5)
    assert facts(log) == before


def test_words_that_repeat_or_arrive_late_take_nothing_back() -> None:
    log = running()
    before = facts(log)
    log.sync(1)
    log.greet("b", "new")
    assert log.acknowledge("b", "new", EPOCH, 1, 1)
    assert facts(log) == before


def test_what_an_earlier_session_acknowledged_counts_no_more() -> None:
    log = running()
    log.greet("b", "third")
    assert not log.advance()
    assert log.flush_bound() == 0


def test_after_a_lost_connection_a_member_has_to_speak_again() -> None:
    log = running()
    log.forget("b")
    assert not log.advance()
    log.acknowledge("b", "new", EPOCH, 4, 4)
    assert log.advance()


def test_a_session_counts_only_after_its_greeting() -> None:
    log = running()
    assert not log.acknowledge("b", "third", EPOCH, 5, 5)
    log.greet("b", "third")
    assert log.acknowledge("b", "third", EPOCH, 5, 5)
    assert not log.acknowledge("b", "new", EPOCH, 5, 5)


@pytest.mark.parametrize(("appended", "durable", "commit"), [(1, 2, 0), (1, 0, 2)])
def test_nobody_starts_with_more_committed_or_durable_than_written(
    appended: int, durable: int, commit: int
) -> None:
    with pytest.raises(AssertionError):
        GroupLog(ME, EPOCH, appended, durable, commit, Durability.APPEND)


@pytest.mark.parametrize(
    ("commit", "durable", "limit", "bound"),
    [(5, 3, None, 3), (3, 5, None, 3), (5, 5, 2, 2), (3, 4, 9, 3), (0, 4, None, 0)],
)
def test_an_image_holds_what_is_committed_durable_and_allowed(
    commit: int, durable: int, limit: int | None, bound: int
) -> None:
    assert apply_bound(commit, durable, limit) == bound
