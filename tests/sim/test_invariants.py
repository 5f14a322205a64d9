"""Each invariant can fail: a world that was well is doctored, and the watch says what is wrong with it."""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from drsync.core.plan import OpenGroup, Seal
from drsync.delta.batch import HEADER_BYTES
from drsync.engine.member import Member
from drsync.engine.term import OwnerTerm
from drsync.model.charter import Charter, Intent, IntentKind
from drsync.model.copy import CopyState
from drsync.model.epoch import Epoch
from drsync.model.group import Mode
from drsync.model.position import EpochRun, EpochStart, Loss, Position
from drsync.sim import character
from drsync.sim.character import Character
from drsync.sim.client import SLOT, pattern
from drsync.sim.disk import Faults
from drsync.sim.invariants import Watch
from drsync.sim.invariants.charters import Charters
from drsync.sim.invariants.limits import LINKS_MAX
from drsync.sim.invariants.space import BEYOND, common
from drsync.sim.ledger import ViolationError
from drsync.sim.world import World

OPENED_S = 3.0  # because a group that nobody disturbs serves within seconds
LOOK_S = 0.05


def calm(seed: int) -> Character:
    """A world in which nothing breaks, of a synchronous group."""
    world = World(seed, {})
    policy = replace(world.character.group.policy, mode=Mode.SYNC, lease_s=2.0, checkpoint_s=0.5)
    return replace(
        world.character,
        group=replace(world.character.group, policy=policy),
        latency_city=0.001,
        latency_far=0.01,
        jitter=0.1,
        rate_far=0.0,
        write_rate=30.0,
        slots=24,
        stall_rate=0.0,
    )


EMPTY = [bytes(2 * HEADER_BYTES)]  # a batch that says nothing, because nobody reads it


class Scene:
    """A world that serves, and who watches it."""

    def __init__(self, seed: int = 5) -> None:
        self.world = World(seed, {}, known=calm(seed))
        self.watch = Watch(self.world)
        self.world.disk_changed.append(self.watch.disk_changed)
        self.world.begin()
        self.run(OPENED_S)

    def run(self, seconds: float) -> None:
        """Let time pass, looking all the while."""
        end = self.world.timeline.now + seconds
        while self.world.timeline.now < end:
            self.world.timeline.run(self.world.timeline.now + LOOK_S)
            self.watch.look()

    def member(self, name: str) -> Member:
        return self.world.agents[name].members()[0]

    @property
    def owner(self) -> Member:
        return self.member("production")

    @property
    def term(self) -> OwnerTerm:
        term = self.owner.term
        assert term is not None
        return term

    @property
    def charter(self) -> Charter:
        charter = self.world.charter
        assert charter is not None
        return charter

    def doctor(self, *, name: str = "same_city", **durable: object) -> None:
        """Doctor what a member believes to be durable."""
        copy = self.member(name).copy
        copy.durable = replace(copy.durable, **durable)  # type: ignore[arg-type]

    def broken(self) -> str:
        """What a look finds."""
        with pytest.raises(ViolationError) as found:
            self._look_twice()
        return found.value.invariant

    def _look_twice(self) -> None:
        """What is noted is told by the next look."""
        self.watch.look()
        self.watch.look()


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    yield made
    made.world.end()


def test_a_world_that_is_well_breaks_nothing(scene: Scene) -> None:
    assert scene.charter.in_sync == {"production", "same_city"}
    scene.world.order("drill", "remote")
    scene.world.order("switchover", "same_city")
    scene.run(8)
    for name in character.NAMES:
        scene.watch.look_at_image(name)
    scene.watch.look_at_the_end()
    assert scene.charter.owner == "same_city"
    assert scene.world.ledger.acknowledged > 100
    assert scene.watch.echo.repeated > 0
    assert len(scene.watch.register.calls) > 5


# --- charters


