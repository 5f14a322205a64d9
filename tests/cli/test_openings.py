"""`drsync open`, `close`, `pins`, `fork`: what is asked for, and what people read."""

import json
import time

import pytest

from tests.cli.conftest import Drsync, FakeCoordinator, Json

OPENINGS = "/v1/groups/orders/openings"
SECOND = 1_000_000
NOON = 1_795_000_000 * SECOND


def opened(**more: object) -> Json:
    return {
        "group": "orders",
        "id": "open-0123456789",
        "name": "point-1234",
        "center": "remote",
        "seq": 1234,
        "time_us": NOON,
        "point": "",
        "is_point": True,
        "is_app_consistent": False,
        "fork": "",
        "quota_bytes": 0,
        "until_us": NOON + 3600 * SECOND,
        "volumes": {"ledger": "nbd+unix:///ledger.at-1234?socket=/run/x.sock"},
        "asked_us": 0,
        "next_us": 0,
        "left_out": [],
        "proof": None,
        **more,
    }


async def test_a_point_is_asked_for_and_told_with_how_to_end_it(
    drsync: Drsync, coordinator: FakeCoordinator
) -> None:
    later: Json = {"asked_us": NOON + 3 * SECOND, "next_us": NOON + 5 * SECOND}
    later["nearest_proved"] = {"seq": 1200, "time_us": NOON - SECOND, "outcome": "proved"}
    coordinator.answer("POST", OPENINGS, opened(**later), 201)
    before = time.time_ns() // 1000
    told = await drsync("open", "orders", "--at", "remote", "--point", "-10m", "--actor", "li", "--for", "4h")
    assert told.code == 0
    assert "point-1234 of orders is open at remote, read-only" in told.out
    assert "between two points: this is the one 3 s before, the next is 2 s after" in told.out
    assert "nbd+unix:///ledger.at-1234?socket=/run/x.sock" in told.out
    assert "nobody has opened and checked this point there" in told.out
    assert "Proved near it: record 1200 of" in told.out
    assert "drsync close orders point-1234 --at remote" in told.out
    (_, _, body), *_ = coordinator.asked
    assert isinstance(body, dict)
    assert (body["at"], body["point"], body["actor"]) == ("remote", "-10m", "li")
    assert (body["quota_bytes"], body["lifetime_s"]) == (0, 4 * 3600.0)
    assert 0 <= body["time_us"] - (before - 600 * SECOND) < 60 * SECOND


async def test_writes_are_asked_for_by_name_with_a_bound(
    drsync: Drsync, coordinator: FakeCoordinator
) -> None:
    proof = {"outcome": "proved", "by": "drill", "text": "drill abababababab: passed", "at_us": NOON}
    answer = opened(quota_bytes=20 << 30, point="before-upgrade", is_app_consistent=True, proof=proof)
    coordinator.answer("POST", OPENINGS, answer | {"left_out": ["docs"]}, 201)
    told = await drsync(
        "open", "orders", "--at", "remote", "--point", "before-upgrade", "--rw", "--quota", "20GiB"
    )
    assert "writable up to 20 GiB of its own" in told.out
    assert "named before-upgrade; consistent for the application" in told.out
    assert "proved by drill at" in told.out
    assert "drill abababababab: passed" in told.out
    assert "file sets (docs)" in told.out
    (_, _, body), *_ = coordinator.asked
    assert isinstance(body, dict)
    assert (body["quota_bytes"], body["time_us"]) == (20 << 30, None)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("open",), "GROUP is missing"),
        (("open", "orders"), "--at CENTER is missing"),
        (("open", "orders", "--at", "remote", "--point", "25:00"), "is no time"),
        (("open", "orders", "--at", "remote", "--quota", "1GiB"), "--quota is about writes"),
        (("open", "orders", "--at", "remote", "--rw", "--quota", "much"), "is no size"),
        (("open", "orders", "--at", "remote", "--rw", "--quota", "0"), "nothing could be written"),
        (("open", "orders", "--at", "remote", "--for", "1y"), "--for"),
        (("open", "orders", "--at", "remote", "--for", "31d"), "a forgotten opening fills a disk"),
    ],
)
async def test_mistakes_are_told_before_anything_is_asked(
    drsync: Drsync, coordinator: FakeCoordinator, words: tuple[str, ...], said: str
) -> None:
    told = await drsync(*words)
    assert told.code == 2
    assert said in told.err
    assert coordinator.asked == []


async def test_a_refusal_of_the_center_is_passed_on(drsync: Drsync, coordinator: FakeCoordinator) -> None:
    coordinator.refuse(
        "POST", OPENINGS, 3, "remote: that is before the oldest recovery point", "drsync points"
    )
    told = await drsync("open", "orders", "--at", "remote", "--point", "-10d", "--json")
    assert told.code == 3
    assert json.loads(told.err)["error"]["remedy"] == "drsync points"


async def test_what_is_open_is_listed_and_closed(drsync: Drsync, coordinator: FakeCoordinator) -> None:
    listed: Json = {"openings": [opened(actor="li")], "openings_ended": []}
    coordinator.answer("GET", "/v1/status", {"groups": {"orders": listed}})
    told = await drsync("open", "--list")
    assert "point-1234" in told.out
    assert "orders point-1234 ledger: nbd+unix:///ledger.at-1234" in told.out
    as_json = await drsync("open", "--list", "--json")
    assert json.loads(as_json.out)["groups"]["orders"]["openings"][0]["seq"] == 1234

    coordinator.answer("POST", f"{OPENINGS}/point-1234/close", opened())
    told = await drsync("close", "orders", "point-1234", "--reason", "copied")
    assert "point-1234 of orders at remote is closed." in told.out
    assert coordinator.asked[-1][2] is not None


