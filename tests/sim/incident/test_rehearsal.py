"""What a rehearsal says would have come out is what does come out in the small world of the core."""

from dataclasses import replace

import pytest

from drsync.core.plan import Done, Refuse
from drsync.core.procedure import Way, decide
from drsync.model.charter import IntentKind
from drsync.model.position import Loss
from drsync.sim.incident.record import Kept, Silent
from drsync.sim.incident.rehearsal import rehearse
from drsync.sim.incident.what_if import alternatives
from tests.core.world import Request, World, observe, run, subsets, town

WORLDS = {
    "level": town(),
    "the mate lags": town(lengths=(5, 3, 2), commit=3),
    "the remote one has more": town(lengths=(4, 2, 4), commit=2),
    "alone in sync": town(in_sync=("a",)),
    "an unclean mate": town().restarted("b", is_clean=False),
    "never opened": town(is_new=True),
}
REQUESTS = [
    Request(kind, target, accept_loss=accepts)
    for kind in (IntentKind.SWITCHOVER, IntentKind.FAILOVER)
    for target in ("a", "b", "c")
    for accepts in (False, True)
    if kind is IntentKind.FAILOVER or not accepts
]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda one: f"{one.kind} {one.target} {one.accept_loss}")
@pytest.mark.parametrize("name", WORLDS)
def test_it_ends_as_the_procedure_does(name: str, request_: Request) -> None:
    world: World = WORLDS[name]
    for reached in subsets():
        after, end = run(world, request_, reached)
        ending = rehearse(observe(world, request_, reached))
        is_opened = len(after.opened) > len(world.opened)
        story = f"{name}: {request_} with {reached}: {end} {ending}"
        assert (ending.charter is not None) == is_opened, story
        if ending.charter is not None:
            real, told = after.charter.history[-1], ending.charter.history[-1]
            assert ending.charter.owner == after.charter.owner, story
            assert (told.epoch, told.loss, told.fork_seq) == (real.epoch, real.loss, real.fork_seq), story
        elif isinstance(end, Refuse):
            assert ending.plan == end, story
        elif isinstance(end, Done):
            assert isinstance(ending.plan, Done), story


def asked(world: World, request: Request, *reached: str) -> Kept:
    seen = observe(world, request, reached)
    silent = {
        name: Silent(is_connected=False, statement=world.words[name], heard_s=2.0)
        for name in world.words
        if name not in reached
    }
    return Kept(1, 1, 1, 1, 1, "0", Way.FORWARD, seen, decide(Way.FORWARD, seen), silent)


def outcomes(kept: Kept) -> dict[tuple[str, str], tuple[str, str]]:
    found = {}
    for one in alternatives(kept):
        ending = one.ending
        assert ending is not None
        if ending.charter is not None:
            result = (ending.charter.owner, ending.charter.history[-1].loss.value)
        else:
            reasons = ending.plan.reasons if isinstance(ending.plan, Refuse) else ()
            result = ("", ", ".join(reason.code for reason in reasons))
        found[one.change.what, one.change.center] = result
    return found


def test_a_remote_center_alone_could_only_have_opened_with_a_loss() -> None:
    """Both of the first city are gone: the table says what would have helped."""
    told = outcomes(asked(town(), Request(IntentKind.FAILOVER, "c"), "c"))
    assert told["none", ""] == ("", "not_in_sync")
    assert told["answered", "b"] == ("c", "none")
    assert told["answered", "a"] == ("c", "none")
    assert told["loss_accepted", ""] == ("c", Loss.FORCED.value)
    assert told["other_target", "b"] == ("", "not_reached")


def test_a_lease_delays_and_never_changes_who_opens() -> None:
    kept = asked(town(), Request(IntentKind.FAILOVER, "b"), "b", "c")
    held, over = alternatives(kept)[0], {one.change.what: one for one in alternatives(kept)}["lease_over"]
    assert held.ending is not None
    assert over.ending is not None
    assert (held.ending.waited_s, over.ending.waited_s) == (8.0, 0.0)
    assert not over.is_other


def test_a_member_that_was_never_heard_cannot_be_imagined() -> None:
    kept = replace(asked(town(), Request(IntentKind.FAILOVER, "b"), "b", "c"), silent={})
    (one,) = [one for one in alternatives(kept) if one.change.what == "answered"]
    assert one.ending is None
