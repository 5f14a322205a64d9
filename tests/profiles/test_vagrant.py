"""The virtual machines' file and scripts, as far as they can be judged without making any.

That the scripts do what they say is shown in tests/machines, where they run against containers.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

VAGRANT = Path(__file__).resolve().parents[2] / "vagrant"
SCRIPTS = [
    VAGRANT / "connect",
    VAGRANT / "packages",
    VAGRANT / "lib.sh",
    *sorted((VAGRANT / "exercises").iterdir()),
]


def needs(tool: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(tool) is None, reason=f"{tool} is not installed")


def ended(*words: str | Path, **more: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        words, capture_output=True, text=True, check=False, cwd=VAGRANT, env={**os.environ, **more}
    )


@needs("ruby")
def test_the_file_is_ruby() -> None:
    done = ended("ruby", "-wc", "Vagrantfile")
    assert (done.stdout.strip(), done.stderr) == ("Syntax OK", "")


@needs("vagrant")
def test_vagrant_takes_the_file(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    done = ended(
        "vagrant", "validate",
        DRSYNC_BUNDLE=str(tmp_path), HOME=str(home), VAGRANT_DOTFILE_PATH=str(tmp_path / "dot"),
    )  # fmt: skip
    if "provider" in done.stderr and "not be found" in done.stderr:
        pytest.skip("vagrant-libvirt is not installed")
    assert done.returncode == 0, done.stdout + done.stderr


def test_machines_are_installed_as_profiles_that_exist() -> None:
    text = (VAGRANT / "Vagrantfile").read_text()
    profiles = {
        line.split('profile: "')[1].split('"')[0] for line in text.splitlines() if 'profile: "' in line
    }
    assert profiles == {"coordinator", "production", "same-city", "remote"}
    assert all((VAGRANT.parent / "agents" / profile).is_dir() for profile in profiles)


@needs("shellcheck")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(script: Path) -> None:
    assert ended("shellcheck", "-x", script).stdout == ""


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_can_be_run(script: Path) -> None:
    assert os.access(script, os.X_OK) == (script.name != "lib.sh")
