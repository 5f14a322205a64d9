"""Whatever becomes of who asked: file systems are thawed, steps after run, nothing runs on. A real ext4."""

import errno
import fcntl
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from drsync.adapters.hooks import freezing
from drsync.adapters.hooks.freezing import Record, beneath, mounted, require_freezable, thaw_left
from drsync.adapters.hooks.guarded import Guarded, Word, Work
from drsync.adapters.hooks.kernel import processes
from drsync.adapters.hooks.programs import environment, start
from drsync.adapters.hooks.quiet_guard import FIFREEZE, FITHAW
from drsync.model.errors import RefusedError
from tests.integration import disks

NEEDS_ROOT = pytest.mark.skipif(bool(disks.why_not()), reason=f"freezes a file system: {disks.why_not()}")
SHELL = "/bin/sh"


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Path]:
    """An ext4 of its own, mounted."""
    image = tmp_path / "disk.img"
    with image.open("wb") as file:
        file.truncate(8 << 20)
    disks.run("mkfs.ext4", "-q", "-F", image)
    with disks.mounted(image, tmp_path / "tree") as path:
        try:
            yield path
        finally:
            if is_frozen(path):
                ioctl(path, FITHAW)


def ioctl(path: Path, request: int) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, request, 0)
    finally:
        os.close(fd)


def is_frozen(path: Path) -> bool:
    """As the kernel says: whoever freezes what is frozen is told so. Leaves it as it was."""
    try:
        ioctl(path, FIFREEZE)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return True
    ioctl(path, FITHAW)
    return False


@dataclass
class Moment:
    """A guard, and what it said."""

    guard: Guarded
    record: Path
    said: list[Word] = field(default_factory=list)

    async def until(self, key: str) -> Word:
        while (word := await self.guard.read()) is not None:
            self.said.append(word)
            if key in word:
                return word
        raise AssertionError(f"it ended without {key}: {self.said}")

    @property
    def pid(self) -> int:
        return self.guard._process.pid


@asynccontextmanager
async def moment(tmp_path: Path, tree: Path | None, **changes: object) -> AsyncIterator[Moment]:
    freeze = () if tree is None else (require_freezable(str(tree), [tmp_path]),)
    mark = f"quiet-test-{os.getpid()}."  # because another worker plays these stories at the same time
    record = tmp_path / "records" / f"{mark}json"
    work = Work((), freeze, (), 10.0, 10.0, 10.0, 10.0, environment(mark, tmp_path), "/", str(record))
    work = replace(work, **changes)  # type: ignore[arg-type]
    made = Moment(await Guarded.start(work, Record(mark, "this boot", tuple(work.freeze))), record)
    try:
        yield made
    finally:
        made.guard.end("the test is over")
        await made.guard.close()
        assert list(processes(mark)) == []
        assert not record.exists()


@NEEDS_ROOT
async def test_it_stays_frozen_until_it_is_told_and_says_that_it_did(tmp_path: Path, tree: Path) -> None:
    before = [("program hold", [SHELL, "-c", f"echo held; test ! -e {tree}/gone"])]
    async with moment(tmp_path, tree, before=before, after=[("program go", [SHELL, "-c", "true"])]) as one:
        await one.until("quiet")
        assert is_frozen(tree)
        one.guard.thaw()
        thawed = await one.until("thawed")
        assert (thawed["thawed"], thawed["held"], thawed["why"]) == (str(tree), True, "")
        assert not is_frozen(tree)
        assert (await one.until("done"))["kept"] is True
    steps = [(word["step"], word["code"], word["output"]) for word in one.said if "step" in word]
    assert steps == [("program hold", 0, "held"), ("program go", 0, "")]


@NEEDS_ROOT
async def test_when_its_time_is_over_it_thaws_and_says_that_it_did_not_hold(
    tmp_path: Path, tree: Path
) -> None:
    async with moment(tmp_path, tree, freeze_s=0.1) as one:
        await one.until("quiet")
        thawed = await one.until("thawed")
        assert (thawed["held"], thawed["why"]) == (False, "its time was over")
        assert not is_frozen(tree)
        assert (await one.until("done"))["kept"] is False


@NEEDS_ROOT
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGHUP])
async def test_a_service_manager_that_ends_everything_leaves_nothing_frozen(
    tmp_path: Path, tree: Path, sign: signal.Signals
) -> None:
    async with moment(tmp_path, tree) as one:
        await one.until("quiet")
        os.kill(one.pid, sign)
        assert sign.name in str((await one.until("thawed"))["why"])
        assert not is_frozen(tree)


@NEEDS_ROOT
async def test_a_guard_that_is_killed_is_thawed_in_its_place(tmp_path: Path, tree: Path) -> None:
    hold = [("program hold", [SHELL, "-c", "sleep 60 & exit 0"])]
    async with moment(tmp_path, tree, before=hold) as one:
        await one.until("quiet")
        os.kill(one.pid, signal.SIGKILL)
        assert await one.guard.read() is None
        assert is_frozen(tree), "nobody has thawed it yet"
        await one.guard.close()
        assert not is_frozen(tree)


