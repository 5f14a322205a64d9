"""The commands as they are typed, on a lab whose processes only wait."""

import json

import pytest

from drsync.cli import main, output
from drsync.lab.cluster import Cluster
from drsync.lab.layout import PRODUCTION, Layout


class Shell:
    """Types commands, and reads."""

    def __init__(self, capfd: pytest.CaptureFixture[str], layout: Layout) -> None:
        self._capfd = capfd
        self._root = str(layout.root)

    def __call__(self, *words: str) -> tuple[int, str, str]:
        output.console.cache_clear()
        with pytest.raises(SystemExit) as left:
            main.main(["lab", words[0], "--dir", self._root, *words[1:]])
        output.console.cache_clear()
        out, err = self._capfd.readouterr()
        assert isinstance(left.value.code, int)
        return left.value.code, out, err


@pytest.fixture
def drsync(capfd: pytest.CaptureFixture[str], layout: Layout, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setenv("NO_COLOR", "1")
    return Shell(capfd, layout)


def test_without_a_lab_every_command_says_how_to_start_one(drsync: Shell) -> None:
    for words in (["status"], ["down"], ["demo"], ["fault", "kill", PRODUCTION]):
        code, _, err = drsync(*words)
        assert code == 2
        assert "drsync lab up" in err


def test_faults_show_in_the_status_and_down_stops_everything(drsync: Shell, running: Cluster) -> None:
    code, out, _ = drsync("fault", "kill", PRODUCTION)
    assert code == 0
    assert "production was killed" in out

    code, out, _ = drsync("status", "--json")
    shown = json.loads(out)
    assert (code, shown["running"]) == (0, False)
    assert shown["centers"][PRODUCTION]["process"] == "stopped"
    assert shown["centers"]["remote"]["process"] == "running"

    code, out, _ = drsync("status")
    assert code == 0
    assert all(name in out for name in ("coordinator", "production", "same_city", "remote"))

    code, _, err = drsync("fault", "pause", PRODUCTION)
    assert code == 4
    assert "drsync lab fault restart production" in err

    code, out, _ = drsync("down", "--json")
    assert json.loads(out) == {"dir": str(running.layout.root), "stopped": 3, "killed": []}
    assert running.alive() == {}
    code, _, err = drsync("demo")
    assert code == 4
    assert "does not run" in err


def test_mistakes_in_words_are_usage_errors(drsync: Shell, running: Cluster) -> None:
    assert running.is_running
    assert drsync("fault", "explode", PRODUCTION)[0] == 2
    assert drsync("fault", "kill", "shanghai")[0] == 2
    assert drsync("up", "--image", "/nonexistent")[0] == 2
