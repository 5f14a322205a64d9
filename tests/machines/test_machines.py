"""The shipped units on real machines: installed, connected, attacked, moved, upgraded, removed.

One story after the other, on the same four machines, in the order of this file: that is how an operator meets
them, and booting and installing takes longer than most of them.
"""

import json
import re

import pytest

from drsync.adapters.api_client.doc import Doc
from tests.machines.machines import ROOT, Machines, unit_of, until

pytestmark = [pytest.mark.machines, pytest.mark.timeout(300), pytest.mark.xdist_group("machines")]

AGENTS = ("production", "same_city", "remote")
GROUP = "orders"
SETTLE_S = 60.0
CAPABILITIES = {  # include/uapi/linux/capability.h
    "chown": 0,
    "dac_override": 1,
    "dac_read_search": 2,
    "fowner": 3,
    "fsetid": 4,
    "kill": 5,
    "net_admin": 12,
    "sys_admin": 21,
    "mknod": 27,
    "setfcap": 31,
}
TEXT = "written at the first owner\n"
SOCKET = f"/run/drsync/agent/nbd/{GROUP}.sock"


def serves(cluster: Machines, owner: str, in_sync: set[str]) -> bool:
    """`owner` serves the group, and these are in sync and connected."""
    done = cluster.drsync("status", "--json", is_checked=False)
    status = Doc(json.loads(done.stdout or "{}"))
    if not status.has("groups"):
        return False
    found, centers = status.doc("groups").doc(GROUP), status.doc("centers")
    if found.text("owner") != owner or found.has("intent") or set(found.texts("in_sync")) != in_sync:
        return False
    connected = all(centers.doc(name).flag("connected") for name in in_sync)
    return connected and bool(centers.doc(owner).doc("volumes"))


def wait_for_owner(cluster: Machines, owner: str, *in_sync: str) -> float:
    return until(f"{owner} serves", lambda: serves(cluster, owner, {owner, *in_sync}), SETTLE_S)


def write(cluster: Machines, owner: str, text: str) -> None:
    """Write to the start of the volume over NBD, as a client in the group drsync."""
    cluster[owner].write("/tmp/text", text.ljust(4096))
    client(cluster, owner, f"nbdcopy --flush /tmp/text 'nbd+unix:///data?socket={SOCKET}'")


def read(cluster: Machines, owner: str) -> str:
    """The start of the volume."""
    client(cluster, owner, f"nbdcopy 'nbd+unix:///data?socket={SOCKET}' /tmp/disk")
    done = cluster[owner].run("head", "-c", "4096", "/tmp/disk")
    cluster[owner].run("rm", "/tmp/disk")
    return done.stdout.rstrip(" ")


def client(cluster: Machines, owner: str, command: str) -> None:
    """What somebody does who is in the group drsync and has no other rights."""
    cluster[owner].run("setpriv", "--reuid=nobody", "--regid=drsync", "--clear-groups", "sh", "-c", command)


def restarts(cluster: Machines, name: str) -> int:
    return int(cluster[name].show(unit_of(name), "NRestarts"))


def send(cluster: Machines, name: str, signal: str) -> None:
    """A signal to the process itself."""
    cluster[name].run("systemctl", "kill", f"--signal={signal}", "--kill-whom=main", unit_of(name))


def main_pid(cluster: Machines, name: str) -> int:
    return int(cluster[name].show(unit_of(name), "MainPID"))


def test_an_agent_without_its_peers_keys_is_installed_and_says_what_is_missing(installed: Machines) -> None:
    machine = installed["production"]
    done = machine.run("drsync", "config", "check", "/etc/drsync/agent.toml", is_checked=False)
    assert done.returncode == 2
    assert "peers/same_city.host.pub" in done.stderr
    started = machine.run("systemctl", "start", unit_of("production"), is_checked=False)
    assert started.returncode != 0
    assert "peers/same_city.host.pub" in machine.journal(unit_of("production"))
    machine.run("systemctl", "stop", unit_of("production"))


