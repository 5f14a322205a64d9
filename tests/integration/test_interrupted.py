"""SIGKILL between two steps of a change of owner: it finishes, or says why not; nothing acknowledged is lost.

Each story plays several interruptions one after the other at one site, under an application that never stops.
Every step is interrupted in `tests/engine` and in the simulator; here are those where something is half done.
"""

import asyncio
from pathlib import Path

import pytest

from drsync.adapters.api_client.doc import Doc
from drsync.lab.layout import COORDINATOR, GROUP, PRODUCTION, REMOTE, SAME_CITY
from drsync.lab.status import group_of
from drsync.model.errors import TransientError
from drsync.model.operation import OperationState
from tests.integration.site import Site, is_level, site

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

STEP_S = 0.06  # because between two steps there must be time to kill; each way of each answer takes so long
OWNER, TARGET = "owner", "target"
MATE = {PRODUCTION: SAME_CITY, SAME_CITY: PRODUCTION}
AFTER_SWITCHOVER_STEP = [
    (COORDINATOR, ["charter.intent", "group.freeze owner", "group.seal target", "charter.commit"]),
    (OWNER, ["group.freeze owner", "group.seal target", "charter.commit"]),
    (TARGET, ["group.freeze owner", "group.seal target", "charter.commit", "group.open target"]),
]
AFTER_FAILOVER_STEP = [
    (COORDINATOR, ["group.seal target", "charter.commit"]),
    (TARGET, ["charter.commit", "group.open target"]),
    (REMOTE, ["group.seal target"]),
]


@pytest.mark.parametrize(("victim", "steps"), AFTER_SWITCHOVER_STEP)
async def test_a_switchover_is_interrupted(home: Path, victim: str, steps: list[str]) -> None:
    await play(home, "switchover", victim, steps)


@pytest.mark.parametrize(("victim", "steps"), AFTER_FAILOVER_STEP)
async def test_a_failover_is_interrupted(home: Path, victim: str, steps: list[str]) -> None:
    await play(home, "failover", victim, steps)


async def play(home: Path, kind: str, victim: str, steps: list[str]) -> None:
    async with site(home, wired=True, seconds=150.0) as place:
        await place.protect()
        place.slow_down(STEP_S)
        async with place.writing() as writer:
            for step in steps:
                await interrupt(place, kind, victim, step)
                before = writer.acknowledged
                await writer.write_since(asyncio.get_running_loop().time(), 15.0)
                assert writer.acknowledged > before
                await place.require_ledger(writer)


async def interrupt(place: Site, kind: str, victim: str, step: str) -> None:
    """Start the change of owner, kill after `step`, start again; until everybody is level somewhere."""
    owner = (await place.group()).text("owner")
    target = MATE[owner]
    centers = {OWNER: owner, TARGET: target}
    if kind == "failover":
        await place.kill(owner)
    body = {"to": target, "reason": f"kill {victim} after {step}", "actor": "test"}
    operation = (await place.post(f"/v1/groups/{GROUP}/{kind}", dict(body))).text("operation")
    name, _, role = step.partition(" ")
    await see_step(place, operation, name, centers.get(role, role))
    killed = centers.get(victim, victim)
    await place.kill(killed)
    place.start(killed)
    if kind == "failover":
        await see_end(place, operation)
        place.start(owner)
    status = await place.until(
        f"level again after {kind} with {victim} killed after {step}",
        lambda s: any(is_level(s, center) for center in (owner, target)),
        45.0,
    )
    require_explained(await see_end(place, operation), group_of(status).text("owner"), target)


async def see_step(place: Site, operation: str, name: str, center: str) -> None:
    """Return as soon as the step has ended."""
    seen = 0
    async with place.cluster.api() as api, asyncio.timeout(20.0):
        while True:
            found = await api.get(f"/v1/operations/{operation}", {"after": seen}, wait_s=5.0)
            for step in found.docs("steps"):
                seen = max(seen, step.whole("n"))
                if (step.text("name"), step.text("center")) == (name, center):
                    return
            state = found.text("state")
            assert state == OperationState.RUNNING, f"{state} without the step {name} {center}"


async def see_end(place: Site, operation: str) -> Doc:
    """The operation, as soon as it has ended; the coordinator may be away for a while."""
    async with asyncio.timeout(30.0):
        while True:
            try:
                found = await place.get(f"/v1/operations/{operation}")
            except TransientError:
                found = Doc({"state": OperationState.RUNNING.value})
            if found.text("state") != OperationState.RUNNING:
                return found
            await asyncio.sleep(0.05)


def require_explained(ended: Doc, owner: str, target: str) -> None:
    """It was done and the target owns the group, or it says why not."""
    if ended.text("state") == OperationState.DONE:
        assert owner == target, f"done, but {owner} owns the group"
    else:
        assert ended.doc("error").text("message"), f"{ended.text('state')} without a reason"
