"""A volume grows when everybody agreed: on record before, in one step, and asked again it is harmless."""

from dataclasses import dataclass, field, replace

import pytest

from drsync.coordinator import resizes
from drsync.model.charter import Charter, Intent, IntentKind
from drsync.model.errors import UsageError
from tests.coordinator.centers import DOCUMENT, World
from tests.engine.fake_members import A, B, C, Json

PATH = "/v1/groups/orders/volumes/data/resize"
MIB = 1 << 20


@dataclass
class Volumes:
    """What agents say of the volume: theirs grows when the charter says so, unless it is held."""

    world: World
    free: dict[str, int] = field(default_factory=dict)
    words: dict[str, Json] = field(default_factory=dict)
    old: set[str] = field(default_factory=set)
    held: set[str] = field(default_factory=set)

    def examine(self, center: str, _body: Json) -> Json:
        if center in self.old:
            raise UsageError("no request is called 'volume.examine' here", code="unknown_method")
        size = MIB if center in self.held else self.size
        told: Json = {"size": size, "record": 7 if size > MIB else 0, "committed": True, "resizes": 0}
        return {**told, "free": self.free.get(center, 1 << 40), **self.words.get(center, {})}

    @property
    def size(self) -> int:
        (charter,) = self.world.office.store.all()
        return charter.group.volumes[0].size

    async def events(self) -> list[str]:
        found = (await self.world.get("/v1/events?group=orders"))["events"]
        assert isinstance(found, list)
        return [f"{one['kind']}: {one['text']}" for one in found if one["kind"].startswith("volume")]


@pytest.fixture
async def volumes(world: World, monkeypatch: pytest.MonkeyPatch) -> Volumes:
    monkeypatch.setattr(resizes, "FOLLOW_S", 0.5)
    await world.protect()
    made = Volumes(world)
    monkeypatch.setattr(world.centers, "_on_volume_examine", made.examine, raising=False)
    return made


async def test_all_agree_and_it_grows(world: World, volumes: Volumes) -> None:
    found = await world.post(PATH, {"size": 2 * MIB, "actor": "li", "reason": "more orders"}, 200)
    assert (found["former"], found["size"], found["changed"], found["record"]) == (MIB, 2 * MIB, True, 7)
    assert found["waiting"] == []
    begun, done = await volumes.events()
    assert begun.startswith(
        "volume_resizing: data from 1048576 to 2097152 bytes, asked for by li: more orders"
    )
    assert done.startswith("volume_resized: data from 1048576")
    (charter,) = world.office.store.all()
    assert charter.group.volumes[0].first_size == MIB
    again = await world.post(PATH, {"size": 2 * MIB}, 200)
    assert (again["changed"], again["record"], len(await volumes.events())) == (False, 7, 2)
    (same,) = world.office.store.all()
    assert same.version == charter.version, "asked again it only looks"


async def test_a_dry_run_changes_nothing(world: World, volumes: Volumes) -> None:
    found = await world.post(PATH, {"size": 2 * MIB, "dry_run": True}, 200)
    assert (found["changed"], found["dry_run"], volumes.size) == (False, True, MIB)
    assert {one["center"]: one["size"] for one in found["centers"]} == dict.fromkeys((A, B, C), MIB)  # type: ignore[attr-defined]
    assert await volumes.events() == []
    volumes.free[C] = 0
    refused = await world.post(PATH, {"size": 2 * MIB, "dry_run": True}, 409)
    assert f"{C} has 0 bytes free" in str(refused)


async def test_one_that_is_away_keeps_it_from_growing_unless_a_person_says_why(
    world: World, volumes: Volumes
) -> None:
    world.lose(C)
    refused = await world.post(PATH, {"size": 2 * MIB}, 409)
    assert f"--without {C}" in str(refused)
    assert (volumes.size, await volumes.events()) == (MIB, [])
    asked: Json = {"size": 2 * MIB, "without": [C]}
    assert "says why" in str(await world.post(PATH, asked, 400))
    found = await world.post(PATH, {**asked, "reason": "site under water"}, 200)
    assert (found["changed"], found["waiting"], volumes.size) == (True, [C], 2 * MIB)
    (shown,) = [one for one in found["centers"] if one["center"] == C]  # type: ignore[attr-defined]
    assert shown["waived"]
    assert f"without {C}" in (await volumes.events())[0]
    assert "site under water" in (await volumes.events())[0]


