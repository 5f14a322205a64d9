"""The procedures whose boundaries are tried: how each comes about, and when it is over."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from drsync.model.group import Failover, GroupPolicy
from drsync.model.operation import OperationState
from drsync.sim.boundaries.town import POLICY, Town

PRODUCTION, SAME_CITY, REMOTE = "production", "same_city", "remote"
SERVED_S = 20.0  # because a group that nobody disturbs serves within seconds
SOME_WRITES_S = 0.6  # because a log should hold something
UNHEARD_S = 0.5  # an outage that is shorter than the lease, in which a city writes what the other never gets
OUTAGE_S = 1.2  # longer than sync_timeout_s, so that the set shrinks

Does = Callable[[Town], None]
Is = Callable[[Town], bool]


@dataclass(frozen=True, slots=True)
class Procedure:
    """One procedure.

    Attributes:
        about: what it is, for people.
        prepare: everything before it; nobody dies in that.
        begin: sets it off, without time passing.
        is_over: whether it has done what it was for.
        again: what a person does when it has ended otherwise; None: people have nothing to do with it.
        policy: of the group.
        may_lose: losses may be stated without anybody's death.
    """

    about: str
    prepare: Does
    begin: Does
    is_over: Is
    again: Does | None = None
    policy: GroupPolicy = POLICY
    may_lose: bool = False


def _started(town: Town) -> None:
    town.start()
    town.run(0.4)


def _served(town: Town) -> None:
    _started(town)
    _create(town)
    _must(town, town.is_caught_up)
    town.run(SOME_WRITES_S)


def _must(town: Town, is_so: Callable[[], bool]) -> None:
    if not town.run_until(is_so, SERVED_S):
        raise AssertionError(f"the scene is not as it should be: {town.why_not_whole()}")


def _create(town: Town) -> None:
    if town.charter is None:
        town.order = town.world.coordinator.create(town.world.character.group)


def _switchover(to: str) -> Does:
    def ask(town: Town) -> None:
        town.order = town.world.coordinator.switchover("orders", to, failback=to == PRODUCTION)

    return ask


def _failover(to: str, *, accept_loss: bool = False) -> Does:
    def ask(town: Town) -> None:
        town.order = town.world.coordinator.failover("orders", to, accept_loss=accept_loss)

    return ask


def _kill(*names: str) -> Does:
    def kill(town: Town) -> None:
        for name in names:
            town.world.agents[name].kill()

    return kill


def _all(*parts: Does) -> Does:
    def do(town: Town) -> None:
        for part in parts:
            part(town)

    return do


def _serves(center: str) -> Is:
    return lambda town: town.serves(center)


def _moved(town: Town) -> None:
    _served(town)
    _switchover(SAME_CITY)(town)
    _must(town, lambda: town.serves(SAME_CITY) and town.is_caught_up())
    town.run(SOME_WRITES_S)


def _cut_off_owner(town: Town) -> None:
    town.cut_off(PRODUCTION)


def _owner_left_behind(town: Town) -> None:
    """The owner was cut off, wrote on in vain, and another one opened meanwhile."""
    _served(town)
    _cut_off_owner(town)
    town.run(UNHEARD_S)
    _failover(SAME_CITY)(town)
    _must(town, lambda: town.serves(SAME_CITY))
    town.run(SOME_WRITES_S)


def _unheard_writes(town: Town) -> None:
    """The city has acknowledged what the other one does not have, and is gone."""
    _served(town)
    town.cut_off(REMOTE, PRODUCTION, SAME_CITY)
    town.run(UNHEARD_S)
    _kill(PRODUCTION, SAME_CITY)(town)
    town.world.network.mend_all()
    town.run(0.1)


def _city_left_behind(town: Town) -> None:
    _unheard_writes(town)
    _failover(REMOTE, accept_loss=True)(town)
    _must(town, lambda: town.serves(REMOTE))
    town.run(SOME_WRITES_S)


def _outage(town: Town) -> None:
    town.cut_off(SAME_CITY)
    town.world.later(OUTAGE_S, town.world.network.mend_all)


def _has_shrunk_and_grown(town: Town) -> bool:
    history = town.world.coordinator.history(town.world.character.group.id)
    was_pair = [len(charter.in_sync) > 1 for charter in history]
    return town.is_protected() and True in was_pair and not all(was_pair[was_pair.index(True) :])


def _restarted_owner(town: Town) -> None:
    town.world.agents[PRODUCTION].restart()


def _has_reopened(town: Town) -> bool:
    return town.serves() and town.world.ledger.openings > 1


def _drill(town: Town) -> None:
    town.order = town.world.coordinator.drill("orders", REMOTE)


def _is_drilled(town: Town) -> bool:
    operation = town.operation()
    return operation is not None and operation.state is OperationState.DONE


def _new_disk(town: Town) -> None:
    town.world.replace_disk(REMOTE)


def _is_caught_up(town: Town) -> bool:
    return town.is_caught_up()


PROCEDURES: dict[str, Procedure] = {
    "opening": Procedure("the first opening of a new group", _started, _create, _serves(PRODUCTION), _create),
    "restart": Procedure(
        "the owner's agent is killed and started again", _served, _restarted_owner, _has_reopened
    ),
    "switchover": Procedure(
        "a planned move within the city",
        _served,
        _switchover(SAME_CITY),
        _serves(SAME_CITY),
        _switchover(SAME_CITY),
    ),
    "failback": Procedure(
        "the way back", _moved, _switchover(PRODUCTION), _serves(PRODUCTION), _switchover(PRODUCTION)
    ),
    "failover": Procedure(
        "a person moves the group away from an owner that is dead",
        _served,
        _all(_kill(PRODUCTION), _failover(SAME_CITY)),
        _serves(SAME_CITY),
        _failover(SAME_CITY),
    ),
    "isolated": Procedure(
        "a person moves the group away from an owner that lives and is cut off",
        _served,
        _all(_cut_off_owner, _failover(SAME_CITY)),
        _serves(SAME_CITY),
        _failover(SAME_CITY),
    ),
    "forced": Procedure(
        "the city is lost, and a person accepts the loss",
        _unheard_writes,
        _failover(REMOTE, accept_loss=True),
        _serves(REMOTE),
        _failover(REMOTE, accept_loss=True),
        may_lose=True,
    ),
    "automatic": Procedure(
        "the coordinator moves the group away from a dead owner",
        _served,
        _kill(PRODUCTION),
        _serves(SAME_CITY),
        policy=replace(POLICY, failover=Failover.AUTOMATIC),
    ),
    "tail": Procedure(
        "an old owner returns with writes that nobody was told are done",
        _owner_left_behind,
        Town.mend,
        _is_caught_up,
    ),
    "fork": Procedure(
        "an old owner returns with acknowledged writes that were given up",
        _city_left_behind,
        Town.mend,
        _is_caught_up,
        may_lose=True,
    ),
    "in_sync": Procedure(
        "a mate falls silent, is taken out of the set, and joins again",
        _served,
        _outage,
        _has_shrunk_and_grown,
    ),
    "drill": Procedure("a drill at the other city", _served, _drill, _is_drilled, _drill),
    "seeding": Procedure("a replica with a new disk is filled", _served, _new_disk, _is_caught_up),
}
"""Name -> procedure."""