def test_after_the_exchange_of_keys_every_service_runs_and_is_ready(installed: Machines) -> None:
    installed.exchange_keys()
    for name, machine in installed.all.items():
        machine.run("systemctl", "start", unit_of(name))  # returns when it is ready
        assert machine.is_active(unit_of(name))
        assert machine.show(unit_of(name), "User") == "drsync"
    until(
        "the coordinator's status line counts the centers",
        lambda: "3 of 3 centers" in installed["coordinator"].show(unit_of("coordinator"), "StatusText"),
        SETTLE_S,
    )
    until(
        "an agent's status line tells of the coordinator",
        lambda: "coordinator reached" in installed["remote"].show(unit_of("remote"), "StatusText"),
        SETTLE_S,
    )


def test_a_group_from_the_shipped_profile_is_served(installed: Machines) -> None:
    text = installed.drsync("config", "profile", "group").stdout
    text = re.sub(r'"<name of[^"]*"', f'"{GROUP}"', text)
    text = re.sub(r'"<size[^"]*"', '"8 MiB"', text)
    text = text.replace('lease = "10s"', 'lease = "3s"')  # so that a failover is waited for less
    installed["coordinator"].write("/root/orders.toml", text)
    installed.drsync("config", "check", "/root/orders.toml")
    installed.drsync("group", "apply", "-f", "/root/orders.toml")
    wait_for_owner(installed, "production", "same_city")
    write(installed, "production", TEXT)
    assert read(installed, "production") == TEXT


def test_nobody_else_reaches_the_sockets_or_the_data(installed: Machines) -> None:
    machine = installed["production"]
    for path in (SOCKET, "/var/lib/drsync/agent", "/etc/drsync/keys/agent.host"):
        command = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "test", "-r", path)
        assert machine.run(*command, is_checked=False).returncode != 0, path
    data = ("setpriv", "--reuid=nobody", "--regid=drsync", "--clear-groups", "ls", "/var/lib/drsync/agent")
    assert machine.run(*data, is_checked=False).returncode != 0


def test_an_owner_that_is_killed_is_back_within_its_lease(installed: Machines) -> None:
    before = restarts(installed, "production")
    send(installed, "production", "KILL")
    until("it was restarted", lambda: restarts(installed, "production") == before + 1, SETTLE_S)
    wait_for_owner(installed, "production", "same_city")
    assert read(installed, "production") == TEXT


@pytest.mark.parametrize("name", ["same_city", "coordinator"])
def test_a_process_that_hangs_is_restarted_by_the_watchdog(installed: Machines, name: str) -> None:
    before, machine = restarts(installed, name), installed[name]
    send(installed, name, "STOP")
    took = until("it was restarted", lambda: restarts(installed, name) == before + 1, SETTLE_S)
    until("it is ready", lambda: machine.is_active(unit_of(name)), SETTLE_S)
    assert took > 5  # by the watchdog and not by the signal
    assert "Watchdog timeout" in machine.journal(unit_of(name))
    wait_for_owner(installed, "production", "same_city")


def test_a_watchdog_that_is_fed_leaves_everybody_alone(installed: Machines) -> None:
    """Longer than the shortened watchdog, with the coordinator away: that is no fault of an agent."""
    counts = {name: restarts(installed, name) for name in AGENTS}
    pids = {name: main_pid(installed, name) for name in AGENTS}
    installed["coordinator"].run("systemctl", "stop", unit_of("coordinator"))
    fed = {name: installed[name].show(unit_of(name), "WatchdogTimestampMonotonic") for name in AGENTS}

    def is_fed_again() -> bool:
        now = {name: installed[name].show(unit_of(name), "WatchdogTimestampMonotonic") for name in AGENTS}
        return all(int(now[name]) > int(fed[name]) + 18_000_000 for name in AGENTS)

    until("every agent fed its watchdog for 18 seconds", is_fed_again, SETTLE_S)
    assert {name: restarts(installed, name) for name in AGENTS} == counts
    assert {name: main_pid(installed, name) for name in AGENTS} == pids
    installed["coordinator"].run("systemctl", "start", unit_of("coordinator"))
    wait_for_owner(installed, "production", "same_city")


