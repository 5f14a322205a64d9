"""`drsync hold`: what is asked for, and what people read."""

import json

from tests.cli.conftest import Drsync, FakeCoordinator, Json

HOLDS = "/v1/groups/orders/holds"
NOON = 1_795_000_000 * 1_000_000
HELD: Json = {
    "name": "upgrade",
    "seq": 1234,
    "time_us": NOON,
    "point": "before-upgrade",
    "reason": "ticket 4711",
    "actor": "li",
    "since_us": NOON,
    "bytes": 3 << 20,
}
ANSWER: Json = {"group": "orders", "center": "remote", "hold": HELD}


async def test_a_point_is_put_on_hold_listed_and_released(
    drsync: Drsync, coordinator: FakeCoordinator
) -> None:
    coordinator.answer("POST", HOLDS, ANSWER, 201)
    where = ("--at", "remote", "--reason", "ticket 4711", "--actor", "li")
    told = await drsync("hold", "add", "orders", "before-upgrade", "--name", "upgrade", *where)
    assert told.code == 0
    assert "Record 1,234" in told.out
    assert "drsync hold release orders upgrade --at remote" in told.out
    (_, _, body), *_ = coordinator.asked
    assert isinstance(body, dict)
    assert (body["point"], body["time_us"], body["name"], body["at"]) == (
        "before-upgrade",
        None,
        "upgrade",
        "remote",
    )
    centers: Json = {"remote": {"holds": [HELD]}, "same_city": {"holds": [], "error": "same_city is silent"}}
    coordinator.answer("GET", HOLDS, {"group": "orders", "centers": centers})
    told = await drsync("hold", "list", "orders")
    for word in ("remote", "upgrade", "1,234", "3 MiB", "same_city is silent"):
        assert word in told.out
    told = await drsync("hold", "list", "orders", "--json")
    assert json.loads(told.out)["centers"] == centers
    coordinator.answer("POST", f"{HOLDS}/upgrade/release", ANSWER)
    told = await drsync("hold", "release", "orders", "upgrade", *where)
    assert "upgrade at remote is on hold no longer" in told.out


async def test_without_a_reason_nothing_is_asked(drsync: Drsync, coordinator: FakeCoordinator) -> None:
    told = await drsync("hold", "release", "orders", "upgrade", "--at", "remote")
    assert told.code == 2
    assert "--reason" in told.err
    assert coordinator.asked == []
