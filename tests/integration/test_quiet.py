"""A checkpoint that the application agreed to needs no recovery, and nothing ever stays frozen for it."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest

from drsync.adapters.api_client.doc import Doc, Json
from drsync.adapters.api_client.failures import FAILED
from drsync.lab.importing import export_volume
from drsync.lab.layout import DISK, GROUP, PRODUCTION, REMOTE
from drsync.model.consistency import FREEZE_S_MAX
from drsync.model.errors import UsageError
from tests.integration import disks
from tests.integration.site import MIB, POLL_S, SETTLE_S, Site, group_document, site

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(120),
    pytest.mark.skipif(bool(disks.why_not()), reason=f"freezes a file system: {disks.why_not()}"),
]

STILL_S = 1.0
DISK_BYTES, LEDGER_BYTES = 16 * MIB, 1 * MIB
CHECKPOINT = f"/v1/groups/{GROUP}/checkpoint"
NEEDS_RECOVERY = "needs_recovery"
PROGRAMS = {
    "hold": "echo held >> {home}/said",
    "go": "echo went-on >> {home}/said",
    "hang": "sleep 60",
    "gate": ": > {home}/at-gate; while [ ! -e {home}/open-gate ]; do sleep 0.02; done",
}


def permit(home: Path, *mounts: Path) -> Callable[[Site], None]:
    """What production's agent may do: the programs, and freezing these."""

    def configure(place: Site) -> None:
        folder = home / "bin"
        folder.mkdir()
        for name, text in PROGRAMS.items():
            (folder / name).write_text(f"#!/bin/sh\n{text.format(home=home)}\n")
            (folder / name).chmod(0o755)
        named = ", ".join(f'{name} = ["{name}"]' for name in PROGRAMS)
        frozen = ", ".join(f'"{mount}"' for mount in mounts)
        more = f"mounts = true\nfreeze = [{frozen}]\nprograms = {{ {named} }}"
        place.edit(PRODUCTION, "mounts = true", more)
        allowed = place.layout.config(PRODUCTION).read_text()
        at = allowed.index("allow = [", allowed.index("[hooks]"))
        place.layout.config(PRODUCTION).write_text(
            f'{allowed[:at]}allow = ["{folder}", {allowed[at:].removeprefix("allow = [")}'
        )

    return configure


async def apply(place: Site, **policy: object) -> None:
    """Change how the group's application is made quiet."""
    patient = {"max_freeze": "10s", **policy}  # because a loaded machine may take seconds to flush
    await place.post("/v1/groups", group_document(DISK_BYTES, LEDGER_BYTES, consistency=patient))


class Application:
    """Writes to a tree all the time, from a thread; nobody can ask it while it stands still."""

    def __init__(self, tree: Path) -> None:
        self._tree = tree
        self._number = 0
        self._at = time.monotonic()
        self._is_over = threading.Event()
        self._errors: list[OSError] = []
        self._thread = threading.Thread(target=self._write)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        assert not self._errors, self._errors

    def _write(self) -> None:
        try:
            while not self._is_over.is_set():
                self._number += 1
                path = self._tree / f"file-{self._number % 50}"
                with path.open("wb") as file:
                    file.write(bytes([self._number % 256]) * 3000)
                    file.flush()
                    os.fsync(file.fileno())
                self._at = time.monotonic()
        except OSError as error:
            self._errors.append(error)

    @property
    def stands_still(self) -> bool:
        """It has written nothing for longer than a disk takes."""
        return time.monotonic() - self._at > STILL_S


async def at_remote(place: Site, point: str, image: Path) -> tuple[str, Json]:
    """What the file system says of itself at that point, and the point as the remote center has it."""
    async with asyncio.timeout(SETTLE_S):
        while not (found := await _held(place, point)):
            await asyncio.sleep(POLL_S)
    openings = f"/v1/groups/{GROUP}/openings"
    opened = await place.post(openings, {"at": REMOTE, "point": point})
    await export_volume(opened.doc("volumes").text(DISK), image, lambda _bytes: None)
    await place.post(f"{openings}/{opened.text('name')}/close", {"at": REMOTE})
    assert opened.flag("is_app_consistent") is (found["app"] is True)
    return await asyncio.to_thread(disks.run, "dumpe2fs", "-h", image), found


def consistency(status: Doc) -> Doc:
    """What the status tells of application-consistent checkpoints."""
    return status.doc("groups").doc(GROUP).doc("consistency")


async def _held(place: Site, point: str) -> Json:
    held = (await place.get(f"/v1/groups/{GROUP}/points")).doc("centers").doc(REMOTE)
    return next((dict(one.items()) for one in held.docs("points") if one.text("name") == point), {})


