"""The shipped runbooks run for real: an overlay mounted, a service in a network of its own, nothing left."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from drsync.adapters.api_client.doc import Doc
from drsync.adapters.hooks.inventory import Inventory
from drsync.adapters.hooks.removal import remove
from drsync.lab import runbooks
from drsync.lab.layout import COORDINATOR, GROUP, PRODUCTION, REMOTE, SAME_CITY
from tests.integration import disks
from tests.integration.runbook_disks import DISK_BYTES, ROWS, SCOPES, fill, networks, traces
from tests.integration.site import MIB, Site, is_level, site
from tests.integration.test_interrupted import see_end, see_step

WHY_NOT = runbooks.why_no_mounts()
BOOKS = runbooks.programs().parent
SQLITE, BARE = str(BOOKS / "sqlite-service.yaml"), str(BOOKS / "bare-volume.yaml")
pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(120),
    pytest.mark.skipif(bool(WHY_NOT), reason=f"mounts volumes, makes networks: {WHY_NOT}"),
]


async def prepared(place: Site, home: Path) -> None:
    await place.protect(disk_bytes=DISK_BYTES, ledger_bytes=4 * MIB)
    await fill(place, home)
    SCOPES.add(f"group-{(await place.group()).text('id')}")


async def test_drills_prove_a_service_and_a_volume_and_leave_nothing(home: Path) -> None:
    async with site(home, seconds=100.0) as place:
        await prepared(place, home)
        report = await drill(place, "--runbook", SQLITE, "--param", f"rows={ROWS}")
        assert (report.text("verdict"), report.text("content")) == ("passed", "equal"), report.texts(
            "reasons"
        )
        book = report.doc("runbook")
        states = {step.text("id"): step.text("state") for step in book.docs("steps")}
        assert states == {
            "point": "undone", "open": "undone", "tree": "undone", "net": "undone", "serve": "undone",
            "query": "done", "compare": "done",
        }  # fmt: skip
        query = next(step for step in book.docs("steps") if step.text("id") == "query")
        assert f"{ROWS} entries, integrity ok" in query.text("evidence")
        assert book.text("digest").startswith("sha256:")
        assert 0 < book.number("used_s") <= book.number("budget_s")
        assert any(one.text("detail").startswith("nothing was there") for one in report.docs("cleanup"))
        assert all(one.flag("is_proved") for one in report.docs("cleanup")), report.docs("cleanup")
        assert traces(place) == []

        report = await drill(place, "--runbook", BARE)
        assert (report.text("verdict"), report.text("content")) == ("passed", "equal"), report.texts(
            "reasons"
        )
        steps = {step.text("id"): step for step in report.doc("runbook").docs("steps")}
        assert "files" in steps["check"].text("evidence")
        assert traces(place) == []

        report = await drill(place, "--runbook", SQLITE, "--param", f"rows={ROWS + 1}")
        assert report.text("verdict") == "failed"
        assert "Step query failed" in " ".join(report.texts("reasons"))
        assert f"{ROWS} entries" in str(report.doc("runbook").raw("steps")), (
            "the evidence says what was found"
        )
        assert traces(place) == []

        alien = home / "alien.yaml"
        alien.write_text(text_of(BARE).replace("e2fsck, -f, -n", "debugfs, -w"))
        report = await drill(place, "--runbook", str(alien))
        assert "'debugfs' is not allowed here" in " ".join(report.texts("reasons"))
        assert traces(place) == []


async def drill(place: Site, *argv: str) -> Doc:
    """The report of a drill at the remote center, however it ended."""
    ended = await place.cli("drill", "run", GROUP, "--json", *argv, seconds=80.0)
    report = ended.doc.doc("result").doc("report")
    assert report, ended.out + ended.err
    SCOPES.add(f"drill-{report.text('id')[:16]}")
    return report


async def test_the_service_fails_over_with_its_volume_and_comes_back(home: Path) -> None:
    async with site(home, seconds=110.0) as place:
        await prepared(place, home)
        await place.kill(PRODUCTION)
        argv = ("--runbook", SQLITE, "--param", f"rows={ROWS}", "--json")
        ended = (await place.cli("failover", GROUP, "--to", SAME_CITY, *argv, seconds=60.0)).well()
        assert ended.doc.doc("result").text("owner") == SAME_CITY
        assert await ask(place, "POST") == {"rows": ROWS + 1}

        place.start(PRODUCTION)
        await place.until("production is back", lambda s: is_level(s, SAME_CITY))
        argv = ("--runbook", SQLITE, "--param", f"rows={ROWS + 1}", "--json")
        ended = (await place.cli("failback", GROUP, *argv, seconds=60.0)).well()
        assert await ask(place, "GET") == {"rows": ROWS + 1, "integrity": "ok"}
        where = [trace for trace in traces(place) if SAME_CITY in trace]
        assert where == [], "the old center is clean"
        await place.until("same-city is back", lambda s: is_level(s, PRODUCTION))
        await clean(place, PRODUCTION)
        assert traces(place) == []


async def ask(place: Site, method: str) -> object:
    """A request to the only service that runs, inside its network."""
    [name] = networks(place)
    code = (
        "import sys,urllib.request as u;"
        "print(u.urlopen(u.Request('http://127.0.0.1:8099/rows',method=sys.argv[1],"
        "data=b'hello' if sys.argv[1]=='POST' else None),timeout=5).read().decode())"
    )
    argv = ("ip", "netns", "exec", name, sys.executable, "-I", "-c", code, method)
    found: object = json.loads(await asyncio.to_thread(disks.run, *argv))
    return found


async def clean(place: Site, center: str) -> None:
    """What a person does who wants the service away: a runbook of one step."""
    group = (await place.group()).text("id")
    folder, tag = (
        place.layout.run(center) / "hooks",
        Inventory(place.layout.state(center) / "inventory", str(place.layout.state(center))).tag_of(
            f"group-{group}"
        ),
    )
    gone = await remove(folder, tag)
    assert gone.left == ()


async def test_whoever_is_killed_a_drill_is_cleaned_up_and_a_failover_goes_on(home: Path) -> None:
    async with site(home, wired=True, seconds=115.0) as place:
        await prepared(place, home)
        place.slow_down(0.05)
        for victim, step in ((COORDINATOR, "tree"), (REMOTE, "serve")):
            operation = await begin(place, "drill", SQLITE, at=REMOTE)
            await see_step(place, operation, step, REMOTE)
            await place.kill(victim)
            assert traces(place), "there is something to clean"
            place.start(victim)
            ended = await see_end(place, operation)
            assert ended.text("state") == "failed"
            await place.until("all is gone", lambda _: traces(place) == [])
            report = await place.get(f"/v1/drills/{operation}")
            stopped = "The coordinator stopped during the run." in " ".join(report.texts("reasons"))
            assert stopped == (victim == COORDINATOR)
            await place.until("level again", lambda status: is_level(status, PRODUCTION))

        await place.kill(PRODUCTION)
        operation = await begin(place, "failover", SQLITE, to=SAME_CITY)
        for step, center in (("charter.commit", ""), ("tree", SAME_CITY)):
            await see_step(place, operation, step, center)
            await place.kill(COORDINATOR)
            place.start(COORDINATOR)
            await place.until("the coordinator is back", lambda _: True)
        ended = await see_end(place, operation)
        assert ended.text("state") == "done", dict(ended.items())
        steps = ended.doc("result").doc("runbook").docs("steps")
        assert {one.text("state") for one in steps} == {"done"}, steps
        assert await ask(place, "GET") == {"rows": ROWS, "integrity": "ok"}
        await clean(place, SAME_CITY)
        assert traces(place) == []


def text_of(book: str) -> str:
    return Path(book).read_text()


async def begin(place: Site, what: str, book: str, **fields: str) -> str:
    """Start an operation that follows a runbook; its id."""
    runbook = {"text": text_of(book), "name": "test", "params": {"rows": ROWS}}
    body: dict[str, object] = {"reason": "test", "actor": "test", "runbook": runbook, **fields}
    operation = (await place.post(f"/v1/groups/{GROUP}/{what}", body)).text("operation")
    SCOPES.add(f"drill-{operation[:16]}")
    return operation