async def test_nothing_open_says_so(drsync: Drsync, coordinator: FakeCoordinator) -> None:
    coordinator.answer("GET", OPENINGS, {"group": "orders", "openings": [], "openings_ended": []})
    assert "Nothing is open." in (await drsync("open", "orders", "--list")).out


async def test_pins_say_who_holds_how_much_and_what_helps(
    drsync: Drsync, coordinator: FakeCoordinator
) -> None:
    coordinator.answer("GET", "/v1/status", {"groups": {"orders": {}}})
    pin: Json = {
        "kind": "opening",
        "name": "audit",
        "seq": 77,
        "bytes": 3 << 30,
        "text": "images stay",
        "since_us": NOON,
        "until_us": NOON + SECOND,
    }
    centers: Json = {"remote": {"pins": [pin]}, "same_city": {"pins": [], "error": "same_city is silent"}}
    coordinator.answer("GET", "/v1/groups/orders/pins", {"group": "orders", "centers": centers})
    told = await drsync("pins")
    words = " ".join(told.out.split())
    assert "opening audit" in words
    assert "3 GiB" in words
    assert "same_city is silent" in words
    assert json.loads((await drsync("pins", "orders", "--json")).out)["groups"]["orders"] == centers


def forks(*centers: str) -> Json:
    fork: Json = {
        "name": "fork-1-9",
        "epoch_text": "1",
        "records": 5,
        "bytes": 1 << 20,
        "why": "epoch 2 began",
        "first_us": NOON,
        "last_us": NOON,
        "path": "/x/forks/fork-1-9",
        "why_not": "",
    }
    late = fork | {"why_not": "the images here hold records up to 20"}
    found = {center: {"forks": [fork if center == "production" else late]} for center in centers}
    return {"group": "orders", "centers": found}


async def test_forks_are_listed_with_what_can_still_be_done(
    drsync: Drsync, coordinator: FakeCoordinator
) -> None:
    coordinator.answer("GET", "/v1/groups/orders/forks", forks("production", "remote"))
    told = await drsync("fork", "list", "orders")
    assert "fork-1-9 at remote: the images here hold" in told.out
    assert "drsync journal show --records /x/forks/fork-1-9" in told.out
    coordinator.answer("GET", "/v1/groups/orders/forks", {"group": "orders", "centers": {}})
    assert "Nothing of orders was put aside." in (await drsync("fork", "list", "orders")).out


async def test_a_fork_is_opened_where_it_is(drsync: Drsync, coordinator: FakeCoordinator) -> None:
    coordinator.answer("GET", "/v1/groups/orders/forks", forks("production"))
    coordinator.answer("POST", OPENINGS, opened(fork="fork-1-9", center="production", is_point=False), 201)
    told = await drsync("fork", "open", "orders", "fork-1-9")
    assert "fork fork-1-9, up to record 1,234" in told.out
    body = coordinator.asked[-1][2]
    assert isinstance(body, dict)
    assert (body["at"], body["fork"]) == ("production", "fork-1-9")


async def test_a_fork_goes_only_on_purpose(drsync: Drsync, coordinator: FakeCoordinator) -> None:
    path = "/v1/groups/orders/forks/fork-1-9/discard"
    coordinator.answer("GET", "/v1/groups/orders/forks", forks("production", "remote"))
    coordinator.answer("POST", path, {"group": "orders", "center": "remote"})
    named = ("fork", "discard", "orders", "fork-1-9")
    assert "goes with a reason" in (await drsync(*named, "--yes")).err
    unsure = await drsync(*named, "--reason", "seen", "--at", "remote")
    assert (unsure.code, "removed for good" in unsure.err) == (3, True)
    twice = await drsync(*named, "--reason", "seen", "--yes")
    assert (twice.code, "at production and remote" in twice.err) == (2, True)
    other = await drsync("fork", "discard", "orders", "fork-2", "--reason", "seen", "--yes")
    assert "there are: fork-1-9" in other.err
    assert not [method for method, _, _ in coordinator.asked if method == "POST"]
    told = await drsync(*named, "--reason", "seen", "--yes", "--at", "remote")
    assert "Fork fork-1-9 at remote is gone." in told.out


async def test_the_status_tells_what_is_open_and_what_was_given_up(
    drsync: Drsync, coordinator: FakeCoordinator
) -> None:
    gone = opened(name="audit", why="given_up", text="too much was written", ended_us=NOON)
    group: Json = {"owner": "production", "openings": [opened()], "openings_ended": [gone]}
    coordinator.answer("GET", "/v1/status", {"coordinator": {}, "groups": {"orders": group}})
    words = " ".join((await drsync("status")).out.split())
    assert "orders: point-1234 is open at remote until" in words
    assert "orders: opening audit at remote, record 1,234: given up at" in words
    assert "too much was written" in words


async def test_names_with_signs_arrive_as_they_are(drsync: Drsync, coordinator: FakeCoordinator) -> None:
    await drsync("close", "orders", "fork-1.0-8:a b%41")
    assert coordinator.asked[0][1] == f"{OPENINGS}/fork-1.0-8:a b%41/close"
