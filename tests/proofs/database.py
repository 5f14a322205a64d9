"""A PostgreSQL whose data lies on a mounted volume, and what is asked of it after a disaster."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.integration import disks

NAME = "proof"
ADMIN = "postgres"
USERS = ("postgres", "nobody")  # who may run a server: anybody but root
SERVER_TOOLS = ("postgres", "initdb", "pg_amcheck", "pg_checksums", "pgbench", "psql")
READY_S = 30.0  # because recovery replays what the whole load has written, on a busy machine
ENDS_S = 10.0
STEP_S = 0.02
PID = "server.pid"
DAMAGE_WORDS = ("PANIC", "invalid page", "could not read block", "checksum", "corrupt")

SETTINGS = {
    "listen_addresses": "",
    "max_connections": "30",
    "shared_buffers": "16MB",
    "min_wal_size": "4MB",
    "max_wal_size": "16MB",  # so that checkpoints happen during a load of seconds
    "log_checkpoints": "on",
}


def tool(name: str) -> str | None:
    """Where a program of the server is; Debian keeps some of them out of the way."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    path = os.pathsep.join([*map(str, places), disks.ENVIRONMENT["PATH"]])
    return shutil.which(name, path=path)


def user() -> pwd.struct_passwd | None:
    """Whom the server runs as."""
    for name in USERS:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    return None


def why_not() -> str:
    """Why no database can run on a volume here; empty when it can."""
    missing = [name for name in SERVER_TOOLS if tool(name) is None]
    if missing:
        return f"not installed (Debian package postgresql): {', '.join(missing)}"
    if user() is None:
        return f"needs one of the users {', '.join(USERS)}"
    return disks.why_not()


@dataclass(slots=True)
class Database:
    """A server on the data below `tree`, with its socket below `folder`.

    One folder belongs to one tree; a database that moved is another object on the same content.
    """

    folder: Path
    tree: Path
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def data(self) -> Path:
        return self.tree / "data"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    def make(self) -> None:
        """An empty cluster with checksums, durable on the volume."""
        account = _account()
        self.data.mkdir(mode=0o700)
        os.chown(self.data, account.pw_uid, account.pw_gid)
        words = ["--data-checksums", "--no-sync", "--auth=trust", "--locale=C", "--encoding=UTF8"]
        self._ask("initdb", "-D", str(self.data), "-U", ADMIN, "--wal-segsize=1", *words)
        with (self.data / "postgresql.auto.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in SETTINGS.items())
        disks.run("sync", "-f", self.data)

    def start(self) -> float:
        """Until it answers; how long that took, recovery included. Seconds."""
        account = _account()
        self.folder.mkdir(parents=True, exist_ok=True)
        os.chown(self.folder, account.pw_uid, account.pw_gid)
        (self.data / "postmaster.pid").unlink(missing_ok=True)  # it names a process of another machine
        began = time.monotonic()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [need("postgres"), "-D", str(self.data), "-k", str(self.folder)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", env=environment(),
                user=account.pw_uid, group=account.pw_gid, extra_groups=[],
            )  # fmt: skip
        (self.folder / PID).write_text(str(self.process.pid))
        while not self._answers():
            assert self.process.poll() is None, f"the server ended: {self.words()}"
            assert time.monotonic() < began + READY_S, f"the server does not answer: {self.words()}"
            time.sleep(STEP_S)
        return time.monotonic() - began

    def stop(self) -> None:
        """In good order."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """At once, whatever state its disk is in."""
        self._end(signal.SIGQUIT)

    def sql(self, text: str, name: str = NAME) -> list[list[str]]:
        """Rows of one statement."""
        out = self._ask("psql", *self.client(name), "-F", "\t", "-c", text)
        return [line.split("\t") for line in out.splitlines()]

    def client(self, name: str = NAME) -> list[str]:
        """How psql is told where to go and how to speak."""
        return ["-h", str(self.folder), "-U", ADMIN, "-d", name, "-X", "-q", "-A", "-t"]

    def bench(self, *options: str) -> list[str]:
        """A pgbench on this server."""
        return [need("pgbench"), "-h", str(self.folder), "-U", ADMIN, *options, NAME]

    def require_sound(self) -> None:
        """Tables and indexes agree (pg_amcheck), and pgbench's three sums are one."""
        words = ["--install-missing", "--heapallindexed", "--parent-check", "--no-strict-names"]
        found = self._ask("pg_amcheck", "-h", str(self.folder), "-U", ADMIN, *words, "-d", NAME)
        assert not found.strip(), found
        ((accounts, tellers, branches, history),) = self.sql(
            "SELECT (SELECT sum(abalance) FROM pgbench_accounts),"
            " (SELECT sum(tbalance) FROM pgbench_tellers), (SELECT sum(bbalance) FROM pgbench_branches),"
            " (SELECT coalesce(sum(delta), 0) FROM pgbench_history)"
        )
        assert accounts == tellers == branches == history, (accounts, tellers, branches, history)

    def require_checksums(self) -> None:
        """Every page is what was written (pg_checksums). The server must be down."""
        out = self._ask("pg_checksums", "--check", "-D", str(self.data))
        assert "Bad checksums:  0" in out, out

    def words(self) -> str:
        """The last things it said."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])

    def complaints(self) -> list[str]:
        """Lines of its log that speak of damage."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [line for line in lines if any(word in line for word in DAMAGE_WORDS)]

    def _answers(self) -> bool:
        argv = [need("psql"), *self.client(ADMIN), "-c", "SELECT 1"]
        ended = subprocess.run(argv, env=environment(), capture_output=True, check=False, timeout=READY_S)
        return ended.returncode == 0

    def _end(self, how: signal.Signals) -> None:
        if self.process is None:
            return
        for number in (how, signal.SIGQUIT, signal.SIGKILL):
            if self.process.poll() is None:
                self.process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(ENDS_S)
                return

    def _ask(self, name: str, *words: str) -> str:
        account = _account()
        ended = subprocess.run(
            [need(name), *words], env=environment(), cwd="/", stdin=subprocess.DEVNULL, capture_output=True,
            text=True, check=False, timeout=60, user=account.pw_uid, group=account.pw_gid, extra_groups=[],
        )  # fmt: skip
        assert ended.returncode == 0, f"{name} ended with {ended.returncode}: {ended.stdout}{ended.stderr}"
        return ended.stdout


@contextmanager
def database(folder: Path, tree: Path) -> Iterator[Database]:
    """A server that has ended when the block has, in whatever way."""
    made = Database(folder, tree)
    try:
        yield made
    finally:
        made.kill()


def kill_all(folder: Path) -> None:
    """End the servers that were started below `folder` and still run: of a proof that was cut short."""
    for path in folder.rglob(PID):
        number = int(path.read_text())
        command = Path(f"/proc/{number}/cmdline")
        with contextlib.suppress(OSError):
            if str(folder).encode() in command.read_bytes():
                os.kill(number, signal.SIGKILL)


def environment() -> dict[str, str]:
    """Without what would send a client elsewhere."""
    return {name: value for name, value in disks.ENVIRONMENT.items() if not name.startswith("PG")}


def _account() -> pwd.struct_passwd:
    account = user()
    assert account is not None
    return account


def need(name: str) -> str:
    """Where a program is that `why_not` has looked for."""
    found = tool(name)
    assert found is not None, name
    return found
