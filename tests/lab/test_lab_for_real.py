"""One lab with real daemons: up, up again, the whole story, down, and up with its data."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from drsync.adapters.api_client.doc import Doc
from drsync.lab.cluster import Cluster
from drsync.lab.importing import read_all
from drsync.lab.layout import CENTER_NAMES, DISK, LEDGER_BYTES, PROCESSES, PRODUCTION, Layout
from drsync.lab.status import owner_uri

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


@pytest.fixture
async def lab(root: Path) -> AsyncIterator[Cluster]:
    cluster = Cluster(Layout(root))
    yield cluster
    if cluster.layout.record.exists():
        for name in PROCESSES:
            await cluster.stop(name, is_kind=False)


async def drsync(*words: str) -> tuple[int, Doc, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "drsync.cli.main", *words, "--json",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, Doc(json.loads(out) if out else {}), err.decode()


async def content(cluster: Cluster) -> bytes:
    status = await cluster.status()
    assert status is not None
    return await read_all(owner_uri(status, DISK))


async def test_the_whole_story_on_an_image(lab: Cluster, tmp_path: Path) -> None:
    image = tmp_path / "my image.bin"
    given = os.urandom(3_000_001)
    image.write_bytes(given)
    folder = tmp_path / "my files"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "file").write_text("mine\n")
    where = ("--dir", str(lab.layout.root))
    what = ("--image", str(image), "--files", str(folder))

    code, shown, text = await drsync("lab", "up", *where, *what, "--detach", "--demo")
    assert code == 0, text
    assert shown.flag("running")
    story = shown.doc("demo")
    assert story.flag("ok"), text
    assert story.raw("lost_writes") == []
    assert 0 < story.number("failover_s") < 60
    assert 0 < story.whole("resent_bytes") < (len(given) + LEDGER_BYTES) // 2
    assert {name for name, _ in story.table("drills")} == {"same_city", "remote"}
    assert shown.doc("groups").doc("demo").text("owner") == PRODUCTION
    assert image.read_bytes() == given
    files = story.doc("files")
    assert dict(files.doc("equal").items()) == {"same_city": True, "remote": True}
    assert ".drsync-fork-" in files.texts("forks")[0]
    places = {
        name: shown.doc("centers").doc(name).doc("trees").text("demo/my-files") for name in CENTER_NAMES
    }
    assert all((Path(place) / "deep" / "file").read_text() == "mine\n" for place in places.values())
    assert [path.name for path in folder.rglob("*")] == ["deep", "file"], "what was named is only read"
    padded = given + bytes(-len(given) % 4096)
    assert await content(lab) == padded

    record = tmp_path / "incident.jsonl"
    socket = f"unix:{lab.layout.coordinator_socket}"
    code, _, text = await drsync("events", "--coordinator", socket, "--export", str(record))
    assert code == 0, text
    code, why, text = await drsync("sim", "--replay-incident", str(record))
    assert (code, why.raw("differences")) == (0, []), text
    asked = [(one.text("kind"), one.text("target")) for one in why.docs("operations")]
    moves = [pair for pair in asked if pair[0] in {"failover", "switchover"}]
    assert moves == [("failover", "same_city"), ("switchover", PRODUCTION)]

    before = lab.alive()
    code, _, text = await drsync("lab", "up", *where, "--detach")
    assert code == 0
    assert "already running" in text
    assert lab.alive() == before

    code, shown, text = await drsync("lab", "down", *where)
    assert (code, shown.whole("stopped"), shown.raw("killed")) == (0, len(PROCESSES), []), text

    image.unlink()  # a lab that was filled does not need its image any more
    code, shown, text = await drsync("lab", "up", *where, "--detach")
    assert code == 0, text
    assert shown.doc("groups").doc("demo").flag("ready"), text
    assert await content(lab) == padded
