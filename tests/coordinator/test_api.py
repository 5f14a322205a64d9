"""The HTTP interface says no clearly, lets nobody in without a word, and shows a page."""

from base64 import b64encode

import pytest

from tests.coordinator.centers import DOCUMENT, World
from tests.engine.fake_members import A, B, C, Json


def error_of(body: Json) -> Json:
    error = body["error"]
    assert isinstance(error, dict)
    return error


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/groups/order", "unknown_group"),
        ("/v1/groups/order/why", "unknown_group"),
        ("/v1/operations/none", "unknown_operation"),
        ("/v1/drills/none", "unknown_drill"),
        ("/v1/drills/none/report.html", "unknown_drill"),
        ("/v2", "unknown_path"),
    ],
)
async def test_what_is_not_there_is_a_usage_error(world: World, path: str, code: str) -> None:
    await world.protect()
    error = error_of(await world.get(path, 404))
    assert (error["code"], error["exit"]) == (code, 2)


async def test_the_nearest_name_is_offered(world: World) -> None:
    await world.protect()
    assert "did you mean orders?" in str(await world.get("/v1/groups/order", 404))
    wrong = await world.post("/v1/groups/orders/switchover", {"to": "same-city"}, 404)
    assert "did you mean same_city?" in str(error_of(wrong)["message"])


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b'{"to": 5}', b'{"too": "remote"}', b'{"to": "remote", "actor": "%s"}' % (b"x" * 300)],
)
async def test_wrong_bodies_are_told_apart_from_failures(world: World, body: bytes) -> None:
    await world.protect()
    answer = await world.client.post("/v1/groups/orders/switchover", data=body)
    assert answer.status == 400
    assert error_of(await answer.json())["exit"] == 2


async def test_all_mistakes_of_a_group_come_at_once(world: World) -> None:
    wrong = {**DOCUMENT, "preferred_owner": "nobody", "objectives": {"rpoo": "1s"}}
    answer = await world.client.post("/v1/groups", json=wrong)
    text = str(await answer.json())
    assert answer.status == 400
    assert "rpoo" in text
    unknown = {**DOCUMENT, "members": [A, B, "remot"]}
    answer = await world.client.post("/v1/groups", json=unknown)
    assert "did you mean remote?" in str(await answer.json())


async def test_numbers_in_a_query_are_checked(world: World) -> None:
    await world.get("/v1/events?after=x", 400)
    await world.get("/v1/events?limit=-1", 400)
    assert "events" in await world.get("/v1/events?after=0&limit=5")


@pytest.mark.parametrize("word", ["", "Bearer wrong", "Bearer ", "Basic wrong", "Basic !!", "secret"])
async def test_over_tcp_the_token_is_needed(world: World, word: str) -> None:
    answer = await world.client.get("/v1/status", headers={"Authorization": word})
    assert answer.status == 401


async def test_a_browser_gives_the_token_as_password(world: World) -> None:
    refused = await world.client.get("/", headers={"Authorization": ""})
    assert refused.headers["WWW-Authenticate"].startswith("Basic")
    word = b64encode(b"anybody:secret").decode()
    page = await world.client.get("/", headers={"Authorization": f"Basic {word}"})
    text = await page.text()
    assert page.status == 200
    assert 'http-equiv="refresh"' in text
    assert "No groups yet" in text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]


async def test_the_page_shows_groups_and_escapes_what_agents_say(world: World) -> None:
    await world.protect()
    world.office.journal.event("odd", "<script>alert(1)</script>")
    text = await (await world.client.get("/")).text()
    assert "orders" in text
    assert "<script>" not in text


async def test_status_has_the_promised_keys(world: World) -> None:
    await world.protect()
    await world.until(lambda: bool(world.office.sessions.report(world.office.store.all()[0].group.id)))
    status = await world.get("/v1/status")
    centers, group = status["centers"], await world.group()
    assert isinstance(centers, dict)
    assert centers[A]["volumes"] == {"orders/data": "nbd+unix:///data"}
    assert {"owner", "epoch", "epoch_text", "version", "in_sync", "ready", "waiting", "intent"} <= set(group)
    copies = group["centers"]
    assert isinstance(copies, dict)
    promised = {"role", "state", "position", "lag_records", "lag_bytes", "lag_seconds", "rpo_actual_s"}
    assert promised <= set(copies[C])
    assert copies[A]["role"] == "owner"


async def test_charters_points_and_checkpoints_can_be_looked_at(world: World) -> None:
    await world.protect()
    charter = (await world.get("/v1/groups/orders/charter"))["charter"]
    assert isinstance(charter, dict)
    assert charter["owner"] == A
    history = (await world.get("/v1/groups/orders/charter/history"))["history"]
    assert isinstance(history, list)
    assert [entry["charter"]["version"] for entry in history] == list(range(1, len(history) + 1))
    points = (await world.get("/v1/groups/orders/points"))["centers"]
    assert isinstance(points, dict)
    assert set(points) == {A, B, C}
    made = await world.post("/v1/groups/orders/checkpoint", {"name": "x"}, 200)
    assert made["seq"]
    listed = (await world.get("/v1/groups"))["groups"]
    assert isinstance(listed, list)
    assert listed[0]["name"] == "orders"