def step(old: Charter, **changes: object) -> Charter:
    return replace(old, version=old.version + 1, **changes)  # type: ignore[arg-type]


@pytest.fixture
def charters(scene: Scene) -> Charters:
    return scene.watch.charters


def opening(old: Charter, owner: str, *, loss: Loss = Loss.NONE) -> Charter:
    start = EpochStart(Epoch(old.epoch + 1), "f" * 32, 10_000, bytes(16), loss)
    return step(
        old, epoch=start.epoch, owner=owner, in_sync=frozenset({owner}), history=(*old.history, start)
    )


def intended(old: Charter, target: str) -> Charter:
    intent = Intent("1" * 32, IntentKind.SWITCHOVER, target, old.version, "somebody", "")
    return step(old, intent=intent)


def test_an_intent_and_then_an_opening_is_right(scene: Scene, charters: Charters) -> None:
    before = intended(scene.charter, "remote")
    charters.check_step(scene.charter, before)
    charters.check_step(before, opening(before, "remote"))


@pytest.mark.parametrize(
    "make",
    [
        lambda old: replace(old, version=old.version + 2),
        lambda old: step(old, owner="remote"),
        lambda old: step(old, in_sync=frozenset({"remote"})),
        lambda old: opening(old, "remote"),
        lambda old: opening(intended(old, "same_city"), "remote"),
        lambda old: replace(opening(intended(old, "remote"), "remote"), history=()),
        lambda old: opening(intended(old, "remote"), "remote", loss=Loss.FORCED),
        lambda old: replace(opening(intended(old, "remote"), "remote"), epoch=Epoch(0)),
    ],
    ids=[
        "a version left out",
        "an owner without an epoch",
        "an owner out of sync",
        "no intent",
        "another target",
        "a history forgotten",
        "a loss that nobody accepted",
        "an epoch that sinks",
    ],
)
def test_inv_07_charters_that_do_not_follow_each_other(
    scene: Scene, charters: Charters, make: Callable[[Charter], Charter]
) -> None:
    new = make(scene.charter)
    old = scene.charter if new.intent is None else replace(intended(scene.charter, new.intent.target))
    with pytest.raises(ViolationError, match="INV-07"):
        charters.check_step(old, new)


def test_inv_07_a_store_that_goes_back_without_being_put_back(scene: Scene) -> None:
    scene.watch.charters._held = replace(scene.charter, version=scene.charter.version + 5)
    assert scene.broken() == "INV-07"


def test_inv_07_a_store_that_was_put_back_is_no_bug_but_does_not_undo_what_was_in_force(scene: Scene) -> None:
    backup = scene.world.coordinator.backup()
    scene.world.order("switchover", "same_city")
    scene.run(5)
    moved = scene.charter
    scene.world.coordinator.restart(backup)
    assert scene.charter.version < moved.version
    scene.watch.look()
    assert scene.watch.charters.newest() == moved


def test_inv_07_a_charter_that_fits_no_order(scene: Scene) -> None:
    scene.watch.look_at_the_end()
    call = next(call for call in scene.watch.register.calls if call.expected < 0 and call.version)
    call.value = "nobody wrote this"
    with pytest.raises(ViolationError, match="INV-07"):
        scene.watch.look_at_the_end()


def test_inv_02_an_epoch_that_was_opened_twice(scene: Scene) -> None:
    start = scene.charter.history[-1]
    scene.doctor(history=(*scene.charter.history[:-1], replace(start, uuid="e" * 32)))
    assert scene.broken() == "INV-02"


# --- logs


def test_inv_03_a_promise_that_is_taken_back(scene: Scene) -> None:
    scene.doctor(promised=Epoch(9))
    scene.watch.look()
    scene.doctor(promised=Epoch(1))
    assert scene.broken() == "INV-03"


def test_inv_03_a_record_below_a_promise(scene: Scene) -> None:
    scene.doctor(promised=Epoch(9))
    scene.watch.look()
    scene.watch.logs._seen["same_city"].tip_seq = 0
    assert scene.broken() == "INV-03"


