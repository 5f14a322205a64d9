from pathlib import Path

import pytest

from drsync.config.load import (
    FileKind,
    load_agent,
    load_any,
    load_coordinator,
    load_group,
    read_document,
    read_group,
)
from drsync.config.options import Address, LogFormat, LogLevel
from drsync.config.problems import ConfigError, Problem
from drsync.model.group import Failover, Mode
from drsync.model.self_drill import Check, SelfDrill
from drsync.model.topology import Center, Designation


def mistakes(path: Path) -> dict[str, Problem]:
    with pytest.raises(ConfigError) as caught:
        load_any(path)
    return {problem.path: problem for problem in caught.value.problems}


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_an_agent_file_becomes_options(folder: Path) -> None:
    agent = load_agent(folder / "agent.toml")

    assert agent.center == Center("beijing-1", Designation.PRODUCTION, "beijing")
    assert agent.state_dir == folder / "state"
    assert agent.run_dir == Path("/run/drsync")
    assert agent.ssh.listen == Address("10.1.0.5", 7301)
    assert [peer.name for peer in agent.peers] == ["beijing-2", "guangzhou"]
    assert agent.peers[0].client_key.startswith("ssh-ed25519 AAAA")
    assert agent.peers[0].client_key.count(" ") == 1, "the comment is no part of the key"
    assert agent.peers[1].address == Address("fd00::5", 7301)
    assert str(agent.peers[1].address) == "[fd00::5]:7301"
    assert (agent.log.level, agent.log.format) == (LogLevel.DEBUG, LogFormat.JSON)


def test_a_coordinator_file_becomes_options(folder: Path) -> None:
    coordinator = load_coordinator(folder / "coordinator.toml")

    assert [known.center.designation for known in coordinator.agents] == list(Designation)
    assert coordinator.http is not None
    assert coordinator.http.token_file == folder / "keys/token"


def test_a_group_file_becomes_a_request(folder: Path) -> None:
    group = load_group(folder / "group.toml")

    assert group.volumes == (("data", 256 << 20), ("log", 64 << 20))
    assert group.objectives.rto_s == 300
    assert group.policy.mode is Mode.SYNC
    assert group.policy.sync_timeout_s == 2.5
    assert group.policy.window_s == 5400
    assert group.policy.journal_quota_bytes == 8 << 30


def test_the_coordinator_reads_the_same_document_without_the_file(folder: Path) -> None:
    _, document = read_document(folder / "group.toml")
    assert read_group(document) == load_group(folder / "group.toml")


@pytest.mark.parametrize(
    ("policy", "place", "words"),
    [
        ('detect = "1s"', "policy.detect", "less than 2 heartbeats of this lease take (2 s)"),
        ('anti_flap = "10s"', "policy.anti_flap", "one outage could move the group twice (15 s)"),
        ('failover = "automatic"\nmode = "async"', "policy.failover", "nobody is in sync"),
        ('failover = "automatic"\nmode = "sync_strict"', "policy.failover", "it waits for its mate"),
        ('window_floor = "11m"', "policy.window_floor", "is longer than window (10 min)"),
        ('quota = "2 GiB"\nsoft_quota = "3 GiB"', "policy.soft_quota", "is more than quota (2048 MiB)"),
        ('when_full = "panic"', "policy.when_full", "not one of drop_history, stall"),
        ('failover = "auto"', "policy.failover", "not one of manual, automatic"),
        ('self_drill.check = "program"', "policy.self_drill.program", "is missing"),
        ('self_drill.program = ["check"]', "policy.self_drill.program", 'is not run: check is "hash"'),
        (
            'self_drill.check = "fsck"',
            "policy.self_drill.check",
            "not one of none, hash, filesystem",
        ),
        ('self_drill.check = "none"\nself_drill.max_age = "1h"', "policy.self_drill.max_age", "nothing gets"),
        ('self_drill.share = "0 %"', "policy.self_drill.share", "is no share"),
        ('self_drill.max_time = "2h"', "policy.self_drill.max_time", "between 1 s and an hour"),
        ('self_drill.rate = "0 B"', "policy.self_drill.rate", "nothing would be read"),
        ('self_drill.evry = "1h"', "policy.self_drill.evry", "is not a known key here"),
    ],
)
def test_times_of_a_failover_fit_each_other_and_somebody_can_take_over(
    tmp_path: Path, policy: str, place: str, words: str
) -> None:
    text = (
        'name = "g"\npreferred_owner = "a"\nmembers = ["a", "b"]\n[[volumes]]\nname = "v"\nsize = "1 MiB"\n'
    )
    (tmp_path / "g.toml").write_text(f"{text}[policy]\n{policy}\n")
    found = mistakes(tmp_path / "g.toml")
    assert list(found) == [place]
    assert words in found[place].what