def test_a_city_center_that_is_cut_off_is_failed_over_and_comes_back(installed: Machines) -> None:
    installed.network.plug("production", is_in=False)
    try:
        reason = "its cable was pulled"
        done = installed.drsync("failover", GROUP, "--to", "same_city", "--reason", reason, "--yes")
        assert "Nothing that was acknowledged is lost" in done.stdout + done.stderr
        wait_for_owner(installed, "same_city")
        assert read(installed, "same_city") == TEXT
        write(installed, "same_city", "written after the failover\n")
    finally:
        installed.network.plug("production", is_in=True)
    wait_for_owner(installed, "same_city", "production")
    installed.drsync("failback", GROUP, "--reason", "the cable is back")
    wait_for_owner(installed, "production", "same_city")
    assert read(installed, "production") == "written after the failover\n"


def test_a_drill_at_the_remote_machine_passes(installed: Machines) -> None:
    done = installed.drsync("drill", "run", GROUP, "--at", "remote", "--json")
    assert '"passed"' in done.stdout


def test_connecting_machines_that_are_connected_changes_nothing(installed: Machines) -> None:
    before = {name: main_pid(installed, name) for name in installed.all}
    installed.exercise("connect")
    assert {name: main_pid(installed, name) for name in installed.all} == before


@pytest.mark.parametrize("name", ["kill-owner", "cut-link", "hang", "failover", "drill"])
def test_an_exercise_of_the_virtual_machines_shows_what_it_says(installed: Machines, name: str) -> None:
    done = installed.exercise(f"exercises/{name}")
    assert "FAILED" not in done.stdout


def test_a_process_that_is_aborted_says_where_it_was(installed: Machines) -> None:
    """As the watchdog aborts one that is busy instead of stopped."""
    before = restarts(installed, "remote")
    send(installed, "remote", "ABRT")
    until("it was restarted", lambda: restarts(installed, "remote") == before + 1, SETTLE_S)
    assert "Fatal Python error: Aborted" in installed["remote"].journal(unit_of("remote"))
    until("it is ready", lambda: installed["remote"].is_active(unit_of("remote")), SETTLE_S)


def capabilities(cluster: Machines, name: str) -> set[str]:
    """What the process of a machine may do beyond others."""
    status = cluster[name].run("cat", f"/proc/{main_pid(cluster, name)}/status").stdout
    found = re.search(r"CapEff:\s+([0-9a-f]+)", status)
    assert found
    effective = int(found[1], 16)
    return {word for word, bit in CAPABILITIES.items() if effective >> bit & 1} | (
        {"others"} if effective & ~sum(1 << bit for bit in CAPABILITIES.values()) else set()
    )


def drop_in(cluster: Machines, name: str, which: str) -> None:
    """Install a shipped drop-in as its own text says, and restart the service."""
    machine = cluster[name]
    shipped = machine.run("drsync", "config", "profile", "--directory").stdout.strip()
    target = f"/etc/systemd/system/{unit_of(name)}.d/{which}.conf"
    machine.run("install", "-D", "-m", "0644", f"{shipped}/systemd/{which}.conf", target)
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", unit_of(name))


def take_out(cluster: Machines, name: str, which: str) -> None:
    """The opposite."""
    cluster[name].run("rm", "-f", f"/etc/systemd/system/{unit_of(name)}.d/{which}.conf")
    cluster[name].run("systemctl", "daemon-reload")
    cluster[name].run("systemctl", "restart", unit_of(name))


def test_without_drop_ins_a_service_may_do_nothing_that_others_may_not(installed: Machines) -> None:
    assert {name: capabilities(installed, name) for name in installed.all} == {
        name: set() for name in installed.all
    }


RUNBOOK = ROOT / "runbooks" / "bare-volume.yaml"
ALLOW_FSCK = (
    '/^.hooks.$/,/^mounts/ { s/^allow = .*/allow = ["\\/usr\\/sbin\\/e2fsck"]/; '
    "s/^mounts = .*/mounts = true/ }"
)


