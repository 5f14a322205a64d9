import io
import os

import pytest

from drsync.lab.narrator import WIDTH_PIPED, Narrator, PlainProgress
from drsync.model.errors import RefusedError


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def test_lines_for_files_fit_and_have_no_trailing_blanks(stream: io.StringIO) -> None:
    tell = Narrator(stream)
    tell.chapter("The production center dies")
    tell.check("word " * 60, is_good=True)
    tell.step("group.checkpoint", "production", 0.012, "detail " * 40)
    tell.error(RefusedError("no", remedy="wait"))
    lines = stream.getvalue().splitlines()
    assert all(len(line) <= WIDTH_PIPED for line in lines)
    assert all(line == line.rstrip() for line in lines)
    assert lines[1] == "1  The production center dies"
    assert any(line.endswith("✗ no") for line in lines)
    assert any(line.endswith("wait") for line in lines)


def test_what_is_to_be_copied_is_never_cut(stream: io.StringIO) -> None:
    Narrator(stream).pairs([("export", "x" * 300)])
    assert "x" * 300 in stream.getvalue()


def test_words_from_elsewhere_cannot_steer_the_terminal(stream: io.StringIO) -> None:
    tell = Narrator(stream)
    tell.say("\x1b[2J[red]not markup[/red]\r")
    tell.lines(["\x07"])
    assert "\x1b" not in stream.getvalue()
    assert "\x07" not in stream.getvalue()
    assert "[red]not markup[/red]" in stream.getvalue()


def test_the_story_goes_on_when_its_reader_leaves() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        tell = Narrator(stream)
        tell.say("nobody hears this")
        tell.say("nor this")


def test_plain_progress_says_bytes_rate_and_time_to_go(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    progress = PlainProgress(said.append, "filling disk", 100 << 20)
    for _ in range(3):
        now[0] += 1.5
        progress.advance(15 << 20)
    assert said == ["filling disk: 30 MiB of 100 MiB, 10 MiB/s, 7 s to go"]
