import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest
import structlog

from drsync.cli import logs
from drsync.cli.text import clean
from drsync.config.options import LogFormat, LogLevel, LogOptions


@pytest.fixture(autouse=True)
def undone() -> Iterator[None]:
    """Logging is a setting of the process: put it back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines_of(
    form: LogFormat, monkeypatch: pytest.MonkeyPatch, level: LogLevel = LogLevel.INFO
) -> io.StringIO:
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    logs.set_up(LogOptions(level, form))
    return written


def test_a_line_for_machines_names_what_it_is_about(monkeypatch: pytest.MonkeyPatch) -> None:
    written = lines_of(LogFormat.JSON, monkeypatch)

    structlog.get_logger().info(
        "peer_lost", reason="no answer", epoch="3", center="remote", group="orders", n=1
    )

    line = json.loads(written.getvalue())
    assert list(line) == ["timestamp", "level", "event", "group", "center", "epoch", "reason", "n"]


def test_a_line_for_people_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    written = lines_of(LogFormat.CONSOLE, monkeypatch)

    structlog.get_logger().warning(
        "peer_lost", group="orders", center="remote", epoch="3", reason="no answer"
    )

    assert written.getvalue()[9:] == "warning orders@remote epoch 3: peer lost: no answer\n"


@pytest.mark.parametrize("form", [LogFormat.JSON, LogFormat.CONSOLE])
def test_control_characters_of_a_peer_are_written_out(
    form: LogFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = lines_of(form, monkeypatch)

    structlog.get_logger().info("link_refused", reason="bad\x1b[31m\n2026 forged line\r", peer="a\x00b")

    text = written.getvalue()
    assert text.count("\n") == 1
    assert all(sign.isprintable() for sign in text.rstrip("\n"))


def test_lines_of_libraries_look_like_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    written = lines_of(LogFormat.JSON, monkeypatch)

    logging.getLogger("asyncssh").info("too much")
    logging.getLogger("asyncssh").warning("host key %s", "wrong\x07")

    assert json.loads(written.getvalue())["event"] == "host key wrong\\x07"


def test_unimportant_lines_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    written = lines_of(LogFormat.JSON, monkeypatch, LogLevel.WARNING)
    structlog.get_logger().info("x")
    assert written.getvalue() == ""


def test_an_exception_keeps_its_lines_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    written = lines_of(LogFormat.CONSOLE, monkeypatch)
    try:
        raise ValueError("broken")
    except ValueError:
        structlog.get_logger().exception("bug")
    assert "\nValueError: broken\n" in written.getvalue()


def test_lines_are_for_machines_under_systemd_and_in_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert logs.is_for_machines(LogFormat.AUTO, {})
    assert logs.is_for_machines(LogFormat.AUTO, {"INVOCATION_ID": "1"})
    assert not logs.is_for_machines(LogFormat.CONSOLE, {"INVOCATION_ID": "1"})


def test_clean_text_stays_as_it_is() -> None:
    assert clean("北京 → 广州, naïve") == "北京 → 广州, naïve"