async def test_what_no_person_can_waive(world: World, volumes: Volumes) -> None:
    volumes.old.add(C)
    waived: Json = {"size": 2 * MIB, "without": [C, A], "reason": "now"}
    assert "Upgrade every center" in str(await world.post(PATH, waived, 409))
    volumes.old.clear()
    volumes.words[A] = {"why": "resyncing", "text": "it is brought level"}
    assert "brought level" in str(await world.post(PATH, waived, 409)), "it is the owner"
    volumes.words.clear()
    shrunk = await world.post(PATH, {"size": MIB // 2}, 409)
    assert "never shrinks" in str(shrunk)
    assert "new group" in str(shrunk)
    assert volumes.size == MIB


async def test_who_does_not_follow_in_time_is_named_and_not_waited_for(
    world: World, volumes: Volumes
) -> None:
    volumes.held.add(B)
    found = await world.post(PATH, {"size": 2 * MIB}, 200)
    assert (found["changed"], found["waiting"]) == (True, [B])
    volumes.held.clear()
    assert (await world.post(PATH, {"size": 2 * MIB}, 200))["waiting"] == []


async def test_a_change_of_owner_and_a_resize_do_not_meet(world: World, volumes: Volumes) -> None:
    store = world.office.store
    (charter,) = store.all()
    intent = Intent("ab" * 16, IntentKind.SWITCHOVER, B, charter.version, "wang", "test")
    moving = replace(charter, version=charter.version + 1, intent=intent)

    await store.compare_and_set(charter.version, moving)
    refused = await world.post(PATH, {"size": 2 * MIB}, 409)
    assert "changing its owner" in str(refused)
    assert volumes.size == MIB


async def test_a_charter_that_changes_just_then_is_judged_again(
    world: World, volumes: Volumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a member joins the in-sync set."""
    groups, store = world.office.resizes._groups, world.office.store
    swap, others = groups.swap, [frozenset((A,)), frozenset((A, B))]

    async def late(expected_version: int, wanted: Charter) -> Charter:
        if others:
            (now,) = store.all()
            await store.compare_and_set(
                now.version, replace(now, version=now.version + 1, in_sync=others.pop())
            )
        return await swap(expected_version, wanted)

    monkeypatch.setattr(groups, "swap", late)
    found = await world.post(PATH, {"size": 2 * MIB}, 200)
    assert (found["changed"], volumes.size, others) == (True, 2 * MIB, [])


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/v1/groups/orders/volumes/dat/resize", {"size": 2 * MIB}, 404, "did you mean data"),
        ("/v1/groups/order/volumes/data/resize", {"size": 2 * MIB}, 404, "did you mean orders"),
        (PATH, {"size": 2 * MIB, "without": ["remot"], "reason": "x"}, 404, "did you mean"),
        (PATH, {"size": 2 * MIB + 1}, 400, "multiple of 4096"),
        (PATH, {"size": 0}, 400, "size"),
        (PATH, {}, 400, "size"),
        (PATH, {"size": 2 * MIB, "withot": []}, 400, "withot"),
    ],
)
async def test_mistakes_are_told(
    world: World, volumes: Volumes, path: str, body: Json, status: int, said: str
) -> None:
    assert said in str(await world.post(path, body, status))
    assert volumes.size == MIB


async def test_the_file_of_a_group_never_resizes_by_itself(world: World, volumes: Volumes) -> None:
    await world.post(PATH, {"size": 2 * MIB}, 200)
    refused = await world.post("/v1/groups", DOCUMENT, 409)
    assert "orders/data has 2097152 bytes, the file says 1048576" in str(refused)
    assert "drsync volume resize" in str(refused)
    document = {**DOCUMENT, "volumes": [{"name": "data", "size": "2 MiB"}]}
    await world.post("/v1/groups", document, 200)