async def test_a_point_made_in_the_quiet_needs_no_recovery_and_an_ordinary_one_does(home: Path) -> None:
    tree = home / "disk" / "tree"
    async with site(home, seconds=100, configure=permit(home, tree)) as place:
        await place.protect(DISK_BYTES, LEDGER_BYTES)
        with pytest.raises(UsageError, match="nothing makes the application of demo quiet"):
            await place.post(CHECKPOINT, {"app_consistent": True})
        steps = {"before": [{"fsfreeze": str(tree)}, {"program": "hold"}], "after": [{"program": "go"}]}
        await apply(place, **steps)
        with disks.block_device(home / "disk", await place.uri(DISK)) as device:
            await asyncio.to_thread(device.make_file_system)
            with Application(tree):
                asked = ("checkpoint", GROUP, "--app-consistent", "--json", "--name", "agreed")
                made = (await place.cli(*asked)).well().doc
                await place.post(CHECKPOINT, {"name": "ordinary"})
            assert made.flag("app")
            assert [step.text("step") for step in made.docs("steps")] == ["program hold", "program go"]
            assert (home / "said").read_text().split() == ["held", "went-on"]
            assert made.whole("freeze_ms") > 0

            words, found = await at_remote(place, "ordinary", home / "ordinary.img")
            assert found["app"] is False
            assert NEEDS_RECOVERY in words
            words, found = await at_remote(place, "agreed", home / "agreed.img")
            assert (found["app"], found["seq"]) == (True, made.whole("seq"))
            assert NEEDS_RECOVERY not in words
            checked = await asyncio.to_thread(disks.run, "e2fsck", "-fn", home / "agreed.img")
            assert "recover" not in checked

            await apply(
                place, before=[{"fsfreeze": str(tree)}, {"program": "hang"}], after=[{"program": "go"}]
            )
            ended = await place.cli("checkpoint", GROUP, "--app-consistent", "--timeout", "300ms")
            assert ended.code == FAILED
            assert "consistent as after a crash only: program hang took 0.3 s, and was killed" in ended.out
            (tree / "written").touch()  # would hang
            assert (home / "said").read_text().split()[-1] == "went-on", "also when a step before failed"

            await apply(place, before=[{"program": "unheard-of"}], on_failure="none")
            never = await place.post(CHECKPOINT, {"app_consistent": True, "name": "never"})
            assert (never.flag("app"), never.whole("seq")) == (False, 0)
            assert never.text("why") == "program unheard-of is not allowed here"
            assert not await _held(place, "never")
            told = await place.until(
                "both failures are told", lambda s: consistency(s).whole("failures") == 2
            )
            assert consistency(told).text("why") == never.text("why")
            kinds = [event.text("kind") for event in (await place.get("/v1/events")).docs("events")]
            assert kinds.count("app_point_failed") == 2

            await apply(place, before=[{"fsfreeze": str(tree)}], every="1s", max_age="30s")
            told = await place.until(
                "one that nobody asked for", lambda s: consistency(s).whole("attempts") > 3
            )
            assert consistency(told).text("why") == ""
            assert consistency(told).whole("newest_us") > made.whole("time_us")


async def test_an_agent_that_is_killed_while_a_file_system_is_frozen_leaves_it_thawed(home: Path) -> None:
    image, tree = home / "beside.img", home / "beside"
    with image.open("wb") as file:
        file.truncate(8 * MIB)
    disks.run("mkfs.ext4", "-q", "-F", image)
    with disks.mounted(image, tree), Application(tree) as application:
        async with site(home, seconds=100, configure=permit(home, tree)) as place:
            await place.protect(DISK_BYTES, LEDGER_BYTES)
            before = [{"program": "gate"}, {"fsfreeze": str(tree)}]
            await apply(place, before=before, after=[{"program": "go"}])
            asking = asyncio.create_task(place.cli("checkpoint", GROUP, "--app-consistent"))
            await until((home / "at-gate").exists)
            place.cluster.signal(PRODUCTION, signal.SIGSTOP)
            (home / "open-gate").touch()
            await until(lambda: application.stands_still)
            began = time.monotonic()
            await place.kill(PRODUCTION)
            await until(lambda: not application.stands_still)
            assert time.monotonic() - began < FREEZE_S_MAX - STILL_S, "not only because its time was over"
            await until((home / "said").exists)
            assert (home / "said").read_text().split() == ["went-on"]
            assert (await asking).code != 0
            records = place.layout.state(PRODUCTION) / "quiet"
            await until(lambda: not list(records.glob("*.json")))


async def until(is_reached: Callable[[], bool], seconds: float = SETTLE_S) -> None:
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(is_reached):
            await asyncio.sleep(POLL_S)
