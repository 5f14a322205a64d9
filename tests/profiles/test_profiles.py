"""Profiles as they are shipped: every one loads once it is filled in, and says what is missing before."""

import re
import tomllib
from base64 import b64encode
from pathlib import Path

import pytest
from click.testing import CliRunner

from drsync.cli.main import cli
from drsync.cli.options import DEFAULT_SOCKET
from drsync.config import profiles
from drsync.config.load import load_agent, load_any, load_coordinator, load_group
from drsync.config.options import AgentOptions, CoordinatorOptions
from drsync.config.problems import ConfigError
from drsync.config.profiles import Profile
from drsync.config.schema import ObjectivesSection, PolicySection, Section
from drsync.model.errors import UsageError
from drsync.model.group import GroupPolicy, Objectives
from drsync.model.topology import Designation

PROCESSES = ("production", "same_city", "remote", "coordinator")
AGENTS = {
    Profile.PRODUCTION: Designation.PRODUCTION,
    Profile.SAME_CITY: Designation.SAME_CITY,
    Profile.REMOTE: Designation.REMOTE,
}

PROGRAM_KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\n"


def addresses() -> list[str]:
    return [option for n, name in enumerate(PROCESSES) for option in ("--address", f"{name}=10.0.{n}.5")]


def printed(*arguments: str) -> str:
    result = CliRunner().invoke(cli, ["config", "profile", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.output


def public_key(number: int) -> str:
    """A well-formed public key that is nobody's."""
    kind = b"ssh-ed25519"
    blob = len(kind).to_bytes(4) + kind + (32).to_bytes(4) + bytes([number]) * 32
    return f"{kind.decode()} {b64encode(blob).decode()} nobody\n"


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """A directory like /etc/drsync after keys were made and exchanged."""
    keys, peers = tmp_path / "keys", tmp_path / "peers"
    keys.mkdir()
    peers.mkdir()
    for name in ("agent.host", "agent.client", "coordinator.host", "coordinator.client"):
        (keys / name).write_text(PROGRAM_KEY)
        (keys / name).chmod(0o600)
    for number, name in enumerate(PROCESSES):
        (peers / f"{name}.host.pub").write_text(public_key(2 * number))
        (peers / f"{name}.client.pub").write_text(public_key(2 * number + 1))
    return tmp_path


@pytest.mark.parametrize("profile", AGENTS)
def test_a_filled_in_agent_loads(profile: Profile, etc: Path) -> None:
    path = etc / "agent.toml"
    path.write_text(printed(profile, "--cluster", "orders", *addresses()))
    options = load_agent(path)
    assert options.center.designation is AGENTS[profile]
    assert {peer.name for peer in options.peers} | {options.center.name} == set(PROCESSES) - {"coordinator"}
    assert options.ssh.listen.host == f"10.0.{PROCESSES.index(options.center.name)}.5"
    assert all(peer.address.port == options.ssh.listen.port for peer in options.peers)


def test_a_filled_in_coordinator_knows_what_the_agents_say_of_themselves(etc: Path) -> None:
    path = etc / "coordinator.toml"
    path.write_text(printed("coordinator", "--cluster", "orders", *addresses()))
    known = {agent.center for agent in load_coordinator(path).agents}
    stated = set()
    for profile in AGENTS:
        (etc / "agent.toml").write_text(printed(profile, "--cluster", "orders", *addresses()))
        kind = load_any(etc / "agent.toml")[1]
        assert isinstance(kind, AgentOptions)
        stated.add(kind.center)
        assert kind.coordinator.address.port == load_coordinator(path).ssh.listen.port
    assert known == stated


def test_the_group_has_the_defaults_of_the_model(etc: Path) -> None:
    """Whoever writes no number gets the numbers whose reasons the profile gives."""
    path = etc / "group.toml"
    path.write_text(
        profiles.fill(profiles.read(Profile.GROUP), {"name of the group": "orders", "size": "1 GiB"})
    )
    request = load_group(path)
    assert request.policy == GroupPolicy()
    aims = Objectives()
    assert (request.objectives.rpo_s, request.objectives.rto_s) == (aims.rpo_s, aims.rto_s)
    assert request.objectives.availability == pytest.approx(aims.availability)


@pytest.mark.parametrize("profile", Profile)
def test_an_unfilled_profile_says_what_is_missing_and_where(profile: Profile, etc: Path) -> None:
    path = etc / "unfilled.toml"
    path.write_text(printed(profile))
    with pytest.raises(ConfigError) as caught:
        load_any(path)
    blanks = [problem for problem in caught.value.problems if "is not filled in yet" in problem.what]
    assert blanks == caught.value.problems  # nothing else is wrong with it, and nothing is said twice
    assert len({problem.path for problem in blanks}) == len(blanks)
    lines = path.read_text().splitlines()
    assert all("<" in lines[problem.line - 1] for problem in blanks)


def test_one_list_of_addresses_serves_every_machine() -> None:
    assert "10.0.0.5" not in printed("coordinator", *addresses())


def test_an_address_of_nobody_is_refused_with_the_nearest_one() -> None:
    result = CliRunner().invoke(cli, ["config", "profile", "remote", "--address", "samecity=10.0.0.1"])
    error = result.exception
    assert isinstance(error, UsageError)
    assert "same_city" in error.remedy


def test_an_ipv6_address_gets_its_brackets() -> None:
    assert '"[fd00::5]:7301"' in printed("remote", "--address", "production=fd00::5")


@pytest.mark.parametrize("value", ['a"b', "a\\b", "<a>", "a\nb", ""])
def test_a_value_cannot_end_the_text_it_is_in(value: str) -> None:
    with pytest.raises(UsageError):
        profiles.fill(profiles.read(Profile.REMOTE), {profiles.CLUSTER: value})


@pytest.mark.parametrize("profile", Profile)
def test_every_number_has_a_reason_above_it(profile: Profile) -> None:
    text = profiles.read(profile)
    tomllib.loads(text)
    lines = text.splitlines()
    for number, line in enumerate(lines):
        is_number = any(char.isdigit() for char in line) and "=" in line and not line.startswith("#")
        if is_number and ".pub" not in line:
            block = next(lines[n] for n in range(number, -1, -1) if not lines[n] or lines[n].startswith("#"))
            assert block.startswith("#"), f"{profile}: {line}"


def test_the_coordinators_default_socket_is_where_commands_look(etc: Path) -> None:
    path = etc / "coordinator.toml"
    path.write_text(printed("coordinator", "--cluster", "orders", *addresses()))
    options = load_any(path)[1]
    assert isinstance(options, CoordinatorOptions)
    assert str(options.run_dir / "coordinator.sock") == DEFAULT_SOCKET


@pytest.mark.parametrize(
    ("section", "schema"), [("policy", PolicySection), ("objectives", ObjectivesSection)]
)
def test_the_group_names_every_setting_there_is(section: str, schema: type[Section]) -> None:
    """A setting that is not in the profile has no reason written anywhere an operator looks."""
    text = profiles.read(Profile.GROUP)
    within = text.split(f"[{section}]")[1].split("\n[")[0]
    left_out = set(
        re.findall(r"^# (\w+) = ", within, re.MULTILINE)
    )  # settings whose usual value follows another
    assert set(tomllib.loads(text)[section]) | left_out == set(schema.model_fields)
