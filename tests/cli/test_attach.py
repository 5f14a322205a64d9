"""`drsync attach`: what it refuses before it does anything, and how it starts, speaks and ends."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from drsync.cli import attach
from drsync.model.errors import UsageError

DRSYNC = [sys.executable, "-P", "-m", "drsync.cli.main"]
WAIT_S = 30.0


def run(*words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*DRSYNC, "attach", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S,
        env=os.environ | environment,
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["orders"], "names no volume"),
        (["orders/"], "names no volume"),
        (["/data"], "names no volume"),
        (["orders/data/more"], "names no volume"),
        (["orders/da ta"], "names no volume"),
        (["orders/data", "--timeout", "60"], "--timeout 60"),
        (["orders/data", "--timeout", "soon"], "--timeout soon"),
        (["orders/data", "--listen", "127.0.0.1"], "is no address"),
        (["orders/data", "--listen", "127.0.0.1:70000"], "is no address"),
        (["orders/data", "--center", "remote"], "names no address"),
        (["orders/data", "--center", "remote=http://x"], "not an NBD URI"),
        (["orders/data", "--after-loss", "perhaps"], "--after-loss"),
        (["orders/data", "--coordinator", "somewhere"], "no address of a coordinator"),
    ],
)
def test_what_is_wrong_is_said_before_anything_happens(words: list[str], said: str, tmp_path: Path) -> None:
    done = run(*words, RUNTIME_DIRECTORY=str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.integration
def test_without_an_owner_it_waits_as_long_as_it_was_told_and_says_why(tmp_path: Path) -> None:
    done = run("orders/data", "--timeout", "300ms", "--json", "--socket", str(tmp_path / "s"))
    assert done.returncode == 4
    error = json.loads(done.stderr)["error"]
    assert "no owner of orders/data in 0.3 s: no address of an owner is known" in error["message"]
    assert [json.loads(line)["event"] for line in done.stdout.splitlines()] == ["coordinator"]


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_while_it_looks_for_an_owner_it_ends_well(
    number: signal.Signals, tmp_path: Path
) -> None:
    command = [*DRSYNC, "attach", "orders/data", "--json", "--socket", str(tmp_path / "s")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as relay:
        assert relay.stdout is not None
        assert json.loads(relay.stdout.readline())["event"] == "coordinator"
        relay.send_signal(number)
        assert json.loads(relay.stdout.readline())["event"] == "stopping"
    assert relay.returncode == 0


def test_the_socket_is_in_the_services_directory_or_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/drsync-attach/orders-data")
    find = attach._default_socket
    assert find("orders", "data") == Path("/run/drsync-attach/orders-data/orders.data.sock")
    monkeypatch.delenv("RUNTIME_DIRECTORY")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert find("orders", "data") == Path("/run/drsync/attach/orders.data.sock")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    assert find("orders", "data") == Path("/run/user/1000/drsync/orders.data.sock")
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    with pytest.raises(UsageError, match="no run directory"):
        find("orders", "data")
