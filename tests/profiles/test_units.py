"""The units as they are shipped, judged by systemd's own tools where these are installed."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from drsync.config.profiles import directory

AGENTS = directory()
UNITS = sorted((AGENTS / "systemd").glob("*.service"))
DAEMONS = [unit for unit in UNITS if "@" not in unit.name]
"""With a configuration file of their own; the others take options."""

EXPOSURE_MAX = 1.2  # of 10; what is left is the network and the root directory, which they are for

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def settings(unit: Path) -> dict[str, list[str]]:
    """Every setting of a unit, whatever its section."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def analyze(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, check=False)


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_finds_no_mistake(unit: Path, tmp_path: Path) -> None:
    """The program is not installed here, so another stands in its place."""
    stand_in = tmp_path / unit.name
    stand_in.write_text(unit.read_text().replace("/opt/drsync/current/bin/drsync", "/bin/true"))
    done = analyze("verify", "--man=no", stand_in)
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_little_is_exposed(unit: Path) -> None:
    done = analyze("security", "--offline=true", "--no-pager", unit)
    found = re.search(r"Overall exposure level.*: ([0-9.]+)", done.stdout)
    assert found, done.stderr
    assert float(found[1]) <= EXPOSURE_MAX, done.stdout


@pytest.mark.parametrize("unit", DAEMONS, ids=lambda unit: unit.stem)
def test_a_unit_checks_its_file_before_it_starts(unit: Path) -> None:
    found = settings(unit)
    (command,) = found["ExecStart"]
    path = re.search(r"--config (\S+)", command)
    assert path
    assert found["ExecStartPre"] == [f"/opt/drsync/current/bin/drsync config check {path[1]}"]
    assert found["Type"] == ["notify"]
    assert "WatchdogSec" in found


@pytest.mark.parametrize("unit", DAEMONS, ids=lambda unit: unit.stem)
def test_directories_of_unit_and_profile_agree(unit: Path) -> None:
    kind = unit.stem.removeprefix("drsync-")
    profile = (
        AGENTS / ("coordinator" if kind == "coordinator" else "production") / f"{kind}.toml"
    ).read_text()
    (state,), (run) = settings(unit)["StateDirectory"], settings(unit)["RuntimeDirectory"]
    assert f'state_dir = "/var/lib/{state}"' in profile
    assert f'run_dir = "/run/{run[0]}"' in profile


@pytest.mark.parametrize("unit", [*UNITS, *sorted((AGENTS / "systemd").glob("*.conf"))], ids=lambda u: u.name)
def test_every_number_of_a_unit_has_a_reason_above_it(unit: Path) -> None:
    lines = unit.read_text().splitlines()
    for number, line in enumerate(lines):
        if re.match(r"[A-Za-z]+=[-0-9]", line) and not line.startswith("UMask"):
            block = next(
                lines[n] for n in range(number - 1, -1, -1) if lines[n].startswith("#") or not lines[n]
            )
            assert block.startswith("#"), line


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_units_are_what_a_strict_parser_takes(unit: Path) -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # as the documentation of it says
    parser.read_string(unit.read_text())
    assert parser.sections() == ["Unit", "Service", "Install"]


SCRIPTS = [
    *(path for path in (AGENTS / "machine").iterdir() if path.is_file()),
    *(AGENTS.parent / "scripts" / name for name in ("bundle", "machine", "suite")),
]


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(script: Path) -> None:
    if not script.exists():
        pytest.skip("not a checkout")
    done = subprocess.run(["shellcheck", script], capture_output=True, text=True, check=False)
    assert done.stdout == ""
