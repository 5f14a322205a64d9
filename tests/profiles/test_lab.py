"""The lab starts from the profiles: what is shipped is what it exercises."""

from pathlib import Path

import pytest

from drsync.config import profiles
from drsync.config.load import load_agent, load_coordinator
from drsync.config.options import LogLevel
from drsync.config.profiles import Profile
from drsync.lab import configs, founding, ports
from drsync.lab.layout import CENTER_NAMES, COORDINATOR, Layout
from drsync.lab.record import LabRecord


def written(root: Path) -> Layout:
    """The configurations of a new lab; nothing runs."""
    layout = Layout(root)
    layout.root.mkdir(parents=True)
    founding.make_keys(layout)
    configs.write_configs(layout, LabRecord("lab-1", ports.choose(configs.PORTS)))
    return layout


def test_what_the_lab_does_not_say_is_what_is_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = profiles.read

    def other(profile: Profile) -> str:
        return shipped(profile).replace('level = "info"', 'level = "warning"')

    monkeypatch.setattr(profiles, "read", other)
    layout = written(tmp_path / "lab")
    assert all(load_agent(layout.config(name)).log.level is LogLevel.WARNING for name in CENTER_NAMES)
    assert load_coordinator(layout.config(COORDINATOR)).log.level is LogLevel.WARNING


def test_nothing_of_the_lab_lies_or_listens_where_an_installed_machine_does(tmp_path: Path) -> None:
    layout = written(tmp_path / "lab")
    for name in (*CENTER_NAMES, COORDINATOR):
        text = layout.config(name).read_text()
        assert "/var/lib" not in text
        assert '"/run/drsync' not in text
        assert ":730" not in text
        assert "<" not in text.partition("\n")[2]


def test_the_group_of_the_lab_has_the_shipped_policy_below_its_shorter_times() -> None:
    assert set(configs.shipped_policy()) > {"mode", "durability", "window", "quota"}
