"""Checks by programs: only what is allowed, never better than what was found, and nothing left behind."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from drsync.adapters.hooks import disks
from drsync.adapters.hooks.inventory import Inventory
from drsync.adapters.hooks.kernel import traces
from drsync.agent.self_drill_bench import Bench, Finding, Setting
from drsync.config.options import HookOptions
from drsync.model.errors import RefusedError
from drsync.model.point_proof import Outcome

SETTING = Setting("self-0123456", {"disk": "nbd+unix:///disk?socket=/x"}, {"DRSYNC_RECORD": "7"}, 20.0)


class Place:
    """A bench whose volumes are plain files, and whose programs are scripts."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.programs = root / "programs"
        self.programs.mkdir(mode=0o755)
        (root / "hooks").mkdir()
        self.inventory = Inventory(root / "inventory", str(root))
        self.bench = Bench(HookOptions((self.programs,), mounts=True), self.inventory, root / "hooks")

    def program(self, name: str, text: str) -> None:
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    async def check(self, system: str) -> Finding:
        return await self.bench.filesystems(SETTING, {"disk": system})

    def require_clean(self) -> None:
        """Nothing is left, neither in the kernel nor on the list."""
        tag = self.inventory.tag_of("drill-self-0123456")
        assert traces(self.root / "hooks", tag) == []
        assert self.inventory.items() == []


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    async def attach(where: Path, tag: str, uri: str, seconds: float, *, read_only: bool) -> Path:
        del tag, uri, seconds, read_only
        await asyncio.to_thread(lambda: (where / "home").mkdir(parents=True))
        return where / "file"

    monkeypatch.setattr(disks, "attach", attach)
    made = Place(tmp_path)
    yield made
    made.require_clean()


@pytest.mark.parametrize(
    ("replay", "look", "outcome", "words"),
    [
        ("exit 0", "exit 0", Outcome.PROVED, "ext4 of disk is clean"),
        ("echo recovering journal; exit 1", "exit 0", Outcome.PROVED, "is clean"),
        ("exit 0", "echo 'Block bitmap differences'; exit 4", Outcome.FAILED, "Block bitmap differences"),
        ("exit 0", "echo 'Bad magic number'; exit 12", Outcome.FAILED, "Bad magic number"),
        ("exit 8", "exit 0", Outcome.FAILED, "is not clean"),
        ("echo 'Clear? yes'; exit 1", "exit 0", Outcome.FAILED, "has a damaged journal"),
        ("exit 16", "exit 0", Outcome.UNKNOWN, "could not be judged"),
        ("exit 0", "kill -9 $$", Outcome.UNKNOWN, "could not be judged"),
        ("exit 0", "exit 32", Outcome.UNKNOWN, "could not be judged"),
    ],
)
async def test_what_e2fsck_says_is_taken_for_no_better_than_it_is(
    place: Place, replay: str, look: str, outcome: Outcome, words: str
) -> None:
    place.program("e2fsck", f'if [ "$1" = -y ]; then {replay}; fi\n{look}')
    found = await place.check("ext4")
    assert found.outcome is outcome
    assert words in found.text


async def test_xfs_with_a_dirty_log_is_neither_proved_nor_failed(place: Place) -> None:
    place.program("xfs_repair", "echo 'metadata changes in a log which is being ignored'; exit 1")
    assert (await place.check("xfs")).outcome is Outcome.UNKNOWN
    place.program("xfs_repair", "echo 'bad magic'; exit 1")
    assert (await place.check("xfs")).outcome is Outcome.FAILED
    place.program("xfs_repair", "exit 0")
    assert (await place.check("xfs")).outcome is Outcome.PROVED


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("exit 0", Outcome.PROVED),
        ("exit 1", Outcome.FAILED),
        ("exit 75", Outcome.UNKNOWN),
        ("kill -9 $$", Outcome.UNKNOWN),
        ('[ "$DRSYNC_RECORD" = 7 ] && echo "$DRSYNC_VOLUMES$DRSYNC_FILES" | grep -q disk', Outcome.PROVED),
        ("[ $(nice) -eq 19 ]", Outcome.PROVED),
    ],
)
async def test_a_program_of_the_group_is_told_what_it_looks_at(
    place: Place, text: str, outcome: Outcome
) -> None:
    place.program("check", text)
    assert (await place.bench.program(SETTING, ["check"])).outcome is outcome


async def test_a_program_that_hangs_is_ended_with_whoever_waits_for_it(place: Place) -> None:
    place.program("check", "echo $$ > $HOME/pid; exec sleep 600")
    running = asyncio.ensure_future(place.bench.program(SETTING, ["check"]))
    while not (found := list((place.root / "hooks").glob("*/home/pid"))) or not found[0].read_text():
        await asyncio.sleep(0.01)
    pid = int(found[0].read_text())
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_what_is_not_allowed_here_is_not_run(place: Place) -> None:
    with pytest.raises(RefusedError, match="not allowed here"):
        await place.check("ext4")
    place.program("e2fsck", "exit 0")
    no_mounts = Bench(HookOptions((place.programs,)), place.inventory, place.root / "hooks")
    with pytest.raises(RefusedError, match="may not attach volumes"):
        await no_mounts.filesystems(SETTING, {"disk": "ext4"})
    assert (await no_mounts.program(SETTING, ["e2fsck"])).outcome is Outcome.PROVED, "it has the sockets"