def test_short_leases_allow_short_patience(tmp_path: Path) -> None:
    text = (
        'name = "g"\npreferred_owner = "a"\nmembers = ["a", "b"]\n[[volumes]]\nname = "v"\nsize = "1 MiB"\n'
    )
    policy = 'failover = "automatic"\nlease = "2s"\ndetect = "1s"\nanti_flap = "3s"'
    (tmp_path / "g.toml").write_text(f"{text}[policy]\n{policy}\n")
    found = load_group(tmp_path / "g.toml").policy
    assert (found.failover, found.detect_s, found.anti_flap_s) == (Failover.AUTOMATIC, 1.0, 3.0)


def test_what_centers_do_with_their_points_is_said_by_the_group(tmp_path: Path) -> None:
    text = (
        'name = "g"\npreferred_owner = "a"\nmembers = ["a", "b"]\n[[volumes]]\nname = "v"\nsize = "1 MiB"\n'
    )
    (tmp_path / "g.toml").write_text(text)
    assert load_group(tmp_path / "g.toml").policy.self_drill == SelfDrill()
    section = 'check = "program"\nprogram = ["check", "-q"]\nevery = "6h"\nshare = "2 %"\nrate = "8 MiB"'
    (tmp_path / "g.toml").write_text(f'{text}[policy.self_drill]\n{section}\nmax_age = "1d"\n')
    found = load_group(tmp_path / "g.toml").policy.self_drill
    assert (found.check, found.program) == (Check.PROGRAM, ("check", "-q"))
    assert (found.every_s, found.share, found.rate, found.max_age_s) == (6 * 3600, 0.02, 8 << 20, 86400)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("agent", FileKind.AGENT), ("coordinator", FileKind.COORDINATOR), ("group", FileKind.GROUP)],
)
def test_the_kind_of_a_file_is_told_by_what_it_contains(folder: Path, name: str, kind: FileKind) -> None:
    assert load_any(folder / f"{name}.toml")[0] is kind


def test_all_mistakes_of_an_agent_are_told_at_once(folder: Path) -> None:
    found = mistakes(folder / "agent-wrong.toml")

    assert set(found) == {
        "stat_dir",
        "state_dir",
        "cluster.id",
        "center.designation",
        "ssh.listen",
        "coordinator.host_key",
    }
    assert found["stat_dir"].nearest == "state_dir"
    assert found["stat_dir"].line == 2
    assert found["state_dir"].what == "is missing"
    assert found["center.designation"].nearest == "same_city"
    assert found["center.designation"].line == 9
    assert "host:port" in found["ssh.listen"].what
    assert "damaged public key" in found["coordinator.host_key"].what


def test_all_mistakes_of_a_group_are_told_at_once(folder: Path) -> None:
    found = mistakes(folder / "group-wrong.toml")

    assert {path: problem.line for path, problem in found.items()} == {
        "preferred_owner": 2,
        "volumes[1].name": 14,
        "volumes[1].size": 15,
        "objectives.rpo": 18,
        "objectives.availability": 19,
        "policy.sync-timeout": 22,
        "policy.mode": 23,
        "policy.window": 24,
    }
    assert found["preferred_owner"].nearest == "beijing-1"
    assert found["policy.sync-timeout"].nearest == "sync_timeout"
    assert found["policy.mode"].nearest == "sync"
    assert "the next larger is 1003520" in found["volumes[1].size"].what
    assert 'write for example "15s"' in found["objectives.rpo"].what


