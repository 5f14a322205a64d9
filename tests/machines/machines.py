"""Four small Debian machines in containers, each booted by systemd in a network namespace of its own.

One root file system is made by mmdebstrap and shared by overlays; the machines hang on a bridge in one more
namespace, so that nothing of the host's network is touched. Commands run in a machine by way of nsenter.
"""

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.network import Network

ROOT = Path(__file__).resolve().parent.parent.parent
CACHE = "DRSYNC_MACHINES_CACHE"
PACKAGES = (
    "systemd",
    "systemd-sysv",
    "dbus",
    "iproute2",
    "python3",
    "python3-venv",
    "openssh-client",
    "libnbd-bin",
)
PROFILES = {
    "coordinator": "coordinator",
    "production": "production",
    "same_city": "same-city",
    "remote": "remote",
}
ADDRESSES = {name: f"10.77.0.{number}" for number, name in enumerate(PROFILES, start=1)}
DEVICES = ("/dev/fuse",)  # for runbooks that show a volume as a file
BOOT_S = 60.0
STOP_S = 30.0
COMMAND_S = 120.0
POLL_S = 0.1


def missing() -> str:
    """Why machines cannot be had here; empty when they can be tried."""
    tools = ("mmdebstrap", "systemd-nspawn", "ip", "nsenter", "mount")
    absent = [tool for tool in tools if shutil.which(tool) is None]
    if os.geteuid() != 0:
        return "containers need root"
    if absent:
        return f"not installed: {', '.join(absent)}"
    if (
        shutil.which("unshare")
        and run("unshare", "--mount", "--net", "true", is_checked=False).returncode != 0
    ):
        return "this machine allows no namespaces"
    return ""


def run(*command: str | Path, is_checked: bool = True, seconds: float = COMMAND_S, **more: str) -> "Ended":
    """Run a command to its end; `more` is added to the environment."""
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=seconds,
        check=False,
        env={**os.environ, **more},
    )
    if is_checked and done.returncode != 0:
        raise AssertionError(
            f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
    return done


Ended = subprocess.CompletedProcess[str]


def until(what: str, is_reached: Callable[[], bool], seconds: float) -> float:
    """Wait for a condition; how long it took. `what` is told when it is not reached."""
    began = time.monotonic()
    while not is_reached():
        if time.monotonic() - began > seconds:
            raise AssertionError(f"not reached in {seconds:.0f} s: {what}")
        time.sleep(POLL_S)
    return time.monotonic() - began


def base_root(cache: Path) -> Path:
    """The root file system that all machines share; made on first use. Raises OSError without a mirror."""
    wanted = hashlib.sha256(" ".join(PACKAGES).encode()).hexdigest()[:12]
    root = cache / f"root-{wanted}"
    if not root.exists():
        fresh = cache / "root.new"
        shutil.rmtree(fresh, ignore_errors=True)
        made = run(
            "mmdebstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", "bookworm", fresh,
            is_checked=False, seconds=600.0,
        )  # fmt: skip
        if made.returncode != 0:
            shutil.rmtree(fresh, ignore_errors=True)
            raise OSError(f"mmdebstrap could not make a root: {made.stderr.strip().splitlines()[-1:]}")
        fresh.rename(root)
    return root


def make_bundle(folder: Path) -> Path:
    """What is copied to machines, made from this checkout. Raises OSError without the libraries' wheels."""
    venv = Path(sys.executable).parent.parent
    made = run(ROOT / "scripts/bundle", venv, folder, is_checked=False, seconds=300.0)
    if made.returncode != 0:
        raise OSError(f"no bundle: {made.stderr.strip()[-500:]}")
    return folder


class Machine:
    """One booted container."""

    def __init__(self, name: str, home: Path, space: str) -> None:
        self.name = name
        self.home = home
        self._space = space
        self._process: subprocess.Popen[bytes] | None = None
        self._leader = 0

    def boot(self, base: Path, bundle: Path) -> float:
        """Start it, until systemd says that everything runs; seconds."""
        for part in ("upper", "work", "root"):
            (self.home / part).mkdir(parents=True, exist_ok=True)
        layers = f"lowerdir={base},upperdir={self.home / 'upper'},workdir={self.home / 'work'}"
        run("mount", "-t", "overlay", "overlay", "-o", layers, self.home / "root")
        began = time.monotonic()
        devices = [f"--bind={path}" for path in DEVICES if Path(path).exists()]
        command = [
            "systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--link-journal=no",
            "--capability=CAP_NET_ADMIN",
            *devices,
            f"--directory={self.home / 'root'}", f"--machine={self._space.replace('_', '-')}",
            f"--network-namespace-path=/run/netns/{self._space}", f"--bind-ro={bundle}:/root/bundle",
        ]  # fmt: skip
        with (self.home / "console").open("wb") as console:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                start_new_session=True,  # so that Ctrl-C reaches the tests first
            )
        until(f"{self.name} has booted\n{self.console()}", self._is_up, BOOT_S)
        return time.monotonic() - began

    def _is_up(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"{self.name} did not boot:\n{self.console()}")
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        if not children:
            return False
        self._leader = int(children[0])
        state = self.run("systemctl", "is-system-running", is_checked=False).stdout.strip()
        return state in {"running", "degraded"}

    def console(self) -> str:
        """What it printed while it booted."""
        path = self.home / "console"
        return path.read_text(errors="replace")[-2000:] if path.exists() else ""

    def enter(self) -> tuple[str, ...]:
        """The words before a command that runs in this machine."""
        clean = (
            "env",
            "-i",
            "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL=C.UTF-8",
            "HOME=/root",
        )
        return ("nsenter", "-t", str(self._leader), "-a", *clean)

    def run(self, *command: str, is_checked: bool = True, seconds: float = COMMAND_S) -> Ended:
        """Run a command in it, as root."""
        return run(*self.enter(), *command, is_checked=is_checked, seconds=seconds)

    def write(self, path: str, text: str) -> None:
        """Put a file into it."""
        target = Path(f"/proc/{self._leader}/root") / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def place(self, path: str) -> Path:
        """A directory of it, seen from here."""
        return Path(f"/proc/{self._leader}/root") / path.lstrip("/")

    # --- units

    def show(self, unit: str, key: str) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", "--value", "-p", key, unit).stdout.strip()

    def is_active(self, unit: str) -> bool:
        return self.show(unit, "ActiveState") == "active"

    def journal(self, unit: str) -> str:
        """The last lines of a unit."""
        return self.run("journalctl", "-q", "-o", "cat", "-n", "300", "-u", unit, is_checked=False).stdout

    def power_off(self) -> None:
        """Tell it to end."""
        if self._process is not None and self._process.poll() is None and self._leader:
            self.run("systemctl", "--no-block", "poweroff", is_checked=False)

    def close(self) -> None:
        """Wait until it has ended; by force if it does not."""
        process = self._process
        if process is not None and process.poll() is None:
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        run("umount", "--lazy", self.home / "root", is_checked=False)


