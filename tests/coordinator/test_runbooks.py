"""Drills and changes of owner that follow a runbook: step by step, durably, and with proof."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from drsync.model.errors import TransientError
from tests.coordinator.centers import World
from tests.engine.fake_members import A, B, C, Json

TEXT = (Path(__file__).parents[2] / "runbooks" / "sqlite-service.yaml").read_text()
PARAMS: Json = {"volume": "data"}


@dataclass
class Machines:
    """What agents make for runbooks, by center and step; every request is noted."""

    world: World
    things: dict[tuple[str, str], str] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    is_stuck: bool = False

    def install(self) -> None:
        outputs = {
            "volume.mount": {"path": "/tree"}, "netns.create": {"name": "net-1"},
            "service.start": {"pid": "7"}, "service.stop": {}, "probe.command": {}, "probe.tcp": {},
        }  # fmt: skip
        answers: dict[str, object] = {key: self._maker(key, dict(named)) for key, named in outputs.items()}
        answers |= {"inventory.remove": self._remove, "inventory.clean": self._clean}
        for method, answer in answers.items():
            setattr(self.world.centers, "_on_" + method.replace(".", "_"), answer)

    def _maker(self, method: str, outputs: dict[str, str]) -> object:
        def answer(center: str, body: Json) -> Json:
            self.asked.append((center, method, str(body["item"])))
            if outputs:
                self.things[center, str(body["item"])] = str(body["scope"])
            is_good = method not in self.broken
            said = "it printed this"
            return {"ok": is_good, "detail": f"{method} said", "outputs": dict(outputs), "evidence": said}

        return answer

    def _remove(self, center: str, body: Json) -> Json:
        if self.is_stuck:
            raise TransientError("no answer")
        self.asked.append((center, "inventory.remove", str(body["item"])))
        found = self.things.pop((center, str(body["item"])), "")
        return {"removed": [found] if found else [], "left": []}

    def _clean(self, center: str, body: Json) -> Json:
        if self.is_stuck:
            return {"removed": [], "left": ["mount /tree"]}
        here = [key for key, scope in self.things.items() if key[0] == center and scope == body["scope"]]
        for key in here:
            del self.things[key]
        return {"removed": [item for _, item in here], "left": []}


@pytest.fixture
async def machines(world: World) -> Machines:
    await world.protect()
    made = Machines(world)
    made.install()
    return made


def form(text: str = TEXT, **fields: object) -> Json:
    return {"runbook": {"text": text, "name": "sqlite", "params": PARAMS}, "actor": "ops", **fields}


async def drill(world: World, body: Json) -> Json:
    ended = await world.operate("/v1/groups/orders/drill", body)
    assert ended["state"] in {"done", "failed"}, ended
    return await world.get(f"/v1/drills/{ended['id']}")


def of(report: Json, key: str) -> dict[str, object]:
    """A field of each step of the runbook."""
    book = report["runbook"]
    assert isinstance(book, dict)
    return {step["id"]: step[key] for step in book["steps"]}


async def test_a_drill_follows_its_runbook_and_leaves_nothing(world: World, machines: Machines) -> None:
    report = await drill(world, form())
    assert (report["verdict"], report["content"], report["reasons"]) == ("passed", "equal", [])
    assert machines.things == {}
    assert not any(world.centers.views.values())
    assert of(report, "evidence")["query"] == "it printed this"
    assert of(report, "counts")["compare"] is False
    made = [item for _, method, item in machines.asked if method != "inventory.remove"]
    gone = [item for _, method, item in machines.asked if method == "inventory.remove"]
    assert made.index("tree") < made.index("serve") < made.index("query")
    assert gone.index("serve") < gone.index("tree")
    cleanup = report["cleanup"]
    assert isinstance(cleanup, list)
    assert all(one["is_proved"] for one in cleanup)
    assert len(cleanup) == 3, "two views, and what the runbook made"
    page = await (await world.client.get(f"/v1/drills/{report['id']}/report.html")).text()
    assert "sqlite-service" in page
    assert "sha256:" in page
    assert "it printed this" in page


async def test_a_step_that_fails_ends_the_drill_and_everything_is_taken_back(
    world: World, machines: Machines
) -> None:
    machines.broken.add("probe.command")
    report = await drill(world, form())
    assert report["verdict"] == "failed"
    assert "Step query failed: probe.command said." in str(report["reasons"])
    assert of(report, "tries")["query"] == 3
    assert machines.things == {}


async def test_a_bug_in_one_step_fails_that_step_and_everything_is_taken_back(
    world: World, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_answer_of_this_kind(center: str, body: Json) -> Json:
        raise KeyError("seq")

    monkeypatch.setattr(world.centers, "_on_probe_command", no_answer_of_this_kind)
    report = await drill(world, form())
    assert report["verdict"] == "failed"
    assert "a bug, please report it: KeyError('seq')" in str(report["reasons"])
    assert machines.things == {}
    assert not any(world.centers.views.values())


async def test_what_cannot_be_removed_is_said_and_removed_later(world: World, machines: Machines) -> None:
    machines.is_stuck = True
    report = await drill(world, form())
    assert report["verdict"] == "failed"
    assert "Not proved to be gone: drill-" in str(report["reasons"])
    machines.is_stuck = False
    await world.until(lambda: machines.things == {})


@pytest.mark.parametrize("method", ["group_checkpoint", "view_open"])
async def test_a_view_whose_opening_was_not_answered_is_opened_again_under_another_name(
    world: World, machines: Machines, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """The first one may be open, at an older position: comparing with that would be wrong."""
    text = TEXT
    for action in ("repl.checkpoint", "repl.open"):
        text = text.replace(
            f"action: {action}\n", f"action: {action}\n      retries: 1\n      retry_wait: 1s\n"
        )
    asked: list[str] = []
    answer = getattr(world.centers, f"_on_{method}")

    def unheard_once(center: str, body: Json) -> Json:
        asked.append(str(body.get("view") or body.get("id")))
        found: Json = answer(center, body)
        if len(asked) == 1:
            raise TransientError("no answer")
        return found

    monkeypatch.setattr(world.centers, f"_on_{method}", unheard_once, raising=False)
    report = await drill(world, form(text))
    assert (report["verdict"], len(set(asked))) == ("passed", 2), report["reasons"]
    assert not any(world.centers.views.values())


@pytest.mark.parametrize("calls", [1, 2, 4])
async def test_a_drill_whose_coordinator_dies_is_taken_back(
    world: World, machines: Machines, calls: int
) -> None:
    machines.broken.add("probe.tcp")  # so that it is not over before it dies
    started = str((await world.post("/v1/groups/orders/drill", form()))["operation"])
    await world.until(lambda: len(machines.asked) >= calls)
    await world.die()
    await world.start()
    ended = await world.follow(started)
    assert ended["state"] == "failed"
    assert machines.things == {}
    await world.until(lambda: not any(world.centers.views.values()))
    report = await world.get(f"/v1/drills/{started}")
    assert "The coordinator stopped during the run." in str(report["reasons"])


@pytest.mark.parametrize("calls", [1, 2, 4])
async def test_a_failover_whose_coordinator_dies_goes_on(
    world: World, machines: Machines, calls: int
) -> None:
    world.lose(A)
    started = str((await world.post("/v1/groups/orders/failover", form(to=B, accept_loss=True)))["operation"])
    await world.until(lambda: len(machines.asked) >= calls)
    await world.die()
    await world.start()
    ended = await world.follow(started)
    result = ended["result"]
    assert isinstance(result, dict)
    assert (ended["state"], result["owner"]) == ("done", B), ended
    assert set(of(result, "state").values()) == {"done"}
    assert (B, "serve") in machines.things, "the service stays"
    again = await world.operate("/v1/groups/orders/failover", form(to=B))
    assert again["state"] == "done", "what is done is done once"
    assert not [step for step in again["steps"] if step["name"].startswith("charter.")]  # type: ignore[attr-defined]


async def test_a_switchover_stops_the_old_service_first(world: World, machines: Machines) -> None:
    ended = await world.operate("/v1/groups/orders/switchover", form(to=B))
    assert (ended["state"], world.owner()) == ("done", B)
    assert machines.asked[0] in {(A, "service.stop", "stop-old"), (B, "netns.create", "net")}
    names = [str(one["name"]) for one in ended["steps"]]  # type: ignore[attr-defined]
    assert names.index("leave-old") < names.index("charter.commit") < names.index("tree")


async def test_a_refusal_stays_a_refusal(world: World, machines: Machines) -> None:
    world.lose(A)
    ended = await world.operate("/v1/groups/orders/failover", form(to=C))
    error = ended["error"]
    assert isinstance(error, dict)
    assert (ended["state"], error["exit"]) == ("refused", 3)
    assert ended["loss"] is not None
    assert not [asked for asked in machines.asked if asked[1] == "service.start"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (TEXT.replace("volume.mount", "volume.mont"), "Did you mean volume.mount?"),
        (TEXT.replace('"{{ volume }}"', '"x{{ volume }}"'), "has no volume 'xdata'"),
        ("kind: Runbook", "apiVersion: is missing"),
    ],
)
async def test_a_wrong_runbook_is_refused_before_anything_begins(
    world: World, machines: Machines, text: str, says: str
) -> None:
    answer = await world.post("/v1/groups/orders/drill", form(text), 400)
    error = answer["error"]
    assert isinstance(error, dict)
    assert says in str(error["message"])
    assert error["exit"] == 2
    assert machines.asked == []