def test_a_runbook_that_shows_a_volume_as_a_file_runs_with_the_hooks_drop_in(installed: Machines) -> None:
    """A file system is written at the owner, and checked at the remote machine by the shipped runbook."""
    client(
        installed,
        "production",
        "truncate -s 8M /tmp/ext4 && /usr/sbin/mke2fs -q -t ext4 /tmp/ext4 && "
        f"nbdcopy --flush /tmp/ext4 'nbd+unix:///data?socket={SOCKET}' && rm /tmp/ext4",
    )
    remote = installed["remote"]
    remote.run("sed", "-i", ALLOW_FSCK, "/etc/drsync/agent.toml")
    drop_in(installed, "remote", "hooks")
    try:
        assert remote.show(unit_of("remote"), "User") == "root"
        expected = "chown dac_override dac_read_search fowner kill net_admin sys_admin"
        assert capabilities(installed, "remote") == set(expected.split())
        installed["coordinator"].write("/root/bare-volume.yaml", RUNBOOK.read_text())
        command = ("drill", "run", GROUP, "--at", "remote", "--runbook", "/root/bare-volume.yaml")
        done = installed.drsync(*command, "--param", "volume=data", "--json", is_checked=False)
        assert done.returncode == 0, done.stdout + done.stderr + remote.journal(unit_of("remote"))
    finally:
        take_out(installed, "remote", "hooks")
    wait_for_owner(installed, "production", "same_city")


TREE = r"""
mkdir -p /srv/docs/in/side && cd /srv/docs
echo paper > paper && chown 1234:5678 paper && chmod 4751 paper
echo secret > in/secret && chmod 0400 in/secret
ln -s ../outside link && ln paper in/other && mknod null c 1 3 && mkfifo pipe && chown -h 42:43 link pipe
"""
ALLOW_SRV = '/^.files.$/,/^allow/ s/^allow = .*/allow = ["\\/srv"]/'
LISTING = r"""
cd /srv/docs
find . -mindepth 1 -not -type f -printf '%P %y %m %U %G %l\n' -or -printf '%P %y %m %U %G %s\n' | sort
"""


def listing(cluster: Machines, name: str) -> str:
    """The tree at a center, with kinds, modes, owners and sizes."""
    return cluster[name].run("sh", "-ec", LISTING, is_checked=False).stdout


def test_a_file_set_arrives_as_it_is_with_the_files_drop_in(installed: Machines) -> None:
    installed["production"].run("sh", "-ec", TREE)
    for name in AGENTS:
        installed[name].run("mkdir", "-p", "/srv/docs")  # an empty root is made by people, never by drsync
        installed[name].run("sed", "-i", ALLOW_SRV, "/etc/drsync/agent.toml")
        drop_in(installed, name, "files")
    wait_for_owner(installed, "production", "same_city")
    roots = ", ".join(f'{name} = "/srv/docs"' for name in AGENTS)
    installed["coordinator"].write(
        "/root/documents.toml",
        f'name = "documents"\npreferred_owner = "production"\nmembers = {json.dumps(AGENTS)}\n'
        f'[[filesets]]\nname = "docs"\nroots = {{ {roots} }}\n',
    )
    installed.drsync("group", "apply", "-f", "/root/documents.toml")
    expected = listing(installed, "production")
    assert "paper f 4751 1234 5678 6" in expected
    until(
        "the tree is at the others",
        lambda: {listing(installed, name) for name in ("same_city", "remote")} == {expected},
        SETTLE_S,
    )


def test_the_same_version_again_and_a_restart_change_nothing(installed: Machines) -> None:
    for name, machine in installed.all.items():
        machine.run("/root/bundle/install", installed.profile(name), "--start")
        assert machine.show(unit_of(name), "Result") == "success"
    wait_for_owner(installed, "production", "same_city")


def test_everything_stops_cleanly_and_leaves_when_told(installed: Machines) -> None:
    for name in (*AGENTS, "coordinator"):
        machine = installed[name]
        machine.run("systemctl", "stop", unit_of(name))
        assert machine.show(unit_of(name), "Result") == "success"
        assert machine.show(unit_of(name), "ExecMainStatus") == "0"
        assert "bug" not in machine.journal(unit_of(name))
    machine = installed["remote"]
    machine.run("/root/bundle/uninstall")
    assert machine.run("ls", "/opt/drsync", is_checked=False).returncode != 0
    assert "orders" not in machine.run("ls", "/var/lib/drsync/agent/groups").stdout  # by id, and still there
    machine.run("/root/bundle/uninstall", "--purge")
    left = machine.run("find", "/etc", "/var/lib", "/opt", "/run", "-name", "*drsync*").stdout.split()
    assert left == []