class Machines:
    """The coordinator and three centers."""

    def __init__(self, home: Path, base: Path, bundle: Path) -> None:
        self.home = home
        self.base = base
        self.bundle = bundle
        self.network = Network(ADDRESSES)
        self.all = {name: Machine(name, home / name, self.network.space(name)) for name in PROFILES}
        self.boot_s: dict[str, float] = {}
        self.install_s: dict[str, float] = {}

    def __getitem__(self, name: str) -> Machine:
        return self.all[name]

    def profile(self, name: str) -> str:
        """As what a machine is installed."""
        return PROFILES[name]

    def boot(self) -> None:
        """All of them."""
        self.network.make()
        for name, machine in self.all.items():
            self.boot_s[name] = machine.boot(self.base, self.bundle)

    def install(self, name: str) -> Ended:
        """Run the install script of the bundle in a machine, as an operator would."""
        known = [option for each, at in ADDRESSES.items() for option in ("--address", f"{each}={at}")]
        began = time.monotonic()
        done = self.all[name].run("/root/bundle/install", PROFILES[name], "--cluster", "machines", *known)
        self.install_s[name] = time.monotonic() - began
        return done

    def install_all(self) -> None:
        """The first one by pip; the others get its program, as from one image, and install the rest."""
        first, *others = self.all
        self.install(first)
        for name in others:
            target = self.all[name].place("/opt")
            shutil.copytree(self.all[first].place("/opt/drsync"), target / "drsync", symlinks=True)
            self.install(name)

    def exchange_keys(self) -> Ended:
        """Run the exchange script of the bundle, with nsenter for ssh."""
        return run(self.bundle / "exchange-keys", *self.all, DRSYNC_SSH=str(self.ssh()))

    def exercise(self, *words: str) -> Ended:
        """Run a script of vagrant/ against these machines instead of virtual ones."""
        cut = self.home / "cut"
        cut.write_text(
            f"#!/bin/sh\ncase $1 in\n{self._switches()}\nesac\n"
            'if [ "$2" = on ]; then state=down; else state=up; fi\n'
            f'exec ip -n {self.network.wire} link set "$port" "$state"\n'
        )
        cut.chmod(0o755)
        script, *rest = words
        return run(ROOT / "vagrant" / script, *rest, DRSYNC_ON=str(self.ssh()), DRSYNC_UNPLUG=str(cut))

    def _switches(self) -> str:
        """Cases of a shell script that say at which port a machine is."""
        return "\n".join(
            f"{name} | {name.replace('_', '-')}) port={self.network.port(name)} ;;" for name in self.all
        )

    def ssh(self) -> Path:
        """A program that is called as ``ssh MACHINE COMMAND`` and enters the machine."""
        ssh = self.home / "ssh"
        cases = "\n".join(
            f'{name} | {name.replace("_", "-")}) exec {" ".join(m.enter())} sh -c "$2" ;;'
            for name, m in self.all.items()
        )
        ssh.write_text(f"#!/bin/sh\ncase $1 in\n{cases}\nesac\nexit 9\n")
        ssh.chmod(0o755)
        return ssh

    def drsync(self, *words: str, is_checked: bool = True) -> Ended:
        """A drsync command at the coordinator's machine."""
        return self["coordinator"].run("drsync", *words, is_checked=is_checked)

    def close(self) -> None:
        for machine in self.all.values():
            machine.power_off()
        for machine in self.all.values():
            machine.close()
        self.network.close()


def unit_of(name: str) -> str:
    """The service of a machine."""
    return "drsync-coordinator.service" if name == "coordinator" else "drsync-agent.service"


def shorten(machine: Machine, settings: Mapping[str, str]) -> None:
    """Other numbers in its unit, by a drop-in."""
    text = "[Service]\n" + "".join(f"{key}={value}\n" for key, value in settings.items())
    machine.write(f"/etc/systemd/system/{unit_of(machine.name)}.d/short.conf", text)
    machine.run("systemctl", "daemon-reload")


@contextlib.contextmanager
def machines(home: Path, base: Path, bundle: Path) -> Iterator[Machines]:
    """Booted machines, taken down in any case; whoever fails hears what they said."""
    cluster = Machines(home, base, bundle)
    try:
        cluster.boot()
        yield cluster
    except BaseException as error:
        for name, machine in cluster.all.items():
            with contextlib.suppress(AssertionError, OSError, subprocess.SubprocessError):
                error.add_note(f"--- {name}\n{machine.journal(unit_of(name))}")
        raise
    finally:
        cluster.close()