@NEEDS_ROOT
async def test_when_all_were_killed_the_next_start_thaws_and_only_what_was_theirs(
    tmp_path: Path, tree: Path
) -> None:
    records = tmp_path / "left"
    mine = require_freezable(str(tree), [tmp_path])
    Record("quiet-gone.", "this boot", (mine,)).write(records / "one.json")
    ioctl(tree, FIFREEZE)
    holding = await start(
        [SHELL, "-c", "echo up; sleep 60; true"], environment("quiet-gone.", tmp_path), tmp_path
    )
    assert holding.stdout is not None
    await holding.stdout.readline()
    assert thaw_left(records, "this boot") == [f"{tree} was thawed"]
    assert not is_frozen(tree)
    assert await holding.wait() == -signal.SIGKILL, "what a step before had left running"
    assert list(records.iterdir()) == []

    ioctl(tree, FIFREEZE)  # by somebody else, later: there is no record any more
    Record("quiet-gone.", "another boot", (mine,)).write(records / "two.json")
    Record("quiet-gone.", "this boot", ((mine[0], mine[1] + 1),)).write(records / "three.json")
    assert thaw_left(records, "this boot") == []
    assert is_frozen(tree)
    (records / "four.json").write_text("{}")
    assert "cannot be read" in thaw_left(records, "this boot")[0]


def test_one_that_cannot_be_thawed_keeps_no_other_frozen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its record stays, so that the next start tries again."""
    asked: list[str] = []

    def thaw(mount: str, device: int) -> bool:
        asked.append(mount)
        if mount == "/bad":
            raise OSError(errno.EIO, "Input/output error")
        return bool(device)

    monkeypatch.setattr(freezing, "thaw", thaw)
    record = tmp_path / "one.json"
    Record("quiet-nobody.", "this boot", (("/good", 1), ("/bad", 2), ("/last", 3))).write(record)
    told = thaw_left(tmp_path, "this boot")
    assert asked == ["/last", "/bad", "/good"]
    assert told[:2] == ["/last was thawed", "/good was thawed"]
    assert told[2].startswith("/bad: ")
    assert record.exists()


@NEEDS_ROOT
async def test_what_somebody_else_froze_is_not_thawed(tmp_path: Path, tree: Path) -> None:
    ioctl(tree, FIFREEZE)
    async with moment(tmp_path, tree) as one:
        step = await one.until("step")
        assert (step["step"], step["output"]) == (f"fsfreeze {tree}", "somebody else has frozen it")
        assert (await one.until("done"))["kept"] is False
        assert is_frozen(tree)


@NEEDS_ROOT
async def test_what_somebody_else_thawed_did_not_hold(tmp_path: Path, tree: Path) -> None:
    async with moment(tmp_path, tree) as one:
        await one.until("quiet")
        ioctl(tree, FITHAW)
        one.guard.thaw()
        thawed = await one.until("thawed")
        assert (thawed["held"], thawed["why"]) == (False, "somebody else had thawed it")


async def test_a_hook_that_hangs_is_released_in_time_with_all_that_it_started(tmp_path: Path) -> None:
    before = [
        ("program hold", [SHELL, "-c", "echo waiting; sleep 60 & sleep 60"]),
        ("program x", ["/nowhere"]),
    ]
    after = [("program go", [SHELL, "-c", "exit 3"]), ("program also", [SHELL, "-c", "echo well"])]
    async with moment(tmp_path, None, before=before, after=after, before_s=0.2) as one:
        await one.until("done")
    steps = [(word["step"], word["code"], word["output"]) for word in one.said if "step" in word]
    assert steps == [("program hold", None, "waiting"), ("program go", 3, ""), ("program also", 0, "well")]


async def test_whoever_asked_is_gone_and_the_application_goes_on(tmp_path: Path) -> None:
    gone_on = tmp_path / "gone-on"
    before = [("program hold", [SHELL, "-c", "sleep 60 & exit 0"])]
    async with moment(tmp_path, None, before=before, after=[("go", [SHELL, "-c", f": > {gone_on}"])]) as one:
        await one.until("quiet")
        await one.guard.close()
        assert gone_on.exists()


@NEEDS_ROOT
def test_what_the_agent_writes_to_is_never_frozen(tmp_path: Path, tree: Path) -> None:
    """Its own state, also in a file system in a file in it; and only what is mounted."""
    with pytest.raises(RefusedError, match="would stop this agent"):
        require_freezable(str(tree), [tree / "state" / "not-made-yet"])
    image = tree / "inner.img"
    with image.open("wb") as file:
        file.truncate(4 << 20)
    disks.run("mkfs.ext4", "-q", "-F", image)
    with disks.mounted(image, tmp_path / "inner") as inner:
        assert beneath(inner, mounted()) >= beneath(tree, mounted())
        with pytest.raises(RefusedError, match="would stop this agent"):
            require_freezable(str(tree), [inner / "state"])
        assert require_freezable(str(inner), [tree])[1] == inner.stat().st_dev
    with pytest.raises(RefusedError, match="nothing is mounted"):
        require_freezable(str(tree / "lost+found"), [])


@pytest.mark.parametrize("mount", ["/", "/nowhere"])
def test_the_machine_itself_is_never_frozen(mount: str) -> None:
    with pytest.raises(RefusedError, match="nothing is mounted"):
        require_freezable(mount, [])