def test_mistakes_are_listed_in_the_order_of_the_file(folder: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_group(folder / "group-wrong.toml")

    lines = str(caught.value).splitlines()
    assert lines[0] == f"8 mistakes in {folder / 'group-wrong.toml'}:"
    assert lines[1] == (
        "  preferred_owner (line 2): 'bejing-1' is not one of the members (beijing-1, beijing-2, guangzhou); "
        "did you mean beijing-1?"
    )


def test_a_key_in_the_wrong_section_is_sent_to_the_right_one(folder: Path) -> None:
    change(folder / "group.toml", '[objectives]\nrpo = "15s"', '[objectives]\nwindow = "15s"')
    assert mistakes(folder / "group.toml")["objectives.window"].nearest == "policy.window"


def test_a_run_dir_too_long_for_unix_sockets_is_refused_before_anything_starts(folder: Path) -> None:
    change(folder / "agent.toml", '"/run/drsync"', f'"/{"r" * 80}"')
    assert "at most 65, because the path of a unix socket" in mistakes(folder / "agent.toml")["run_dir"].what


def test_a_private_key_that_others_can_read_is_refused(folder: Path) -> None:
    (folder / "keys/host").chmod(0o644)
    assert "chmod 600" in mistakes(folder / "agent.toml")["ssh.host_key"].what


def test_a_private_key_is_never_taken_for_a_public_one(folder: Path) -> None:
    change(folder / "agent.toml", "keys/beijing-2.pub", "keys/host")
    assert "name the .pub file" in mistakes(folder / "agent.toml")["peers.beijing-2.client_key"].what


def test_a_key_file_that_is_not_there_is_named(folder: Path) -> None:
    (folder / "keys/client").unlink()
    assert f"cannot read {folder}/keys/client" in mistakes(folder / "agent.toml")["ssh.client_key"].what


def test_an_agent_does_not_list_itself_and_a_key_proves_one_center(folder: Path) -> None:
    change(folder / "agent.toml", "[peers.guangzhou]", "[peers.beijing-1]")
    assert "is this center itself" in mistakes(folder / "agent.toml")["peers.beijing-1"].what

    change(folder / "coordinator.toml", '"keys/beijing-2.pub"', '"AAAA"')
    change(folder / "coordinator.toml", '"AAAA"', _quoted_key(folder / "coordinator.toml"))
    assert (
        "already agents.beijing-1.client_key"
        in mistakes(folder / "coordinator.toml")["agents.beijing-2.client_key"].what
    )


def _quoted_key(path: Path) -> str:
    return next(
        line.partition(" = ")[2]
        for line in path.read_text().splitlines()
        if line.startswith('client_key = "ssh')
    )


def test_http_is_for_loopback_only(folder: Path) -> None:
    change(folder / "coordinator.toml", "127.0.0.1:7380", "0.0.0.0:7380")
    assert "is no loopback address" in mistakes(folder / "coordinator.toml")["http.listen"].what


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"\xff\xfe", "is not UTF-8"), (b"a = \n", "is not TOML"), (b"#" * 2_000_000, "is larger than")],
)
def test_a_file_that_cannot_be_read_says_so(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "x.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        load_agent(tmp_path / "x.toml")


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_agent(tmp_path / "none.toml")


def test_sections_of_the_wrong_shape_are_mistakes_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "g.toml").write_text(
        'name = 5\nvolumes = "many"\nmembers = {}\npolicy = []\npreferred_owner = ""\n'
    )
    found = mistakes(tmp_path / "g.toml")
    assert {path: problem.what for path, problem in found.items()} == {
        "name": "must be text in quotes",
        "preferred_owner": "a name has 1 to 32 characters",
        "members": "must be a list",
        "volumes": "must be a list",
        "policy": "must be a table",
    }