def test_inv_04_the_same_record_with_another_chain(scene: Scene) -> None:
    tip = scene.owner.copy.journal.tip
    scene.watch.logs._chains[tip.epoch, tip.seq] = (b"x" * 16, "remote")
    scene.watch.logs._seen["production"].compared = 0
    assert scene.broken() == "INV-04"


def test_inv_04_an_earlier_record_with_another_chain(scene: Scene) -> None:
    journal = scene.owner.copy.journal
    first = next(iter(journal.places(0)))
    end = journal.position_at(first.last_seq)
    assert end is not None
    assert end != journal.tip
    scene.watch.logs._chains[end.epoch, end.seq] = (b"x" * 16, "remote")
    scene.watch.logs._seen["production"].compared = 0
    assert scene.broken() == "INV-04"


def test_inv_04_logs_that_are_stored_otherwise(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = scene.owner.copy, scene.member("remote").copy
    scene.watch.logs.compare(one, other)
    position_at = other.journal.position_at

    def wrong(seq: int) -> Position | None:
        found = position_at(seq)
        return found and Position(found.epoch, found.seq, b"x" * 16)

    monkeypatch.setattr(other.journal, "position_at", wrong)
    with pytest.raises(ViolationError, match="INV-04"):
        scene.watch.logs.compare(one, other)


def test_inv_08_a_copy_that_is_ahead_of_its_owner(scene: Scene) -> None:
    journal = scene.member("remote").copy.journal
    tip = journal.tip
    journal.append(EMPTY, tip.seq + 1, Position(tip.epoch, tip.seq + 100, b"x" * 16))
    assert scene.broken() == "INV-08"


def test_inv_10_a_cut_of_what_somebody_relies_on(scene: Scene) -> None:
    copy = scene.member("remote").copy
    last = copy.journal.tip.seq
    scene.watch.logs.before_cut("remote", copy, last)
    scene.watch.look()
    scene.watch.logs.before_cut("remote", copy, 3)
    assert scene.broken() == "INV-10"


def test_inv_10_a_log_that_is_shorter_after_a_kill(scene: Scene) -> None:
    journal = scene.member("remote").copy.journal
    journal.append(EMPTY, journal.tip.seq + 1, Position(Epoch(1), journal.tip.seq + 1, b"x" * 16))
    scene.world.agents["remote"].kill()
    scene.world.agents["remote"].start()
    scene.world.timeline.run(scene.world.timeline.now + 2)
    assert scene.broken() == "INV-10"


# --- bounds


def test_inv_05_an_image_ahead_of_what_is_durable(scene: Scene) -> None:
    volumes = scene.owner.copy.volumes
    volumes.reached = scene.owner.copy.journal.tip.seq + 1
    assert scene.broken() == "INV-05"


def test_inv_05_a_commit_that_a_member_in_sync_lacks(scene: Scene) -> None:
    copy = scene.owner.copy
    copy.journal.append(
        EMPTY, copy.journal.tip.seq + 1, Position(Epoch(1), copy.journal.tip.seq + 9, b"x" * 16)
    )
    scene.term.engine.log.appended = scene.term.engine.log.commit = copy.journal.tip.seq
    assert scene.broken() == "INV-05"


@pytest.mark.parametrize("is_durable", [False, True])
def test_inv_05_an_answer_before_the_whole_set_has_it(scene: Scene, *, is_durable: bool) -> None:
    export = scene.world.application.exports[0]
    held = scene.watch.holdings
    for name in ("production", "same_city"):
        assert held.ever(name) > 0
    least = min(held.durable("same_city"), held.durable("production"))
    scene.watch.bounds.at_answer(export, least, is_durable)
    scene.watch.look()
    most = max(held.ever("same_city"), held.ever("production"))
    scene.watch.bounds.at_answer(export, most + 1, is_durable)
    assert scene.broken() == "INV-05"


def test_inv_05_an_answer_by_what_a_power_cut_took_before_the_member_was_met_again(scene: Scene) -> None:
    """Until then the owner has counted it in good faith."""
    held, tip = scene.watch.holdings, scene.member("same_city").copy.journal.tip.seq
    known = held.of("same_city")
    known.ever, known.is_cut_short = tip + 5, False
    assert held.ever("same_city") == tip + 5
    known.is_cut_short = True
    assert held.ever("same_city") == tip


def test_inv_06_a_dead_member_in_sync_that_lacks_what_somebody_relies_on(scene: Scene) -> None:
    scene.world.agents["same_city"].kill()
    scene.watch.look()
    newest = scene.world.ledger.last_promised()
    assert newest is not None
    newest.seq = scene.owner.copy.journal.tip.seq + 5
    scene.world.ledger.epochs[newest.epoch].promised.append(newest.seq)
    assert scene.broken() == "INV-06"


def test_inv_14_two_who_hold_a_lease(scene: Scene) -> None:
    other = scene.member("same_city")
    other.term = scene.owner.term
    scene.term.engine.lease_until = 1e12
    assert scene.broken() == "INV-14"


# --- space, views, images


def test_inv_13_a_record_dropped_that_another_lacks(scene: Scene) -> None:
    scene.world.agents["remote"].kill()
    scene.run(1)
    behind = scene.watch.holdings.durable("remote")
    scene.watch.space.before_trim("production", scene.owner.copy, behind)
    scene.watch.look()
    scene.watch.space.before_trim("production", scene.owner.copy, behind + 1)
    assert scene.broken() == "INV-13"


def test_inv_13_an_image_beyond_a_view(scene: Scene) -> None:
    member = scene.member("remote")
    view = member.views.hold("v" * 32, member.copy.journal.batch_end_at_or_below(member.copy.commit).seq)
    scene.watch.look()
    view.seq = member.copy.volumes.reached - 1
    assert scene.broken() == "INV-13"


def test_inv_12_a_member_that_was_never_damaged_and_cannot_be_brought_forward(scene: Scene) -> None:
    scene.term.plans["remote"] = f"remote needs blocks that the journal {BEYOND}"
    assert scene.broken() == "INV-12"


def test_inv_12_a_journal_that_took_more_than_its_quota_may_give_up_a_member(scene: Scene) -> None:
    copy = scene.owner.copy
    policy = replace(copy.spec.policy, journal_quota_bytes=0)
    copy.spec = replace(copy.spec, policy=policy)
    scene.watch.space.before_trim("production", copy, 1)
    scene.term.plans["remote"] = f"remote needs blocks that the journal {BEYOND}"
    scene.watch.look()


def test_what_two_logs_have_in_common() -> None:
    runs = (EpochRun(Epoch(1), 1, 10, b""), EpochRun(Epoch(2), 11, 20, b""))
    history = (EpochStart(Epoch(1), "a", 0, b""), EpochStart(Epoch(2), "b", 10, b""))
    forked = (history[0], EpochStart(Epoch(3), "c", 7, b""))
    assert common(runs, history) == 20
    assert common(runs, forked) == 7
    assert common((), history) == 0


def test_inv_09_an_image_that_holds_something_else(scene: Scene) -> None:
    scene.run(4)
    copy = scene.owner.copy
    assert copy.volumes.applied
    scene.watch.look_at_image("production")
    copy.volumes.views[0].image.write(3 * SLOT, [pattern(123_456)])
    with pytest.raises(ViolationError, match="INV-09"):
        scene.watch.look_at_image("production")


def test_inv_09_says_nothing_of_a_disk_that_lies_until_it_is_replaced(scene: Scene) -> None:
    disk = scene.world.hosts["production"].disk
    disk.faults = Faults(random.Random(1), flipped_read=1e-9)
    scene.watch.look()
    disk.faults = None
    scene.owner.copy.volumes.views[0].image.write(3 * SLOT, [pattern(123_456)])
    scene.watch.look_at_image("production")
    scene.watch.images.forget("production")
    with pytest.raises(ViolationError, match="INV-09"):
        scene.watch.look_at_image("production")


def drilled(scene: Scene) -> str:
    """Have a drill run until its view is served; at which center."""
    scene.world.order("drill", "remote")
    front = scene.world.agents["remote"].front
    assert front is not None
    for _ in range(400):
        scene.world.timeline.run(scene.world.timeline.now + 0.01)
        if front.doors:
            return "remote"
    raise AssertionError("no view was served")


def test_inv_16_a_view_that_holds_something_else(scene: Scene) -> None:
    name = drilled(scene)
    scene.watch.images.look_at_views(name)
    view = scene.member(name).views.find(scene.member(name).views.ids()[0])
    assert view is not None
    view.seq = 0  # as if it were of another position
    with pytest.raises(ViolationError, match="INV-16"):
        scene.watch.images.look_at_views(name)


# --- limits, age, echo


def test_inv_22_too_many_links(scene: Scene) -> None:
    network, process = scene.world.network, scene.world.agents["remote"].process
    link = scene.world.network.open_links()[0]
    assert process is not None
    for _ in range(LINKS_MAX + 1):
        network.pair(process, "remote", process, "production", link.kind)
    with pytest.raises(ViolationError, match="INV-22"):
        scene.watch.limits.look()


def test_inv_22_a_queue_without_bounds(scene: Scene) -> None:
    link = next(link for link in scene.world.network.open_links() if link.me == "production")
    scene.world.network.cut(link.me, link.peer)
    link.write(bytes(2 << 20))
    with pytest.raises(ViolationError, match="INV-22"):
        scene.watch.limits.look()


def test_inv_22_tasks_that_are_never_given_back(scene: Scene) -> None:
    process = scene.world.agents["production"].process
    assert process is not None
    scene.watch.limits.remember()
    scene.watch.limits.look_for_leaks()

    async def wait() -> None:
        await process.create_future()

    for _ in range(200):
        process.spawn(wait())
    with pytest.raises(ViolationError, match="INV-22"):
        scene.watch.limits.look_for_leaks()


def test_inv_23_an_age_that_is_told_too_small(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.world.agents["remote"].kill()
    scene.run(3)
    scene.watch.age.look(scene.charter)
    assert scene.watch.age.true_s("remote", scene.charter) > 1
    monkeypatch.setattr(scene.watch.age, "published", lambda: {"remote": 0.5})
    with pytest.raises(ViolationError, match="INV-23"):
        scene.watch.age.look(scene.charter)


def test_inv_17_a_request_that_has_an_effect_when_it_is_repeated(scene: Scene) -> None:
    member = scene.member("remote")
    echo = scene.watch.echo
    echo.performed(Seal("remote", scene.charter.epoch))
    echo.performed(OpenGroup("remote", scene.charter))
    for _ in range(10):
        echo.repeat()
    scene.run(1)
    echo._done.clear()
    echo._done.append((member, Seal("remote", Epoch(77))))  # was never asked for, so it has an effect
    echo.repeat()
    scene.world.timeline.run(scene.world.timeline.now + 1)
    assert scene.broken() == "INV-17"


def test_a_bug_in_the_code_is_a_violation(scene: Scene) -> None:
    scene.world.agents["remote"].bugs.append(ValueError("foreseen by nobody"))
    assert scene.broken() == "BUG"


def test_a_failed_copy_is_not_looked_at(scene: Scene) -> None:
    scene.member("remote").copy.state = CopyState.FAILED
    scene.doctor(name="remote", promised=Epoch(0))
    scene.watch.look()
