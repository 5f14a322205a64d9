"""Programs of runbooks: only allowed ones, a small environment, a deadline for all they start."""

import asyncio
import os
import signal
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.adapters.hooks import removal
from drsync.adapters.hooks.kernel import processes
from drsync.adapters.hooks.programs import OUTPUT_BYTES_MAX, Allowed, Tail, environment, run, run_tool
from drsync.model.errors import RefusedError, TransientError, UsageError

MARK = "0123456789ab-test.probe"


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    folder = tmp_path / "programs"
    folder.mkdir(mode=0o755)
    script(folder / "hello", "echo hello")
    return folder


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


async def test_a_program_sees_only_what_it_is_given(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRSYNC_TOKEN_FILE", "/secret")
    env = environment(MARK, programs, {"COLOR": "red"})
    ended = await run(["/usr/bin/env"], env, programs, 10.0)
    names = {line.partition("=")[0] for line in ended.output.splitlines()}
    assert ended.code == 0
    assert names == {"PATH", "LC_ALL", "HOME", "TMPDIR", "COLOR", "DRSYNC_ITEM"}


async def test_at_the_deadline_the_whole_group_ends(programs: Path) -> None:
    path = script(programs / "stubborn", "trap '' TERM; sleep 60 & echo started; wait")
    ended = await run([str(path)], environment(MARK, programs), programs, 0.5)
    assert ended.code is None
    assert "started" in ended.output
    await none_left()


async def test_what_a_program_leaves_running_ends_with_it(programs: Path) -> None:
    path = script(programs / "careless", "sleep 60 >/dev/null 2>&1 & echo done")
    ended = await run([str(path)], environment(MARK, programs), programs, 10.0)
    assert (ended.code, ended.output) == (0, "done\n")
    await none_left()


async def test_what_was_begun_while_we_looked_ends_too(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look may miss a child: its number lies before where we are in /proc, or it has no environment yet."""
    mark = f"0123456789ab-test.late{os.getpid()}"
    started = [
        await asyncio.create_subprocess_exec("sleep", "60", env=environment(mark, programs)) for _ in range(2)
    ]
    looks: list[int] = []

    def late(tag: str) -> Iterator[tuple[int, str, bool]]:
        looks.append(len(looks))
        missed = started[1].pid if len(looks) == 1 else None
        return (found for found in list(processes(tag)) if found[0] != missed)

    monkeypatch.setattr(removal, "processes", late)
    removal.end_processes(mark)
    assert [await process.wait() for process in started] == [-signal.SIGKILL] * 2
    assert len(looks) > 1


async def none_left() -> None:
    """A process that was sent SIGKILL is gone in a moment."""
    async with asyncio.timeout(5.0):
        while list(processes(MARK)):
            await asyncio.sleep(0.01)


async def test_a_flood_of_words_is_cut_and_does_not_block(programs: Path) -> None:
    code = "import sys; sys.stdout.write('first' + 'x' * 3_000_000 + 'last')"
    ended = await run([sys.executable, "-c", code], environment(MARK, programs), programs, 20.0)
    assert ended.code == 0
    assert ended.output.startswith("first")
    assert ended.output.endswith("last")
    assert "bytes left out" in ended.output
    assert len(ended.output) < OUTPUT_BYTES_MAX + 100


@given(st.lists(st.binary(max_size=9000), max_size=12))
def test_the_beginning_and_the_end_are_kept(pieces: list[bytes]) -> None:
    tail, half = Tail(), OUTPUT_BYTES_MAX // 2
    for piece in pieces:
        tail.add(piece)
    whole = b"".join(pieces)
    if len(whole) <= OUTPUT_BYTES_MAX:
        assert tail.text == whole.decode(errors="replace")
    else:
        assert (bytes(tail._head), bytes(tail._tail)) == (whole[:half], whole[-half:])
        assert f"{len(whole) - 2 * half} bytes left out" in tail.text


def test_only_allowed_programs_are_found(programs: Path, tmp_path: Path) -> None:
    allowed = Allowed([programs, Path("/usr/bin/env")])
    assert allowed.find("hello") == programs / "hello"
    assert allowed.find(str(programs / "hello")) == programs / "hello"
    assert allowed.find("env") == Path("/usr/bin/env").resolve()
    script(tmp_path / "outside", "true")
    (programs / "link").symlink_to(tmp_path / "outside")
    for word in ("ls", "/bin/ls", "../outside", "./hello", "", "..", "link", str(tmp_path / "outside")):
        with pytest.raises(RefusedError) as caught:
            allowed.find(word)
        assert caught.value.code == "hook_not_allowed", word


def test_nothing_is_allowed_by_default() -> None:
    with pytest.raises(RefusedError):
        Allowed(()).find("/bin/true")


def test_a_program_that_others_can_change_is_refused(programs: Path) -> None:
    allowed = Allowed([programs])
    (programs / "hello").chmod(0o757)
    with pytest.raises(RefusedError, match="can be changed by others"):
        allowed.find("hello")
    (programs / "hello").chmod(0o755)
    programs.chmod(0o777)
    with pytest.raises(RefusedError, match="can be changed by others"):
        allowed.find("hello")
    programs.chmod(0o755)
    (programs / "hello").chmod(stat.S_IRUSR)
    with pytest.raises(RefusedError, match="not executable"):
        allowed.find("hello")


async def test_tools_say_what_went_wrong(programs: Path) -> None:
    with pytest.raises(TransientError, match="No such file"):
        await run_tool("ls", str(programs / "absent"))
    with pytest.raises(TransientError, match="not installed"):
        await run_tool("no-such-tool")
    with pytest.raises(UsageError, match="cannot be started"):
        await run([str(programs)], environment(MARK, programs), programs, 1.0)


def test_a_program_that_bears_the_bit_of_shared_directories_is_refused(programs: Path) -> None:
    """The sticky bit keeps the names in a directory; on a file it means nothing."""
    (programs / "hello").chmod(0o1777)
    with pytest.raises(RefusedError, match="can be changed by others"):
        Allowed([programs]).find("hello")


def test_a_directory_further_up_that_others_can_change_is_refused(tmp_path: Path) -> None:
    """Who can rename the directory above puts his own in its place between the look and the start."""
    shared = tmp_path / "shared"
    inner = shared / "programs"
    inner.mkdir(parents=True, mode=0o755)
    script(inner / "hello", "true")
    shared.chmod(0o777)
    with pytest.raises(RefusedError, match="can be changed by others"):
        Allowed([inner]).find("hello")
    shared.chmod(0o1777)  # as /tmp: names of others stay
    assert Allowed([inner]).find("hello") == inner / "hello"


def test_what_is_not_there_is_refused_and_no_bug(programs: Path) -> None:
    (programs / "round").symlink_to(programs / "round")
    (programs / "folder").mkdir()
    for word in ("gone", "round", "folder"):
        for name in (word, str(programs / word)):
            with pytest.raises(RefusedError):
                Allowed([programs]).find(name)
