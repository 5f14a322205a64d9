"""`lab up` from its first line to its last, with processes and a coordinator that only pretend."""

import asyncio
import io
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from drsync.adapters.api_client.doc import Doc, Json
from drsync.lab import images, ports, processes, session
from drsync.lab.cluster import Cluster, locked
from drsync.lab.configs import HTTP
from drsync.lab.images import Image
from drsync.lab.layout import PROCESSES, PRODUCTION, Layout
from drsync.lab.narrator import Narrator
from drsync.lab.record import Process
from drsync.model.errors import PermanentError, TransientError, UsageError
from tests.lab.conftest import start_waiting
from tests.lab.fake_world import FakeWorld


@pytest.fixture
async def world(root: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeWorld]:
    world = FakeWorld(root.parent, has_group=False)
    runner = web.AppRunner(world.application())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    chosen: dict[str, int] = {name: 20000 + n for n, name in enumerate(PROCESSES)}
    chosen[HTTP] = runner.addresses[0][1]
    monkeypatch.setattr(ports, "choose", lambda names, kept=None, held=None: dict(chosen))
    monkeypatch.setattr(Cluster, "start", start_unless_alive)
    yield world
    for name in PROCESSES:
        if Layout(root).record.exists():
            await Cluster(Layout(root)).stop(name, is_kind=False)
    await world.stop()
    await runner.cleanup()


def start_unless_alive(cluster: Cluster, name: str) -> Process:
    return cluster.alive().get(name) or start_waiting(cluster, name)


@pytest.fixture
def image(tmp_path: Path) -> Image:
    path = tmp_path / "image"
    path.write_bytes(os.urandom(3_000_000))
    return images.look_at(path)


class Person:
    """Types `lab up`, and reads."""

    def __init__(self, root: Path) -> None:
        self.cluster = Cluster(Layout(root))
        self.text = io.StringIO()
        self.shown: list[Json] = []

    async def up(self, *given: Image, detach: bool = True) -> int:
        tell = Narrator(self.text)
        return await session.up(
            self.cluster, given, None, tell, self.shown.append, detach=detach, with_demo=False
        )


@pytest.fixture
def person(root: Path) -> Person:
    return Person(root)


async def test_an_image_is_protected_and_the_lab_goes_on_without_the_command(
    world: FakeWorld, person: Person, image: Image
) -> None:
    assert await person.up(image) == 0
    assert world.disk is not None
    assert world.disk.data[: image.size] == image.path.read_bytes()
    shown = Doc(person.shown[0])
    assert shown.flag("running")
    assert shown.doc("groups").doc("demo").text("owner") == PRODUCTION
    assert "2.9 MiB written" in person.text.getvalue()
    assert person.cluster.is_running


async def test_a_second_up_says_so_and_changes_nothing(
    world: FakeWorld, person: Person, image: Image
) -> None:
    await person.up(image)
    before, asked = person.cluster.alive(), list(world.asked)
    assert await person.up() == 0
    assert "already running" in person.text.getvalue()
    assert person.cluster.alive() == before
    assert world.asked == asked
    assert len(person.shown) == 2


async def test_a_stopped_lab_starts_again_with_its_data(
    world: FakeWorld, person: Person, image: Image
) -> None:
    await person.up(image)
    await person.cluster.stop_all()
    assert world.disk is not None
    world.disk.data[:4] = b"mine"
    assert await person.up(image) == 0
    assert world.disk.data[:4] == b"mine"
    assert [kind for kind, _ in world.asked] == ["apply"]


async def test_an_import_that_broke_off_is_made_again(
    world: FakeWorld, person: Person, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def breaks(*_: object, **__: object) -> None:
        raise TransientError("connection lost")

    with monkeypatch.context() as patch:
        patch.setattr("drsync.lab.start.import_image", breaks)
        with pytest.raises(TransientError):
            await person.up(image)
    assert not person.cluster.alive()
    assert await person.up(image) == 0
    assert world.disk is not None
    assert world.disk.data[: image.size] == image.path.read_bytes()


async def test_ctrl_c_stops_everything(world: FakeWorld, person: Person, image: Image) -> None:
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(person.up(image, detach=False))
        async with asyncio.timeout(20):
            while not person.shown:
                await asyncio.sleep(0)
        assert person.cluster.is_running
        os.kill(os.getpid(), signal.SIGINT)
    assert running.result() == 0
    assert not person.cluster.alive()
    assert "stopped; the data stays" in person.text.getvalue()
    assert world.has_group


async def test_down_from_elsewhere_ends_the_command(world: FakeWorld, person: Person, image: Image) -> None:
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(person.up(image, detach=False))
        async with asyncio.timeout(20):
            while not person.shown:
                await asyncio.sleep(0)
        await Cluster(person.cluster.layout).stop_all()
    assert running.result() == 0
    assert "stopped by another command" in person.text.getvalue()
    assert world.has_group


async def test_a_process_that_dies_at_start_ends_the_command_with_its_words(
    world: FakeWorld, person: Person, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(cluster: Cluster, name: str) -> Process:
        argv = ["/bin/sh", "-c", "echo address in use; exit 1"]
        process = processes.start(argv, cluster.layout.log(name), os.environ)
        cluster.remember(lambda known: known.with_process(name, process))
        return process

    monkeypatch.setattr(Cluster, "start", dies)
    world.connected.clear()
    with pytest.raises(PermanentError, match=r"(?s)address in use"):
        await person.up(image)
    assert not person.cluster.alive()


async def test_two_commands_do_not_start_one_lab(person: Person, image: Image, layout: Layout) -> None:
    with (
        locked(layout.starting, is_patient=False),
        pytest.raises(TransientError, match="another"),
    ):
        await person.up(image)


async def test_another_image_needs_another_lab(
    world: FakeWorld, person: Person, image: Image, root: Path
) -> None:
    await person.up(image)
    other = root.parent / "other"
    other.write_bytes(b"x" * 4096)
    with pytest.raises(UsageError, match=str(image.path)):
        await person.up(images.look_at(other))
    assert person.cluster.is_running
    assert world.has_group
